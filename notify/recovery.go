package notify

import (
	"time"
)

// recovery takes over what other processes left, and what was given up.
type recovery struct {
	*env
	adopt task
}

// begin takes over what is there, and looks again each minute.
func (rec *recovery) begin() {
	rec.adopt.fire = func(_ time.Time, t *todo) { t.run = append(t.run, rec.adoptLeft) }
	rec.adoptLeft()
}

// adoptLeft takes over what processes left that are gone, now and again.
func (rec *recovery) adoptLeft() {
	if rec.keeper.out.journal() == nil && rec.keeper.out.open() == nil {
		rec.log.Info("outbox can be used again")
		rec.keeper.restore()
	}

	if rec.keeper.out.journal() != nil {
		rec.keeper.out.beat()
		_ = rec.keeper.out.try() // it is told
		rec.keeper.out.adopt(func(service, receiver string) bool {
			return (service == "" || service == rec.opts.Outbox.Service) && rec.byName[receiver] != nil
		}, rec.load)
	}

	rec.mu.Lock()
	defer rec.mu.Unlock()
	if !rec.closed {
		rec.tasks.plan(&rec.adopt, time.Now().Add(rec.keeper.out.every))
	}
}

// load takes what a journal holds, and stores it.
func (rec *recovery) load(r *replay) error {
	t := &todo{}
	now := time.Now()
	var ds []*delivery
	rec.mu.Lock()
	if rec.closed {
		rec.mu.Unlock()
		return ErrClosed
	}

	rec.recall(r, now, t)
	batch := t.batch
	for _, p := range r.waiting() {
		w := rec.byName[p.Receiver]
		if w.all[p.id] != nil {
			continue
		}
		d := rec.restore(w, p, now)
		t.batch = nil
		if err := rec.keeper.store([]*delivery{d}, now, t); err != nil {
			rec.courier.forget(d, t)
			rec.mu.Unlock()
			rec.unload(ds)
			return err
		}
		batch = t.batch
		ds = append(ds, d)
	}

	rec.mu.Unlock()
	if j := rec.keeper.out.journal(); j != nil && batch != nil {
		before := j.length()
		if err := rec.keeper.out.write(batch); err != nil {
			rec.unload(ds)
			return err
		}
		j.adopted(j.length() - before)
	}

	t.batch = nil
	if len(ds) > 0 {
		rec.log.Info("messages of a process that is gone were taken over", "messages", len(ds))
	}

	rec.mu.Lock()
	rec.lineUp(ds, now, t)
	rec.mu.Unlock()
	rec.courier.finish(t)
	return nil
}

// recall takes over what receivers were told, and how much was held back. mu is
// held.
func (rec *recovery) recall(r *replay, now time.Time, t *todo) {
	told := map[*worker][]*entry{}
	for key, one := range r.told {
		w := rec.byName[key.receiver]
		k, ok := parseKey(key.what)
		if e := w.ledger.entries[k]; !ok || e != nil && !e.seen.Before(one.entry.Seen) {
			continue
		}

		e := w.ledger.entries[k]
		if e == nil {
			e = rec.teller.addEntry(w, k, one.entry.Keyed, now, t)
		}
		e.restore(one.entry)
		rec.keeper.noteEntry(e, t, true)
		told[w] = append(told[w], e)
	}

	for w, list := range told {
		w.limit.spent(list)
	}

	for receiver, one := range r.more {
		w := rec.byName[receiver]
		w.limit.more += one.entry.Fresh
		rec.keeper.noteMore(w, t)
		rec.holds.planHeld(w, now)
	}
}

// lineUp puts deliveries of a journal in line, and plans what the entries
// without a plan are to be told. mu is held.
func (rec *recovery) lineUp(ds []*delivery, now time.Time, t *todo) {
	for _, d := range ds {
		if rec.joins(d, now, t) {
			continue
		}
		if d.at != held {
			rec.courier.enqueue(d, now, t)
			continue
		}

		if out := d.w.limit.hold(d); out != nil {
			d.w.limit.more++
			rec.courier.drop(out, now, t)
		}
		rec.holds.planHeld(d.w, now)
	}

	for _, w := range rec.workers {
		for _, e := range w.ledger.entries {
			if e.pos == 0 {
				rec.teller.replan(e)
			}
		}
	}
}

// restore makes a delivery of what a journal holds.
func (rec *recovery) restore(w *worker, p *parcel, now time.Time) *delivery {
	d := rec.courier.deliver(w, p.message.message(p.id), nil, now)
	d.since, d.due, d.attempts, d.only, d.via, d.end, d.shared = p.since, p.Due, p.Attempts, p.Only, p.Via, p.End, p.Shared
	d.restored = true
	if d.since.IsZero() {
		d.since = now
	}
	if d.attempts > 0 {
		d.due = time.Time{} // the receiver may be back
	}
	if p.Held {
		d.at = held
	}

	for _, we := range p.Entries {
		k, _ := parseKey(we.Key)
		e := w.ledger.entries[k]
		single := len(p.Entries) == 1
		if e == nil || e.pending != nil && !(single && e.pending.entry == e) {
			continue
		}

		if e.pending == nil {
			e.pending = d
		}
		d.level = max(d.level, e.level)
		if single {
			d.entry = e
		} else {
			d.parts = append(d.parts, e)
		}
	}

	for _, name := range d.via {
		if v := rec.byName[name]; v != nil && v.all[d.base.ID] != nil && v.all[d.base.ID].twin == nil {
			d.twin, v.all[d.base.ID].twin = v.all[d.base.ID], d
		}
	}

	return d
}

// joins reports whether d is over, as another message waits about the same trouble:
// a crash leaves two where one was with the receiver and the next one waited. An
// end is told with its start; of two others the later one says it all.
func (rec *recovery) joins(d *delivery, now time.Time, t *todo) bool {
	e := d.entry
	if e == nil || e.pending == d {
		return false
	}
	if d.end {
		rec.courier.drop(d, now, t)
		return true
	}
	if e.pending != nil {
		rec.courier.drop(e.pending, now, t)
	}
	e.pending = d
	return false
}

// unload takes back what could not be stored; it stays in the other journal.
func (rec *recovery) unload(ds []*delivery) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for _, d := range ds {
		for _, e := range d.entries() {
			if e.pending == d {
				e.pending = nil
			}
		}
		rec.courier.forget(d, &todo{})
	}
}
