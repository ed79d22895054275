package health_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMonitorAsksAsOftenAsACheckWants(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var often, seldom int
		m := health.New([]health.Check{
			{Name: "often", Func: func(context.Context) error { often++; return nil }},
			{Name: "seldom", Every: time.Minute, Func: func(context.Context) error { seldom++; return nil }},
		}, health.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		time.Sleep(2*time.Minute + time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if often != 13 || seldom != 3 {
			t.Errorf("asked %d and %d times, want 13 and 3", often, seldom)
		}
	})
}

func TestMonitor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var broken, hangs atomic.Bool
		var log bytes.Buffer
		m := health.New([]health.Check{
			{Name: "history", Required: true, Func: func(context.Context) error {
				if broken.Load() {
					return errors.New("disk full")
				}
				return nil
			}, Advice: func(error) string { return "free some space" }},
			{Name: "mail", Func: func(ctx context.Context) error {
				if hangs.Load() {
					<-ctx.Done()
					return context.Cause(ctx)
				}
				return nil
			}},
		}, health.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err := m.Ready(); err == nil || !strings.Contains(err.Error(), "not asked yet") {
			t.Errorf("before Run: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		<-m.Asked()
		synctest.Wait()
		if err := m.Ready(); err != nil {
			t.Errorf("all work: %v", err)
		}
		if err := m.Run(ctx); !errors.Is(err, health.ErrRunning) {
			t.Errorf("second Run = %v", err)
		}

		hangs.Store(true)
		time.Sleep(16 * time.Second)
		synctest.Wait()
		if err := m.Ready(); err != nil {
			t.Errorf("a part that is not required fails: %v", err)
		}
		if r := m.Results()[1]; r.Err == nil || !strings.Contains(r.Err.Error(), "no answer within 5s") {
			t.Errorf("mail = %+v", r)
		}

		hangs.Store(false)
		broken.Store(true)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if err := m.Ready(); err == nil || !strings.Contains(err.Error(), "history: disk full") {
			t.Errorf("a required part fails: %v", err)
		}
		if r := m.Results()[0]; r.Advice != "free some space" {
			t.Errorf("history = %+v", r)
		}

		hangs.Store(true)
		broken.Store(false)
		time.Sleep(6 * time.Second) // in the middle of a check that hangs
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
		if r := m.Results()[1]; r.Err != nil {
			t.Errorf("the stop was taken for a failure: %+v", r)
		}
		if n := strings.Count(log.String(), "part does not work"); n != 2 {
			t.Errorf("%d warnings, want one per trouble:\n%s", n, &log)
		}
		if !strings.Contains(log.String(), "part works again") {
			t.Errorf("log:\n%s", &log)
		}
	})
}
