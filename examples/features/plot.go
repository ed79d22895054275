package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// bins is how many bars the drawing has.
const bins = 18

// plotShares draws, as SVG, which share of the lots was accepted by how good
// their aroma was. It shows the rows for training alone: whoever looks at the
// test to choose features has trained with it.
func plotShares(train []sample) ([]byte, error) {
	const aroma = 1 // in numeric
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range train {
		if v := s.numbers[aroma]; !math.IsNaN(v) {
			low, high = min(low, v), max(high, v)
		}
	}
	if !(low < high) {
		low, high = low-0.5, low+0.5 // all are equal
	}

	var yes, all [bins]int
	for _, s := range train {
		if v := s.numbers[aroma]; !math.IsNaN(v) {
			i := min(bins-1, int((v-low)/(high-low)*bins))
			all[i]++
			if s.accepted {
				yes[i]++
			}
		}
	}

	points := make(plotter.XYs, 0, bins)
	for i := range bins {
		if all[i] > 0 {
			points = append(points, plotter.XY{X: low + (float64(i)+0.5)*(high-low)/bins, Y: 100 * float64(yes[i]) / float64(all[i])})
		}
	}

	p := plot.New()
	p.Title.Text = "Lots accepted, by aroma"
	p.X.Label.Text, p.Y.Label.Text = "aroma", "accepted, %"
	p.Y.Min, p.Y.Max = 0, 100

	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return nil, fmt.Errorf("draw: %w", err)
	}
	line.Color = color.RGBA{R: 0x1f, G: 0x6f, B: 0x54, A: 0xff}
	dots.Color = line.Color
	p.Add(plotter.NewGrid(), line, dots)

	var b bytes.Buffer
	w, err := p.WriterTo(6*vg.Inch, 4*vg.Inch, "svg")
	if err != nil {
		return nil, fmt.Errorf("draw: %w", err)
	}
	if _, err := w.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("draw: %w", err)
	}
	return b.Bytes(), nil
}
