package scrape

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Bounds on finding out whether a way out works again.
const (
	lostPause    = 5 * time.Second // requests that can leave otherwise pass it by
	probeFirst   = 5 * time.Second
	probeMost    = 2 * time.Minute
	probeTimeout = 10 * time.Second
)

// way is one way out with its state: Tor, one proxy, or this machine itself.
type way struct {
	name   string
	egress Egress
	ways   *ways

	mu       sync.Mutex
	known    bool
	err      error // why it does not work; nil: it does
	since    time.Time
	failed   time.Time // last found lost
	failures int       // probes in a row
	probing  bool
	stalls   int       // requests in a row by which nothing came in time
	stalled  time.Time // while that counts
}

// note records what an attempt or a check has shown. Errors that say nothing of
// the way are passed over.
func (w *way) note(err error) {
	lost := err != nil
	if lost && !errors.Is(err, ErrEgressUnavailable) {
		return
	}
	w.mu.Lock()
	changed := !w.known || lost != (w.err != nil)
	if !changed && !lost {
		w.mu.Unlock()
		return
	}

	w.known = true
	if w.err = err; changed {
		w.since, w.failures = time.Now(), 0
	}
	if lost {
		w.failed = time.Now()
	}

	probe := lost && !w.probing && w.ways.many()
	if probe {
		w.probing = true
	}
	w.mu.Unlock()

	if changed {
		w.ways.changed(w, err)
	}
	if probe {
		w.ways.probeLater(w)
	}
}

// stall records that nothing came by the way in time. It may be the site's doing,
// so that the way is not lost, and only passed by for a while.
func (w *way) stall() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stalled = time.Now().Add(min(probeFirst<<min(w.stalls, 8), probeMost))
	w.stalls++
}

// answered records that something came by the way.
func (w *way) answered() {
	w.mu.Lock()
	w.stalls, w.stalled = 0, time.Time{}
	w.mu.Unlock()
	w.note(nil)
}

// flows reports whether the way works and no request by it came to nothing of
// late.
func (w *way) flows() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err == nil && (w.stalls == 0 || time.Now().After(w.stalled))
}

// works reports whether the way worked when it was last used or checked.
func (w *way) works() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err == nil
}

// lost returns why the way does not work, nil if it does.
func (w *way) lost() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// probe returns an error only if the way says that it is unavailable.
func (w *way) probe(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	check := w.egress.Check
	if p, ok := w.egress.(ProbeEgress); ok {
		check = p.Probe
	}

	err := check(ctx)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrEgressUnavailable):
		return err
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded): // the timer may be a moment late
		return fmt.Errorf("%w: no answer within %v", ErrEgressUnavailable, limit)
	}

	return nil
}

// stats is the way as Stats shows it.
func (w *way) stats() WayStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := WayStats{Name: w.name, Works: w.known && w.err == nil, Since: w.since}
	switch {
	case !w.known:
		s.Why = "not used yet"
	case w.err != nil:
		s.Why = w.err.Error()
	}
	return s
}

// ways are the ways out of a client. The list does not change.
type ways struct {
	list    []*way
	direct  *way // for the fallback
	changed func(w *way, err error)

	ctx context.Context // ends with Close
	wg  *sync.WaitGroup

	mu   sync.Mutex
	next int
}

// newWays returns the ways out of e.
func newWays(ctx context.Context, wg *sync.WaitGroup, e Egress) *ways {
	s := &ways{ctx: ctx, wg: wg, changed: func(*way, error) {}}
	list := []Egress{e}
	if many, ok := e.(ManyEgress); ok {
		list = many.Ways()
	}
	for _, e := range list {
		s.list = append(s.list, &way{name: nameOf(e), egress: e, ways: s})
	}
	s.direct = &way{name: "direct", egress: Direct(), ways: s}
	return s
}

// nameOf is what to show of an egress.
func nameOf(e Egress) string {
	if s, ok := e.(fmt.Stringer); ok {
		return s.String()
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", e), "*")
}

func (s *ways) many() bool { return len(s.list) > 1 }

// pick returns the way for another identity: in turn, those by which answers come
// first, then those that work. If none does, the one that was lost longest ago is
// tried.
func (s *ways) pick() *way {
	s.mu.Lock()
	defer s.mu.Unlock()

	for _, fits := range []func(*way) bool{(*way).flows, (*way).works} {
		for i := range s.list {
			if w := s.list[(s.next+i)%len(s.list)]; fits(w) {
				s.next = (s.next + i + 1) % len(s.list)
				return w
			}
		}
	}

	var oldest *way
	var at time.Time
	for _, w := range s.list {
		w.mu.Lock()
		failed := w.failed
		w.mu.Unlock()
		if oldest == nil || failed.Before(at) {
			oldest, at = w, failed
		}
	}

	return oldest
}

// works reports whether any way works.
func (s *ways) works() bool {
	for _, w := range s.list {
		if w.works() {
			return true
		}
	}
	return false
}

// count returns how many ways work.
func (s *ways) count() int {
	n := 0
	for _, w := range s.list {
		if w.works() {
			n++
		}
	}
	return n
}

// prefers reports whether answers come by another way than w, and not by w.
func (s *ways) prefers(w *way) bool {
	if w.flows() {
		return false
	}
	for _, other := range s.list {
		if other.flows() {
			return true
		}
	}
	return false
}

// another reports whether a way but w works.
func (s *ways) another(w *way) bool {
	for _, other := range s.list {
		if other != w && other.works() {
			return true
		}
	}
	return false
}

// pausing reports whether no way works and all were tried a moment ago, so that
// a request that can leave otherwise need not try them again.
func (s *ways) pausing() bool {
	for _, w := range s.list {
		w.mu.Lock()
		tried := w.err != nil && time.Since(w.failed) < lostPause
		w.mu.Unlock()
		if !tried {
			return false
		}
	}
	return true
}

// lost returns why there is no way out, nil if there is one.
func (s *ways) lost() error {
	var errs []error
	for _, w := range s.list {
		err := w.lost()
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// check asks all ways at once and returns nil as soon as one works.
func (s *ways) check(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan error, len(s.list))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, w := range s.list {
		wg.Go(func() {
			err := w.egress.Check(ctx)
			w.note(err)
			results <- err
		})
	}

	var errs []error
	for range s.list {
		err := <-results
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// probeLater asks a lost way now and then whether it is back. It is for egresses
// of several ways: a single one is tried by every request.
func (s *ways) probeLater(w *way) {
	s.wg.Go(func() {
		wait := probeFirst
		for {
			if sleep(s.ctx, nil, wait) != nil {
				return
			}

			ctx, cancel := context.WithTimeout(s.ctx, probeTimeout)
			err := w.egress.Check(ctx)
			cancel()
			if s.ctx.Err() != nil {
				return
			}

			w.mu.Lock()
			if err == nil || w.err == nil {
				w.probing = false
				w.mu.Unlock()
				w.note(nil)
				return
			}

			w.failures++
			w.mu.Unlock()
			wait = min(2*wait, probeMost)
		}
	})
}
