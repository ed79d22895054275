package config_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestStoreysImportDownwards keeps the three storeys of the package apart:
// documents are bytes and trees, types are trees and Go values, and only the
// package itself knows files and layers.
func TestStoreysImportDownwards(t *testing.T) {
	t.Parallel()
	const module = "github.com/svcblocks/svcblocks/"
	for _, storey := range []struct {
		dir             string
		below, excluded []string
	}{
		{"internal/typed", []string{"config/internal/doc", "config/secret", "internal/options"}, []string{"os", "io/fs", "path/filepath"}},
		{"internal/doc", nil, []string{"reflect", "os", "io/fs", "path/filepath", "encoding"}},
	} {
		files, err := filepath.Glob(filepath.Join(storey.dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", storey.dir, len(files), err)
		}

		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range parsed.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if slices.Contains(storey.excluded, path) {
					t.Errorf("%s imports %s", file, path)
				}
				if strings.HasPrefix(path, module) && !slices.Contains(storey.below, strings.TrimPrefix(path, module)) {
					t.Errorf("%s imports %s, which does not lie below it", file, path)
				}
			}
		}
	}
}
