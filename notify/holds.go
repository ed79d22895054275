package notify

import (
	"log/slog"
	"slices"
	"time"
)

// releaseAfter is how long after the end of a silence that goes out which it
// hid: the end of the work and the word that all is well often come together.
const releaseAfter = time.Second

// holds lets go what Rate and silences hold back.
type holds struct {
	*env
	release task // what silences hid and hide no more
}

// planHeld plans the summary of what Rate holds.
func (ho *holds) planHeld(w *worker, now time.Time) {
	if len(w.limit.held)+w.limit.more > 0 {
		ho.tasks.plan(&w.limit.task, w.limit.ready(now))
	}
}

// releaseHeld sends what Rate holds: one message as it is, several as a
// summary. early does not wait for a token.
func (ho *holds) releaseHeld(w *worker, early bool) (sent bool) {
	ho.mu.Lock()
	list := slices.Clone(w.limit.held)
	ho.mu.Unlock()
	hidden := map[*delivery]bool{}

	if ho.mute.active() {
		for _, d := range list {
			hidden[d] = ho.mute.match(*d.base)
		}
	}

	t := &todo{}
	now := time.Now()
	ho.mu.Lock()
	sent = ho.releaseLocked(w, hidden, early, now, t)
	ho.mu.Unlock()
	ho.courier.finish(t)
	return sent
}

func (ho *holds) releaseLocked(w *worker, hidden map[*delivery]bool, early bool, now time.Time, t *todo) (sent bool) {
	if at := w.limit.ready(now); at.After(now) && !(early && (w.limit.credit() || ho.keeper.out == nil && ho.closed)) {
		ho.planHeld(w, now)
		return false
	}

	for _, d := range slices.Clone(w.limit.held) {
		if hidden[d] {
			w.limit.drop(d)
			ho.courier.move(d, parked)
		}
	}

	list, more := w.limit.held, w.limit.more
	w.limit.held, w.limit.more = nil, 0
	if len(list) == 0 && more == 0 {
		return false
	}

	if len(list) == 1 && more == 0 {
		w.limit.spend(list[0].level, now)
		ho.courier.enqueue(list[0], now, t)
		return true
	}

	m := &Message{ID: newID(now), Level: slog.LevelInfo, Time: now, Source: ho.opts.Source}
	s := ho.courier.deliver(w, m, nil, now)
	s.more = more

	for _, d := range list {
		s.lines = append(s.lines, d.line())
		s.level = max(s.level, d.level)
		for _, e := range d.entries() {
			if e.pending == d {
				e.pending = s
				s.parts = append(s.parts, e)
			}
		}
		d.entry, d.parts = nil, nil
		t.replaced = append(t.replaced, d)
		ho.courier.forget(d, t)
	}

	if len(s.lines) == 0 {
		s.lines = []line{{level: slog.LevelInfo, title: "messages that found no place of their own", n: more}}
		s.more = 0
	}

	text := summary(s.lines, s.more)
	m.Subject, m.Text, m.Level, m.Count, m.New = text.Subject, text.Text, s.level, text.Count, text.New
	m.First = firstOf(list, now)

	w.limit.spend(s.level, now)
	_ = ho.keeper.store([]*delivery{s}, now, t)
	ho.keeper.noteMore(w, t)
	ho.courier.enqueue(s, now, t)
	return true
}

// silenceEnded plans a look at what silences hid.
func (ho *holds) silenceEnded(at time.Time) {
	ho.mu.Lock()
	defer ho.mu.Unlock()
	at = at.Add(releaseAfter)
	if ho.release.pos == 0 || at.Before(ho.release.at) {
		ho.tasks.plan(&ho.release, at)
	}
}

// releaseParked sends what no silence hides any more.
func (ho *holds) releaseParked() {
	ho.mu.Lock()
	var list []*delivery
	for _, w := range ho.workers {
		for _, d := range w.all {
			if d.at == parked {
				list = append(list, d)
			}
		}
	}
	ho.mu.Unlock()

	slices.SortFunc(list, func(a, b *delivery) int { return int(a.order) - int(b.order) })
	for _, d := range list {
		if ho.mute.active() && ho.mute.match(*d.base) {
			continue
		}
		t := &todo{}
		now := time.Now()
		ho.mu.Lock()
		if d.at == parked {
			ho.courier.dispatch(d, false, now, t)
		}
		ho.mu.Unlock()
		ho.courier.finish(t)
	}

	if next := ho.mute.next(); !next.IsZero() {
		ho.silenceEnded(next)
	}
}

// firstOf returns when the first of a list came.
func firstOf(list []*delivery, now time.Time) time.Time {
	for _, d := range list {
		if d.base.Time.Before(now) {
			now = d.base.Time
		}
	}
	return now
}
