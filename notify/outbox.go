package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
	"github.com/svcblocks/svcblocks/internal/filelock"
)

const (
	lockName = "lock"
	deadName = "dead.jsonl"
)

// outbox holds what waits, in memory and in the journal of this hub, which
// lies in a folder of its own under a lock that ends with the process.
type outbox struct {
	hub  *Hub
	conf Outbox
	home string // folder of this hub
	lock *os.File
	j    *journal

	adopting sync.Mutex
	flushes  sync.WaitGroup // writes that nobody waits for

	mu         sync.Mutex
	entries    map[string]*entry
	held       map[string]*record // repeats that nobody was told of, by group
	unwritten  []unwritten        // batches that nobody waits for
	order      uint64
	bytes      int64           // frames of entries
	ctx        context.Context // of deliveries; nil while stopped
	flushing   bool
	closed     bool
	dead       uint64
	notDurable uint64
	deadFile   sync.Mutex
}

// entry is a message that some receiver has not got.
type entry struct {
	d       *delivery
	order   uint64
	since   time.Time
	targets []*target
	size    int64
	durable bool
}

type target struct {
	wireTarget
	queued bool
}

func openOutbox(h *Hub, conf Outbox) (*outbox, error) {
	fail := func(err error) (*outbox, error) {
		return nil, fmt.Errorf("notify: open outbox %s: %w", conf.Dir, err)
	}
	if err := os.MkdirAll(conf.Dir, 0o700); err != nil {
		return fail(err)
	}
	home := filepath.Join(conf.Dir, newID(time.Now()))
	if err := os.Mkdir(home, 0o700); err != nil {
		return fail(err)
	}
	lock, err := os.OpenFile(filepath.Join(home, lockName), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fail(errors.Join(err, os.RemoveAll(home)))
	}
	ok, err := filelock.TryLock(lock)
	if err == nil && !ok {
		err = errors.New("a new file is locked already")
	}
	var j *journal
	if err == nil {
		// The last thing to appear: a folder without it is left alone.
		j, err = createJournal(filepath.Join(home, journalName))
	}
	if err == nil {
		err = errors.Join(atomicfile.SyncDir(home), atomicfile.SyncDir(conf.Dir))
	}
	if err != nil {
		if j != nil {
			err = errors.Join(err, j.close())
		}
		return fail(errors.Join(err, lock.Close(), os.RemoveAll(home)))
	}
	o := &outbox{hub: h, conf: conf, home: home, lock: lock, j: j, entries: map[string]*entry{}, held: map[string]*record{}}
	o.adopt()
	return o, nil
}

// put stores d. It returns an error of ClassStorage if it cannot.
func (o *outbox) put(d *delivery, wait bool) error {
	r := &record{Op: "put", ID: d.msg.ID, Message: toWire(d.msg), Targets: newTargets(d.names), Since: time.Now()}
	frame, err := appendFrame(nil, r)
	if err != nil {
		return o.storageError(d.msg.ID, err)
	}
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return fmt.Errorf("notify: send: %w", ErrClosed)
	}
	if _, ok := o.entries[d.msg.ID]; ok {
		o.mu.Unlock()
		return nil // a repeat of what waits already
	}
	if o.bytes+int64(len(frame)) > o.conf.MaxBytes {
		waiting := o.bytes
		o.notDurable++
		o.mu.Unlock()
		return o.storageError(d.msg.ID, fmt.Errorf("outbox is full: %d of %d bytes wait", waiting, o.conf.MaxBytes))
	}
	e := o.insert(d, r, int64(len(frame)))
	b := o.j.add(frame, true)
	if !wait {
		e.durable = true // it is delivered even if it cannot be stored
		o.flush(b, d.msg.ID)
		o.mu.Unlock()
		o.launch(e)
		return nil
	}
	o.mu.Unlock()
	if err := o.j.write(b); err != nil {
		o.mu.Lock()
		o.remove(e)
		o.notDurable++
		o.mu.Unlock()
		return o.storageError(d.msg.ID, err)
	}
	o.mu.Lock()
	e.durable = true
	o.mu.Unlock()
	o.launch(e)
	return nil
}

func (o *outbox) storageError(id string, err error) *Error {
	e := NewError("store", err)
	e.Class, e.MessageID = ClassStorage, id
	e.Reason = o.hub.red.String(e.Reason) + "; the message is held in memory only: make room on the disk"
	e.causes = append(e.causes, ErrNotDurable)
	return e
}

// unwritten is a batch that nobody waits for, and whose it is.
type unwritten struct {
	b  *batch
	id string
}

// flush writes b without anybody waiting, one batch after another. The caller
// holds mu.
func (o *outbox) flush(b *batch, id string) {
	if n := len(o.unwritten); n > 0 && o.unwritten[n-1].b == b {
		return
	}
	o.unwritten = append(o.unwritten, unwritten{b, id})
	if o.flushing {
		return
	}
	o.flushing = true
	o.flushes.Go(func() {
		for {
			o.mu.Lock()
			if len(o.unwritten) == 0 {
				o.flushing = false
				o.mu.Unlock()
				return
			}
			next := o.unwritten[0]
			o.unwritten = o.unwritten[1:]
			o.mu.Unlock()
			if err := o.j.write(next.b); err != nil {
				o.mu.Lock()
				o.notDurable++
				o.mu.Unlock()
				o.hub.log.Error("outbox cannot store; message is held in memory only", "message_id", next.id, "error", o.storageError(next.id, err))
			}
		}
	})
}

// hold notes repeats that are held, to be told of by whoever adopts the journal
// after a crash.
func (o *outbox) hold(gid string, m *Message, durable bool) *batch {
	clean := o.hub.clean(*m)
	r := &record{Op: "hold", ID: gid, Message: toWire(&clean), Since: time.Now()}
	o.mu.Lock()
	defer o.mu.Unlock()
	frame, err := appendFrame(nil, r)
	if err != nil || o.closed {
		return nil
	}
	o.held[gid] = r
	return o.j.add(frame, durable)
}

// keep writes what hold noted.
func (o *outbox) keep(b *batch, wait bool) error {
	if !wait {
		o.mu.Lock()
		defer o.mu.Unlock()
		if !o.closed {
			o.flush(b, "")
		}
		return nil
	}
	if err := o.j.write(b); err != nil {
		o.mu.Lock()
		o.notDurable++
		o.mu.Unlock()
		return o.storageError("", err)
	}
	return nil
}

// unhold notes that nobody wants to be told of repeats.
func (o *outbox) unhold(m *Message) {
	o.mu.Lock()
	var last *batch
	for _, gid := range []string{m.ID, m.Thread} {
		if o.held[gid] != nil {
			delete(o.held, gid)
			last = o.note(&record{Op: "unhold", ID: gid})
		}
	}
	o.mu.Unlock()
	o.write(last)
}

// insert puts an entry into memory. The caller holds mu.
func (o *outbox) insert(d *delivery, r *record, size int64) *entry {
	o.order++
	e := &entry{d: d, order: o.order, since: r.Since, size: size}
	for _, t := range r.Targets {
		e.targets = append(e.targets, &target{wireTarget: t})
	}
	o.entries[d.msg.ID] = e
	o.bytes += size
	delete(o.held, d.msg.ID)
	delete(o.held, d.msg.Thread)
	return e
}

func (o *outbox) remove(e *entry) {
	if o.entries[e.d.msg.ID] == e {
		delete(o.entries, e.d.msg.ID)
		o.bytes -= e.size
	}
}

// start delivers what waits, and what comes, until stop.
func (o *outbox) start(ctx context.Context) {
	o.mu.Lock()
	o.ctx = ctx
	waiting := make([]*entry, 0, len(o.entries))
	for _, e := range o.entries {
		waiting = append(waiting, e)
	}
	o.mu.Unlock()
	slices.SortFunc(waiting, func(a, b *entry) int { return cmp.Compare(a.order, b.order) })
	for _, e := range waiting {
		o.launch(e)
	}
}

// stop hands out no more. The workers drop what they have not begun.
func (o *outbox) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ctx = nil
}

// launch queues e at the receivers that have not got it.
func (o *outbox) launch(e *entry) {
	type start struct {
		w *worker
		j *job
	}
	var starts []start
	o.mu.Lock()
	if o.ctx == nil || o.ctx.Err() != nil || o.closed || !e.durable || o.entries[e.d.msg.ID] != e {
		o.mu.Unlock()
		return
	}
	for _, t := range e.targets {
		w := o.hub.byName[t.Receiver]
		if t.queued || w == nil {
			continue
		}
		t.queued = true
		starts = append(starts, start{w, &job{
			msg: e.d.msg, ctx: o.ctx, only: t.Only, attempts: t.Attempts, since: e.since, due: t.Due,
			via: t.Via, stored: true, order: e.order, done: e.d.finish,
		}})
	}
	o.mu.Unlock()
	o.hub.busy.add(len(starts))
	for _, s := range starts {
		s.w.add(s.j)
	}
}

// release lets a target be queued again, now or by the next start.
func (o *outbox) release(id, receiver string) {
	o.mu.Lock()
	e := o.entries[id]
	if t := o.target(id, receiver); t != nil {
		t.queued = false
	}
	o.mu.Unlock()
	if e != nil {
		o.launch(e)
	}
}

func (o *outbox) target(id, receiver string) *target {
	e := o.entries[id]
	if e == nil {
		return nil
	}
	for _, t := range e.targets {
		if t.Receiver == receiver {
			return t
		}
	}
	return nil
}

// retry notes a failed try.
func (o *outbox) retry(j *job, receiver string) {
	o.mu.Lock()
	t := o.target(j.msg.ID, receiver)
	if t == nil {
		o.mu.Unlock()
		return
	}
	t.Attempts, t.Due, t.Only = j.attempts, j.due, j.only
	b := o.note(&record{Op: "retry", ID: j.msg.ID, Targets: []wireTarget{t.wireTarget}})
	o.mu.Unlock()
	o.write(b)
}

// move notes that another receiver takes over.
func (o *outbox) move(id, from, to string) {
	o.mu.Lock()
	t := o.target(id, from)
	if t == nil {
		o.mu.Unlock()
		return
	}
	t.wireTarget = wireTarget{Receiver: to, Via: append(slices.Clone(t.Via), from)}
	b := o.note(&record{Op: "move", ID: id, Receiver: from, Fallback: to})
	o.mu.Unlock()
	o.write(b)
}

// settle notes that a receiver got the message or never will.
func (o *outbox) settle(id, receiver string, errs []*Error) {
	o.mu.Lock()
	e := o.entries[id]
	if e == nil {
		o.mu.Unlock()
		return
	}
	if len(errs) > 0 {
		o.dead++
	}
	o.mu.Unlock()
	if len(errs) > 0 {
		o.bury(e.d.msg, receiver, errs)
	}
	o.mu.Lock()
	e.targets = slices.DeleteFunc(e.targets, func(t *target) bool { return t.Receiver == receiver })
	if len(e.targets) == 0 {
		o.remove(e)
	}
	b := o.note(&record{Op: "done", ID: id, Receiver: receiver})
	o.mu.Unlock()
	o.write(b)
	o.shrink()
}

// note adds a record that need not survive a loss of power: what it tells
// would then happen again. The caller holds mu.
func (o *outbox) note(r *record) *batch {
	frame, err := appendFrame(nil, r)
	if err != nil {
		return nil // cannot happen: names and numbers alone
	}
	return o.j.add(frame, false)
}

func (o *outbox) write(b *batch) {
	if b == nil {
		return
	}
	if err := o.j.write(b); err != nil {
		o.hub.log.Warn("outbox cannot note a delivery; a crash now would repeat it", "error", err)
	}
}

// shrink cuts or rewrites a journal that is mostly history.
func (o *outbox) shrink() {
	o.j.commit.Lock()
	defer o.j.commit.Unlock()
	if o.j.f == nil || o.j.size <= truncateAbove {
		return
	}
	o.mu.Lock()
	o.j.mu.Lock()
	pending := o.j.next != nil
	o.j.mu.Unlock()
	empty := len(o.entries) == 0 && len(o.held) == 0 && !pending
	var frames []byte
	var err error
	if !empty {
		if o.j.size <= rewriteAbove || o.j.size <= 4*o.bytes {
			o.mu.Unlock()
			return
		}
		frames, err = o.frames()
	}
	if empty {
		// Under mu, so that nothing is added in between.
		err = o.j.empty()
	}
	o.mu.Unlock()
	if err == nil && !empty {
		err = o.j.rewrite(frames)
	}
	if err != nil {
		o.hub.log.Warn("outbox cannot be made smaller", "error", err)
	}
}

// frames tells all that waits. The caller holds mu.
func (o *outbox) frames() (frames []byte, err error) {
	waiting := make([]*entry, 0, len(o.entries))
	for _, e := range o.entries {
		waiting = append(waiting, e)
	}
	slices.SortFunc(waiting, func(a, b *entry) int { return cmp.Compare(a.order, b.order) })
	for _, e := range waiting {
		r := &record{Op: "put", ID: e.d.msg.ID, Message: toWire(e.d.msg), Since: e.since}
		for _, t := range e.targets {
			r.Targets = append(r.Targets, t.wireTarget)
		}
		if frames, err = appendFrame(frames, r); err != nil {
			return nil, err
		}
	}
	for _, r := range o.held {
		if frames, err = appendFrame(frames, r); err != nil {
			return nil, err
		}
	}
	return frames, nil
}

func (o *outbox) check() *Error {
	f, err := os.CreateTemp(o.home, ".check")
	if err != nil {
		return o.checkError(err)
	}
	_, err = f.Write(make([]byte, 4096))
	if err = errors.Join(err, f.Close(), os.Remove(f.Name())); err != nil {
		return o.checkError(err)
	}
	return nil
}

func (o *outbox) checkError(err error) *Error {
	e := NewError("check outbox", err)
	e.Class = ClassStorage
	return e
}

func (o *outbox) stats(s *Stats) {
	o.mu.Lock()
	s.Stored, s.Dead, s.NotDurable = len(o.entries), o.dead, o.notDurable
	for _, e := range o.entries {
		for _, t := range e.targets {
			if t.queued {
				continue // its worker counts it
			}
			for i := range s.Receivers {
				if s.Receivers[i].Name == t.Receiver {
					s.Receivers[i].Waiting++
				}
			}
		}
	}
	o.mu.Unlock()
	o.j.commit.Lock()
	s.StoredBytes = o.j.size
	o.j.commit.Unlock()
}

// unlock gives up a lock. Closing alone would leave it to a child process that
// is between fork and exec.
func unlock(f *os.File) error { return errors.Join(filelock.Unlock(f), f.Close()) }

// close ends the journal. One that holds nothing goes away; another one waits
// for the next hub.
func (o *outbox) close() error {
	o.mu.Lock()
	o.closed = true
	left := len(o.entries) + len(o.held)
	o.mu.Unlock()
	o.flushes.Wait()
	err := o.j.close()
	gone := err == nil && left == 0
	if gone {
		err = os.Remove(o.j.path)
	}
	err = errors.Join(err, unlock(o.lock))
	if gone { // Windows removes no open file
		err = errors.Join(err, os.Remove(filepath.Join(o.home, lockName)), os.Remove(o.home))
	}
	if err != nil {
		return fmt.Errorf("notify: close outbox %s: %w", o.conf.Dir, err)
	}
	return nil
}
