package doc_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// setting is a document with one list in it, in the shape of a real program's.
type setting struct {
	name   string
	format doc.Format
	path   []string
	before string // the document up to the first item
	after  string // the document from the last item on
	// item writes an item: head comments, its text, the comment beside it.
	item   func(v value, id int) string
	values func(r *rand.Rand, id int) value
}

// value is a scalar or a section of scalars, with its text in the document.
type value struct {
	text string // of a scalar, as JSON
	keys []string
	vals []string // as JSON
}

func (v value) section() bool { return v.keys != nil }

func (v value) equal(o value) bool {
	if v.section() != o.section() || v.text != o.text || len(v.keys) != len(o.keys) {
		return false
	}
	for i, k := range v.keys {
		if j := slices.Index(o.keys, k); j < 0 || o.vals[j] != v.vals[i] {
			return false
		}
	}
	return true
}

func (v value) json() string {
	if !v.section() {
		return v.text
	}
	parts := make([]string, len(v.keys))
	for i, k := range v.keys {
		parts[i] = quoted(k) + ":" + v.vals[i]
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// scalars are what a settings page may send, as JSON.
var scalars = []string{
	`"web"`, `"yes"`, `"no"`, `"on"`, `"n"`, `"Y"`, `"~"`, `"null"`, `""`, `" lead"`, `"trail "`, `"a: b"`, `"a #b"`, `"-"`, `"- x"`, `"?"`,
	`"[x]"`, `"{x}"`, `"*x"`, `"&x"`, `"!x"`, `"%x"`, `"@x"`, "\"`x\"", `"it's"`, `"say \"x\""`, `"two\nlines"`, `"two\nlines\n"`, `"a\tb"`, `"ünï"`,
	`"1"`, `"1.0"`, `".5"`, `"5."`, `"+1"`, `"0o17"`, `"0b1"`, `"0x1F"`, `"012"`, `"1_000"`, `"1e3"`, `"1e400"`, `"12:30:45"`, `"2001-01-01"`,
	`"="`, `"<<"`, `".inf"`, `".nan"`, `"TRUE"`, `"#x"`, `"x#y"`, `": x"`, `"x:"`, `"\\"`, `"\u2028"`, `"8080:80"`, `"a, b"`, `"a]b"`, `"'"`, `"\""`, `"'''"`,
	`"0.1e1"`, `"1E5"`, `"12e03"`, `"Infinity"`, `"inf"`, `"nan"`, `"e"`, `"10Mi"`, `"90s"`, `"a\u0085b"`, `"x\\n"`, `"//x"`, `"/* x */"`, `"---"`, `"..."`,
	`0`, `-5`, `8080`, `9007199254740993`, `1.5`, `5.0`, `-0.25`, `1e+21`, `1e-07`, `true`, `false`,
}

func scalar(r *rand.Rand) string { return scalars[r.IntN(len(scalars))] }

// line writes lines with an indent.
func line(indent string, lines ...string) string {
	return indent + strings.Join(lines, "\n"+indent) + "\n"
}

// plainName is a value that all formats write as it stands.
func plainName(_ *rand.Rand, id int) value { return value{text: quoted(fmt.Sprintf("item-%d", id))} }

func named(key string, more ...string) func(r *rand.Rand, id int) value {
	return func(r *rand.Rand, id int) value {
		v := value{keys: []string{key}, vals: []string{quoted(fmt.Sprintf("item-%d", id))}}
		for _, k := range more {
			v.keys, v.vals = append(v.keys, k), append(v.vals, strconv.Itoa(r.IntN(9)))
		}
		return v
	}
}

func unquote(s string) string {
	var out string
	if json.Unmarshal([]byte(s), &out) != nil {
		return s
	}
	return out
}

// settings are the shapes of documents that people keep.
var settings = []setting{
	{
		name: "compose", format: doc.YAML, path: []string{"services", "web", "environment"},
		before: "# compose\nservices:\n  web:\n    image: nginx # pinned\n    environment: # of the web\n", after: "    restart: always\n\n  db: {image: postgres}\nvolumes: {}\n",
		values: plainName,
		item: func(v value, id int) string {
			return line("      ", fmt.Sprintf("# head %d", id), fmt.Sprintf("- %s # side %d", unquote(v.text), id))
		},
	},
	{
		name: "alertmanager", format: doc.YAML, path: []string{"route", "routes"},
		before: "global:\n  resolve_timeout: 5m\n\nroute:\n  receiver: default\n  routes:\n", after: "\n# whom\nreceivers:\n- name: default\n",
		values: named("receiver", "wait", "hops"),
		item: func(v value, id int) string {
			return line("  ", fmt.Sprintf("# head %d", id), "- receiver: "+unquote(v.vals[0]),
				fmt.Sprintf("  wait: %s # side %d", v.vals[1], id), "  hops: "+v.vals[2], fmt.Sprintf("  # below %d", id))
		},
	},
	{
		name: "prometheus", format: doc.YAML, path: []string{"scrape_configs"},
		before: "global: {scrape_interval: 15s}\nscrape_configs:\n", after: "",
		values: named("name", "port"),
		item: func(v value, id int) string {
			return line("", "-   name: '"+unquote(v.vals[0])+fmt.Sprintf("' # side %d", id), fmt.Sprintf("    port: %s # port %d", v.vals[1], id))
		},
	},
	{
		name: "golangci", format: doc.YAML, path: []string{"linters", "enable"},
		before: "version: \"2\"\nlinters:\n  enable: [ # which\n", after: "  ]\n  disable: []\n",
		values: plainName,
		item: func(v value, id int) string {
			return line("    ", fmt.Sprintf("# head %d", id), fmt.Sprintf("%s, # side %d", unquote(v.text), id))
		},
	},
	{
		name: "golangci flow sections", format: doc.YAML, path: []string{"issues", "rules"},
		before: "issues:\n    rules:\n", after: "    max: 3\n",
		values: named("id", "n"),
		item: func(v value, id int) string {
			return line("    ", fmt.Sprintf("- {id: %s, n: %s} # side %d", unquote(v.vals[0]), v.vals[1], id))
		},
	},
	{
		name: "hugo.yaml", format: doc.YAML, path: []string{"menu", "main"},
		before: "menu:\n  main:\n", after: "  footer:\n  - name: x\n",
		values: named("name", "weight"),
		item: func(v value, id int) string {
			return line("    ", "-", fmt.Sprintf("  name: %s # side %d", unquote(v.vals[0]), id), "  weight: "+v.vals[1]) + "\n"
		},
	},
	{
		name: "cargo bins", format: doc.TOML, path: []string{"bin"},
		before: "[package]\nname = \"x\" # of the crate\n\n", after: "[dependencies]\nserde = { version = \"1\" }\n",
		values: named("name", "port"),
		item: func(v value, id int) string {
			return line("", fmt.Sprintf("# head %d", id), fmt.Sprintf("[[bin]] # side %d", id), "name = "+v.vals[0], fmt.Sprintf("port = %s # port %d", v.vals[1], id)) + "\n"
		},
	},
	{
		name: "cargo features", format: doc.TOML, path: []string{"features", "default"},
		before: "[features]\ndefault = [ # on\n", after: "]\nextra = []\n",
		values: plainName,
		item: func(v value, id int) string {
			return line("    ", fmt.Sprintf("# head %d", id), fmt.Sprintf("%s, # side %d", v.text, id))
		},
	},
	{
		name: "pyproject", format: doc.TOML, path: []string{"project", "authors"},
		before: "[project]\nname = 'x'\nauthors = [\n", after: "]\n\n[tool.x]\ny = 1\n",
		values: named("name", "age"),
		item: func(v value, id int) string {
			return line("  ", fmt.Sprintf("{ name = %s, age = %s }, # side %d", v.vals[0], v.vals[1], id))
		},
	},
	{
		name: "hugo.toml", format: doc.TOML, path: []string{"menu", "main"},
		before: "title = \"t\"\n[params]\n  x = 1\n", after: "",
		values: named("id", "weight"),
		item: func(v value, id int) string {
			return line("  ", "[[menu.main]]", fmt.Sprintf("  id = %s # side %d", v.vals[0], id), "  weight = "+v.vals[1])
		},
	},
	{
		name: "tsconfig", format: doc.JSONC, path: []string{"compilerOptions", "lib"},
		before: "{\n  // how\n  \"compilerOptions\": {\n    \"lib\": [\n", after: "    ],\n    \"strict\": true // always\n  }\n}\n",
		values: plainName,
		item: func(v value, id int) string {
			return line("      ", fmt.Sprintf("// head %d", id), fmt.Sprintf("%s, // side %d", v.text, id))
		},
	},
	{
		name: "vscode", format: doc.JSONC, path: []string{"tasks"},
		before: "{\n  \"tasks\": [\n", after: "  ]\n}\n",
		values: named("name", "n"),
		item: func(v value, id int) string {
			return line("    ", fmt.Sprintf("/* head %d */", id), "{", fmt.Sprintf("  \"name\": %s, // side %d", v.vals[0], id), "  \"n\": "+v.vals[1], fmt.Sprintf("  // below %d", id), "},")
		},
	},
	{
		name: "package.json", format: doc.JSON, path: []string{"files"},
		before: "{\n  \"name\": \"x\",\n  \"files\": [\n", after: "  ]\n}\n",
		values: plainName,
		item:   func(v value, _ int) string { return line("    ", v.text+",") },
	},
}

// pairing is the rule of Update, written once more: equal ones first, in
// order, then sections by a name, id or key that is unique, then by place.
func pairing(old, want []value) []int {
	out, used := make([]int, len(want)), map[int]bool{}
	for i, v := range want {
		out[i] = -1
		for j, o := range old {
			if !used[j] && o.equal(v) {
				out[i], used[j] = j, true
				break
			}
		}
	}
	unique := func(vs []value, key string) (texts []string, ok bool) {
		for _, v := range vs {
			i := slices.Index(v.keys, key)
			if i < 0 || slices.Contains(texts, unquote(v.vals[i])) {
				return nil, false
			}
			texts = append(texts, unquote(v.vals[i]))
		}
		return texts, true
	}
	for _, key := range []string{"name", "id", "key"} {
		was, ok := unique(old, key)
		is, also := unique(want, key)
		if !ok || !also {
			continue
		}
		for i, text := range is {
			if j := slices.Index(was, text); out[i] < 0 && j >= 0 && !used[j] {
				out[i], used[j] = j, true
			}
		}
		break
	}
	for i := range out {
		if out[i] < 0 && i < len(old) && !used[i] {
			out[i], used[i] = i, true
		}
	}
	return out
}

// mutate changes a list as a settings page does.
func mutate(r *rand.Rand, s *setting, list []value, next int) []value {
	out := slices.Clone(list)
	for range 1 + r.IntN(3) {
		switch i := r.IntN(len(out) + 1); r.IntN(5) {
		case 0:
			if i < len(out) && len(out) > 1 {
				out = slices.Delete(out, i, i+1)
			}
		case 1:
			v := s.values(r, next)
			next++
			if !v.section() {
				v.text = scalar(r)
			} else {
				v.vals[len(v.vals)-1] = scalar(r)
			}
			out = slices.Insert(out, i, v)
		case 2:
			if i < len(out) {
				v := out[i]
				j := r.IntN(len(out))
				out = slices.Insert(slices.Delete(out, i, i+1), min(j, len(out)-1), v)
			}
		case 3:
			if i < len(out) && out[i].section() {
				v := value{keys: slices.Clone(out[i].keys), vals: slices.Clone(out[i].vals)}
				v.vals[len(v.vals)-1] = scalar(r)
				out[i] = v
			}
		case 4:
			if i < len(out) && out[i].section() {
				v := value{keys: append(slices.Clone(out[i].keys), "extra"), vals: append(slices.Clone(out[i].vals), scalar(r))}
				if !slices.Contains(out[i].keys, "extra") {
					out[i] = v
				}
			}
		}
	}
	return out
}

// withoutCommas is an item's text, whose last comma depends on its place.
func withoutCommas(text string, f doc.Format) string {
	text = strings.Trim(text, "\n")
	if f == doc.YAML && !strings.Contains(text, ", #") {
		return text
	}
	return strings.ReplaceAll(text, ",", "")
}

// TestRandomListEdits changes lists of documents as people keep them. Items
// that stay keep their bytes, comments go with their item, and the readers of
// other languages see the value and the type that was wanted.
func TestRandomListEdits(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 11))
	if seed := os.Getenv("SVCBLOCKS_SEED"); seed != "" {
		n, _ := strconv.ParseUint(seed, 10, 64)
		r = rand.New(rand.NewPCG(n, 11))
	}
	readers := startReaders(t)
	refused, wrong := 0, 0
	total := testenv.Reps(20_000)
	for n := range total {
		s := &settings[r.IntN(len(settings))]
		old := make([]value, 1+r.IntN(5))
		text, chunks := s.before, make([]string, len(old))
		for i := range old {
			old[i] = s.values(r, i)
			chunks[i] = s.item(old[i], i)
			if i == len(old)-1 && s.format == doc.JSON { // no comma after the last
				chunks[i] = strings.Replace(chunks[i], ",\n", "\n", 1)
			}
			text += chunks[i]
		}
		text += s.after
		want := mutate(r, s, old, 100)
		if r.IntN(12) == 0 && !slices.ContainsFunc(want, value.section) { // line ends of Windows
			text = strings.ReplaceAll(text, "\n", "\r\n")
		}

		list := &doc.Node{Kind: doc.List}
		for _, v := range want {
			item, err := doc.ParseValue(v.json())
			if err != nil {
				t.Fatal(err)
			}
			list.Items = append(list.Items, item)
		}
		out, _, err := doc.Edit(s.format, []byte(text), []doc.Change{{Path: s.path, Value: list}})
		if err != nil {
			refused++
			t.Logf("%s: refused: %v\n%s\n%v", s.name, err, text, want)
			continue
		}
		problem := checkComments(s, strings.ReplaceAll(string(out), "\r\n", "\n"), old, want, chunks)
		if problem == "" {
			problem = readers.read(t, s, string(out), list, n)
		}
		if problem != "" {
			if wrong++; wrong > 5 {
				t.Fatal("more are wrong")
			}
			t.Errorf("%s: %s\nbefore:\n%s\nwant: %v\nafter:\n%s", s.name, problem, text, want, out)
		}
	}
	t.Logf("%d edits, %d refused, %d wrong", total, refused, wrong)
	if refused*200 > total {
		t.Errorf("%d of %d edits were refused", refused, total)
	}
}

// checkComments finds what an edit did to text that it had to leave alone.
func checkComments(s *setting, out string, old, want []value, chunks []string) string {
	switch {
	case !strings.HasPrefix(out, s.before):
		return "the text before the list has changed"
	case !strings.HasSuffix(out, s.after):
		return "the text after the list has changed"
	}
	pairs := pairing(old, want)
	at := 0
	plain := withoutCommas(out, s.format)
	for i, j := range pairs {
		if j < 0 {
			continue
		}
		var parts []string
		if old[j].equal(want[i]) {
			parts = []string{withoutCommas(chunks[j], s.format)}
		} else { // what is changed keeps its comments
			for _, word := range []string{"head", "side", "below", "port"} {
				if c := fmt.Sprintf("%s %d", word, j); strings.Contains(chunks[j], c) {
					parts = append(parts, c)
				}
			}
		}
		for _, part := range parts {
			k := strings.Index(plain[at:], part)
			if k < 0 {
				return fmt.Sprintf("item %d, which was %d, has lost %q or its place", i, j, part)
			}
			at += k + len(part)
		}
	}
	for j := range old {
		if slices.Contains(pairs, j) {
			continue
		}
		for _, word := range []string{"head", "side", "below", "port"} {
			if c := fmt.Sprintf("%s %d", word, j); strings.Contains(chunks[j], c) && strings.Contains(out, c+"\n") {
				return fmt.Sprintf("item %d is gone, and its comment %q is there", j, c)
			}
		}
	}
	return ""
}

// readers is a process with the readers of other languages; nil has none.
type readers struct {
	in  *bufio.Writer
	out *bufio.Reader
}

func startReaders(t *testing.T) *readers {
	t.Helper()
	part, err := testenv.Find("readers")
	if err != nil {
		if os.Getenv("SVCBLOCKS_REQUIRE") == "all" {
			t.Fatal(err)
		}
		t.Logf("without other languages' readers: %v", err)
		return nil
	}
	cmd := part.Command("testdata/readers.py")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &readers{bufio.NewWriter(in), bufio.NewReaderSize(out, 1<<20)}
}

// read asks the readers what they see at the setting's path. The slow one of
// YAML 1.2 is asked for a part of them.
func (rd *readers) read(t *testing.T, s *setting, text string, want *doc.Node, n int) string {
	t.Helper()
	if rd == nil {
		return ""
	}
	formats := map[doc.Format][]string{doc.YAML: {"yaml", "yaml12"}, doc.TOML: {"toml"}, doc.JSON: {"json"}, doc.JSONC: {"jsonc"}}[s.format]
	if (s.format == doc.YAML || s.format == doc.JSONC) && n%4 > 0 && !testenv.Soak() {
		formats = formats[:len(formats)-1]
	}
	for _, f := range formats {
		line, err := json.Marshal(map[string]any{"format": f, "text": text, "path": s.path, "want": tagged(want)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rd.in.Write(append(line, '\n')); err != nil {
			t.Fatal(err)
		}
		if err := rd.in.Flush(); err != nil {
			t.Fatal(err)
		}
		answer, err := rd.out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if problem := unquote(strings.TrimSpace(answer)); problem != "" {
			return problem
		}
	}
	return ""
}

// tagged writes a tree with the type of every value.
func tagged(n *doc.Node) []any {
	switch n.Kind {
	case doc.List:
		items := make([]any, len(n.Items))
		for i, item := range n.Items {
			items[i] = tagged(item)
		}
		return []any{"list", items}
	case doc.Map:
		items := make([]any, len(n.Items))
		for i, item := range n.Items {
			items[i] = []any{n.Names[i].Text, tagged(item)}
		}
		return []any{"map", items}
	}
	switch v := n.Any().(type) {
	case nil:
		return []any{"null"}
	case bool:
		return []any{"bool", strconv.FormatBool(v)}
	case float64:
		return []any{"float", strconv.FormatFloat(v, 'g', -1, 64)}
	case string:
		return []any{"str", v}
	default:
		return []any{"int", fmt.Sprint(v)}
	}
}
