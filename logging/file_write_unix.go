//go:build unix

package logging

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// writeFile appends p to the file at path, whose descriptor is fd. The way through package os,
// made for files that several goroutines use and close, takes a twentieth of a
// record's cost; here a mutex guards both already.
func writeFile(_ *os.File, path string, fd uintptr, p []byte) (n int, err error) {
	for {
		m, err := syscall.Write(int(fd), p[n:])
		n += max(0, m)
		switch {
		case n == len(p):
			return n, nil
		case err != nil && !errors.Is(err, syscall.EINTR):
			return n, &fs.PathError{Op: "write", Path: path, Err: err}
		}
	}
}
