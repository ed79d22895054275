package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/svcblocks/svcblocks"

func list(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Fields(string(out))
}

// The binary for production is small and holds no part of the demo.
func TestProductionBinary(t *testing.T) {
	t.Parallel()
	for _, pkg := range list(t, "-deps", "-tags", "nodemo", ".") {
		if strings.HasSuffix(pkg, "/internal/demo") || strings.Contains(pkg, "emersion/") {
			t.Errorf("the build without the demo links %s", pkg)
		}
	}
	path := filepath.Join(t.TempDir(), "service")
	cmd := exec.Command("go", "build", "-tags", "nodemo", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	// 1.2 MB of it read pages in any character set, and know currencies.
	const limit = 19_000_000
	if info.Size() > limit {
		t.Errorf("the binary has %d bytes, more than %d", info.Size(), limit)
	}
	t.Logf("%d bytes", info.Size())
}

// What the showcase uses, its reader can use. What it imports of the module's
// internals is what every program of this repository keeps alike: which names a
// server answers to, which addresses are this machine, whose files it trusts, and
// what to do about an error of the system.
// It is run, not copied; a sample that is copied brings its own lines.
func TestNoInternalImports(t *testing.T) {
	t.Parallel()
	allowed := []string{"internal/health", "internal/loopback", "internal/safefile", "internal/safehttp"}
	seen := 0
	for _, edge := range list(t, "-deps", "-f", `{{$from := .ImportPath}}{{range .Imports}}{{$from}}>{{.}} {{end}}`, ".") {
		from, to, _ := strings.Cut(edge, ">")
		inner, ours := strings.CutPrefix(to, module+"/")
		if !strings.HasPrefix(from, module+"/examples/") || !ours || strings.HasPrefix(inner, "examples/") {
			continue
		}
		seen++
		if strings.Contains("/"+inner, "/internal/") && !slices.Contains(allowed, inner) {
			t.Errorf("%s imports %s", from, to)
		}
	}
	if seen < 10 {
		t.Errorf("%d imports of the module were found", seen)
	}
}
