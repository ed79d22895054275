package options_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
)

type file struct {
	Path     string        `doc:"where lines go" default:"app.log" min:"1" zero:"default"`
	MaxBytes int64         `default:"64MiB" min:"1MiB" max:"1TiB" zero:"default"`
	Interval time.Duration `default:"5s" min:"1s" max:"10m"`
	Level    slog.Level    `default:"WARN"`
	Sync     *bool         `default:"true"`
	Format   string        `default:"text" oneof:"text|json|off"`
	Attempts int           `default:"5" min:"-1"`
	Ratio    float64       `default:"0.5" min:"0" max:"1"`
	Names    []string      `default:"a, b" oneof:"a|b|c"`
	Waits    []time.Duration
	Small    uint8  `default:"200"`
	Free     string // no rule
}

type receiver struct {
	Name string `koanf:"id" required:"true"`
	Rate int    `default:"3" max:"10"`
}

type base struct {
	Timeout time.Duration `default:"30s" max:"1m"`
}

type all struct {
	base
	File      file
	Second    *file
	Receivers []receiver
	Hosts     map[string]receiver
	Pointers  map[string]*receiver
	Pair      [2]receiver
	Token     secret.Secret `min:"8"`
	Client    *http.Client
	Logger    *slog.Logger `koanf:"-"`
	Local     receiver     `koanf:"-"`
	hidden    file
}

func TestFill(t *testing.T) {
	t.Parallel()
	second := &file{Path: "x"}
	given := all{Second: second, Receivers: []receiver{{Name: "a"}, {Rate: 7}}, Hosts: map[string]receiver{"h": {}}, Pointers: map[string]*receiver{"p": {}, "nil": nil}}
	got := given
	options.Fill(&got)

	yes := true
	want := file{
		Path: "app.log", MaxBytes: 64 << 20, Interval: 5 * time.Second, Level: slog.LevelWarn, Sync: &yes, Format: "text",
		Attempts: 5, Ratio: 0.5, Names: []string{"a", "b"}, Small: 200,
	}
	if diff := cmp.Diff(want, got.File); diff != "" {
		t.Errorf("File (-want +got):\n%s", diff)
	}
	want.Path = "x"
	if diff := cmp.Diff(want, *got.Second); diff != "" {
		t.Errorf("Second (-want +got):\n%s", diff)
	}
	if got.Timeout != 30*time.Second || got.Receivers[0].Rate != 3 || got.Receivers[1].Rate != 7 || got.Hosts["h"].Rate != 3 || got.Pointers["p"].Rate != 3 || got.Pair[1].Rate != 3 {
		t.Errorf("got %+v", got)
	}

	// What the caller gave stays as it was.
	if second.MaxBytes != 0 || given.Receivers[0].Rate != 0 || given.Hosts["h"].Rate != 0 || given.Pointers["p"].Rate != 0 {
		t.Errorf("the caller's own was changed: %+v", given)
	}
	if got.hidden.Path != "" {
		t.Error("a field that is not exported was set")
	}
}

// A value that holds itself ends the walk.
func TestFillOfCircle(t *testing.T) {
	t.Parallel()
	type node struct {
		N    int `default:"1"`
		Next *node
	}
	n := &node{}
	n.Next = n
	options.Fill(n)
	options.Check(n)
	if n.N != 1 {
		t.Error(n.N)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	o := all{
		base:      base{Timeout: time.Hour},
		File:      file{MaxBytes: -1, Interval: time.Millisecond, Format: "jsn", Attempts: -2, Ratio: math.NaN(), Names: []string{"a", "x"}},
		Second:    &file{MaxBytes: 3 << 40, Format: "postgres://u:hidden@h/"},
		Receivers: []receiver{{Name: "a"}, {Rate: 11}},
		Hosts:     map[string]receiver{"b.c": {Name: "n", Rate: 12}, "a": {Name: "n", Rate: 13}},
		Pair:      [2]receiver{{Name: "n"}, {Name: "n"}}, Token: secret.New("hidden"), Local: receiver{Name: "n", Rate: 14},
	}
	wrong := options.Check(&o)
	want := options.Mistakes{
		{"Timeout", "timeout", "1h is above 1m: give at most 1m, or leave it out for 30s"},
		{"File.MaxBytes", "file.max_bytes", "-1 is below 1MiB: give 1MiB to 1TiB, or leave it out for 64MiB"},
		{"File.Interval", "file.interval", "1ms is below 1s: give 1s to 10m, or leave it out for 5s"},
		{"File.Format", "file.format", `"jsn" is none of text, json, off: did you mean json?`},
		{"File.Attempts", "file.attempts", "-2 is below -1: give at least -1, or leave it out for 5"},
		{"File.Ratio", "file.ratio", "NaN is no number: give 0 to 1"},
		{"File.Names", "file.names", `"x" is none of a, b, c: give one of these`},
		{"Second.MaxBytes", "second.max_bytes", "3TiB is above 1TiB: give 1MiB to 1TiB, or leave it out for 64MiB"},
		{"Second.Format", "second.format", `"postgres://[redacted]@h/" is none of text, json, off: give one of these`},
		{"Receivers[1].Name", "receivers[1].id", "is missing: give a value"},
		{"Receivers[1].Rate", "receivers[1].rate", "11 is above 10: give at most 10, or leave it out for 3"},
		{`Hosts["a"].Rate`, "hosts.a.rate", "13 is above 10: give at most 10, or leave it out for 3"},
		{`Hosts["b.c"].Rate`, "hosts.b.c.rate", "12 is above 10: give at most 10, or leave it out for 3"},
		{"Token", "token", "has 6 characters, fewer than 8: give at least 8"},
		{"Local.Rate", "", "14 is above 10: give at most 10, or leave it out for 3"},
	}
	if diff := cmp.Diff(want, wrong); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(wrong.Error(), "hidden") {
		t.Error("a secret shows")
	}
	for _, m := range wrong {
		if got := options.KeyOf(reflect.TypeFor[all](), m.Field); got != m.Key {
			t.Errorf("KeyOf(%q) = %q, want %q", m.Field, got, m.Key)
		}
	}
}

func TestBadTags(t *testing.T) {
	t.Parallel()
	type inner struct {
		D time.Duration `default:"5"`
	}
	type bad struct {
		A int             `default:"x"`
		B int8            `default:"300"`
		C bool            `default:"si"`
		D int             `min:"5" max:"1"`
		E string          `min:"-1"`
		F struct{ X int } `min:"1"`
		G secret.Secret   `default:"x"`
		H int             `default:"7" max:"5"`
		I string          `default:"x" oneof:"a|b"`
		J int             `zero:"default"`
		K int             `default:"1" zero:"x"`
		L bool            `required:"x"`
		M slog.Level      `default:"LOUD"`
		N []int           `default:"1,x"`
		O func()          `default:"x"`
		P []inner
		Q int64 `max:"64XB"`
	}
	want := `A: tag default:"x": not a whole number or size
B: tag default:"300": out of the range of int8
C: tag default:"si": not true or false
D: tag min:"5": above max:"1"
E: tag min:"-1": not a number of characters or items
F: tag min:"1": type struct { X int } has no order
G: tag default:"x": a secret has no default
H: tag default:"7": 7 is above 5: give at most 5
I: tag default:"x": "x" is none of a, b: give one of these
J: tag zero:"default": there is no default
K: tag zero:"x": only "default" is known
L: tag required:"x": not true or false
M: tag default:"LOUD": not a slog.Level
N: tag default:"1,x": item 1: not a whole number or size
O: tag default:"x": type func() cannot be read from text
P[].D: tag default:"5": not a duration, such as 5s
Q: tag max:"64XB": not a whole number or size`
	var o bad
	options.Fill(&o)
	if diff := cmp.Diff(want, options.Check(o).Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestZero(t *testing.T) {
	t.Parallel()
	type o struct {
		A int           `default:"5" min:"-1" zero:"default"`
		B time.Duration `default:"5s" zero:"default"`
		C int           `default:"5"`
		D *int          `default:"5" zero:"default"`
		E string        `default:"x" zero:"default"`
	}
	want := []string{
		"0 would mean 5: leave it out, or give -1 for no limit", "0s would mean 5s: leave it out", "", "",
		`"" would mean x: leave it out`,
	}
	v := reflect.ValueOf(o{})
	for i, want := range want {
		rules, bad := options.ParseRules(v.Type().Field(i))
		if got := rules.Zero(v.Field(i)); got != want || bad != nil {
			t.Errorf("%s: %q, want %q (%v)", v.Type().Field(i).Name, got, want, bad)
		}
	}
}

type validated struct{ Inner receiver }

func (v validated) Validate() error {
	wrong := options.Check(v)
	wrong.Add("", "is of no field")
	return wrong.Err("x: new")
}

func TestErr(t *testing.T) {
	t.Parallel()
	if err := options.Mistakes(nil).Err("x"); err != nil {
		t.Error(err)
	}
	err := validated{receiver{Rate: 11}}.Validate()
	want := "x: new: Inner.Name: is missing: give a value\nx: new: Inner.Rate: 11 is above 10: give at most 10, or leave it out for 3\nx: new: is of no field"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	var wrong options.Mistakes
	if !errors.As(fmt.Errorf("more: %w", err), &wrong) || len(wrong) != 3 {
		t.Errorf("errors.As finds %v", wrong)
	}

	var outer options.Mistakes
	outer.Within("Part", err)
	outer.Within("List[2]", errors.New("no list"))
	outer.Within("List", nil)
	if got, want := outer.Error(), "Part.Inner.Name: is missing: give a value\nPart.Inner.Rate: 11 is above 10: give at most 10, or leave it out for 3\nPart: is of no field\nList[2]: no list"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text string
		want any
	}{
		{"5s", 5 * time.Second},
		{"64MiB", int64(64 << 20)},
		{"1.5kB", 1500},
		{"0x10", uint16(16)},
		{"2GB", uint64(2e9)},
		{"true", true},
		{"1e3", 1000.0},
		{"a b", "a b"},
		{"", []string{}},
		{"1s,2s", []time.Duration{time.Second, 2 * time.Second}},
		{"bytes", []byte("bytes")},
		{"ERROR", slog.LevelError},
		{"http://h/p", url.URL{Scheme: "http", Host: "h", Path: "/p"}},
	} {
		got, err := options.Parse(reflect.TypeOf(tc.want), tc.text)
		if err != nil {
			t.Errorf("%q as %T: %v", tc.text, tc.want, err)
			continue
		}
		if diff := cmp.Diff(tc.want, got.Interface()); diff != "" {
			t.Errorf("%q as %T (-want +got):\n%s", tc.text, tc.want, diff)
		}
	}
	for _, bad := range []struct {
		text string
		t    reflect.Type
	}{
		{"hunter2", reflect.TypeFor[int]()},
		{"hunter2", reflect.TypeFor[time.Duration]()},
		{"hunter2", reflect.TypeFor[slog.Level]()},
		{"http://u:hunter2@h:x/", reflect.TypeFor[url.URL]()},
		{"8EiB", reflect.TypeFor[int64]()},
		{"9000PiB", reflect.TypeFor[int64]()},
		{"-1MiB", reflect.TypeFor[int64]()},
		{"0.5B", reflect.TypeFor[int64]()},
		{"x", reflect.TypeFor[any]()},
	} {
		if v, err := options.Parse(bad.t, bad.text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q as %s: %v, %v", bad.text, bad.t, v, err)
		}
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	type o struct {
		URL, SMTPHost, MaxBodyBytes, URLs, IDsAllowed, HTTP2 int
		Named                                                int  `koanf:"other,omitempty"`
		Flat                                                 base `koanf:",squash"`
		Off                                                  int  `koanf:"-"`
		base
	}
	want := []string{"url", "smtp_host", "max_body_bytes", "urls", "ids_allowed", "http2", "other", "", "", ""}
	for i, want := range want {
		sf := reflect.TypeFor[o]().Field(i)
		name, inline, ok := options.Key(sf)
		if name != want || inline != (sf.Name == "Flat" || sf.Name == "base") || ok != (sf.Name != "Off") {
			t.Errorf("%s: %q, %v, %v", sf.Name, name, inline, ok)
		}
	}
	for path, want := range map[string]string{"Flat.Timeout": "timeout", "Timeout": "timeout", "Off": "", "None": "", "URL.X": "", "URL[0]": "", "[": ""} {
		if got := options.KeyOf(reflect.TypeFor[*o](), path); got != want {
			t.Errorf("KeyOf(%q) = %q, want %q", path, got, want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	f.Add("64MiB")
	f.Add("1.5kB")
	f.Add("9223372036854775807")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := options.ParseSize(text)
		if err != nil {
			return
		}
		if again, err := options.ParseSize(options.FormatSize(n)); n < 0 || err != nil || again != n {
			t.Errorf("%q: %d, %d, %v", text, n, again, err)
		}
	})
}

func FuzzKeyOf(f *testing.F) {
	f.Add("File.MaxBytes")
	f.Add(`Hosts["a]b"].Rate`)
	f.Add("Receivers[0][")
	f.Fuzz(func(_ *testing.T, path string) { options.KeyOf(reflect.TypeFor[all](), path) })
}
