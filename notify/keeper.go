package notify

import (
	"slices"
	"time"
)

// keeper keeps what waits and what was told in the outbox. All of it is without
// effect if there is none.
type keeper struct {
	*env
	out *outbox // nil without an outbox

	// What is written with nobody waiting for it, one batch after another;
	// guarded by env's mutex.
	batches []*batch
	writing bool
	done    chan struct{}
}

// keep stores what repeat noted.
func (k *keeper) keep(b *batch, wait bool, err error) error {
	if b == nil || err != nil {
		return err
	}
	if !wait {
		k.writeLater(b)
		return nil
	}
	if err := k.out.write(b); err != nil {
		return k.out.storageError("", err)
	}
	return nil
}

// wire returns e for the journal.
func (k *keeper) wire(e *entry) *wireEntry {
	w := &wireEntry{
		Key: e.key.String(), Keyed: e.keyed, Open: e.open, Level: e.level, First: e.first, Last: e.last, Seen: e.seen,
		Total: e.total, Fresh: e.fresh, Differ: e.differ, Said: e.said, SaidLevel: e.saidLevel, Heard: e.heard,
		Thread: e.thread, Place: e.place, Base: e.base, Words: e.words, Ended: e.ended, Muted: e.muted, Doubt: e.doubt, Shared: e.shared,
	}

	part := func(m *Message) *wireMessage {
		if m == nil || m.Subject == "" && m.Text == "" && m.HTML == "" && m.Time.IsZero() {
			return nil
		}
		c := k.clean(*m)
		return toWire(&c)
	}

	w.Sample, w.Closing = part(&e.sample), part(e.closing)
	if e.recent != nil && (e.recent.Subject != e.sample.Subject || e.recent.Text != e.sample.Text) {
		w.Recent = part(e.recent)
	}
	return w
}

func (k *keeper) target(d *delivery) wireTarget {
	t := wireTarget{Receiver: d.w.r.Name, Attempts: d.attempts, Due: d.due, Only: d.only, Via: d.via, Held: d.at == held, End: d.end, Shared: d.shared}
	for _, e := range d.entries() {
		w := k.wire(e)
		if d.entry == e && e.sample.Subject == d.base.Subject && e.sample.Text == d.base.Text {
			w.Sample = nil // replay takes it from the message
		}
		t.Entries = append(t.Entries, w)
	}
	return t
}

// store notes deliveries of one message. What cannot be noted goes out from
// memory.
func (k *keeper) store(ds []*delivery, now time.Time, t *todo) error {
	replaced := t.replaced
	t.replaced = nil
	if k.out == nil || len(ds) == 0 {
		return nil
	}

	r := &record{ID: ds[0].base.ID, Message: toWire(ds[0].base), Since: ds[0].since}
	for _, d := range ds {
		target := k.target(d)
		for _, old := range replaced {
			if old.w == d.w {
				target.Instead = append(target.Instead, old.base.ID)
			}
		}
		r.Targets = append(r.Targets, target)
	}

	b, size, err := k.out.put(r, ds[0].restored)
	if err != nil {
		return k.out.storageError(r.ID, err)
	}
	t.batch = b
	for _, d := range ds {
		d.stored, d.size = true, size/int64(len(ds))
		k.out.bytes.Add(d.size)
	}
	return nil
}

// written waits until what t notes is on the disk.
func (k *keeper) written(t *todo, id string, ds []*delivery) error {
	b := t.batch
	t.batch = nil
	if b == nil {
		return nil
	}
	err := k.out.write(b)
	if err == nil {
		return nil
	}
	k.unstore(ds)
	return k.out.storageError(id, err)
}

// unstore notes that deliveries are in memory alone.
func (k *keeper) unstore(ds []*delivery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, d := range ds {
		if d.stored {
			d.stored = false
			if d.at != over {
				k.out.bytes.Add(-d.size)
			}
		}
	}
}

// writeNow writes what need not survive a loss of power.
func (k *keeper) writeNow(b *batch) {
	if err := k.out.write(b); err != nil {
		k.log.Warn("outbox cannot note a delivery; a crash now would repeat it", "error", err)
		return
	}
	if j := k.out.journal(); j != nil {
		k.out.shrunk(j, j.compact(k.live))
	}
}

// writeLater writes b in the background: a logger must not wait for the disk.
func (k *keeper) writeLater(b *batch) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := len(k.batches); n > 0 && k.batches[n-1] == b {
		return
	}
	k.batches = append(k.batches, b)

	if k.writing {
		return
	}
	k.writing, k.done = true, make(chan struct{})

	go func() {
		for {
			k.mu.Lock()
			if len(k.batches) == 0 {
				k.writing = false
				close(k.done)
				k.mu.Unlock()
				return
			}
			next := k.batches[0]
			k.batches = k.batches[1:]
			k.mu.Unlock()

			if err := k.out.write(next); err != nil {
				_ = k.out.storageError("", err) // told by it
			}
		}
	}()
}

// writesDone waits for what is written in the background.
func (k *keeper) writesDone() {
	k.mu.Lock()
	busy, done := k.writing, k.done
	k.mu.Unlock()
	if busy {
		<-done
	}
}

func (k *keeper) noteEntry(e *entry, t *todo, durable bool) {
	if k.out != nil {
		if b := k.out.note(&record{Op: "entry", Receiver: e.w.r.Name, Entry: k.wire(e)}, durable); b != nil {
			t.batch = b
		}
	}
}

func (k *keeper) noteDone(d *delivery, t *todo) {
	if d.stored {
		if b := k.out.note(&record{Op: "done", ID: d.base.ID, Receiver: d.w.r.Name}, false); b != nil {
			t.batch = b
		}
	}
}

func (k *keeper) noteMore(w *worker, t *todo) {
	if k.out != nil {
		if b := k.out.note(&record{Op: "more", Receiver: w.r.Name, Count: w.limit.more}, true); b != nil {
			t.batch = b
		}
	}
}

// live returns all that waits and was told, for a journal that is written anew.
func (k *keeper) live() []*record {
	k.mu.Lock()
	defer k.mu.Unlock()

	var list []*record
	for _, w := range k.workers {
		var waiting []*delivery
		for _, d := range w.all {
			if d.stored {
				waiting = append(waiting, d)
			}
		}

		slices.SortFunc(waiting, func(a, b *delivery) int { return int(a.order) - int(b.order) })
		for _, d := range waiting {
			list = append(list, &record{
				Op: "put", ID: d.base.ID, Service: k.opts.Outbox.Service, Message: toWire(d.base), Since: d.since,
				Targets: []wireTarget{k.target(d)},
			})
		}

		for _, e := range w.ledger.entries {
			list = append(list, &record{Op: "entry", Receiver: w.r.Name, Service: k.opts.Outbox.Service, Entry: k.wire(e)})
		}
		if w.limit.more > 0 {
			list = append(list, &record{Op: "more", Receiver: w.r.Name, Service: k.opts.Outbox.Service, Count: w.limit.more})
		}
	}

	return list
}

// restore notes in a new journal what was stored in one that is gone.
func (k *keeper) restore() {
	j := k.out.journal()
	if j == nil {
		return // closed meanwhile
	}
	j.commit.Lock()
	err := j.renew(k.live)
	j.commit.Unlock()
	if err != nil {
		k.out.lose(j, err) // what waits is not in it, so that it is tried again
		_ = k.out.storageError("", err)
		return
	}
	if k.out.fit() {
		k.out.state.OK("outbox")
	}
}

// durable reports whether what waits survives the process.
func (k *keeper) durable() bool { return k.out != nil && k.out.holds() }

// bury writes a message that was given up to dead.jsonl.
func (k *keeper) bury(m *Message, receiver string, errs []*Error) {
	if err := k.out.dead.bury(m, receiver, errs); err != nil {
		k.health.Lost("dead letters", 1, NewError("write "+deadName, err))
	}
}
