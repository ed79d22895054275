package notify

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// silences hides messages for a while.
type silences struct {
	live  atomic.Int32
	count atomic.Uint64

	mu   sync.Mutex
	list []*silence
}

type silence struct {
	match func(Message) bool
	until time.Time
}

// Silence hides the messages that match takes, all for nil, for the duration d,
// or until the function that it returns is called. match must be fast and not
// block; one that panics hides nothing. Hidden messages are counted in [Stats] and otherwise gone; those that
// wait for delivery already still go out.
func (h *Hub) Silence(match func(Message) bool, d time.Duration) (end func()) {
	s := &silence{match: match, until: time.Now().Add(d)}
	h.mute.mu.Lock()
	h.mute.list = append(h.mute.list, s)
	h.mute.live.Store(int32(len(h.mute.list)))
	h.mute.mu.Unlock()
	return func() {
		h.mute.mu.Lock()
		defer h.mute.mu.Unlock()
		h.mute.list = slices.DeleteFunc(h.mute.list, func(o *silence) bool { return o == s })
		h.mute.live.Store(int32(len(h.mute.list)))
	}
}

func (s *silences) active() bool { return s.live.Load() > 0 }

func (s *silences) hides(m Message, now time.Time) bool {
	s.mu.Lock()
	s.list = slices.DeleteFunc(s.list, func(o *silence) bool { return !now.Before(o.until) })
	s.live.Store(int32(len(s.list)))
	list := slices.Clone(s.list) // match is foreign code: not under the lock
	s.mu.Unlock()
	for _, o := range list {
		if o.hides(m) {
			s.count.Add(1)
			return true
		}
	}
	return false
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
