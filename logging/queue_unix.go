//go:build !windows

package logging

import "os"

// release runs change, which renames or removes f, under f's lock.
func release(_ *os.File, change func() error) error { return change() }
