package atomicfile_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
)

const (
	accessList  = "system.posix_acl_access"
	defaultList = "system.posix_acl_default"
)

// list is an access control list in the form of the kernel
// (linux/posix_acl_xattr.h): all may what mode says, and user 12345 may read.
func list() []byte {
	out := binary.LittleEndian.AppendUint32(nil, 2)
	const anyID = 0xffffffff
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{0x01, 6, anyID}, {0x02, 4, 12345}, {0x04, 4, anyID}, {0x10, 4, anyID}, {0x20, 0, anyID}} {
		out = binary.LittleEndian.AppendUint16(out, e.tag)
		out = binary.LittleEndian.AppendUint16(out, e.perm)
		out = binary.LittleEndian.AppendUint32(out, e.id)
	}
	return out
}

// setAttribute reports whether the file system has such attributes.
func setAttribute(t *testing.T, path, name, value string) bool {
	t.Helper()
	err := syscall.Setxattr(path, name, []byte(value), 0)
	if errors.Is(err, syscall.ENOTSUP) {
		t.Logf("files have no %s here", name)
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

func attribute(path, name string) string {
	buf := make([]byte, 1000)
	n, err := syscall.Getxattr(path, name, buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

func TestWriteKeepsAttributes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.yaml")
	if err := os.WriteFile(path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"user.note": "ours", "user.empty": "", accessList: string(list())} {
		if setAttribute(t, path, name, value) {
			defer func() {
				if got := attribute(path, name); got != value {
					t.Errorf("%s is %q, want %q", name, got, value)
				}
			}()
		}
	}
	if err := atomicfile.Write(path, []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v; want 0640", info.Mode(), err)
	}
}

// TestWriteTakesNoListOfTheFolder replaces a file that is older than its folder's
// list for new files.
func TestWriteTakesNoListOfTheFolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.yaml")
	if err := os.WriteFile(path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if !setAttribute(t, filepath.Dir(path), defaultList, string(list())) {
		return
	}
	if err := atomicfile.Write(path, []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	if got := attribute(path, accessList); got != "" {
		t.Errorf("the file took the list %q", got)
	}

	fresh := filepath.Join(filepath.Dir(path), "fresh.yaml")
	if err := atomicfile.Write(fresh, []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	if attribute(fresh, accessList) == "" {
		t.Error("a new file has no list")
	}
}
