//go:build unix

package logging

import (
	"fmt"
	"io/fs"
	"syscall"
)

// fileID names a file that is not written to any more, whatever its name is: by
// its inode and the time of the last write, as inodes are used again.
func fileID(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return unknownID
	}
	return fmt.Sprintf("%d.%d", st.Ino, info.ModTime().UnixNano())
}
