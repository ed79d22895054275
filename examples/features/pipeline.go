package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
)

// pipeline is what was learned from the rows for training, and is then done to
// every row alike: to those for the test, and to those of tomorrow.
type pipeline struct {
	Numeric     []scaling  `json:"numeric"`
	Categorical []encoding `json:"categorical"`
}

// scaling is how a number becomes a feature.
type scaling struct {
	Name string `json:"name"`
	// What is outside of Low and High is a slip, and taken as missing.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// Median stands in for what is missing.
	Median float64 `json:"median"`
	// Mean and Deviation of what is then there make the feature 0 ± 1.
	Mean      float64 `json:"mean"`
	Deviation float64 `json:"deviation"`
	// Flag adds a feature that is 1 where the number was missing.
	Flag bool `json:"flag"`
}

// encoding is how a word becomes features: one for each of Values, 1 where it
// is that one. A word that is not among them makes all 0.
type encoding struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
}

// fences is how many interquartile ranges beyond the quartiles a number may be
// (Tukey's far out).
const fences = 3

// fit learns from train. It must be given nothing else: a median or a scale that
// knows the rows of the test tells the model about them.
func fit(train []sample) (*pipeline, error) {
	if len(train) < 10 {
		return nil, fmt.Errorf("%d rows are too few to learn from", len(train))
	}

	p := &pipeline{}
	for i, name := range numeric {
		var there []float64
		for _, s := range train {
			if v := s.numbers[i]; !math.IsNaN(v) {
				there = append(there, v)
			}
		}
		if len(there) == 0 {
			return nil, fmt.Errorf("%s is missing in all rows", name)
		}

		slices.Sort(there)
		q1, q3 := stat.Quantile(0.25, stat.LinInterp, there, nil), stat.Quantile(0.75, stat.LinInterp, there, nil)
		s := scaling{Name: name, Low: q1 - fences*(q3-q1), High: q3 + fences*(q3-q1)}
		if q1 == q3 { // most rows agree, so the range says nothing
			s.Low, s.High = there[0], there[len(there)-1]
		}

		there = slices.DeleteFunc(there, func(v float64) bool { return !s.within(v) })
		s.Median = stat.Quantile(0.5, stat.LinInterp, there, nil)

		filled := make([]float64, len(train))
		for j, t := range train {
			filled[j] = t.numbers[i]
			if !s.within(filled[j]) {
				filled[j] = s.Median
				s.Flag = true
			}
		}

		s.Mean, s.Deviation = stat.PopMeanStdDev(filled, nil)
		if s.Deviation < 1e-12*max(1, math.Abs(s.Mean)) {
			s.Deviation = 1 // a constant says nothing, and must not divide
		}
		p.Numeric = append(p.Numeric, s)
	}

	for i, name := range categorical {
		e := encoding{Name: name}
		for _, s := range train {
			if w := s.words[i]; w != "" {
				e.Values = append(e.Values, w)
			}
		}
		slices.Sort(e.Values)
		e.Values = slices.Compact(e.Values)
		p.Categorical = append(p.Categorical, e)
	}
	return p, p.collide()
}

// collide returns an error if two words become one column: which of them a row
// has could not be told.
func (p *pipeline) collide() error {
	for _, e := range p.Categorical {
		words := map[string]string{}
		for _, v := range e.Values {
			name := e.column(v)
			if other, ok := words[name]; ok {
				return fmt.Errorf("%s: %q and %q would both be the column %s: make them one word in the data", e.Name, other, v, name)
			}
			words[name] = v
		}
	}
	return nil
}

// column returns the name of the column of a word.
func (e encoding) column(word string) string {
	return e.Name + "=" + strings.ToLower(strings.ReplaceAll(word, " ", "_"))
}

// within reports whether v is there and no slip; it is false for NaN.
func (s *scaling) within(v float64) bool { return v >= s.Low && v <= s.High }

// names returns the features' names in the order of the columns.
func (p *pipeline) names() []string {
	var out []string
	for _, s := range p.Numeric {
		out = append(out, s.Name)
		if s.Flag {
			out = append(out, s.Name+"_missing")
		}
	}
	for _, e := range p.Categorical {
		for _, v := range e.Values {
			out = append(out, e.column(v))
		}
	}
	return out
}

// transform returns a row of features for each sample. It changes nothing in
// the pipeline.
func (p *pipeline) transform(samples []sample) (*mat.Dense, error) {
	if len(samples) == 0 {
		return nil, errors.New("no rows to transform")
	}

	width := len(p.names())
	m := mat.NewDense(len(samples), width, nil)
	for i, s := range samples {
		row := m.RawRowView(i)[:0]
		for j := range p.Numeric {
			sc := &p.Numeric[j]
			v, missing := s.numbers[j], 0.0
			if !sc.within(v) {
				v, missing = sc.Median, 1
			}
			row = append(row, (v-sc.Mean)/sc.Deviation)
			if sc.Flag {
				row = append(row, missing)
			}
		}

		for j, e := range p.Categorical {
			for _, v := range e.Values {
				hot := 0.0
				if s.words[j] == v {
					hot = 1
				}
				row = append(row, hot)
			}
		}

		if len(row) != width { // append would have left the matrix
			return nil, fmt.Errorf("row %d has %d features, not %d", i, len(row), width)
		}
	}
	return m, nil
}
