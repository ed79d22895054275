package dataset

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// The files of a folder.
const (
	trainFile    = "train.csv"
	testFile     = "test.csv"
	featuresFile = "features.json"
	labelColumn  = "label"
)

// ErrFormat says that a file is there, but is not what it has to be. The error
// around it names the file and the line.
var ErrFormat = errors.New("not a table of features")

// Table is rows of numbers, each of a class.
type Table struct {
	// X has one row per example, all of them as long as there are features.
	X [][]float32
	// Y is the class of each row, an index into Data.Classes.
	Y []int32
}

// Len returns the number of rows.
func (t *Table) Len() int { return len(t.X) }

// Data is what a model learns from, and what it is judged by.
type Data struct {
	// Features are the names of the columns, in order.
	Features []string
	// Classes are the names of what is told apart, at least two.
	Classes []string
	// Fingerprint tells one features.json from another: rows of the same names
	// that were scaled by another run are other numbers. Empty for made-up data.
	Fingerprint string
	// Train is for learning; Test was kept from it.
	Train, Test Table
}

// Majority returns the class that most rows for learning have, and its share of
// the rows held out: what a model is worth that has learnt nothing else. Rows of
// one class alone are an error, as there is nothing to tell apart.
func (d *Data) Majority() (class string, share float64, err error) {
	counts := make([]int, len(d.Classes))
	for _, y := range d.Train.Y {
		counts[y]++
	}

	most := 0
	for i, n := range counts {
		if n > counts[most] {
			most = i
		}
	}
	if counts[most] == d.Train.Len() {
		return "", 0, fmt.Errorf("all %d rows for training are %q: there is nothing to tell apart", d.Train.Len(), d.Classes[most])
	}

	held := 0
	for _, y := range d.Test.Y {
		if int(y) == most {
			held++
		}
	}
	return d.Classes[most], float64(held) / float64(max(1, d.Test.Len())), nil
}

// description is features.json, as far as it is needed here.
type description struct {
	Features []string `json:"features"`
	Classes  []string `json:"classes"`
}

// Read reads the folder dir. Every mistake is an error with its file and line:
// a model that learns from half of a table looks fine and is not.
func Read(dir string) (*Data, error) {
	path := filepath.Join(dir, featuresFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("dataset: %w (write it with examples/features, or leave -in away to use made-up data)", err)
	}

	var d description
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("dataset: %s: %w: %w", path, ErrFormat, err)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("dataset: %s: %w: %w", path, ErrFormat, err)
	}

	sum := sha256.Sum256(text)
	data := &Data{Features: d.Features, Classes: d.Classes, Fingerprint: hex.EncodeToString(sum[:])}
	if data.Train, err = readTable(filepath.Join(dir, trainFile), d); err != nil {
		return nil, err
	}
	if data.Test, err = readTable(filepath.Join(dir, testFile), d); err != nil {
		return nil, err
	}
	return data, nil
}

func readTable(path string, d description) (Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return Table{}, fmt.Errorf("dataset: %w", err)
	}
	defer func() { _ = f.Close() }() // it was read only
	t, err := parse(f, d)
	if err != nil {
		return Table{}, fmt.Errorf("dataset: %s: %w", path, err)
	}
	return t, nil
}

func (d description) check() error {
	switch {
	case len(d.Features) == 0:
		return errors.New("features: names none")
	case len(d.Classes) < 2:
		return fmt.Errorf("classes: %q, want two at least", d.Classes)
	}
	for _, names := range [][]string{d.Features, d.Classes} {
		for i, name := range names {
			if name == "" || slices.Contains(names[:i], name) {
				return fmt.Errorf("the name %q is empty or there twice", name)
			}
		}
	}
	return nil
}

// parse reads one table. Lines count from 1, the header being the first.
func parse(r io.Reader, d description) (Table, error) {
	reader := csv.NewReader(r)
	reader.ReuseRecord = true
	header, err := reader.Read()
	if err != nil {
		return Table{}, fmt.Errorf("%w: header: %w", ErrFormat, noEOF(err))
	}
	if want := append(slices.Clone(d.Features), labelColumn); !slices.Equal(header, want) {
		return Table{}, fmt.Errorf("%w: line 1: columns %q, want those of %s and then %q", ErrFormat, header, featuresFile, labelColumn)
	}

	var t Table
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Table{}, fmt.Errorf("%w: %w", ErrFormat, err) // names the line itself
		}

		line, _ := reader.FieldPos(0)
		row := make([]float32, len(d.Features))
		for i := range row {
			v, err := strconv.ParseFloat(record[i], 32)
			if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
				return Table{}, fmt.Errorf("%w: line %d: %s is %q, want a finite number", ErrFormat, line, d.Features[i], record[i])
			}
			row[i] = float32(v)
		}

		label := record[len(record)-1]
		class, err := strconv.ParseUint(label, 10, 31)
		if err != nil || int(class) >= len(d.Classes) {
			return Table{}, fmt.Errorf("%w: line %d: label is %q, want 0 to %d", ErrFormat, line, label, len(d.Classes)-1)
		}

		t.X = append(t.X, row)
		t.Y = append(t.Y, int32(class))
	}

	if t.Len() == 0 {
		return Table{}, fmt.Errorf("%w: no rows", ErrFormat)
	}
	return t, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
