package health

import "syscall"

// causeOf sorts the system errors of Windows. Those of sockets and of the file
// system are not the constants of package syscall, which are invented ones.
// Numbers are from winerror.h.
func causeOf(no syscall.Errno) (int, bool) {
	switch no {
	case 39, 112: // ERROR_HANDLE_DISK_FULL, ERROR_DISK_FULL
		return noSpace, true
	case 1295: // ERROR_DISK_QUOTA_EXCEEDED
		return quota, true
	case 223: // ERROR_FILE_TOO_LARGE
		return tooLarge, true
	case 5: // ERROR_ACCESS_DENIED
		return noPermission, true
	case 1314: // ERROR_PRIVILEGE_NOT_HELD
		return notPermitted, true
	case 19: // ERROR_WRITE_PROTECT
		return readOnly, true
	case 4, 10024: // ERROR_TOO_MANY_OPEN_FILES, WSAEMFILE
		return tooManyFiles, true
	case 8, 14, 1450: // ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_NO_SYSTEM_RESOURCES
		return noMemory, true
	case 2, 3, 53, 67: // ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND, ERROR_BAD_NETPATH, ERROR_BAD_NET_NAME
		return missing, true
	case 267: // ERROR_DIRECTORY
		return notFolder, true
	case 1921: // ERROR_CANT_RESOLVE_FILENAME
		return linked, true
	case 1117: // ERROR_IO_DEVICE
		return ioFault, true
	case 59, 64: // ERROR_UNEXP_NET_ERR, ERROR_NETNAME_DELETED
		return stale, true
	case 32, 33: // ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION
		return sharing, true
	case 10061: // WSAECONNREFUSED
		return refused, true
	case 10053, 10054: // WSAECONNABORTED, WSAECONNRESET
		return reset, true
	case 10049, 10050, 10051, 10064, 10065: // WSAEADDRNOTAVAIL, WSAENETDOWN, WSAENETUNREACH, WSAEHOSTDOWN, WSAEHOSTUNREACH
		return unreachable, true
	case 10060: // WSAETIMEDOUT
		return timedOut, true
	case 10048: // WSAEADDRINUSE
		return addressInUse, true
	}

	return unknown, false
}
