package notify_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/notify"
)

// fake is a receiver that does what the test says.
type fake struct {
	mu   sync.Mutex
	got  []notify.Message
	send func(ctx context.Context, m notify.Message) error
}

func (f *fake) Send(ctx context.Context, subject, message string) error {
	return f.Notify(ctx, notify.Message{Subject: subject, Text: message})
}

func (f *fake) Notify(ctx context.Context, m notify.Message) error {
	if f.send != nil {
		if err := f.send(ctx, m); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, m)
	return nil
}

func (f *fake) messages() []notify.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]notify.Message(nil), f.got...)
}

// sendFunc is a plain Notifier, as the services of nikoksr/notify are.
type sendFunc func(ctx context.Context, subject, message string) error

func (f sendFunc) Send(ctx context.Context, subject, message string) error {
	return f(ctx, subject, message)
}

func newHub(t *testing.T, o *notify.Options) *notify.Hub {
	t.Helper()
	hub, err := notify.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Close() })
	return hub
}

func TestSendReachesEveryReceiver(t *testing.T) {
	t.Parallel()
	a, b := &fake{}, &fake{}
	var plain []string
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{
		{Name: "a", Notifier: a},
		{Name: "b", Notifier: b, MinLevel: slog.LevelError + 1},
		{Name: "plain", Notifier: sendFunc(func(_ context.Context, subject, message string) error {
			plain = append(plain, subject+"|"+message)
			return nil
		})},
	}, Source: "shop"})
	if err := hub.Send(t.Context(), "disk full", "93 %"); err != nil {
		t.Fatal(err)
	}
	if got := a.messages(); len(got) != 1 || got[0].Subject != "disk full" || got[0].Text != "93 %" || got[0].Level != slog.LevelError || got[0].Count != 1 || got[0].ID == "" {
		t.Errorf("a got %+v", got)
	}
	if got := b.messages(); len(got) != 0 {
		t.Errorf("b is for higher levels and got %+v", got)
	}
	if len(plain) != 1 || plain[0] != "[ERROR shop] disk full|93 %\n\nERROR from shop" {
		t.Errorf("plain got %q", plain)
	}
	err := hub.Notify(t.Context(), notify.Message{Level: slog.LevelDebug, Subject: "x"})
	if !errors.Is(err, notify.ErrNoReceiver) {
		t.Errorf("debug message: %v, want ErrNoReceiver", err)
	}
}

// Five receivers: two fail, one panics, one hangs, one works.
func TestReceiversAreContained(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	works := &fake{}
	const timeout = 300 * time.Millisecond
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{
		{Name: "fails", Timeout: timeout, Notifier: sendFunc(func(context.Context, string, string) error { return errors.New("no such user") })},
		{Name: "refuses", Timeout: timeout, Notifier: sendFunc(func(context.Context, string, string) error {
			return &notify.Error{Class: notify.ClassRejected, Code: 550, Enhanced: "5.1.1", Reason: "5.1.1 unknown"}
		})},
		{Name: "panics", Timeout: timeout, Notifier: sendFunc(func(context.Context, string, string) error {
			var f *fake
			f.mu.Lock() // nil
			return nil
		})},
		{Name: "hangs", Timeout: timeout, Notifier: sendFunc(func(context.Context, string, string) error { <-release; return nil })},
		{Name: "works", Timeout: timeout, Notifier: works},
	}})
	begin := time.Now()
	err := hub.Send(t.Context(), "s", "m")
	if took, limit := time.Since(begin), timeout+testenv.Within(200*time.Millisecond, 3*time.Second); took > limit {
		t.Errorf("took %v, want at most %v", took, limit)
	}
	if len(works.messages()) != 1 {
		t.Error("the good receiver did not get the message")
	}
	got := map[string]notify.Class{}
	for _, e := range notify.Errors(err) {
		got[e.Receiver] = e.Class
		if !strings.Contains(e.Error(), e.Receiver) || e.MessageID == "" {
			t.Errorf("error does not tell all: %v (%+v)", e, e)
		}
	}
	want := map[string]notify.Class{"fails": notify.ClassOther, "refuses": notify.ClassRejected, "panics": notify.ClassPanic, "hangs": notify.ClassTimeout}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("classes %v, want %v", got, want)
	}
	if !errors.Is(err, notify.ErrUnresponsive) {
		t.Errorf("error does not tell of the hung receiver: %v", err)
	}
}

func TestNewReportsEveryMistake(t *testing.T) {
	t.Parallel()
	f := &fake{}
	_, err := notify.New(&notify.Options{
		Receivers: []notify.Receiver{
			{Name: "a", Notifier: f, Fallback: "nobody"},
			{Name: "a", Notifier: f},
			{Notifier: f},
			{Name: "b"},
			{Name: "c", Notifier: f, Rate: notify.Rate{Burst: -1}, Retry: notify.Retry{Base: time.Minute, Max: time.Second}, Concurrency: -1},
			{Name: "d", Notifier: (*fake)(nil)},
		},
		Group: notify.Group{Wait: -1, MaxGroups: -1}, Outbox: notify.Outbox{MaxBytes: -1},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`Receivers[0].Fallback: "nobody" is no receiver`, `Receivers[1].Name: "a" is taken`, "Receivers[2].Name: is missing",
		"Receivers[3].Notifier: is nil", "Receivers[4].Rate.Burst", "Receivers[4].Retry.Base", "Receivers[4].Concurrency",
		"Group.Wait", "Group.MaxGroups", "Outbox.MaxBytes", "Receivers[5].Notifier: is a nil *notify_test.fake",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %q:\n%v", want, err)
		}
	}
	if _, err := notify.New(nil); err == nil || !strings.Contains(err.Error(), "Receivers") {
		t.Errorf("New(nil) = %v", err)
	}
}

func TestOutboxDelivers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &fake{}
	down := true
	f.send = func(context.Context, notify.Message) error {
		if down {
			return &notify.Error{Class: notify.ClassTransport, Reason: "down"}
		}
		return nil
	}
	open := func() *notify.Hub {
		return newHub(t, &notify.Options{
			Receivers: []notify.Receiver{{Name: "f", Notifier: f, Retry: notify.Retry{Base: time.Hour, Max: time.Hour}}},
			Outbox:    notify.Outbox{Dir: dir},
		})
	}
	hub := open()
	for i := range 3 {
		if err := hub.Send(t.Context(), fmt.Sprint("s", i), "m"); err != nil {
			t.Fatal(err)
		}
	}
	if got := hub.Stats(); got.Stored != 3 || got.Receivers[0].Waiting != 3 {
		t.Errorf("while the receiver is away: %+v", got)
	}
	err := hub.Close()
	if errs := notify.Errors(err); !errors.Is(err, notify.ErrRemaining) || errors.Is(err, notify.ErrLost) || len(errs) != 1 || errs[0].Remaining != 3 || !strings.Contains(err.Error(), dir) {
		t.Fatalf("Close = %v", err)
	}
	if len(f.messages()) != 0 {
		t.Fatal("delivered while the receiver is away")
	}
	down = false
	hub = open() // takes over, and needs no Run
	if err := hub.Send(t.Context(), "s3", "m"); err != nil {
		t.Fatal(err)
	}
	flush, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	if err := hub.Flush(flush); err != nil {
		t.Fatal(err)
	}
	var subjects []string
	for _, m := range f.messages() {
		subjects = append(subjects, m.Subject)
	}
	slices.Sort(subjects)
	if got, want := fmt.Sprint(subjects), "[s0 s1 s2 s3]"; got != want {
		t.Errorf("delivered %v, want %v", got, want)
	}
	if got := hub.Stats(); got.Stored != 0 || got.Receivers[0].Waiting != 0 || got.Receivers[0].Sent != 4 {
		t.Errorf("at the end: %+v", got)
	}
}
