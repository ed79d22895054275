package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
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
	const limit = 17_500_000
	if info.Size() > limit {
		t.Errorf("the binary has %d bytes, more than %d", info.Size(), limit)
	}
	t.Logf("%d bytes", info.Size())
}

// What an example uses, its reader can use: nothing internal of the module.
func TestNoInternalImports(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, edge := range list(t, "-deps", "-f", `{{$from := .ImportPath}}{{range .Imports}}{{$from}}>{{.}} {{end}}`, ".") {
		from, to, _ := strings.Cut(edge, ">")
		inner, ours := strings.CutPrefix(to, module+"/")
		if !strings.HasPrefix(from, module+"/examples/") || !ours || strings.HasPrefix(inner, "examples/") {
			continue
		}
		seen++
		if strings.Contains("/"+inner, "/internal/") {
			t.Errorf("%s imports %s", from, to)
		}
	}
	if seen < 10 {
		t.Errorf("%d imports of the module were found", seen)
	}
}
