//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows

package filelock

import "os"

// control calls with f's descriptor, which stays open for the call.
func control(f *os.File, call func(fd uintptr) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	if err := conn.Control(func(fd uintptr) { callErr = call(fd) }); err != nil {
		return err
	}
	return callErr
}
