package scrape

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxHosts is how many hosts are remembered. One with a request under way, a
// pause or a limit that still holds is never forgotten.
const maxHosts = 4096

// Bounds on how far a host that answers 429 slows its requests down.
const (
	slowFirst = time.Second
	slowMost  = 30 * time.Second
	slowFor   = time.Minute
)

// hosts keeps what is known of each host: its limits and its counts.
type hosts struct {
	limit   HostLimit
	longest time.Duration   // a pause above this is an error, not a wait
	closed  <-chan struct{} // ends every wait

	mu        sync.Mutex
	entries   map[string]*host
	order     *list.List // of *host, most recently used first
	forgotten HostStats  // counts of those that were forgotten
	dropped   int64
}

func newHosts(limit HostLimit, longest time.Duration, closed <-chan struct{}) *hosts {
	return &hosts{limit: limit, longest: longest, closed: closed, entries: map[string]*host{}, order: list.New()}
}

// hostKey is what counts as one host: http and https, and a trailing dot, are
// the same machine; a port of its own is another.
func hostKey(u *url.URL) string {
	whole := strings.ToLower(u.Host)
	name, port := whole, ""
	if i := strings.LastIndexByte(whole, ':'); i > strings.LastIndexByte(whole, ']') {
		name, port = whole[:i], whole[i+1:]
	}

	dots := strings.HasSuffix(name, ".")
	if dots {
		name = strings.TrimRight(name, ".")
	}

	switch {
	case port == "" || port == "80" && u.Scheme == "http" || port == "443" && u.Scheme == "https":
		return name
	case dots:
		return name + ":" + port
	}
	return whole
}

// get returns the host of u and keeps it from being forgotten until put.
func (t *hosts) get(u *url.URL) *host {
	key := hostKey(u)
	t.mu.Lock()
	defer t.mu.Unlock()

	h := t.entries[key]
	if h == nil {
		h = &host{key: key, table: t, burst: t.limit.Burst}
		if t.limit.PerSecond > 0 {
			h.interval = time.Duration(float64(time.Second) / t.limit.PerSecond)
		}
		if t.limit.InFlight > 0 {
			h.slots = make(chan struct{}, t.limit.InFlight)
		}
		t.entries[key] = h
		h.place = t.order.PushFront(h)
		t.trim()
	} else if t.order.Front() != h.place {
		t.order.MoveToFront(h.place)
	}

	h.refs++
	return h
}

func (t *hosts) put(h *host) {
	t.mu.Lock()
	h.refs--
	t.mu.Unlock()
}

// trim forgets hosts that were not used for longest. It looks at a few only, so
// that a table full of hosts with a pause costs no search. t.mu is held.
func (t *hosts) trim() {
	now := time.Now()
	for range 8 {
		e := t.order.Back()
		if e == nil || len(t.entries) <= maxHosts {
			return
		}

		h := e.Value.(*host)
		if h.refs > 0 || h.holds(now) {
			t.order.MoveToFront(e)
			continue
		}
		t.order.Remove(e)
		delete(t.entries, h.key)
		t.dropped++
		t.forgotten.add(h.stats())
	}
}

// stats returns the counts of each host, most pages first. Those of hosts that
// were forgotten come last, together.
func (t *hosts) stats() []HostStats {
	t.mu.Lock()
	list := make([]HostStats, 0, len(t.entries)+1)
	for _, h := range t.entries {
		list = append(list, h.stats())
	}
	rest, dropped := t.forgotten, t.dropped
	t.mu.Unlock()

	slices.SortFunc(list, func(a, b HostStats) int {
		return cmp.Or(cmp.Compare(b.Pages, a.Pages), cmp.Compare(a.Host, b.Host))
	})
	if dropped > 0 {
		rest.Host = fmt.Sprintf("%d other hosts", dropped)
		list = append(list, rest)
	}
	return list
}

// host is one host. It hands out turns by the generic cell rate algorithm: due
// is when the next request would be due if all came one interval apart.
type host struct {
	key   string
	table *hosts
	place *list.Element
	refs  int           // guarded by hosts.mu
	slots chan struct{} // requests that wait for their header
	http1 atomic.Bool   // https without HTTP/2 was seen here

	mu       sync.Mutex
	interval time.Duration // of HostLimit; 0: none
	burst    int
	delay    time.Duration // Crawl-delay
	slowed   time.Duration // interval after 429, until slowEnd
	slowEnd  time.Time
	due      time.Time
	resume   time.Time // no request before this

	requests, connections, pages, bytes, failures atomic.Int64
}

// stats returns the host's counts.
func (h *host) stats() HostStats {
	h.mu.Lock()
	resume := h.resume
	h.mu.Unlock()
	s := HostStats{
		Host: h.key, Requests: h.requests.Load(), Connections: h.connections.Load(), Pages: h.pages.Load(), Bytes: h.bytes.Load(), Failures: h.failures.Load(),
	}
	if time.Now().Before(resume) {
		s.PausedUntil = resume
	}
	return s
}

// holds reports whether forgetting h would break a promise to the host.
func (h *host) holds(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Before(h.resume) || now.Before(h.due) || now.Before(h.slowEnd)
}

// unlimited reports whether requests to h need not wait for a turn now.
func (h *host) unlimited() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	interval, _ := h.pace(time.Now())
	return interval == 0 && !time.Now().Before(h.resume)
}

// pace returns the interval in force, and how many requests may come at once.
// A Crawl-delay and a slowed rate allow no burst. h.mu is held.
func (h *host) pace(now time.Time) (time.Duration, int) {
	own := h.delay
	if now.Before(h.slowEnd) {
		own = max(own, h.slowed)
	}
	if own > h.interval {
		return own, 1
	}
	if own > 0 {
		return h.interval, 1
	}
	return h.interval, h.burst
}

// reserve takes the next turn and returns how long it is until then, and until
// when the host is paused, if it is.
func (h *host) reserve(now time.Time) (wait time.Duration, pausedUntil time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Before(h.resume) {
		pausedUntil = h.resume
		if h.resume.Sub(now) > h.table.longest {
			return 0, pausedUntil // nobody will wait: no turn is taken
		}
	}

	// After a pause requests come one interval apart, and not all at once.
	interval, burst := h.pace(now)
	first := now
	if now.Before(h.resume) {
		first, burst = h.resume, 1
	}
	if h.due.Before(first) {
		h.due = first
	}

	at := h.due.Add(-time.Duration(burst-1) * interval)
	if h.delay > h.table.longest && at.Sub(now) > h.table.longest {
		return 0, at // a Crawl-delay that nobody waits out
	}
	h.due = h.due.Add(interval)
	return max(0, at.Sub(now), first.Sub(now)), pausedUntil
}

// giveBack returns a turn that was not used.
func (h *host) giveBack() {
	h.mu.Lock()
	interval, _ := h.pace(time.Now())
	h.due = h.due.Add(-interval)
	h.mu.Unlock()
}

// enter waits until a request to the host may be sent. If it returns nil, leave
// must be called once the answer's header is there. waited counts the time. With
// patience above 0 a longer wait for the turn is a *parkedError.
func (h *host) enter(ctx context.Context, waited *atomic.Int64, patience time.Duration) error {
	if h.slots != nil {
		select {
		case h.slots <- struct{}{}:
		default:
			began := time.Now()
			select {
			case h.slots <- struct{}{}:
				waited.Add(int64(time.Since(began)))
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-h.table.closed:
				return ErrClosed
			}
		}
	}

	if err := h.turn(ctx, waited, patience); err != nil {
		h.leave()
		return err
	}
	return nil
}

// turn waits for the rate, and for a pause that the site asked for.
func (h *host) turn(ctx context.Context, waited *atomic.Int64, patience time.Duration) error {
	for {
		wait, paused := h.reserve(time.Now())
		if left := time.Until(paused); !paused.IsZero() && left > h.table.longest {
			return &pausedError{host: h.key, until: paused}
		}

		if wait <= 0 {
			return nil
		}
		if patience > 0 && wait > patience {
			h.giveBack()
			return &parkedError{until: time.Now().Add(wait)}
		}

		waited.Add(int64(wait))
		if err := sleep(ctx, h.table.closed, wait); err != nil {
			h.giveBack()
			return err
		}

		// Another request may have been told to wait meanwhile.
		h.mu.Lock()
		again := time.Now().Before(h.resume)
		h.mu.Unlock()
		if !again {
			return nil
		}
	}
}

// leave ends what enter began.
func (h *host) leave() {
	if h.slots != nil {
		<-h.slots
	}
}

// ready returns when a request to h could be sent: now or earlier if at once.
func (h *host) ready() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	interval, burst := h.pace(time.Now())
	at := h.due.Add(-time.Duration(burst-1) * interval)
	if at.Before(h.resume) {
		return h.resume
	}
	return at
}

// pause keeps every request from the host until then.
func (h *host) pause(until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until.After(h.resume) {
		h.resume = until
	}
}

// slowDown lowers the rate for a while, after 429 without a time. Answers to
// requests that were sent before it took effect count once.
func (h *host) slowDown(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !now.Before(h.slowEnd):
		h.slowed = max(slowFirst, 2*h.interval)
	case h.slowEnd.Sub(now) > slowFor-h.slowed:
		return
	default:
		h.slowed = min(2*h.slowed, slowMost)
	}
	h.slowEnd = now.Add(slowFor)
}

// crawlDelay raises the time between requests to what robots.txt asks for.
func (h *host) crawlDelay(delay time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.delay = max(h.delay, delay)
}

// pausedError: the host asked for more peace than a request waits for.
type pausedError struct {
	host  string
	until time.Time
}

func (e *pausedError) Error() string {
	return fmt.Sprintf("%v: no request before %s", ErrRetryLater, e.until.UTC().Format(time.RFC3339))
}

func (e *pausedError) Unwrap() error { return ErrRetryLater }

// parkedError: the request would have to wait, and whoever made it has other
// things to do. Nothing was sent, but for the attempts before.
type parkedError struct {
	until time.Time
	tries int // attempts that were made
}

func (e *parkedError) Error() string { return "parked until " + e.until.UTC().Format(time.RFC3339) }

// sleep waits for d, for the end of ctx or for the client's Close.
func sleep(ctx context.Context, closed <-chan struct{}, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-closed:
		return ErrClosed
	}
}
