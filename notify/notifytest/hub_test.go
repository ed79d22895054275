package notifytest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// service makes a hub of a pager, for what is serious, and a chat. broken names the
// promise that it breaks, each by a mistake that a service may make.
func service(t *testing.T, broken string) notifytest.HubHarness {
	mem := testenv.MemDir(t) // thousands of messages are forced to the disk
	takes := func(name string, m notify.Message) bool {
		return m.Level >= map[string]slog.Level{"pager": slog.LevelError, "chat": slog.LevelInfo}[name]
	}
	return notifytest.HubHarness{
		Takes: takes,
		New: func(dir string, receiver func(string) notify.Notifier) (notifytest.Hub, error) {
			pager := notify.Receiver{Name: "pager", Notifier: receiver("pager"), MinLevel: slog.LevelError}
			o := &notify.Options{Outbox: notify.Outbox{Dir: filepath.Join(mem, filepath.Base(dir))}, Logger: slog.New(slog.DiscardHandler)}
			switch broken {
			case "1": // the condition is turned round
				pager.Match = func(m notify.Message) bool { return m.Level <= slog.LevelError }
			case "3": // no outbox, so that nobody remembers
				o.Outbox.Dir = ""
			case "4":
				o.Group.Interval, pager.Rate.Per = -1, -1
			}
			o.Receivers = []notify.Receiver{pager, {Name: "chat", Notifier: receiver("chat")}}
			hub, err := notify.New(o)
			return wrapped{hub, broken}, err
		},
	}
}

// wrapped is what a service puts around its hub.
type wrapped struct {
	*notify.Hub
	broken string
}

func (w wrapped) Notify(ctx context.Context, m notify.Message) error {
	if w.broken == "2" && m.Level < slog.LevelError && m.Resolved {
		return nil // not serious, it thinks
	}
	err := w.Hub.Notify(ctx, m)
	if w.broken == "5" && errors.Is(err, notify.ErrNoReceiver) {
		return nil
	}
	return err
}

// A hub keeps its promises.
func TestHubPromises(t *testing.T) {
	t.Parallel()
	notifytest.RunHub(t, service(t, ""))
}

// The suite notices each broken promise.
func TestHubSuiteNotices(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 5; n++ {
		broken := fmt.Sprint(n)
		t.Run("breaks "+broken, func(t *testing.T) {
			t.Parallel()
			harness := service(t, broken)
			synctest.Test(t, func(t *testing.T) {
				err := notifytest.CheckHub(harness)
				if err == nil || !strings.Contains(err.Error(), "promise "+broken+":") {
					t.Errorf("CheckHub = %v, want promise %s broken", err, broken)
				}
			})
		})
	}
}
