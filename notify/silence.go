package notify

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// silences hides messages for a while.
type silences struct {
	live    atomic.Int32
	count   atomic.Uint64
	changed func(at time.Time) // one ends at this time

	mu   sync.Mutex
	list []*silence
}

type silence struct {
	match func(Message) bool
	until time.Time
}

// Silence hides the messages that match takes, all for nil, for the duration d,
// or until the function that it returns is called. match must be fast and not
// block; one that panics hides nothing. It is asked when a message goes out, so
// that repeats, summaries and what waits already are hidden, too.
//
// Hidden messages are counted in [Stats]. If the trouble that a Key names is
// still open when the silence is over, one message about it goes out then, a
// second later; what began and ended within the silence goes to nobody, and so
// does what has no Key.
func (h *Hub) Silence(match func(Message) bool, d time.Duration) (end func()) {
	s := &silence{match: match, until: time.Now().Add(d)}
	h.mute.mu.Lock()
	h.mute.list = append(h.mute.list, s)
	h.mute.live.Store(int32(len(h.mute.list)))
	h.mute.mu.Unlock()
	h.mute.changed(s.until)

	return func() {
		h.mute.mu.Lock()
		before := len(h.mute.list)
		h.mute.list = slices.DeleteFunc(h.mute.list, func(o *silence) bool { return o == s })
		ended := len(h.mute.list) < before
		h.mute.live.Store(int32(len(h.mute.list)))
		h.mute.mu.Unlock()
		if ended {
			h.mute.changed(time.Now())
		}
	}
}

func (s *silences) active() bool { return s.live.Load() > 0 }

// next returns when the first silence ends, or zero.
func (s *silences) next() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var at time.Time
	for _, o := range s.list {
		if at.IsZero() || o.until.Before(at) {
			at = o.until
		}
	}
	return at
}

// hides reports whether m is hidden, and counts it.
func (s *silences) hides(m Message) bool {
	hidden := s.match(m)
	if hidden {
		s.count.Add(1)
	}
	return hidden
}

func (s *silences) match(m Message) bool {
	now := time.Now()
	s.mu.Lock()
	s.list = slices.DeleteFunc(s.list, func(o *silence) bool { return !now.Before(o.until) })
	s.live.Store(int32(len(s.list)))
	list := slices.Clone(s.list) // match is foreign code: not under the lock
	s.mu.Unlock()
	return slices.ContainsFunc(list, func(o *silence) bool { return o.hides(m) })
}

// hides asks match. One that panics hides nothing.
func (s *silence) hides(m Message) (hidden bool) {
	if s.match == nil {
		return true
	}
	defer func() {
		if recover() != nil {
			hidden = false
		}
	}()
	return s.match(m)
}
