package atomicfile

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

// accessList is the attribute that holds a file's access control list (acl(5)).
const accessList = "system.posix_acl_access"

// maxAttributes bounds the list of a file's attributes and the value of each, in
// bytes (linux/limits.h: XATTR_LIST_MAX, XATTR_SIZE_MAX).
const maxAttributes = 65536

// keepAttributes gives tmp the access control list and the extended attributes of
// the file it replaces. A list that the folder gives to new files is taken away:
// others could read more than before. An attribute of the user that cannot be
// kept is an error, and so is a list; the label of SELinux is kept where the
// process may. Those that belong to one content, as signatures do, are not.
func keepAttributes(tmp *os.File, path string) error {
	buf := make([]byte, maxAttributes)
	n, err := syscall.Listxattr(path, buf)
	if err != nil {
		return nil // there is no such file yet, or the file system has none
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	if !slices.Contains(names, accessList) {
		_ = syscall.Removexattr(tmp.Name(), accessList) // most often there is none
	}

	for _, name := range names {
		must := name == accessList || strings.HasPrefix(name, "user.")
		if !must && name != "security.selinux" {
			continue
		}
		n, err := syscall.Getxattr(path, name, buf)
		if err == nil {
			err = syscall.Setxattr(tmp.Name(), name, buf[:n], 0)
		}
		if err != nil && must {
			return fmt.Errorf("keep the attribute %s: %w", name, err)
		}
	}
	return nil
}
