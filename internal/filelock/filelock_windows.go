package filelock

import (
	"errors"
	"os"
	"syscall"
	"unsafe"
)

// From fileapi.h and winerror.h. The standard library does not export them,
// and a dependency for two calls would reach everyone who imports a block.
const (
	lockfileFailImmediately = 0x1
	lockfileExclusiveLock   = 0x2
	errorLockViolation      = syscall.Errno(33)
)

func tryLock(f *os.File) (bool, error) {
	err := call(f, "LockFileEx", lockfileExclusiveLock|lockfileFailImmediately, 0, 1, 0)
	if errors.Is(err, errorLockViolation) {
		return false, nil
	}
	return err == nil, err
}

func unlock(f *os.File) error { return call(f, "UnlockFileEx", 0, 1, 0) }

// call runs a function of kernel32 whose arguments are f's handle, args and
// the region to lock: one byte past the end of any real file, as LockFileEx is
// mandatory for what it covers.
func call(f *os.File, name string, args ...uintptr) error {
	return control(f, func(fd uintptr) error {
		region := syscall.Overlapped{Offset: 0xFFFFFFFE, OffsetHigh: 0x7FFFFFFF}
		all := append([]uintptr{fd}, args...)
		ok, _, err := syscall.NewLazyDLL("kernel32.dll").NewProc(name).Call(append(all, uintptr(unsafe.Pointer(&region)))...)
		if ok == 0 {
			return err
		}
		return nil
	})
}
