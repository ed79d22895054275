package logging_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/klauspost/compress/zstd"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
)

var _ = func() bool { children["scarce"] = childScarce; return true }()

// childScarce logs to a small disk until it is full, while the receiver is away
// and one of the first events is poison; then the receiver is back, and nobody
// makes room. Each record that was acknowledged arrives or is put aside.
func childScarce() error {
	dir := os.Getenv("LOGGING_DIR")
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if image := os.Getenv("LOGGING_IMAGE"); image != "" {
		if err := mountWithQuota(image, dir, 512<<10); err != nil {
			return err
		}
	} else if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, os.Getenv("LOGGING_MOUNT")); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	acked, took := map[int]bool{}, map[int]int{}
	var away atomic.Bool
	away.Store(true)
	sink := limited{logging.Limits{MaxBatchEvents: 10}, func(_ context.Context, b *logging.Batch) error {
		if away.Load() {
			return errors.New("away")
		}
		for _, e := range b.Events {
			if bytes.Contains(e.Line, []byte(`"n":3,`)) {
				return &logging.SinkError{Kind: logging.KindRejected, Err: errors.New("400")}
			}
		}
		for _, e := range b.Events {
			var l struct{ N int }
			if err := json.Unmarshal(e.Line, &l); err != nil {
				return fmt.Errorf("a torn line %q: %w", e.Line, err)
			}
			took[l.N]++
		}
		return nil
	}}
	var told problems
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log"), MaxSegmentBytes: 16 << 10}, Sink: sink, OnError: told.add, Ship: quickly(logging.ShipperOptions{})})
	if err != nil {
		return err
	}
	h := logs.Logger("scarce").Handler()
	n, refused := 0, 0
	write := func(count int) {
		for range count {
			if h.Handle(context.Background(), record("line", "n", n, "text", strings.Repeat("x", 40+n%300))) == nil {
				acked[n] = true
			} else {
				refused++
			}
			n++
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	write(5000)
	if _, err := logs.SendBulk(ctx); err == nil {
		return errors.New("SendBulk to a receiver that is away returned nil")
	}
	write(1000)
	full := refused
	away.Store(false)
	for range 5 {
		// What cannot be put aside yet stops no more than its own segment.
		bound, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		_, err = logs.SendBulk(bound)
		cancel()
		if err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	write(20)
	after := refused - full
	if err := logs.Close(); err != nil {
		return err
	}
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink}))
	if err != nil {
		return err
	}
	if _, err := s.SendBulk(context.Background()); err != nil {
		return err
	}
	lost, repeated := 0, 0
	for i := range acked {
		if i != 3 && took[i] == 0 {
			lost++
		}
	}
	for _, times := range took {
		repeated += times - 1
	}
	quarantined, err := os.ReadFile(filepath.Join(dir, "app.log.quarantine"))
	if err != nil || bytes.Count(quarantined, []byte("\n")) != 1 {
		return fmt.Errorf("quarantine %q, %w", quarantined, err)
	}
	st := logs.Stats()
	fmt.Printf("%d logged, %d refused, %d lost, %d repeated, told %d\n", n, full, lost, repeated, len(told.list()))
	if (full == 0) != strings.Contains(os.Getenv("LOGGING_MOUNT"), "inodes") || after > 0 || lost > 0 || repeated > 0 || int(st.Dropped) != refused || int(st.Written) != len(acked) || len(told.list()) > 20 || told.count(logging.ErrMoved) > 0 {
		return fmt.Errorf("%d refused, %d afterwards, %d lost, %d repeated, %+v; told %v", full, after, lost, repeated, st, told.list())
	}
	return nil
}

// mountWithQuota mounts an image of btrfs on dir, where its files may take as many
// bytes as limit, root's too. A file cannot be made beyond that either.
func mountWithQuota(image, dir string, limit uint64) error {
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("mount %s: %w: %s", image, err, out)
	}
	top, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer top.Close()

	// linux/btrfs.h: the numbers of the calls, and the first words of their structs.
	const enable, wait, bound = 0xc0109428, 0x942e, 0x8030942b
	for _, call := range []struct {
		number uintptr
		args   [6]uint64
	}{{enable, [6]uint64{1}}, {wait, [6]uint64{}}, {bound, [6]uint64{0, 1, limit}}} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, top.Fd(), call.number, uintptr(unsafe.Pointer(&call.args))); errno != 0 {
			return fmt.Errorf("quota of %s: %w", dir, errno)
		}
	}
	return nil
}

// TestQuotaDrains is TestFullDiskDrains on a disk that has room, of which the
// quota allows no more: EDQUOT in place of ENOSPC, for bytes and for new files.
func TestQuotaDrains(t *testing.T) {
	t.Parallel()
	testenv.Require(t, "netns")
	testenv.Images(t, "btrfs")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	packed, err := os.Open("testdata/quota.btrfs.zst") // mkfs.btrfs --mixed on 16 MiB
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	plain, err := zstd.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	image := filepath.Join(t.TempDir(), "image")
	file, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(file, plain)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}

	cmd := testenv.NamespaceCommand(self)
	cmd.Env = append(cmd.Environ(), "LOGGING_CHILD=scarce", "LOGGING_DIR="+t.TempDir(), "LOGGING_IMAGE="+image)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%s", out)
}

// TestFullDiskDrains has an outage of the receiver fill the disk: when it is
// back, shipping frees the disk by itself.
func TestFullDiskDrains(t *testing.T) {
	t.Parallel()
	testenv.Require(t, "netns")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, mount := range map[string]string{"space": "size=512k", "files": "size=4m,nr_inodes=20"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := testenv.NamespaceCommand(self)
			cmd.Env = append(cmd.Environ(), "LOGGING_CHILD=scarce", "LOGGING_DIR="+t.TempDir(), "LOGGING_MOUNT="+mount)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

var _ = func() bool { children["descriptors"] = childDescriptors; return true }()

// childDescriptors logs and ships while the process has no file descriptors
// left, and afterwards.
func childDescriptors() error {
	dir := os.Getenv("LOGGING_DIR")
	took := map[string]int{}
	sink := sinkFunc(func(_ context.Context, b *logging.Batch) error {
		for _, e := range b.Events {
			took[string(e.Line)]++
		}
		return nil
	})
	var told problems
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log"), MaxSegmentBytes: 4 << 10}, Sink: sink, OnError: told.add, Ship: quickly(logging.ShipperOptions{})})
	if err != nil {
		return err
	}
	n := 0
	h := logs.Logger("a").Handler()
	write := func(count int) error {
		for range count {
			if err := h.Handle(context.Background(), record("line", "n", n, "text", strings.Repeat("x", n%100))); err != nil {
				return err
			}
			n++
		}
		return nil
	}
	if err := write(100); err != nil {
		return err
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		return err
	}
	none := syscall.Rlimit{Cur: 3, Max: was.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		return err
	}
	if err := write(1000); err != nil { // into the file at hand
		return fmt.Errorf("without descriptors: %w", err)
	}
	if _, err := logs.SendBulk(context.Background()); !errors.Is(err, syscall.EMFILE) {
		return fmt.Errorf("SendBulk without descriptors: %w", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		return err
	}
	if err := write(100); err != nil {
		return err
	}
	if errs := told.list(); len(errs) > 8 {
		return fmt.Errorf("told %d times: %v", len(errs), errs)
	}
	if res, err := logs.SendBulk(context.Background()); err != nil {
		return fmt.Errorf("SendBulk = %+v, %w", res, err)
	}
	if err := logs.Close(); err != nil || len(took) != n {
		return fmt.Errorf("Close = %w; %d of %d arrived", err, len(took), n)
	}
	return nil
}

// TestNoDescriptorsLeft has a process run out of file descriptors.
func TestNoDescriptorsLeft(t *testing.T) {
	t.Parallel()
	cmd := child(t, "descriptors", "LOGGING_DIR="+t.TempDir())
	cmd.Stderr = nil
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

var _ = func() bool { children["filesize"] = childFileSize; return true }()

// fileSizeLimit is the limit that childFileSize sets, far below MaxSegmentBytes.
const fileSizeLimit = 64 << 10

// childFileSize logs while no file of the process may be larger than a limit.
func childFileSize() error {
	limit := syscall.Rlimit{Cur: fileSizeLimit, Max: fileSizeLimit}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return fmt.Errorf("set the limit: %w", err)
	}
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(os.Getenv("LOGGING_DIR"), "app.log")}})
	if err != nil {
		return err
	}
	for i := range 3000 {
		if err := logs.Handler().Handle(context.Background(), record("line", "n", i, "text", strings.Repeat("x", 40+i%150))); err != nil {
			return err
		}
	}
	if err := logs.Check(context.Background()); err != nil {
		return err
	}
	return logs.Close()
}

// TestFileSizeLimit has the process's limit on the size of a file stand below the
// size at which the log is sealed: it is sealed earlier, and no record is lost.
func TestFileSizeLimit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := child(t, "filesize", "LOGGING_DIR="+dir).Run(); err != nil {
		t.Fatal(err)
	}

	all := lines(t, dir)
	if len(all) != 3000 {
		t.Errorf("%d lines, want 3000", len(all))
	}
	for _, l := range all {
		if !json.Valid([]byte(l)) {
			t.Errorf("a torn line %q", l)
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, "app*.log"))
	if err != nil || len(names) < 5 {
		t.Errorf("%d files, %v", len(names), err)
	}
}
