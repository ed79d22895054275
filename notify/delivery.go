package notify

import (
	"context"
	"log/slog"
	"slices"
	"time"
)

// place says where a delivery is.
type place int

const (
	waiting place = iota // in its worker's queue
	calling              // with the receiver
	held                 // by Rate
	parked               // by a silence
	resting              // left alone until the hub drains no more
	over
)

// delivery is one message on its way to one receiver. The hub's mutex guards it.
type delivery struct {
	w     *worker
	entry *entry   // of the receiver's ledger; nil for a summary and without grouping
	base  *Message // what was accepted
	msg   *Message // base as it goes out, with the counts of that moment
	end   bool     // says that the trouble is over
	lines []line   // of a summary
	more  int      // what a summary counts beyond lines
	parts []*entry // entries that a summary tells of

	at    place
	level slog.Level
	order uint64 // smaller goes first within a level
	since time.Time
	due   time.Time
	queue int // index in the worker's queue, counted from 1

	attempts int
	only     []string // recipients that are left; nil means all
	final    []*Error // recipients that are given up
	via      []string // receivers that failed before this one took over
	before   []*Error // what they said
	partial  bool     // some recipient got it
	shared   bool     // the fallback gets the message by itself
	twin     *delivery
	covered  bool // the twin was taken
	stored   bool // the outbox holds it
	restored bool // from a journal: a try may have been made
	size     int64
	late     task // asks the fallback

	ctx     context.Context
	waiters []*waiter
}

// waiter is a caller of Notify.
type waiter struct {
	ctx  context.Context
	left int
	errs []*Error
	over chan struct{}
}

// tried reports whether the receiver may have heard of d.
func (d *delivery) tried() bool { return d.attempts > 0 || d.restored }

func (d *delivery) deadline() (time.Time, bool) { return d.ctx.Deadline() }

// entries returns the ledger's entries that d tells of.
func (d *delivery) entries() []*entry {
	if d.entry != nil {
		return []*entry{d.entry}
	}
	return d.parts
}

// blocked reports whether the receiver is being told of the same trouble now.
func (d *delivery) blocked() bool {
	if d.entry != nil {
		return d.entry.flight != nil
	}
	return slices.ContainsFunc(d.parts, func(e *entry) bool { return e.flight != nil })
}

// compose words the message for this moment. It reports false if there is
// nothing left to say.
func (d *delivery) compose(now time.Time) bool {
	m := *d.base
	switch e := d.entry; {
	case len(d.lines) > 0:
		s := summary(d.lines, d.more)
		m.Subject, m.Text, m.Count, m.New = s.Subject, s.Text, s.Count, s.New
		for _, e := range d.parts {
			e.begin(d)
		}
	case e == nil:
		m.Count, m.New = max(1, m.Count), max(1, m.New, m.Count)
		for _, e := range d.parts {
			e.begin(d)
			e.telling = opened
		}
	case d.end && e.open: // over and back again: the ledger tells of both later
		return false
	default:
		if !d.end && !e.open {
			m = both(m, e.ending())
		}
		if d.end && (!e.heard || e.doubt) && e.total > 0 { // the start was lost, or may be taken for over
			m = both(e.sample, *d.base)
			m.ID, m.Level, m.Time = d.base.ID, d.base.Level, d.base.Time
		}
		if !d.end {
			e.differ.show(&m, e.fresh)
		}

		m.Count, m.New = max(1, e.total), max(1, e.fresh)
		if m.First = e.first; m.First.IsZero() {
			m.First = m.Time
		}
		if m.Last = e.last; m.Last.Before(m.First) {
			m.Last = m.First
		}

		m.ID = d.idOf(&m, now)
		if e.thread == "" || !e.heard { // nobody saw the one before
			e.thread = m.ID
		}
		if m.Thread = e.thread; m.Thread == m.ID {
			m.Thread = ""
		}

		e.begin(d)
	}

	if m.First.IsZero() {
		m.First = m.Time
	}
	if m.Last.IsZero() {
		m.Last = m.Time
	}

	d.msg = &m
	return true
}

// idOf returns the ID under which m goes out. A receiver may know by it what it was
// told in a try before, also by a process that crashed: as long as m says the same,
// it is that of the try before, and that of the message which was accepted belongs
// to no other state.
func (d *delivery) idOf(m *Message, now time.Time) string {
	before := d.msg
	if before == nil {
		before = d.base
	}
	if before.Resolved != m.Resolved {
		return newID(now)
	}
	return before.ID
}

// queue orders what waits for one receiver: by level, then time.
type queue []*delivery

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].level != q[j].level {
		return q[i].level > q[j].level
	}
	return q[i].order < q[j].order
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].queue, q[j].queue = i+1, j+1
}

func (q *queue) Push(x any) {
	d := x.(*delivery)
	*q = append(*q, d)
	d.queue = len(*q)
}

func (q *queue) Pop() any {
	old := *q
	d := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	d.queue = 0
	return d
}

// line returns what a summary says of d.
func (d *delivery) line() line {
	l := line{e: d.entry, level: d.level, text: cutText(d.base.Text, maxLineText), n: 1}
	l.title = cutText(d.base.plainTitle(), 200)
	if d.base.Resolved {
		l.title = "[Resolved] " + l.title
	}
	return l
}
