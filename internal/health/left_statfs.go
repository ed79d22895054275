//go:build darwin || dragonfly || freebsd || linux

package health

import "syscall"

// left returns the free blocks for ordinary users and the free inodes of the
// file system of path. A file system that counts no inodes has enough.
func left(path string) (space, inodes uint64, ok bool) {
	var s syscall.Statfs_t
	if syscall.Statfs(path, &s) != nil {
		return 0, 0, false
	}
	space, inodes = uint64(max(s.Bavail, 0)), uint64(max(s.Ffree, 0)) //nolint:gosec,unconvert // signed on some systems
	if s.Files == 0 {
		inodes = 1
	}
	return space, inodes, true
}
