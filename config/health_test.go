package config_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/config"
)

// notices collects what OnError is told.
type notices struct {
	mu  sync.Mutex
	all []error
}

func (n *notices) add(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, err)
}

// take returns what came since the last call.
func (n *notices) take() []error {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.all
	n.all = nil
	return out
}

// wantTold checks that exactly one notice came, which matches sentinel and has
// all parts in its text; a nil sentinel stands for an end.
func wantTold(t *testing.T, told []error, sentinel error, parts ...string) {
	t.Helper()
	if len(told) != 1 {
		t.Fatalf("told %d times, want once: %v", len(told), told)
	}
	if sentinel == nil && (errors.Is(told[0], config.ErrStuck) || errors.Is(told[0], config.ErrLost)) || sentinel != nil && !errors.Is(told[0], sentinel) {
		t.Errorf("%v: want one that matches %v", told[0], sentinel)
	}
	for _, part := range parts {
		if !strings.Contains(told[0].Error(), part) {
			t.Errorf("%q: want %q in it", told[0], part)
		}
	}
}

// inBubble runs s until stop, which checks that all has ended.
func inBubble[T any](t *testing.T, s *config.Store[T]) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
		if err := s.Check(context.Background()); !errors.Is(err, config.ErrClosed) {
			t.Errorf("Check after Close: %v", err)
		}
	}
}

// TestCheckTellsWhatLasts breaks the settings file in several ways, for longer
// than a minute, and mends it.
func TestCheckTellsWhatLasts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, path string)
		parts []string
	}{
		"removed":   {func(t *testing.T, path string) { must(t, os.Remove(path)) }, []string{"the file is missing", "create it"}},
		"emptied":   {func(t *testing.T, path string) { must(t, os.WriteFile(path, nil, 0o600)) }, []string{"the file is empty"}},
		"a mistake": {func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("n: many\n"), 0o600)) }, []string{":1:4", "n:"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				path := write(t, t.TempDir(), "s.yaml", "n: 1\n")
				var told notices
				var logged bytes.Buffer
				s := load(t, watched{}, config.File(path), config.WithoutEvents(), config.OnError(told.add),
					config.Logger(slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelError}))))
				stop := inBubble(t, s)
				time.Sleep(time.Hour)
				if err := s.Check(t.Context()); err != nil || len(told.take()) > 0 {
					t.Errorf("all is well: %v", err)
				}

				tc.spoil(t, path)
				time.Sleep(50 * time.Second)
				if err := s.Check(t.Context()); err != nil || len(told.take()) > 0 || s.Stats().Err == nil || s.Stats().Failures != 1 {
					t.Errorf("it fails for less than a minute: %v, %+v", err, s.Stats())
				}
				time.Sleep(time.Hour)
				wantTold(t, told.take(), config.ErrStuck, append(tc.parts, "config: reload: stuck since ", path)...)
				if err := s.Check(t.Context()); !errors.Is(err, config.ErrStuck) || s.Get().N != 1 {
					t.Errorf("Check: %v, n is %d", err, s.Get().N)
				}

				must(t, os.WriteFile(path, []byte("n: 2\n"), 0o600))
				time.Sleep(time.Hour)
				wantTold(t, told.take(), nil, "config: reload: works again")
				if err := s.Check(t.Context()); err != nil || s.Get().N != 2 {
					t.Errorf("Check: %v, n is %d", err, s.Get().N)
				}
				stop()
				if n := strings.Count(logged.String(), "\n"); n != 2 {
					t.Errorf("%d lines, want the beginning and the end:\n%s", n, logged.String())
				}
			})
		})
	}
}

// leased resolves to a value with a lease, until err is set.
type leased struct {
	lease time.Duration
	mu    sync.Mutex
	err   error
}

func (l *leased) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *leased) Resolve(context.Context, string, string) (string, time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return "hunter22", l.lease, l.err
}

// TestCheckTellsOfReferences takes the place away that a reference leads to. It
// waits while the lease lasts, and is lost when that ends.
func TestCheckTellsOfReferences(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lease, before time.Duration
		last          error
	}{
		"with a lease":    {30 * time.Minute, 29 * time.Minute, config.ErrLost},
		"without a lease": {0, 29 * time.Minute, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				type settings struct{ Password config.Secret }
				path := write(t, t.TempDir(), "s.yaml", "password: ref+vaultlike://db#password\n")
				var told notices
				away := &leased{lease: tc.lease}
				begun := time.Now()
				s := load(t, settings{}, config.File(path), config.WithoutEvents(), config.OnError(told.add),
					config.Logger(slog.New(slog.DiscardHandler)), config.Resolve("vaultlike", away))
				stop := inBubble(t, s)
				synctest.Wait()
				away.fail(errors.New("the place of hunter22 is away"))

				time.Sleep(tc.before - time.Since(begun))
				first := told.take()
				wantTold(t, first, config.ErrStuck, "config: reference ref+vaultlike://db#password: stuck since ", "is away")
				if strings.Contains(first[0].Error(), "hunter22") {
					t.Errorf("%q shows the secret", first[0])
				}

				time.Sleep(time.Minute + time.Second) // the lease, if any, ends
				if tc.last == nil {
					if more := told.take(); len(more) > 0 {
						t.Errorf("told again: %v", more)
					}
				} else {
					wantTold(t, told.take(), tc.last, "no longer valid since ", "its lease has ended")
					if err := s.Check(t.Context()); !errors.Is(err, tc.last) {
						t.Errorf("Check: %v", err)
					}
				}

				away.fail(nil)
				time.Sleep(10 * time.Minute)
				wantTold(t, told.take(), nil, "works again")
				if err := s.Check(t.Context()); err != nil {
					t.Errorf("Check: %v", err)
				}
				stop()
			})
		})
	}
}

// TestStuckAfter has a bound of the caller's in place of a minute.
func TestStuckAfter(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		after time.Duration
		wait  time.Duration
		told  bool
	}{
		"before ten minutes": {10 * time.Minute, 9 * time.Minute, false},
		"after ten minutes":  {10 * time.Minute, 11 * time.Minute, true},
		"at once":            {-1, 50 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				path := write(t, t.TempDir(), "s.yaml", "n: 1\n")
				var told notices
				s := load(t, watched{}, config.File(path), config.WithoutEvents(), config.OnError(told.add),
					config.StuckAfter(tc.after), config.Logger(slog.New(slog.DiscardHandler)))
				stop := inBubble(t, s)
				must(t, os.Remove(path))
				time.Sleep(tc.wait)
				if got := len(told.take()) > 0; got != tc.told {
					t.Errorf("told after %v: %v, want %v", tc.wait, got, tc.told)
				}
				stop()
			})
		})
	}
}
