//go:build !windows

package atomicfile

import "os"

// Open opens path for reading. Others may replace or remove it meanwhile.
func Open(path string) (*os.File, error) { return os.Open(path) }

// OpenFile is os.OpenFile. Others may rename or remove the file meanwhile.
func OpenFile(path string, flag int, perm os.FileMode) (*os.File, error) {
	return os.OpenFile(path, flag, perm)
}

func rename(from, to string) error { return os.Rename(from, to) }
