//go:build unix

package safefile

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// nonBlock keeps an open from waiting for the other end of a pipe that somebody
// planted; regular files do not care.
const nonBlock = syscall.O_NONBLOCK

// noFollow makes the kernel refuse a link at the last step.
const noFollow = syscall.O_NOFOLLOW | nonBlock

// ownerOf returns who owns a file and how many names it has.
func ownerOf(info fs.FileInfo) (owner int, links uint64) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), uint64(st.Nlink) //nolint:unconvert // its type differs by system
	}
	return -1, 1
}

// isLink reports whether an open failed because the last step is a link:
// FreeBSD says EMLINK.
func isLink(err error) bool {
	return errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK) || errors.Is(err, os.ErrExist)
}
