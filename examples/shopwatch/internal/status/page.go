package status

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/health"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/playground"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/watch"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

const (
	shownRuns   = 20
	shownPoints = 200
)

// Tor says how requests leave, as the settings and the start decided.
type Tor struct {
	Required    bool   // nothing leaves where Tor is missing
	Local       bool   // nothing but this machine is asked
	RotateEvery int    // requests per identity
	Direct      string // why requests leave directly on purpose; empty if they don't
}

// Receiver says where a receiver's messages go, without secrets.
type Receiver struct{ Name, Kind, Target string }

// Sources are the parts that are asked. All but Hub, Auth and Demo are required.
type Sources struct {
	Name, Version, Profile, Address string
	Started                         time.Time

	Explain  func() config.Explanation
	Settings func() config.Stats
	Health   *health.Monitor
	History  *history.Store
	Watcher  *watch.Watcher
	Scrape   *scrape.Client
	Used     *Used
	Tor      Tor
	Logs     *logging.Logs
	LogPath  string // active file; empty where there is none
	LogSink  string // where lines are shipped, without secrets; empty where they stay
	DataDir  string // whose disk is watched

	Auth *auth.Auth // nil where nobody has to log in

	Hub       *notify.Hub // nil where nobody is told
	Receivers []Receiver
	Demo      *playground.Playground // nil where there is none
	Logger    *slog.Logger
}

// Page is the status page's data at this moment.
func (s *Sources) Page(ctx context.Context) web.Page {
	now := time.Now()
	p := web.Page{
		Service: web.Service{Name: s.Name, Version: s.Version, Profile: s.Profile, Address: s.Address, Started: s.Started},
		User:    auth.UserFrom(ctx).Name,
		Now:     now,
		Checks:  checks(s.Health.Results()),
		Exits:   s.Used.Exits(s.Scrape.Stats().Identity),
		Agents:  s.Used.Agents(),
		Log:     s.log(),
		Config:  settings(s.Explain()),
	}

	p.Tor = s.tor()
	p.Runs = s.runs(ctx)
	items, err := s.History.Items(shownPoints)
	if err != nil {
		s.Logger.ErrorContext(ctx, "items cannot be shown", "error", err)
	}
	for _, it := range items {
		p.Items = append(p.Items, item(it, now))
	}

	if s.Hub != nil {
		p.Receivers = receivers(s.Receivers, s.Hub.Stats())
	}
	if s.Demo != nil {
		seen := s.Demo.Seen()
		p.Caught, p.Log.Received = seen.Caught, seen.Received
	}
	return p
}

func checks(results []health.Result) []web.Check {
	var out []web.Check
	for _, r := range results {
		c := web.Check{Name: r.Name, State: web.OK, Advice: r.Advice}
		switch {
		case r.At.IsZero():
			c.State = web.Starting
		case r.Err != nil && r.Required:
			c.State, c.Detail = web.Failed, r.Err.Error()
		case r.Err != nil:
			c.State, c.Detail = web.Degraded, r.Err.Error()
		}
		out = append(out, c)
	}
	return out
}

func (s *Sources) tor() web.Tor {
	stats := s.Scrape.Stats()
	t := web.Tor{
		State: web.OK, Local: s.Tor.Local, Required: s.Tor.Required && s.Tor.Direct == "", Reason: stats.Egress.Why, Egress: stats.Egress.Name,
		RotateEvery: max(0, s.Tor.RotateEvery), Requests: stats.Requests, Identities: int64(stats.Identity.Number),
	}
	switch {
	case s.Tor.Direct != "":
		t.State, t.Reason = web.Off, s.Tor.Direct
	case stats.Egress.Direct:
		t.State = web.Off
	case stats.Egress.Since.IsZero(), !stats.Egress.Available && s.torComes():
		t.State = web.Starting
	case !stats.Egress.Available:
		t.State = web.Failed
	}

	return t
}

// torComes reports whether Tor runs and is still connecting to its network.
func (s *Sources) torComes() bool {
	for _, r := range s.Health.Results() {
		if errors.Is(r.Err, tor.ErrNotReady) {
			return true
		}
	}
	return false
}

func (s *Sources) runs(ctx context.Context) []web.Run {
	state := s.Watcher.State()
	runs, err := s.History.Runs(shownRuns)
	if err != nil {
		s.Logger.ErrorContext(ctx, "runs cannot be shown", "error", err)
	}
	var out []web.Run
	if state.Asked {
		out = append(out, web.Run{ID: "next", Trigger: "request", State: web.RunWaiting})
	}

	for _, r := range runs {
		w := run(r)
		if r.ID == state.Run.ID {
			w.PagesTotal, w.PagesDone, w.Current = state.Progress.Known, state.Progress.Done, state.Progress.Current
		}
		out = append(out, w)
	}

	return out
}

func run(r history.Run) web.Run {
	w := web.Run{
		ID: strconv.FormatUint(r.ID, 10), Trigger: r.Trigger, Started: r.Started, Finished: r.Finished,
		PagesDone: r.Pages + r.Failures, PagesTotal: r.Pages + r.Failures, Bytes: r.Bytes, Items: r.Items,
		Changes: r.Changed, Gone: r.Gone, Failures: r.Failures, Error: r.Error,
	}
	switch r.Status {
	case history.Running:
		w.State, w.PagesTotal = web.RunRunning, 0
	case history.OK:
		w.State = web.RunDone
	case history.Stopped, history.Interrupted:
		w.State = web.RunStopped
	default:
		w.State = web.RunFailed
	}

	return w
}

func item(it history.Item, now time.Time) web.Item {
	w := web.Item{
		ID: it.URL, Name: it.Name, Category: it.Category, URL: it.URL, Currency: it.Price.Currency, Gone: !it.Gone.IsZero(),
	}
	for _, p := range it.Points {
		// A plot has one axis: prices in another currency are not on it.
		if p.Price.Currency == it.Price.Currency {
			w.History = append(w.History, web.Price{Time: p.Time, Cents: p.Price.Cents})
		}
	}
	// The last price holds until the item was last seen.
	if n := len(w.History); n > 0 && it.LastSeen.After(w.History[n-1].Time) && !it.LastSeen.After(now) {
		w.History = append(w.History, web.Price{Time: it.LastSeen, Cents: w.History[n-1].Cents})
	}
	return w
}

func (s *Sources) log() web.Log {
	st := s.Logs.Stats()
	return web.Log{
		Path: s.LogPath, Sink: s.LogSink, Written: st.Written, Shipped: st.Ship.Events,
		Waiting: st.ActiveEvents + st.Ship.WaitingEvents, Dropped: st.Dropped + st.DroppedForQuota,
		Quarantined: st.Ship.Quarantined, Retries: st.Ship.Retries, LastShipped: st.Ship.LastSent, LastError: st.Ship.LastError,
	}
}

func receivers(known []Receiver, stats notify.Stats) []web.Receiver {
	var out []web.Receiver
	for _, r := range stats.Receivers {
		w := web.Receiver{
			Name: r.Name, Sent: int64(r.Sent), Waiting: int64(r.Waiting), Failed: int64(r.Failed),
			LastSent: r.LastSent, LastError: r.LastError,
		}
		if i := slices.IndexFunc(known, func(k Receiver) bool { return k.Name == r.Name }); i >= 0 {
			w.Kind, w.Target = known[i].Kind, known[i].Target
		}
		out = append(out, w)
	}
	return out
}

func settings(x config.Explanation) []web.Setting {
	var out []web.Setting
	for _, e := range x {
		w := web.Setting{Key: e.Key, Value: e.Value, Origin: e.Origin.String(), Doc: e.Doc}
		if strings.Contains(e.Value, secret.Redacted) {
			w.Secret, w.Set, w.Value = true, true, ""
		}
		for _, o := range e.Overrode {
			w.Overrode = append(w.Overrode, o.Origin.String())
		}
		out = append(out, w)
	}
	return out
}

// String says how requests leave, for the log.
func (t Tor) String() string {
	switch {
	case t.Direct != "":
		return "direct: " + t.Direct
	case t.Required:
		return "required"
	}
	return "used while it is there"
}
