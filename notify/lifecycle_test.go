package notify_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
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

// The end of Run lets a call under way end, and leaves the rest in the outbox.
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
	if s := hub.Stats(); s.Stored != 2 || s.Receivers[0].Sent != 1 || s.Receivers[0].Waiting != 2 || calls.Load() != 1 {
		t.Errorf("after Run: %+v, %d calls", s, calls.Load())
	}
	// Another Run goes on where this one ended.
	ctx, cancel = context.WithCancel(t.Context())
	go func() { done <- hub.Run(ctx) }()
	deadline := time.Now().Add(10 * time.Second)
	for hub.Stats().Stored > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the second Run delivers nothing")
		}
		runtime.Gosched()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A call that outlasts the end of Run is cut off and comes again.
func TestRunCutsOff(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 10)
	slow := sendFunc(func(ctx context.Context, _, _ string) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	hub := newHub(t, &notify.Options{
		Receivers: []notify.Receiver{{Name: "slow", Notifier: slow}}, Outbox: notify.Outbox{Dir: t.TempDir()}, CloseTimeout: 20 * time.Millisecond,
	})
	if err := hub.Send(t.Context(), "s", ""); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- hub.Run(ctx) }()
		<-entered
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := hub.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Flush = %v", err)
	}
	if s := hub.Stats(); s.Stored != 1 {
		t.Errorf("%d stored, want 1", s.Stored)
	}
}

// Close lets go of callers who wait for another try.
func TestCloseEndsNotify(t *testing.T) {
	t.Parallel()
	tried := make(chan struct{}, 10)
	hub, err := notify.New(&notify.Options{
		Receivers: []notify.Receiver{
			{Name: "down", Retry: notify.Retry{Base: time.Hour, Max: time.Hour, MaxElapsed: -1}, Notifier: sendFunc(func(context.Context, string, string) error {
				tried <- struct{}{}
				return &notify.Error{Class: notify.ClassThrottled, RetryAfter: time.Hour, Reason: "down"}
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
