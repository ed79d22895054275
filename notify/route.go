package notify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// off reports whether messages are not grouped.
func (g Group) off() bool { return g.Interval <= 0 }

// key hashes what makes m equal to others. Without grouping a message without
// a Key has none.
func (h *Hub) key(m *Message) (key groupKey, grouped bool) {
	switch {
	case m.Key != "":
		return hash("k", m.Key, "", 0), true
	case h.opts.Group.off():
		return key, false
	case len(h.opts.Group.By) == 0:
		return hash("t", m.Subject, m.Text, int(m.Level)), true
	}
	if foreign(m.Attrs) {
		m.resolve()
	}
	return hash("b", m.Subject, h.opts.Group.distinct(m, nil), int(m.Level)), true
}

// distinct writes the values of the attributes that By and more name.
func (g Group) distinct(m *Message, more []string) string {
	var b []byte
	for _, f := range m.Fields() {
		for _, names := range [2][]string{g.By, more} {
			for _, name := range names {
				if f.Name == name {
					b = append(strconv.AppendQuote(b, f.Name), '=')
					b = append(strconv.AppendQuote(b, f.Value), ',')
				}
			}
		}
	}
	return string(b)
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

// check refuses what cannot be a message.
func (m *Message) check() error {
	if !validID(m.ID) {
		return &Error{Op: "send", Class: ClassInvalid, Reason: fmt.Sprintf("message ID %.80q: use letters, digits, '.', '-' and '_', at most %d", m.ID, maxIDLen)}
	}
	if m.Subject == "" && m.Text == "" && m.HTML == "" {
		return &Error{Op: "send", MessageID: m.ID, Class: ClassInvalid, Reason: "message has neither Subject nor Text"}
	}
	return nil
}

// route appends the workers of the receivers that take m.
func (h *Hub) route(m *Message, takers []*worker) []*worker {
	for _, w := range h.workers {
		if m.Level >= w.r.MinLevel && h.matches(w, m) {
			takers = append(takers, w)
		}
	}
	return takers
}

// matches asks Match. One that panics takes everything: better a message too
// many than one that nobody gets.
func (h *Hub) matches(w *worker, m *Message) (takes bool) {
	if w.r.Match == nil {
		return true
	}
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("Match panicked and counts as yes", "receiver", w.r.Name, "message_id", m.ID, "error", fmt.Errorf("%v (%s)", p, panicSite()))
			takes = true
		}
	}()
	return w.r.Match(*m)
}

// Check asks every receiver that is a [Checker] whether it would take a
// message, all at the same time, and returns one [*Error] for each that would
// not. Nothing is sent. A receiver without a Check counts as well. What is lost or
// stuck is told, too: the error then matches ErrLost or ErrStuck.
func (h *Hub) Check(ctx context.Context) error {
	h.health.Used()
	if h.isClosed() {
		return NewError("check", ErrClosed)
	}
	all := make([][]*Error, len(h.workers))
	done := make(chan struct{}, len(h.workers))

	left := 0
	for i, w := range h.workers {
		checker, ok := w.r.Notifier.(Checker)
		if !ok || h.dry != nil {
			continue
		}
		left++
		go func() {
			all[i] = w.check(ctx, checker)
			done <- struct{}{}
		}()
	}

	for ; left > 0; left-- {
		<-done
	}
	var errs []*Error
	for _, list := range all {
		errs = append(errs, list...)
	}

	if h.out != nil {
		errs = append(errs, h.out.check()...)
	}
	return errors.Join(join(errs), h.health.Check())
}

// check runs one receiver's Check, which may hang or panic.
func (w *worker) check(ctx context.Context, c Checker) []*Error {
	ctx, cancel := context.WithTimeout(marked(ctx), w.r.Timeout)
	defer cancel()
	done := make(chan []*Error, 1)

	go func() {
		errs := []*Error{goexit("check")}
		defer func() {
			if p := recover(); p != nil {
				errs = []*Error{panicError("check", p)}
			}
			done <- errs
		}()
		errs = w.toErrors("check", c.Check(ctx))
	}()

	var errs []*Error
	select {
	case errs = <-done:
	case <-ctx.Done():
		grace := time.NewTimer(abandonAfter)
		defer grace.Stop()
		select {
		case errs = <-done:
		case <-grace.C:
			errs = toErrors("check", fmt.Errorf("check ignores the end of its context: %w", errors.Join(ErrUnresponsive, ctx.Err())))
		}
	}

	for _, e := range errs {
		e.Receiver = w.r.Name
		w.hub.cleanError(e)
	}
	return errs
}
