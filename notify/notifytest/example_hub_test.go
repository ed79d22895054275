package notifytest_test

import (
	"log/slog"
	"testing"

	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// How is the wiring of a service held to what people on call rely on?
func ExampleRunHub() {
	newHub := func(dir string, receiver func(name string) notify.Notifier) (notifytest.Hub, error) {
		return notify.New(&notify.Options{ // what main does, with the service's own receivers replaced
			Receivers: []notify.Receiver{
				{Name: "pager", Notifier: receiver("pager"), MinLevel: slog.LevelError},
				{Name: "chat", Notifier: receiver("chat")},
			},
			Outbox: notify.Outbox{Dir: dir},
		})
	}
	_ = func(t *testing.T) {
		notifytest.RunHub(t, notifytest.HubHarness{
			New: newHub,
			Takes: func(name string, m notify.Message) bool {
				return name == "chat" && m.Level >= 0 || m.Level >= slog.LevelError
			},
		})
	}
	// Output:
}
