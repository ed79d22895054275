package house_test

import (
	"bytes"
	"go/ast"
	"go/doc"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEveryPackageIsDocumented(t *testing.T) {
	t.Parallel()
	_, all := load(t)
	for _, p := range all {
		_, files := parse(t, p.Dir, p.GoFiles)
		var texts []string
		for _, f := range files {
			if f.Doc != nil {
				texts = append(texts, f.Doc.Text())
			}
		}
		switch {
		case len(p.GoFiles) == 0: // tests alone
		case len(texts) != 1:
			t.Errorf("%s has %d package texts, want 1", p.ImportPath, len(texts))
		case !strings.HasPrefix(texts[0], "Package "+p.Name+" "):
			t.Errorf("%s: the package text does not begin with %q", p.ImportPath, "Package "+p.Name)
		}
	}
}

func TestEveryExportedNameIsDocumented(t *testing.T) {
	t.Parallel()
	_, all := load(t)
	for _, p := range all {
		if len(p.GoFiles) == 0 {
			continue
		}
		fset, files := parse(t, p.Dir, p.GoFiles)
		d, err := doc.NewFromFiles(fset, files, p.ImportPath)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range d.Funcs {
			documented(t, fset, f.Decl.Pos(), f.Name, f.Doc)
		}
		for _, typ := range d.Types {
			documented(t, fset, typ.Decl.Pos(), typ.Name, typ.Doc)
			for _, f := range typ.Funcs {
				documented(t, fset, f.Decl.Pos(), f.Name, f.Doc)
			}
			for _, m := range typ.Methods {
				if !conventional[m.Name] {
					documented(t, fset, m.Decl.Pos(), m.Name, m.Doc)
				}
			}
			for _, v := range append(typ.Consts, typ.Vars...) {
				values(t, fset, v)
			}
		}
		for _, v := range append(d.Consts, d.Vars...) {
			values(t, fset, v)
		}
	}
}

// conventional are methods whose meaning their interface gives.
var conventional = map[string]bool{
	"Error": true, "Unwrap": true, "String": true, "LogValue": true, "Is": true, "Len": true, "Less": true, "Swap": true,
	"MarshalText": true, "UnmarshalText": true, "MarshalJSON": true, "UnmarshalJSON": true, "GoString": true, "Format": true,
}

func documented(t *testing.T, fset *token.FileSet, pos token.Pos, name, text string) {
	t.Helper()
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	if a, rest, ok := strings.Cut(strings.TrimSpace(text), " "); ok && (a == "A" || a == "An" || a == "The") {
		first, _, _ = strings.Cut(rest, " ")
	}
	if strings.TrimRight(first, ",.:'s") != strings.TrimRight(name, "s") && first != name {
		t.Errorf("%s: the comment of %s is missing, or does not begin with its name", fset.Position(pos), name)
	}
}

// values asks for a comment on the group or on each exported name in it.
func values(t *testing.T, fset *token.FileSet, v *doc.Value) {
	t.Helper()
	if strings.TrimSpace(v.Doc) != "" {
		return
	}
	for _, spec := range v.Decl.Specs {
		s := spec.(*ast.ValueSpec)
		if s.Doc == nil && s.Comment == nil && s.Names[0].IsExported() {
			t.Errorf("%s: %s has no comment", fset.Position(s.Pos()), s.Names[0].Name)
		}
	}
}

func TestEveryExportedTypeHasAnExample(t *testing.T) {
	t.Parallel()
	_, all := load(t)
	for _, p := range all {
		if p.internal() || len(p.GoFiles) == 0 {
			continue
		}
		fset, files := parse(t, p.Dir, p.GoFiles)
		d, err := doc.NewFromFiles(fset, files, p.ImportPath)
		if err != nil {
			t.Fatal(err)
		}
		_, tests := parse(t, p.Dir, append(p.XTestGoFiles, p.TestGoFiles...))
		names, shown := map[string]bool{}, map[string]bool{}
		for _, f := range tests {
			whole := len(doc.Examples(f)) > 0
			for _, ex := range doc.Examples(f) {
				typ, _, _ := strings.Cut(ex.Name, "_")
				names[typ] = true
			}
			if !whole {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := sel.X.(*ast.Ident); ok && x.Name == p.Name {
						shown[sel.Sel.Name] = true
					}
				}
				return true
			})
		}
		for _, typ := range d.Types {
			constructed := false
			for _, f := range typ.Funcs {
				constructed = constructed || shown[f.Name]
			}
			if ast.IsExported(typ.Name) && !names[typ.Name] && !shown[typ.Name] && !constructed {
				t.Errorf("%s.%s stands in no example", p.short(), typ.Name)
			}
		}
	}
}

// TestAPI holds the exported API against the accepted one, so that a change to
// it is seen in review.
func TestAPI(t *testing.T) {
	t.Parallel()
	dir, all := load(t)
	golden := filepath.Join("testdata", "api")
	seen := map[string]bool{}
	for _, p := range all {
		if p.internal() || len(p.GoFiles) == 0 {
			continue
		}
		cmd := exec.Command("go", "doc", "-all", p.ImportPath)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go doc %s: %v", p.ImportPath, err)
		}
		got := declarations(out)
		name := strings.ReplaceAll(p.short(), "/", "_")
		if name == "" {
			continue // the module's own page declares nothing
		}
		path := filepath.Join(golden, name+".txt")
		seen[filepath.Base(path)] = true
		if *update {
			if err := os.MkdirAll(golden, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v: accept the API with `make api-update`", err)
			continue
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("the API of %s changed; accept it with `make api-update` (-accepted +found):\n%s", p.short(), diff)
		}
	}
	entries, err := os.ReadDir(golden)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !seen[e.Name()] {
			if *update {
				_ = os.Remove(filepath.Join(golden, e.Name()))
				continue
			}
			t.Errorf("%s is the API of no package", e.Name())
		}
	}
}

var comment = regexp.MustCompile(`(?m)^\s*//.*\n`)

// declarations keeps what go doc prints from its first heading on, without
// comments: a better sentence is no change of the API.
func declarations(text []byte) []byte {
	for _, head := range []string{"CONSTANTS\n", "VARIABLES\n", "FUNCTIONS\n", "TYPES\n"} {
		if i := bytes.Index(text, []byte("\n"+head)); i >= 0 {
			text = text[i+1:]
			break
		}
	}
	var out bytes.Buffer
	for line := range bytes.Lines(comment.ReplaceAll(text, nil)) {
		if !bytes.HasPrefix(line, []byte("    ")) && len(bytes.TrimSpace(line)) > 0 {
			out.Write(line)
		}
	}
	return out.Bytes()
}
