//go:build !windows

package queue

import "os"

// renamesOpen says that an open file can be renamed.
const renamesOpen = true

// release runs change, which renames or removes f, under f's lock.
func release(_ *os.File, change func() error) error { return change() }
