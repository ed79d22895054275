//go:build !unix && !windows && !js && !wasip1

package health

import "syscall"

// causeOf knows nothing here; io/fs tells the most common causes apart.
func causeOf(syscall.Errno) (int, bool) { return unknown, false }
