package config

import (
	"os"
	"syscall"
)

// hasWriter reports whether a process has the file at path open for writing. The
// kernel refuses a read lease on such a file with EAGAIN (fcntl(2), F_SETLEASE).
// It gives one to the file's owner and to root alone, and not on every file
// system: false says that there is no writer, or that nobody can tell.
func hasWriter(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // a lease ends with its file

	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}

	refused := false
	_ = raw.Control(func(fd uintptr) {
		// Who opens the file while the lease is held waits for its end, and this
		// process is told by SIGIO, which may end a program that is not Go's own.
		// SIGURG is ignored unless somebody asks for it.
		if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_SETSIG, uintptr(syscall.SIGURG)); errno != 0 {
			return
		}
		_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_SETLEASE, syscall.F_RDLCK)
		if errno == 0 {
			_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_SETLEASE, syscall.F_UNLCK)
		}
		refused = errno == syscall.EAGAIN
	})
	return refused
}
