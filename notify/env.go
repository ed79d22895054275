package notify

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/health"
	"github.com/svcblocks/svcblocks/internal/redact"
)

// env is what all parts of a hub share.
type env struct {
	opts   Options
	log    *logger
	red    *redact.Redactor
	words  *redact.Redactor // red for the texts of messages
	dry    *dryRun
	health *health.Monitor
	mute   silences

	alive context.Context // of what nobody waits for
	kill  context.CancelCauseFunc

	// mu guards the workers, their ledgers and limiters, the deliveries and
	// the schedule. No foreign code and no disk is waited for under it.
	mu      sync.Mutex
	tasks   schedule
	workers []*worker
	byName  map[string]*worker
	closed  bool
	drains  int // ends that wait for deliveries

	// The rooms that a message passes; each owns its state.
	teller  *teller
	holds   *holds
	courier *courier
	keeper  *keeper
}

// clean takes the known secrets out of a message. The text is the service's own:
// a short secret in it is more likely meant as that word.
func (v *env) clean(m Message) Message {
	if m.Source == "" {
		m.Source = v.opts.Source
	}
	m.Subject = v.words.String(m.Subject)
	m.Text = v.words.String(m.Text)
	m.HTML = v.words.String(m.HTML)
	m.Key = v.words.String(m.Key)

	if len(m.Attrs) > 0 {
		attrs := make([]slog.Attr, 0, len(m.Attrs))
		for _, f := range m.Fields() {
			attrs = append(attrs, slog.String(v.words.String(f.Name), v.words.String(f.Value)))
		}
		m.Attrs = attrs
	}

	if len(m.Attachments) > 0 {
		m.Attachments = slices.Clone(m.Attachments)
		for i := range m.Attachments {
			a := &m.Attachments[i]
			a.Name, a.ContentType = v.words.String(a.Name), v.words.String(a.ContentType)
		}
	}

	return m
}

func (v *env) isClosed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.closed
}

func (v *env) cleanError(e *Error) {
	e.Reason, e.Enhanced = v.red.String(e.Reason), v.red.String(e.Enhanced)
}

// print shows what would go out, if the hub makes a dry run.
func (v *env) print(r Receiver, m Message) (dry bool, err error) {
	if v.dry == nil {
		return false, nil
	}
	return true, v.dry.print(r, m)
}

// hides reports whether a silence hides m, and counts it.
func (v *env) hides(m Message) bool { return v.mute.active() && v.mute.hides(m) }

// What workers need of the hub, see site.

func (v *env) cleanText(text string) string { return v.red.String(text) }
func (v *env) state() *health.Monitor       { return v.health }
func (v *env) lifetime() context.Context    { return v.alive }
func (v *env) report() *logger              { return v.log }
func (v *env) plan(t *task, at time.Time)   { v.tasks.plan(t, at) }
func (v *env) draining() bool               { return v.drains > 0 }

// newEnv makes what the parts of a hub share, and the parts.
func newEnv(o Options) *env {
	known := slices.Clone(o.Secrets)
	for _, r := range o.Receivers {
		if holder, ok := r.Notifier.(SecretHolder); ok {
			known = append(known, holder.Secrets()...)
		}
	}

	v := &env{opts: o, red: redact.New(known...), byName: map[string]*worker{}, health: newHealth(&o)}
	v.words = v.red.Long()
	v.log = &logger{out: o.Logger, red: v.red}
	v.alive, v.kill = context.WithCancelCause(context.Background())
	v.teller, v.holds, v.courier, v.keeper = &teller{env: v}, &holds{env: v}, &courier{env: v}, &keeper{env: v}
	v.tasks.tick = v.courier.tick

	v.holds.release.fire = func(_ time.Time, t *todo) { t.run = append(t.run, v.holds.releaseParked) }
	v.mute.changed = v.holds.silenceEnded
	if o.DryRun != nil {
		v.dry = &dryRun{out: o.DryRun, red: v.words}
	}

	for _, r := range o.Receivers {
		w := newWorker(&v.mu, v, v.courier, r, o.Group)
		w.limit.fire = func(_ time.Time, t *todo) { t.run = append(t.run, func() { _ = v.holds.releaseHeld(w, false) }) }
		v.workers = append(v.workers, w)
		v.byName[r.Name] = w
	}
	return v
}
