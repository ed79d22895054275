package notify_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// bubble runs a test in virtual time with one hub.
func bubble(t *testing.T, o *notify.Options, run func(t *testing.T, hub *notify.Hub)) {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	synctest.Test(t, func(t *testing.T) {
		hub, err := notify.New(o)
		if err != nil {
			t.Fatal(err)
		}
		run(t, hub)
		_ = hub.Close()
	})
}

func down(key string) notify.Message {
	return notify.Message{Level: slog.LevelError, Key: key, Subject: key + " down"}
}

func up(key string) notify.Message {
	return notify.Message{Key: key, Subject: key + " up", Resolved: true}
}

func send(t testing.TB, hub *notify.Hub, list ...notify.Message) {
	t.Helper()
	for _, m := range list {
		if err := hub.Notify(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
}

// One key that is down and up all the time is one message per interval.
func TestFlapping(t *testing.T) {
	t.Parallel()
	var ops notifytest.Recorder
	bubble(t, &notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops, Rate: notify.Rate{Per: -1}}}}, func(t *testing.T, hub *notify.Hub) {
		for range 1000 {
			send(t, hub, down("db"), up("db"))
			time.Sleep(3600 * time.Millisecond)
		}
		got := ops.Messages()
		if len(got) > 2+12 {
			t.Errorf("%d messages in an hour, want at most 14", len(got))
		}
		time.Sleep(10 * time.Minute)
		got = ops.Messages()
		if last := got[len(got)-1]; !last.Resolved || last.Count != 1000 {
			t.Errorf("the last message %+v", last)
		}
		// Flush does not open the gate.
		before := len(ops.Messages())
		for range 100 {
			send(t, hub, down("db"), up("db"))
			if err := hub.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(ops.Messages()) - before; n > 4 {
			t.Errorf("%d messages with Flush", n)
		}
	})
}

// 5,000 texts at once are what Rate allows, and each is named or counted.
func TestDistinctTexts(t *testing.T) {
	t.Parallel()
	var ops notifytest.Recorder
	bubble(t, &notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}}, func(t *testing.T, hub *notify.Hub) {
		for i := range 5000 {
			send(t, hub, notify.Message{Level: slog.LevelError, Subject: "order failed", Text: fmt.Sprint("order ", i)})
		}
		time.Sleep(2 * time.Minute)
		total := 0
		for _, m := range ops.Messages() {
			total += m.New
		}
		if n := len(ops.Messages()); n > 22 || total != 5000 {
			t.Errorf("%d messages that stand for %d", n, total)
		}
	})
}

// 10,000 wait for a receiver that is down: it is asked once per pause, and gets
// the serious ones first when it is back.
func TestReceiverIsDown(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	var away atomic.Bool
	away.Store(true)
	ops := notifytest.Recorder{Fail: func(context.Context, notify.Message) error {
		calls.Add(1)
		if away.Load() {
			return &notify.Error{Class: notify.ClassTransport, Reason: "connection refused"}
		}
		return nil
	}}
	dir := t.TempDir()
	bubble(t, &notify.Options{
		Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops, Rate: notify.Rate{Per: -1}}},
		Group:     notify.Group{Interval: -1}, Outbox: notify.Outbox{Dir: dir},
	}, func(t *testing.T, hub *notify.Hub) {
		var wg sync.WaitGroup
		for w := range 16 {
			wg.Go(func() {
				for i := w; i < 10_000; i += 16 {
					m := notify.Message{Subject: fmt.Sprint("m", i)}
					if i%100 == 0 {
						m.Level = slog.LevelError
					}
					if err := hub.Notify(t.Context(), m); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		time.Sleep(10 * time.Minute)
		if n := calls.Load(); n < 5 || n > 40 {
			t.Errorf("%d calls in 10 minutes", n)
		}
		away.Store(false)
		time.Sleep(6 * time.Minute)
		got := ops.Messages()
		if len(got) != 10_000 {
			t.Fatalf("%d delivered", len(got))
		}
		for i, m := range got[:101] {
			if m.Level != slog.LevelError && i != 0 && i != 100 { // the probe may be another
				t.Fatalf("number %d is %v", i, m.Level)
			}
		}
	})
}

// A process that starts again and again tells its last words once.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	var ops notifytest.Recorder
	for i := range 50 {
		dir := filepath.Join(root, fmt.Sprint(i))
		hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}, Outbox: notify.Outbox{Dir: dir}, CloseTimeout: -1})
		if err != nil {
			t.Fatal(err)
		}
		send(t, hub, notify.Message{Key: "start", Subject: "cannot start"})
		if _, err := ops.Wait(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(journalIn(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		next := filepath.Join(root, fmt.Sprint(i+1), "gone")
		if err := errors.Join(os.MkdirAll(next, 0o700), os.WriteFile(filepath.Join(next, "journal"), data, 0o600)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = hub.Close() })
	}
	first := ops.Messages()[0].ID
	for _, m := range ops.Messages() {
		if m.ID != first { // the first may have come again, as a crash may repeat it
			t.Errorf("another message: %+v", m)
		}
	}
}

func journalIn(t *testing.T, dir string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*", "journal"))
	if err != nil || len(list) != 1 {
		t.Fatalf("journals %v, %v", list, err)
	}
	return list[0]
}

// The end goes to whoever heard the start, whatever its level, and to no others.
func TestEndFollowsTheStart(t *testing.T) {
	t.Parallel()
	var pager, chat, log notifytest.Recorder
	bubble(t, &notify.Options{Receivers: []notify.Receiver{
		{Name: "pager", Notifier: &pager, MinLevel: slog.LevelError},
		{Name: "chat", Notifier: &chat, MinLevel: slog.LevelWarn, Match: func(m notify.Message) bool { return m.Key != "other" }},
		{Name: "log", Notifier: &log},
	}}, func(t *testing.T, hub *notify.Hub) {
		warn := down("db")
		warn.Level = slog.LevelWarn
		send(t, hub, warn, up("db"), down("db"), down("other"), up("other"))
		for name, want := range map[*notifytest.Recorder]int{&pager: 3, &chat: 3, &log: 5} {
			if n := len(name.Messages()); n != want {
				t.Errorf("%d messages, want %d: %v", n, want, name.Messages())
			}
		}
	})
}

// A start that waits when its end comes goes out as one message with both, whole.
func TestStartAndEndInOne(t *testing.T) {
	t.Parallel()
	var ops notifytest.Recorder
	bubble(t, &notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}, Group: notify.Group{Wait: time.Minute}}, func(t *testing.T, hub *notify.Hub) {
		m := down("db")
		m.HTML, m.Attachments = "<b>down</b>", []notify.Attachment{{Name: "a", Data: []byte("x")}}
		send(t, hub, m, up("db"))
		time.Sleep(time.Hour)
		got := ops.Messages()
		if len(got) != 1 || !got[0].Resolved || got[0].Subject != "db down" || !strings.Contains(got[0].Text, "db up") || len(got[0].Attachments) != 1 || !strings.Contains(got[0].HTML, "db up") {
			t.Errorf("got %+v", got)
		}
	})
}

// Where trouble came again before it was over for good, the end says that: who missed
// the end before, as a crash lost the word of it, is not told of an end alone.
func TestEndOfMoreThanOneStart(t *testing.T) {
	t.Parallel()
	var ops notifytest.Recorder
	bubble(t, &notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}}, func(t *testing.T, hub *notify.Hub) {
		send(t, hub, down("db"), up("db"), down("db"))
		time.Sleep(6 * time.Minute)
		send(t, hub, up("db"), down("db"), up("db"))
		time.Sleep(10 * time.Minute)
		got := ops.Messages()
		if last := got[len(got)-1]; !last.Resolved || !strings.Contains(last.Subject, "db down") || !strings.Contains(last.Text, "db up") || last.Count != 3 {
			t.Errorf("the last message %+v", last)
		}
	})
}

// A process dies after an end was taken and before that is noted. The next one
// cannot know whether the receiver heard it, so where the trouble came again, its end
// names the start and is a message of its own.
func TestEndThatMayHaveBeenHeard(t *testing.T) {
	t.Parallel()
	var dir string
	var left []byte
	ops := notifytest.Recorder{}
	ops.Fail = func(_ context.Context, m notify.Message) (err error) {
		if m.Resolved {
			left, err = os.ReadFile(journalIn(t, dir))
		}
		return err
	}
	open := func(dir string) *notify.Options {
		return &notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}, Outbox: notify.Outbox{Dir: dir}, CloseTimeout: -1}
	}
	dir = t.TempDir()
	bubble(t, open(dir), func(t *testing.T, hub *notify.Hub) {
		send(t, hub, down("db"))
		synctest.Wait()
		send(t, hub, up("db"))
		synctest.Wait()
	})

	next := crashed(t, left)
	var back atomic.Bool
	ops.Fail = func(context.Context, notify.Message) error {
		if !back.Load() {
			return &notify.Error{Class: notify.ClassTransport, Reason: "away"}
		}
		return nil
	}
	bubble(t, open(next), func(t *testing.T, hub *notify.Hub) {
		send(t, hub, down("db"), up("db"))
		back.Store(true)
		time.Sleep(10 * time.Minute)
	})
	got := ops.Messages()
	if len(got) != 3 || got[2].ID == got[1].ID || !got[2].Resolved || got[2].Subject != "db down" || !strings.Contains(got[2].Text, "db up") {
		t.Errorf("got %+v; want a start, its end, and one message with both", got)
	}
}

// What a silence hid goes out when it is over, if the trouble is; what began
// and ended within it, to nobody.
func TestSilence(t *testing.T) {
	t.Parallel()
	var ops notifytest.Recorder
	bubble(t, &notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}}, func(t *testing.T, hub *notify.Hub) {
		hub.Silence(func(m notify.Message) bool { return m.Key != "disk" }, time.Hour)
		send(t, hub, down("db"), down("db"), down("net"), up("net"), down("disk"))
		time.Sleep(59 * time.Minute)
		if got := ops.Messages(); len(got) != 1 || got[0].Key != "disk" {
			t.Errorf("within the silence: %+v", got)
		}
		time.Sleep(2 * time.Minute)
		got := ops.Messages()
		if len(got) != 2 || got[1].Key != "db" || got[1].Count != 2 {
			t.Errorf("after the silence: %+v", got)
		}
		if n := hub.Stats().Silenced; n < 4 {
			t.Errorf("%d silenced", n)
		}
	})
}

// The word of repeats names what differed.
func TestDifferences(t *testing.T) {
	t.Parallel()
	var ops notifytest.Recorder
	bubble(t, &notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}}, func(t *testing.T, hub *notify.Hub) {
		log := slog.New(notify.NewHandler(hub, nil, nil))
		for _, host := range []string{"db1", "db2", "db3", "db2", "db1"} {
			log.Error("cannot reach db", "host", host)
		}
		time.Sleep(10 * time.Minute)
		got := ops.Messages()
		if len(got) != 2 || !strings.Contains(got[1].Body(), "host: db2 (×2), db1, db3") || !strings.Contains(got[1].Body(), "×5 since") || !strings.Contains(got[1].Body(), "4 since the last word") {
			t.Errorf("%d messages, the last:\n%s", len(got), got[len(got)-1].Body())
		}
	})
}

// A fallback that took the start hears the end; the first receiver drops its copy.
func TestFallbackTakesOver(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("outbox=%v", durable), func(t *testing.T) {
			t.Parallel()
			var away atomic.Bool
			away.Store(true)
			mail := notifytest.Recorder{Fail: func(context.Context, notify.Message) error {
				if away.Load() {
					return &notify.Error{Class: notify.ClassTransport, Reason: "connection refused"}
				}
				return nil
			}}
			var chat notifytest.Recorder
			o := &notify.Options{Receivers: []notify.Receiver{
				{Name: "mail", Notifier: &mail, Fallback: "chat"}, {Name: "chat", Notifier: &chat, MinLevel: 100},
			}}
			if durable {
				o.Outbox.Dir = t.TempDir()
			}
			bubble(t, o, func(t *testing.T, hub *notify.Hub) {
				begin := time.Now()
				send(t, hub, down("db"))
				if durable {
					time.Sleep(130 * time.Second)
				}
				if took := time.Since(begin); len(chat.Messages()) != 1 || took > 135*time.Second {
					t.Fatalf("%d at the fallback after %v", len(chat.Messages()), took)
				}
				away.Store(false)
				time.Sleep(10 * time.Minute)
				send(t, hub, up("db"))
				time.Sleep(10 * time.Minute)
				if got := chat.Messages(); len(got) != 2 || !got[1].Resolved {
					t.Errorf("the fallback got %+v", got)
				}
				if got := mail.Messages(); len(got) != 0 {
					t.Errorf("the first receiver got %+v, which the fallback took", got)
				}
			})
		})
	}
}

// Another service's messages stay in the folder for it, and Check tells when
// nobody takes them.
func TestServicesShareAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	refuses := sendFunc(func(context.Context, string, string) error {
		return &notify.Error{Class: notify.ClassTransport, Reason: "away"}
	})
	open := func(service string, n notify.Notifier) *notify.Hub {
		return newHub(t, &notify.Options{
			Receivers: []notify.Receiver{{Name: "mail", Notifier: n}}, Outbox: notify.Outbox{Dir: dir, Service: service, MaxAge: time.Millisecond},
			Logger: slog.New(slog.DiscardHandler), StuckAfter: -1,
		})
	}
	shop := newHub(t, &notify.Options{
		Receivers: []notify.Receiver{{Name: "mail", Notifier: refuses}}, Outbox: notify.Outbox{Dir: dir, Service: "shop"}, Logger: slog.New(slog.DiscardHandler),
	})
	send(t, shop, down("shop"))
	if err := shop.Close(); !errors.Is(err, notify.ErrRemaining) {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Millisecond) // older than MaxAge
	var strangers, own notifytest.Recorder
	other := open("crm", &strangers)
	if err := other.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.Check(t.Context()); !errors.Is(err, notify.ErrStuck) || !strings.Contains(err.Error(), `"shop"`) {
		t.Errorf("Check = %v", err)
	}
	if err := other.Close(); err != nil || len(strangers.Messages()) != 0 {
		t.Errorf("Close = %v, a stranger got %v", err, strangers.Messages())
	}
	if _, err := os.Stat(filepath.Join(dir, "dead.jsonl")); err == nil {
		t.Error("another service's message was given up")
	}
	shop = open("shop", &own)
	if err := shop.Flush(t.Context()); err != nil || len(own.Messages()) != 1 {
		t.Errorf("%v, the service got %v", err, own.Messages())
	}
}

// An alert that nobody took is told, and so is a receiver that stays away: once,
// and once when it is over.
func TestNeverSilent(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var told []error
	var class atomic.Value
	class.Store(notify.ClassRejected)
	mail := sendFunc(func(context.Context, string, string) error {
		if c := class.Load().(notify.Class); c != "" {
			return &notify.Error{Class: c, Reason: "550 no"}
		}
		return nil
	})
	bubble(t, &notify.Options{
		Receivers: []notify.Receiver{{Name: "mail", Notifier: mail, Retry: notify.Retry{MaxElapsed: time.Hour}}},
		OnError: func(err error) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, err)
		},
	}, func(t *testing.T, hub *notify.Hub) {
		count := func() int {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return len(told)
		}
		log := slog.New(notify.NewHandler(hub, nil, nil))
		log.Error("refused by all")
		time.Sleep(time.Second)
		if n := count(); n != 1 || !errors.Is(told[0], notify.ErrLost) || !errors.Is(hub.Check(t.Context()), notify.ErrLost) {
			t.Fatalf("told %v, Check %v", told, hub.Check(t.Context()))
		}
		class.Store(notify.Class(""))
		log.Error("it works again")
		time.Sleep(2 * time.Minute)
		if n := count(); n != 2 || hub.Check(t.Context()) != nil {
			t.Fatalf("told %v, Check %v", told, hub.Check(t.Context()))
		}
		class.Store(notify.ClassTransport)
		log.Error("nobody is there")
		time.Sleep(10 * time.Minute)
		if n := count(); n != 3 || !errors.Is(told[2], notify.ErrStuck) || !errors.Is(hub.Check(t.Context()), notify.ErrStuck) {
			t.Errorf("told %v, Check %v", told, hub.Check(t.Context()))
		}
	})
}

// A folder that others may write is refused.
func TestOpenFolderIsRefused(t *testing.T) {
	t.Parallel()
	testenv.Modes(t)
	dir := filepath.Join(t.TempDir(), "outbox")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: &fake{}}}, Outbox: notify.Outbox{Dir: dir}})
	if err == nil {
		_ = hub.Close()
		t.Fatal("opened")
	}
	if !strings.Contains(err.Error(), "Outbox.Dir") {
		t.Error(err)
	}
}

// What was given up gets another try.
func TestRedrive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var refuses atomic.Bool
	refuses.Store(true)
	ops := notifytest.Recorder{Fail: func(context.Context, notify.Message) error {
		if refuses.Load() {
			return &notify.Error{Class: notify.ClassRejected, Reason: "no"}
		}
		return nil
	}}
	hub := newHub(t, &notify.Options{
		Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}, Outbox: notify.Outbox{Dir: dir}, Logger: slog.New(slog.DiscardHandler),
	})
	send(t, hub, down("db"))
	if err := hub.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "dead.jsonl")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	foreign := strings.ReplaceAll(string(data), `"receiver":"ops"`, `"receiver":"gone"`)
	if err := os.WriteFile(path, append(data, foreign...), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses.Store(false)
	if n, err := hub.Redrive(t.Context()); n != 1 || err != nil {
		t.Fatalf("Redrive = %d, %v", n, err)
	}
	if err := hub.Flush(t.Context()); err != nil || len(ops.Messages()) != 1 || ops.Messages()[0].Subject != "db down" {
		t.Errorf("%v, got %v", err, ops.Messages())
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != foreign {
		t.Errorf("left %q (%v)", data, err)
	}
}
