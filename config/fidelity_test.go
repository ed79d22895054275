package config_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/config"
)

// TestTextFidelity puts texts into a string field through every format, plain
// where the format allows it and quoted, and wants them back as written.
func TestTextFidelity(t *testing.T) {
	t.Parallel()
	texts := []string{
		"1.10", "1.0", "1", "0", "-0", "+5", "007", "0755", "0x1F", "0X1f", "0o17", "0b101", "1_000", "1e3", "1E400", "-1.5e-7", ".5", "5.",
		"9223372036854775807", "9223372036854775808", "1234567890123456789", "123456789012345678901234567890", "0.1000000000000000055511151231257827",
		"3.14159265358979323846", "100000000000000000000000", "1.7976931348623157e+309", "true", "false", "True", "TRUE", "yes", "no", "Yes", "NO", "on", "off", "y", "n", "Y", "N",
		".inf", "-.inf", ".nan", "inf", "nan", "NaN", "null_", "nil", "none", "None", "undefined", "2001-12-14", "2001-12-14T21:59:43.10-05:00",
		"07:32:00", "190:20:30", "12:30", "1:2", "1.2.3", "v1.10", "10.0.0.0/8", "::1", "a@b", "50%", "a b", "a  b", "ä€😀", "a/b", "a:b", "a#b",
		"=", "<<", "x=y", "C:\\dir", "C:\\new\\table", "$HOME", "${X}", "{{x}}", "a,b", "[x]", "{x}", "*", "&x", "!x", "|", ">", "%x", "@x", "`x`",
		`"123"`, "'x'", `a"b`, "it's", "#x", "- x", "-", "--", "---", "...", "? x", ": x", "a: b", "a #b", " lead", "trail ", "\ttab", "line\nbreak", "end\n", "\n\n", "\r\n",
		"null", "~", "Null", "", " ",
	}
	type settings struct {
		A, B string
		C    []string
		D    map[string]string
	}
	plain := 0
	for _, text := range texts {
		quoted := func() string { b, _ := json.Marshal(text); return string(b) }()
		documents := map[string]string{
			"quoted.yaml": "a: " + quoted + "\nb: '" + strings.ReplaceAll(text, "'", "''") + "'\nc: [" + quoted + "]\nd: {k: " + quoted + "}\n",
			"quoted.json": fmt.Sprintf(`{"a": %[1]s, "b": %[1]s, "c": [%[1]s], "d": {"k": %[1]s}}`, quoted),
			"quoted.toml": fmt.Sprintf("a = %[1]s\nb = %[1]s\nc = [%[1]s]\nd = { k = %[1]s }\n", quoted),
		}
		if strings.ContainsAny(text, "\n\r") {
			documents["quoted.yaml"] = strings.Replace(documents["quoted.yaml"], "b: '"+text+"'", "b: "+quoted, 1)
		}
		if yamlPlain(text) {
			plain++
			documents["plain.yaml"] = fmt.Sprintf("a: %[1]s\nb:   %[1]s   # c\nc: [%[1]s]\nd:\n  k: %[1]s\n", text)
		}
		if json.Valid([]byte(text)) && strings.Trim(text, `"[]{} `) == text && text != "null" {
			plain++
			documents["plain.json"] = fmt.Sprintf(`{"a": %[1]s, "b" :%[1]s , "c": [%[1]s], "d": {"k":%[1]s}}`, text)
			documents["plain.jsonc"] = "// c\n" + documents["plain.json"]
		}
		if tomlPlain(text) {
			plain++
			documents["plain.toml"] = fmt.Sprintf("a = %[1]s\nb=%[1]s # c\nc = [%[1]s]\nd = { k = %[1]s }\n", text)
		}
		want := settings{text, text, []string{text}, map[string]string{"k": text}}
		for name, document := range documents {
			dir := t.TempDir()
			s, err := config.Load(t.Context(), settings{}, config.File(write(t, dir, name, document)))
			if err != nil {
				t.Errorf("%s of %q: %v", name, text, err)
				continue
			}
			if diff := cmp.Diff(want, *s.Get()); diff != "" {
				t.Errorf("%s of %q (-want +got):\n%s", name, text, diff)
			}
		}
		list, _ := json.Marshal([]string{text})
		m, _ := json.Marshal(map[string]string{"k": text})
		dir := t.TempDir()
		write(t, dir, "b", text+"\n")
		s, err := config.Load(t.Context(), settings{}, config.Env("APP"), config.SecretsDir(dir),
			config.Environ("APP_A="+text, "APP_C="+string(list), "APP_D="+string(m)))
		if err != nil {
			t.Errorf("environment of %q: %v", text, err)
		} else if diff := cmp.Diff(want, *s.Get()); diff != "" {
			t.Errorf("environment of %q (-want +got):\n%s", text, diff)
		}
	}
	if len(texts) < 60 || plain < 90 {
		t.Errorf("%d texts, %d of them also without quotes; want at least 60 and 90", len(texts), plain)
	}
}

// yamlPlain reports texts that YAML takes as they stand, for text that is not
// null.
func yamlPlain(text string) bool {
	switch text {
	case "", "~", "null", "Null", "-", "---", "...", "|", ">", "*", "&x", "!x", "%x", "@x", "`x`", "{x}", "[x]", "{{x}}", "#x", "- x", "? x", ": x", "a: b", "a #b", `"123"`, "'x'", "a,b", "<<", "::1", " ", " lead", "trail ", "${X}", "--":
		return false
	}
	return !strings.ContainsAny(text, "\n\r\t")
}

// tomlPlain reports TOML's numbers, booleans and dates.
func tomlPlain(text string) bool {
	switch text {
	case "true", "false", "inf", "nan", "2001-12-14", "2001-12-14T21:59:43.10-05:00", "07:32:00", "0x1F", "0o17", "0b101", "1_000", "+5", "-0":
		return true
	}
	if _, err := strconv.ParseFloat(text, 64); err != nil && !strings.Contains(err.Error(), "range") {
		return false
	}
	return json.Valid([]byte(text))
}

func TestTypes(t *testing.T) {
	t.Parallel()
	type inner struct{ X, Y int }
	type Embedded struct{ Promoted string }
	type settings struct {
		Embedded
		Bool    bool
		I8      int8
		I64     int64
		U16     uint16
		F32     float32
		F64     float64
		C       complex128
		Dur     time.Duration
		Time    time.Time
		Raw     []byte
		Pair    [2]int
		List    []inner
		Ptr     *int
		Nested  map[string]inner
		Ints    map[int]string
		Any     map[string]any
		URL     config.URL
		Addr    netip.AddrPort
		Size    config.Bytes
		Deep    [][]string
		Renamed string `koanf:"other-name"`
		Skipped string `koanf:"-"`
		Squash  inner  `koanf:",squash"`
	}
	seven := 7
	u, err := config.ParseURL("https://u:p@h/x")
	must(t, err)
	want := settings{
		Embedded: Embedded{"p"}, Bool: true, I8: -128, I64: math.MaxInt64, U16: 65535, F32: 0.5, F64: math.Inf(1), C: 1 + 2i, Dur: 90 * time.Second,
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Raw: []byte("raw"), Pair: [2]int{1, 2}, List: []inner{{1, 2}, {3, 0}}, Ptr: &seven,
		Nested: map[string]inner{"a": {1, 0}}, Ints: map[int]string{-1: "x"}, Any: map[string]any{"n": int64(1), "s": "007", "l": []any{true, 1.5, nil}},
		URL: u, Addr: netip.MustParseAddrPort("127.0.0.1:80"), Size: 64 << 20, Deep: [][]string{{"a"}, nil}, Renamed: "r", Squash: inner{8, 9},
	}
	want.Deep[1] = []string{}
	for name, document := range map[string]string{
		"s.yaml": `{promoted: p, bool: yes, i8: -128, i64: 9223372036854775807, u16: 0xffff, f32: 0.5, f64: .inf, c: 1+2i, dur: 1m30s, time: 2026-01-02T03:04:05Z,
raw: raw, pair: [1, 2], list: [{x: 1, y: 2}, {x: 3}], ptr: 7, nested: {a: {x: 1}}, ints: {-1: x}, any: {n: 1, s: "007", l: [true, 1.5, null]}, url: "https://u:p@h/x",
addr: "127.0.0.1:80", size: 64MiB, deep: [[a], []], other-name: r, x: 8, y: 9}`,
		"s.json": `{"promoted": "p", "bool": true, "i8": -128, "i64": 9223372036854775807, "u16": 65535, "f32": 0.5, "f64": "inf", "c": "1+2i", "dur": "90s", "time": "2026-01-02 03:04:05",
"raw": "raw", "pair": [1, 2], "list": [{"x": 1, "y": 2}, {"x": 3}], "ptr": 7, "nested": {"a": {"x": 1}}, "ints": {"-1": "x"}, "any": {"n": 1, "s": "007", "l": [true, 1.5, null]}, "url": "https://u:p@h/x",
"addr": "127.0.0.1:80", "size": 67108864, "deep": [["a"], []], "other-name": "r", "x": 8, "y": 9}`,
		"s.toml": `promoted = "p"
bool = true
i8 = -128
i64 = 9_223_372_036_854_775_807
u16 = 0xffff
f32 = 5e-1
f64 = inf
c = "1+2i"
dur = "90s"
time = 2026-01-02T03:04:05Z
raw = 'raw'
pair = [1, 2]
ptr = 7
url = "https://u:p@h/x"
addr = "127.0.0.1:80"
size = "64MiB"
deep = [["a"], []]
other-name = "r"
x = 8
y = 9
nested.a.x = 1
ints = {-1 = "x"}
any = {n = 1, s = "007"}
[[list]]
x = 1
y = 2
[[list]]
x = 3
`,
	} {
		s, err := config.Load(t.Context(), settings{}, config.File(write(t, t.TempDir(), name, document)), config.Env("APP"),
			config.Environ(`APP_ANY={"l":[true,1.5,null]}`))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, *s.Get(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestListsAndMapsAcrossLayers(t *testing.T) {
	t.Parallel()
	type settings struct {
		List []string
		Map  map[string]string
		Ptr  *string
		N    int
	}
	text := "x"
	def := settings{List: []string{"default"}, Map: map[string]string{"a": "0", "z": "26"}, Ptr: &text, N: 7}
	file := write(t, t.TempDir(), "s.yaml", "list: [x, y]\nmap: {a: 1, b: 2, c: 3}\nptr: null\nn:\n")
	s := load(t, def, config.File(file), config.Env("APP"), config.Environ(`APP_MAP={"b":"20","c":null}`, "APP_LIST=p,q"))
	want := settings{List: []string{"p", "q"}, Map: map[string]string{"a": "1", "b": "20", "z": "26"}, N: 7}
	if diff := cmp.Diff(want, *s.Get()); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if def.Map["a"] != "0" || def.List[0] != "default" {
		t.Errorf("the defaults were changed: %+v", def)
	}
	s.Get().Map["a"] = "changed"
	again := load(t, def, config.Environ())
	if again.Get().Map["a"] != "0" {
		t.Error("snapshots share maps with the defaults")
	}
}

// TestExplainLayers sets 40 keys in up to 5 layers and wants winner and losers
// of each.
func TestExplainLayers(t *testing.T) {
	t.Parallel()
	type group struct{ A, B, C, D, E, F, G, H string }
	type settings struct{ One, Two, Three, Four, Five group }
	dir := t.TempDir()
	var keys []string
	for _, g := range []string{"one", "two", "three", "four", "five"} {
		for _, k := range "abcdefgh" {
			keys = append(keys, g+"."+string(k))
		}
	}
	// Bit i of the key's number decides whether layer i sets it: every mix of
	// layers occurs.
	line := map[string]map[int]int{"base": {}, "profile": {}}
	document := func(bit int, name string) string {
		var b strings.Builder
		n, group := 0, ""
		for i, k := range keys {
			if i&(1<<bit) == 0 {
				continue
			}
			g, leaf, _ := strings.Cut(k, ".")
			if g != group {
				group = g
				b.WriteString(g + ":\n")
				n++
			}
			b.WriteString("  " + leaf + ": " + name + strconv.Itoa(i) + "\n")
			n++
			line[name][i] = n
		}
		return b.String()
	}
	base := write(t, dir, "s.yaml", document(0, "base"))
	profile := write(t, dir, "s.x.yaml", document(1, "profile"))
	var env []string
	m := map[string]any{}
	for i, k := range keys {
		if i&(1<<2) != 0 {
			write(t, dir, "secrets/"+k, fmt.Sprintf("secret%d", i))
		}
		if i&(1<<3) != 0 {
			env = append(env, fmt.Sprintf("APP_%s=env%d", strings.ToUpper(strings.ReplaceAll(k, ".", "_")), i))
		}
		if i&(1<<4) != 0 {
			m[k] = fmt.Sprintf("source%d", i)
		}
	}
	def := settings{One: group{A: "default0"}}
	s := load(t, def, config.File(base), config.Profile("x"), config.SecretsDir(dir+"/secrets"), config.Env("APP"),
		config.Source("memory", mapProvider(func() map[string]any { return m }), nil), config.Environ(env...))
	x := s.Explain()
	if len(x) != 40 || len(keys) != 40 {
		t.Fatalf("%d entries for %d keys, want 40", len(x), len(keys))
	}
	for i, k := range keys {
		var values []config.Overridden
		add := func(value string, o config.Origin) {
			values = append([]config.Overridden{{Origin: o, Value: value}}, values...)
		}
		if k == "one.a" {
			add("default0", config.Origin{Layer: "default"})
		}
		if i&1 != 0 {
			add(fmt.Sprintf("base%d", i), config.Origin{Layer: "file", Name: base, Line: line["base"][i], Column: 6})
		}
		if i&2 != 0 {
			add(fmt.Sprintf("profile%d", i), config.Origin{Layer: "profile", Name: profile, Line: line["profile"][i], Column: 6})
		}
		if i&4 != 0 {
			add("[redacted]", config.Origin{Layer: "secrets", Name: filepath.Join(dir, "secrets", k)})
		}
		if i&8 != 0 {
			add(fmt.Sprintf("env%d", i), config.Origin{Layer: "env", Name: "APP_" + strings.ToUpper(strings.ReplaceAll(k, ".", "_"))})
		}
		if i&16 != 0 {
			add(fmt.Sprintf("source%d", i), config.Origin{Layer: "source", Name: "memory"})
		}
		want := config.Entry{Key: k, Origin: config.Origin{Layer: "default"}}
		if len(values) > 0 {
			want.Value, want.Origin = values[0].Value, values[0].Origin
			if len(values) > 1 {
				want.Overrode = values[1:]
			}
		}
		if diff := cmp.Diff(want, x[i]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", k, diff)
		}
	}
	text := x.String()
	if strings.Count(text, "\n") < 80 || !strings.Contains(text, "over file "+base) {
		t.Errorf("printed:\n%s", text)
	}
}
