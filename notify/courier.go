package notify

import (
	"context"
	"log/slog"
	"slices"
	"time"
)

// courier leads each delivery to its receiver or its end. It is the desk of the
// workers, and counts what waits or is under way.
type courier struct {
	*env
	order uint64
	busy  int           // deliveries that wait or are under way
	idle  chan struct{} // closed when busy falls to 0; nil if nobody waits
}

// deliver makes a delivery; dispatch sends it.
func (c *courier) deliver(w *worker, m *Message, e *entry, now time.Time) *delivery {
	c.order++
	d := &delivery{w: w, entry: e, base: m, at: resting, level: m.Level, order: c.order, since: now, ctx: c.alive}
	if e != nil {
		d.level = max(d.level, e.level)
	}
	d.late.fire = func(now time.Time, t *todo) {
		if c.handover(d, d.final, now, t) {
			t.pump = append(t.pump, w)
		}
	}
	w.all[m.ID] = d
	w.stats.Waiting++
	return d
}

// dispatch sends d on its way: silence, then rate, then the worker.
func (c *courier) dispatch(d *delivery, hidden bool, now time.Time, t *todo) {
	w := d.w
	if len(d.waiters) == 0 && !d.stored && len(w.ready) >= maxQueued {
		e := NewError("queue", ErrQueueFull)
		w.sign(e, d)
		c.failed(d, []*Error{e}, now, t)
		return
	}

	switch {
	case hidden:
		c.park(d, t)
	case !w.limit.pass(d.level, d.end, now):
		c.move(d, held)
		if out := w.limit.hold(d); out != nil {
			n := 1
			if out.entry != nil {
				n = max(1, out.entry.fresh)
				out.entry.fresh = 0
			}
			w.limit.more += n
			c.keeper.noteMore(w, t)
			c.drop(out, now, t)
		}
		c.holds.planHeld(w, now)
	default:
		c.enqueue(d, now, t)
	}
}

func (c *courier) enqueue(d *delivery, now time.Time, t *todo) {
	c.move(d, waiting)
	d.w.enqueue(d, now)
	if d.w.fallsBack(d) {
		c.tasks.plan(&d.late, latest(now, d.since.Add(d.w.r.FallbackAfter)))
	}
	t.pump = append(t.pump, d.w)
}

// move changes the place of d.
func (c *courier) move(d *delivery, to place) {
	counts := func(p place) int {
		if p == waiting || p == calling {
			return 1
		}
		return 0
	}
	c.busy += counts(to) - counts(d.at)
	d.at = to
	c.checkIdle()
}

// checkIdle lets those go who wait until nothing waits for delivery and the
// end of each call is noted.
func (c *courier) checkIdle() {
	if c.idle != nil && c.quiet() {
		close(c.idle)
		c.idle = nil
	}
}

func (c *courier) quiet() bool {
	return c.busy == 0 && !slices.ContainsFunc(c.workers, func(w *worker) bool { return w.active > 0 })
}

// forget takes d off everything, without telling anybody.
func (c *courier) forget(d *delivery, t *todo) {
	switch d.at {
	case over:
		return
	case held:
		d.w.limit.drop(d)
	case waiting:
		d.w.remove(d)
	}

	c.move(d, over)
	c.tasks.plan(&d.late, time.Time{})
	if d.w.all[d.base.ID] == d {
		delete(d.w.all, d.base.ID)
	}
	d.w.stats.Waiting--
	if d.stored {
		c.keeper.out.bytes.Add(-d.size)
	}

	if d.twin != nil {
		d.twin.twin = nil
	}
}

// drop ends d without a delivery: nobody is to get it.
func (c *courier) drop(d *delivery, now time.Time, t *todo) {
	if d.at == over {
		return
	}
	c.forget(d, t)
	for _, e := range d.entries() {
		e.lost(d, 0)
	}
	c.keeper.noteDone(d, t)
	c.tellWaiters(d, nil, t)
	for _, e := range d.entries() {
		c.teller.replan(e)
	}
}

// tellWaiters tells the callers that wait for d.
func (c *courier) tellWaiters(d *delivery, errs []*Error, t *todo) {
	for _, w := range d.waiters {
		w.errs = append(w.errs, errs...)
		if w.left--; w.left == 0 {
			close(w.over)
		}
	}
	d.waiters = nil
}

// attach lets a caller wait for what is on its way.
func (c *courier) attach(ctx context.Context, sent []*delivery) *waiter {
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
func (c *courier) abandon(w *waiter) {
	t := &todo{}
	now := time.Now()
	c.mu.Lock()
	for _, wk := range c.workers {
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
				c.failed(d, append(d.final, e), now, t)
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

	c.mu.Unlock()
	c.finish(t)
}

// taken notes that the receiver took d.
func (c *courier) taken(d *delivery, now time.Time, t *todo) {
	twin := d.twin
	c.forget(d, t)
	for _, e := range d.entries() {
		e.taken(d)
		c.keeper.noteEntry(e, t, false)
	}
	c.keeper.noteDone(d, t)

	d.w.stats.Sent++
	c.tellWaiters(d, nil, t)
	for _, e := range d.entries() {
		c.teller.replan(e)
	}
	if twin == nil {
		return
	}

	// The other receiver drops its copy, unless it takes it right now.
	if twin.at == calling {
		twin.covered = true
		return
	}

	c.cover(twin, now, t)
}

// cover ends d, which another receiver took.
func (c *courier) cover(d *delivery, now time.Time, t *todo) {
	d.w.stats.Failed++
	for _, e := range d.entries() {
		e.fresh = 0
	}
	c.drop(d, now, t)
	for _, e := range d.entries() {
		c.keeper.noteEntry(e, t, false)
	}
}

// retry puts d back in line. What was to follow joins it.
func (c *courier) retry(d *delivery, now time.Time, t *todo) {
	if d.covered {
		c.cover(d, now, t)
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
			c.drop(next, now, t)
		default: // the more serious one says it all
			next.waiters = append(next.waiters, d.waiters...)
			d.waiters = nil
			c.drop(d, now, t)
			e.pending = next
			return
		}

		if e.pending == nil {
			e.pending = d
		}
	}

	if d.stored {
		t.batch = c.keeper.out.note(&record{Op: "retry", ID: d.base.ID, Targets: []wireTarget{c.keeper.target(d)}}, false)
	}
	c.enqueue(d, now, t)
}

// failed gives d up, or lets its fallback take over.
func (c *courier) failed(d *delivery, errs []*Error, now time.Time, t *todo) {
	switch {
	case d.at == over:
		return
	case d.covered:
		c.cover(d, now, t)
		return
	case d.twin == nil && c.alive.Err() == nil && !slices.ContainsFunc(errs, func(e *Error) bool { return e.Class == ClassCanceled || e.Partial }):
		if c.handover(d, errs, now, t) && d.twin == nil {
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
	c.forget(d, t)

	for _, e := range d.entries() {
		counted := e.fresh
		if waited {
			counted = min(1, e.fresh)
		}
		e.lost(d, counted)
		if p := e.pending; p != nil && p.end && !e.heard {
			c.drop(p, now, t)
		}
		c.keeper.noteEntry(e, t, false)
		c.teller.replan(e)
	}

	if len(errs) > 0 && !waited {
		e := *errs[0]
		c.health.Lost(healthKey(d.w.r.Name), 1, &e)
	}
	if d.stored && len(errs) > 0 {
		m := *d.base
		t.run = append([]func(){func() { c.keeper.bury(&m, d.w.r.Name, errs) }}, t.run...)
	}

	c.keeper.noteDone(d, t)
	c.tellWaiters(d, errs, t)
}

// handover lets the fallback of d's receiver have a copy of d. Without a twin
// the fallback tells of it as a part of something else, and d is over.
func (c *courier) handover(d *delivery, errs []*Error, now time.Time, t *todo) bool {
	f := c.byName[d.w.r.Fallback]
	if d.at == over || f == nil || !d.w.fallsBack(d) || c.closed && c.alive.Err() != nil {
		return false
	}
	if len(errs) > 0 {
		c.log.later(t, slog.LevelWarn, "receiver failed; another one takes over", "receiver", d.w.r.Name, "fallback", f.r.Name, "message_id", d.base.ID, "error", errs[0])
	}

	parts := d.entries()
	m := *d.base
	copied := c.deliver(f, &m, nil, now)
	copied.level, copied.lines, copied.more, copied.end = d.level, slices.Clone(d.lines), d.more, d.end
	copied.via = append(slices.Clone(d.via), d.w.r.Name)
	copied.ctx = d.ctx

	joined := len(parts) > 0
	for i, e := range parts {
		fe := f.ledger.entries[e.key]
		if fe != nil && (fe.pending != nil || fe.flight != nil || fe.open && fe.said == opened) && e.level <= fe.saidLevel {
			fe.total += e.fresh
			fe.fresh += e.fresh
			c.teller.replan(fe)
			continue
		}

		joined = false
		if fe == nil {
			fe = c.teller.addEntry(f, e.key, e.keyed, now, t)
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
		c.forget(copied, t)
		c.cover(d, now, t)
		return true
	}

	copied.twin, d.twin = d, copied
	_ = c.keeper.store([]*delivery{copied}, now, t)
	c.enqueue(copied, now, t)
	return true
}

// park keeps d until no silence hides it. What has no end of its own to wait
// for, and what is an end, is hidden for good.
func (c *courier) park(d *delivery, t *todo) {
	keep := false
	for _, e := range d.entries() {
		e.back(d)
		if e.pending == nil {
			e.pending = d
		}
		keep = keep || e.keyed && e.open
	}

	if !keep || d.end {
		c.hide(d, t)
		return
	}
	c.move(d, parked)
	c.tellWaiters(d, nil, t)
	d.ctx = c.alive
}

// hide ends d, which nobody is to hear of.
func (c *courier) hide(d *delivery, t *todo) {
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
	c.drop(d, time.Now(), t)
	for _, e := range parts {
		c.keeper.noteEntry(e, t, false)
	}
}

// rest leaves d alone until the hub drains no more, or to the next one.
func (c *courier) rest(d *delivery, t *todo) {
	for _, e := range d.entries() {
		e.back(d)
		if e.pending == nil {
			e.pending = d
		}
	}
	c.move(d, resting)
}

// wait returns when nothing waits for delivery.
func (c *courier) wait(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.quiet() {
			c.mu.Unlock()
			return nil
		}

		if c.idle == nil {
			c.idle = make(chan struct{})
		}
		idle := c.idle
		c.mu.Unlock()

		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// cutOff ends a delivery that waits while the hub closes.
func (c *courier) cutOff(d *delivery, now time.Time, t *todo) {
	if d.stored {
		if d.at == waiting {
			d.w.remove(d)
		}
		c.rest(d, t)
		return
	}
	e := NewError("send", ErrClosed)
	e.Class = ClassCanceled
	e.Reason = "gave up waiting: " + e.Reason
	d.w.sign(e, d)
	c.failed(d, append(d.final, e), now, t)
}

// tick runs the tasks that are due.
func (c *courier) tick() {
	t := &todo{}
	c.mu.Lock()
	c.tasks.run(time.Now(), t)
	c.mu.Unlock()
	c.finish(t)
}

// finish does what t holds. The hub's mutex is not held.
func (c *courier) finish(t *todo) {
	if t.batch != nil {
		if t.wait {
			c.keeper.writeNow(t.batch)
		} else {
			c.keeper.writeLater(t.batch)
		}
	}

	for _, f := range t.run {
		f()
	}

	pumped := map[*worker]bool{} // a start may add one worker for each message that waits
	for _, w := range t.pump {
		if !pumped[w] {
			pumped[w] = true
			w.pump()
		}
	}
}
