package queue

import (
	"os"
	"syscall"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
)

// place gives the file at from the name to, and replaces none: another process
// may have made one in between, and then holds the name. MoveFile fails then,
// unlike os.Rename.
func place(from, to string) error {
	old, err := syscall.UTF16PtrFromString(from)
	if err != nil {
		return err
	}
	name, err := syscall.UTF16PtrFromString(to)
	if err != nil {
		return err
	}
	if err := syscall.MoveFile(old, name); err != nil {
		_ = os.Remove(from) // at worst an empty file beside the log
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// SameFile reports whether path still names f: its owner may have sealed or
// removed it between our open and our lock. Files of one folder are told apart
// by their numbers on the volume; os.SameFile compares the volumes too, and Wine
// knows none for a file that was renamed while it was open.
func SameFile(f *os.File, path string) bool {
	other, err := atomicfile.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = other.Close() }() // nothing was written

	a, errA := fileNumber(f)
	b, errB := fileNumber(other)
	return errA == nil && errB == nil && a == b
}

// fileNumber returns the number of f on its volume.
func fileNumber(f *os.File) (uint64, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info syscall.ByHandleFileInformation
	var callErr error
	if err := conn.Control(func(fd uintptr) {
		callErr = syscall.GetFileInformationByHandle(syscall.Handle(fd), &info)
	}); err != nil {
		return 0, err
	}
	return uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow), callErr
}
