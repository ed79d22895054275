package status

import (
	"context"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
)

// Report is what /api/status answers: the page's summary for programs.
type Report struct {
	Name    string     `json:"name"`
	Version string     `json:"version"`
	Profile string     `json:"profile"`
	Started time.Time  `json:"started"`
	Now     time.Time  `json:"now"`
	Parts   []Part     `json:"parts"`
	Run     *RunReport `json:"run,omitempty"` // under way; absent between runs
	Asked   bool       `json:"asked"`         // a run is asked for and has not begun
	Egress  Egress     `json:"egress"`
	Log     Log        `json:"log"`
	Notify  []Notified `json:"notify"`
}

// Part is one check.
type Part struct {
	Name   string    `json:"name"`
	State  web.State `json:"state"` // ok, degraded, failed or starting
	Error  string    `json:"error,omitempty"`
	Advice string    `json:"advice,omitempty"`
}

// RunReport is the run under way.
type RunReport struct {
	history.Run

	Known   int    `json:"known"` // pages known so far
	Done    int    `json:"done"`
	Current string `json:"current,omitempty"` // address of the page being fetched
}

// Egress is how requests leave.
type Egress struct {
	Name       string    `json:"name"`
	State      web.State `json:"state"`
	Reason     string    `json:"reason"`
	Required   bool      `json:"required"` // without Tor nothing leaves
	Requests   int64     `json:"requests"`
	Identities int64     `json:"identities"`
}

// Log counts log lines on their way to the receiver.
type Log struct {
	Written     int64     `json:"written"`
	Shipped     int64     `json:"shipped"`
	Waiting     int64     `json:"waiting"`
	Dropped     int64     `json:"dropped"`
	Quarantined int64     `json:"quarantined"`
	LastShipped time.Time `json:"last_shipped,omitzero"`
	LastError   string    `json:"last_error,omitempty"`
}

// Notified counts the messages to one receiver.
type Notified struct {
	Name      string    `json:"name"`
	Kind      string    `json:"kind"`
	Target    string    `json:"target"`
	Sent      int64     `json:"sent"`
	Waiting   int64     `json:"waiting"`
	Failed    int64     `json:"failed"`
	LastSent  time.Time `json:"last_sent,omitzero"`
	LastError string    `json:"last_error,omitempty"`
}

// Report gathers a [Report]; the type is any for the server, which only writes
// it.
func (s *Sources) Report(context.Context) any {
	state, tor, log := s.Watcher.State(), s.tor(), s.log()
	r := Report{
		Name: s.Name, Version: s.Version, Profile: s.Profile, Started: s.Started.UTC(), Now: time.Now().UTC(), Asked: state.Asked,
		Egress: Egress{Name: tor.Egress, State: tor.State, Reason: tor.Reason, Required: tor.Required, Requests: tor.Requests, Identities: tor.Identities},
		Log: Log{
			Written: log.Written, Shipped: log.Shipped, Waiting: log.Waiting, Dropped: log.Dropped, Quarantined: log.Quarantined,
			LastShipped: log.LastShipped, LastError: log.LastError,
		},
		Parts: []Part{}, Notify: []Notified{},
	}

	for _, c := range checks(s.Health.Results()) {
		r.Parts = append(r.Parts, Part{Name: c.Name, State: c.State, Error: c.Detail, Advice: c.Advice})
	}
	if state.Run.ID != 0 {
		r.Run = &RunReport{Run: state.Run, Known: state.Progress.Known, Done: state.Progress.Done, Current: state.Progress.Current}
	}

	if s.Hub != nil {
		for _, n := range receivers(s.Receivers, s.Hub.Stats()) {
			r.Notify = append(r.Notify, Notified{
				Name: n.Name, Kind: n.Kind, Target: n.Target, Sent: n.Sent, Waiting: n.Waiting, Failed: n.Failed, LastSent: n.LastSent, LastError: n.LastError,
			})
		}
	}

	return r
}
