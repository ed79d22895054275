package config_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// TestMounts changes and follows files on mounts that refuse: a single file
// mounted by itself, a full disk, a read-only disk. It runs in a mount
// namespace of its own.
func TestMounts(t *testing.T) {
	t.Parallel()
	testenv.Require(t, "netns")
	cmd := testenv.NamespaceCommand(os.Args[0])
	cmd.Env = append(os.Environ(), "CONFIG_TEST_CHILD=mounts", "CONFIG_TEST_FILE="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Errorf("%v:\n%s", err, out)
	}
}

// TestInotifyExhausted runs where the kernel gives out no inotify instance.
func TestInotifyExhausted(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), "s.yaml", "n: 1\n")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CONFIG_TEST_CHILD=noinotify", "CONFIG_TEST_FILE="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER, // limits are per user namespace
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		testenv.Require(t, "netns") // says how to get namespaces where there are none
		t.Logf("no user namespace here (%v): TestRunPolls covers polling", err)
		return
	}
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Errorf("%v:\n%s", err, out)
	}
}

func childNamespace(mode, path string) int {
	check := checkMounts
	if mode == "noinotify" {
		check = checkNoInotify
	}
	if err := check(path); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ok")
	return 0
}

func checkNoInotify(path string) error {
	if err := os.WriteFile("/proc/sys/user/max_inotify_instances", []byte("0"), 0o644); err != nil {
		return err
	}
	if fd, err := syscall.InotifyInit(); err == nil {
		return fmt.Errorf("the kernel still gives an inotify instance: %d", fd)
	}
	return follow(path, "polling", func() error { return os.WriteFile(path, []byte("n: 2\n"), 0o600) })
}

// follow runs a store and wants it to find n: 2 after change.
func follow(path, watching string, change func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := config.Load(ctx, shared{}, config.File(path))
	if err != nil {
		return err
	}
	found := make(chan struct{})
	stop := config.OnChange(s, func(v *shared) int { return v.N }, func(_, now int) {
		if now == 2 {
			close(found)
		}
	})
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for s.Stats().Watching == "" && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if got := s.Stats().Watching; got != watching {
		return fmt.Errorf("watching by %s, want %s", got, watching)
	}
	if err := change(); err != nil {
		return err
	}
	select {
	case <-found:
	case err := <-done:
		return fmt.Errorf("the change of %s was not found within 30s (%w)", path, err)
	}
	cancel()
	return <-done
}

func checkMounts(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	const content = "# whole\nn: 1\n"
	prepare := func(name string, mount bool) (string, error) {
		sub := filepath.Join(dir, name)
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return "", err
		}
		if mount {
			if err := syscall.Mount("tmpfs", sub, "tmpfs", 0, "size=64k"); err != nil {
				return "", err
			}
		}
		path := filepath.Join(sub, "s.yaml")
		return path, os.WriteFile(path, []byte(content), 0o644)
	}
	refused := func(path string, errno syscall.Errno, hint string) error {
		s, err := config.Load(context.Background(), shared{}, config.File(path, config.Writable()))
		if err != nil {
			return err
		}
		err = s.Set(context.Background(), "n", "2")
		var failed *config.WriteError
		if !errors.As(err, &failed) || !errors.Is(err, errno) || !strings.Contains(failed.Hint, hint) {
			return fmt.Errorf("error %v, want %v with the hint %q", err, errno, hint)
		}
		data, err := os.ReadFile(path)
		if err != nil || string(data) != content || s.Get().N != 1 {
			return fmt.Errorf("after %v the file holds %q, the settings %d (%w)", errno, data, s.Get().N, err)
		}
		entries, err := os.ReadDir(filepath.Dir(path))
		for _, e := range entries {
			if strings.Contains(e.Name(), ".tmp") {
				return fmt.Errorf("after %v a temporary file lies about: %s", errno, e.Name())
			}
		}
		return err
	}

	full, err := prepare("full", true)
	if err != nil {
		return err
	}
	filler, err := os.Create(filepath.Join(filepath.Dir(full), "filler"))
	if err != nil {
		return err
	}
	for err == nil {
		_, err = filler.Write(make([]byte, 512))
	}
	_ = filler.Close()
	if err := refused(full, syscall.ENOSPC, "is full: free some space"); err != nil {
		return err
	}

	readOnly, err := prepare("ro", true)
	if err != nil {
		return err
	}
	if err := syscall.Mount("", filepath.Dir(readOnly), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return err
	}
	if err := refused(readOnly, syscall.EROFS, "read-only"); err != nil {
		return err
	}

	source, err := prepare("source", false)
	if err != nil {
		return err
	}
	bound, err := prepare("bound", false)
	if err != nil {
		return err
	}
	if err := syscall.Mount(source, bound, "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	if err := refused(bound, syscall.EBUSY, "mount its folder instead"); err != nil {
		return err
	}
	// The host writes to the file in place: the folder tells nothing of it.
	return follow(bound, "events", func() error { return os.WriteFile(source, []byte("n: 2\n"), 0o644) })
}
