package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/svcblocks/svcblocks/examples/internal/tea"
	"github.com/svcblocks/svcblocks/internal/atomicfile"
)

// apply makes rows.csv of all lots by what an earlier run learned: the columns of
// its train.csv, after the lot's name. Nothing is learned, so a row comes out the
// same whatever rows stand beside it.
func apply(dir string, lots []tea.Lot, estates []tea.Estate, out string, stdout io.Writer) error {
	m, err := readManifest(filepath.Join(dir, "features.json"))
	if err != nil {
		return err
	}
	samples, n, err := clean(lots, estates)
	if err != nil {
		return err
	}
	x, err := m.transform(samples)
	if err != nil {
		return err
	}

	text, err := matrixCSV(m.Features, x, samples, true)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(out, "rows.csv"), text, 0o644); err != nil {
		return err
	}
	fmt.Fprintln(stdout, n)
	fmt.Fprintf(stdout, "%d features; %d rows by what %d taught; %d of their words are new\n", len(m.Features), len(samples), m.TrainRows, m.unknown(samples))
	return nil
}

// readManifest reads the features.json of an earlier run, and refuses one that
// does not fit this program.
func readManifest(path string) (*manifest, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w\n-apply names the folder that an earlier run wrote: go run ./features -out %s", err, filepath.Dir(path))
		}
		return nil, err
	}

	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var m manifest
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}

	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%s: %w: make it anew from the rows for training", path, err)
	}
	return &m, nil
}

// check reports what transform could not work with.
func (m *manifest) check() error {
	if m.Version != 1 {
		return fmt.Errorf("version %d, this program writes 1", m.Version)
	}

	var numbers, words []string
	for _, s := range m.Numeric {
		numbers = append(numbers, s.Name)
		if !(s.Deviation > 0) || !(s.Low <= s.Median && s.Median <= s.High) || math.IsInf(s.Deviation, 0) {
			return fmt.Errorf("%s was not learned: %+v", s.Name, s)
		}
	}
	for _, e := range m.Categorical {
		words = append(words, e.Name)
	}
	if !slices.Equal(numbers, numeric) || !slices.Equal(words, categorical) {
		return fmt.Errorf("it is of the columns %v and %v, and this program makes %v and %v", numbers, words, numeric, categorical)
	}

	if names := m.names(); !slices.Equal(m.Features, names) {
		return fmt.Errorf("features %v do not follow from what was learned, which makes %v", m.Features, names)
	}
	return m.collide()
}

// unknown counts the words of samples that no row for training had.
func (p *pipeline) unknown(samples []sample) int {
	n := 0
	for i, e := range p.Categorical {
		for _, s := range samples {
			if w := s.words[i]; w != "" && !slices.Contains(e.Values, w) {
				n++
			}
		}
	}
	return n
}
