package health

import (
	"slices"
	"syscall"
)

// StorageFault reports whether err is, or wraps, that of a disk that is full,
// over its quota, read-only or faulty, in the words of the system at hand.
func StorageFault(err error) bool { return wraps(err, noSpace, quota, readOnly, ioFault) }

// Disconnected reports whether err is, or wraps, one which says that the other
// side of a connection, or the system, cut it off.
func Disconnected(err error) bool { return wraps(err, reset) }

// wraps reports whether a system error in err has one of the causes.
func wraps(err error, causes ...int) (found bool) {
	walk(err, func(err error) bool {
		if no, ok := any(err).(syscall.Errno); ok {
			c, _ := causeOf(no)
			found = slices.Contains(causes, c)
		}
		return !found
	})
	return found
}
