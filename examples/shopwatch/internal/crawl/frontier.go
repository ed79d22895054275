package crawl

import (
	"context"
	"sync"
)

// frontier is the pages that are known, on their way, and done. It ends when
// nothing is left or when it is closed.
type frontier struct {
	mu      sync.Mutex
	wake    *sync.Cond
	waiting []string
	seen    map[string]bool
	max     int
	cut     bool // a page was left out because of max
	active  int
	done    int
	closed  bool
	current string
}

func newFrontier(maxPages int) *frontier {
	f := &frontier{seen: map[string]bool{}, max: maxPages}
	f.wake = sync.NewCond(&f.mu)
	return f
}

// add puts pages that are not known yet at the end.
func (f *frontier) add(pages ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range pages {
		if f.seen[p] {
			continue
		}
		if len(f.seen) >= f.max {
			f.cut = true
			continue
		}
		f.seen[p] = true
		f.waiting = append(f.waiting, p)
	}
	f.wake.Broadcast()
}

// next returns a page to fetch. It waits while pages on their way may still
// show more, and returns false when there is nothing left or the frontier is
// closed.
func (f *frontier) next() (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.waiting) == 0 && f.active > 0 && !f.closed {
		f.wake.Wait()
	}
	if f.closed || len(f.waiting) == 0 {
		return "", false
	}
	p := f.waiting[0]
	f.waiting = f.waiting[1:]
	f.active++
	f.current = p
	return p, true
}

// finish says that a page from next is done; its links have been added.
func (f *frontier) finish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active--
	f.done++
	f.wake.Broadcast()
}

func (f *frontier) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.wake.Broadcast()
}

// all yields pages until the frontier ends.
func (f *frontier) all(ctx context.Context) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for ctx.Err() == nil {
			p, ok := f.next()
			if !ok || !yield(p) {
				return
			}
		}
	}
}

// Progress is how far a crawl has come.
type Progress struct {
	Known   int    // pages known so far
	Done    int    // pages fetched, well or not
	Current string // the page begun last; empty at the end
}

func (f *frontier) progress() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := Progress{Known: len(f.seen), Done: f.done}
	if f.active > 0 {
		p.Current = f.current
	}
	return p
}

// left reports whether known pages were not fetched, and why.
func (f *frontier) left() (unfetched int, cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.seen) - f.done, f.cut
}
