// Package atomicfile replaces a file as a whole: whoever opens it sees the old
// content or the new, also after a crash.
package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// Open is os.Open, but on every system others may rename, replace or remove the
// file while it is open.
func Open(path string) (*os.File, error) { return OpenFile(path, os.O_RDONLY, 0) }

// Write replaces path with data: a temporary file in the same folder is
// written, synced, given perm and renamed over path, then the folder is synced.
// The owner of a file that is replaced stays, as far as the process may give
// files away, and on Linux its access control list and extended attributes, or
// Write fails. Another hard link to it keeps the old content.
// On an error path is as before and the temporary file is gone. A process
// killed midway leaves at most one file named ".<base>.tmp*" beside path.
func Write(path string, data []byte, perm os.FileMode) (err error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	tmp, err := os.CreateTemp(dir, "."+base+".tmp*")
	if err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}

	renamed := false
	defer func() {
		if err != nil && !renamed {
			err = errors.Join(fmt.Errorf("replace %s: %w", path, err), ignoreClosed(tmp.Close()), os.Remove(tmp.Name()))
		}
	}()

	// All that can fail for a full disk comes before the rename.
	if _, err = tmp.Write(data); err != nil {
		return err
	}
	keepOwner(tmp, path)
	if err = keepAttributes(tmp, path); err != nil {
		return err
	}
	if err = tmp.Chmod(perm); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}

	if err = Rename(tmp.Name(), path); err != nil {
		return err
	}
	renamed = true

	// Until the folder is on disk a crash may bring the old file back.
	if err = SyncDir(dir); err != nil {
		return fmt.Errorf("replace %s: written, but not yet durable: %w", path, err)
	}
	return nil
}

// SyncDir makes the names in dir durable. Windows has no such call; there it
// does nothing.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
