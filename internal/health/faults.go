package health

// StorageFault reports whether err is that of a disk that is full, over its
// quota, read-only or faulty, in the words of the system at hand.
func StorageFault(err error) bool {
	switch cause(err) {
	case noSpace, quota, readOnly, ioFault:
		return true
	}
	return false
}

// Disconnected reports whether err says that the other side of a connection, or
// the system, cut it off.
func Disconnected(err error) bool { return cause(err) == reset }
