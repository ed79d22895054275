package filelock_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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
