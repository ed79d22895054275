//go:build unix

package notify_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/notify"
)

// A link that somebody planted in the outbox leads no write, no lock and no read
// out of it, and is told.
func TestPlantedLinks(t *testing.T) {
	t.Parallel()
	waits := func(id, receiver string) string {
		return `{"op":"put","id":"` + id + `","since":"2026-01-01T00:00:00Z","targets":[{"receiver":"` + receiver +
			`","due":"2026-01-01T00:00:00Z"}],"message":{"level":"ERROR","subject":"s","time":"2026-01-01T00:00:00Z","count":1}}`
	}
	journal := notify.AppendRecord(notify.AppendRecord([]byte("notifyj1"), waits("m1", "f")), waits("m2", "stranger"))

	for _, name := range []string{"dead.jsonl", "gone/lock", "gone/journal", "gone/journal.new"} {
		t.Run(strings.ReplaceAll(name, "/", " "), func(t *testing.T) {
			t.Parallel()
			dir := crashed(t, journal)
			victim := filepath.Join(t.TempDir(), "victim")
			if err := os.WriteFile(victim, journal, 0o600); err != nil {
				t.Fatal(err)
			}
			link := filepath.Join(dir, filepath.FromSlash(name))
			if err := os.RemoveAll(link); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(victim, link); err != nil {
				t.Fatal(err)
			}

			refuses := &fake{send: func(context.Context, notify.Message) error {
				return &notify.Error{Class: notify.ClassRejected, Reason: "no"}
			}}
			hub := newHub(t, &notify.Options{
				Receivers: []notify.Receiver{{Name: "f", Notifier: refuses}},
				Outbox:    notify.Outbox{Dir: dir}, Logger: slog.New(slog.DiscardHandler),
			})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_ = hub.Send(ctx, "refused", "text")
			_ = hub.Flush(ctx)
			if err := hub.Check(ctx); err == nil || !strings.Contains(err.Error(), "symbolic link") {
				t.Errorf("Check: %v", err)
			}
			if err := hub.Close(); err != nil {
				t.Log(err)
			}

			if left, err := os.ReadFile(victim); err != nil || string(left) != string(journal) {
				t.Errorf("the file behind the link is now %q (%v)", left, err)
			}
		})
	}
}

// A folder that everybody may write is taken where Shared says so, as the mounts of
// some systems show every folder.
func TestSharedOutbox(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "outbox")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	options := func(shared bool) *notify.Options {
		return &notify.Options{
			Receivers: []notify.Receiver{{Name: "f", Notifier: &fake{}}},
			Outbox:    notify.Outbox{Dir: dir, Shared: shared}, Logger: slog.New(slog.DiscardHandler),
		}
	}

	if hub, err := notify.New(options(false)); err == nil || !strings.Contains(err.Error(), "set Outbox.Shared") {
		t.Fatalf("New = %v, %v; want the opt-out's name", hub, err)
	}
	hub := newHub(t, options(true))
	if err := hub.Send(t.Context(), "s", "t"); err != nil {
		t.Error(err)
	}
	if err := hub.Close(); err != nil {
		t.Error(err)
	}
}
