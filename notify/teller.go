package notify

import (
	"time"
)

// teller asks the ledgers of the receivers what is to be said of a trouble, and
// when.
type teller struct {
	*env
	suppressed uint64
}

// repeat counts m if it is one that needs nothing to go out now. It is the
// whole cost of a message in a storm.
func (te *teller) repeat(takers []*worker, key groupKey, m *Message, now time.Time) (b *batch, done bool, err error) {
	if len(takers) == 0 {
		return nil, false, nil
	}
	te.mu.Lock()
	defer te.mu.Unlock()
	if te.closed {
		return nil, true, NewError("send", ErrClosed)
	}

	for _, w := range takers {
		if e := w.ledger.entries[key]; e == nil || !e.repeats(m, now) {
			return nil, false, nil
		}
	}

	te.suppressed++
	for _, w := range takers {
		e := w.ledger.entries[key]
		before := e.fresh
		e.count(m, now)
		if e.pos == 0 || before == 0 {
			te.tasks.plan(&e.task, e.next())
		}
		if te.keeper.out != nil && worthNoting(before, e.fresh) {
			b = te.keeper.out.note(&record{Op: "entry", Receiver: w.r.Name, Entry: te.keeper.wire(e)}, before == 0)
		}
	}

	return b, true, nil
}

// admit takes m into the ledger of w. It returns the entry if it changed, and
// what goes out at once. known is true if m concerns the receiver.
func (te *teller) admit(w *worker, key groupKey, m *Message, takes bool, now time.Time, t *todo) (e *entry, d *delivery, known bool) {
	keyed := m.Key != ""
	e = w.ledger.entries[key]
	switch {
	case m.Resolved && keyed && e == nil:
		if !takes || te.keeper.out != nil {
			return nil, nil, false
		}
		// The hub has no memory of before its start: better an end too many.
		e = te.addEntry(w, key, keyed, now, t)
		e.first, e.last, e.total, e.ended = m.Time, m.Time, 0, true
		e.close(m)
		return e, te.urgent(e, m, now, t), true
	case m.Resolved && keyed:
		if !e.open {
			return nil, nil, true
		}

		urgent := e.end(m, now)
		if p := e.pending; p != nil && p.at == parked {
			te.courier.hide(p, t) // it began and ended within a silence
			urgent = false
		}
		if urgent {
			return e, te.urgent(e, m, now, t), true
		}
		te.replan(e)
		return e, nil, true
	case !takes:
		return nil, nil, false
	case e == nil:
		e = te.addEntry(w, key, keyed, now, t)
	}

	if e.report(m, now) {
		return e, te.urgent(e, m, now, t), true
	}
	te.suppressed++
	te.replan(e)
	return e, nil, true
}

// addEntry adds an entry. What gives way for it and has something to tell goes
// to the summary of its receiver.
func (te *teller) addEntry(w *worker, key groupKey, keyed bool, now time.Time, t *todo) *entry {
	e, out := w.ledger.add(w, key, keyed, now)
	e.fire = func(now time.Time, t *todo) { te.due(e, now, t) }
	for _, o := range out {
		te.tasks.plan(&o.task, time.Time{})
		if o.fresh > 0 && !w.limit.off() {
			w.limit.more += o.fresh
			te.holds.planHeld(w, now)
		} else if o.fresh > 0 {
			te.tell(o, now, t)
		}
	}
	return e
}

// urgent makes the delivery of a message that goes out at once. One that waits
// already about the same trouble gives way to it.
func (te *teller) urgent(e *entry, m *Message, now time.Time, t *todo) *delivery {
	d := te.courier.deliver(e.w, m, e, now)
	d.end = m.Resolved && m.Key != ""
	e.sent(d.level, true, now)

	if old := e.pending; old != nil {
		d.waiters, old.waiters = old.waiters, nil
		d.since, d.due = old.since, old.due
		t.replaced = append(t.replaced, old)
		te.courier.forget(old, t)
	}

	e.pending = d
	if te.opts.Group.Wait > 0 && !d.end && !e.heard && d.due.IsZero() {
		d.due = now.Add(te.opts.Group.Wait)
	}
	te.replan(e)
	return d
}

// replan looks at e again when it is due.
func (te *teller) replan(e *entry) {
	if e.w.ledger.entries[e.key] == e {
		te.tasks.plan(&e.task, e.next())
	}
}

// due sends the word that e owes, or forgets e.
func (te *teller) due(e *entry, now time.Time, t *todo) {
	switch at := e.next(); {
	case at.IsZero():
	case at.After(now):
		te.tasks.plan(&e.task, at)
	case e.untold() && (e.open || e.heard):
		te.tell(e, now, t)
	default:
		delete(e.w.ledger.entries, e.key)
	}
}

// tell sends a word about what is untold.
func (te *teller) tell(e *entry, now time.Time, t *todo) {
	m := e.word()
	if !e.open && !e.doubt && (e.said != opened || e.fresh > 0) { // it came and went, perhaps once more
		m = both(e.sample, e.ending())
		m.Level, m.Time = e.level, e.last
	}
	m.ID = newID(now)
	m = te.clean(m)
	d := te.courier.deliver(e.w, &m, e, now)
	d.end, d.shared = !e.open, e.shared
	e.sent(d.level, false, now)
	e.pending = d
	_ = te.keeper.store([]*delivery{d}, now, t)
	te.courier.dispatch(d, false, now, t)
}
