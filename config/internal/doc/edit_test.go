package doc_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/config/internal/doc"
)

func TestEdit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, file, before, key, value, want string }{
		{"yaml: scalar with comment", "s.yaml", "a: 1 # one\nb:\n  c: 2\n", "a", "5", "a: 5 # one\nb:\n  c: 2\n"},
		{"yaml: nested", "s.yaml", "a: 1\nb:\n    c:   2   # two\n    d: 3\n", "b.c", "7", "a: 1\nb:\n    c:   7   # two\n    d: 3\n"},
		{"yaml: double quotes stay", "s.yaml", `a: "x" # y` + "\n", "a", `"it's \"q\""`, `a: "it's \"q\"" # y` + "\n"},
		{"yaml: single quotes stay", "s.yaml", "a: 'x'\n", "a", `"it's"`, "a: 'it''s'\n"},
		{"yaml: text that needs quotes", "s.yaml", "a: x\n", "a", `"no"`, "a: \"no\"\n"},
		{"yaml: number as text", "s.yaml", "a: x\n", "a", `"1.10"`, "a: \"1.10\"\n"},
		{"yaml: literal block", "s.yaml", "a: |\n  one\n  two\n\nb: 2\n", "a", `"z"`, "a: |-\n  z\n\nb: 2\n"},
		{"yaml: folded plain", "s.yaml", "a: one\n  two\n  three\nb: 2\n", "a", `"z"`, "a: z\nb: 2\n"},
		{"yaml: after folded plain", "s.yaml", "a:\n  x: one\n    two # no\nb: 2\n", "a.z", `1`, "a:\n  x: one\n    two # no\n  z: 1\nb: 2\n"},
		{"yaml: absent value", "s.yaml", "a: # later\nb: 2\n", "a", "1", "a: 1 # later\nb: 2\n"},
		{"yaml: new key", "s.yaml", "a:\n  b: 1\n\n# next\nc: 2\n", "a.d", "3", "a:\n  b: 1\n  d: 3\n\n# next\nc: 2\n"},
		{"yaml: new section", "s.yaml", "a: 1\n", "b.c.d", "3", "a: 1\nb:\n  c:\n    d: 3\n"},
		{"yaml: section without value", "s.yaml", "a:\nb: 1\n", "a.c", "3", "a:\n  c: 3\nb: 1\n"},
		{"yaml: empty document", "s.yaml", "", "a.b", "3", "a:\n  b: 3\n"},
		{"yaml: comments alone", "s.yaml", "# settings\n", "a", "3", "# settings\na: 3\n"},
		{"yaml: no final line break", "s.yaml", "a: 1", "b", "3", "a: 1\nb: 3"},
		{"yaml: CRLF", "s.yaml", "a: 1\r\nb: 2\r\n", "c", "3", "a: 1\r\nb: 2\r\nc: 3\r\n"},
		{"yaml: CRLF value", "s.yaml", "a: one\r\nb: 2\r\n", "a", `"two"`, "a: two\r\nb: 2\r\n"},
		{"yaml: flow map", "s.yaml", "a: {b: 1, c: x}\n", "a.b", "2", "a: {b: 2, c: x}\n"},
		{"yaml: flow map, new key", "s.yaml", "a: {b: 1}\n", "a.c", `"y z"`, "a: {b: 1, c: y z}\n"},
		{"yaml: empty flow map", "s.yaml", "a: {}\n", "a.c", "1", "a: {c: 1}\n"},
		{"yaml: flow list", "s.yaml", "a: [1, 2] # l\n", "a", "[3]", "a: [3] # l\n"},
		{"yaml: block list", "s.yaml", "a:\n  - x\n  - 'y'\nb: 1\n", "a", `["p","q","r"]`, "a:\n  - p\n  - 'q'\n  - r\nb: 1\n"},
		{"yaml: list at the key's indent", "s.yaml", "a:\n- x\nb: 1\n", "a", `["p"]`, "a:\n- p\nb: 1\n"},
		{"yaml: list grows", "s.yaml", "a:\n  # first\n  - x # one\n  - 'y' # two\n\nb: 1\n", "a", `["x","y","z"]`, "a:\n  # first\n  - x # one\n  - 'y' # two\n  - z\n\nb: 1\n"},
		{"yaml: list shrinks", "s.yaml", "a:\n  - x # one\n  - y # two\n  - z\nb: 1\n", "a", `["x"]`, "a:\n  - x # one\nb: 1\n"},
		{"yaml: item changes", "s.yaml", "a:\n  - x # one\n  - 'y' # two\n", "a", `["x","q"]`, "a:\n  - x # one\n  - 'q' # two\n"},
		{"yaml: list of sections", "s.yaml", "a:\n  - k: 1 # one\n    m: 2\n  - k: 3\nb: 1\n", "a", `[{"k":1,"m":2},{"k":4,"m":5},{"k":6}]`, "a:\n  - k: 1 # one\n    m: 2\n  - k: 4\n    m: 5\n  - k: 6\nb: 1\n"},
		{"yaml: flow list grows", "s.yaml", "a: [x, 'y'] # l\n", "a", `["x","y","z"]`, "a: [x, 'y', z] # l\n"},
		{"yaml: flow list over lines", "s.yaml", "a: [\n  x, # one\n  y # two\n]\n", "a", `["x","q","z"]`, "a: [\n  x, # one\n  q, # two\n  z\n]\n"},
		{"yaml: CRLF list", "s.yaml", "a:\r\n  - x\r\nb: 1\r\n", "a", `["p","z"]`, "a:\r\n  - p\r\n  - z\r\nb: 1\r\n"},
		{"json: list over lines", "s.json", "{\n  \"a\": [\n    1,\n    2\n  ]\n}\n", "a", `[1,3,4]`, "{\n  \"a\": [\n    1,\n    3,\n    4\n  ]\n}\n"},
		{"jsonc: list with comments", "s.jsonc", "{\"a\": [\n  1, // one\n  2, /* two */\n]}\n", "a", `[1,2,3]`, "{\"a\": [\n  1, // one\n  2, /* two */\n  3,\n]}\n"},
		{"json: list shrinks", "s.json", `{"a": [1, 2, 3]}`, "a", `[1]`, `{"a": [1]}`},
		{"json: list over lines shrinks", "s.json", "{\n  \"a\": [\n    1,\n    2\n  ]\n}\n", "a", `[1]`, "{\n  \"a\": [\n    1\n  ]\n}\n"},
		{"jsonc: list with comments shrinks", "s.jsonc", "{\"a\": [\n  1, // one\n  // next\n  2, /* two */\n]}\n", "a", `[1]`, "{\"a\": [\n  1, // one\n]}\n"},
		{"toml: list with comments shrinks", "s.toml", "a = [\n  1, # one\n  2, 3 # three\n]\n", "a", "[1]", "a = [\n  1 # one\n]\n"},
		{"yaml: flow list with comments shrinks", "s.yaml", "a: [\n  x, # one\n  y] # two\n", "a", `["x"]`, "a: [\n  x # one\n] # two\n"},
		{"toml: list over lines", "s.toml", "a = [\n  1, # one\n  2, # two\n]\nb = 1\n", "a", "[1, 2, 3]", "a = [\n  1, # one\n  2, # two\n  3,\n]\nb = 1\n"},
		{"toml: list grows", "s.toml", "a = [1, 2]\n", "a", "[1, 2, 3]", "a = [1, 2, 3]\n"},
		{"toml: lines that end in a quote", "s.toml", "a = \"\"\"\nx\ny\"\"\" # c\n", "a", `"p\nsay \"hi\""`, "a = \"\"\"\np\nsay \\\"hi\\\"\"\"\" # c\n"},
		{"toml: lines with a backslash before n", "s.toml", "a = \"\"\"\nx\ny\"\"\"\n", "a", `"C:\\new\nx"`, "a = \"\"\"\nC:\\\\new\nx\"\"\"\n"},
		{"toml: a quote alone over lines", "s.toml", "a = \"\"\"\nx\"\"\"\n", "a", `"\""`, "a = \"\"\"\n\\\"\"\"\"\n"},
		{"yaml: list to empty", "s.yaml", "a:\n  - x\nb: 1\n", "a", `[]`, "a: []\nb: 1\n"},
		{"yaml: remove", "s.yaml", "m:\n  x: 1 # gone\n  y: 2\n", "m.x", "", "m:\n  y: 2\n"},
		{"yaml: remove the last", "s.yaml", "m:\n  x: 1\nn: 1\n", "m.x", "", "m:\nn: 1\n"},
		{"yaml: remove in flow", "s.yaml", "m: {x: 1, y: 2}\n", "m.y", "", "m: {x: 1}\n"},
		{"yaml: document start", "s.yaml", "---\na: 1\n...\n", "b", "2", "---\na: 1\nb: 2\n...\n"},
		{"yaml: unicode before", "s.yaml", "ä: {ö: ü, b: 1}\n", "ä.b", "2", "ä: {ö: ü, b: 2}\n"},
		{"yaml: merge key", "s.yaml", "base: &b\n  x: 1\nm:\n  <<: *b\n  y: 2\n", "m.x", "5", "base: &b\n  x: 1\nm:\n  <<: *b\n  y: 2\n  x: 5\n"},
		{"yaml: merge key of several", "s.yaml", "base: &b {x: 1}\nm:\n  <<: [*b, {y: [7, {z: 1}]}] # both\n  w: 2\n", "m.w", "3", "base: &b {x: 1}\nm:\n  <<: [*b, {y: [7, {z: 1}]}] # both\n  w: 3\n"},
		{"yaml: merge key of a block", "s.yaml", "base: &b {x: 1}\nm:\n  <<:\n  - *b\n  - y:\n      - 7 # seven\n    <<: *b\n  w: 2\n", "m.y", "3", "base: &b {x: 1}\nm:\n  <<:\n  - *b\n  - y:\n      - 7 # seven\n    <<: *b\n  w: 2\n  \"y\": 3\n"},
		{"yaml: merge key of a section", "s.yaml", "m: {<<: {x: 1, y: 2}, w: 2}\n", "m.x", "3", "m: {<<: {x: 1, y: 2}, w: 2, x: 3}\n"},
		{"yaml: key with quotes", "s.yaml", "\"a b\": 1\n", "a b", "2", "\"a b\": 2\n"},

		{"json: scalar", "s.json", "{\n  \"a\": 1,\n  \"b\": {\"c\": true}\n}\n", "b.c", "false", "{\n  \"a\": 1,\n  \"b\": {\"c\": false}\n}\n"},
		{"json: new key", "s.json", "{\n  \"a\": 1\n}\n", "b", `"x"`, "{\n  \"a\": 1,\n  \"b\": \"x\"\n}\n"},
		{"json: one line", "s.json", `{"a": 1}`, "b.c", `2`, `{"a": 1, "b": {"c": 2}}`},
		{"json: empty object", "s.json", `{}`, "a", `2`, `{"a": 2}`},
		{"json: empty file", "s.json", ``, "a", `2`, `{"a": 2}` + "\n"},
		{"json: remove the middle", "s.json", "{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}\n", "b", "", "{\n  \"a\": 1,\n  \"c\": 3\n}\n"},
		{"json: remove the last", "s.json", "{\n  \"a\": 1,\n  \"b\": 2\n}\n", "b", "", "{\n  \"a\": 1\n}\n"},
		{"json: <>& stay", "s.json", `{"a": 1}`, "a", `"<&>"`, `{"a": "<&>"}`},
		{"jsonc: comments", "s.jsonc", "{\n  // first\n  \"a\": 1, // one\n  /* b */ \"b\": 2 // two\n}\n", "a", "9", "{\n  // first\n  \"a\": 9, // one\n  /* b */ \"b\": 2 // two\n}\n"},
		{"jsonc: new after a comment", "s.jsonc", "{\n  \"a\": 1 // one, {\n}\n", "b", "2", "{\n  \"a\": 1, // one, {\n  \"b\": 2\n}\n"},
		{"jsonc: trailing comma", "s.jsonc", "{\n  \"a\": 1, // one\n}\n", "b", "2", "{\n  \"a\": 1, // one\n  \"b\": 2,\n}\n"},

		{"toml: scalar", "s.toml", "a = 1 # one\n[b]\nc = 'x'\n", "b.c", `"y"`, "a = 1 # one\n[b]\nc = 'y'\n"},
		{"toml: new in table", "s.toml", "a = 1\n\n[b]\nc = 'x'\n\n[d]\ne = 1\n", "b.f", "2", "a = 1\n\n[b]\nc = 'x'\nf = 2\n\n[d]\ne = 1\n"},
		{"toml: new at the top", "s.toml", "# top\n\n# about b\n[b]\nc = 1\n", "a", "2", "# top\n\na = 2\n# about b\n[b]\nc = 1\n"},
		{"toml: new after top keys", "s.toml", "a = 1\n\n[b]\nc = 1\n", "z", "2", "a = 1\nz = 2\n\n[b]\nc = 1\n"},
		{"toml: new table", "s.toml", "a = 1\n", "b.c.d", `"x"`, "a = 1\n\n[b.c]\nd = \"x\"\n"},
		{"toml: dotted", "s.toml", "a.b = 1\na.c = 2\nz = 3\n", "a.d", "4", "a.b = 1\na.c = 2\na.d = 4\nz = 3\n"},
		{"toml: inline table", "s.toml", "a = { b = 1, c = 2 }\n", "a.c", "5", "a = { b = 1, c = 5 }\n"},
		{"toml: inline table, new", "s.toml", "a = { b = 1 }\n", "a.c", "5", "a = { b = 1, c = 5 }\n"},
		{"toml: list", "s.toml", "a = [1, 2, # two\n  3]\nb = 1\n", "a", "[4]", "a = [4]\nb = 1\n"},
		{"toml: date and next", "s.toml", "a = 1979-05-27T07:32:00Z\nb = 1\n", "b", "2", "a = 1979-05-27T07:32:00Z\nb = 2\n"},
		{"toml: remove", "s.toml", "[m]\nx = 1 # gone\ny = 2\n", "m.x", "", "[m]\ny = 2\n"},
		{"toml: empty table", "s.toml", "[m]\n# nothing yet\n", "m.x", "1", "[m]\nx = 1\n# nothing yet\n"},
		{"toml: CRLF", "s.toml", "a = 1\r\n[b]\r\nc = 2\r\n", "b.d", "3", "a = 1\r\n[b]\r\nc = 2\r\nd = 3\r\n"},
		{"toml: empty file", "s.toml", "", "a.b", "3", "[a]\nb = 3\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := edit(tc.file, []byte(tc.before), tc.key, tc.value)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("document (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEditLists removes, inserts and moves items: comments go with their item,
// and items that stay keep their bytes.
func TestEditLists(t *testing.T) {
	t.Parallel()
	const (
		yaml   = "l:\n  # about a\n  - a # one\n\n  # about b\n  - 'b' # two\n  - c # three\nz: 1\n"
		pairs  = "r:\n- name: a\n  port: 1 # pa\n  # in a\n# about b\n- port: 2 # pb\n  name: b\n"
		groups = "{\"l\": [\n  // group\n\n  // about 1\n  1, // one\n  2,\n\n  /* two\n\n  lines */\n  3\n  // end\n]}\n"
		lines  = "l: [\n  a, b,\n\n  # second\n  c, d,\n]\n"
		toml   = "x = 1\n\n# about a\n[[r]] # one\nname = \"a\"\n\n[r.in]\nk = 1\n\n# about b\n[[r]]\nname = 'b'\n\n[t]\ny = 1\n"
	)
	for _, tc := range []struct{ name, file, before, key, value, want string }{
		{"remove the first", "s.yaml", yaml, "l", `["b","c"]`, "l:\n  # about b\n  - 'b' # two\n  - c # three\nz: 1\n"},
		{"remove the middle", "s.yaml", yaml, "l", `["a","c"]`, "l:\n  # about a\n  - a # one\n  - c # three\nz: 1\n"},
		{"remove the last", "s.yaml", yaml, "l", `["a","b"]`, "l:\n  # about a\n  - a # one\n\n  # about b\n  - 'b' # two\nz: 1\n"},
		{"insert first", "s.yaml", yaml, "l", `["new","a","b","c"]`, "l:\n  - new\n  # about a\n  - a # one\n\n  # about b\n  - 'b' # two\n  - c # three\nz: 1\n"},
		{"move the last to the front", "s.yaml", yaml, "l", `["c","a","b"]`, "l:\n  - c # three\n  # about a\n  - a # one\n\n  # about b\n  - 'b' # two\nz: 1\n"},
		{"change and move", "s.yaml", pairs, "r", `[{"name":"b","port":9},{"name":"a","port":1}]`, "r:\n# about b\n- port: 9 # pb\n  name: b\n- name: a\n  port: 1 # pa\n  # in a\n"},
		{"remove a section", "s.yaml", pairs, "r", `[{"name":"b","port":2}]`, "r:\n# about b\n- port: 2 # pb\n  name: b\n"},
		{"a compact list in a list", "s.yaml", "l:\n- - a # one\n  # about b\n  - b\n- - c\n", "l", `[["b"],["c"]]`, "l:\n- # about b\n  - b\n- - c\n"},
		{"wide dashes", "s.yaml", "l:\n  -   k: 1 # one\n      m: 2\n", "l", `[{"k":0},{"k":1,"m":2}]`, "l:\n  -   k: 0\n  -   k: 1 # one\n      m: 2\n"},
		{"an item below its dash", "s.yaml", "l:\n  -\n    k: 1 # one\n  # about 2\n  -\n    k: 2\n", "l", `[{"k":2}]`, "l:\n  # about 2\n  -\n    k: 2\n"},
		{"a block scalar in a list", "s.yaml", "l:\n  - |\n    # no comment\n\n    b\n  # about c\n  - c\n", "l", `["c","# no comment\n\nb\n"]`, "l:\n  # about c\n  - c\n  - |\n    # no comment\n\n    b\n"},
		{"an anchored item that stays", "s.yaml", "l:\n  - &x {k: 1} # one\n  - k: 2\nm: *x\n", "l", `[{"k":2},{"k":1}]`, "l:\n  - k: 2\n  - &x {k: 1} # one\nm: *x\n"},
		{"no final line break", "s.yaml", "l:\n- a # one\n- b # two", "l", `["b","a"]`, "l:\n- b # two\n- a # one"},
		{"CRLF", "s.yaml", "l:\r\n- a # one\r\n- b # two\r\n", "l", `["new","b"]`, "l:\r\n- new # one\r\n- b # two\r\n"},
		{"flow, first", "s.yaml", "l: [a, b, c] # l\n", "l", `["b","c"]`, "l: [b, c] # l\n"},
		{"flow over lines", "s.yaml", "l: [\n  a, # one\n  # about b\n  b, # two\n]\n", "l", `["b","a"]`, "l: [\n  # about b\n  b, # two\n  a, # one\n]\n"},
		{"jsonc, first", "s.jsonc", "{\"l\": [\n  // about 1\n  1, // one\n  /* about 2 */\n  2 // two\n]}\n", "l", `[2]`, "{\"l\": [\n  /* about 2 */\n  2 // two\n]}\n"},
		{"jsonc, moved", "s.jsonc", "{\"l\": [\n  1, // one\n  2 // two\n]}\n", "l", `[2,1]`, "{\"l\": [\n  2, // two\n  1 // one\n]}\n"},
		{"jsonc, a group", "s.jsonc", groups, "l", `[2,3]`, "{\"l\": [\n  // group\n\n  2,\n\n  /* two\n\n  lines */\n  3\n  // end\n]}\n"},
		{"jsonc, groups stay", "s.jsonc", groups, "l", `[3,2,1]`, "{\"l\": [\n  // group\n\n  /* two\n\n  lines */\n  3,\n  2,\n  // about 1\n  1 // one\n  // end\n]}\n"},
		{"jsonc, below the group", "s.jsonc", groups, "l", `[0,1,2,3]`, strings.Replace(groups, "\n\n  // about", "\n\n  0,\n  // about", 1)},
		{"toml, a group", "s.toml", "l = [\n  # group\n\n  # about 1\n  1, # one\n  2,\n]\n", "l", `[2]`, "l = [\n  # group\n\n  2,\n]\n"},
		{"yaml, below the group", "s.yaml", "l:\n  # group\n\n  # about a\n  - a\n", "l", `["new","a"]`, "l:\n  # group\n\n  - new\n  # about a\n  - a\n"},
		{"flow, the first of a line", "s.yaml", lines, "l", `["a","b","d"]`, "l: [\n  a, b,\n\n  # second\n  d,\n]\n"},
		{"flow, the first of a line moved", "s.yaml", lines, "l", `["c","a","b","d"]`, "l: [\n  # second\n  c,\n  a, b,\n  d,\n]\n"},
		{"flow, a line", "s.yaml", lines, "l", `["a","b"]`, "l: [\n  a, b,\n]\n"},
		{"json in a line", "s.json", `{"l": [1, 2, 3]}`, "l", `[3,0,1]`, `{"l": [3, 0, 1]}`},
		{"jsonc comments in a line", "s.jsonc", `{"l": [/* a */ 1, /* b */ 2 /* c */]}`, "l", `[2,1]`, `{"l": [/* b */ 2 /* c */, /* a */ 1]}`},
		{"toml list", "s.toml", "l = [\n  1, # one\n  # about 2\n  2, # two\n]\n", "l", `[2]`, "l = [\n  # about 2\n  2, # two\n]\n"},
		{"toml tables, first", "s.toml", toml, "r", `[{"name":"b"}]`, "x = 1\n\n# about b\n[[r]]\nname = 'b'\n\n[t]\ny = 1\n"},
		{"toml tables, last", "s.toml", toml, "r", `[{"name":"a","in":{"k":1}}]`, "x = 1\n\n# about a\n[[r]] # one\nname = \"a\"\n\n[r.in]\nk = 1\n\n[t]\ny = 1\n"},
		{"toml tables, moved", "s.toml", toml, "r", `[{"name":"b"},{"name":"a","in":{"k":2}}]`, "x = 1\n\n# about b\n[[r]]\nname = 'b'\n\n# about a\n[[r]] # one\nname = \"a\"\n\n[r.in]\nk = 2\n\n[t]\ny = 1\n"},
		{"toml tables, new", "s.toml", toml, "r", `[{"name":"a","in":{"k":1}},{"name":"b"},{"name":"c","in":{"k":3}}]`, toml[:strings.Index(toml, "[t]")] + "[[r]]\nname = \"c\"\n\n[r.in]\nk = 3\n\n[t]\ny = 1\n"},
		{"toml tables, none", "s.toml", toml, "r", `[]`, "x = 1\nr = []\n\n[t]\ny = 1\n"},
		{"toml tables, the first ones", "s.toml", "[t]\ny = 1\n", "r", `[{"name":"a"}]`, "[t]\ny = 1\n\n[[r]]\nname = \"a\"\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := edit(tc.file, []byte(tc.before), tc.key, tc.value)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("document (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEditRefuses lists documents that must be left alone.
func TestEditRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, file, before, key, value string }{
		{"yaml: anchored value is shared", "s.yaml", "a: &x 1\nb: *x\n", "a", "2"},
		{"yaml: within an alias", "s.yaml", "a: &x {c: 1}\nb: *x\n", "b.c", "2"},
		{"yaml: a scalar where a section goes", "s.yaml", "a: 1\n", "a.b", "2"},
		{"toml: null", "s.toml", "a = 1\n", "a", "null"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := edit(tc.file, []byte(tc.before), tc.key, tc.value)
			if err == nil {
				t.Errorf("changed to %q", got)
			} else if !strings.Contains(err.Error(), "key "+tc.key[:1]) {
				t.Errorf("error %q does not name the key", err)
			}
		})
	}
}

// formatOf is the format that a file's name says.
func formatOf(name string) doc.Format {
	for suffix, f := range map[string]doc.Format{".yaml": doc.YAML, ".json": doc.JSON, ".jsonc": doc.JSONC, ".toml": doc.TOML} {
		if strings.HasSuffix(name, suffix) {
			return f
		}
	}
	return doc.Unknown
}

// edit sets a dotted key of a document to the value of a JSON text, or takes
// it away for none.
func edit(name string, data []byte, key, json string) ([]byte, error) {
	var value *doc.Node
	if json != "" {
		n, err := doc.ParseValue(json)
		if err != nil {
			return nil, err
		}
		value = n
	}
	out, _, err := doc.Edit(formatOf(name), data, []doc.Change{{Path: strings.Split(key, "."), Value: value}})
	return out, err
}
