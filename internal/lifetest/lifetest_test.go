package lifetest_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/lifetest"
)

var (
	errRunning = errors.New("already running")
	errClosed  = errors.New("closed")
)

// loop is a correct subject, with one fault at a time.
type loop struct {
	mu      sync.Mutex
	running bool
	closed  bool

	admitsTwo, returnsCause, staysRunning, closeOnce, runsClosed, leaks, stopsEarly bool
}

func (l *loop) Run(ctx context.Context) error {
	l.mu.Lock()
	switch {
	case l.closed && !l.runsClosed:
		l.mu.Unlock()
		return errClosed
	case l.running && !l.admitsTwo:
		l.mu.Unlock()
		return errRunning
	}
	l.running = true
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.running = l.staysRunning
		l.mu.Unlock()
	}()
	if l.leaks {
		go func() { select {} }()
	}
	if l.stopsEarly {
		return nil
	}
	<-ctx.Done()
	if l.returnsCause {
		return ctx.Err()
	}
	return nil
}

func (l *loop) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed && l.closeOnce {
		return errClosed
	}
	l.closed = true
	return nil
}

func subject(l *loop) lifetest.Subject {
	return lifetest.Subject{
		New:        func() (any, error) { return l, nil },
		ErrRunning: errRunning,
		ErrClosed:  errClosed,
		Timeout:    10 * time.Second,
	}
}

func TestStress(t *testing.T) {
	t.Parallel()
	lifetest.Stress(t, subject(&loop{}))
}

// TestFaultsShow breaks one obligation at a time.
func TestFaultsShow(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		loop *loop
		want string
	}{
		{"Run returns the context's error", &loop{returnsCause: true}, "context canceled"},
		{"Run never ends its turn", &loop{staysRunning: true}, "already running"},
		{"Run returns early", &loop{stopsEarly: true}, "want ErrRunning"},
		{"Close is not idempotent", &loop{closeOnce: true}, "Close: closed, want nil"},
		{"a goroutine is left", &loop{leaks: true}, "goroutines are left"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := subject(tc.loop)
			s.Timeout = time.Second
			err := lifetest.Check(s)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Check = %v, want one with %q", err, tc.want)
			}
		})
	}
}

// TestHangsShow breaks what shows only after the time limit.
func TestHangsShow(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		loop *loop
		want string
	}{
		{"two run at once", &loop{admitsTwo: true}, "both run"},
		{"Run runs after Close", &loop{runsClosed: true}, "Run after Close: does not return"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := subject(tc.loop)
			s.Timeout = time.Second
			err := lifetest.Check(s)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Check = %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestSubjectsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		subject lifetest.Subject
		want    string
	}{
		{"no methods", lifetest.Subject{New: func() (any, error) { return 1, nil }}, "neither"},
		{"no error for the second Run", lifetest.Subject{New: func() (any, error) { return &loop{}, nil }}, "ErrRunning is missing"},
		{"New fails", lifetest.Subject{New: func() (any, error) { return nil, errClosed }}, "New: closed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := lifetest.Check(tc.subject)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Check = %v, want one with %q", err, tc.want)
			}
		})
	}
}

// closeOnly has Close alone.
type closeOnly struct{ calls atomic.Int64 }

func (c *closeOnly) Close() error { c.calls.Add(1); return nil }

func TestCloserAlone(t *testing.T) {
	t.Parallel()
	c := &closeOnly{}
	lifetest.Stress(t, lifetest.Subject{New: func() (any, error) { return c, nil }})
	if got, want := c.calls.Load(), int64(lifetest.Goroutines+1); got != want {
		t.Errorf("Close was called %d times, want %d", got, want)
	}
}
