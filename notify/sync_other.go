//go:build !linux

package notify

import "os"

// syncData forces what was written to f to the disk.
func syncData(f *os.File) error { return f.Sync() }
