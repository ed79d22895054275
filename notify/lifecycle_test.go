package notify_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/internal/lifetest"
	"github.com/svcblocks/svcblocks/notify"
)

func TestLifeCycle(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("outbox=%v", durable), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var n atomic.Int64
			lifetest.Stress(t, lifetest.Subject{
				New: func() (any, error) {
					o := &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: &fake{}}}}
					if durable {
						o.Outbox.Dir = filepath.Join(dir, fmt.Sprint(n.Add(1)))
					}
					return notify.New(o)
				},
				ErrRunning: notify.ErrRunning, ErrClosed: notify.ErrClosed,
			})
		})
	}
}

// The end of Run drains: a call under way ends, and what waits goes out. The hub
// works on until Close.
func TestRunEndsCleanly(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	slow := sendFunc(func(context.Context, string, string) error {
		if calls.Add(1) == 1 {
			close(entered)
			<-release
		}
		return nil
	})
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "slow", Notifier: slow}}, Outbox: notify.Outbox{Dir: t.TempDir()}})
	for i := range 3 {
		if err := hub.Send(t.Context(), fmt.Sprint("s", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- hub.Run(ctx) }()
	<-entered
	cancel()
	select {
	case <-done:
		t.Fatal("Run left a call behind")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := hub.Stats(); s.Stored != 0 || s.Receivers[0].Sent != 3 {
		t.Errorf("after Run: %+v, %d calls", s, calls.Load())
	}
	if err := hub.Send(t.Context(), "after Run", ""); err != nil {
		t.Error(err)
	}
	if err := hub.Close(); err != nil {
		t.Error(err)
	}
	if s := hub.Stats(); s.Receivers[0].Sent != 4 {
		t.Errorf("after Close: %+v", s)
	}
}

// Run and Close spend CloseTimeout once, and a receiver that hangs keeps its
// message for the next start.
func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		slow := sendFunc(func(ctx context.Context, _, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		})
		hub, err := notify.New(&notify.Options{
			Receivers: []notify.Receiver{{Name: "slow", Notifier: slow, Timeout: -1}}, Outbox: notify.Outbox{Dir: dir}, CloseTimeout: 7 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := hub.Send(t.Context(), "s", ""); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- hub.Run(ctx) }()
		begin := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		err = hub.Close()
		if took := time.Since(begin); took < 7*time.Second || took > 7*time.Second+300*time.Millisecond {
			t.Errorf("Run and Close took %v, want 7s", took)
		}
		if errs := notify.Errors(err); !errors.Is(err, notify.ErrRemaining) || len(errs) != 1 || errs[0].Remaining != 1 {
			t.Errorf("Close = %v", err)
		}
	})
}

// Close makes one try at a receiver that is known as away.
func TestCloseTriesOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		down := sendFunc(func(context.Context, string, string) error {
			tries.Add(1)
			return &notify.Error{Class: notify.ClassTransport, Reason: "connection refused"}
		})
		hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "down", Notifier: down}}, Outbox: notify.Outbox{Dir: dir}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := hub.Send(t.Context(), fmt.Sprint("s", i), ""); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		before, begin := tries.Load(), time.Now()
		err = hub.Close()
		if took := time.Since(begin); took > time.Second || tries.Load() != before+1 {
			t.Errorf("Close took %v and made %d tries, want one", took, tries.Load()-before)
		}
		if errs := notify.Errors(err); len(errs) != 1 || errs[0].Remaining != 3 {
			t.Errorf("Close = %v", err)
		}
	})
}

// Close lets go of callers who wait for another try.
func TestCloseEndsNotify(t *testing.T) {
	t.Parallel()
	tried := make(chan struct{}, 10)
	hub, err := notify.New(&notify.Options{
		Receivers: []notify.Receiver{
			{Name: "down", Retry: notify.Retry{Base: time.Hour, Max: time.Hour, MaxElapsed: -1}, Notifier: sendFunc(func(context.Context, string, string) error {
				tried <- struct{}{}
				return &notify.Error{Class: notify.ClassThrottled, Wait: time.Hour, Reason: "down"}
			})},
			{Name: "slow", Timeout: -1, Notifier: sendFunc(func(ctx context.Context, _, _ string) error {
				tried <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			})},
		},
		CloseTimeout: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() { sent <- hub.Send(context.Background(), "s", "m") }()
	<-tried
	<-tried
	if err := hub.Close(); err != nil {
		t.Errorf("Close = %v, but the caller is told", err)
	}
	select {
	case err := <-sent:
		errs := notify.Errors(err)
		if len(errs) != 2 || !errors.Is(err, notify.ErrClosed) && !errors.Is(err, context.Canceled) {
			t.Errorf("Notify = %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Notify still waits")
	}
}
