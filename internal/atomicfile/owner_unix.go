//go:build unix

package atomicfile

import (
	"os"
	"syscall"
)

// keepOwner gives tmp the owner and group of the file it replaces, as far as
// the process may: root that changes the file of a service leaves it theirs.
func keepOwner(tmp *os.File, path string) {
	old, err := os.Stat(path)
	if err != nil {
		return
	}
	now, err := tmp.Stat()
	if err != nil {
		return
	}

	was, ok := old.Sys().(*syscall.Stat_t)
	is, also := now.Sys().(*syscall.Stat_t)
	if !ok || !also || was.Uid == is.Uid && was.Gid == is.Gid {
		return
	}
	if tmp.Chown(int(was.Uid), int(was.Gid)) != nil {
		_ = tmp.Chown(-1, int(was.Gid)) // a group of its own a user may give
	}
}
