//go:build !windows

package atomicfile

import "os"

// Open opens path for reading. Others may replace or remove it meanwhile.
func Open(path string) (*os.File, error) { return os.Open(path) }

func rename(from, to string) error { return os.Rename(from, to) }
