package testenv

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
)

// Symlink makes link point to target. Where there are no symbolic links, or none
// that a program can tell from a file, the test is skipped.
func Symlink(t testing.TB, target, link string) {
	t.Helper()
	if err := os.Symlink(target, link); err != nil {
		skip(t, "symbolic links need a right that this user has not: %v", err)
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		skip(t, "symbolic links cannot be told from files here, as under Wine")
		t.Fatalf("%s is no link: %v, %v", filepath.Base(link), info, err)
	}
}

// Symlinks skips the test where [Symlink] would.
func Symlinks(t testing.TB) {
	t.Helper()
	Symlink(t, "target", filepath.Join(t.TempDir(), "link"))
}

// RemovesOpen skips the test where a file that is open keeps its name when it is
// removed, until it is closed.
func RemovesOpen(t testing.TB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "open")
	f, err := atomicfile.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	err = os.Remove(path)
	_, left := os.Lstat(path)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if left == nil {
		skip(t, "a file that is removed while it is open keeps its name here, as under Wine")
		t.Fatal("a removed file keeps its name")
	}
}

// BusyFolders skips the test where a folder cannot be renamed while somebody
// watches it or has a file in it open.
func BusyFolders(t testing.TB) {
	t.Helper()
	skip(t, "a folder that is in use cannot be renamed here")
}

// UnixSockets skips the test where there are no sockets in the file system.
func UnixSockets(t testing.TB) {
	t.Helper()
	dir, err := os.MkdirTemp("", "s") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })

	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		skip(t, "there are no Unix sockets here, as under Wine: %v", err)
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
}

// Datagrams skips the test where no UDP port can be listened on.
func Datagrams(t testing.TB) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		skip(t, "UDP cannot be listened on here, as under Wine: %v", err)
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// Modes skips the test where a file's mode does not say who may use it.
func Modes(t testing.TB) {
	t.Helper()
	skip(t, "a file has no mode here: an access list says who may use it")
}

// Signals skips the test where a process can be killed but not be asked to end.
func Signals(t testing.TB) {
	t.Helper()
	skip(t, "a process cannot be sent a signal here, only be killed")
}

// Images skips the test where this user cannot mount an image of a file system of
// the given kind. A kernel that was built without it cannot be mended by a part.
func Images(t testing.TB, kind string) {
	t.Helper()
	known, err := os.ReadFile("/proc/filesystems")
	_, loop := os.Stat("/dev/loop-control")
	if err != nil || loop != nil || os.Geteuid() != 0 || !bytes.Contains(known, []byte("\t"+kind+"\n")) {
		t.Skipf("testenv: root of a kernel with %s and loop devices can mount an image of it", kind)
	}
}

// Shell skips the test where no sh runs a script.
func Shell(t testing.TB) {
	t.Helper()
	skip(t, "no shell runs a script here, and images are built where one does")
}

// skip skips the test on Windows, for one of the reasons that docs/platforms.md
// lists.
func skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skipf("testenv: "+format, args...)
	}
}
