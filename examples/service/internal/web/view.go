package web

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	featured = 6 // items with a plot of their own above the table
	recent   = 5 // runs in sight; the rest is folded away
)

// view is a Page prepared for the templates.
type view struct {
	*Page
	Assets map[string]string // name to address
	Checks []Check           // hides Page.Checks; what asks for attention first
	Items  []*itemView       // hides Page.Items; the latest change first
	Groups []group
}

type itemView struct {
	*Item
	Plot    *plot
	Changed time.Time // of the last change; zero where there was none
	Before  int64     // price before the last change
}

// group is the settings under one top-level key.
type group struct {
	Name     string
	Settings []Setting
}

func newView(p *Page, assets map[string]string) *view {
	if p.Now.IsZero() {
		p.Now = time.Now()
	}
	if p.Service.Name == "" {
		p.Service.Name = "service"
	}
	v := &view{Page: p, Assets: assets}
	for i := range p.Items {
		it := &itemView{Item: &p.Items[i], Plot: newPlot(&p.Items[i], p.Now)}
		if steps := collapse(it.History); len(steps) > 1 {
			it.Changed, it.Before = steps[len(steps)-1].Time, steps[len(steps)-2].Cents
		}
		v.Items = append(v.Items, it)
	}
	slices.SortStableFunc(v.Items, func(a, b *itemView) int {
		return cmp.Or(b.Changed.Compare(a.Changed), cmp.Compare(a.Name, b.Name))
	})
	// What asks for attention comes first.
	checks := slices.Clone(p.Checks)
	slices.SortStableFunc(checks, func(a, b Check) int { return rank(b.State) - rank(a.State) })
	v.Checks = checks
	for _, s := range p.Config {
		name, _, found := strings.Cut(s.Key, ".")
		if !found {
			name = "general"
		}
		if n := len(v.Groups); n == 0 || v.Groups[n-1].Name != name {
			if i := slices.IndexFunc(v.Groups, func(g group) bool { return g.Name == name }); i >= 0 {
				v.Groups[i].Settings = append(v.Groups[i].Settings, s)
				continue
			}
			v.Groups = append(v.Groups, group{Name: name})
		}
		last := &v.Groups[len(v.Groups)-1]
		last.Settings = append(last.Settings, s)
	}
	return v
}

// Ago and Uptime relate times to the moment that the page shows.
func (v *view) Ago(t time.Time) string { return ago(v.Now, t) }

func (v *view) Uptime() string {
	if v.Service.Started.IsZero() {
		return "unknown"
	}
	return span(v.Now.Sub(v.Service.Started))
}

// Took is how long a run lasted, or has lasted so far.
func (v *view) Took(r Run) string {
	switch {
	case r.Started.IsZero():
		return "–"
	case r.Finished.IsZero():
		return span(v.Now.Sub(r.Started))
	}
	return span(r.Finished.Sub(r.Started))
}

// Current is the run under way, else the newest; nil where there was none.
func (v *view) Current() *Run {
	for i := range v.Runs {
		if v.Runs[i].State == RunRunning {
			return &v.Runs[i]
		}
	}
	if len(v.Runs) > 0 {
		return &v.Runs[0]
	}
	return nil
}

// Busy reports whether a run is under way or asked for.
func (v *view) Busy() bool {
	return slices.ContainsFunc(v.Runs, func(r Run) bool { return r.State == RunRunning || r.State == RunWaiting })
}

// Troubles are the checks that ask for attention.
func (v *view) Troubles() []Check {
	var out []Check
	for _, c := range v.Checks {
		if rank(c.State) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// Overall is the worst state among the checks; Starting where there are none.
func (v *view) Overall() State {
	if len(v.Checks) == 0 {
		return Starting
	}
	return v.Checks[0].State
}

// rank orders states by the attention that they ask for.
func rank(s State) int {
	switch s {
	case OK, Off:
		return 0
	case Degraded:
		return 1
	case Starting:
		return 2
	case Failed:
		return 4
	}
	return 3 // a state that nobody named
}

// Headline says the overall state in words.
func (v *view) Headline() string {
	n := len(v.Troubles())
	switch v.Overall() {
	case Failed:
		return plural(n, "part needs", "parts need") + " attention"
	case Degraded:
		return "Works, with " + plural(n, "limitation", "limitations")
	case Starting:
		return "Starting"
	case OK, Off:
		return "All parts work"
	}
	return "Unknown"
}

// Featured are the items with a plot of their own: those whose price changed
// most often, so that the cards don't change places at each refresh.
func (v *view) Featured() []*itemView {
	out := slices.DeleteFunc(slices.Clone(v.Items), func(it *itemView) bool { return it.Plot == nil })
	slices.SortStableFunc(out, func(a, b *itemView) int { return cmp.Compare(b.Plot.Changes, a.Plot.Changes) })
	return out[:min(featured, len(out))]
}

// runTable is some runs and what the template needs beside them.
type runTable struct {
	View    *view
	Caption string
	Runs    []Run
}

// RecentRuns are the runs in sight.
func (v *view) RecentRuns() runTable {
	return runTable{v, "The last runs, newest first", v.Runs[:min(recent, len(v.Runs))]}
}

// EarlierRuns are the runs that are folded away; nil where there are none.
func (v *view) EarlierRuns() *runTable {
	if len(v.Runs) <= recent {
		return nil
	}
	return &runTable{v, "Earlier runs, newest first", v.Runs[recent:]}
}

func (v *view) GoneItems() int {
	n := 0
	for _, it := range v.Items {
		if it.Gone {
			n++
		}
	}
	return n
}

func (v *view) ChangedItems() int {
	n := 0
	for _, it := range v.Items {
		if !it.Changed.IsZero() {
			n++
		}
	}
	return n
}

// Sent, Waiting and FailedSends add up over the receivers.
func (v *view) Sent() (n int64) {
	for _, r := range v.Receivers {
		n += r.Sent
	}
	return n
}

func (v *view) Waiting() (n int64) {
	for _, r := range v.Receivers {
		n += r.Waiting
	}
	return n
}

func (v *view) FailedSends() (n int64) {
	for _, r := range v.Receivers {
		n += r.Failed
	}
	return n
}

// Percent is how far a run has come, 0 to 100; -1 while the total is unknown.
func (r Run) Percent() int {
	switch {
	case r.State == RunDone:
		return 100
	case r.PagesTotal <= 0:
		return -1
	}
	return min(100, max(0, 100*r.PagesDone/r.PagesTotal))
}

// Delta is the last change in words, for example "−4.2 %".
func (it *itemView) Delta() string {
	if it.Changed.IsZero() || it.Before == 0 {
		return ""
	}
	d := 100 * float64(it.Plot.Last-it.Before) / float64(it.Before)
	if d < 0 {
		return fmt.Sprintf("−%.1f\u00a0%%", -d)
	}
	return fmt.Sprintf("+%.1f\u00a0%%", d)
}

// Direction of the last change: "up", "down" or "".
func (it *itemView) Direction() string {
	switch {
	case it.Changed.IsZero():
		return ""
	case it.Plot.Last > it.Before:
		return "up"
	}
	return "down"
}

// Link is the item's address where it is safe to link to.
func (it *itemView) Link() string {
	u, err := url.Parse(it.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return ""
	}
	return u.String()
}
