package testenv_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// recorder is a testing.TB that notes how a test was refused.
type recorder struct {
	testing.TB
	skipped, failed string
}

// stop unwinds from a recorder as Skipf and Fatalf do.
type stop struct{}

func (r *recorder) Helper() {}

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	panic(stop{})
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	panic(stop{})
}

// require calls Require and returns how it refused.
func require(t *testing.T, name string) (part testenv.Part, r *recorder) {
	t.Helper()
	r = &recorder{TB: t}
	defer func() {
		if v := recover(); v != nil && v != (stop{}) {
			panic(v)
		}
	}()
	part = testenv.Require(r, name)
	return part, r
}

func TestRequireFinds(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "tor")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho found\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	part, r := require(t, "tor")
	if part.Path != program || r.skipped+r.failed != "" {
		t.Errorf("Require(tor) = %+v, skipped %q, failed %q; want %s", part, r.skipped, r.failed, program)
	}
}

func TestRequireRefuses(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for _, tc := range []struct{ name, want string }{
		{"syslog-ng", ".ci/deps.sh"},
		{"axe-core", ".ci/deps.sh"},
		{"unheard-of", `no part is called "unheard-of"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("SVCBLOCKS_REQUIRE", "")
			_, r := require(t, tc.name)
			if !strings.Contains(r.skipped, tc.want) || r.failed != "" {
				t.Errorf("skipped %q, failed %q; want a skip with %q", r.skipped, r.failed, tc.want)
			}
			t.Setenv("SVCBLOCKS_REQUIRE", "all")
			_, r = require(t, tc.name)
			if !strings.Contains(r.failed, tc.want) || r.skipped != "" {
				t.Errorf("skipped %q, failed %q; want a failure with %q", r.skipped, r.failed, tc.want)
			}
		})
	}
}

// TestPartsRun runs each part that is here, so that a part which cannot
// start is told from one that is there.
func TestPartsRun(t *testing.T) {
	for _, tc := range []struct{ name, arg, want string }{
		{"tor", "--version", "Tor version"},
		{"nginx", "-v", "nginx"},
		{"chromium", "--version", "Chrom"},
		{"syslog-ng", "--version", "syslog-ng"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			out, err := testenv.Require(t, tc.name).Command(tc.arg).CombinedOutput()
			if err != nil || !strings.Contains(string(out), tc.want) {
				t.Errorf("%s %s: %v: %s", tc.name, tc.arg, err, out)
			}
		})
	}
}

func TestReps(t *testing.T) {
	for _, tc := range []struct {
		soak       string
		full, want int
	}{
		{"", 400, 40},
		{"", 5, 1},
		{"1", 400, 400},
		{"1", 5, 5},
	} {
		t.Setenv("SVCBLOCKS_SOAK", tc.soak)
		if got := testenv.Reps(tc.full); got != tc.want {
			t.Errorf("SVCBLOCKS_SOAK=%q: Reps(%d) = %d, want %d", tc.soak, tc.full, got, tc.want)
		}
	}
}

func TestWithin(t *testing.T) {
	t.Setenv("SVCBLOCKS_SOAK", "1")
	if got := testenv.Within(time.Second, time.Minute); got != time.Second {
		t.Errorf("under soak: %v, want 1s", got)
	}
	t.Setenv("SVCBLOCKS_SOAK", "")
	if got := testenv.Within(time.Second, time.Minute); got != time.Minute {
		t.Errorf("otherwise: %v, want 1m", got)
	}
}

// TestDependencies runs .ci/deps.sh where it can get nothing, and expects it
// to name what is missing.
func TestDependencies(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil || runtime.GOOS == "windows" {
		t.Logf("no bash, or not one that Unix knows: %v", err)
		return
	}
	// Without apt-get on PATH the script can only say what is missing.
	bin := t.TempDir()
	for _, name := range []string{"bash", "uname", "grep", "find", "sort", "tr", "ldd", "id", "cat"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	script, err := filepath.Abs("../../.ci/deps.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		require string
		code    int
	}{{"", 0}, {"all", 1}} {
		cmd := exec.Command(filepath.Join(bin, "bash"), script)
		cmd.Env = []string{
			"PATH=" + bin, "XDG_CACHE_HOME=" + t.TempDir(), "SVCBLOCKS_REQUIRE=" + tc.require,
		}
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != tc.code || !strings.Contains(string(out), "not here:") {
			t.Errorf("SVCBLOCKS_REQUIRE=%q: exit %d, want %d, and the missing parts: %s", tc.require, code, tc.code, out)
		}
	}
}
