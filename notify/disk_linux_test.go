package notify_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

const diskEnv = "SVCBLOCKS_NOTIFY_DISK" // the folder that gets the disk

// A start on a disk that is full or read-only gives a hub that delivers from
// memory, and says so; once the disk can be written, what waits is on it.
func TestStartOnABadDisk(t *testing.T) {
	for _, bad := range []string{"full", "read-only"} {
		t.Run(bad, func(t *testing.T) {
			if dir := os.Getenv(diskEnv); dir != "" {
				startOnABadDisk(t, bad, dir)
				return
			}
			testenv.Require(t, "netns") // a mount needs a namespace
			cmd := testenv.NamespaceCommand(os.Args[0], "-test.run", "^TestStartOnABadDisk$/^"+bad+"$", "-test.v")
			cmd.Env = append(cmd.Environ(), diskEnv+"="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS: TestStartOnABadDisk") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func startOnABadDisk(t *testing.T, bad, dir string) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// Else the mount would show outside, too.
	must(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	must(syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k,mode=0700"))
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })

	cause, mend := error(syscall.EROFS), func() { must(syscall.Mount("", dir, "", syscall.MS_REMOUNT, "")) }
	if bad == "full" {
		filler := filepath.Join(dir, "filler")
		cause, mend = syscall.ENOSPC, func() { must(os.Remove(filler)) }
		if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("the disk is not full: %v", err)
		}
	} else {
		must(syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	}

	var mu sync.Mutex
	var told []error
	tells := func() []error {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return told
	}
	ops := notifytest.Recorder{}
	o := &notify.Options{
		Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}, Outbox: notify.Outbox{Dir: filepath.Join(dir, "outbox")},
		OnError: func(err error) { mu.Lock(); told = append(told, err); mu.Unlock() }, Logger: slog.New(slog.DiscardHandler),
	}
	bubble(t, o, func(t *testing.T, hub *notify.Hub) {
		time.Sleep(10 * time.Second)
		if err := hub.Check(t.Context()); err == nil || !strings.Contains(err.Error(), cause.Error()) {
			t.Errorf("Check = %v, want %v", err, cause)
		}

		err := hub.Notify(t.Context(), down("db"))
		if errs := notify.Errors(err); !errors.Is(err, notify.ErrNotDurable) || errs[0].Class != notify.ClassStorage || !strings.Contains(err.Error(), cause.Error()) {
			t.Errorf("Notify = %v, want ErrNotDurable and %v", err, cause)
		}
		slog.New(notify.NewHandler(hub, nil, nil)).ErrorContext(context.Background(), "disk full on db1")
		time.Sleep(10 * time.Minute)
		if got := ops.Messages(); len(got) != 2 {
			t.Errorf("got %+v, want both messages", got)
		}
		list := tells()
		if len(list) != 1 || !strings.Contains(list[0].Error(), cause.Error()) {
			t.Errorf("OnError was told %v, want %v once", list, cause)
		}

		mend()
		time.Sleep(2 * time.Minute)
		if err := hub.Check(t.Context()); err != nil {
			t.Errorf("Check = %v on a disk that can be written", err)
		}
		send(t, hub, up("db"))
		time.Sleep(time.Second)
		if got := ops.Messages(); len(got) != 3 || !got[2].Resolved {
			t.Errorf("got %+v, want the end, too", got)
		}
		if s := hub.Stats(); s.StoredBytes == 0 {
			t.Errorf("Stats = %+v, nothing is stored", s)
		}
	})
}
