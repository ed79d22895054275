//go:build !windows

package queue

import (
	"errors"
	"io/fs"
	"os"
)

// place gives the file at from the name to, and replaces none: another process
// may have made one in between, and then holds the name.
func place(from, to string) error {
	err := os.Link(from, to)
	if _, gone := os.Lstat(to); err != nil && errors.Is(gone, fs.ErrNotExist) {
		return os.Rename(from, to) // a file system without hard links
	}
	_ = os.Remove(from) // at worst an empty file beside the log
	return err
}

// SameFile reports whether path still names f: its owner may have sealed or
// removed it between our open and our lock.
func SameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}
