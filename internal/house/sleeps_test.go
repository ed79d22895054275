package house_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSleeps counts, in the tests of every module, the calls of time.Sleep that
// wait in real time, those outside of a synctest bubble: each waits for luck. No
// folder may have more than testdata/sleeps.txt says, which -update makes
// smaller and never larger.
func TestSleeps(t *testing.T) {
	t.Parallel()
	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	found, places := map[string]int{}, map[string][]string{}
	err = eachTestFile(dir, func(room, path string) error {
		at, err := sleeps(path)
		if len(at) > 0 {
			found[room] += len(at)
			places[room] = append(places[room], at...)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	golden := filepath.Join("testdata", "sleeps.txt")
	allowed := readSleeps(t, golden)
	for room, n := range found {
		if n > allowed[room] {
			t.Errorf("%s: %d sleeps, at most %d: wait for an event, use testing/synctest or testenv.Eventually:\n%s", room, n, allowed[room], strings.Join(places[room], "\n"))
		}
	}
	if *update {
		writeSleeps(t, golden, found, allowed)
	}
}

// TestSkips finds tests that skip themselves: what is absent is testenv's to judge,
// which fails where every part is required.
func TestSkips(t *testing.T) {
	t.Parallel()
	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	err = eachTestFile(dir, func(room, path string) error {
		if strings.HasPrefix(room, "internal/testenv") {
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && slices.Contains([]string{"t.Skip", "t.Skipf", "t.SkipNow", "b.Skip", "b.Skipf", "tb.Skip", "tb.Skipf", "testing.Short"}, called(call)) {
				t.Errorf("%s: %s: use testenv.Require, or another of testenv", fset.Position(call.Pos()), called(call))
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// eachTestFile calls do with the folder, below dir, and the path of each file of
// tests.
func eachTestFile(dir string, do func(room, path string) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() != "." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		room, err := filepath.Rel(dir, filepath.Dir(path))
		if err != nil {
			return err
		}
		return do(filepath.ToSlash(room), path)
	})
}

// bubbles returns the functions in the tests of a folder that open a bubble:
// what is given to one of them runs in it.
func bubbles(dir string) (names map[string]bool, err error) {
	names = map[string]bool{}
	paths, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && called(call) == "synctest.Test" {
					names[fn.Name.Name] = true
				}
				return true
			})
		}
	}
	return names, nil
}

// called returns the name of the function that is called, with that of its
// package or receiver.
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}

// sleeps returns where a file calls time.Sleep outside of the functions that are
// given to one that opens a bubble. What a bubble calls by its name counts as
// outside.
func sleeps(path string) (places []string, err error) {
	open, err := bubbles(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name := called(call)
		if name == "time.Sleep" {
			places = append(places, fset.Position(call.Pos()).String())
		}
		return name != "synctest.Test" && (strings.Contains(name, ".") || !open[name])
	})
	return places, nil
}

func readSleeps(t *testing.T, golden string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var room string
		var n int
		if _, err := fmt.Sscan(line, &room, &n); err == nil {
			allowed[room] = n
		}
	}
	return allowed
}

func writeSleeps(t *testing.T, golden string, found, allowed map[string]int) {
	t.Helper()
	var rooms []string
	for room := range found {
		if allowed[room] > 0 {
			rooms = append(rooms, room)
		}
	}
	slices.Sort(rooms)
	var b bytes.Buffer
	b.WriteString("# folder, calls of time.Sleep in its tests that wait in real time\n")
	for _, room := range rooms {
		fmt.Fprintln(&b, room, min(found[room], allowed[room]))
	}
	if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil { //nolint:gosec // a golden file
		t.Fatal(err)
	}
}
