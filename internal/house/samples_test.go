package house_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// adopted are the samples that readers copy into modules of their own.
var adopted = []string{"minimal", "adopt/step0", "adopt/step1", "adopt/step2", "adopt/step3", "adopt/step4"}

// TestSamplesBuildElsewhere builds each in a module outside of the repository,
// against this module as a proxy would serve it, with no replace. What it
// imports of this module, everybody can import.
func TestSamplesBuildElsewhere(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	dir, _ := load(t)
	const version = "v0.0.1"
	env := proxy(t, dir, version)
	sum, err := os.ReadFile(filepath.Join(dir, "go.sum")) // known checksums: no look-up needed
	if err != nil {
		t.Fatal(err)
	}
	diffs, err := filepath.Glob(filepath.Join(dir, "examples", "adopt", "step*.diff"))
	if err != nil || len(diffs) != len(adopted)-2 {
		t.Errorf("adopt has %d diffs, %d are built here: %v", len(diffs), len(adopted)-2, err)
	}
	for n, name := range adopted {
		at := t.TempDir()
		from, diffed := name, strings.HasPrefix(name, "adopt/step") && n > 1 // all but the first
		if diffed {
			from = adopted[1]
		}
		sources, err := filepath.Glob(filepath.Join(dir, "examples", filepath.FromSlash(from), "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, source := range sources {
			if strings.HasSuffix(source, "_test.go") {
				continue
			}
			text, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(at, filepath.Base(source)), string(text))
		}
		if diffed {
			for _, diff := range diffs[:n-1] {
				run(t, at, env, "patch", "main.go", diff)
			}
		}
		write(t, filepath.Join(at, "go.mod"), fmt.Sprintf("module example.com/mine\n\ngo 1.26.0\n\nrequire %s %s\n", module, version))
		write(t, filepath.Join(at, "go.sum"), string(sum))
		run(t, at, env, "go", "mod", "tidy")
		if mod := run(t, at, env, "go", "mod", "edit", "-json"); strings.Contains(mod, `"Replace": [`) {
			t.Errorf("%s: go.mod replaces something:\n%s", name, mod)
		}
		_, linked := build(t, at, env)
		imports := strings.Fields(run(t, at, env, "go", "list", "-f", "{{join .Imports \"\\n\"}}", "."))
		own := 0
		for _, path := range imports {
			if path != module && !strings.HasPrefix(path, module+"/") {
				continue
			}
			own++
			if slices.Contains(strings.Split(path, "/"), "internal") || strings.HasPrefix(path, module+"/examples") {
				t.Errorf("%s imports %s, which its readers cannot", name, path)
			}
		}
		if want := name != "adopt/step0"; (own > 0) != want {
			t.Errorf("%s imports %d of our packages", name, own)
		}
		t.Logf("%s: %d of our packages, %d modules linked", name, own, len(linked))
	}
}
