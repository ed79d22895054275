package extract_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
)

func open(t testing.TB, body string) *extract.Document {
	t.Helper()
	d, err := extract.Open(strings.NewReader(body), source(t, "https://user:canary@tea.example/lots?page=2", "text/html"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// texts are the problems, without the address.
func texts(t testing.TB, problems []error) (out []string) {
	t.Helper()
	for _, p := range problems {
		if _, ok := errors.AsType[*extract.Error](p); !ok {
			t.Errorf("problem %v is no *extract.Error", p)
		}
		out = append(out, strings.TrimPrefix(p.Error(), "extract: https://user:xxxxx@tea.example/lots?page=2"))
	}
	return out
}

type lot struct {
	ID       string    `col:"Lot"`
	Page     string    `col:"lot" attr:"href"`
	Picked   time.Time `col:"Picked" attr:"datetime" layout:"2006-01-02"`
	Weight   float64   `col:"Weight" unit:"kg"`
	Moisture *float64  `col:"Moisture" unit:"%"`
	Chests   uint8     `col:"Chests"`
	Passed   bool      `col:"Passed"`
	Note     string
}

func TestTable(t *testing.T) {
	t.Parallel()
	d := open(t, `<table class=other><tr><th>Lot</table>
<table class=lots><caption>2 lots</caption>
<thead><tr><th rowspan=2>Lot<th colspan=2>Leaf<th rowspan=2>Picked<th rowspan=2>Chests<th rowspan=2>Passed
<tr><th> Weight <th>Moisture</thead>
<tfoot><tr><td>Sum<td>1</tfoot>
<tbody>
<tr><td><a href="/lot/a#x">A<script>no()</script></a><td>1,250.5 kg<td>3.5 %<td rowspan=2><time datetime="2026-03-01">1 March</time><td>12<td>yes
<tr><td><a href="../lot/b">B <b>2</b></a><td>kg 7<td>–<td>0<td>No
<tr><th>Lot<th>Weight<th>Moisture<th>Picked<th>Chests<th>Passed
<tr><td><a href="ftp://x">C</a><td>heavy<td>wet<td>soon<td>256<td>perhaps
<tr><td>D
</tbody></table>`)
	got, err := extract.Table[lot](d, "table.lots")
	if err != nil {
		t.Fatal(err)
	}
	moisture := 3.5
	picked := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	want := []lot{
		{ID: "A", Page: "https://tea.example/lot/a", Picked: picked, Weight: 1250.5, Moisture: &moisture, Chests: 12, Passed: true},
		{ID: "B 2", Page: "https://tea.example/lot/b", Picked: picked, Weight: 7},
	}
	if diff := cmp.Diff(want, got.Items); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	wantProblems := []string{
		`:10:5: item 3: lot "ftp://x": not a link to an http or https page`,
		`:10:48: item 3: Picked: missing`,
		`:10:32: item 3: Weight "heavy": not a value of this kind: the unit is not kg`,
		`:10:41: item 3: Moisture "wet": not a value of this kind: the unit is not %`,
		`:10:56: item 3: Chests "256": not a value of this kind: not a whole number of 8 bits, 0 or more`,
		`:10:63: item 3: Passed "perhaps": not a value of this kind: neither yes nor no`,
		`:11:5: item 4: lot: missing`,
		`:11:1: item 4: Picked: missing`,
		`:11:1: item 4: Weight: missing`,
		`:11:1: item 4: Chests: missing`,
		`:11:1: item 4: Passed: missing`,
	}
	if diff := cmp.Diff(wantProblems, texts(t, got.Problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestTableRefuses(t *testing.T) {
	t.Parallel()
	type one struct {
		ID string `col:"Lot"`
	}
	for _, tt := range []struct {
		name, body string
		err        error
		text       string
	}{
		{"no table", `<title>Sold out</title><p class=lots>`, extract.ErrNoItems, `"Sold out": no item on the page (the selector .lots matches nothing`},
		{"no column", `<table class=lots><tr><th>Name<th>Age`, extract.ErrColumn, `:1:1: Lot: no such column (the table has Name, Age)`},
		{"column twice", `<table class=lots><tr><th>Lot<th>LOT`, extract.ErrColumn, `several columns have this title`},
		{"empty", `<table class=lots></table>`, extract.ErrColumn, `no such column`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := extract.Table[one](open(t, tt.body), ".lots")
			if !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "canary") {
				t.Errorf("error = %v, want %v with %q", err, tt.err, tt.text)
			}
		})
	}
	got, err := extract.Table[one](open(t, `<table class=lots><tr><th>Lot`), ".lots")
	if err != nil || len(got.Items)+len(got.Problems) > 0 {
		t.Errorf("a table without rows: %+v, %v", got, err)
	}
}

// Fields that cannot be read are the program's mistake, found before the page
// is looked at.
func TestTableFields(t *testing.T) {
	t.Parallel()
	d := open(t, `<table><tr><th>A<tr><td>1</table>`)
	for name, err := range map[string]error{
		"no struct":   second(extract.Table[int](d, "table")),
		"has the tag": second(extract.Table[struct{ A int }](d, "table")),
		"not exported": second(extract.Table[struct {
			a int `col:"A"`
		}](d, "table")),
		"UnmarshalText": second(extract.Table[struct {
			A []int `col:"A"`
		}](d, "table")),
		"layout": second(extract.Table[struct {
			A time.Time `col:"A"`
		}](d, "table")),
		"expected": second(extract.List[struct {
			A int `css:"b["`
		}](d, "td")),
	} {
		if !errors.Is(err, extract.ErrFields) || !strings.Contains(err.Error(), name) {
			t.Errorf("error = %v, want ErrFields with %q", err, name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A small page that asks for billions of cells is no danger.
func TestTableSpansAreBounded(t *testing.T) {
	t.Parallel()
	type one struct {
		ID *string `col:"Lot"`
	}
	body := `<table><thead><tr><th>Lot</thead><tbody><tr><td colspan=1000 rowspan=0>a` + strings.Repeat("<tr><td rowspan=65534 colspan=1000>b", 10_000)
	got, err := extract.Table[one](open(t, body), "table")
	if err != nil || len(got.Items) != 10_001 {
		t.Errorf("%d rows, %v", len(got.Items), err)
	}
}

type estate struct {
	Code     string `css:"." attr:"data-code"`
	Name     string `css:"h3"`
	Altitude *int   `css:".altitude, .height" unit:"m"`
}

func TestList(t *testing.T) {
	t.Parallel()
	d := open(t, `<ul>
<li data-code=K1><h3>Kumai</h3><i class=height>1,900 m</i>
<li data-code=B2><h3>Banon</h3>
<li><h3></h3><i class=altitude>high</i>
</ul>`)
	got, err := extract.List[estate](d, "ul > li")
	if err != nil {
		t.Fatal(err)
	}
	high := 1900
	if diff := cmp.Diff([]estate{{"K1", "Kumai", &high}, {"B2", "Banon", nil}}, got.Items); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	want := []string{
		`:4:1: item 3: .: missing`,
		`:4:5: item 3: h3: missing`,
		`:4:14: item 3: .altitude, .height "high": not a value of this kind: the unit is not m`,
	}
	if diff := cmp.Diff(want, texts(t, got.Problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	type one struct {
		N float64 `css:"."`
	}
	for text, want := range map[string]float64{
		"12": 12, "-3.5": -3.5, "−3.5": -3.5, ".5": .5, "1e3": 1000, "1,234,567.5": 1234567.5, "1 234": 1234, "1’234": 1234, "+7": 7,
	} {
		got, err := extract.List[one](open(t, "<p>"+text), "p")
		if err != nil || len(got.Items) != 1 || got.Items[0].N != want {
			t.Errorf("%q: %+v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"1,5", "12,34,567", "NaN", "Inf", "0x10", "1_000", "1.2.3", "12 apples", "1e999", "1,2345", "--1"} {
		got, err := extract.List[one](open(t, "<p>"+text), "p")
		if err != nil || len(got.Problems) != 1 || !errors.Is(got.Problems[0], extract.ErrValue) {
			t.Errorf("%q: %+v, %v; want ErrValue", text, got, err)
		}
	}
}

// Spans are read as HTML reads them, and words of two blocks do not run
// together.
func TestTableAsHTMLDefines(t *testing.T) {
	t.Parallel()
	type lot struct {
		A string  `col:"A"`
		B *string `col:"B"`
	}
	for _, tt := range []struct{ name, rows, want string }{
		{"with a unit", `<tr><td rowspan="2px">1<td>2<tr><td>3`, "1/2 1/3"},
		{"with a sign", `<tr><td rowspan=" +2">1<td>2<tr><td>3`, "1/2 1/3"},
		{"negative", `<tr><td rowspan=-2>1<td>2<tr><td>3`, "1/2 3/nil"},
		{"no number", `<tr><td rowspan=two>1<td>2<tr><td>3`, "1/2 3/nil"},
		{"huge", `<tr><td rowspan=99999999999999999999>1<td>2<tr><td>3`, "1/2 1/3"},
		{"paragraphs", `<tr><td>1<td>x<p>y<p>z`, "1/x y z"},
		{"a list", `<tr><td><ul><li>a<li>b</ul><td><div>c</div><div>d</div>`, "a b/c d"},
		{"inline", `<tr><td>4<b>2</b><td>H<sub>2</sub>O`, "42/H2O"},
		{"a table in a cell", `<tr><td>1<table><tr><td>in<td>ner</table><td>2`, "1 in ner/2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := extract.Open(strings.NewReader("<table class=x><tr><th>A<th>B"+tt.rows+"</table>"), source(t, "https://x.example/", ""))
			if err != nil {
				t.Fatal(err)
			}
			r, err := extract.Table[lot](d, "table.x")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, l := range r.Items {
				b := "nil"
				if l.B != nil {
					b = *l.B
				}
				got = append(got, l.A+"/"+b)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}

// A title is what is seen of it, and a row of no cells titles nothing.
func TestTitlesAsSeen(t *testing.T) {
	t.Parallel()
	type lot struct {
		A string `col:"Har vest"`
	}
	for _, table := range []string{
		"<tr><th>\u200bHar&nbsp;ve&shy;st\u2060<tr><td>1",
		"<thead><tr></tr></thead><tr><th>Har vest<tr><td>1",
		"<thead><tr><th>Har vest</tr><tr></tr></thead><tr><td>1",
		"<thead></thead><tr></tr><tr><th>Har vest<tr><td>1",
	} {
		d, err := extract.Open(strings.NewReader("<table>"+table+"</table>"), source(t, "https://x.example/", ""))
		if err != nil {
			t.Fatal(err)
		}
		if r, err := extract.Table[lot](d, "table"); err != nil || len(r.Items) != 1 || r.Items[0].A != "1" {
			t.Errorf("%s: %+v %v", table, r, err)
		}
	}
}

func FuzzTable(f *testing.F) {
	f.Add(`<table><tr><th>Lot<th>Weight<tr><td>a<td>1 kg</table>`)
	f.Add(`<table><thead><tr><th rowspan=2>Lot<th colspan=3>x<tr><th>Weight<tbody><tr><td rowspan=0>a<td>b`)
	f.Fuzz(func(t *testing.T, body string) {
		type one struct {
			ID     string   `col:"Lot"`
			Weight *float64 `col:"Weight" unit:"kg"`
		}
		d, err := extract.Open(strings.NewReader(body), source(t, "https://tea.example/", ""))
		if err != nil {
			return
		}
		got, err := extract.Table[one](d, "table")
		if err != nil && !errors.Is(err, extract.ErrNoItems) && !errors.Is(err, extract.ErrColumn) {
			t.Fatalf("untyped error %v", err)
		}
		for _, r := range got.Items {
			if r.ID == "" {
				t.Fatal("a row without what it must have")
			}
		}
		for _, p := range got.Problems {
			if e, ok := errors.AsType[*extract.Error](p); !ok || e.Item == 0 || e.Field == "" {
				t.Fatalf("problem without a place: %v", p)
			}
		}
	})
}

func ExampleTable() {
	type lot struct {
		ID     string   `col:"Lot"`
		Weight float64  `col:"Weight" unit:"kg"`
		Aroma  *float64 `col:"Aroma"` // may be missing
	}
	const body = `<table><tr><th>Lot<th>Weight<th>Aroma
<tr><td>K-17<td>1,250 kg<td>7.5
<tr><td>K-18<td>heavy<td>–
</table>`
	d, err := extract.Open(strings.NewReader(body), extract.Source{URL: &url.URL{Scheme: "https", Host: "tea.example", Path: "/lots"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	lots, err := extract.Table[lot](d, "table")
	for _, l := range lots.Items {
		fmt.Println(l.ID, l.Weight, *l.Aroma)
	}
	fmt.Println(errors.Join(lots.Problems...), err)
	// Output:
	// K-17 1250 7.5
	// extract: https://tea.example/lots:3:13: item 2: Weight "heavy": not a value of this kind: the unit is not kg <nil>
}
