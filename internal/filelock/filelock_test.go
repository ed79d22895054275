package filelock_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/filelock"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestLockExcludesOtherOpenFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	a, b := open(t, path), open(t, path)
	if ok, err := filelock.TryLock(a); !ok || err != nil {
		t.Fatalf("first TryLock = %v, %v; want true", ok, err)
	}
	if ok, err := filelock.TryLock(b); ok || err != nil {
		t.Fatalf("second TryLock = %v, %v; want false", ok, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := filelock.Lock(ctx, b); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Lock under a deadline = %v, want DeadlineExceeded", err)
	}
	if err := filelock.Unlock(a); err != nil {
		t.Fatal(err)
	}
	if err := filelock.Lock(t.Context(), b); err != nil {
		t.Fatalf("Lock after Unlock: %v", err)
	}
}

func TestCloseDropsLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	a, b := open(t, path), open(t, path)
	if ok, err := filelock.TryLock(a); !ok || err != nil {
		t.Fatalf("TryLock = %v, %v; want true", ok, err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if ok, err := filelock.TryLock(b); !ok || err != nil {
		t.Fatalf("TryLock after Close = %v, %v; want true", ok, err)
	}
	if _, err := filelock.TryLock(a); err == nil {
		t.Fatal("TryLock of a closed file succeeded")
	}
}

// Who holds a lock is read as it was written; of anything else nothing is said.
func TestHolder(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if got := filelock.HolderOf(f); got != (filelock.Holder{}) {
		t.Errorf("an empty file gives %+v", got)
	}

	before := time.Now()
	filelock.Beat(f, time.Minute)
	got := filelock.HolderOf(f)
	if got.PID != os.Getpid() || got.At.Before(before) || time.Since(got.At) < 0 || got.Every != time.Minute {
		t.Errorf("got %+v", got)
	}

	for _, text := range []string{"1 2", "1 2 x", "1 2 3 4", "\x00\x00\x00", strings.Repeat("9", 80)} {
		if err := errors.Join(f.Truncate(0), os.WriteFile(f.Name(), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		if got := filelock.HolderOf(f); got != (filelock.Holder{}) {
			t.Errorf("%q gives %+v", text, got)
		}
	}
}
