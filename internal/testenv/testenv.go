// Package testenv finds the real parts that tests run against, or refuses the
// test, and scales repetitions.
//
// A test calls [Require] with the part that it needs. Where the part is absent
// the test is skipped with a message that says how to get it; with
// SVCBLOCKS_REQUIRE=all in the environment, as in CI, it fails instead.
// SVCBLOCKS_SOAK=1 asks for every repetition in full; without it [Reps] gives
// a tenth. With -short, tests of real parts are skipped.
package testenv

import (
	"os"
	"testing"
	"time"
)

// Soak reports whether every repetition and real-time bound is asked for.
func Soak() bool { return os.Getenv("SVCBLOCKS_SOAK") == "1" }

// Reps returns full under `make soak`, and a tenth of it, at least 1,
// otherwise: -short changes nothing, as a child process does not know it.
func Reps(full int) int {
	if Soak() {
		return full
	}
	return max(1, full/10)
}

// MemDir returns a folder for t that lies in memory where the system has room for
// one, and is removed at the end: to force data to a disk takes most of the time
// of a test that does it ten thousand times. Elsewhere it is t.TempDir.
func MemDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "svcblocks-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Slow skips t with -short: it takes more than a second or builds programs.
func Slow(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("testenv: slow, and -short is set")
	}
}

// Child returns what the environment variable name holds for a test that is a
// process of another test, by; it skips t where it is run by itself.
func Child(t testing.TB, name, by string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Skip("testenv: a process that " + by + " runs")
	}
	return value
}

// Within returns the bound on real time that a test holds: strict under
// `make soak`, else relaxed, which a busy machine keeps.
func Within(strict, relaxed time.Duration) time.Duration {
	if Soak() {
		return strict
	}
	return relaxed
}

// refuse skips t, or fails it where every part is required.
func refuse(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("SVCBLOCKS_REQUIRE") == "all" {
		t.Fatalf("testenv: SVCBLOCKS_REQUIRE=all, but "+format, args...)
	}
	t.Skipf("testenv: "+format, args...)
}
