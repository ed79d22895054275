package house_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// snippet is a block of Go in a page.
type snippet struct {
	line int
	text string
	skip string // why it is not compiled
}

var (
	fenceLine = regexp.MustCompile("^```+ *([a-z]*)")
	notRun    = regexp.MustCompile(`^<!-- not compiled: (.+) -->$`)
)

// snippets returns the blocks of Go of a page.
func snippets(text string) (list []snippet) {
	var open *snippet
	skip, language := "", ""
	for i, line := range strings.Split(text, "\n") {
		m := fenceLine.FindStringSubmatch(line)
		switch {
		case m != nil && open == nil:
			open, language = &snippet{line: i + 2, skip: skip}, m[1]
			skip = ""
		case m != nil:
			if language == "go" {
				list = append(list, *open)
			}
			open = nil
		case open != nil:
			open.text += line + "\n"
		default:
			skip = ""
			if m := notRun.FindStringSubmatch(line); m != nil {
				skip = m[1]
			}
		}
	}
	return list
}

// TestSnippets compiles every block of Go in the pages of the root module. A
// block that begins with "package" is a program. Others are the steps of one
// function, in which a step sees what those above it on the page declared, and
// may declare it anew; ctx is there, and a package is imported by being named.
// Where functions or types stand, they are those of the page's package. What a
// snippet leaves unused is no fault.
func TestSnippets(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	dir, _ := load(t)
	lib, err := library()
	if err != nil {
		t.Fatal(err)
	}

	pages := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != dir && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || exists(filepath.Join(path, "go.mod"))):
			return fs.SkipDir
		case filepath.Ext(path) != ".md" || d.Name() == "CHANGELOG.md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		list := snippets(string(text))
		if len(list) == 0 {
			return nil
		}
		pages++

		rel, err := filepath.Rel(dir, path)
		t.Run(filepath.ToSlash(rel), func(t *testing.T) {
			t.Parallel()
			for _, fault := range lib.check(list) {
				t.Errorf("%s:%s", rel, fault)
			}
		})
		return err
	})
	if err != nil || pages < 5 {
		t.Errorf("%d pages have snippets: %v", pages, err)
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// TestSnippetsAreChecked shows the checker what it must refuse.
func TestSnippetsAreChecked(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	lib, err := library()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, page, want string
	}{
		{"steps", "```go\nn := 1\n```\n```go\nn := strings.Repeat(\"a\", n)\n```\n", ""},
		{"a type and a step", "```go\ntype T struct{ A int }\n```\n```go\nfmt.Println(T{}.A, ctx)\n```\n", ""},
		{"unknown name", "```go\nstrings.Nope()\n```\n", "2: undefined: strings.Nope"},
		{"wrong type", "x\n```go\nvar n int = \"a\"\n```\n", `3: cannot use "a" (untyped string constant) as int value in variable declaration`},
		{"no Go", "```go\nx := …\n```\n", "2: "},
		{"left out", "<!-- not compiled: it is another's -->\n```go\nx := …\n```\n", ""},
		{"program", "```go\npackage main\n\nfunc main() { nope() }\n```\n", "4: undefined: nope"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(lib.check(snippets(tt.page)), "\n")
			if tt.want == "" && got != "" || !strings.HasPrefix(got, tt.want) {
				t.Errorf("faults %q, want %q", got, tt.want)
			}
		})
	}
}

// exports are what snippets can import.
type exports struct {
	file map[string]string // of compiled exports, by import path
	path map[string]string // import path by package name
}

// others are packages that snippets name beside ours and what ours import.
var others = []string{
	"expvar", "net/http/httptest", "os/signal", "testing",
	"github.com/knadh/koanf/v2", "github.com/samber/slog-multi",
}

var library = sync.OnceValues(func() (*exports, error) {
	dir, err := root()
	if err != nil {
		return nil, err
	}
	args := []string{"list", "-deps", "-export", "-json=ImportPath,Name,Export"}
	for _, b := range blocks {
		args = append(args, "./"+b+"/...")
	}
	cmd := exec.Command("go", append(args, others...)...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}

	l := &exports{map[string]string{}, map[string]string{}}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Name, Export string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return l, nil
		} else if err != nil {
			return nil, err
		}
		if p.Export == "" || p.Name == "main" {
			continue
		}
		l.file[p.ImportPath] = p.Export
		if isInternal(p.ImportPath) {
			continue
		}
		// Of packages with one name the snippets mean ours, then the shortest
		// path: text/template, which is shorter than html's, is not asked for.
		known, ok := l.path[p.Name]
		if ours := strings.HasPrefix(p.ImportPath, module); !ok || ours && !strings.HasPrefix(known, module) || len(p.ImportPath) < len(known) && !strings.HasPrefix(known, module) {
			l.path[p.Name] = p.ImportPath
		}
	}
})

func isInternal(p string) bool {
	return slices.ContainsFunc(strings.Split(p, "/"), func(part string) bool { return part == "internal" || part == "vendor" })
}

// check compiles the snippets of a page, and returns each fault with its line.
func (l *exports) check(list []snippet) (faults []string) {
	var declarations, steps []snippet
	for _, s := range list {
		switch {
		case s.skip != "":
		case strings.HasPrefix(s.text, "package "):
			faults = append(faults, l.compile(s.text, "", s.line-1)...)
		case isDeclaration(s.text):
			declarations = append(declarations, s)
		default:
			steps = append(steps, s)
		}
	}
	if len(declarations)+len(steps) == 0 {
		return faults
	}

	var source strings.Builder
	for _, s := range declarations {
		fmt.Fprintf(&source, "//line page:%d\n%s\n", s.line, s.text)
	}
	source.WriteString("func steps(ctx context.Context) error {\n")
	for _, s := range steps {
		fmt.Fprintf(&source, "{\n//line page:%d\n%s\n", s.line, s.text)
	}
	source.WriteString("return nil\n" + strings.Repeat("}\n", len(steps)) + "return nil\n}\n")
	return append(faults, l.compile("package page\n", source.String(), 0)...)
}

func isDeclaration(text string) bool {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			_, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+text, parser.SkipObjectResolution)
			return err == nil
		}
	}
	return false
}

// compile type-checks head, which may import, and body, for which the imports
// are added.
func (l *exports) compile(head, body string, offset int) (faults []string) {
	fset := token.NewFileSet()
	var source strings.Builder
	source.WriteString(head)
	if body != "" {
		probe, _ := parser.ParseFile(token.NewFileSet(), "", head+body, parser.SkipObjectResolution)
		if probe != nil {
			for _, name := range selected(probe) {
				if p := l.path[name]; p != "" {
					source.WriteString(fmt.Sprintf("import %s %q\n", name, p))
				}
			}
		}
		source.WriteString(body)
	}
	f, err := parser.ParseFile(fset, "page", source.String(), parser.SkipObjectResolution)
	if err != nil {
		return []string{place(err.Error(), offset)}
	}

	conf := types.Config{
		Importer: importer.ForCompiler(fset, "gc", func(p string) (io.ReadCloser, error) {
			if l.file[p] == "" {
				return nil, fmt.Errorf("package %s is not known", p)
			}
			return os.Open(l.file[p])
		}),
		Error: func(err error) {
			var e types.Error
			if errors.As(err, &e) && e.Soft {
				return // what is unused
			}
			faults = append(faults, place(err.Error(), offset))
		},
	}
	_, _ = conf.Check("page", fset, []*ast.File{f}, nil) // Error has them
	return faults
}

var position = regexp.MustCompile(`^[^:]*:([0-9]+):([0-9]+:)? (.*)`)

// place cuts the name of the file off a fault, and adds the lines above it.
func place(fault string, offset int) string {
	m := position.FindStringSubmatch(strings.SplitN(fault, "\n", 2)[0])
	if m == nil {
		return fault
	}
	var line int
	_, _ = fmt.Sscan(m[1], &line) // digits
	return fmt.Sprintf("%d: %s", line+offset, m[3])
}

// selected are the names of which something is selected: those of packages
// among them.
func selected(f *ast.File) (names []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := s.X.(*ast.Ident); ok {
				names = append(names, id.Name)
			}
		}
		return true
	})
	names = append(names, "context")
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return path.Base(name) != name })
}
