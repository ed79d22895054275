//go:build unix

package notify_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/svcblocks/svcblocks/notify"
)

// A full disk is reported, and does not stop delivery.
func TestFullDisk(t *testing.T) {
	if os.Getenv("SVCBLOCKS_NOTIFY_FULL") == "" {
		// A limit on the size of files stands for the disk; it holds for a whole
		// process, so it is another one's.
		cmd := exec.Command("sh", "-c", `trap "" XFSZ; ulimit -f 64; exec "$0" -test.run '^TestFullDisk$' -test.v`, os.Args[0])
		cmd.Env = append(os.Environ(), "SVCBLOCKS_NOTIFY_FULL="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestFullDisk") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	dir := os.Getenv("SVCBLOCKS_NOTIFY_FULL")
	f := &fake{}
	hub, err := notify.New(&notify.Options{
		Receivers: []notify.Receiver{{Name: "f", Notifier: f, Rate: notify.Rate{Per: -1}}}, Outbox: notify.Outbox{Dir: filepath.Join(dir, "outbox")},
		Group: notify.Group{Interval: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	stored, refused := 0, 0
	for i := range 200 {
		err := hub.Notify(t.Context(), notify.Message{Level: slog.LevelError, Subject: fmt.Sprint("s", i), Text: strings.Repeat("x", 1000)})
		if err == nil {
			stored++
			continue
		}
		refused++
		errs := notify.Errors(err)
		if len(errs) != 1 || errs[0].Class != notify.ClassStorage || !errors.Is(err, notify.ErrNotDurable) || !errs[0].Temporary() {
			t.Fatalf("error %v", err)
		}
		if !strings.Contains(err.Error(), syscall.EFBIG.Error()) {
			t.Fatalf("error does not tell the cause: %v", err)
		}
	}
	if err := hub.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(f.messages()); got != 200 || stored < 5 || refused < 5 {
		t.Errorf("%d delivered of 200, %d stored, %d refused", got, stored, refused)
	}
	if s := hub.Stats(); s.NotDurable != uint64(refused) || s.Stored != 0 {
		t.Errorf("stats %+v, %d refused", s, refused)
	}
	if err := hub.Close(); err != nil {
		t.Error(err)
	}
}
