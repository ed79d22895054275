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

// add hides what match takes for d, or until end is called.
func (s *silences) add(match func(Message) bool, d time.Duration) (end func()) {
	one := &silence{match: match, until: time.Now().Add(d)}
	s.mu.Lock()
	s.list = append(s.list, one)
	s.live.Store(int32(len(s.list)))
	s.mu.Unlock()
	s.changed(one.until)

	return func() {
		s.mu.Lock()
		before := len(s.list)
		s.list = slices.DeleteFunc(s.list, func(o *silence) bool { return o == one })
		ended := len(s.list) < before
		s.live.Store(int32(len(s.list)))
		s.mu.Unlock()
		if ended {
			s.changed(time.Now())
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
