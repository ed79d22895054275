package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/svcblocks/svcblocks/examples/internal/tea"
)

// sample is a lot with what is known of its estate: one row of what a model
// learns from, before anything was learned from other rows.
type sample struct {
	id       string
	numbers  []float64 // by numeric; NaN where missing
	words    []string  // by categorical; "" where missing
	accepted bool
}

// The features, in the order of the columns. What depends on other rows, such
// as a mean, is not here but in the pipeline.
var (
	numeric     = []string{"moisture", "aroma", "altitude", "log_weight", "log_price", "kg_per_chest", "season_cos", "season_sin"}
	categorical = []string{"grade", "region", "estate"}
)

// counts says what cleaning did.
type counts struct {
	rows, repeats, copies, corrected, unknownEstates, impossible int
}

func (n counts) String() string {
	return fmt.Sprintf("%d rows: %d repeats (%d corrected) and %d copies left out, %d with an unknown estate, %d with a number that cannot be",
		n.rows, n.repeats, n.corrected, n.copies, n.unknownEstates, n.impossible)
}

// clean joins lots with their estates and leaves out what stands there twice.
// It looks at each lot by itself and at its repeats, never at what is usual:
// that is learned by fit, from the rows for training alone.
//
// A lot that is listed again counts once, as it was listed last. A lot that
// agrees with an earlier one in all but its name is a copy, and counts once too:
// in both halves of the split, it would be an answer given away.
func clean(lots []tea.Lot, estates []tea.Estate) ([]sample, counts, error) {
	n := counts{rows: len(lots)}
	known, err := byCode(estates)
	if err != nil {
		return nil, n, err
	}
	last := latest(lots, &n)

	seen := make(map[content]bool, len(last))
	samples := make([]sample, 0, len(last))
	for _, l := range lots {
		l, ok := last[l.ID]
		if !ok {
			continue // done
		}
		delete(last, l.ID)

		c := contentOf(l)
		if seen[c] {
			n.copies++
			continue
		}
		seen[c] = true

		e, ok := known[l.Estate]
		if !ok {
			n.unknownEstates++ // its region and altitude are missing, the rest counts
		}
		if !possible(l) {
			n.impossible++
		}
		samples = append(samples, derive(l, e))
	}

	// By name, so that the order of the pages does not matter.
	slices.SortFunc(samples, func(a, b sample) int { return cmp.Compare(a.id, b.id) })
	return samples, n, nil
}

func byCode(estates []tea.Estate) (map[string]tea.Estate, error) {
	known := make(map[string]tea.Estate, len(estates))
	for _, e := range estates {
		if _, twice := known[e.Code]; twice {
			return nil, fmt.Errorf("estate %s stands twice in the list: which one is meant?", e.Code)
		}
		known[e.Code] = e
	}
	return known, nil
}

// latest returns each lot as it was listed last, by its name, and counts the
// repeats.
func latest(lots []tea.Lot, n *counts) map[string]tea.Lot {
	last := make(map[string]tea.Lot, len(lots))
	for _, l := range lots {
		if old, ok := last[l.ID]; ok {
			n.repeats++
			if old.PriceEUR != l.PriceEUR {
				n.corrected++
			}
		}
		last[l.ID] = l
	}
	return last
}

// content is all of a lot but its name.
type content struct {
	estate, grade    string
	harvested        time.Time
	chests           int
	weight, price    float64
	moisture, aroma  float64
	noMoist, noAroma bool
}

func contentOf(l tea.Lot) content {
	c := content{l.Estate, l.Grade, l.Harvested, l.Chests, l.WeightKG, l.PriceEUR, 0, 0, l.Moisture == nil, l.Aroma == nil}
	if !c.noMoist {
		c.moisture = *l.Moisture
	}
	if !c.noAroma {
		c.aroma = *l.Aroma
	}
	return c
}

// possible reports whether a lot's numbers can be true, whatever others say.
func possible(l tea.Lot) bool {
	return positive(l.WeightKG) && positive(l.PriceEUR) && l.Chests > 0 &&
		(l.Moisture == nil || *l.Moisture >= 0 && *l.Moisture <= 100) && (l.Aroma == nil || *l.Aroma >= 0 && *l.Aroma <= 10)
}

func positive(v float64) bool { return v > 0 && v <= math.MaxFloat64 }

// derive makes the features of one lot. A number that cannot be true is
// missing.
func derive(l tea.Lot, e tea.Estate) sample {
	within := func(v *float64, low, high float64) float64 {
		if v == nil || !(*v >= low && *v <= high) {
			return math.NaN()
		}
		return *v
	}

	logOf := func(v float64) float64 {
		if !positive(v) {
			return math.NaN()
		}
		return math.Log(v) // weights and prices differ by factors
	}

	perChest := math.NaN()
	if l.Chests > 0 && positive(l.WeightKG) {
		perChest = l.WeightKG / float64(l.Chests)
	}

	// The end of December is near the beginning of January.
	sin, cos := math.Sincos(2 * math.Pi * float64(l.Harvested.YearDay()) / 365.25)

	return sample{
		id: l.ID,
		numbers: []float64{
			within(l.Moisture, 0, 100), within(l.Aroma, 0, 10), within(e.Altitude, -430, 8850),
			logOf(l.WeightKG), logOf(l.PriceEUR), perChest, cos, sin,
		},
		words:    []string{l.Grade, e.Region, e.Code},
		accepted: l.Accepted,
	}
}
