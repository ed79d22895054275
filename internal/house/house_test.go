package house_test

import (
	"encoding/json"
	"errors"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "accept the API and the weights as they are")

const module = "github.com/svcblocks/svcblocks"

// pkg is what the rules need to know of a package of the root module.
type pkg struct {
	ImportPath   string
	Dir          string
	Name         string
	Imports      []string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
}

// short returns the import path without the module's.
func (p pkg) short() string { return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/") }

func (p pkg) internal() bool { return strings.Contains("/"+p.short()+"/", "/internal/") }

// suite reports whether the package is a conformance suite for tests.
func (p pkg) suite() bool { return strings.HasSuffix(p.Name, "test") }

var root = sync.OnceValues(func() (string, error) { return filepath.Abs(filepath.Join("..", "..")) })

var packages = sync.OnceValues(func() ([]pkg, error) {
	dir, err := root()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,Imports,GoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

func load(t *testing.T) (dir string, all []pkg) {
	t.Helper()
	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	all, err = packages()
	if err != nil {
		t.Fatalf("list the packages: %v", err)
	}
	if len(all) < 5 {
		t.Fatalf("only %d packages found", len(all))
	}
	return dir, all
}

func parse(t *testing.T, dir string, names []string) (*token.FileSet, []*ast.File) {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return fset, files
}

// blocks are the packages that must not know each other.
var blocks = []string{"config", "logging", "notify", "scrape"}

func block(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, module+"/"), "/")
	if slices.Contains(blocks, first) {
		return first
	}
	return ""
}

func TestBlocksDoNotImportEachOther(t *testing.T) {
	t.Parallel()
	_, all := load(t)
	for _, p := range all {
		own := block(p.ImportPath)
		for _, path := range p.Imports {
			if path == module+"/config/secret" || !strings.HasPrefix(path, module+"/") {
				continue // the secret type is shared, and has no dependencies
			}
			if other := block(path); other != own && other != "" {
				t.Errorf("%s imports %s: a block is imported alone, so it may know config/secret and internal leaves only", p.short(), path)
			}
		}
	}
}

// allowed names, for each package, the modules that its own files may import,
// and why. A package that is not listed uses the standard library alone.
var allowed = map[string]map[string]string{
	"config": {
		"github.com/fsnotify/fsnotify":    "follows files",
		"go.yaml.in/yaml/v3":              "YAML nodes with positions",
		"github.com/pelletier/go-toml/v2": "TOML with positions",
	},
	"config/koanf": {"github.com/knadh/koanf/v2": "the bridge to it"},
	"logging/sink": {"github.com/klauspost/compress": "gzip"},
	"notify/email": {
		"github.com/wneessen/go-mail": "the mechanisms of AUTH",
		"golang.org/x/net":            "IDNA",
	},
	"scrape": {
		"golang.org/x/net":              "public suffixes, and reading HTML",
		"github.com/klauspost/compress": "zstd",
		"github.com/andybalholm/brotli": "brotli",
	},
	"scrape/diskcache":  {"github.com/pquerna/cachecontrol": "RFC 9111's rules"},
	"scrape/scrapetest": {"golang.org/x/net": "frames of HTTP/2"},
	"scrape/text":       {"golang.org/x/net": "encodings of HTML"},
	"scrape/tor":        {"github.com/cretz/bine": "Tor's control protocol"},
}

// TestImportsAreAllowed holds the list of modules to those in use: one that
// nobody imports any more would come back unseen.
func TestImportsAreAllowed(t *testing.T) {
	t.Parallel()
	_, all := load(t)
	used := map[string]map[string]bool{}
	for _, p := range all {
		if p.internal() && block(p.ImportPath) == "" {
			continue // held by the rule for tests below, or used by tests alone
		}
		for _, path := range p.anyImports(t) {
			first, _, _ := strings.Cut(path, "/")
			if !strings.Contains(first, ".") || strings.HasPrefix(path, module) {
				continue
			}
			dir, prefix := allowedImport(p.short(), path)
			if prefix == "" {
				t.Errorf("%s imports %s, which is not in its list in internal/house: its users pay for it", p.short(), path)
				continue
			}
			if used[dir] == nil {
				used[dir] = map[string]bool{}
			}
			used[dir][prefix] = true
		}
	}

	for dir, modules := range allowed {
		for prefix := range modules {
			if !used[dir][prefix] {
				t.Errorf("%s does not import %s: take it off its list in internal/house", dir, prefix)
			}
		}
	}
}

// anyImports returns what the package's own files import on any platform.
func (p pkg) anyImports(t *testing.T) (paths []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			paths = append(paths, strings.Trim(i.Path.Value, `"`))
		}
	}
	return paths
}

// allowedImport returns the entry of the list that lets a package import path.
// An internal package has the entries of the package that it is within, a sink
// those of all sinks.
func allowedImport(from, path string) (dir, prefix string) {
	for dir, modules := range allowed {
		within := strings.HasPrefix(from, dir+"/internal/") || dir == "logging/sink" && strings.HasPrefix(from, dir+"/")
		if from != dir && !within {
			continue
		}
		for prefix := range modules {
			if strings.HasPrefix(path, prefix) {
				return dir, prefix
			}
		}
	}
	return "", ""
}

// testOnly must not reach a user's program.
var testOnly = []string{
	"testing", "testing/synctest", "github.com/google/go-cmp", "go.uber.org/goleak",
	module + "/internal/testenv", module + "/internal/lifetest",
}

func TestTestHelpersStayInTests(t *testing.T) {
	t.Parallel()
	_, all := load(t)
	for _, p := range all {
		if p.internal() || p.suite() {
			continue
		}
		for _, path := range p.Imports {
			if slices.ContainsFunc(testOnly, func(bad string) bool { return path == bad || strings.HasPrefix(path, bad+"/") }) {
				t.Errorf("%s imports %s outside its tests", p.short(), path)
			}
		}
	}
}

func TestLibraryLeavesTheProcessAlone(t *testing.T) {
	t.Parallel()
	_, all := load(t)
	forbidden := map[string][]string{
		"slog": {"Default", "SetDefault", "Info", "Warn", "Error", "Debug", "InfoContext", "WarnContext", "ErrorContext", "DebugContext"},
		"log":  {"Print", "Printf", "Println", "Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "SetOutput", "SetFlags"},
		"os":   {"Exit"},
	}
	for _, p := range all {
		if p.internal() {
			continue
		}
		fset, files := parse(t, p.Dir, p.GoFiles)
		for _, f := range files {
			for _, decl := range f.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s: func init", fset.Position(fn.Pos()))
				}
			}
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(forbidden[x.Name], sel.Sel.Name) {
					t.Errorf("%s: %s.%s", fset.Position(sel.Pos()), x.Name, sel.Sel.Name)
				}
				return true
			})
		}
	}
}

func TestRootModuleHasNoReplace(t *testing.T) {
	t.Parallel()
	dir, _ := load(t)
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"replace", "exclude", "nikoksr/notify", "toolchain"} {
		if strings.Contains(string(text), word) {
			t.Errorf("go.mod names %q, which would reach whoever imports this module", word)
		}
	}
}
