package web_test

import (
	"math"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
)

func TestNewPlot(t *testing.T) {
	t.Parallel()
	at := func(s int, cents int64) web.Price {
		return web.Price{Time: sampleNow.Add(time.Duration(s) * time.Second), Cents: cents}
	}
	for name, tc := range map[string]struct {
		item web.Item
		want *web.Plot // nil: no plot; geometry and texts only
	}{
		"no history": {web.Item{}, nil},
		"one price, just now": {
			web.Item{Name: "Tea", Currency: "EUR", History: []web.Price{at(0, 500)}},
			&web.Plot{
				Line: "M48 36.2H274", LastX: "274", LastY: "36.2", Bottom: 438, Top: 563, Low: 500, High: 500, First: 500, Last: 500,
				Title: "Price of Tea", Desc: "0 changes over the last 0 ms: now €5.00, lowest €5.00, highest €5.00. The axis runs from €4.38 to €5.63.",
			},
		},
		"half the time dear, then cheap": {
			web.Item{Name: "Tea", Currency: "EUR", History: []web.Price{at(-100, 500), at(-80, 500), at(-50, 400), at(0, 400)}},
			&web.Plot{
				Line: "M48 12.2H161V60.2H274", LastX: "274", LastY: "60.2", Bottom: 388, Top: 513, Low: 400, High: 500, First: 500, Last: 400,
				Title: "Price of Tea", Desc: "1 change over the last 1 min 40 s: now €4.00, lowest €4.00, highest €5.00. The axis runs from €3.88 to €5.13.",
			},
		},
		"a free thing that was dear: from zero": {
			web.Item{Name: "Tea", Currency: "EUR", History: []web.Price{at(-100, 1000), at(-50, 0), at(0, 0)}},
			&web.Plot{
				Line: "M48 6H161V66H274", LastX: "274", LastY: "66", Bottom: 0, Top: 1000, Low: 0, High: 1000, First: 1000, Last: 0,
				Title: "Price of Tea", Desc: "1 change over the last 1 min 40 s: now €0.00, lowest €0.00, highest €10.00. The axis runs from €0.00 to €10.00.",
			},
		},
		"gone: ends where it was last seen": {
			web.Item{Name: "Tea", Currency: "EUR", Gone: true, History: []web.Price{at(-100, 500), at(-75, 600), at(-50, 600)}},
			&web.Plot{
				Line: "M48 56H161V16H274", LastX: "274", LastY: "16", Bottom: 475, Top: 625, Low: 500, High: 600, First: 500, Last: 600,
				Title: "Price of Tea", Desc: "1 change over the last 50 s: last €6.00, lowest €5.00, highest €6.00. The axis runs from €4.75 to €6.25.",
			},
		},
		"a clock that went back": {
			web.Item{Name: "Tea", Currency: "EUR", History: []web.Price{at(10, 500), at(20, 600)}},
			&web.Plot{
				Line: "M48 56H274V16H274", LastX: "274", LastY: "16", Bottom: 475, Top: 625, Low: 500, High: 600, First: 500, Last: 600,
				Title: "Price of Tea", Desc: "1 change over the last 10 s: now €6.00, lowest €5.00, highest €6.00. The axis runs from €4.75 to €6.25.",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := web.NewPlot(&tc.item, sampleNow)
			if got == nil || tc.want == nil {
				if got != nil || tc.want != nil {
					t.Errorf("plot %v, want %v", got, tc.want)
				}
				return
			}
			small := web.Plot{
				Line: got.Line, LastX: got.LastX, LastY: got.LastY, Low: got.Low, High: got.High,
				Bottom: got.Bottom, Top: got.Top, First: got.First, Last: got.Last, Title: got.Title, Desc: plain(got.Desc),
			}
			if diff := cmp.Diff(*tc.want, small); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestPlotStaysInside: whatever the history, the line stays within the view
// box and of bounded length.
func TestPlotStaysInside(t *testing.T) {
	t.Parallel()
	item := web.Item{Name: "x"}
	for i := range 5000 {
		cents := int64(i*7919%1000) - 500
		switch i {
		case 10:
			cents = math.MaxInt64 / 4
		case 4990:
			cents = math.MinInt64 / 4
		}
		item.History = append(item.History, web.Price{Time: sampleNow.Add(time.Duration(i) * time.Hour), Cents: cents})
	}
	p := web.NewPlot(&item, sampleNow)
	if len(p.Line) > 4000 || p.Changes != 4999 {
		t.Errorf("%d bytes of path, %d changes", len(p.Line), p.Changes)
	}
	for _, m := range regexp.MustCompile(`([MHV ])(-?[0-9.]+)`).FindAllStringSubmatch(p.Line, -1) {
		v, err := strconv.ParseFloat(m[2], 64)
		limit := float64(p.Width)
		if m[1] == "V" || m[1] == " " {
			limit = float64(p.Height)
		}
		if err != nil || v < 0 || v > limit {
			t.Errorf("%q is beyond the view box", m[0])
		}
	}
}
