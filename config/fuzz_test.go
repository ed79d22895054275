package config_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"

	"github.com/svcblocks/svcblocks/config"
)

// addDocuments seeds a fuzz target with documents of all formats.
func addDocuments(f *testing.F, add func(text string)) {
	for _, text := range []string{
		"", "a: 1\n", "a:\n  b: [1, {c: x}]\n  d: |\n    text\n\n  e: >-\n    x\n    y\n", "&a a: *a\n", "a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n", "? a\n: b\n", "- x\n",
		"%YAML 1.2\n---\na: 1\n...\n", "a: 'it''s' # c\r\nb: \"\\u00e4\"\r\n", "\ufeffa: 1\n", "a: 1\na: 2\n", "a:\n- x\n-\n- {}\n",
		`{}`, `{"a": 1, "b": [true, null, "x\n\u00e4"], "c": {"d": -1.5e3}}`, "// c\n{\n  \"a\": 1, /* x */\n}\n", `{"a": 1, "a": 2}`, `[`, `{"a":"\ud800"}`,
		"a = 1\n", "[a.b]\nc = 'x' # y\n[[l]]\nx = 1\n[[l]]\ny.z = \"\"\"a\nb\"\"\"\n", "a.b = 1979-05-27T07:32:00Z\nc = { d = [1, 2,\n3], e = '' }\n", "a = 1\na = 2\n", "\"a b\".c = 0x1F\n",
	} {
		add(text)
	}
	files, _ := filepath.Glob("testdata/*.*")
	for _, name := range files {
		if data, err := os.ReadFile(name); err == nil {
			add(string(data))
		}
	}
}

// fuzzParse checks that a parser never panics, and that what it accepts is
// what the reference parser accepts with the same keys.
func fuzzParse(f *testing.F, name string, reference func([]byte) (any, error)) {
	addDocuments(f, func(text string) { f.Add([]byte(text)) })
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		got, err := config.ParseDocument(name, data)
		if err != nil || got == nil {
			return
		}
		want, err := reference(data)
		if err != nil {
			return
		}
		dates := name == "s.toml" // which the reference reads as such
		if diff := cmp.Diff(keysOf(want, !dates), keysOf(got, !dates)); diff != "" {
			t.Errorf("keys of %q (-reference +got):\n%s", data, diff)
		}
	})
}

// keysOf replaces the values of a tree, which types differ in, by a word, and
// texts too unless they are asked for.
func keysOf(v any, texts bool) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			out[k] = keysOf(item, texts)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = keysOf(item, texts)
		}
		return out
	case string:
		if texts {
			return v
		}
	}
	return "scalar"
}

func FuzzParseYAML(f *testing.F) {
	addDocuments(f, func(text string) { f.Add([]byte(text)) })
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		got, err := config.ParseDocument("s.yaml", data)
		if err != nil || got == nil {
			return
		}
		var want map[string]any // keys of other types are a text for us
		if yaml.Unmarshal(data, &want) != nil {
			return
		}
		if m, ok := got.(map[string]any); ok && !strings.Contains(string(data), "<<") && !strings.Contains(string(data), "!!") {
			for _, null := range []string{"~", "null", "Null", "NULL"} {
				delete(m, null) // a key without text for the reference
				delete(want, null)
			}
			if diff := cmp.Diff(sortedNames(want), sortedNames(m)); diff != "" {
				t.Errorf("keys of %q (-reference +got):\n%s", data, diff)
			}
		}
	})
}

func sortedNames(m map[string]any) map[string]bool {
	out := map[string]bool{}
	for k := range m {
		out[k] = true
	}
	return out
}

func FuzzParseJSON(f *testing.F) {
	fuzzParse(f, "s.json", func(data []byte) (any, error) {
		var v any
		err := json.Unmarshal(data, &v)
		if err != nil {
			panic(fmt.Sprintf("encoding/json refuses %q: %v", data, err))
		}
		return v, err
	})
}

func FuzzParseJSONC(f *testing.F) {
	fuzzParse(f, "s.jsonc", func(data []byte) (any, error) {
		var v any
		return v, json.Unmarshal(data, &v)
	})
}

func FuzzParseTOML(f *testing.F) {
	fuzzParse(f, "s.toml", func(data []byte) (any, error) {
		var v map[string]any
		err := toml.Unmarshal(data, &v)
		return v, err
	})
}

func FuzzReference(f *testing.F) {
	for _, text := range []string{"ref+vault://secret/data/mail#password", "ref+file:///a%20b", "ref+env://X", "ref+x://", "ref+x://a#", "ref+://a", "ref+x://a%zz", "plain"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		scheme, path, key, err := config.ParseReference(text)
		if err != nil {
			return
		}
		if scheme == "" || path == "" || !strings.HasPrefix(text, "ref+"+scheme+"://") {
			t.Errorf("%q is %q, %q, %q", text, scheme, path, key)
		}
	})
}

func FuzzParseBytes(f *testing.F) {
	for _, text := range []string{"64MiB", "1.5GB", "0", "", "9223372036854775807", "8PiB", "1e3B", "0.1KiB"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := config.ParseBytes(text)
		if err != nil {
			return
		}
		again, err := config.ParseBytes(v.String())
		if err != nil || again != v || v < 0 {
			t.Errorf("%q is %d, written as %s, read as %d, %v", text, v, v, again, err)
		}
	})
}

// FuzzLoad decodes any document into a type of every kind.
func FuzzLoad(f *testing.F) {
	type settings struct {
		A string
		B struct {
			C int
			D []float64
			E map[string]bool
		}
		F *config.Bytes
		G config.URL
		H config.Secret
		I time.Duration
		J []struct{ X, Y string }
		K any
		L map[string]any
		M time.Time
	}
	addDocuments(f, func(text string) {
		f.Add(uint8(0), text, "x")
		f.Add(uint8(1), text, `{"a":1}`)
		f.Add(uint8(2), text, "1,2")
	})
	f.Fuzz(func(t *testing.T, kind uint8, text, variable string) {
		if strings.ContainsRune(variable, 0) || len(text) > 1<<16 {
			return
		}
		name := []string{"s.yaml", "s.json", "s.toml", "s.jsonc"}[kind%4]
		var env []string
		for _, k := range []string{"A", "B_C", "B_D", "B_E", "F", "G", "H", "I", "J", "L", "M"} {
			env = append(env, "APP_"+k+"="+variable)
		}
		opts := []config.Option{config.File(write(t, t.TempDir(), name, text))}
		if kind&4 != 0 {
			opts = append(opts, config.Env("APP"), config.Environ(env...))
		}
		s, err := config.Load(t.Context(), settings{}, opts...)
		if err == nil {
			_ = s.Explain().String()
		}
	})
}

// FuzzSplice sets a key of any document: either an error, or the key has the
// value and all else is as before, which the splicer checks itself; here it is
// checked once more by the reference parsers.
func FuzzSplice(f *testing.F) {
	addDocuments(f, func(text string) {
		for kind := range 4 {
			f.Add(uint8(kind), text, "a", `"new"`)
			f.Add(uint8(kind), text, "a.b", `[1, "x"]`)
			f.Add(uint8(kind), text, "z.y", `4711`)
			f.Add(uint8(kind), text, "c.d", `[1, 2, 4, "y"]`)
			f.Add(uint8(kind), text, "a.b.\x001.c", `"item"`)
			f.Add(uint8(kind), text, "l.\x001.y.z", `"item"`)
		}
	})
	f.Fuzz(func(t *testing.T, kind uint8, text, key, value string) {
		if len(text) > 1<<14 || !json.Valid([]byte(value)) {
			return
		}
		name := []string{"s.yaml", "s.json", "s.toml", "s.jsonc"}[kind%4]
		before, err := config.ParseDocument(name, []byte(text))
		if err != nil {
			return
		}
		out, err := config.Splice(name, []byte(text), key, value)
		if err != nil {
			return
		}
		after, err := config.ParseDocument(name, out)
		if err != nil {
			t.Fatalf("%q became %q: %v", text, out, err)
		}
		if before == nil {
			return
		}
		was, now := without(before, strings.Split(key, ".")), without(after, strings.Split(key, "."))
		if diff := cmp.Diff(was, now); diff != "" {
			t.Errorf("%q with %s=%s became %q (-before +after):\n%s", text, key, value, out, diff)
		}
		for _, comment := range comments(text) {
			if !strings.Contains(string(out), comment) && strings.Count(text, "\n") > 3 && !strings.ContainsAny(text, `"'|>[{`) && len(comment) > 3 {
				t.Logf("%q lost the comment %q: %q", text, comment, out)
			}
		}
	})
}

// without returns a tree without the key, and without what is empty.
func without(v any, path []string) any {
	if list, ok := v.([]any); ok && len(path) > 1 && strings.HasPrefix(path[0], "\x00") { // an item
		out := slices.Clone(list)
		if i, err := strconv.Atoi(path[0][1:]); err == nil && i >= 0 && i < len(list) {
			out[i] = without(list[i], path[1:])
		}
		return out
	}
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for k, item := range m {
		if len(path) > 0 && k == path[0] {
			if len(path) == 1 {
				continue
			}
			item = without(item, path[1:])
		} else {
			item = without(item, nil)
		}
		if inner, ok := item.(map[string]any); item == nil || ok && len(inner) == 0 {
			continue
		}
		out[k] = item
	}
	return out
}

func comments(text string) (out []string) {
	for line := range strings.Lines(text) {
		if i := strings.Index(line, "# "); i >= 0 {
			out = append(out, strings.TrimSpace(line[i:]))
		}
	}
	return out
}

// document generates a commented document of nested keys, and lists its keys.
type document struct {
	text string
	keys []string
	all  []string // comments
}

func generate(r *rand.Rand, format string) document {
	var d document
	var b strings.Builder
	comment := func(indent string) {
		if r.IntN(3) == 0 {
			c := fmt.Sprintf("note %d: {[\"'", len(d.all))
			d.all = append(d.all, c)
			sign := "#"
			if format == "jsonc" {
				sign = "//"
			}
			b.WriteString(indent + sign + " " + c + "\n")
		}
	}
	tail := func() string {
		if r.IntN(3) > 0 {
			return ""
		}
		c := fmt.Sprintf("tail %d", len(d.all))
		d.all = append(d.all, c)
		if format == "jsonc" {
			return " // " + c
		}
		return "   # " + c
	}
	value := func() string {
		switch r.IntN(6) {
		case 0:
			return fmt.Sprint(r.IntN(1000))
		case 1:
			return "true"
		case 2:
			return fmt.Sprintf("\"text %d # , } ]\"", r.IntN(100))
		case 3:
			return fmt.Sprintf("[%d, \"x, y\", %d]", r.IntN(9), r.IntN(9))
		case 4:
			if format == "yaml" {
				return fmt.Sprintf("'it''s %d'", r.IntN(9))
			}
			return `"it's"`
		}
		if format == "yaml" {
			return fmt.Sprintf("plain word %d", r.IntN(9))
		}
		return `""`
	}
	groups := 1 + r.IntN(4)
	if format == "jsonc" {
		b.WriteString("{\n")
	}
	for g := range groups {
		group := fmt.Sprintf("g%d", g)
		n := 1 + r.IntN(4)
		switch format {
		case "yaml":
			comment("")
			b.WriteString(group + ":" + tail() + "\n")
			for k := range n {
				comment("    ")
				d.keys = append(d.keys, fmt.Sprintf("%s.k%d", group, k))
				fmt.Fprintf(&b, "    k%d:  %s%s\n", k, value(), tail())
			}
		case "toml":
			comment("")
			b.WriteString("[" + group + "]" + tail() + "\n")
			for k := range n {
				comment("  ")
				d.keys = append(d.keys, fmt.Sprintf("%s.k%d", group, k))
				fmt.Fprintf(&b, "  k%d = %s%s\n", k, value(), tail())
			}
		case "jsonc":
			comment("  ")
			fmt.Fprintf(&b, "  %q: {%s\n", group, tail())
			for k := range n {
				comment("    ")
				d.keys = append(d.keys, fmt.Sprintf("%s.k%d", group, k))
				comma := ","
				if k == n-1 && r.IntN(2) == 0 {
					comma = ""
				}
				fmt.Fprintf(&b, "    \"k%d\": %s%s%s\n", k, value(), comma, tail())
			}
			comma := ","
			if g == groups-1 && r.IntN(2) == 0 {
				comma = ""
			}
			b.WriteString("  }" + comma + "\n")
		}
		if r.IntN(2) == 0 {
			b.WriteString("\n")
		}
	}
	if format == "jsonc" {
		b.WriteString("}\n")
	}
	comment("")
	d.text = b.String()
	if r.IntN(4) == 0 {
		d.text = strings.ReplaceAll(d.text, "\n", "\r\n")
	}
	if r.IntN(4) == 0 {
		d.text = strings.TrimRight(d.text, "\r\n")
	}
	return d
}

// FuzzSpliceGenerated sets keys of generated documents: the key then has the
// value, every other key and every comment is as before, line ends stay, and
// no more than one line differs for a key that was there.
func FuzzSpliceGenerated(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed, uint8(seed), fmt.Sprintf("v%d: # \"", seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, which uint8, text string) {
		text = strings.ToValidUTF8(text, "?")
		format := []string{"yaml", "toml", "jsonc"}[seed%3]
		d := generate(rand.New(rand.NewPCG(seed, 1)), format)
		key, fresh := d.keys[int(which)%len(d.keys)], which%5 == 0
		if fresh {
			key = []string{"g0.new", "new", "new.sub.key"}[int(which)/5%3]
		}
		value, _ := json.Marshal(text)
		var want any = text
		if which%3 == 0 {
			want = []any{text, "x, y", text}
			value, _ = json.Marshal(want)
		}
		before, err := config.ParseDocument("s."+format, []byte(d.text))
		if err != nil {
			t.Fatalf("generated %q: %v", d.text, err)
		}
		out, err := config.Splice("s."+format, []byte(d.text), key, string(value))
		if err != nil {
			t.Fatalf("%q with %s=%s: %v", d.text, key, value, err)
		}
		after, err := config.ParseDocument("s."+format, out)
		if err != nil {
			t.Fatalf("became %q: %v", out, err)
		}
		path := strings.Split(key, ".")
		var got any = after
		for _, p := range path {
			got = got.(map[string]any)[p]
		}
		if items, ok := got.([]any); ok {
			for i, item := range items {
				items[i] = fmt.Sprint(item) // an item with the same text stays as it is, a number too
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("set %s in %q (-want +got):\n%s", value, out, diff)
		}
		if diff := cmp.Diff(without(before, path), without(after, path)); diff != "" {
			t.Errorf("%q with %s=%s became %q (-before +after):\n%s", d.text, key, value, out, diff)
		}
		for _, c := range d.all {
			if !strings.Contains(string(out), c) {
				t.Errorf("comment %q is gone: %q became %q", c, d.text, out)
			}
		}
		was, now := strings.Split(d.text, "\n"), strings.Split(string(out), "\n")
		if strings.HasSuffix(d.text, "\n") != strings.HasSuffix(string(out), "\n") || !fresh && len(was) != len(now) {
			t.Errorf("line ends: %q became %q", d.text, out)
		}
		if crlf := strings.Count(d.text, "\r\n"); crlf > 0 && strings.Count(string(out), "\n") != strings.Count(string(out), "\r\n") {
			t.Errorf("line ends: %q became %q", d.text, out)
		}
		if !fresh {
			differ := 0
			for i := range was {
				if was[i] != now[i] {
					differ++
				}
			}
			if differ > 1 {
				t.Errorf("%d lines differ: %q became %q", differ, d.text, out)
			}
		}
	})
}
