//go:build !linux

package atomicfile

import "os"

// keepAttributes keeps nothing: what a file has besides its owner and mode is
// each system's own.
func keepAttributes(*os.File, string) error { return nil }
