//go:build unix

package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// openLock opens what the lock of the file at path is held on: its folder.
func openLock(path string) (*os.File, error) { return os.Open(filepath.Dir(path)) }

// writeError wraps a failed write with what can be done about it.
func writeError(path string, err error) *WriteError {
	out := &WriteError{Path: path, Err: err}
	switch {
	case errors.Is(err, syscall.EBUSY):
		out.Hint = "the file is a mount of its own, as a single file mounted by Docker is; mount its folder instead"
	case errors.Is(err, syscall.EROFS):
		out.Hint = "the file system is read-only"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		out.Hint = "the disk is full"
	case errors.Is(err, fs.ErrPermission):
		out.Hint = "the process needs write permission on the file's folder"
	}
	return out
}
