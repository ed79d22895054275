//go:build unix

package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/svcblocks/svcblocks/internal/health"
)

// openLock opens what the lock of the file at path is held on: its folder.
func openLock(path string) (*os.File, error) { return os.Open(filepath.Dir(path)) }

// writeError wraps a failed write with what can be done about it.
func writeError(path string, err error) *WriteError {
	out := &WriteError{Path: path, Err: err}
	switch {
	case errors.Is(err, syscall.EBUSY):
		out.Hint = "the file is a mount of its own, as a single file mounted by Docker is; mount its folder instead"
	case errors.Is(err, fs.ErrPermission):
		out.Hint = "the process needs write permission on the file's folder"
	default:
		out.Hint = health.Advice(err)
	}
	return out
}
