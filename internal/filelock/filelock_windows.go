package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// The locked byte lies past the end of any real file, as LockFileEx is
// mandatory for the region it covers.
var region = windows.Overlapped{Offset: 0xFFFFFFFE, OffsetHigh: 0x7FFFFFFF}

func tryLock(f *os.File) (bool, error) {
	err := control(f, func(h windows.Handle, o *windows.Overlapped) error {
		return windows.LockFileEx(h, windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, o)
	})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

func unlock(f *os.File) error {
	return control(f, func(h windows.Handle, o *windows.Overlapped) error {
		return windows.UnlockFileEx(h, 0, 1, 0, o)
	})
}

func control(f *os.File, call func(windows.Handle, *windows.Overlapped) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	o := region
	if err := conn.Control(func(fd uintptr) { callErr = call(windows.Handle(fd), &o) }); err != nil {
		return err
	}
	return callErr
}
