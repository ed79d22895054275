package notify

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/bits"
	"slices"
	"strings"
	"time"
)

const (
	maxHeldText = 4 << 10
	// maxNames and maxValues bound what is kept of attributes that differ.
	maxNames  = 8
	maxValues = 16
	// maxPlace bounds what is kept of a receiver's words for a thread.
	maxPlace = 8 << 10
)

// state is what a receiver was told last about a key.
type state int

const (
	silent state = iota // nothing
	opened              // that there is trouble
	closed              // that it is over
)

// ledger is what one receiver was told, by key. Its hub's mutex guards it.
type ledger struct {
	conf    Group
	entries map[groupKey]*entry
}

// entry is one key in the ledger of one receiver: what was reported in this
// episode, and what of it the receiver knows.
type entry struct {
	task
	w     *worker
	key   groupKey
	keyed bool // by Message.Key: stays open until Resolved

	// What was reported.
	open        bool
	level       slog.Level // the highest of the episode
	first, last time.Time  // of the messages
	seen        time.Time  // by the hub's clock
	total       int        // messages of the episode
	fresh       int        // those of total that no word counted
	sample      Message    // what the latest word showed, cut
	recent      *Message   // the latest message, cut, without attributes; nil if it says what sample does
	closing     *Message   // what closed it, cut; nil if nothing did
	differ      differences
	showing     differences // those that the flight shows

	// What was told.
	said      state
	saidLevel slog.Level
	heard     bool      // the receiver took word of this episode
	thread    string    // ID of the message that opened the thread
	place     string    // where that is, in the receiver's words
	base      time.Time // a word that is not urgent waits until an interval after it
	words     int       // words of repeats so far
	ended     bool      // an end went out at once since the last start that did
	muted     bool      // a silence hid the end
	doubt     bool      // a try may have told of an end that is over

	shared  bool      // the fallback of the receiver gets the messages by itself
	pending *delivery // goes out next
	flight  *delivery // is with the receiver now
	covers  int       // what of fresh the flight counts
	telling state     // what the flight says
}

func (e *entry) conf() Group { return e.w.ledger.conf }

// differs reports whether the receiver knows another state than the real one.
func (e *entry) differs() bool {
	return e.open && e.said == closed || !e.open && e.said == opened
}

// due returns when the next word may go out that is not urgent.
func (e *entry) due() time.Time {
	if e.words > 0 && e.open && e.said == opened {
		return e.base.Add(e.conf().Repeat)
	}
	return e.base.Add(e.conf().Interval)
}

// untold reports whether a word is owed that is not on its way.
func (e *entry) untold() bool {
	return e.pending == nil && e.flight == nil && (e.fresh > 0 || e.differs())
}

// next returns when the hub looks at the entry again: to send a word, or to
// forget it. The zero time means never.
func (e *entry) next() time.Time {
	switch {
	case e.pending != nil || e.flight != nil:
		return time.Time{} // its end looks again
	case e.untold():
		return e.due()
	case !e.open:
		return e.base.Add(e.conf().Interval)
	case e.keyed:
		return time.Time{}
	default:
		return e.seen.Add(max(e.conf().Interval, e.conf().Repeat))
	}
}

// repeats reports whether m needs nothing to go out now.
func (e *entry) repeats(m *Message, now time.Time) bool {
	if !e.open || m.Resolved || m.Level > e.saidLevel {
		return false
	}
	return e.pending != nil || e.flight != nil || e.said == opened && e.due().After(now)
}

// count adds a message of the episode.
func (e *entry) count(m *Message, now time.Time) {
	n := max(1, m.New) // another hub may have counted
	e.total += n
	e.fresh += n
	e.seen, e.last = now, m.Time
	e.differ.note(&e.sample, m, n, e.w.site.cleanText)
	// The attributes of a repeat were not resolved: a LogValue may do
	// anything, even log, and must not run under the lock.
	switch {
	case e.recent != nil:
		*e.recent = *m
	case m.Subject != e.sample.Subject || m.Text != e.sample.Text:
		latest := *m
		e.recent = &latest
	default:
		return // most entries never need it
	}
	e.recent.Attrs = nil
	slim(e.recent)
}

// worthNoting reports whether the count of untold messages passed a power of
// two: after a crash a count may be too low, by less than a half, but there is
// word of every key that had repeats.
func worthNoting(before, after int) bool { return bits.Len(uint(before)) != bits.Len(uint(after)) }

// start begins an episode.
func (e *entry) start(m *Message) {
	e.open, e.level, e.first, e.total, e.fresh = true, m.Level, m.Time, 0, 0
	if !m.First.IsZero() {
		e.first = m.First
	}
	e.unsaid()
	e.words, e.ended, e.muted, e.doubt = 0, false, false, false
	e.recent, e.closing = nil, nil
	e.show(m)
}

// show makes m what the next word of repeats is compared with.
func (e *entry) show(m *Message) {
	e.sample = *m
	slim(&e.sample)
	e.differ = differences{}
}

const minLevel = slog.Level(-1 << 31)

// report takes a message that is no plain repeat and says whether it goes out
// at once.
func (e *entry) report(m *Message, now time.Time) (urgent bool) {
	over := !e.base.Add(e.conf().Interval).After(now)
	moving := e.pending != nil || e.flight != nil
	switch {
	case e.open:
	case moving: // it is over and back before anybody heard: it goes on
		e.open = true
		e.doubt = e.doubt || e.flight != nil && e.telling == closed || e.pending != nil && e.pending.end && e.pending.tried()
	case e.said == silent || e.muted || over && e.fresh == 0:
		e.start(m)
	default: // it flaps: the episode goes on
		e.open = true
	}

	higher := m.Level > e.saidLevel
	e.level = max(e.level, m.Level)
	e.count(m, now)

	switch {
	case moving:
		return higher
	case e.said == silent || higher:
		return true
	default:
		return !e.due().After(now)
	}
}

// end takes the end of the trouble and says whether it goes out at once.
func (e *entry) end(m *Message, now time.Time) (urgent bool) {
	e.open = false
	e.seen, e.last = now, m.Time
	e.close(m)
	if p := e.pending; p != nil { // one message with both
		return p.end && e.doubt // or another one, as the receiver may know the ID of this one
	}
	if e.flight == nil && e.said != opened || e.flight != nil && e.telling != opened {
		return false // nobody is to hear the end of what nobody heard
	}
	urgent = !e.ended || !e.base.Add(e.conf().Interval).After(now)
	e.ended = e.ended || urgent
	return urgent
}

// close keeps what m says of the end.
func (e *entry) close(m *Message) {
	over := *m
	slim(&over)
	e.closing = &over
}

// ending returns what closed the trouble.
func (e *entry) ending() Message {
	if e.closing == nil {
		return Message{}
	}
	return *e.closing
}

// word makes the message about what is untold, without ID.
func (e *entry) word() Message {
	m := e.sample
	switch {
	case !e.open:
		m = e.ending()
	case e.recent != nil && (e.recent.Subject != "" || e.recent.Text != ""):
		m = *e.recent
		m.Attrs = e.sample.Attrs
	}
	m.Level = e.level
	m.Time = e.last
	return m
}

// sent notes that a word is on its way. One that is sent early uses up the
// place of the one that would be due.
func (e *entry) sent(level slog.Level, urgent bool, now time.Time) {
	switch {
	case urgent, !e.due().After(now):
		e.base = latest(e.base, now)
	default:
		e.base = e.base.Add(e.conf().Interval)
	}
	if !urgent {
		e.words++
	}
	e.saidLevel = max(e.saidLevel, level)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// taken notes that the receiver took the flight.
func (e *entry) taken(d *delivery) {
	e.flight, e.heard, e.doubt = nil, true, false
	e.said = e.telling
	e.ended = e.ended || e.said == closed
	e.fresh -= min(e.fresh, e.covers)
	e.showing = differences{}
	if d.entry == e && !d.end {
		e.sample = *d.base
		slim(&e.sample)
	}
}

// back notes that the receiver did not take the flight.
func (e *entry) back(d *delivery) {
	if e.flight != d {
		return
	}
	e.flight = nil
	for _, c := range e.showing.Names {
		for value, n := range c.Values {
			e.differ.add(c.Name, value, n)
		}
	}
	e.showing = differences{}
}

// lost notes that a word never reaches the receiver.
func (e *entry) lost(d *delivery, counted int) {
	e.back(d)
	if e.pending == d {
		e.pending = nil
	}
	e.total -= min(e.total, counted)
	e.fresh -= min(e.fresh, counted)
	if !e.heard {
		e.unsaid()
	}
}

// unsaid notes that the receiver heard nothing of this episode.
func (e *entry) unsaid() {
	e.said, e.saidLevel, e.heard, e.thread, e.place = silent, minLevel, false, "", ""
}

// slim drops what would let many entries take much memory.
func slim(m *Message) {
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
}

// both makes one message of a start that was not delivered and its end.
func both(start, end Message) Message {
	over := "Over since " + stamp(end.Time)
	if t := strings.TrimSpace(end.Subject); t != "" && t != strings.TrimSpace(start.Subject) {
		over += ": " + t
	}
	if end.Text != "" && end.Text != start.Text {
		over += "\n" + end.Text
	}
	start.Resolved = true
	start.Text = strings.TrimPrefix(start.Text+"\n\n"+over, "\n\n")
	if start.HTML != "" {
		start.HTML += "<p>" + escapeHTML.Replace(over) + "</p>"
	}
	return start
}

// escapeHTML writes plain text as HTML. Package html brings its tables along.
var escapeHTML = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "\n", "<br>")

// differences counts what messages of one key do not have in common.
type differences struct {
	Names []nameCounts `json:"names,omitempty"`
}

// nameCounts counts the values of one attribute, or titles under no name.
type nameCounts struct {
	Name   string         `json:"name,omitempty"`
	Values map[string]int `json:"values"`
	More   int            `json:"more,omitempty"` // with values that are not kept
}

// note compares m, which counts n, with the message that was shown, which is
// clean.
func (d *differences) note(shown, m *Message, n int, clean func(string) string) {
	if m.Subject != shown.Subject || m.Text != shown.Text && len(shown.Text) < maxHeldText {
		if clean(m.Subject) != shown.Subject || clean(m.Text) != shown.Text {
			d.add("", clean(m.plainTitle()), n)
		}
	}

	for _, a := range m.Attrs {
		var was string
		for _, s := range shown.Attrs {
			if s.Key == a.Key {
				was = s.Value.String()
				break
			}
		}

		// What may run foreign code was resolved before.
		if text := valueText(a.Value); text != was {
			if text = clean(text); text != was {
				d.add(clean(a.Key), text, n)
			}
		}
	}
}

func (d *differences) add(name, value string, n int) {
	i := slices.IndexFunc(d.Names, func(c nameCounts) bool { return c.Name == name })
	if i < 0 {
		if len(d.Names) >= maxNames {
			return
		}
		i = len(d.Names)
		d.Names = append(d.Names, nameCounts{Name: name, Values: map[string]int{}})
	}

	c := &d.Names[i]
	value = cutText(value, 100)
	if _, ok := c.Values[value]; !ok && len(c.Values) >= maxValues {
		c.More += n
		return
	}

	c.Values[value] += n
}

// show writes the differences into m, which stands for fresh messages. A value
// of m's own is listed with the number of messages that had it.
func (d *differences) show(m *Message, fresh int) {
	for _, c := range d.Names {
		if c.Name == "" {
			if list := c.list("", 0); len(c.Values) > 1 || c.More > 0 {
				m.Text = strings.TrimPrefix(m.Text+"\n\nAmong them: "+list, "\n\n")
			}
			continue
		}

		i := slices.IndexFunc(m.Attrs, func(a slog.Attr) bool { return a.Key == c.Name })
		if i < 0 {
			m.Attrs = append(slices.Clip(m.Attrs), slog.String(c.Name, c.list("", 0)))
			continue
		}

		same := fresh - c.More
		for _, n := range c.Values {
			same -= n
		}
		m.Attrs = slices.Clone(m.Attrs)
		m.Attrs[i].Value = slog.StringValue(c.list(m.Attrs[i].Value.String(), same))
	}
}

// list writes the values, the most frequent first, with how often they came.
func (c nameCounts) list(first string, n int) string {
	type value struct {
		text string
		n    int
	}
	var all []*value // pointers: their sort is linked already
	if n > 0 {
		all = append(all, &value{first, n})
	}

	for v, n := range c.Values {
		all = append(all, &value{v, n})
	}
	slices.SortFunc(all, func(a, b *value) int {
		return cmp.Or(cmp.Compare(b.n, a.n), strings.Compare(a.text, b.text))
	})

	var b strings.Builder
	for i, v := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(v.text)
		if v.n > 1 {
			fmt.Fprintf(&b, " (×%d)", v.n)
		}
	}

	if c.More > 0 {
		fmt.Fprintf(&b, ", others (×%d)", c.More)
	}
	return b.String()
}

// add returns the entry of key, making room for a new one: of those that are
// full the quiet and low give way, open keys last.
func (l *ledger) add(w *worker, key groupKey, keyed bool, now time.Time) (e *entry, out []*entry) {
	if len(l.entries) >= l.conf.MaxGroups {
		out = l.evict()
	}
	e = &entry{w: w, key: key, keyed: keyed, seen: now, saidLevel: minLevel}
	l.entries[key] = e
	return e, out
}

// evict takes out a part of the entries, so that it is not done for each new
// one. Those on their way to the receiver stay.
func (l *ledger) evict() []*entry {
	all := make([]*entry, 0, len(l.entries))
	for _, e := range l.entries {
		if e.pending == nil && e.flight == nil {
			all = append(all, e)
		}
	}

	slices.SortFunc(all, func(a, b *entry) int {
		lasting := func(e *entry) int {
			if e.keyed && e.open {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(lasting(a), lasting(b)), cmp.Compare(a.level, b.level), a.seen.Compare(b.seen))
	})

	out := all[:min(len(all), max(1, l.conf.MaxGroups/32))]
	for _, e := range out {
		delete(l.entries, e.key)
	}
	return out
}

// groupKey is a hash of what makes messages equal. It is the same in each
// process, as the ledger outlives them.
type groupKey [16]byte

func (k groupKey) String() string { return hex.EncodeToString(k[:]) }

func parseKey(s string) (k groupKey, ok bool) {
	n, err := hex.Decode(k[:], []byte(s))
	return k, err == nil && n == len(k) && len(s) == 2*len(k)
}

// copy takes over what was reported for another receiver.
func (e *entry) copy(o *entry) {
	e.open, e.level, e.first, e.last, e.seen, e.total, e.fresh = o.open, o.level, o.first, o.last, o.seen, o.total, o.fresh
	e.sample, e.recent, e.closing = o.sample, cloned(o.recent), o.closing
	e.unsaid()
	e.words, e.ended = 0, false
}

func cloned(m *Message) *Message {
	if m == nil {
		return nil
	}
	c := *m
	return &c
}

// restore fills e from the journal.
func (e *entry) restore(w *wireEntry) {
	e.open, e.level, e.first, e.last, e.seen = w.Open, w.Level, w.First, w.Last, w.Seen
	e.total, e.fresh, e.differ, e.said, e.saidLevel = w.Total, w.Fresh, w.Differ, w.Said, w.SaidLevel
	e.heard, e.thread, e.place, e.base, e.words, e.ended, e.muted, e.doubt, e.shared = w.Heard, w.Thread, w.Place, w.Base, w.Words, w.Ended, w.Muted, w.Doubt, w.Shared
	e.sample, e.recent, e.closing = *w.Sample.message(""), nil, nil
	if w.Recent != nil {
		e.recent = w.Recent.message("")
		e.recent.Attrs = nil
	}
	if w.Closing != nil {
		e.closing = w.Closing.message("")
	}
}

// begin notes that word of e's state goes out.
func (e *entry) begin(d *delivery) {
	if e.pending == d {
		e.pending = nil
	}
	e.flight, e.covers = d, e.fresh
	e.showing, e.differ = e.differ, differences{}
	e.telling = opened
	if !e.open {
		e.telling = closed
	}
}
