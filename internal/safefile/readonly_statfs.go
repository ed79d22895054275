//go:build darwin || dragonfly || freebsd || linux

package safefile

import "syscall"

// readOnly reports whether the file system of path is mounted so that nobody
// writes to it. ST_RDONLY of Linux and MNT_RDONLY of the others are 1.
func readOnly(path string) bool {
	var s syscall.Statfs_t
	return syscall.Statfs(path, &s) == nil && s.Flags&1 != 0
}
