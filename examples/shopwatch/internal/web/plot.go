package web

import (
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"strings"
	"time"
)

// The plot's own coordinates; the page scales it to the card's width.
const (
	plotWidth  = 280
	plotHeight = 64
	plotInset  = 6 // keeps the stroke and the last point inside
	plotSteps  = 120
)

// plot is a price history as geometry: a step line, as a price holds until it
// changes.
type plot struct {
	ID            string // unique on the page
	Line, Area    string // path data
	Dots          []dot  // where the price changed
	LastX, LastY  string
	Low, High     int64
	First, Last   int64
	Changes       int
	Since         time.Time
	Width, Height int
	Title, Desc   string
}

type dot struct{ X, Y string }

// newPlot draws the item's history up to now. It returns nil where there is no
// price to draw.
func newPlot(it *Item, now time.Time) *plot {
	steps := collapse(it.History)
	if len(steps) == 0 {
		return nil
	}
	p := &plot{
		ID: slug(it.ID), Width: plotWidth, Height: plotHeight,
		First: steps[0].Cents, Last: steps[len(steps)-1].Cents,
		Low: steps[0].Cents, High: steps[0].Cents,
		Changes: len(steps) - 1, Since: steps[0].Time,
	}
	for _, s := range steps {
		p.Low, p.High = min(p.Low, s.Cents), max(p.High, s.Cents)
	}
	steps = steps[max(0, len(steps)-plotSteps):]

	end := now
	if last := it.History[len(it.History)-1].Time; it.Gone || end.Before(last) {
		end = last
	}
	x := func(t time.Time) float64 {
		whole := end.Sub(steps[0].Time)
		if whole <= 0 {
			return plotWidth - plotInset
		}
		part := float64(t.Sub(steps[0].Time)) / float64(whole)
		return plotInset + min(max(part, 0), 1)*(plotWidth-2*plotInset)
	}
	y := func(cents int64) float64 {
		if p.High == p.Low {
			return plotHeight / 2
		}
		part := float64(cents-p.Low) / float64(p.High-p.Low)
		return plotHeight - plotInset - part*(plotHeight-2*plotInset)
	}
	var line strings.Builder
	fmt.Fprintf(&line, "M%s %s", coord(plotInset), coord(y(steps[0].Cents)))
	for _, s := range steps[1:] {
		fmt.Fprintf(&line, "H%sV%s", coord(x(s.Time)), coord(y(s.Cents)))
		p.Dots = append(p.Dots, dot{coord(x(s.Time)), coord(y(s.Cents))})
	}
	fmt.Fprintf(&line, "H%s", coord(plotWidth-plotInset))
	p.Line = line.String()
	p.Area = fmt.Sprintf("%sV%dH%dZ", p.Line, plotHeight, plotInset)
	p.LastX, p.LastY = coord(plotWidth-plotInset), coord(y(p.Last))

	p.Title = "Price of " + it.Name
	p.Desc = fmt.Sprintf("%s over the last %s: now %s, lowest %s, highest %s.",
		plural(p.Changes, "change", "changes"), span(end.Sub(p.Since)),
		money(p.Last, it.Currency), money(p.Low, it.Currency), money(p.High, it.Currency))
	if it.Gone {
		p.Desc = strings.Replace(p.Desc, "now", "last", 1)
	}
	return p
}

// collapse leaves the first of each row of equal prices.
func collapse(history []Price) []Price {
	var steps []Price
	for _, h := range history {
		if len(steps) == 0 || steps[len(steps)-1].Cents != h.Cents {
			steps = append(steps, h)
		}
	}
	return steps
}

func coord(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// slug makes a short id of any text, the same for the same text.
func slug(s string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return "x" + strconv.FormatUint(h.Sum64(), 36)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}
