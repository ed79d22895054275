package notify

import (
	"crypto/sha256"
	"fmt"
	"strconv"
)

// router says who takes a message, and what makes it equal to others.
type router struct{ *env }

// key hashes what makes m equal to others. Without grouping a message without
// a Key has none.
func (r *router) key(m *Message) (key groupKey, grouped bool) {
	switch {
	case m.Key != "":
		return hash("k", m.Key, "", 0), true
	case r.opts.Group.off():
		return key, false
	case len(r.opts.Group.By) == 0:
		return hash("t", m.Subject, m.Text, int(m.Level)), true
	}
	if foreign(m.Attrs) {
		m.resolve()
	}
	return hash("b", m.Subject, r.opts.Group.distinct(m, nil), int(m.Level)), true
}

func hash(kind, a, b string, level int) groupKey {
	var room [512]byte
	buf := append(room[:0], kind...)
	buf = append(buf, a...)
	buf = append(buf, 0xff) // no UTF-8 text holds it
	buf = append(buf, b...)
	buf = append(buf, 0xff)
	buf = strconv.AppendInt(buf, int64(level), 10)
	sum := sha256.Sum256(buf)
	return groupKey(sum[:16])
}

// route appends the workers of the receivers that take m.
func (r *router) route(m *Message, takers []*worker) []*worker {
	for _, w := range r.workers {
		if m.Level >= w.r.MinLevel && r.matches(w, m) {
			takers = append(takers, w)
		}
	}
	return takers
}

// matches asks Match. One that panics takes everything: better a message too
// many than one that nobody gets.
func (r *router) matches(w *worker, m *Message) (takes bool) {
	if w.r.Match == nil {
		return true
	}
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("Match panicked and counts as yes", "receiver", w.r.Name, "message_id", m.ID, "error", fmt.Errorf("%v (%s)", p, panicSite()))
			takes = true
		}
	}()
	return w.r.Match(*m)
}
