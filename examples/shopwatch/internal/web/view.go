package web

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What a page shows at most, so that it stays light whatever the service has
// seen. The counts above always tell of all.
const (
	featured  = 6   // items with a plot of their own above the table
	recent    = 3   // runs, and caught messages, in sight; the rest is folded away
	maxRuns   = 50  // runs in all
	maxItems  = 200 // rows in the table of items
	maxUsed   = 10  // exits, and user agents
	maxCaught = 50  // caught messages
	maxLines  = 100 // log lines at the receiver
)

// view is a Page prepared for the templates.
type view struct {
	*Page

	Assets   map[string]string // name to address
	Checks   []Check           // hides Page.Checks; what asks for attention first
	Items    []*itemView       // hides Page.Items; the latest change first, at most maxItems
	Featured []*itemView       // those whose price changed most often
	Groups   []group

	AllItems, ChangedItems, GoneItems int
	MoreExits, MoreAgents, MoreCaught int // how many are not shown
}

type itemView struct {
	*Item

	Plot    *plot
	Changes int
	Changed time.Time // of the last change; zero where there was none
	Before  int64     // price before the last change
}

// group is the settings under one top-level key.
type group struct {
	Name     string
	Settings []Setting
}

// Set counts the settings that are not left at their default.
func (g group) Set() int {
	n := 0
	for _, s := range g.Settings {
		if s.Origin != "" && s.Origin != "default" {
			n++
		}
	}
	return n
}

func newView(p *Page, assets map[string]string) *view {
	if p.Now.IsZero() {
		p.Now = time.Now()
	}
	if p.Service.Name == "" {
		p.Service.Name = "service"
	}
	v := &view{Page: p, Assets: assets}

	v.arrangeItems()
	p.Runs, _ = cut(p.Runs, maxRuns)
	p.Exits, v.MoreExits = cut(p.Exits, maxUsed)
	p.Agents, v.MoreAgents = cut(p.Agents, maxUsed)
	p.Caught, v.MoreCaught = cut(p.Caught, maxCaught)

	if r := p.Log.Received; r != nil {
		shown := *r
		shown.Last, _ = cut(r.Last, maxLines)
		p.Log.Received = &shown
	}

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

// arrangeItems counts all items, chooses those to show and draws them.
func (v *view) arrangeItems() {
	v.AllItems = len(v.Page.Items)
	all := make([]*itemView, 0, v.AllItems)
	for i := range v.Page.Items {
		it := &itemView{Item: &v.Page.Items[i]}
		if steps := collapse(it.History); len(steps) > 1 {
			it.Changes = len(steps) - 1
			it.Changed, it.Before = steps[it.Changes].Time, steps[it.Changes-1].Cents
			v.ChangedItems++
		}
		if it.Gone {
			v.GoneItems++
		}
		all = append(all, it)
	}

	slices.SortStableFunc(all, func(a, b *itemView) int {
		return cmp.Or(b.Changed.Compare(a.Changed), cmp.Compare(a.Name, b.Name))
	})
	v.Items, _ = cut(all, maxItems)

	// Ordered by the latest change, the cards would change places at each
	// refresh.
	lively := slices.DeleteFunc(slices.Clone(all), func(it *itemView) bool { return len(it.History) == 0 })
	slices.SortStableFunc(lively, func(a, b *itemView) int { return cmp.Compare(b.Changes, a.Changes) })
	v.Featured, _ = cut(lively, featured)

	for _, shown := range [][]*itemView{v.Items, v.Featured} {
		for _, it := range shown {
			if it.Plot == nil {
				it.Plot = newPlot(it.Item, v.Now)
			}
		}
	}
}

// cut returns the first n of list, and how many were left out.
func cut[T any](list []T, n int) (shown []T, more int) {
	if len(list) <= n {
		return list, 0
	}
	return list[:n], len(list) - n
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

// Chosen counts the settings that are not left at their default.
func (v *view) Chosen() int {
	n := 0
	for _, g := range v.Groups {
		n += g.Set()
	}
	return n
}

// Working names the parts that ask for nothing.
func (v *view) Working() string {
	var names []string
	for _, c := range v.Checks {
		if rank(c.State) == 0 {
			names = append(names, c.Name)
		}
	}
	return strings.Join(names, ", ")
}

// Direct reports whether how requests leave has to be told before all else.
func (v *view) Direct() bool { return v.Tor.State == Off || v.Tor.State == Failed }

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

// caughtList is some messages and what the template needs beside them.
type caughtList struct {
	View     *view
	Messages []Caught
}

// RecentCaught are the messages in sight.
func (v *view) RecentCaught() caughtList {
	return caughtList{v, v.Caught[:min(recent, len(v.Caught))]}
}

// EarlierCaught are the messages that are folded away; nil where there are
// none.
func (v *view) EarlierCaught() *caughtList {
	if len(v.Caught) <= recent {
		return nil
	}
	return &caughtList{v, v.Caught[recent:]}
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
