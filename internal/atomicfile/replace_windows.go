package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Open opens path for reading. Others may replace or remove it meanwhile: os.Open
// does not ask for FILE_SHARE_DELETE, and a Root does.
func Open(path string) (*os.File, error) {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return os.Open(path)
	}
	defer func() { _ = root.Close() }() // nothing was written by it

	f, err := root.Open(filepath.Base(path))
	if err != nil {
		// A link that leads elsewhere, or an error that is to name the path.
		return os.Open(path)
	}
	return f, nil
}

// renameFor is how long a replaced file may be in use by somebody else: a
// reader, an indexer, or a scanner for viruses.
const renameFor = 2 * time.Second

// The errors of a file that somebody else has open, see System Error Codes in
// Microsoft's documentation.
const (
	errorSharingViolation = syscall.Errno(32)
	errorLockViolation    = syscall.Errno(33)
)

// rename tries again for a while, as a file that is open elsewhere cannot be
// replaced.
func rename(from, to string) error {
	wait := time.Millisecond
	for began := time.Now(); ; {
		err := os.Rename(from, to)
		if err == nil || time.Since(began) > renameFor {
			return err
		}
		if !errors.Is(err, syscall.ERROR_ACCESS_DENIED) && !errors.Is(err, errorSharingViolation) && !errors.Is(err, errorLockViolation) {
			return err
		}
		time.Sleep(wait)
		wait = min(2*wait, 50*time.Millisecond)
	}
}
