package config_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/config"
)

type route struct {
	Name  string `required:"true"`
	Port  int    `default:"80"`
	Wait  time.Duration
	Token config.Secret
	Tags  []string
}

type routed struct {
	Items []route
	M     map[string]route
	Words map[string]string
	Grid  [][]int
	Ptr   *struct{ L []*route }
	Fixed [2]int
}

const routedYAML = `items:
  # the first
  - name: a # about a
    port: 1
    wait: 90s
    tags: [x, y]
  # the second
  - name: b # about b
    port: 2
m:
  a: # about m.a
    name: x
  a.b:
    name: dotted
words: {k: "1", "k.l": "2"} # words
grid:
  - [1, 2]
  - [3]
fixed: [1, 2]
`

// TestSetByName: the names that reports print lead to the value itself, and
// nothing else in the file changes.
func TestSetByName(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ key, value, old, new string }{
		{"items[0].port", "2", "port: 1\n", "port: 2\n"},
		{"items[1].port", "1", "port: 2\n", "port: 1\n"}, // as its neighbour: no item moves
		{"items[0].wait", "2m0s", "90s", "2m0s"},
		{"items[0].wait", "120s", "90s", "120s"},
		{"items[0].name", "c", "name: a #", "name: c #"},
		{"items[0].tags", "y,z", "[x, y]", "[y, z]"},
		{"items[0].tags[0]", "w", "[x, y]", "[w, y]"},
		{"items[0].tags[2]", "z", "[x, y]", "[x, y, z]"},
		{"items[1].wait", "5s", "    port: 2\n", "    port: 2\n    wait: 5s\n"},
		{"items[0].token", "ref+env://TOKEN", "    tags: [x, y]\n", "    tags: [x, y]\n    token: ref+env://TOKEN\n"},
		{"items[2].name", "c", "    port: 2\n", "    port: 2\n  - name: c\n"},
		{"items[1]", `{"name":"n","port":3}`, "- name: b # about b\n    port: 2\n", "- name: \"n\" # about b\n    port: 3\n"},
		{"m.a.port", "9", "    name: x\n", "    name: x\n    port: 9\n"},
		{"m.a.b.port", "9", "    name: dotted\n", "    name: dotted\n    port: 9\n"},
		{"m.new.name", "y", "    name: dotted\n", "    name: dotted\n  new:\n    name: \"y\"\n    port: 80\n"},
		{"m.a.token", "ref+env://TOKEN", "    name: x\n", "    name: x\n    token: ref+env://TOKEN\n"},
		{"words.k.l", "no", `"k.l": "2"`, `"k.l": "no"`},
		{"words.k", "yes", `{k: "1"`, `{k: "yes"`},
		{"words.n", "ref+env://TOKEN", `"k.l": "2"}`, `"k.l": "2", "n": "ref+env://TOKEN"}`},
		{"grid[0][1]", "7", "[1, 2]\n  -", "[1, 7]\n  -"},
		{"grid[2]", "4,5", "  - [3]\n", "  - [3]\n  - [4, 5]\n"},
		{"ptr.l[0].name", "q", "fixed: [1, 2]\n", "fixed: [1, 2]\nptr:\n  l:\n    - name: q\n      port: 80\n"},
		{"fixed[1]", "0x10", "fixed: [1, 2]", "fixed: [1, 16]"},
	} {
		t.Run(tc.key+"="+tc.value, func(t *testing.T) {
			t.Parallel()
			path := write(t, t.TempDir(), "c.yaml", routedYAML)
			env := config.Environ("TOKEN=canary")
			s := load(t, routed{}, config.File(path, config.Writable()), env)
			must(t, s.Set(t.Context(), tc.key, tc.value))
			if diff := cmp.Diff(strings.Replace(routedYAML, tc.old, tc.new, 1), readText(t, path)); diff != "" {
				t.Errorf("file (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(*load(t, routed{}, config.File(path), env).Get(), *s.Get()); diff != "" {
				t.Errorf("store and file differ (-file +store):\n%s", diff)
			}
		})
	}
}

func TestUnsetByName(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ key, old, new string }{
		{"items[0]", routedYAML[strings.Index(routedYAML, "  # the first"):strings.Index(routedYAML, "  # the second")], ""},
		{"items[0].port", "    port: 1\n", ""},
		{"items[0].tags[0]", "[x, y]", "[y]"},
		{"items[5]", "", ""},
		{"items[5].port", "", ""},
		{"items[1].wait", "", ""},
		{"m.a.b", "  a.b:\n    name: dotted\n", ""},
		{"words.k", `{k: "1", "k.l"`, `{"k.l"`}, // a quoted text
		{"grid[1][0]", "[3]", "[]"},
	} {
		t.Run(tc.key, func(t *testing.T) {
			t.Parallel()
			path := write(t, t.TempDir(), "c.yaml", routedYAML)
			s := load(t, routed{}, config.File(path, config.Writable()))
			must(t, s.Unset(t.Context(), tc.key))
			if diff := cmp.Diff(strings.Replace(routedYAML, tc.old, tc.new, 1), readText(t, path)); diff != "" {
				t.Errorf("file (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSetByNameFormats: the same names in all formats.
func TestSetByNameFormats(t *testing.T) {
	t.Parallel()
	for name, text := range map[string][2]string{
		"c.json":  {`{"items": [{"name": "a", "port": 1}, {"name": "b"}], "m": {"a": {"name": "x"}}}`, `{"items": [{"name": "a", "port": 5}], "m": {"a": {"name": "x", "port": 7}}}`},
		"c.jsonc": {"{\n  // about a\n  \"items\": [{\"name\": \"a\", \"port\": 1}, {\"name\": \"b\"}],\n  \"m\": {\"a\": {\"name\": \"x\"}},\n}\n", "{\n  // about a\n  \"items\": [{\"name\": \"a\", \"port\": 5}],\n  \"m\": {\"a\": {\"name\": \"x\", \"port\": 7}},\n}\n"},
		"c.toml":  {"# a\n[[items]]\nname = \"a\"\nport = 1 # p\n\n# b\n[[items]]\nname = \"b\"\n\n[m.a]\nname = \"x\"\n", "# a\n[[items]]\nname = \"a\"\nport = 5 # p\n\n[m.a]\nname = \"x\"\nport = 7\n"},
	} {
		path := write(t, t.TempDir(), name, text[0])
		s := load(t, routed{}, config.File(path, config.Writable()))
		must(t, s.Set(t.Context(), "items[0].port", "5"))
		must(t, s.Set(t.Context(), "m.a.port", "7"))
		must(t, s.Unset(t.Context(), "items[1]"))
		if diff := cmp.Diff(text[1], readText(t, path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestSetByNameLayers: a list comes from one layer. One below the file is
// written whole, one above overrides.
func TestSetByNameLayers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	base := write(t, dir, "base.yaml", "items:\n  - {name: a, port: 1}\n  - {name: b, token: ref+env://TOKEN}\n")
	path := write(t, dir, "c.yaml", "{}\n")
	layers := []config.Option{config.File(base), config.File(path, config.Writable()), config.Environ("TOKEN=canary", "APP_WORDS={\"k\":\"v\"}", "APP_GRID=[[1]]"), config.Env("APP")}
	s := load(t, routed{}, layers...)
	must(t, s.Unset(t.Context(), "items[0].port")) // not in the file
	if got := readText(t, path); got != "{}\n" {
		t.Errorf("file %q", got)
	}
	wantText(t, s.Set(t.Context(), "items[0].token", "ref+env://TOKEN"), "does not hold the list")
	must(t, s.Set(t.Context(), "items[0].port", "5"))
	if got := readText(t, path); !strings.Contains(got, "port: 5") || !strings.Contains(got, "ref+env://TOKEN") || strings.Contains(got, "canary") {
		t.Errorf("file:\n%s", got)
	}
	if got := s.Get().Items; got[0].Port != 5 || got[1].Token.Reveal() != "canary" {
		t.Errorf("items %+v", got)
	}

	var overridden *config.OverriddenError
	for _, key := range []string{"grid[0][0]", "words.k"} {
		if err := s.Set(t.Context(), key, "9"); !errors.As(err, &overridden) || overridden.Origin.Layer != "env" {
			t.Errorf("set %s: %v, want an OverriddenError", key, err)
		}
		if err := s.Unset(t.Context(), key); !errors.As(err, &overridden) {
			t.Errorf("unset %s: %v, want an OverriddenError", key, err)
		}
	}
}

func TestSetByNameRefuses(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), "c.yaml", routedYAML)
	s := load(t, routed{}, config.File(path, config.Writable()))
	for key, want := range map[string]string{
		"items[0].prt":     "unknown key (the items of items are items[0], items[1] and so on)",
		"items.0.port":     "unknown key (the items of items are",
		"items[-1]":        "unknown key",
		"items[01].port":   "unknown key",
		"items[0":          "unknown key",
		"items[7].port":    `got "item 7", want one of the 2 items (the item after the last is items[2])`,
		"fixed[2]":         `want one of the 2 items`,
		"m.a.prt":          "unknown key (the entries of m have no such key)",
		"m.":               "unknown key",
		"items[0].port":    `got "soon", want a whole number`,
		"items[0].token":   "a secret is not written",
		"m.a.token":        "a secret is not written",
		"items[0].name[0]": "unknown key",
	} {
		wantText(t, s.Set(t.Context(), key, "soon"), want)
	}
	for _, key := range []string{"items[0].prt", "items.0", "ptr"} {
		if err := s.Unset(t.Context(), key); !errors.Is(err, config.ErrUnknownKey) {
			t.Errorf("unset %s: %v, want ErrUnknownKey", key, err)
		}
	}
	wantText(t, s.Unset(t.Context(), "items[0].name"), "required") // checked as a whole
	if got := readText(t, path); got != routedYAML {
		t.Errorf("the file changed:\n%s", got)
	}

	must(t, os.WriteFile(path, []byte("items:\n  - &x {name: a}\n  - *x\n"), 0o600))
	must(t, os.Chtimes(path, time.Now().Add(-time.Hour), time.Now().Add(-time.Hour)))
	wantText(t, s.Set(t.Context(), "items[0].port", "5"), "*x")
}

// TestLastAndFirstKey: the last key can be taken out of a document, and the next
// one be put in.
func TestLastAndFirstKey(t *testing.T) {
	t.Parallel()
	for name, text := range map[string][3]string{
		"block.yaml":  {"# c\nwords: # w\n  a: b\n", "# c\n{}\n", "# c\nitems:\n  - name: a\n    port: 0\n"},
		"flow.yaml":   {"{words: {a: b}} # c\n", "{} # c\n", "items:\n  - name: a\n    port: 0 # c\n"},
		"c.json":      {`{"words":{"a":"b"}}`, `{}`, `{"items": [{"name": "a", "port": 0}]}`},
		"inline.toml": {"words = {a = \"b\"}\n", "# nothing is set here\n", "# nothing is set here\n\n[[items]]\nname = \"a\"\nport = 0\n"},
		"table.toml":  {"[words]\na = \"b\"\n", "# nothing is set here\n", "# nothing is set here\n\n[[items]]\nname = \"a\"\nport = 0\n"},
	} {
		path := write(t, t.TempDir(), name, text[0])
		s := load(t, routed{}, config.File(path, config.Writable()))
		must(t, s.Unset(t.Context(), "words"))
		if diff := cmp.Diff(text[1], readText(t, path)); diff != "" {
			t.Errorf("%s without a key (-want +got):\n%s", name, diff)
		}
		must(t, s.Update(t.Context(), func(r *routed) error { r.Items = []route{{Name: "a"}}; return nil }))
		if diff := cmp.Diff(text[2], readText(t, path)); diff != "" {
			t.Errorf("%s with another key (-want +got):\n%s", name, diff)
		}
	}
}

// TestExplainedByName reads one value within a list or map, by the name that Set
// takes, with the place that it has.
func TestExplainedByName(t *testing.T) {
	t.Parallel()
	type server struct {
		Host  string
		Port  int `default:"80"`
		Token config.Secret
		Tags  []string
	}
	type settings struct {
		Servers []server `doc:"whom to ask"`
		By      map[string]server
		Names   []string
		Deep    *struct{ Names []string }
		Extra   map[string]any
	}
	path := write(t, t.TempDir(), "c.yaml", `servers:
  - host: a
    tags: [x, y]
  - {host: b, port: 81, token: canary-token}
by: {"a.b": {host: c}}
extra: {top: [1, .inf]}
`)
	run := func(args ...string) (code int, stdout, stderr string) {
		var out, errs bytes.Buffer
		code = config.Command(t.Context(), settings{Names: []string{"n"}}, args, &out, &errs, config.File(path), config.Env("APP"), config.Environ("APP_DEEP_NAMES=p,q"))
		return code, out.String(), errs.String()
	}

	for name, want := range map[string]string{
		"servers[0].host":    "a",
		"servers[0].port":    "80",
		"servers[1].port":    "81",
		"servers[0].tags[1]": "y",
		"servers[1].token":   "[redacted]",
		"servers[1]":         "{host: b, port: 81, token: [redacted]}",
		"by.a.b.host":        "c",
		"by.a.b.port":        "80",
		"names[0]":           "n",
		"deep.names[1]":      "q",
		"extra.top":          `[1,"+Inf"]`,
	} {
		if code, out, errs := run("get", name); code != config.ExitOK || out != want+"\n" {
			t.Errorf("get %s: exit %d, %q, %s; want %q", name, code, out, errs, want)
		}
	}
	for name, want := range map[string]string{
		"servers[1].port":    path + ":4:21",
		"servers[0].tags[1]": path + ":3:15",
		"servers[0].port":    "  default",
		"by.a.b.host":        path + ":5:20",
		"names[0]":           "  default",
		"deep.names[1]":      "  env APP_DEEP_NAMES",
	} {
		if code, out, errs := run("explain", name); code != config.ExitOK || !strings.Contains(out, name+"  ") || !strings.HasSuffix(out, want+"\n") {
			t.Errorf("explain %s: exit %d, %q, %s; want %q", name, code, out, errs, want)
		}
	}
	for name, want := range map[string]string{
		"servers[2].host": "config: get servers[2].host: unknown key (it is not there)",
		"servers[2]":      "it is not there",
		"servers[0].hots": "the items of servers are servers[0]",
		"by.x.host":       "it is not there",
		"names[1]":        "it is not there",
		"severs[0]":       "config: get severs[0]: unknown key (did you mean \"servers\"?)",
	} {
		for _, command := range []string{"get", "explain"} {
			if code, out, errs := run(command, name); code != config.ExitUsage || out != "" || !strings.Contains(errs, want) {
				t.Errorf("%s %s: exit %d, %q, %s; want %q", command, name, code, out, errs, want)
			}
		}
	}
}
