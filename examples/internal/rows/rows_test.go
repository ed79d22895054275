package rows_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/internal/rows"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type item struct {
	Name   string    `json:"name"`
	At     time.Time `json:"at"`
	Weight float64   `json:"weight"`
	Aroma  *float64  `json:"aroma"`
	Chests int8      `json:"chests"`
	Left   uint      `json:"left"`
	Passed bool      `json:"passed"`
	Hidden string    `json:"-"`
}

func items() []item {
	aroma := 7.25
	return []item{
		{Name: "a, \"b\"\nc", At: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Weight: 0.1, Aroma: &aroma, Chests: -3, Left: 4, Passed: true},
		{Name: " <é> ", Weight: 1e21},
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		write func(io.Writer, []item) error
		want  string
	}{
		{
			"items.csv", rows.WriteCSV[item],
			"name,at,weight,aroma,chests,left,passed\n\"a, \"\"b\"\"\nc\",2026-03-01T00:00:00Z,0.1,7.25,-3,4,true\n\" <é> \",0001-01-01T00:00:00Z,1e+21,,0,0,false\n",
		},
		{
			"items.jsonl", rows.WriteJSONLines[item],
			`{"name":"a, \"b\"\nc","at":"2026-03-01T00:00:00Z","weight":0.1,"aroma":7.25,"chests":-3,"left":4,"passed":true}` + "\n" +
				`{"name":" <é> ","at":"0001-01-01T00:00:00Z","weight":1e+21,"aroma":null,"chests":0,"left":0,"passed":false}` + "\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			if err := tt.write(&b, items()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Errorf("file (-want +got):\n%s", diff)
			}
			path := filepath.Join(t.TempDir(), tt.name)
			if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := rows.ReadFile[item](path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(items(), got); diff != "" {
				t.Errorf("items (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := rows.ReadFile[item]("x.parquet"); !errors.Is(err, rows.ErrFormat) {
		t.Errorf("error = %v, want ErrFormat", err)
	}
}

type single struct{ A string }

type pair struct {
	A string
	P *string
}

// back writes items both ways and reads them again.
func back[T any](t *testing.T, items []T) {
	t.Helper()
	for name, f := range map[string]struct {
		write func(io.Writer, []T) error
		read  func(io.Reader) ([]T, error)
	}{"CSV": {rows.WriteCSV[T], rows.ReadCSV[T]}, "JSON Lines": {rows.WriteJSONLines[T], rows.ReadJSONLines[T]}} {
		var b bytes.Buffer
		if err := f.write(&b, items); err != nil {
			if !errors.Is(err, rows.ErrLossy) {
				t.Errorf("%s of %+v: %v", name, items, err)
			}
			continue
		}
		got, err := f.read(&b)
		if err != nil {
			t.Errorf("%s of %+v: %v", name, items, err)
			continue
		}
		if diff := cmp.Diff(items, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What is written is read back equal.
func TestBackEqual(t *testing.T) {
	t.Parallel()
	back(t, []single{{"x"}, {""}, {"y"}, {""}})
	back(t, []struct{ A *string }{{nil}, {nil}})
	back(t, []pair{{"a\rb", nil}, {"\r", nil}, {"\ufeffx", nil}, {" a ", new("b")}, {"a\n\nb\n", nil}, {`"`, nil}, {"\\.", nil}})
	for _, sign := range []string{"=", "+", "-", "@", "\t", "\n", "\r", "＝", "'", "''", "'x", "'=", "'+'", "-5"} {
		back(t, []pair{{sign + "1+1", new(sign)}, {sign, nil}})
	}
}

// What would not be is an error, and a spreadsheet calculates nothing.
func TestLossyIsRefused(t *testing.T) {
	t.Parallel()
	for name, item := range map[string]pair{"CR LF": {"a\r\nb", nil}, "a pointer to nothing": {"x", new("")}} {
		if err := rows.WriteCSV(io.Discard, []pair{item}); !errors.Is(err, rows.ErrLossy) || !strings.Contains(err.Error(), "item 1: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := rows.WriteJSONLines(io.Discard, []pair{{"\xff", nil}}); !errors.Is(err, rows.ErrLossy) {
		t.Errorf("not UTF-8: %v", err)
	}
	type twice struct {
		A string
		B string `json:"A"`
	}
	if err := rows.WriteCSV(io.Discard, []twice{{}}); !errors.Is(err, rows.ErrLossy) {
		t.Errorf("two columns of one name: %v", err)
	}

	var b bytes.Buffer
	if err := rows.WriteCSV(&b, []item{{Name: `=HYPERLINK("http://evil.example")`, Chests: -3}}); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); !strings.Contains(text, "\"'=HYPERLINK(") || !strings.Contains(text, ",-3,") {
		t.Errorf("file:\n%s", text)
	}
	got, err := rows.ReadCSV[pair](strings.NewReader("A,P\n'quoted',x\n"))
	if err != nil || got[0].A != "'quoted'" {
		t.Errorf("somebody else's apostrophe: %+v, %v", got, err)
	}
}

func FuzzBack(f *testing.F) {
	f.Add("a", "=b")
	f.Add("", "'")
	f.Fuzz(func(t *testing.T, a, b string) {
		back(t, []pair{{a, &b}, {b, nil}})
		back(t, []single{{a}, {b}, {""}})
	})
}

func TestMistakesHaveAPlace(t *testing.T) {
	t.Parallel()
	const head = "name,at,weight,aroma,chests,left,passed\n"
	for text, want := range map[string]string{
		"":           "the file is empty",
		"name\n":     "without at, weight",
		"name,name":  `line 1: name: the columns are not those expected: unknown, or there twice`,
		head + "a\n": "line 2: wrong number of fields",
		head + "a,2026-03-01T00:00:00Z,1,,1,1,true\na,2026-03-01T00:00:00Z,much,,1,1,true": `line 3: weight: "much": not a float64: invalid syntax`,
		head + "a,2026-03-01T00:00:00Z,1,,300,1,true":                                      `line 2: chests: "300": not a int8: value out of range`,
		head + "a,today,1,,1,1,true":                                                       `line 2: at: "today"`,
		head + "\"a":                                                                       "line 2",
	} {
		_, err := rows.ReadCSV[item](strings.NewReader(text))
		if e, ok := errors.AsType[*rows.Error](err); !ok || !strings.Contains(e.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"{}\n\n{\"weight\":\"much\"}": `line 3: "{\"weight\":\"much\"}"`,
		"{} {}":                       "line 1: \"{} {}\": more than one value",
		`{"what":1}`:                  "unknown field",
		`{"name":`:                    "line 1",
	} {
		_, err := rows.ReadJSONLines[item](strings.NewReader(text))
		if e, ok := errors.AsType[*rows.Error](err); !ok || !strings.Contains(e.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	type bad struct{ Tags []string }
	if err := rows.WriteCSV(io.Discard, []bad{{}}); err == nil || !strings.Contains(err.Error(), "item 1: Tags: a []string is no cell") {
		t.Errorf("error = %v", err)
	}
}

func TestColumnsInAnyOrder(t *testing.T) {
	t.Parallel()
	got, err := rows.ReadCSV[item](strings.NewReader("\uFEFFpassed,left,chests,aroma,weight,at,name\ntrue,1,2,,3,2026-03-01T00:00:00Z,x\n"))
	if err != nil || len(got) != 1 || got[0].Name != "x" || got[0].Weight != 3 || !got[0].Passed {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzReadCSV(f *testing.F) {
	var b bytes.Buffer
	if err := rows.WriteCSV(&b, items()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	f.Fuzz(func(t *testing.T, text string) {
		got, err := rows.ReadCSV[item](strings.NewReader(text))
		if err != nil {
			if _, ok := errors.AsType[*rows.Error](err); !ok {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		var out bytes.Buffer
		if err := rows.WriteCSV(&out, got); err != nil {
			return // a year beyond 9999 can be read and not be written
		}
		again, err := rows.ReadCSV[item](&out)
		if err != nil || len(again) != len(got) {
			t.Fatalf("%d items read back as %d: %v", len(got), len(again), err)
		}
	})
}
