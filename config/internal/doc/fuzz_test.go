package doc_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/config/internal/doc"
)

var formats = []doc.Format{doc.YAML, doc.JSON, doc.JSONC, doc.TOML}

func seeds(f *testing.F) []string {
	f.Helper()
	out := []string{
		"", "a: 1\n", "a:\n  b: [1, {c: x}]\n  d: |\n    text\n\n  e: >-\n    x\n    y\n", "a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n",
		"a: &x {b: 1}\nc:\n  <<: [*x, {e: [1, {f: g}]}]\n  d: 2\nl:\n- <<:\n  - *x\n  - h:\n    - i\n    <<: {j: k}\n",
		"? a\n: b\n", "l:\n- x # one\n-\n- {}\n- - a\n  - b\n", "l: [\n a, # x\n b]\n", "a: 'it''s' # c\r\nb: \"\\u00e4\"\r\n", "\ufeffl: [a, b]\n",
		`{"l": [true, null, "x\n\u00e4"], "c": {"d": -1.5e3}}`, "// c\n{\n  \"l\": [1, /* x */ 2,\n // y\n 3],\n}\n",
		"[a.b]\nc = 'x' # y\n[[l]]\nx = 1\n[[l]]\ny.z = \"\"\"a\nb\"\"\"\n[[l.m]]\nn = 1\n", "a.b = 1979-05-27T07:32:00Z\nl = [ { d = [1, 2,\n3], e = '' }, # x\n]\n#",
	}
	files, err := filepath.Glob("../../testdata/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		if data, err := os.ReadFile(name); err == nil {
			out = append(out, string(data))
		}
	}
	return out
}

// FuzzEdit changes keys and lists of any document: it gives an error or a
// document that says what was wanted, which Edit itself compares, and its text
// does not depend on what was edited twice.
func FuzzEdit(f *testing.F) {
	for _, text := range seeds(f) {
		for kind := range formats {
			for op := range uint8(6) {
				f.Add(uint8(kind), op, text, "l", `{"x": "y", "n": [1, 2.5]}`)
			}
			f.Add(uint8(kind), uint8(0), text, "a.b", `"new"`)
		}
	}
	f.Fuzz(func(t *testing.T, kind, op uint8, text, key, value string) {
		if len(text) > 1<<12 {
			return
		}
		format := formats[int(kind)%len(formats)]
		root, mistakes := doc.Parse(format, []byte(text), nil)
		item, err := doc.ParseValue(value)
		if len(mistakes) > 0 || err != nil {
			return
		}
		path := strings.Split(key, ".")
		change := doc.Change{Path: path, Value: item}
		if list := root.Find(path[0]); list != nil && list.Kind == doc.List {
			change = doc.Change{Path: path[:1], Value: edited(list, item, op)}
		}
		out, _, err := doc.Edit(format, []byte(text), []doc.Change{change})
		if err != nil {
			return
		}
		again, _, err := doc.Edit(format, out, []doc.Change{change})
		if err != nil || string(again) != string(out) {
			t.Errorf("%q became %q and, edited again, %q, %v", text, out, again, err)
		}
	})
}

// edited removes, inserts, moves or changes an item of a list.
func edited(list, item *doc.Node, op uint8) *doc.Node {
	out := &doc.Node{Kind: doc.List, Items: slices.Clone(list.Items)}
	n := len(out.Items)
	switch at := int(op / 5); {
	case n == 0 || op%5 == 0:
		out.Items = slices.Insert(out.Items, at%(n+1), item)
	case op%5 == 1:
		out.Items = slices.Delete(out.Items, at%n, at%n+1)
	case op%5 == 2:
		slices.Reverse(out.Items)
	case op%5 == 3:
		out.Items[at%n] = item
	default:
		out.Items = append(out.Items[1:], out.Items[0])
	}
	return out
}
