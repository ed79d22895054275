package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/internal/rows"
	"github.com/svcblocks/svcblocks/examples/internal/tea"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// data is what retrieve would have gathered.
func data(seed uint64, n int) ([]tea.Lot, []tea.Estate) {
	site := tea.NewSite(seed, n)
	lots, _ := site.Lots(&url.URL{Scheme: "http", Host: "tea.example"})
	return lots, site.Estates()
}

// gathered writes data as retrieve does.
func gathered(t *testing.T, lots []tea.Lot, estates []tea.Estate) (dir string) {
	t.Helper()
	dir = t.TempDir()
	put := func(name string, write func(io.Writer) error) {
		var b bytes.Buffer
		if err := errors.Join(write(&b), os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put("lots.csv", func(w io.Writer) error { return rows.WriteCSV(w, lots) })
	put("estates.csv", func(w io.Writer) error { return rows.WriteCSV(w, estates) })
	put("lots.jsonl", func(w io.Writer) error { return rows.WriteJSONLines(w, lots) })
	put("estates.jsonl", func(w io.Writer) error { return rows.WriteJSONLines(w, estates) })
	return dir
}

// all returns the text of every file that a run wrote.
func all(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(text)
	}
	return out
}

// The files are what their reader is promised.
func TestFiles(t *testing.T) {
	t.Parallel()
	lots, estates := data(1, 1000)
	out := t.TempDir()
	var stdout bytes.Buffer
	if err := run([]string{"-in", gathered(t, lots, estates), "-out", out, "-seed", "7"}, &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	files := all(t, out)
	var m manifest
	if err := json.Unmarshal([]byte(files["features.json"]), &m); err != nil {
		t.Fatal(err)
	}
	if m.Version != 1 || m.Seed != 7 || m.Label != "accepted" || cmp.Diff([]string{"no", "yes"}, m.Classes) != "" {
		t.Errorf("features.json begins %+v", m)
	}
	for _, want := range []string{"moisture_missing", "aroma_missing", "altitude_missing", "grade=whole_leaf", "estate=e16"} {
		if !slices.Contains(m.Features, want) {
			t.Errorf("no feature %s in %v", want, m.Features)
		}
	}
	for name, want := range map[string]int{"train.csv": m.TrainRows, "test.csv": m.TestRows} {
		records, err := csv.NewReader(strings.NewReader(files[name])).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append(slices.Clone(m.Features), "label"), records[0]); diff != "" {
			t.Errorf("%s: columns (-want +got):\n%s", name, diff)
		}
		if len(records)-1 != want || want < 100 {
			t.Errorf("%s has %d rows, features.json says %d", name, len(records)-1, want)
		}
		for i, column := range m.Features {
			var sum, squares float64
			binary := true
			for _, r := range records[1:] {
				v, err := strconv.ParseFloat(r[i], 64)
				if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
					t.Fatalf("%s: %s is %q", name, column, r[i])
				}
				sum, squares = sum+v, squares+v*v
				binary = binary && (v == 0 || v == 1)
			}
			mean := sum / float64(want)
			deviation := math.Sqrt(squares/float64(want) - mean*mean)
			switch hot := strings.Contains(column, "=") || strings.HasSuffix(column, "_missing"); {
			case hot && !binary:
				t.Errorf("%s: %s is more than 0 and 1", name, column)
			case !hot && name == "train.csv" && (math.Abs(mean) > 1e-9 || math.Abs(deviation-1) > 1e-9):
				t.Errorf("%s: %s is %v ± %v, want 0 ± 1", name, column, mean, deviation)
			}
		}
		for _, r := range records[1:] {
			if l := r[len(r)-1]; l != "0" && l != "1" {
				t.Fatalf("%s: label %q", name, l)
			}
		}
	}
	for dec := xml.NewDecoder(strings.NewReader(files["aroma.svg"])); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("aroma.svg: %v", err)
		}
	}
	if !strings.Contains(files["aroma.svg"], "<svg") || !strings.Contains(stdout.String(), "to train with") {
		t.Errorf("no drawing, or no summary: %s", stdout.String())
	}
}

// The same data and seed give the same bytes, in whatever order the pages came
// and from either format; another seed gives another split.
func TestDeterministic(t *testing.T) {
	t.Parallel()
	lots, estates := data(1, 600)
	in := gathered(t, lots, estates)
	// Another order, but for repeats: there the last one counts.
	sorted := slices.Clone(lots)
	slices.SortStableFunc(sorted, func(a, b tea.Lot) int { return strings.Compare(b.ID, a.ID) })
	shuffled := gathered(t, sorted, estates)
	make := func(args ...string) map[string]string {
		out := t.TempDir()
		if err := run(append(args, "-out", out), io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
		return all(t, out)
	}
	first := make("-in", in)
	for name, again := range map[string]map[string]string{
		"again": make("-in", in), "jsonl": make("-in", in, "-format", "jsonl"), "shuffled": make("-in", shuffled),
	} {
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("%s (-first +again):\n%.2000s", name, diff)
		}
	}
	if other := make("-in", in, "-seed", "2"); other["test.csv"] == first["test.csv"] {
		t.Error("another seed gives the same split")
	}
}

// A lot stays on its side when others come.
func TestSplitIsStable(t *testing.T) {
	t.Parallel()
	var few, many []sample
	for i := range 5000 {
		s := sample{id: "L" + strconv.Itoa(i)}
		many = append(many, s)
		if i%3 == 0 {
			few = append(few, s)
		}
	}
	_, test := split(few, 0.2, 1)
	_, later := split(many, 0.2, 1)
	in := map[string]bool{}
	for _, s := range later {
		in[s.id] = true
	}
	for _, s := range test {
		if !in[s.id] {
			t.Errorf("%s changed sides", s.id)
		}
	}
	if share := float64(len(later)) / float64(len(many)); share < 0.17 || share > 0.23 {
		t.Errorf("the test has %.3f of the rows", share)
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	lots, estates := data(1, 200)
	lots = lots[:10]
	corrected := lots[2]
	corrected.PriceEUR++
	renamed := lots[3]
	renamed.ID, renamed.URL = "L99999", "elsewhere"
	stranger := lots[4]
	stranger.ID, stranger.Estate = "L99998", "E99"
	slip := lots[5]
	wet := 550.0
	slip.ID, slip.Moisture, slip.Chests = "L99997", &wet, 0
	got, n, err := clean(append(lots, corrected, lots[1], renamed, stranger, slip), estates)
	if err != nil {
		t.Fatal(err)
	}
	want := counts{rows: 15, repeats: 2, corrected: 1, copies: 1, unknownEstates: 1, impossible: 1}
	if diff := cmp.Diff(want, n, cmp.AllowUnexported(counts{})); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if len(got) != 12 {
		t.Errorf("%d samples", len(got))
	}
	for _, s := range got {
		switch s.id {
		case lots[2].ID:
			if s.numbers[4] != math.Log(corrected.PriceEUR) {
				t.Errorf("the corrected price was not taken: %v", s.numbers[4])
			}
		case "L99999":
			t.Error("the copy is there")
		case "L99998":
			if !math.IsNaN(s.numbers[2]) || s.words[1] != "" {
				t.Errorf("an unknown estate has an altitude: %+v", s)
			}
		case "L99997":
			if !math.IsNaN(s.numbers[0]) || !math.IsNaN(s.numbers[5]) {
				t.Errorf("what cannot be is there: %+v", s)
			}
		}
	}
	if _, _, err := clean(lots, append(estates, estates[0])); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("an estate that stands there twice: %v", err)
	}
}

// What the training has not seen gets the values that stand for nothing.
func TestTransformOfTheUnknown(t *testing.T) {
	t.Parallel()
	lots, estates := data(1, 500)
	r, err := prepare(lots, estates, 0.2, 1)
	if err != nil {
		t.Fatal(err)
	}
	names := r.pipeline.names()
	odd := sample{numbers: make([]float64, len(numeric)), words: []string{"Powder", "Moon", ""}}
	for i := range odd.numbers {
		odd.numbers[i] = []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300, -1e300, math.NaN(), 0, 0}[i]
	}
	m, err := r.pipeline.transform([]sample{odd})
	if err != nil {
		t.Fatal(err)
	}
	for j, v := range m.RawRowView(0) {
		if math.IsNaN(v) || math.Abs(v) > 5 || strings.Contains(names[j], "=") && v != 0 || strings.HasSuffix(names[j], "_missing") && v != 1 {
			t.Errorf("%s = %v", names[j], v)
		}
	}
	if _, err := r.pipeline.transform(nil); err == nil {
		t.Error("no rows gave no error")
	}
}

func TestConstantColumn(t *testing.T) {
	t.Parallel()
	lots, estates := data(1, 100)
	for i := range lots {
		lots[i].PriceEUR = 12.34
		aroma := 5.0
		lots[i].Aroma = &aroma
	}
	r, err := prepare(lots, estates, 0.2, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.train {
		for j, v := range r.trainX.RawRowView(i) {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Fatalf("row %d column %d is %v", i, j, v)
			}
		}
	}
	if _, err := plotShares(r.train); err != nil {
		t.Errorf("plot: %v", err)
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	lots, estates := data(1, 100)
	in := gathered(t, lots, estates)
	few := gathered(t, lots[:5], estates)
	blind := slices.Clone(lots)
	for i := range blind {
		blind[i].Aroma = nil
	}
	bad := gathered(t, lots, estates)
	if err := os.WriteFile(filepath.Join(bad, "lots.csv"), []byte("lot,url\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	same := slices.Clone(lots)
	for i := range same {
		same[i].Grade = []string{"Whole Leaf", "whole_leaf"}[i%2]
	}
	for want, args := range map[string][]string{
		`"Whole Leaf" and "whole_leaf" would both be the column grade=whole_leaf`: {"-in", gathered(t, same, estates)},
		"go run ./retrieve":       {"-in", t.TempDir()},
		"the columns are not":     {"-in", bad},
		"neither .csv nor .jsonl": {"-in", in, "-format", "xls"},
		"is not between 0 and 1":  {"-in", in, "-test", "1"},
		"too few to learn from":   {"-in", few},
		"aroma is missing in all": {"-in", gathered(t, blind, estates)},
		"all settings are flags":  {in},
		"not defined":             {"-what"},
	} {
		if err := run(append(args, "-out", t.TempDir()), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("features %q: %v, want %q", args, err, want)
		}
	}
}
