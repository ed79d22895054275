package testenv

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
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

// skip skips the test on Windows, for one of the reasons that docs/platforms.md
// lists.
func skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skipf("testenv: "+format, args...)
	}
}
