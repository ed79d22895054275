package notify_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// attr returns the value of an attribute of m.
func attr(m notify.Message, name string) string {
	for _, f := range m.Fields() {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// What differs in that by which it is routed, or in Group.By, is another trouble, for
// records as for messages; and only the hub's own records raise no alert.
func TestTroublesOfOthersAreNoRepeats(t *testing.T) {
	t.Parallel()
	var a, b notifytest.Recorder
	team := func(name string) func(notify.Message) bool {
		return func(m notify.Message) bool { return attr(m, "team") == name }
	}
	bubble(t, &notify.Options{
		Receivers: []notify.Receiver{{Name: "a", Notifier: &a, Match: team("a")}, {Name: "b", Notifier: &b, Match: team("b")}},
		Group:     notify.Group{By: []string{"host"}},
	}, func(t *testing.T, hub *notify.Hub) {
		log := slog.New(notify.NewHandler(hub, nil, nil))
		log.Error("job failed", "team", "a", "host", "db1")
		log.Error("job failed", "team", "b", "host", "db1")
		log.Error("job failed", "team", "b", "host", "db2")
		log.With("component", "notify").Error("provider contract ended", "team", "a")
		time.Sleep(time.Second)
		for _, host := range []string{"db3", "db4"} {
			send(t, hub, notify.Message{Level: slog.LevelError, Subject: "job failed", Attrs: []slog.Attr{slog.String("team", "b"), slog.String("host", host)}})
		}
		if got := a.Messages(); len(got) != 2 {
			t.Errorf("team a got %+v", got)
		}
		var hosts []string
		for _, m := range b.Messages() {
			hosts = append(hosts, attr(m, "host"))
		}
		if strings.Join(hosts, " ") != "db1 db2 db3 db4" {
			t.Errorf("team b heard of %v", hosts)
		}
	})
}

// A failure that nobody explained is tried three times, and Classify says more:
// what may pass is tried for MaxElapsed, five minutes where a caller waits.
func TestForeignErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		classify func(error) notify.Class
		tries    func(n int) bool
		least    time.Duration
	}{
		{"unknown", nil, func(n int) bool { return n == 3 }, 0},
		{"server", func(error) notify.Class { return notify.ClassServer }, func(n int) bool { return n > 3 }, time.Minute},
		{"rejected", func(error) notify.Class { return notify.ClassRejected }, func(n int) bool { return n == 1 }, 0},
		{"as it is", func(error) notify.Class { return "" }, func(n int) bool { return n == 3 }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tries := 0
			bubble(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Classify: tc.classify, Notifier: sendFunc(func(context.Context, string, string) error {
				tries++
				return errors.New("503")
			})}}}, func(t *testing.T, hub *notify.Hub) {
				begin := time.Now()
				err := hub.Send(t.Context(), "s", "t")
				if took := time.Since(begin); err == nil || !tc.tries(tries) || took < tc.least || took > 5*time.Minute {
					t.Errorf("%d tries in %v, %v", tries, took, err)
				}
			})
		})
	}
}

// What a start that was killed leaves in the folder goes away, and what a clock wrote
// that was some hours ahead is not waited for.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := time.Date(2000, 1, 1, 10, 0, 0, 0, time.UTC).Format(time.RFC3339) // a bubble begins at 0:00
	journal := notify.AppendRecord([]byte("notifyj1"), `{"op":"put","id":"m1","since":"`+at+`","targets":[{"receiver":"f","attempts":3,"due":"`+at+`"}],"message":{"level":"ERROR","subject":"s","time":"`+at+`","count":1}}`)
	for name, data := range map[string][]byte{"a/lock": nil, "b/lock": nil, "b/journal.new": []byte("notifyj1"), "c/journal": []byte("notifyj1"), "d/journal": journal} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	f := &fake{}
	bubble(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: f}}, Outbox: notify.Outbox{Dir: dir}}, func(t *testing.T, hub *notify.Hub) {
		synctest.Wait()
		if got := f.messages(); len(got) != 1 {
			t.Errorf("got %+v", got)
		}
		if err := hub.Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
		t.Errorf("left %v, %v", list, err)
	}
}

// Whole messages wait, and go out whole.
func TestWaitKeepsContent(t *testing.T) {
	t.Parallel()
	var ops notifytest.Recorder
	bubble(t, &notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}, Group: notify.Group{Wait: time.Second}, Outbox: notify.Outbox{Dir: t.TempDir()}}, func(t *testing.T, hub *notify.Hub) {
		m := down("db")
		m.Text, m.HTML, m.Attachments = strings.Repeat("x", 10_000), "<b>hi</b>", []notify.Attachment{{Name: "a.txt", Data: []byte("data")}}
		send(t, hub, m)
		time.Sleep(2 * time.Second)
		got := ops.Messages()
		if len(got) != 1 || len(got[0].Text) != 10_000 || got[0].HTML == "" || len(got[0].Attachments) != 1 {
			t.Errorf("got %.300v", got)
		}
	})
}
