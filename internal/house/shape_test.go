package house_test

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The bars of how code is laid out: the share of methods that stand in the file
// of their type, and the share of functions over 15 lines without a blank line.
const (
	methodsAtHome  = 95.0 // percent, at least
	withoutBlanks  = 30.0 // percent, at most
	longFunction   = 15   // lines of a body from which on it has paragraphs
	shapeFile      = "shape.txt"
	shapeTolerance = 1.0 // percent: what one method or function is in a small room
)

// shape counts what the bars are about in one block.
type shape struct {
	methods, atHome     int
	long, blankless     int
	strayed, paragraphs []string // where the worst are
}

func (s shape) home() float64 { return percent(s.atHome, s.methods) }
func (s shape) bare() float64 { return percent(s.blankless, s.long) }

func percent(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return 100 * float64(n) / float64(of)
}

// TestShape holds each block to the bars, and as long as it does not reach them
// to what it had reached before: testdata/shape.txt, which -update lowers and
// never raises.
func TestShape(t *testing.T) {
	t.Parallel()
	shapes := map[string]*shape{}
	_, all := load(t)
	for _, p := range all {
		room, _, _ := strings.Cut(p.short(), "/")
		if room == "" || len(p.GoFiles) == 0 {
			continue
		}
		if shapes[room] == nil {
			shapes[room] = &shape{}
		}
		fset, files := parse(t, p.Dir, p.GoFiles)
		shapes[room].methodsOf(fset, files)
		shapes[room].functionsOf(t, fset, files)
	}

	golden := filepath.Join("testdata", shapeFile)
	reached := readShapes(t, golden)
	var now strings.Builder
	now.WriteString("# room, percent of methods in their type's file, percent of long functions without a blank line\n")
	for _, room := range sortedNames(shapes) {
		s, before := shapes[room], reached[room]
		least, most := methodsAtHome, withoutBlanks
		if before != nil {
			least, most = min(least, before[0]), max(most, before[1])
		}
		if s.home() < least-shapeTolerance {
			wrong(t, room, "%s: %.1f %% of the methods stand in the file of their type, less than %.1f: %s", room, s.home(), least, some(s.strayed))
		}
		if s.bare() > most+shapeTolerance {
			wrong(t, room, "%s: %.1f %% of the functions over %d lines have no blank line, more than %.1f: %s", room, s.bare(), longFunction, most, some(s.paragraphs))
		}
		home, bare := s.home(), s.bare()
		if before != nil {
			home, bare = max(home, before[0]), min(bare, before[1])
		}
		fmt.Fprintf(&now, "%s %.1f %.1f\n", room, home, bare)
		t.Logf("%-10s methods at home %5.1f %% (bar %.0f), long functions without a blank line %5.1f %% (bar %.0f)", room, s.home(), methodsAtHome, s.bare(), withoutBlanks)
	}
	if *update {
		write(t, golden, now.String())
	}
}

// some names a few of many places.
func some(places []string) string {
	if len(places) > 8 {
		return strings.Join(places[:8], ", ") + fmt.Sprintf(" and %d more", len(places)-8)
	}
	return strings.Join(places, ", ")
}

func sortedNames[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func readShapes(t *testing.T, path string) map[string][]float64 {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	out := map[string][]float64{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var room string
		var home, bare float64
		if _, err := fmt.Sscan(line, &room, &home, &bare); err != nil {
			t.Fatalf("%s: %q: %v", path, line, err)
		}
		out[room] = []float64{home, bare}
	}
	return out
}

// methodsOf counts the methods of a package, and those in the file of their
// type.
func (s *shape) methodsOf(fset *token.FileSet, files []*ast.File) {
	home := map[string]string{}
	for _, f := range files {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				if typ, ok := spec.(*ast.TypeSpec); ok {
					home[typ.Name.Name] = fset.Position(f.Pos()).Filename
				}
			}
		}
	}

	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil {
				continue
			}
			s.methods++
			name := fset.Position(f.Pos()).Filename
			if home[receiver(fn)] == name {
				s.atHome++
			} else {
				s.strayed = append(s.strayed, filepath.Base(name)+": "+receiver(fn)+"."+fn.Name.Name)
			}
		}
	}
}

// receiver returns the name of the type that a method belongs to.
func receiver(fn *ast.FuncDecl) string {
	typ := fn.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// functionsOf counts the long functions of a package, and those without a
// blank line.
func (s *shape) functionsOf(t *testing.T, fset *token.FileSet, files []*ast.File) {
	t.Helper()
	for _, f := range files {
		path := fset.Position(f.Pos()).Filename
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Split(text, []byte("\n"))
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			from, to := fset.Position(fn.Body.Lbrace).Line, fset.Position(fn.Body.Rbrace).Line
			if to-from <= longFunction {
				continue
			}
			s.long++
			blank := slices.ContainsFunc(lines[from:to-1], func(line []byte) bool { return len(bytes.TrimSpace(line)) == 0 })
			if !blank {
				s.blankless++
				s.paragraphs = append(s.paragraphs, fmt.Sprintf("%s:%d %s (%d)", filepath.Base(path), from, fn.Name.Name, to-from-1))
			}
		}
	}
	slices.SortFunc(s.paragraphs, func(a, b string) int { return cmp.Compare(a, b) })
}

// predeclared are the names of the language that a declaration hides.
var predeclared = []string{
	"any", "append", "bool", "byte", "cap", "clear", "close", "comparable", "complex", "copy", "delete", "error",
	"false", "float32", "float64", "imag", "int", "int16", "int32", "int64", "int8", "iota", "len", "make", "max", "min",
	"new", "nil", "panic", "print", "println", "real", "recover", "rune", "string", "true", "uint", "uint16", "uint32",
	"uint64", "uint8", "uintptr",
}

// TestPredeclaredNamesAreNotHidden looks at variables, parameters, results,
// functions and types; fields and methods hide nothing.
func TestPredeclaredNamesAreNotHidden(t *testing.T) {
	t.Parallel()
	_, all := load(t)
	for _, p := range all {
		fset, files := parse(t, p.Dir, slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles))
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				for _, name := range declared(n) {
					if slices.Contains(predeclared, name.Name) {
						wrong(t, p.short(), "%s: %s hides what the language declares by that name", fset.Position(name.Pos()), name.Name)
					}
				}
				return true
			})
		}
	}
}

// declared returns the names that a node declares in its scope.
func declared(n ast.Node) (names []*ast.Ident) {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok == token.DEFINE {
			names = identifiers(n.Lhs)
		}
	case *ast.RangeStmt:
		if n.Tok == token.DEFINE {
			names = identifiers([]ast.Expr{n.Key, n.Value})
		}
	case *ast.ValueSpec:
		names = n.Names
	case *ast.TypeSpec:
		names = []*ast.Ident{n.Name}
	case *ast.FuncDecl:
		if n.Recv == nil {
			names = []*ast.Ident{n.Name}
		} else {
			names = n.Recv.List[0].Names
		}
	case *ast.FuncType:
		for _, list := range []*ast.FieldList{n.Params, n.Results, n.TypeParams} {
			if list == nil {
				continue
			}
			for _, f := range list.List {
				names = append(names, f.Names...)
			}
		}
	}
	return names
}

func identifiers(exprs []ast.Expr) (names []*ast.Ident) {
	for _, e := range exprs {
		if id, ok := e.(*ast.Ident); ok {
			names = append(names, id)
		}
	}
	return names
}
