package notify

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// How the hub keeps what waits and what was told in the outbox. All of it is
// without effect if there is none.

// wire returns e for the journal.
func (h *Hub) wire(e *entry) *wireEntry {
	w := &wireEntry{
		Key: e.key.String(), Keyed: e.keyed, Open: e.open, Level: e.level, First: e.first, Last: e.last, Seen: e.seen,
		Total: e.total, Fresh: e.fresh, Differ: e.differ, Said: e.said, SaidLevel: e.saidLevel, Heard: e.heard,
		Thread: e.thread, Base: e.base, Words: e.words, Ended: e.ended, Muted: e.muted, Shared: e.shared,
	}

	part := func(m Message) *wireMessage {
		if m.Subject == "" && m.Text == "" && m.HTML == "" && m.Time.IsZero() {
			return nil
		}
		m = h.clean(m)
		return toWire(&m)
	}

	w.Sample, w.Closing = part(e.sample), part(e.closing)
	if e.recent.Subject != e.sample.Subject || e.recent.Text != e.sample.Text {
		w.Recent = part(e.recent)
	}
	return w
}

// restore fills e from the journal.
func (e *entry) restore(w *wireEntry) {
	e.open, e.level, e.first, e.last, e.seen = w.Open, w.Level, w.First, w.Last, w.Seen
	e.total, e.fresh, e.differ, e.said, e.saidLevel = w.Total, w.Fresh, w.Differ, w.Said, w.SaidLevel
	e.heard, e.thread, e.base, e.words, e.ended, e.muted, e.shared = w.Heard, w.Thread, w.Base, w.Words, w.Ended, w.Muted, w.Shared
	e.sample, e.closing = *w.Sample.message(""), *w.Closing.message("")
	e.recent = e.sample
	if w.Recent != nil {
		e.recent = *w.Recent.message("")
	}
	e.recent.Attrs = nil
}

func (h *Hub) target(d *delivery) wireTarget {
	t := wireTarget{Receiver: d.w.r.Name, Attempts: d.attempts, Due: d.due, Only: d.only, Via: d.via, Held: d.at == held, End: d.end, Shared: d.shared}
	for _, e := range d.entries() {
		w := h.wire(e)
		if d.entry == e && e.sample.Subject == d.base.Subject && e.sample.Text == d.base.Text {
			w.Sample = nil // replay takes it from the message
		}
		t.Entries = append(t.Entries, w)
	}
	return t
}

// store notes deliveries of one message. What cannot be noted goes out from
// memory.
func (h *Hub) store(ds []*delivery, now time.Time, t *todo) error {
	replaced := t.replaced
	t.replaced = nil
	if h.out == nil || len(ds) == 0 {
		return nil
	}

	r := &record{ID: ds[0].base.ID, Message: toWire(ds[0].base), Since: ds[0].since}
	for _, d := range ds {
		target := h.target(d)
		for _, old := range replaced {
			if old.w == d.w {
				target.Instead = append(target.Instead, old.base.ID)
			}
		}
		r.Targets = append(r.Targets, target)
	}

	b, size, err := h.out.put(r, h.out.bytes)
	if err != nil {
		return h.out.storageError(r.ID, err)
	}
	t.batch = b
	for _, d := range ds {
		d.stored, d.size = true, size/int64(len(ds))
		h.out.bytes += d.size
	}
	return nil
}

// written waits until what t notes is on the disk.
func (h *Hub) written(t *todo, id string, ds []*delivery) error {
	b := t.batch
	t.batch = nil
	if b == nil {
		return nil
	}
	err := h.out.write(b)
	if err == nil {
		return nil
	}
	h.unstore(ds)
	return h.out.storageError(id, err)
}

// unstore notes that deliveries are in memory alone.
func (h *Hub) unstore(ds []*delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range ds {
		if d.stored {
			d.stored = false
			if d.at != over {
				h.out.bytes -= d.size
			}
		}
	}
}

// writeNow writes what need not survive a loss of power.
func (h *Hub) writeNow(b *batch) {
	if err := h.out.write(b); err != nil {
		h.log.Warn("outbox cannot note a delivery; a crash now would repeat it", "error", err)
		return
	}
	if j := h.out.journal(); j != nil {
		if err := j.compact(h.live); err != nil {
			h.log.Warn("outbox cannot be made smaller", "error", err)
		}
	}
}

// unwritten is what is written with nobody waiting for it, one batch after
// another.
type unwritten struct {
	batches []*batch
	busy    bool
	done    chan struct{}
}

// writeLater writes b in the background: a logger must not wait for the disk.
func (h *Hub) writeLater(b *batch, _ []*delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := &h.unwritten
	if n := len(u.batches); n > 0 && u.batches[n-1] == b {
		return
	}
	u.batches = append(u.batches, b)

	if u.busy {
		return
	}
	u.busy, u.done = true, make(chan struct{})

	go func() {
		for {
			h.mu.Lock()
			if len(u.batches) == 0 {
				u.busy = false
				close(u.done)
				h.mu.Unlock()
				return
			}
			next := u.batches[0]
			u.batches = u.batches[1:]
			h.mu.Unlock()
			if err := h.out.write(next); err != nil {
				_ = h.out.storageError("", err) // told by it
			}
		}
	}()
}

// writesDone waits for what is written in the background.
func (h *Hub) writesDone() {
	h.mu.Lock()
	busy, done := h.unwritten.busy, h.unwritten.done
	h.mu.Unlock()
	if busy {
		<-done
	}
}

func (h *Hub) noteEntry(e *entry, t *todo, durable bool) {
	if h.out != nil {
		if b := h.out.note(&record{Op: "entry", Receiver: e.w.r.Name, Entry: h.wire(e)}, durable); b != nil {
			t.batch = b
		}
	}
}

func (h *Hub) noteDone(d *delivery, t *todo) {
	if d.stored {
		if b := h.out.note(&record{Op: "done", ID: d.base.ID, Receiver: d.w.r.Name}, false); b != nil {
			t.batch = b
		}
	}
}

func (h *Hub) noteMore(w *worker, t *todo) {
	if h.out != nil {
		if b := h.out.note(&record{Op: "more", Receiver: w.r.Name, Count: w.limit.more}, true); b != nil {
			t.batch = b
		}
	}
}

// live returns all that waits and was told, for a journal that is written anew.
func (h *Hub) live() []*record {
	h.mu.Lock()
	defer h.mu.Unlock()

	var list []*record
	for _, w := range h.workers {
		var waiting []*delivery
		for _, d := range w.all {
			if d.stored {
				waiting = append(waiting, d)
			}
		}

		slices.SortFunc(waiting, func(a, b *delivery) int { return int(a.order) - int(b.order) })
		for _, d := range waiting {
			list = append(list, &record{
				Op: "put", ID: d.base.ID, Service: h.opts.Outbox.Service, Message: toWire(d.base), Since: d.since,
				Targets: []wireTarget{h.target(d)},
			})
		}

		for _, e := range w.ledger.entries {
			list = append(list, &record{Op: "entry", Receiver: w.r.Name, Service: h.opts.Outbox.Service, Entry: h.wire(e)})
		}
		if w.limit.more > 0 {
			list = append(list, &record{Op: "more", Receiver: w.r.Name, Service: h.opts.Outbox.Service, Count: w.limit.more})
		}
	}

	return list
}

// adoptLeft takes over what processes left that are gone, now and again.
func (h *Hub) adoptLeft() {
	if h.out.journal() == nil && h.out.open() == nil {
		h.log.Info("outbox can be used again")
	}
	if h.out.journal() != nil {
		h.out.adopt(func(service, receiver string) bool {
			return (service == "" || service == h.opts.Outbox.Service) && h.byName[receiver] != nil
		}, h.load)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.tasks.plan(&h.adopt, time.Now().Add(adoptEvery))
	}
}

// load takes what a journal holds, and stores it.
func (h *Hub) load(r *replay) error {
	t := &todo{}
	now := time.Now()
	var ds []*delivery
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return ErrClosed
	}

	times := map[*worker][]time.Time{}
	for key, one := range r.told {
		w := h.byName[key.receiver]
		k, ok := parseKey(key.what)
		if e := w.ledger.entries[k]; !ok || e != nil && !e.seen.Before(one.entry.Seen) {
			continue
		}
		e := w.ledger.entries[k]
		if e == nil {
			e = h.addEntry(w, k, one.entry.Keyed, now, t)
		}
		e.restore(one.entry)
		h.noteEntry(e, t, true)
		times[w] = append(times[w], e.base)
	}

	for w, list := range times {
		w.limit.spent(list)
	}

	for receiver, one := range r.more {
		w := h.byName[receiver]
		w.limit.more += one.entry.Fresh
		h.noteMore(w, t)
		h.planHeld(w, now)
	}

	batch := t.batch
	for _, p := range r.waiting() {
		w := h.byName[p.Receiver]
		if w.all[p.id] != nil {
			continue
		}
		d := h.restore(w, p, now)
		t.batch = nil
		if err := h.store([]*delivery{d}, now, t); err != nil {
			h.forget(d, t)
			h.mu.Unlock()
			h.unload(ds)
			return err
		}
		batch = t.batch
		ds = append(ds, d)
	}

	h.mu.Unlock()
	if batch != nil {
		if err := h.out.write(batch); err != nil {
			h.unload(ds)
			return err
		}
	}

	t.batch = nil
	if len(ds) > 0 {
		h.log.Info("messages of a process that is gone were taken over", "messages", len(ds))
	}
	h.mu.Lock()

	for _, d := range ds {
		if d.at == held {
			if out := d.w.limit.hold(d); out != nil {
				d.w.limit.more++
				h.drop(out, now, t)
			}
			h.planHeld(d.w, now)
			continue
		}
		h.enqueue(d, now, t)
	}

	for _, w := range h.workers {
		for _, e := range w.ledger.entries {
			if e.pos == 0 {
				h.replan(e)
			}
		}
	}

	h.mu.Unlock()
	h.finish(t)
	return nil
}

// restore makes a delivery of what a journal holds.
func (h *Hub) restore(w *worker, p *parcel, now time.Time) *delivery {
	d := h.deliver(w, p.message.message(p.id), nil, now)
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
		if e == nil || e.pending != nil {
			continue
		}
		e.pending = d
		d.level = max(d.level, e.level)
		if len(p.Entries) == 1 {
			d.entry = e
		} else {
			d.parts = append(d.parts, e)
		}
	}

	for _, name := range d.via {
		if v := h.byName[name]; v != nil && v.all[d.base.ID] != nil && v.all[d.base.ID].twin == nil {
			d.twin, v.all[d.base.ID].twin = v.all[d.base.ID], d
		}
	}

	return d
}

// unload takes back what could not be stored; it stays in the other journal.
func (h *Hub) unload(ds []*delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range ds {
		for _, e := range d.entries() {
			if e.pending == d {
				e.pending = nil
			}
		}
		h.forget(d, &todo{})
	}
}

// remaining says what did not go out.
func (h *Hub) remaining(left, lost int, closing error) error {
	if left+lost == 0 {
		if closing != nil {
			return NewError("close", closing)
		}
		return nil
	}

	e := &Error{Op: "close", Class: ClassOther, Remaining: left + lost, causes: []error{ErrRemaining}}
	if left > 0 {
		e.Reason = fmt.Sprintf("%d messages wait in %s for the next start", left, h.opts.Outbox.Dir)
	}

	if lost > 0 {
		if e.Reason != "" {
			e.Reason += "; "
		}
		e.Reason += fmt.Sprintf("%d messages did not go out within %v and are lost", lost, h.opts.CloseTimeout)
		e.causes = append(e.causes, ErrLost)
	}

	return errors.Join(e, closing)
}

// remembers reports whether the ledgers hold what the next start needs.
func (h *Hub) remembers() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.workers, func(w *worker) bool { return len(w.ledger.entries)+w.limit.more > 0 })
}

// durable reports whether what waits survives the process.
func (h *Hub) durable() bool { return h.out != nil && h.out.journal() != nil }

// bury writes a message that was given up to dead.jsonl.
func (h *Hub) bury(m *Message, receiver string, errs []*Error) {
	if err := h.out.bury(m, receiver, errs); err != nil {
		h.health.Lost("dead letters", 1, NewError("write "+deadName, err))
	}
}
