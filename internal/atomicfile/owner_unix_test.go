//go:build unix

package atomicfile_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
)

func TestWriteKeepsOwner(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.yaml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Getuid(), os.Getgid()
	if os.Geteuid() == 0 { // only root may give a file away
		uid, gid = 12345, 23456
		if err := os.Chown(path, uid, gid); err != nil {
			t.Logf("files have one owner here: %v", err)
			uid, gid = 0, 0
		}
	}
	if err := atomicfile.Write(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != uid || int(st.Gid) != gid || info.Mode().Perm() != 0o600 {
		t.Errorf("owner %d:%d, mode %v; want %d:%d, 0600", st.Uid, st.Gid, info.Mode().Perm(), uid, gid)
	}
}
