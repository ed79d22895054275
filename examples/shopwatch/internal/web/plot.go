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
	plotHeight = 72
	plotLeft   = 48 // of it the axis; its amounts stand beside it
	plotInset  = 6  // keeps the stroke and the last point inside
	plotSteps  = 120
	leastSpan  = 4 // an axis spans at least this part, a quarter, of the price
)

// plot is a price history as geometry: a step line, as a price holds until it
// changes.
type plot struct {
	ID            string // unique on the page
	Line, Axis    string // path data
	Dots          []dot  // where the price changed
	LastX, LastY  string
	Low, High     int64
	Bottom, Top   int64 // of the axis; above 0 it is cut
	First, Last   int64
	Changes       int
	Since         time.Time // of the first price
	From, To      time.Time // of the axis
	Width, Height int
	Title, Desc   string

	BottomText, TopText string
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
	p.scale(it.Currency)

	steps = steps[max(0, len(steps)-plotSteps):]
	p.From, p.To = steps[0].Time, now
	if last := it.History[len(it.History)-1].Time; it.Gone || now.Before(last) {
		p.To = last
	}
	p.draw(steps)
	p.tell(it)
	return p
}

// scale chooses the axis. Cut to the prices alone, every change would look the
// same.
func (p *plot) scale(currency string) {
	middle := p.Low/2 + p.High/2
	span := max(p.High-p.Low, p.High/leastSpan, -p.Low/leastSpan, 2)
	p.Bottom = min(p.Low, middle-span/2)
	if p.Low >= 0 {
		p.Bottom = max(0, p.Bottom)
	}
	p.Top = max(p.High, p.Bottom+span)
	p.BottomText, p.TopText = money(p.Bottom, currency), money(p.Top, currency)

	foot := plotHeight - plotInset
	p.Axis = fmt.Sprintf("M%d %dV%dH%d", plotLeft, plotInset, foot, plotWidth-plotInset)
	if p.Bottom != 0 { // broken above the foot
		p.Axis = fmt.Sprintf("M%d %dV%dl-4 2l8 4l-4 2V%dH%d", plotLeft, plotInset, foot-12, foot, plotWidth-plotInset)
	}
}

// draw makes the line of steps.
func (p *plot) draw(steps []Price) {
	x := func(t time.Time) string {
		whole := p.To.Sub(p.From)
		if whole <= 0 {
			return coord(plotWidth - plotInset)
		}
		part := float64(t.Sub(p.From)) / float64(whole)
		return coord(plotLeft + min(max(part, 0), 1)*(plotWidth-plotLeft-plotInset))
	}
	y := func(cents int64) string {
		part := float64(cents-p.Bottom) / float64(p.Top-p.Bottom)
		return coord(plotHeight - plotInset - part*(plotHeight-2*plotInset))
	}

	var line strings.Builder
	fmt.Fprintf(&line, "M%d %s", plotLeft, y(steps[0].Cents))
	for _, s := range steps[1:] {
		fmt.Fprintf(&line, "H%sV%s", x(s.Time), y(s.Cents))
		p.Dots = append(p.Dots, dot{x(s.Time), y(s.Cents)})
	}
	fmt.Fprintf(&line, "H%d", plotWidth-plotInset)
	p.Line = line.String()
	p.LastX, p.LastY = coord(plotWidth-plotInset), y(p.Last)
}

// tell says in words what the plot shows.
func (p *plot) tell(it *Item) {
	p.Title = "Price of " + it.Name
	now := "now"
	if it.Gone {
		now = "last"
	}
	p.Desc = fmt.Sprintf("%s over the last %s: %s %s, lowest %s, highest %s. The axis runs from %s to %s.",
		plural(p.Changes, "change", "changes"), span(p.To.Sub(p.Since)), now,
		money(p.Last, it.Currency), money(p.Low, it.Currency), money(p.High, it.Currency), p.BottomText, p.TopText)
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
