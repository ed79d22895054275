// Package filelock takes advisory locks on open files. A lock belongs to the
// open file, not to its name: it stays when the file is renamed, and the
// kernel drops it when the last descriptor is closed, also after kill -9.
//
// The locks are flock(2) on Unix and LockFileEx on Windows, there on a region
// past the end of any file so that readers are not shut out. They hold between
// processes of one machine; network file systems are not supported.
package filelock

import (
	"context"
	"fmt"
	"os"
	"time"
)

// TryLock takes an exclusive lock on f without waiting. It reports false when
// another open file holds one.
func TryLock(f *os.File) (bool, error) {
	ok, err := tryLock(f)
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return ok, nil
}

// Lock takes an exclusive lock on f, waiting until ctx ends.
func Lock(ctx context.Context, f *os.File) error {
	wait := time.Millisecond
	for {
		ok, err := TryLock(f)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock %s: held by another process: %w", f.Name(), context.Cause(ctx))
		case <-time.After(wait):
		}
		wait = min(2*wait, 50*time.Millisecond)
	}
}

// Unlock drops the lock on f. Closing f drops it too.
func Unlock(f *os.File) error {
	if err := unlock(f); err != nil {
		return fmt.Errorf("unlock %s: %w", f.Name(), err)
	}
	return nil
}
