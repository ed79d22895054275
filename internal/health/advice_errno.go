//go:build unix || js || wasip1

package health

import "syscall"

// causeOf sorts the system errors of Unix.
func causeOf(no syscall.Errno) (int, bool) {
	switch no {
	case syscall.ENOSPC:
		return noSpace, true
	case syscall.EDQUOT:
		return quota, true
	case syscall.EFBIG:
		return tooLarge, true
	case syscall.EACCES:
		return noPermission, true
	case syscall.EPERM:
		return notPermitted, true
	case syscall.EROFS:
		return readOnly, true
	case syscall.EMFILE:
		return tooManyFiles, true
	case syscall.ENFILE:
		return tooManyFilesSystem, true
	case syscall.ENOMEM:
		return noMemory, true
	case syscall.ENOENT:
		return missing, true
	case syscall.ENOTDIR:
		return notFolder, true
	case syscall.ELOOP:
		return linked, true
	case syscall.EIO:
		return ioFault, true
	case syscall.ESTALE:
		return stale, true
	case syscall.EBUSY:
		return sharing, true
	case syscall.ECONNREFUSED:
		return refused, true
	case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED:
		return reset, true
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EADDRNOTAVAIL:
		return unreachable, true
	case syscall.ETIMEDOUT:
		return timedOut, true
	case syscall.EADDRINUSE:
		return addressInUse, true
	}

	return unknown, false
}
