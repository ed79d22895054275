package notify_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// A receiver that ends its goroutine, as one that calls t.Fatal does, is
// contained like one that panics.
func TestReceiverEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{
		{Name: "gone", Notifier: sendFunc(func(context.Context, string, string) error { runtime.Goexit(); return nil })},
		{Name: "check", Notifier: checkFunc(func(context.Context) error { runtime.Goexit(); return nil })},
	}})
	begin := time.Now()
	for i := range 10 {
		errs := notify.Errors(hub.Send(t.Context(), fmt.Sprint("s", i), "m"))
		if len(errs) != 1 || errs[0].Receiver != "gone" || errs[0].Class != notify.ClassPanic {
			t.Fatalf("errors %v", errs)
		}
	}
	if errs := notify.Errors(hub.Check(t.Context())); len(errs) != 1 || errs[0].Receiver != "check" || errs[0].Class != notify.ClassPanic {
		t.Errorf("check: %v", errs)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

// A caller who cannot wait for the next try is told at once, and the fallback
// is still in time.
func TestRetryBeyondContext(t *testing.T) {
	t.Parallel()
	throttled := sendFunc(func(context.Context, string, string) error {
		return &notify.Error{Class: notify.ClassThrottled, Wait: time.Hour, Reason: "slow down"}
	})
	var backup notifytest.Recorder
	hub := newHub(t, &notify.Options{
		Receivers: []notify.Receiver{
			{Name: "alone", Notifier: throttled, Retry: notify.Retry{MaxElapsed: -1}},
			{Name: "helped", Notifier: throttled, Fallback: "backup", Retry: notify.Retry{MaxElapsed: -1}},
			{Name: "backup", Notifier: &backup, MinLevel: 100},
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	begin := time.Now()
	err := hub.Send(ctx, "s", "m")
	if errs := notify.Errors(err); len(errs) != 1 || errs[0].Receiver != "alone" || errs[0].Wait != time.Hour {
		t.Errorf("error %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second || len(backup.Messages()) != 1 {
		t.Errorf("took %v, %d messages to the fallback", took, len(backup.Messages()))
	}
}

// What comes while a receiver pauses, for longer than a message can wait, is
// told at once or taken over.
func TestPauseBeyondMaxElapsed(t *testing.T) {
	t.Parallel()
	tries := map[string]*atomic.Int32{"alone": {}, "helped": {}}
	throttled := func(name string) notify.Notifier {
		return sendFunc(func(context.Context, string, string) error {
			tries[name].Add(1)
			return &notify.Error{Class: notify.ClassThrottled, Wait: 1<<63 - 1, Reason: "slow down"}
		})
	}
	var backup notifytest.Recorder
	hub := newHub(t, &notify.Options{
		Receivers: []notify.Receiver{
			{Name: "alone", Notifier: throttled("alone")},
			{Name: "helped", Notifier: throttled("helped"), Fallback: "backup"},
			{Name: "backup", Notifier: &backup, MinLevel: 100},
		},
	})
	for i := range 3 {
		errs := notify.Errors(hub.Send(t.Context(), fmt.Sprint("s", i), "m"))
		if len(errs) != 1 || errs[0].Receiver != "alone" || errs[0].Class != notify.ClassThrottled || errs[0].Wait < 23*time.Hour || errs[0].Wait > 24*time.Hour {
			t.Errorf("errors %v", errs)
		}
	}
	if n := len(backup.Messages()); n != 3 {
		t.Errorf("%d messages to the fallback, want 3", n)
	}
	if a, h := tries["alone"].Load(), tries["helped"].Load(); a != 1 || h != 1 {
		t.Errorf("%d and %d tries, want 1 each: the receiver asked for a pause", a, h)
	}
}

// With an outbox, too, a stopped receiver's messages go to its fallback.
func TestStoppedReceiverFailsOver(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	locked := sendFunc(func(context.Context, string, string) error {
		tries.Add(1)
		return &notify.Error{Class: notify.ClassAuth, Code: 535, Reason: "wrong password"}
	})
	var backup notifytest.Recorder
	hub := newHub(t, &notify.Options{
		Receivers: []notify.Receiver{{Name: "mail", Notifier: locked, Fallback: "chat"}, {Name: "chat", Notifier: &backup, MinLevel: 100}},
		Outbox:    notify.Outbox{Dir: t.TempDir()},
	})
	for i := range 5 {
		if err := hub.Send(t.Context(), fmt.Sprint("s", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := hub.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if tries.Load() != 1 || len(backup.Messages()) != 5 {
		t.Errorf("%d tries, %d messages to the fallback; want 1 and 5", tries.Load(), len(backup.Messages()))
	}
	if s := hub.Stats(); s.Stored != 0 || s.Dead != 0 {
		t.Errorf("stats %+v", s)
	}
}
