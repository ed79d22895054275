//go:build !windows

package atomicfile

import "os"

// OpenFile is os.OpenFile, but on every system others may rename, replace or
// remove the file while it is open.
func OpenFile(path string, flag int, perm os.FileMode) (*os.File, error) {
	return os.OpenFile(path, flag, perm)
}

// Rename is os.Rename, but on every system a file that is open by [OpenFile]
// is renamed, and replaced, too.
func Rename(from, to string) error { return os.Rename(from, to) }
