// Package lifetest checks the life cycle that every block's types share: Run
// blocks until its context ends and returns nil, a second concurrent Run
// returns ErrRunning, Close may be called at any time and again, and nothing
// is left running afterwards.
package lifetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Goroutines × Cycles is how often the stress starts and stops a subject.
const (
	Goroutines = 10
	Cycles     = 50
)

// A Runner works in the background of the goroutine that calls Run.
type Runner interface {
	// Run blocks until ctx ends and then returns nil.
	Run(ctx context.Context) error
}

// A Closer gives back what it holds.
type Closer interface {
	// Close may be called more than once, and concurrently.
	Close() error
}

// A Subject says what to check.
type Subject struct {
	// New returns a new object that implements Runner, Closer or both, and is
	// to work without a fault. Required.
	New func() (any, error)
	// ErrRunning is what a second concurrent Run returns. Required for a
	// Runner.
	ErrRunning error
	// ErrClosed is what Run returns after Close. Where it is nil, that is not
	// checked.
	ErrClosed error
	// Timeout bounds each step; a subject that hangs is reported, not waited
	// for. Defaults to 30s.
	Timeout time.Duration
}

// Stress fails t where the subject breaks the life cycle.
func Stress(t *testing.T, s Subject) {
	t.Helper()
	if err := Check(s); err != nil {
		t.Error(err)
	}
}

// label marks the goroutines of a check, and those that they start.
const label = "lifetest"

// checks numbers the checks of this process.
var checks atomic.Int64

// Check returns how the subject breaks the life cycle, or nil.
func Check(s Subject) error {
	if s.Timeout == 0 {
		s.Timeout = 30 * time.Second
	}
	id := fmt.Sprint(checks.Add(1))
	done := make(chan error, 1)
	go pprof.Do(context.Background(), pprof.Labels(label, id), func(context.Context) {
		done <- s.check()
	})
	err := <-done
	// What hangs in a step shows as a goroutine too, and says where.
	return errors.Join(err, s.noneLeft(id))
}

// check runs every step.
func (s Subject) check() error {
	var errs []error
	object, err := s.New()
	if err != nil {
		return fmt.Errorf("lifetest: New: %w", err)
	}

	runner, runs := object.(Runner)
	closer, closes := object.(Closer)
	if !runs && !closes {
		return fmt.Errorf("lifetest: %T has neither Run(context.Context) error nor Close() error", object)
	}

	if runs {
		if s.ErrRunning == nil {
			return errors.New("lifetest: Subject.ErrRunning is missing")
		}
		errs = append(errs, s.endedBefore(runner), s.exclusive(runner), s.stress(runner), s.exclusive(runner))
	}
	if closes {
		errs = append(errs, s.closing(closer))
	}

	if runs && closes && s.ErrClosed != nil {
		err, ok := s.within(func() error { return runner.Run(context.Background()) })
		if !ok || !errors.Is(err, s.ErrClosed) {
			errs = append(errs, fmt.Errorf("lifetest: Run after Close: %w, want %w", ended(err, ok), s.ErrClosed))
		}
	}
	return errors.Join(errs...)
}

// endedBefore runs with a context that has ended.
func (s Subject) endedBefore(runner Runner) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err, ok := s.within(func() error { return runner.Run(ctx) }); err != nil || !ok {
		return fmt.Errorf("lifetest: Run with a context that has ended: %w, want nil", ended(err, ok))
	}
	return nil
}

// exclusive runs twice at once: one of the two is refused at once, and the
// other one runs on until its context ends.
func (s Subject) exclusive(runner Runner) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	results := make(chan error, 2)
	for range 2 {
		go func() { results <- runner.Run(ctx) }()
	}

	// The first to return is the one that was refused.
	expire := time.After(s.Timeout)
	select {
	case err := <-results:
		if !errors.Is(err, s.ErrRunning) {
			return fmt.Errorf("lifetest: of two concurrent calls of Run the first to return returned %v, want ErrRunning from the second call while the first runs", err)
		}
	case <-expire:
		return errors.New("lifetest: two concurrent calls of Run both run, want ErrRunning from the second")
	}

	select {
	case err := <-results:
		return fmt.Errorf("lifetest: Run returned %v before its context ended", err)
	default:
	}

	cancel()
	select {
	case err := <-results:
		if err != nil {
			return fmt.Errorf("lifetest: Run after its context ended: %w, want nil", err)
		}
	case <-expire:
		return fmt.Errorf("lifetest: Run goes on %v after its context ended", s.Timeout)
	}
	return nil
}

// stress starts and stops from many goroutines at once.
func (s Subject) stress(runner Runner) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs = map[string]error{}
		runs atomic.Int64
	)

	for range Goroutines {
		wg.Go(func() {
			for range Cycles {
				ctx, cancel := context.WithCancel(context.Background())
				stop := time.AfterFunc(rand.N(time.Millisecond), cancel)
				err, ok := s.within(func() error { return runner.Run(ctx) })
				stop.Stop()
				cancel()
				switch {
				case ok && err == nil:
					runs.Add(1)
				case ok && errors.Is(err, s.ErrRunning):
				default:
					err = fmt.Errorf("lifetest: Run under stress: %w, want nil or ErrRunning", ended(err, ok))
					mu.Lock()
					errs[err.Error()] = err
					mu.Unlock()
					return
				}
			}
		})
	}

	wg.Wait()
	var all []error
	for _, err := range errs {
		all = append(all, err)
	}

	if runs.Load() == 0 && len(all) == 0 {
		all = append(all, fmt.Errorf("lifetest: none of %d calls of Run ran: one that returns does not let the next one in", Goroutines*Cycles))
	}
	return errors.Join(all...)
}

// closing closes from many goroutines at once, and once more.
func (s Subject) closing(closer Closer) error {
	errs := make([]error, Goroutines)
	var wg sync.WaitGroup

	for i := range errs {
		wg.Go(func() {
			if err, ok := s.within(closer.Close); err != nil || !ok {
				errs[i] = fmt.Errorf("lifetest: concurrent Close: %w, want nil", ended(err, ok))
			}
		})
	}
	wg.Wait()

	if err := errors.Join(errs...); err != nil {
		return err
	}

	if err, ok := s.within(closer.Close); err != nil || !ok {
		return fmt.Errorf("lifetest: Close after Close: %w, want nil", ended(err, ok))
	}
	return nil
}

// within returns what f returns; ok is false where it did not in time.
func (s Subject) within(f func() error) (err error, ok bool) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(s.Timeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err, true
	case <-timer.C:
		return nil, false
	}
}

// Sentinels that word the result of within.
var (
	errHangs = errors.New("does not return in time")
	errNil   = errors.New("no error")
)

// ended words the result of within.
func ended(err error, ok bool) error {
	switch {
	case !ok:
		return errHangs
	case err == nil:
		return errNil
	}
	return err
}

// noneLeft returns the goroutines of a check that still run after a while.
func (s Subject) noneLeft(id string) error {
	deadline := time.Now().Add(s.Timeout / 3)
	for {
		left := labelled(id)
		if left == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("lifetest: goroutines are left:\n%s", left)
		}
		// No event tells that a goroutine has ended.
		time.Sleep(time.Millisecond)
	}
}

// labelled returns the stacks of the goroutines of a check. Goroutines inherit
// their labels, so what other tests run at the same time is not among them.
func labelled(id string) string {
	var profile bytes.Buffer
	// Writing to a bytes.Buffer does not fail.
	_ = pprof.Lookup("goroutine").WriteTo(&profile, 1)
	mark := fmt.Sprintf("%q:%q", label, id)
	var found []string
	for entry := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(entry, mark) {
			found = append(found, entry)
		}
	}
	return strings.Join(found, "\n\n")
}
