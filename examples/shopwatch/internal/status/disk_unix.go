//go:build linux || darwin

package status

import "golang.org/x/sys/unix"

// disk returns the bytes of the disk that holds path, and those that the
// service may still use.
func disk(path string) (size, free uint64, ok bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, false
	}
	block := uint64(st.Bsize)
	return uint64(st.Blocks) * block, uint64(st.Bavail) * block, true
}
