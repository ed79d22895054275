package notify

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/internal/filelock"
)

// adopt takes over what processes left that are gone.
func (o *outbox) adopt() {
	o.adopting.Lock()
	defer o.adopting.Unlock()
	list, err := os.ReadDir(o.conf.Dir)
	if err != nil {
		o.hub.log.Error("outbox folder cannot be read", "error", err)
		return
	}
	for _, d := range list {
		if !d.IsDir() || strings.HasPrefix(d.Name(), ".") || d.Name() == filepath.Base(o.home) {
			continue
		}
		if err := o.adoptFrom(filepath.Join(o.conf.Dir, d.Name())); err != nil {
			o.hub.log.Error("journal of another process cannot be taken over", "journal", d.Name(), "error", err)
		}
	}
}

func (o *outbox) adoptFrom(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, journalName)); err != nil {
		return nil // not a journal's folder, or gone meanwhile
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if ok, err := filelock.TryLock(lock); !ok || err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, journalName)); err != nil {
		return nil // somebody else took it over meanwhile
	}
	path := filepath.Join(dir, journalName)
	data, err := readWhole(path)
	if err != nil {
		return err
	}
	left := replay{entries: map[string]*record{}, held: map[string]*record{}}
	skipped := readJournal(data, left.take)
	if left.records == 0 && foreign(data) {
		return errors.New("it is of another version of this package, which can deliver what it holds; it is left as it is")
	}
	if skipped > 0 {
		o.hub.log.Warn("journal was damaged or cut; what could be read was taken over", "bytes_skipped", skipped, "messages", len(left.entries))
	}
	taken, err := o.take(append(left.list(), o.told(left.held)...))
	if err != nil {
		return err
	}
	if len(taken) > 0 {
		o.hub.log.Info("messages of a process that is gone were taken over", "messages", len(taken))
	}
	// Windows removes no open file; without its journal the folder is nobody's.
	err = errors.Join(os.Remove(path), unlock(lock), os.Remove(filepath.Join(dir, lockName)), os.Remove(dir))
	for _, e := range taken {
		o.launch(e)
	}
	return err
}

// told makes messages of the repeats that nobody was told of.
func (o *outbox) told(held map[string]*record) []*record {
	var list []*record
	for _, gid := range slices.Sorted(maps.Keys(held)) {
		r := held[gid]
		id := gid
		if r.Message.Thread != "" {
			id = newID(time.Now())
		}
		m := r.Message.message(id)
		var names []string
		for _, w := range o.hub.route(m) {
			names = append(names, w.r.Name)
		}
		if len(names) > 0 {
			list = append(list, &record{Op: "put", ID: id, Message: r.Message, Targets: newTargets(names), Since: r.Since})
		}
	}
	return list
}

// take stores records of another journal in this one.
func (o *outbox) take(records []*record) ([]*entry, error) {
	var taken []*entry
	var last *batch
	now := time.Now()
	for _, r := range records {
		r.notAfter(now)
		frame, err := appendFrame(nil, r)
		if err != nil {
			return nil, err
		}
		m := r.Message.message(r.ID)
		d := &delivery{hub: o.hub, msg: m, left: len(r.Targets), over: make(chan struct{})}
		for _, t := range r.Targets {
			d.names = append(d.names, t.Receiver)
		}
		o.mu.Lock()
		if o.entries[r.ID] != nil || o.closed {
			o.mu.Unlock()
			continue
		}
		taken = append(taken, o.insert(d, r, int64(len(frame))))
		last = o.j.add(frame, true)
		o.mu.Unlock()
	}
	if last == nil {
		return nil, nil
	}
	if err := o.j.write(last); err != nil {
		o.mu.Lock()
		for _, e := range taken {
			o.remove(e)
		}
		o.mu.Unlock()
		return nil, err
	}
	o.mu.Lock()
	for _, e := range taken {
		e.durable = true
	}
	o.mu.Unlock()
	o.orphans(taken)
	return taken, nil
}

// notAfter mends times that a clock wrote which was ahead: a message would wait
// for them, and never be too old.
func (r *record) notAfter(now time.Time) {
	if r.Since.After(now) {
		r.Since = now
	}
	for i, t := range r.Targets {
		if t.Due.Sub(now) > maxPause {
			r.Targets[i].Due = now
		}
	}
}

// orphans gives up what is for receivers that the hub does not have any more.
func (o *outbox) orphans(taken []*entry) {
	for _, e := range taken {
		for _, t := range slices.Clone(e.targets) {
			if o.hub.byName[t.Receiver] != nil {
				continue
			}
			err := &Error{Op: "send", Receiver: t.Receiver, MessageID: e.d.msg.ID, Class: ClassInvalid, Reason: "there is no receiver of this name any more"}
			o.hub.log.Error("message was not delivered", "receiver", t.Receiver, "message_id", e.d.msg.ID, "error", err)
			o.settle(e.d.msg.ID, t.Receiver, []*Error{err})
		}
	}
}

// replay works out what a journal says still waits.
type replay struct {
	entries map[string]*record
	held    map[string]*record
	order   []string
	records int
}

func (p *replay) take(r *record) {
	p.records++
	known := p.entries[r.ID]
	switch r.Op {
	case "put":
		if known == nil && r.Message != nil && validID(r.ID) && len(r.Targets) > 0 {
			p.entries[r.ID] = r
			p.order = append(p.order, r.ID)
			delete(p.held, r.ID)
			delete(p.held, r.Message.Thread)
		}
	case "hold":
		if r.Message != nil && validID(r.ID) {
			p.held[r.ID] = r
		}
	case "unhold":
		delete(p.held, r.ID)
	case "retry":
		if known == nil || len(r.Targets) != 1 {
			return
		}
		for i, t := range known.Targets {
			if t.Receiver == r.Targets[0].Receiver {
				known.Targets[i] = r.Targets[0]
			}
		}
	case "move":
		if known == nil {
			return
		}
		for i, t := range known.Targets {
			if t.Receiver == r.Receiver {
				known.Targets[i] = wireTarget{Receiver: r.Fallback, Via: append(slices.Clone(t.Via), r.Receiver)}
			}
		}
	case "done":
		if known == nil {
			return
		}
		known.Targets = slices.DeleteFunc(known.Targets, func(t wireTarget) bool { return t.Receiver == r.Receiver })
		if len(known.Targets) == 0 {
			delete(p.entries, r.ID)
		}
	}
}

func (p *replay) list() []*record {
	var list []*record
	for _, id := range p.order {
		if r := p.entries[id]; r != nil {
			list = append(list, r)
			delete(p.entries, id)
		}
	}
	return list
}
