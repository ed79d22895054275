package house_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```")

// TestREADME builds each program of the README as if it were a package of this
// module, and holds the page to its length.
func TestREADME(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds programs")
	}
	dir, _ := load(t)
	text, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines > 150 {
		t.Errorf("README.md has %d lines, more than 150", lines)
	}
	for _, command := range []string{"make run", "make test"} {
		if !strings.Contains(string(text), command) {
			t.Errorf("README.md does not show %q", command)
		}
	}
	programs := goBlock.FindAllSubmatch(text, -1)
	if len(programs) < len(blocks) {
		t.Errorf("README.md shows %d programs, want one for each of %v", len(programs), blocks)
	}
	scratch := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	args := []string{"build", "-overlay", filepath.Join(scratch, "overlay.json")}
	for i, p := range programs {
		if lines := strings.Count(string(p[1]), "\n"); lines > 25 {
			t.Errorf("program %d of README.md has %d lines, more than 25", i+1, lines)
		}
		source := filepath.Join(scratch, fmt.Sprintf("readme%d.go", i))
		write(t, source, string(p[1]))
		overlay.Replace[filepath.Join(dir, "internal", "house", fmt.Sprintf("readme%d", i), "main.go")] = source
		args = append(args, fmt.Sprintf("./internal/house/readme%d", i))
	}
	spec, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(scratch, "overlay.json"), string(spec))
	run(t, dir, os.Environ(), "go", args...)
}
