package scrape

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// maxHosts is how many hosts are remembered. One with a request under way is
// never forgotten.
const maxHosts = 4096

// hostTable keeps what is known of each host: its limits and its counts.
type hostTable struct {
	limit HostLimit

	mu      sync.Mutex
	entries map[origin]*host
	order   *list.List // of *host, most recently used first
}

// host is one scheme, host and port.
type host struct {
	key      origin
	place    *list.Element
	refs     int                          // guarded by hostTable.mu
	limiter  atomic.Pointer[rate.Limiter] // nil: no limit
	slots    chan struct{}
	resumeNS atomic.Int64 // no request before this, Unix nanoseconds

	requests, pages, bytes, failures atomic.Int64
}

func newHostTable(limit HostLimit) *hostTable {
	return &hostTable{limit: limit, entries: map[origin]*host{}, order: list.New()}
}

// get returns the entry of key and keeps it from being forgotten until put.
func (t *hostTable) get(key origin) *host {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.entries[key]
	if h == nil {
		h = &host{key: key}
		if t.limit.PerSecond > 0 {
			h.limiter.Store(rate.NewLimiter(rate.Limit(t.limit.PerSecond), t.limit.Burst))
		}
		if t.limit.InFlight > 0 {
			h.slots = make(chan struct{}, t.limit.InFlight)
		}
		t.entries[key] = h
		h.place = t.order.PushFront(h)
		t.trim()
	} else {
		t.order.MoveToFront(h.place)
	}
	h.refs++
	return h
}

func (t *hostTable) put(h *host) {
	t.mu.Lock()
	h.refs--
	t.mu.Unlock()
}

// trim forgets the hosts that were not used for longest. t.mu is held.
func (t *hostTable) trim() {
	for e := t.order.Back(); e != nil && len(t.entries) > maxHosts; {
		h, before := e.Value.(*host), e.Prev()
		if h.refs == 0 {
			t.order.Remove(e)
			delete(t.entries, h.key)
		}
		e = before
	}
}

// tryEnter enters the host if nothing has to be waited for; leave must then be
// called.
func (h *host) tryEnter() bool {
	if h.resumeNS.Load() != 0 {
		return false
	}
	if h.slots != nil {
		select {
		case h.slots <- struct{}{}:
		default:
			return false
		}
	}
	if limiter := h.limiter.Load(); limiter == nil || limiter.Allow() {
		return true
	}
	h.leave()
	return false
}

// enter waits until a request to the host may be sent. If it returns nil,
// leave must be called.
func (h *host) enter(ctx context.Context) error {
	if h.slots != nil {
		select {
		case h.slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := h.turn(ctx); err != nil {
		h.leave()
		return err
	}
	return nil
}

// turn waits for the rate, and for a pause that the site asked for.
func (h *host) turn(ctx context.Context) error {
	for {
		pause := time.Until(time.Unix(0, h.resumeNS.Load()))
		if pause <= 0 {
			break
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	limiter := h.limiter.Load()
	if limiter == nil {
		return nil
	}
	wait := limiter.Reserve() // a burst of at least 1 makes it OK always
	if delay := wait.Delay(); delay > 0 {
		if err := sleep(ctx, delay); err != nil {
			wait.Cancel()
			return err
		}
	}
	return nil
}

func (h *host) leave() {
	if h.slots != nil {
		<-h.slots
	}
}

// pause keeps every request from the host until then.
func (h *host) pause(until time.Time) {
	for {
		have := h.resumeNS.Load()
		if until.UnixNano() <= have || h.resumeNS.CompareAndSwap(have, until.UnixNano()) {
			return
		}
	}
}

// slow lowers the rate to one request per delay.
func (h *host) slow(delay time.Duration) {
	if delay <= 0 {
		return
	}
	limit := rate.Every(delay)
	if h.limiter.CompareAndSwap(nil, rate.NewLimiter(limit, 1)) {
		return
	}
	if limiter := h.limiter.Load(); limiter.Limit() > limit {
		limiter.SetLimit(limit)
	}
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
