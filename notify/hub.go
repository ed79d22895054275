package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/health"
	"github.com/svcblocks/svcblocks/internal/redact"
)

// Hub routes messages to receivers. Make one with [New]. It is a [Notifier]
// itself. All methods are safe for concurrent use.
type Hub struct {
	opts    Options
	log     *logger
	red     *redact.Redactor
	words   *redact.Redactor // red for the texts of messages
	dry     *dryRun
	workers []*worker
	byName  map[string]*worker
	mute    silences
	out     *outbox // nil without an outbox
	health  *health.Monitor

	alive context.Context // of what nobody waits for
	kill  context.CancelCauseFunc

	// mu guards the workers, their ledgers and limiters, the deliveries and
	// the schedule. No foreign code and no disk is waited for under it.
	mu         sync.Mutex
	tasks      schedule
	release    task // what silences hid and hide no more
	adopt      task // what other processes left
	order      uint64
	busy       int           // deliveries that wait or are under way
	idle       chan struct{} // closed when busy falls to 0; nil if nobody waits
	suppressed uint64
	closed     bool
	running    bool
	drains     int           // ends that wait for deliveries
	spent      time.Duration // of CloseTimeout

	unwritten unwritten

	closeOnce sync.Once
	closeErr  error
}

// releaseAfter is how long after the end of a silence that goes out which it
// hid: the end of the work and the word that all is well often come together.
const releaseAfter = time.Second

// New returns a Hub that works from now on. It reports every mistake in opts at
// once. With an outbox it makes the folder and takes over what a crashed process
// left there. A folder that cannot be used for the moment, as on a full disk, gives
// a hub that works from memory: [Hub.Check] says so. Close the hub when done.
func New(opts *Options) (*Hub, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}

	known := slices.Clone(o.Secrets)
	for _, r := range o.Receivers {
		if holder, ok := r.Notifier.(SecretHolder); ok {
			known = append(known, holder.Secrets()...)
		}
	}

	h := &Hub{opts: o, red: redact.New(known...), byName: map[string]*worker{}}
	h.words = h.red.Long()
	h.log = &logger{out: o.Logger, red: h.red}
	h.health = newHealth(&o)
	h.alive, h.kill = context.WithCancelCause(context.Background())
	h.tasks.tick = h.tick
	h.release.fire = func(_ time.Time, t *todo) { t.run = append(t.run, h.releaseParked) }

	h.mute.changed = h.silenceEnded
	if o.DryRun != nil {
		h.dry = &dryRun{out: o.DryRun, red: h.words}
	}

	for _, r := range o.Receivers {
		w := newWorker(&h.mu, h, h.red.String, r, o.Group)
		w.limit.fire = func(_ time.Time, t *todo) { t.run = append(t.run, func() { _ = h.releaseHeld(w, false) }) }
		h.workers = append(h.workers, w)
		h.byName[r.Name] = w
	}

	if o.Outbox.Dir != "" && h.dry == nil {
		if h.out, err = openOutbox(o.Outbox, h.log, h.health); err != nil {
			h.kill(ErrClosed)
			return nil, err
		}
		h.adopt.fire = func(_ time.Time, t *todo) { t.run = append(t.run, h.adoptLeft) }
		h.adoptLeft()
	}

	h.health.Start()
	return h, nil
}

// To returns a Hub with the defaults and one receiver for each of notifiers, which
// is called after its package, as "slack", and from the second of a kind on
// "slack-2". It tells of a notifier that is nil, so that the errors of all
// constructors may be looked at together.
func To(notifiers ...Notifier) (*Hub, error) {
	var o Options
	count := map[string]int{}
	for _, n := range notifiers {
		name, _, _ := strings.Cut(strings.TrimLeft(fmt.Sprintf("%T", n), "*"), ".")
		count[name]++
		if count[name] > 1 {
			name = fmt.Sprintf("%s-%d", name, count[name])
		}
		o.Receivers = append(o.Receivers, Receiver{Name: name, Notifier: n})
	}
	return New(&o)
}

// Send delivers a message of level [slog.LevelError]. See [Hub.Notify].
func (h *Hub) Send(ctx context.Context, subject, message string) error {
	return h.Notify(ctx, Message{Level: slog.LevelError, Subject: subject, Text: message})
}

// Notify delivers m to every receiver that takes it. Without an outbox it
// returns when each of them is done or gave up, or ctx ended; the error then
// holds one [*Error] for each receiver or recipient that did not get it, see
// [Errors]. With an outbox it returns when the message is stored, even if ctx has
// ended: word of a failure often comes with the context that failed.
//
// A repeat returns nil at once: it is counted and told of later, see [Group],
// and so is what Rate holds. A silenced message returns nil, too, and so does the
// end of a trouble that nobody heard of. A message that no receiver takes is
// ErrNoReceiver. A delivery that a Fallback took over is no failure.
func (h *Hub) Notify(ctx context.Context, m Message) error {
	key, grouped := h.key(&m)
	return h.submit(ctx, m, key, grouped, true)
}

// submit takes a message; wait is false for callers that must not block.
func (h *Hub) submit(ctx context.Context, m Message, key groupKey, grouped, wait bool) error {
	h.health.Used()
	now := time.Now()
	if m.Time.IsZero() {
		m.Time = now
	}
	if foreign(m.Attrs) {
		m.resolve()
	}
	var room [8]*worker
	takers := h.route(&m, room[:0])
	hidden := h.mute.active() && h.hides(m)
	if hidden && (m.Key == "" || len(takers) == 0 && !m.Resolved) {
		return nil
	}
	if grouped && !m.Resolved {
		if b, done, err := h.repeat(takers, key, &m, now); done {
			return h.keep(b, wait, err)
		}
	}

	if m.ID == "" {
		m.ID = newID(now)
	}
	if err := m.check(); err != nil {
		return err
	}
	m.resolve()
	m = h.clean(m)
	return h.accept(ctx, m, key, grouped, hidden, takers, wait)
}

// repeat counts m if it is one that needs nothing to go out now. It is the
// whole cost of a message in a storm.
func (h *Hub) repeat(takers []*worker, key groupKey, m *Message, now time.Time) (b *batch, done bool, err error) {
	if len(takers) == 0 {
		return nil, false, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, true, NewError("send", ErrClosed)
	}

	for _, w := range takers {
		if e := w.ledger.entries[key]; e == nil || !e.repeats(m, now) {
			return nil, false, nil
		}
	}

	h.suppressed++
	for _, w := range takers {
		e := w.ledger.entries[key]
		before := e.fresh
		e.count(m, now)
		if e.pos == 0 || before == 0 {
			h.tasks.plan(&e.task, e.next())
		}
		if h.out != nil && worthNoting(before, e.fresh) {
			b = h.out.note(&record{Op: "entry", Receiver: w.r.Name, Entry: h.wire(e)}, before == 0)
		}
	}

	return b, true, nil
}

// keep stores what repeat noted.
func (h *Hub) keep(b *batch, wait bool, err error) error {
	if b == nil || err != nil {
		return err
	}
	if !wait {
		h.writeLater(b, nil)
		return nil
	}
	if err := h.out.write(b); err != nil {
		return h.out.storageError("", err)
	}
	return nil
}

// accept takes a message that is no plain repeat.
func (h *Hub) accept(ctx context.Context, m Message, key groupKey, grouped, hidden bool, takers []*worker, wait bool) error {
	t := &todo{}
	now := time.Now()
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return NewError("send", ErrClosed)
	}
	known := false
	var sent []*delivery
	for _, w := range h.workers {
		takes := slices.Contains(takers, w)
		if takes && w.all[m.ID] != nil {
			known = true // a repeat of what waits already
			continue
		}
		if !grouped {
			if takes {
				sent = append(sent, h.deliver(w, &m, nil, now))
			}
			continue
		}
		e, d, heard := h.admit(w, key, &m, takes, now, t)
		known = known || heard
		if e != nil {
			e.shared = w.r.Fallback != "" && slices.Contains(takers, h.byName[w.r.Fallback])
		}
		if d != nil {
			d.shared = e.shared
			sent = append(sent, d)
		} else if e != nil {
			h.noteEntry(e, t, true)
		}
	}
	if len(sent) == 0 && !known {
		h.mu.Unlock()
		if h.out != nil && m.Resolved {
			return nil // told to nobody, as nobody heard the start
		}
		e := NewError("send", fmt.Errorf("%w of level %v", ErrNoReceiver, m.Level))
		e.MessageID = m.ID
		return e
	}
	err := h.store(sent, now, t)
	var w *waiter
	if wait && h.out == nil {
		w = h.attach(ctx, sent)
	}
	for _, d := range sent {
		h.dispatch(d, hidden, now, t)
		if d.at == held || d.due.After(now) {
			h.settle(d, nil, t) // nobody waits for what is held
			d.ctx = h.alive
		}
	}
	h.mu.Unlock()

	if h.out != nil && wait {
		err = errors.Join(err, h.written(t, m.ID, sent))
	}
	h.finish(t)
	if w == nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { h.abandon(w) })
	defer stop()
	<-w.over
	return join(w.errs)
}

// admit takes m into the ledger of w. It returns the entry if it changed, and
// what goes out at once. known is true if m concerns the receiver.
func (h *Hub) admit(w *worker, key groupKey, m *Message, takes bool, now time.Time, t *todo) (e *entry, d *delivery, known bool) {
	keyed := m.Key != ""
	e = w.ledger.entries[key]
	switch {
	case m.Resolved && keyed && e == nil:
		if !takes || h.out != nil {
			return nil, nil, false
		}
		// The hub has no memory of before its start: better an end too many.
		e = h.addEntry(w, key, keyed, now, t)
		e.first, e.last, e.total, e.ended = m.Time, m.Time, 0, true
		e.closing = *m
		slim(&e.closing)
		return e, h.urgent(e, m, now, t), true
	case m.Resolved && keyed:
		if !e.open {
			return nil, nil, true
		}
		urgent := e.end(m, now)
		if p := e.pending; p != nil && p.at == parked {
			h.hide(p, t) // it began and ended within a silence
			urgent = false
		}
		if urgent {
			return e, h.urgent(e, m, now, t), true
		}
		h.replan(e)
		return e, nil, true
	case !takes:
		return nil, nil, false
	case e == nil:
		e = h.addEntry(w, key, keyed, now, t)
	}

	if e.report(m, now) {
		return e, h.urgent(e, m, now, t), true
	}
	h.suppressed++
	h.replan(e)
	return e, nil, true
}

// addEntry adds an entry. What gives way for it and has something to tell goes
// to the summary of its receiver.
func (h *Hub) addEntry(w *worker, key groupKey, keyed bool, now time.Time, t *todo) *entry {
	e, out := w.ledger.add(w, key, keyed, now)
	e.fire = func(now time.Time, t *todo) { h.due(e, now, t) }
	for _, o := range out {
		h.tasks.plan(&o.task, time.Time{})
		if o.fresh > 0 && !w.limit.off() {
			w.limit.more += o.fresh
			h.planHeld(w, now)
		} else if o.fresh > 0 {
			h.tell(o, now, t)
		}
	}
	return e
}

// urgent makes the delivery of a message that goes out at once. One that waits
// already about the same trouble gives way to it.
func (h *Hub) urgent(e *entry, m *Message, now time.Time, t *todo) *delivery {
	d := h.deliver(e.w, m, e, now)
	d.end = m.Resolved && m.Key != ""
	e.sent(d.level, true, now)

	if old := e.pending; old != nil {
		d.waiters, old.waiters = old.waiters, nil
		d.since, d.due = old.since, old.due
		t.replaced = append(t.replaced, old)
		h.forget(old, t)
	}

	e.pending = d
	if h.opts.Group.Wait > 0 && !d.end && !e.heard && d.due.IsZero() {
		d.due = now.Add(h.opts.Group.Wait)
	}
	h.replan(e)
	return d
}

// deliver makes a delivery; dispatch sends it.
func (h *Hub) deliver(w *worker, m *Message, e *entry, now time.Time) *delivery {
	h.order++
	d := &delivery{w: w, entry: e, base: m, at: resting, level: m.Level, order: h.order, since: now, ctx: h.alive}
	if e != nil {
		d.level = max(d.level, e.level)
	}
	d.late.fire = func(now time.Time, t *todo) {
		if h.handover(d, d.final, now, t) {
			t.pump = append(t.pump, w)
		}
	}
	w.all[m.ID] = d
	w.stats.Waiting++
	return d
}

// dispatch sends d on its way: silence, then rate, then the worker.
func (h *Hub) dispatch(d *delivery, hidden bool, now time.Time, t *todo) {
	w := d.w
	if len(d.waiters) == 0 && !d.stored && len(w.ready) >= maxQueued {
		e := NewError("queue", ErrQueueFull)
		w.sign(e, d)
		h.failed(d, []*Error{e}, now, t)
		return
	}

	switch {
	case hidden:
		h.park(d, t)
	case !w.limit.pass(d.level, d.end, now):
		h.move(d, held)
		if out := w.limit.hold(d); out != nil {
			n := 1
			if out.entry != nil {
				n = max(1, out.entry.fresh)
				out.entry.fresh = 0
			}
			w.limit.more += n
			h.noteMore(w, t)
			h.drop(out, now, t)
		}
		h.planHeld(w, now)
	default:
		h.enqueue(d, now, t)
	}
}

func (h *Hub) enqueue(d *delivery, now time.Time, t *todo) {
	h.move(d, waiting)
	d.w.enqueue(d, now)
	if d.w.fallsBack(d) {
		h.tasks.plan(&d.late, latest(now, d.since.Add(d.w.r.FallbackAfter)))
	}
	t.pump = append(t.pump, d.w)
}

// move changes the place of d.
func (h *Hub) move(d *delivery, to place) {
	counts := func(p place) int {
		if p == waiting || p == calling {
			return 1
		}
		return 0
	}
	h.busy += counts(to) - counts(d.at)
	d.at = to
	h.checkIdle()
}

// checkIdle lets those go who wait until nothing waits for delivery and the
// end of each call is noted.
func (h *Hub) checkIdle() {
	if h.idle != nil && h.quiet() {
		close(h.idle)
		h.idle = nil
	}
}

func (h *Hub) quiet() bool {
	return h.busy == 0 && !slices.ContainsFunc(h.workers, func(w *worker) bool { return w.active > 0 })
}

// forget takes d off everything, without telling anybody.
func (h *Hub) forget(d *delivery, t *todo) {
	switch d.at {
	case over:
		return
	case held:
		d.w.limit.drop(d)
	case waiting:
		d.w.remove(d)
	}

	h.move(d, over)
	h.tasks.plan(&d.late, time.Time{})
	if d.w.all[d.base.ID] == d {
		delete(d.w.all, d.base.ID)
	}
	d.w.stats.Waiting--
	if d.stored {
		h.out.bytes -= d.size
	}

	if d.twin != nil {
		d.twin.twin = nil
	}
}

// drop ends d without a delivery: nobody is to get it.
func (h *Hub) drop(d *delivery, now time.Time, t *todo) {
	if d.at == over {
		return
	}
	h.forget(d, t)
	for _, e := range d.entries() {
		e.lost(d, 0)
	}
	h.noteDone(d, t)
	h.settle(d, nil, t)
	for _, e := range d.entries() {
		h.replan(e)
	}
}

// settle tells the callers that wait for d.
func (h *Hub) settle(d *delivery, errs []*Error, t *todo) {
	for _, w := range d.waiters {
		w.errs = append(w.errs, errs...)
		if w.left--; w.left == 0 {
			close(w.over)
		}
	}
	d.waiters = nil
}

// attach lets a caller wait for what is on its way.
func (h *Hub) attach(ctx context.Context, sent []*delivery) *waiter {
	w := &waiter{ctx: ctx, over: make(chan struct{})}
	for _, d := range sent {
		if len(d.waiters) == 0 {
			d.ctx = ctx
		}
		d.waiters = append(d.waiters, w)
		w.left++
	}
	if w.left == 0 {
		return nil
	}
	return w
}

// abandon ends what nobody but w waits for, as its caller gave up.
func (h *Hub) abandon(w *waiter) {
	t := &todo{}
	now := time.Now()
	h.mu.Lock()

	for _, wk := range h.workers {
		for _, d := range wk.all {
			i := slices.Index(d.waiters, w)
			if i < 0 || d.at == calling && len(d.waiters) == 1 {
				continue // the call ends by its context
			}
			e := NewError("send", context.Cause(w.ctx))
			if e.Class == ClassOther {
				e.Class = ClassCanceled
			}

			e.Reason = "gave up waiting: " + e.Reason
			wk.sign(e, d)
			if len(d.waiters) == 1 {
				h.failed(d, append(d.final, e), now, t)
				continue
			}
			d.waiters = slices.Delete(d.waiters, i, i+1)

			d.ctx = d.waiters[0].ctx
			w.errs = append(w.errs, e)
			if w.left--; w.left == 0 {
				close(w.over)
			}
		}
	}

	h.mu.Unlock()
	h.finish(t)
}

// taken notes that the receiver took d.
func (h *Hub) taken(d *delivery, now time.Time, t *todo) {
	twin := d.twin
	h.forget(d, t)
	for _, e := range d.entries() {
		e.taken(d)
		h.noteEntry(e, t, false)
	}
	h.noteDone(d, t)

	d.w.stats.Sent++
	h.settle(d, nil, t)
	for _, e := range d.entries() {
		h.replan(e)
	}
	if twin == nil {
		return
	}

	// The other receiver drops its copy, unless it takes it right now.
	if twin.at == calling {
		twin.covered = true
		return
	}

	h.cover(twin, now, t)
}

// cover ends d, which another receiver took.
func (h *Hub) cover(d *delivery, now time.Time, t *todo) {
	d.w.stats.Failed++
	for _, e := range d.entries() {
		e.fresh = 0
	}
	h.drop(d, now, t)
	for _, e := range d.entries() {
		h.noteEntry(e, t, false)
	}
}

// retry puts d back in line. What was to follow joins it.
func (h *Hub) retry(d *delivery, now time.Time, t *todo) {
	if d.covered {
		h.cover(d, now, t)
		return
	}

	for _, e := range d.entries() {
		e.back(d)
		next := e.pending
		switch {
		case next == nil || d.entry == nil:
		case next.end: // one message with both
			d.waiters = append(d.waiters, next.waiters...)
			next.waiters = nil
			h.drop(next, now, t)
		default: // the more serious one says it all
			next.waiters = append(next.waiters, d.waiters...)
			d.waiters = nil
			h.drop(d, now, t)
			e.pending = next
			return
		}

		if e.pending == nil {
			e.pending = d
		}
	}

	if d.stored {
		t.batch = h.out.note(&record{Op: "retry", ID: d.base.ID, Targets: []wireTarget{h.target(d)}}, false)
	}
	h.enqueue(d, now, t)
}

// failed gives d up, or lets its fallback take over.
func (h *Hub) failed(d *delivery, errs []*Error, now time.Time, t *todo) {
	switch {
	case d.at == over:
		return
	case d.covered:
		h.cover(d, now, t)
		return
	case d.twin == nil && h.alive.Err() == nil && !slices.ContainsFunc(errs, func(e *Error) bool { return e.Class == ClassCanceled || e.Partial }):
		if h.handover(d, errs, now, t) && d.twin == nil {
			return // it is a part of what the fallback tells
		}
	}

	d.w.stats.Failed++
	if twin := d.twin; twin != nil {
		twin.waiters, d.waiters = append(twin.waiters, d.waiters...), nil
		twin.before = append(twin.before, errs...)
		if len(twin.waiters) > 0 {
			twin.ctx = twin.waiters[0].ctx
		}
		errs = nil
	} else {
		errs = append(slices.Clone(d.before), errs...)
	}

	waited := len(d.waiters) > 0
	h.forget(d, t)

	for _, e := range d.entries() {
		counted := e.fresh
		if waited {
			counted = min(1, e.fresh)
		}
		e.lost(d, counted)
		if p := e.pending; p != nil && p.end && !e.heard {
			h.drop(p, now, t)
		}
		h.noteEntry(e, t, false)
		h.replan(e)
	}

	if len(errs) > 0 && !waited {
		e := *errs[0]
		h.health.Lost(healthKey(d.w.r.Name), 1, &e)
	}
	if d.stored && len(errs) > 0 {
		m := *d.base
		t.run = append([]func(){func() { h.bury(&m, d.w.r.Name, errs) }}, t.run...)
	}

	h.noteDone(d, t)
	h.settle(d, errs, t)
}

// handover lets the fallback of d's receiver have a copy of d. Without a twin
// the fallback tells of it as a part of something else, and d is over.
func (h *Hub) handover(d *delivery, errs []*Error, now time.Time, t *todo) bool {
	f := h.byName[d.w.r.Fallback]
	if d.at == over || f == nil || !d.w.fallsBack(d) || h.closed && h.alive.Err() != nil {
		return false
	}
	if len(errs) > 0 {
		h.log.later(t, "receiver failed; another one takes over", "receiver", d.w.r.Name, "fallback", f.r.Name, "message_id", d.base.ID, "error", errs[0])
	}

	parts := d.entries()
	m := *d.base
	copied := h.deliver(f, &m, nil, now)
	copied.level, copied.lines, copied.more, copied.end = d.level, slices.Clone(d.lines), d.more, d.end
	copied.via = append(slices.Clone(d.via), d.w.r.Name)
	copied.ctx = d.ctx

	joined := len(parts) > 0
	for i, e := range parts {
		fe := f.ledger.entries[e.key]
		if fe != nil && (fe.pending != nil || fe.flight != nil || fe.open && fe.said == opened) && e.level <= fe.saidLevel {
			fe.total += e.fresh
			fe.fresh += e.fresh
			h.replan(fe)
			continue
		}

		joined = false
		if fe == nil {
			fe = h.addEntry(f, e.key, e.keyed, now, t)
		}
		fe.copy(e)
		fe.sent(e.level, true, now)
		fe.pending = copied

		if d.entry != nil {
			copied.entry = fe
		} else {
			copied.parts = append(copied.parts, fe)
			if i < len(copied.lines) {
				copied.lines[i].e = fe
			}
		}
	}

	if joined {
		h.forget(copied, t)
		h.cover(d, now, t)
		return true
	}

	copied.twin, d.twin = d, copied
	_ = h.store([]*delivery{copied}, now, t)
	h.enqueue(copied, now, t)
	return true
}

// copy takes over what was reported for another receiver.
func (e *entry) copy(o *entry) {
	e.open, e.level, e.first, e.last, e.seen, e.total, e.fresh = o.open, o.level, o.first, o.last, o.seen, o.total, o.fresh
	e.sample, e.recent, e.closing = o.sample, o.recent, o.closing
	e.said, e.saidLevel, e.heard, e.thread, e.words, e.ended = silent, minLevel, false, "", 0, false
}

// replan looks at e again when it is due.
func (h *Hub) replan(e *entry) {
	if e.w.ledger.entries[e.key] == e {
		h.tasks.plan(&e.task, e.next())
	}
}

// due sends the word that e owes, or forgets e.
func (h *Hub) due(e *entry, now time.Time, t *todo) {
	switch at := e.next(); {
	case at.IsZero():
	case at.After(now):
		h.tasks.plan(&e.task, at)
	case e.untold() && (e.open || e.heard):
		h.tell(e, now, t)
	default:
		delete(e.w.ledger.entries, e.key)
	}
}

// tell sends a word about what is untold.
func (h *Hub) tell(e *entry, now time.Time, t *todo) {
	m := e.word()
	if !e.open && e.said != opened { // it came and went
		m = both(e.sample, e.closing)
		m.Level, m.Time = e.level, e.last
	}
	m.ID = newID(now)
	m = h.clean(m)
	d := h.deliver(e.w, &m, e, now)
	d.end, d.shared = !e.open, e.shared
	e.sent(d.level, false, now)
	e.pending = d
	_ = h.store([]*delivery{d}, now, t)
	h.dispatch(d, false, now, t)
}

// planHeld plans the summary of what Rate holds.
func (h *Hub) planHeld(w *worker, now time.Time) {
	if len(w.limit.held)+w.limit.more > 0 {
		h.tasks.plan(&w.limit.task, w.limit.ready(now))
	}
}

// releaseHeld sends what Rate holds: one message as it is, several as a
// summary. early does not wait for a token.
func (h *Hub) releaseHeld(w *worker, early bool) (sent bool) {
	h.mu.Lock()
	list := slices.Clone(w.limit.held)
	h.mu.Unlock()
	hidden := map[*delivery]bool{}

	if h.mute.active() {
		for _, d := range list {
			hidden[d] = h.mute.match(*d.base)
		}
	}

	t := &todo{}
	now := time.Now()
	h.mu.Lock()
	sent = h.releaseLocked(w, hidden, early, now, t)
	h.mu.Unlock()
	h.finish(t)
	return sent
}

func (h *Hub) releaseLocked(w *worker, hidden map[*delivery]bool, early bool, now time.Time, t *todo) (sent bool) {
	if at := w.limit.ready(now); at.After(now) && !(early && (w.limit.credit() || h.out == nil && h.closing())) {
		h.planHeld(w, now)
		return false
	}

	for _, d := range slices.Clone(w.limit.held) {
		if hidden[d] {
			w.limit.drop(d)
			h.move(d, parked)
		}
	}

	list, more := w.limit.held, w.limit.more
	w.limit.held, w.limit.more = nil, 0
	if len(list) == 0 && more == 0 {
		return false
	}

	if len(list) == 1 && more == 0 {
		w.limit.spend(list[0].level, now)
		h.enqueue(list[0], now, t)
		return true
	}

	m := &Message{ID: newID(now), Level: slog.LevelInfo, Time: now, Source: h.opts.Source}
	s := h.deliver(w, m, nil, now)
	s.more = more

	for _, d := range list {
		s.lines = append(s.lines, d.line())
		s.level = max(s.level, d.level)
		for _, e := range d.entries() {
			if e.pending == d {
				e.pending = s
				s.parts = append(s.parts, e)
			}
		}
		d.entry, d.parts = nil, nil
		t.replaced = append(t.replaced, d)
		h.forget(d, t)
	}

	if len(s.lines) == 0 {
		s.lines = []line{{level: slog.LevelInfo, title: "messages that found no place of their own", n: more}}
		s.more = 0
	}
	text := summary(s.lines, s.more)
	m.Subject, m.Text, m.Level, m.Count, m.New = text.Subject, text.Text, s.level, text.Count, text.New
	m.First = firstOf(list, now)

	w.limit.spend(s.level, now)
	_ = h.store([]*delivery{s}, now, t)
	h.noteMore(w, t)
	h.enqueue(s, now, t)
	return true
}

// firstOf returns when the first of a list came.
func firstOf(list []*delivery, now time.Time) time.Time {
	for _, d := range list {
		if d.base.Time.Before(now) {
			now = d.base.Time
		}
	}
	return now
}

// park keeps d until no silence hides it. What has no end of its own to wait
// for, and what is an end, is hidden for good.
func (h *Hub) park(d *delivery, t *todo) {
	keep := false
	for _, e := range d.entries() {
		e.back(d)
		if e.pending == nil {
			e.pending = d
		}
		keep = keep || e.keyed && e.open
	}

	if !keep || d.end {
		h.hide(d, t)
		return
	}
	h.move(d, parked)
	h.settle(d, nil, t)
	d.ctx = h.alive
}

// hide ends d, which nobody is to hear of.
func (h *Hub) hide(d *delivery, t *todo) {
	parts := d.entries()
	for _, e := range parts {
		e.fresh = 0
		if e.heard {
			e.said, e.muted = opened, !e.open
			if !e.open {
				e.said = closed
			}
		}
	}
	h.drop(d, time.Now(), t)
	for _, e := range parts {
		h.noteEntry(e, t, false)
	}
}

// silenceEnded plans a look at what silences hid.
func (h *Hub) silenceEnded(at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at = at.Add(releaseAfter)
	if h.release.pos == 0 || at.Before(h.release.at) {
		h.tasks.plan(&h.release, at)
	}
}

// releaseParked sends what no silence hides any more.
func (h *Hub) releaseParked() {
	h.mu.Lock()
	var list []*delivery
	for _, w := range h.workers {
		for _, d := range w.all {
			if d.at == parked {
				list = append(list, d)
			}
		}
	}

	h.mu.Unlock()
	slices.SortFunc(list, func(a, b *delivery) int { return int(a.order) - int(b.order) })

	for _, d := range list {
		if h.mute.active() && h.mute.match(*d.base) {
			continue
		}
		t := &todo{}
		now := time.Now()
		h.mu.Lock()
		if d.at == parked {
			h.dispatch(d, false, now, t)
		}
		h.mu.Unlock()
		h.finish(t)
	}

	if next := h.mute.next(); !next.IsZero() {
		h.silenceEnded(next)
	}
}

// clean takes the known secrets out of a message. The text is the service's own:
// a short secret in it is more likely meant as that word.
func (h *Hub) clean(m Message) Message {
	if m.Source == "" {
		m.Source = h.opts.Source
	}
	m.Subject = h.words.String(m.Subject)
	m.Text = h.words.String(m.Text)
	m.HTML = h.words.String(m.HTML)
	m.Key = h.words.String(m.Key)

	if len(m.Attrs) > 0 {
		attrs := make([]slog.Attr, 0, len(m.Attrs))
		for _, f := range m.Fields() {
			attrs = append(attrs, slog.String(h.words.String(f.Name), h.words.String(f.Value)))
		}
		m.Attrs = attrs
	}

	if len(m.Attachments) > 0 {
		m.Attachments = slices.Clone(m.Attachments)
		for i := range m.Attachments {
			a := &m.Attachments[i]
			a.Name, a.ContentType = h.words.String(a.Name), h.words.String(a.ContentType)
		}
	}

	return m
}

func (h *Hub) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// todo is what is done once the hub's mutex is free.
type todo struct {
	wait     bool        // for the journal
	batch    *batch      // what was noted last: what came before is written with it or before
	replaced []*delivery // by what is stored next
	run      []func()
	pump     []*worker
}

// finish does what t holds. The hub's mutex is not held.
func (h *Hub) finish(t *todo) {
	if t.batch != nil {
		if t.wait {
			h.writeNow(t.batch)
		} else {
			h.writeLater(t.batch, nil)
		}
	}

	for _, f := range t.run {
		f()
	}

	for i, w := range t.pump {
		if !slices.Contains(t.pump[:i], w) {
			w.pump()
		}
	}
}

// tick runs the tasks that are due.
func (h *Hub) tick() {
	t := &todo{}
	h.mu.Lock()
	h.tasks.run(time.Now(), t)
	h.mu.Unlock()
	h.finish(t)
}

// What workers need of the hub, see desk.

func (h *Hub) state() *health.Monitor     { return h.health }
func (h *Hub) life() context.Context      { return h.alive }
func (h *Hub) report() *logger            { return h.log }
func (h *Hub) plan(t *task, at time.Time) { h.tasks.plan(t, at) }
func (h *Hub) draining() bool             { return h.drains > 0 }
func (h *Hub) closing() bool              { return h.closed }
func (h *Hub) cleanError(e *Error) {
	e.Reason, e.Enhanced = h.red.String(e.Reason), h.red.String(e.Enhanced)
}

// print shows what would go out, if the hub makes a dry run.
func (h *Hub) print(r Receiver, m Message) (dry bool, err error) {
	if h.dry == nil {
		return false, nil
	}
	return true, h.dry.print(r, m)
}

// hides reports whether a silence hides m, and counts it.
func (h *Hub) hides(m Message) bool { return h.mute.active() && h.mute.hides(m) }

// rest leaves d alone until the hub drains no more, or to the next one.
func (h *Hub) rest(d *delivery, t *todo) {
	for _, e := range d.entries() {
		e.back(d)
		if e.pending == nil {
			e.pending = d
		}
	}
	h.move(d, resting)
}
