package notify

import (
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"time"
)

// groupKey is the hash of what makes messages equal, 128 bits of it with seeds
// that nobody outside knows.
type groupKey [2]uint64

// groups tells first messages from repeats.
type groups struct {
	conf  Group
	seeds [2]maphash.Seed
	wake  chan struct{} // tells Run that something is due sooner
	// keep, if not nil, puts what is held into the outbox. It is called with
	// mu held, so that it comes before the message that tells of it.
	keep func(gid string, m *Message, durable bool) *batch

	mu         sync.Mutex
	live       map[groupKey]*group
	suppressed uint64
}

// group is what is known of one trouble.
type group struct {
	first     Message // what opened it, without HTML and attachments
	last      Message // the latest repeat, without HTML and attachments
	level     slog.Level
	seen      time.Time // of the latest message, by the hub's clock
	told      time.Time // when something about it went out
	held      int       // messages that nobody was told of
	waiting   bool      // Wait is not over: nothing went out
	summaries int       // how often repeats were told
	other     bool      // collects what has no group of its own
	kinds     []string  // subjects seen by the other group
}

// otherKey cannot be confused with a hash in practice, as the seeds are random.
var otherKey groupKey

const (
	maxHeldText = 4 << 10
	maxKinds    = 20
)

func newGroups(conf Group) *groups {
	return &groups{
		conf: conf, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		wake: make(chan struct{}, 1), live: map[groupKey]*group{},
	}
}

func (g *groups) off() bool { return g.conf.Interval < 0 }

// key hashes what makes m equal to others.
func (g *groups) key(m *Message) groupKey {
	if m.Key != "" {
		return g.hash("k", m.Key, "", 0)
	}
	if len(g.conf.By) == 0 {
		return g.hash("t", m.Subject, m.Text, m.Level)
	}
	var values strings.Builder
	fields := m.Fields()
	for _, name := range g.conf.By {
		for _, f := range fields {
			if f.Name == name {
				fmt.Fprintf(&values, "%q=%q,", f.Name, f.Value)
			}
		}
	}
	return g.hash("b", m.Subject, values.String(), m.Level)
}

func (g *groups) hash(kind, a, b string, level slog.Level) groupKey {
	var k groupKey
	for i, seed := range g.seeds {
		var h maphash.Hash
		h.SetSeed(seed)
		_, _ = h.WriteString(kind)
		_, _ = h.WriteString(a)
		_ = h.WriteByte(0xff) // no UTF-8 text holds it
		_, _ = h.WriteString(b)
		_ = h.WriteByte(0xff)
		_ = h.WriteByte(byte(level))
		_ = h.WriteByte(byte(level >> 8))
		k[i] = h.Sum64()
	}
	return k
}

// repeat counts m if it is one of a group that needs nothing to go out now. It
// is the whole cost of a message in a storm. The batch, if there is one, is to
// be written.
func (g *groups) repeat(k groupKey, m *Message, now time.Time) (*batch, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gr := g.live[k]
	if gr == nil || m.Resolved || m.Level > gr.level || !g.due(gr).After(now) {
		return nil, false
	}
	return g.hold(gr, m, now), true
}

// hold counts a message that does not go out. The caller holds mu.
func (g *groups) hold(gr *group, m *Message, now time.Time) *batch {
	g.suppressed++
	before := gr.held
	gr.held += max(1, m.Count)
	gr.seen = now
	if gr.other {
		gr.note(m)
	} else {
		// The attributes of a repeat were not resolved: a LogValue may do
		// anything, even log, and must not run under the lock.
		last := *m
		last.Attrs = gr.first.Attrs
		gr.last = slim(last)
	}
	// After a crash a count may be too low, by less than a half, but there is
	// word of every group that had repeats.
	if g.keep == nil || bits.Len(uint(before)) == bits.Len(uint(gr.held)) {
		return nil
	}
	told := gr.summary(now)
	return g.keep(gr.first.ID, &told, before == 0)
}

// note remembers the subject of a message in the other group.
func (gr *group) note(m *Message) {
	if len(gr.kinds) < maxKinds {
		gr.kinds = append(gr.kinds, cutText(m.Title(), 200))
	}
}

// slim drops what would let many groups take much memory.
func slim(m Message) Message {
	room := maxHeldText
	for i, a := range m.Attrs { // they are plain strings
		room -= len(a.Key) + len(a.Value.String())
		if room < 0 {
			m.Attrs = slices.Clip(m.Attrs[:i])
			break
		}
	}
	m.HTML, m.Attachments = "", nil
	m.Text = cutText(m.Text, maxHeldText)
	m.Subject = cutText(m.Subject, maxHeldText)
	return m
}

// due returns when the group wants something done: tell of repeats, or end.
func (g *groups) due(gr *group) time.Time {
	if gr.waiting {
		return gr.told.Add(g.conf.Wait)
	}
	quiet := gr.seen.Add(g.conf.Interval)
	if gr.summaries == 0 {
		return gr.told.Add(g.conf.Interval)
	}
	if again := gr.told.Add(g.conf.Repeat); gr.held > 0 && again.Before(quiet) {
		return again
	}
	return quiet
}

// admit takes a message that is to go out or to open a group. It returns what
// goes out now: m itself, with counts filled in, or nothing while Wait lasts.
func (g *groups) admit(k groupKey, m Message, now time.Time) (Message, *batch, bool) {
	m.Count = max(1, m.Count) // another hub may have counted
	if m.First.IsZero() {
		m.First = m.Time
	}
	if m.Last.IsZero() {
		m.Last = m.Time
	}
	if g.off() {
		return m, nil, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	gr := g.live[k]
	if gr != nil && !m.Resolved && gr.held == 0 && !gr.waiting && !gr.seen.Add(g.conf.Interval).After(now) {
		delete(g.live, k) // it ended; nobody ran to see it
		gr = nil
	}
	switch {
	case m.Resolved:
		if gr == nil {
			return m, nil, true
		}
		delete(g.live, k)
		m.Count += gr.held
		m.First = gr.first.First
		if gr.waiting {
			m.ID = gr.first.ID
		} else {
			m.Thread = gr.first.ID
		}
		return m, nil, true
	case gr != nil:
		if m.Level <= gr.level && g.due(gr).After(now) { // lost a race
			return Message{}, g.hold(gr, &m, now), false
		}
		m.Count += gr.held
		m.First = gr.first.First
		gr.level = max(gr.level, m.Level)
		if gr.waiting {
			gr.waiting = false
			m.ID = gr.first.ID
		} else {
			m.Thread = gr.first.ID
			gr.summaries++
		}
		if gr.other {
			gr.note(&m)
			m = gr.describe(m)
			gr.kinds = nil
		}
		gr.seen, gr.told, gr.held = now, now, 0
		return m, nil, true
	case len(g.live) >= g.conf.MaxGroups:
		return g.admitOther(m, now)
	}
	gr = &group{first: slim(m), level: m.Level, seen: now, told: now}
	gr.last = gr.first
	g.live[k] = gr
	g.nudge()
	if g.conf.Wait > 0 {
		gr.waiting = true
		b := g.hold(gr, &m, now)
		g.suppressed--
		return m, b, false
	}
	return m, nil, true
}

// admitOther puts m into the group of what has none.
func (g *groups) admitOther(m Message, now time.Time) (Message, *batch, bool) {
	gr := g.live[otherKey]
	if gr == nil {
		gr = &group{first: slim(m), level: m.Level, seen: now, told: now, other: true}
		g.live[otherKey] = gr
		g.nudge()
		return m, nil, true
	}
	if m.Level > gr.level { // more serious than anything in there
		gr.level, gr.seen = m.Level, now
		return m, nil, true
	}
	return Message{}, g.hold(gr, &m, now), false
}

// describe makes the message that stands for all that had no group.
func (gr *group) describe(m Message) Message {
	m.Subject = "other: messages of many kinds"
	m.Key = "other"
	m.Attrs = nil
	m.Text = "More kinds of messages came than are kept apart. Among them:\n- " + strings.Join(gr.kinds, "\n- ")
	return m
}

func (g *groups) nudge() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// collect returns the messages that are due about groups, all of them if now
// is zero, and ends groups that are quiet. next is when to come again, or zero.
func (g *groups) collect(now time.Time) (out []Message, next time.Time) {
	all := now.IsZero()
	if all {
		now = time.Now()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for k, gr := range g.live {
		due := g.due(gr)
		if !all && due.After(now) {
			if next.IsZero() || due.Before(next) {
				next = due
			}
			continue
		}
		quiet := !gr.seen.Add(g.conf.Interval).After(now)
		if gr.held > 0 {
			out = append(out, gr.tell(now))
		}
		if quiet && !gr.waiting || all {
			delete(g.live, k)
			continue
		}
		gr.waiting = false
		if due = g.due(gr); !due.After(now) {
			delete(g.live, k)
			continue
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return out, next
}

// summary makes the message about what is held.
func (gr *group) summary(now time.Time) Message {
	m := gr.last
	m.ID = gr.first.ID
	m.Level = gr.level
	m.Count = gr.held
	m.First = gr.first.First
	m.Last = gr.last.Time
	if gr.other {
		m = gr.describe(m)
		m.Last = now
	}
	if !gr.waiting {
		m.ID = newID(now)
		m.Thread = gr.first.ID
	}
	m.Time = m.Last
	return m
}

// tell makes the message about what is held and starts the next period.
func (gr *group) tell(now time.Time) Message {
	m := gr.summary(now)
	if !gr.waiting {
		gr.summaries++
	}
	gr.told, gr.held, gr.kinds = now, 0, nil
	return m
}

func (g *groups) counts() (live int, suppressed uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.live), g.suppressed
}
