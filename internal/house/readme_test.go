package house_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// TestREADME builds the program of the README as if it were a package of this
// module, runs it against a site that has no page, and holds the page to its length.
// TestSnippets compiles the rest.
func TestREADME(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
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
	programs := slices.DeleteFunc(snippets(string(text)), func(s snippet) bool { return !strings.HasPrefix(s.text, "package main\n") })
	if len(programs) != 1 {
		t.Fatalf("README.md shows %d programs, want one", len(programs))
	}
	if lines := strings.Count(programs[0].text, "\n"); lines > 32 {
		t.Errorf("the program of README.md has %d lines, more than 32", lines)
	}

	scratch := t.TempDir()
	source, program := filepath.Join(scratch, "main.go"), filepath.Join(scratch, "orders.exe")
	site := httptest.NewServer(http.NotFoundHandler())
	defer site.Close()
	write(t, source, strings.NewReplacer("https://shop.invalid/", site.URL, "Egress: scrape.Direct()",
		`Egress: scrape.Direct(), Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}`,
		`"log/slog"`, "\"log/slog\"\n\t\"net/netip\"").Replace(programs[0].text))
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(dir, "internal", "house", "readme", "main.go"): source}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(scratch, "overlay.json"), string(overlay))
	run(t, dir, os.Environ(), "go", "build", "-o", program, "-overlay", filepath.Join(scratch, "overlay.json"), "./internal/house/readme")

	out := run(t, scratch, os.Environ(), program)
	record, err := os.ReadFile(filepath.Join(scratch, "app.log"))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{out: "] shop is away\n<nil> <nil> <nil>\n", string(record): `"msg":"shop is away","error":null}`} {
		if !strings.Contains(text, want) {
			t.Errorf("the program of README.md gives %q, without %q", text, want)
		}
	}
}
