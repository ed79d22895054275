//go:build !unix

package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/svcblocks/svcblocks/internal/safefile"
)

// openLock opens what the lock of the file at path is held on: a hidden file
// beside it, as folders cannot be locked here.
func openLock(path string) (*os.File, error) {
	dir, base := filepath.Split(path)
	return safefile.OpenFile(filepath.Join(dir, "."+base+".lock"), os.O_CREATE|os.O_RDWR, 0, safefile.Policy{})
}

// writeError wraps a failed write with what can be done about it.
func writeError(path string, err error) *WriteError {
	out := &WriteError{Path: path, Err: err}
	if errors.Is(err, fs.ErrPermission) {
		out.Hint = "the process needs write permission on the file's folder, and no other program may have it open"
	}
	return out
}
