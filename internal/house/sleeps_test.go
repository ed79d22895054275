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
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() != "." && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		room, err := filepath.Rel(dir, filepath.Dir(path))
		if err != nil {
			return err
		}
		at, err := sleeps(path)
		if len(at) > 0 {
			room = filepath.ToSlash(room)
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

// sleeps returns where a file calls time.Sleep outside of the function that is
// given to synctest.Test. What a bubble calls by its name counts as outside.
func sleeps(path string) (places []string, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var visit func(n ast.Node) bool
	visit = func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		from, ok := selector.X.(*ast.Ident)
		switch {
		case ok && from.Name == "synctest" && selector.Sel.Name == "Test":
			return false
		case ok && from.Name == "time" && selector.Sel.Name == "Sleep":
			places = append(places, fset.Position(call.Pos()).String())
		}
		return true
	}
	ast.Inspect(file, visit)
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
