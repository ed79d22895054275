package config_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/config"
)

type listed struct {
	Mode  string
	Hosts []string
	Items []listedItem
	More  []*listedItem
	Map   map[string][]string
	Any   map[string]any
	Ratio float64
}

type listedItem struct {
	Name  string
	Port  int
	Token config.Secret
	Tags  []string
	In    struct{ A, B string }
}

const listedYAML = `items:
  # the first
  - name: a # one
    port: 1 # p
    token: ref+env://TOKEN
  - {name: b, port: 0, token: ref+env://TOKEN}
  - in:
      a: q # qq
mode: x
`

func TestUpdateLists(t *testing.T) {
	t.Parallel()
	const object = "{\n  \"items\": [\n    {\"name\": \"a\", \"port\": 1}, // one\n    {\n      \"name\": \"b\" // two\n    }\n  ]\n}\n"
	for _, tc := range []struct {
		name, file, before string
		change             func(v *listed)
		old, new           string // the text that differs
	}{
		{"a key of an item", "s.yaml", listedYAML, func(v *listed) { v.Items[0].Port = 5 }, "port: 1 # p", "port: 5 # p"},
		{"a key of an item in flow style", "s.yaml", listedYAML, func(v *listed) { v.Items[1].Name = "bb" }, "{name: b, port: 0,", "{name: bb, port: 0,"},
		{"a new key of an item", "s.yaml", listedYAML, func(v *listed) { v.Items[0].Tags = []string{"t"} }, "TOKEN\n  - {", "TOKEN\n    tags: [t]\n  - {"},
		{"a section of an item", "s.yaml", listedYAML, func(v *listed) { v.Items[2].In.A, v.Items[2].In.B = "w", "z" }, "a: q # qq\n", "a: w # qq\n      b: z\n"},
		{"one item less", "s.yaml", listedYAML, func(v *listed) { v.Items = v.Items[:2] }, "  - in:\n      a: q # qq\n", ""},
		{"one item more", "s.yaml", listedYAML, func(v *listed) { v.Items = append(v.Items, listedItem{Name: "new"}) }, "qq\n", "qq\n  - name: new\n"},
		{"no list in an item", "s.yaml", "items:\n  - name: a # one\n    tags: [x] # t\n    port: 1\n", func(v *listed) { v.Items[0].Tags = nil }, "    tags: [x] # t\n", ""},
		{"no list in an inline item", "s.yaml", "items: [{name: a, tags: [x]}, {name: b}]\n", func(v *listed) { v.Items[0].Tags = nil }, ", tags: [x]", ""},
		{"no list in an item of toml", "s.toml", "[[items]]\nname = 'a' # one\ntags = ['x']\nport = 1\n", func(v *listed) { v.Items[0].Tags = nil }, "tags = ['x']\n", ""},
		{"no list in an item of jsonc", "s.jsonc", "{\"items\": [{\"name\": \"a\", \"tags\": [\"x\"], \"port\": 1}]} // c\n", func(v *listed) { v.Items[0].Tags = nil }, " \"tags\": [\"x\"],", ""},
		{"an empty list in an item", "s.yaml", "items:\n  - name: a # one\n    tags: [x] # t\n", func(v *listed) { v.Items[0].Tags = []string{} }, "tags: [x] # t", "tags: [] # t"},
		{"no list in a map", "s.yaml", "map:\n  a: [x] # a\n  b: [y]\n", func(v *listed) { v.Map["a"] = nil }, "a: [x] # a", "a: [] # a"},
		{"pointers", "s.yaml", "more:\n- name: a # one\n  port: 1\n", func(v *listed) { v.More[0].Port = 2 }, "port: 1", "port: 2"},
		{"jsonc", "s.jsonc", object, func(v *listed) { v.Items[0].Port, v.Items[1].Port = 5, 7 }, "1}, // one\n    {\n      \"name\": \"b\" // two", "5}, // one\n    {\n      \"name\": \"b\", // two\n      \"port\": 7"},
		{"toml tables", "s.toml", "[[items]]\nname = 'a' # one\n\n[[items]]\nname = 'b' # two\n", func(v *listed) { v.Items[1].Name = "c" }, "'b'", "'c'"},
		{"toml inline tables", "s.toml", "items = [{name = 'a'}, {name = 'b'}] # c\n", func(v *listed) { v.Items[1].Port = 3 }, "'b'}", "'b', port = 3}"},
		{"a reference beside", "s.yaml", "hosts: [ref+env://TOKEN, a]\n", func(v *listed) { v.Hosts = append(v.Hosts, "b") }, "a]", "a, b]"},
		{"a copy of a reference", "s.yaml", "hosts: [ref+env://TOKEN, a]\n", func(v *listed) { v.Hosts[1] = "canary-value" }, "a]", `"ref+env://TOKEN"]`},
		{"a reference behind", "s.yaml", "hosts:\n  - a\n  - ref+env://TOKEN\n", func(v *listed) { v.Hosts = v.Hosts[1:] }, "  - a\n", ""},
		{"a reference in a map", "s.yaml", "map:\n  k: [ref+env://TOKEN]\n", func(v *listed) { v.Map["k"] = append(v.Map["k"], "q") }, "]", ", q]"},
		{"a list to nil", "s.yaml", "hosts: [a]\n", func(v *listed) { v.Hosts = nil }, "[a]", "[]"},
		{"an empty list to nil", "s.yaml", "hosts: []\n", func(v *listed) { v.Hosts, v.Mode = nil, "x" }, "[]\n", "[]\nmode: x\n"},
		{"a map to nil", "s.yaml", "map: {k: [a]}\n", func(v *listed) { v.Map = nil }, "k: [a]", ""},
		{"no number beside", "s.yaml", "ratio: .NaN\nmode: x\n", func(v *listed) { v.Mode = "z" }, "mode: x", "mode: z"},
		{"to no number", "s.yaml", "ratio: 1\n", func(v *listed) { v.Ratio = math.NaN() }, "1", ".nan"},
		{"to infinity", "s.toml", "ratio = 1.5\n", func(v *listed) { v.Ratio = math.Inf(-1) }, "1.5", "-inf"},
		{"byte order mark", "s.yaml", "\ufeffmode: x\nratio: 1\n", func(v *listed) { v.Mode = "z" }, "mode: x", "mode: z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, t.TempDir(), tc.file, tc.before)
			s := load(t, listed{}, config.File(path, config.Writable()), config.Environ("TOKEN=canary-value"))
			must(t, s.Update(t.Context(), func(v *listed) error { tc.change(v); return nil }))
			if diff := cmp.Diff(strings.Replace(tc.before, tc.old, tc.new, 1), readAll(t, path)); diff != "" {
				t.Errorf("file (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUpdateKeepsResolvedValuesOut tries to write what a reference stands for.
func TestUpdateKeepsResolvedValuesOut(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, before string
		change       func(v *listed)
	}{
		{"in place", "hosts: [ref+env://TOKEN, a]\n", func(v *listed) { v.Hosts[0] = "b" }},
		{"in a value of any type", "any:\n  k: [ref+env://TOKEN]\n", func(v *listed) { v.Any["k"] = append(v.Any["k"].([]any), "q") }},
		{"a secret of a new item", listedYAML, func(v *listed) { v.Items = append(v.Items, listedItem{Token: v.Items[0].Token}) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, t.TempDir(), "s.yaml", tc.before)
			s := load(t, listed{}, config.File(path, config.Writable()), config.Environ("TOKEN=canary-value"))
			if err := s.Update(t.Context(), func(v *listed) error { tc.change(v); return nil }); !errors.Is(err, config.ErrSecret) || strings.Contains(err.Error(), "canary") {
				t.Errorf("error %v, want ErrSecret", err)
			}
			if got := readAll(t, path); got != tc.before {
				t.Errorf("the file is now:\n%s", got)
			}
		})
	}
}
