package logging

import (
	"maps"
	"slices"

	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// work is how far a segment is done.
type work struct {
	at      int64              // all before it is done, but for what was refused
	done    map[int64]bool     // what is done behind it, by offset
	refused map[int64]*refusal // by offset, before and behind at
	stays   bool               // it is done, and its file could not be removed
}

// refusal is an event that was refused by itself.
type refusal struct {
	reason error
	takes  int // of the delivery when it was refused
	// firm says that it was refused while the receiver was known to take
	// others: then the next one taken proves it. Else it is sent once more.
	firm bool
}

func newWork() *work { return &work{done: map[int64]bool{}, refused: map[int64]*refusal{}} }

// restore takes over what a checkpoint says, as far as it is further.
func (w *work) restore(p queue.Progress) {
	w.reach(p.At)
	maps.DeleteFunc(w.refused, func(at int64, _ *refusal) bool { return at < w.at && !slices.Contains(p.Held, at) })
	for _, at := range p.Held {
		if w.refused[at] == nil {
			w.refused[at] = &refusal{takes: -1} // by another process, or one before
		}
	}
}

// reach notes that all before at is done, but for what was refused.
func (w *work) reach(at int64) {
	w.at = max(w.at, at)
	maps.DeleteFunc(w.done, func(at int64, _ bool) bool { return at < w.at })
}

// passed reports whether the event at an offset is done, or waits as it was
// refused.
func (w *work) passed(at int64) bool { return w.done[at] || w.refused[at] != nil }

// progress returns what the checkpoint is to say.
func (w *work) progress() queue.Progress {
	p := queue.Progress{At: w.at}
	for at := range w.refused {
		if at < w.at {
			p.Held = append(p.Held, at)
		}
	}
	slices.Sort(p.Held)
	return p
}

// take notes that the receiver has the event at an offset.
func (w *work) take(at int64) {
	w.done[at] = true
	delete(w.refused, at)
}

// finish notes that the event at an offset is done with.
func (w *work) finish(at int64) {
	delete(w.refused, at)
	if at >= w.at {
		w.done[at] = true
	}
}

// retriable returns the offsets of the events which wait and may be taken now,
// when the receiver took something so many times.
func (w *work) retriable(takes int) []int64 {
	return w.pick(func(at int64, r *refusal) bool {
		return at < w.at && !r.firm && (r.takes < 0 || takes > r.takes)
	})
}

// poison returns the offsets of the events of which it is proven that the
// receiver will never take them.
func (w *work) poison(takes int) []int64 {
	return w.pick(func(_ int64, r *refusal) bool { return r.firm && takes > r.takes })
}

func (w *work) pick(which func(at int64, r *refusal) bool) (offsets []int64) {
	for at, r := range w.refused {
		if which(at, r) {
			offsets = append(offsets, at)
		}
	}
	slices.Sort(offsets)
	return offsets
}
