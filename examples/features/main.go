// Command features makes features for a model out of what retrieve has
// gathered: cleaned, encoded, scaled, and split so that nothing of the test is
// known to the training.
//
//	features -in var/retrieve -out var/features -seed 1
//	features -apply var/features -in var/tomorrow -out var/tomorrow
package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/mat"

	"github.com/svcblocks/svcblocks/examples/internal/rows"
	"github.com/svcblocks/svcblocks/examples/internal/tea"
	"github.com/svcblocks/svcblocks/internal/atomicfile"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "features:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("features", flag.ContinueOnError)
	flags.SetOutput(stderr)
	in := flags.String("in", "var/retrieve", "the folder that retrieve wrote")
	format := flags.String("format", "csv", "read csv or jsonl there")
	out := flags.String("out", "var/features", "the folder of the results")
	seed := flags.Uint64("seed", 1, "another seed is another split")
	share := flags.Float64("test", 0.2, "the share of the rows that is put aside for the test")
	learned := flags.String("apply", "", "the folder of an earlier run: what it learned is applied to all rows, and nothing is learned from them")
	if err := flags.Parse(args); err != nil {
		return err
	}

	if flags.NArg() > 0 {
		return fmt.Errorf("what is %q? all settings are flags", flags.Arg(0))
	}
	if !(*share > 0 && *share < 1) {
		return fmt.Errorf("-test %g is not between 0 and 1", *share)
	}

	if *learned != "" {
		var idle []string
		flags.Visit(func(f *flag.Flag) {
			if f.Name == "seed" || f.Name == "test" {
				idle = append(idle, "-"+f.Name)
			}
		})
		if len(idle) > 0 {
			return fmt.Errorf("%s: with -apply nothing is split", strings.Join(idle, " and "))
		}
	}

	lots, err1 := rows.ReadFile[tea.Lot](filepath.Join(*in, "lots."+*format))
	estates, err2 := rows.ReadFile[tea.Estate](filepath.Join(*in, "estates."+*format))
	if err := errors.Join(err1, err2); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w\nretrieve makes these files: go run ./retrieve -out %s", err, *in)
		}
		return err
	}

	if *learned != "" {
		return apply(*learned, lots, estates, *out, stdout)
	}

	r, err := prepare(lots, estates, *share, *seed)
	if err != nil {
		return err
	}
	return r.write(*out, stdout)
}

// result is a matrix for training, one for the test, and how they came about.
type result struct {
	counts        counts
	seed          uint64
	train, test   []sample
	pipeline      *pipeline
	trainX, testX *mat.Dense
}

// prepare does all of it, in the order that keeps the test unknown: clean each
// row by itself, split, learn from the one side, then transform both.
func prepare(lots []tea.Lot, estates []tea.Estate, share float64, seed uint64) (*result, error) {
	samples, n, err := clean(lots, estates)
	if err != nil {
		return nil, err
	}

	r := &result{counts: n, seed: seed}
	r.train, r.test = split(samples, share, seed)
	if r.pipeline, err = fit(r.train); err != nil {
		return nil, err
	}

	if r.trainX, err = r.pipeline.transform(r.train); err != nil {
		return nil, err
	}
	if r.testX, err = r.pipeline.transform(r.test); err != nil {
		return nil, fmt.Errorf("the test: %w", err)
	}
	return r, nil
}

// manifest is features.json: what the columns mean, and how to make them again
// for a row of tomorrow.
type manifest struct {
	Version   int      `json:"version"`
	Seed      uint64   `json:"seed"`
	Label     string   `json:"label"`
	Classes   []string `json:"classes"` // of label 0 and label 1
	Features  []string `json:"features"`
	TrainRows int      `json:"train_rows"`
	TestRows  int      `json:"test_rows"`
	pipeline
}

func (r *result) write(dir string, stdout io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}

	m := manifest{
		Version: 1, Seed: r.seed, Label: "accepted", Classes: []string{"no", "yes"}, Features: r.pipeline.names(),
		TrainRows: len(r.train), TestRows: len(r.test), pipeline: *r.pipeline,
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}

	train, err1 := matrixCSV(m.Features, r.trainX, r.train, false)
	test, err2 := matrixCSV(m.Features, r.testX, r.test, false)
	drawing, err3 := plotShares(r.train)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}

	for _, f := range []struct {
		name string
		text []byte
	}{
		{"train.csv", train},
		{"test.csv", test},
		{"features.json", append(text, '\n')},
		{"aroma.svg", drawing},
	} {
		if err := atomicfile.Write(filepath.Join(dir, f.name), f.text, 0o644); err != nil {
			return err
		}
	}

	fmt.Fprintln(stdout, r.counts)
	fmt.Fprintf(stdout, "%d features; %d rows to train with (%.0f %% accepted), %d for the test (%.0f %%)\n",
		len(m.Features), len(r.train), 100*accepted(r.train), len(r.test), 100*accepted(r.test))
	return nil
}

func accepted(samples []sample) float64 {
	n := 0
	for _, s := range samples {
		if s.accepted {
			n++
		}
	}
	return float64(n) / float64(max(1, len(samples)))
}

// matrixCSV writes features and, last, the label as 0 or 1; with named, the name
// of the row stands first.
func matrixCSV(names []string, m *mat.Dense, samples []sample, named bool) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	record := append(append([]string(nil), names...), "label")
	if named {
		record = append([]string{"lot"}, record...)
	}
	if err := w.Write(record); err != nil {
		return nil, err
	}

	for i, s := range samples {
		record = record[:0]
		if named {
			record = append(record, s.id)
		}
		for _, v := range m.RawRowView(i) {
			record = append(record, strconv.FormatFloat(v, 'g', -1, 64))
		}
		record = append(record, map[bool]string{false: "0", true: "1"}[s.accepted])
		if err := w.Write(record); err != nil {
			return nil, err
		}
	}

	w.Flush()
	return b.Bytes(), w.Error()
}
