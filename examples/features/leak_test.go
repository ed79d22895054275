package main

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/svcblocks/svcblocks/examples/internal/tea"
)

type preparer func(lots []tea.Lot, estates []tea.Estate, share float64, seed uint64) (*result, error)

// leak says how the training gets to know of the test, or nil.
func leak(prepare preparer) error {
	lots, estates := data(1, 1000)
	base, err := prepare(lots, estates, 0.2, 1)
	if err != nil {
		return err
	}

	// 1. No lot is on both sides, neither by its name nor by its content.
	names, contents := map[string]bool{}, map[string]bool{}
	content := func(s sample) string { return fmt.Sprint(s.numbers, s.words) }
	for _, s := range base.train {
		names[s.id], contents[content(s)] = true, true
	}
	held := map[string]bool{}
	for _, s := range base.test {
		held[s.id] = true
		if names[s.id] || contents[content(s)] {
			return fmt.Errorf("lot %s is in the training and in the test", s.id)
		}
	}

	// 2. Whatever the lots of the test say, what was learned stays, to the bit.
	absurd := slices.Clone(lots)
	for i := range absurd {
		if l := &absurd[i]; held[l.ID] {
			moisture, aroma := 99.0, 10.0
			l.Moisture, l.Aroma, l.WeightKG, l.PriceEUR = &moisture, &aroma, 1e6+float64(i), 1e5
			l.Grade, l.Accepted = "Unheard of", !l.Accepted
		}
	}
	other, err := prepare(absurd, estates, 0.2, 1)
	if err != nil {
		return err
	}
	if diff := cmp.Diff(base.pipeline, other.pipeline); diff != "" {
		return fmt.Errorf("the test changes what is learned (-before +after):\n%.600s", diff)
	}
	if !mat.Equal(base.trainX, other.trainX) {
		return errors.New("the test changes the rows for training")
	}

	// 3. The answers are in no feature: other answers, the same features.
	relabelled := slices.Clone(lots)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range relabelled {
		relabelled[i].Accepted = r.IntN(2) == 0
	}
	// A lot that is listed again gets one answer.
	answers := map[string]bool{}
	for i := range relabelled {
		l := &relabelled[i]
		if a, ok := answers[l.ID]; ok {
			l.Accepted = a
		}
		answers[l.ID] = l.Accepted
	}
	blind, err := prepare(relabelled, estates, 0.2, 1)
	if err != nil {
		return err
	}
	if !mat.Equal(base.trainX, blind.trainX) || !mat.Equal(base.testX, blind.testX) {
		return errors.New("the answers are in the features")
	}

	// 4. A row of the test is transformed as it would be alone, tomorrow.
	for i, s := range base.test {
		alone, err := base.pipeline.transform([]sample{s})
		if err != nil {
			return err
		}
		if !slices.Equal(alone.RawRowView(0), base.testX.RawRowView(i)) {
			return fmt.Errorf("lot %s of the test is another when it comes alone", s.id)
		}
	}
	return nil
}

func TestNoLeak(t *testing.T) {
	t.Parallel()
	if err := leak(prepare); err != nil {
		t.Error(err)
	}
}

// Each way in which such code usually leaks is found.
func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	transformed := func(r *result, err error) (*result, error) {
		if err != nil {
			return nil, err
		}
		var err1, err2 error
		r.trainX, err1 = r.pipeline.transform(r.train)
		r.testX, err2 = r.pipeline.transform(r.test)
		return r, errors.Join(err1, err2)
	}
	for _, tt := range []struct {
		name, want string
		prepare    preparer
	}{
		{"the scale is learned from all rows", "the test changes what is learned", func(lots []tea.Lot, estates []tea.Estate, share float64, seed uint64) (*result, error) {
			samples, _, err := clean(lots, estates)
			if err != nil {
				return nil, err
			}
			r := &result{}
			r.train, r.test = split(samples, share, seed)
			r.pipeline, err = fit(samples)
			return transformed(r, err)
		}},
		{"repeats are split", "in the training and in the test", func(lots []tea.Lot, estates []tea.Estate, share float64, _ uint64) (*result, error) {
			known := map[string]tea.Estate{}
			for _, e := range estates {
				known[e.Code] = e
			}
			r := &result{}
			for i, l := range lots {
				if s := derive(l, known[l.Estate]); i%int(1/share) == 0 {
					r.test = append(r.test, s)
				} else {
					r.train = append(r.train, s)
				}
			}
			var err error
			r.pipeline, err = fit(r.train)
			return transformed(r, err)
		}},
		{"an estate is encoded by its answers", "the answers are in the features", func(lots []tea.Lot, estates []tea.Estate, share float64, seed uint64) (*result, error) {
			r, err := prepare(lots, estates, share, seed)
			if err != nil {
				return nil, err
			}
			yes, n := map[string]float64{}, map[string]float64{}
			for _, s := range r.train {
				n[s.words[2]]++
				if s.accepted {
					yes[s.words[2]]++
				}
			}
			for i, s := range r.train {
				r.trainX.Set(i, 0, yes[s.words[2]]/n[s.words[2]])
			}
			return r, nil
		}},
		{"the test is scaled by itself", "another when it comes alone", func(lots []tea.Lot, estates []tea.Estate, share float64, seed uint64) (*result, error) {
			r, err := prepare(lots, estates, share, seed)
			if err != nil {
				return nil, err
			}
			column := mat.Col(nil, 0, r.testX)
			mean, deviation := stat.MeanStdDev(column, nil)
			for i, v := range column {
				r.testX.Set(i, 0, (v-mean)/math.Max(deviation, 1e-9))
			}
			return r, nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := leak(tt.prepare); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
}
