package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// OpenFile is os.OpenFile, but on every system others may rename, replace or
// remove the file while it is open: os.OpenFile does not ask for
// FILE_SHARE_DELETE, and a Root does.
func OpenFile(path string, flag int, perm os.FileMode) (*os.File, error) {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return os.OpenFile(path, flag, perm) // its error names the path
	}
	defer func() { _ = root.Close() }() // nothing was written by it

	f, err := root.OpenFile(name, flag, perm)
	if err == nil {
		return f, nil
	}
	// A Root follows no link that leads elsewhere.
	if info, linkErr := os.Lstat(path); linkErr == nil && info.Mode()&fs.ModeSymlink != 0 {
		return os.OpenFile(path, flag, perm)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: err}
}

// renameFor is how long a file that is renamed or replaced may be in use by a
// program that does not share it: an editor, an indexer, or a scanner for
// viruses.
const renameFor = 2 * time.Second

// The errors of a file that somebody else has open, see System Error Codes in
// Microsoft's documentation.
const (
	errorSharingViolation = syscall.Errno(32)
	errorLockViolation    = syscall.Errno(33)
)

// Rename is os.Rename, but on every system a file that is open by [OpenFile]
// is renamed, and replaced, too. It tries again for 2 s where another program
// has a file open that it does not share.
func Rename(from, to string) error {
	wait := time.Millisecond
	for began := time.Now(); ; {
		err := rename(from, to)
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

// rename renames within a folder as a Root does, which asks for the semantics of
// POSIX: a file that is open elsewhere is replaced if it was opened so as to
// share that.
func rename(from, to string) error {
	dir := filepath.Dir(from)
	if filepath.Dir(to) != dir {
		return os.Rename(from, to)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return os.Rename(from, to) // its error names the paths
	}
	defer func() { _ = root.Close() }() // it only renames
	err = root.Rename(filepath.Base(from), filepath.Base(to))
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: e.Err}
	}
	return err
}
