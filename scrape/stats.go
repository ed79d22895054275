package scrape

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxCounted bounds the exits and user agents that are counted one by one; the
// rest is counted under "other".
const maxCounted = 1000

// unknownExit stands for an exit that the egress does not tell.
const unknownExit = "unknown"

// Stats is what a client has done so far.
type Stats struct {
	// Egress says how requests leave, and why.
	Egress EgressStats
	// Identity is the current one, the zero Identity before the first request.
	Identity Identity
	// Requests counts what was sent, retries, redirects and robots.txt included;
	// Pages the answers that were delivered; Failures the requests that ended in
	// an error.
	Requests, Pages, Failures int64
	// CacheHits counts the pages that came from Options.Cache without a request,
	// and Revalidated those that the site confirmed after one (304). Both are
	// among Pages. A hit is no request of an identity: it counts for no rotation,
	// waits for no host and has no exit.
	CacheHits, Revalidated int64
	// Bytes and WireBytes count bodies, decoded and as sent.
	Bytes, WireBytes int64
	// Retries, Bans, Rotations, Redraws, Fallbacks and RobotsDenied count events.
	// Redraws are identities dropped because their exit was not a new one.
	Retries, Bans, Rotations, Redraws, Fallbacks, RobotsDenied int64
	// Waited is the time that requests spent waiting for HostLimit, Retry-After
	// and backoff, all together.
	Waited time.Duration
	// Exits counts the pages that were fetched by exit, most first. Where the exit is not known it
	// is "unknown"; pages fetched from this machine's own address are "direct".
	Exits []Count
	// UserAgents counts the pages that were fetched by user agent, most first.
	UserAgents []Count
	// Hosts counts by scheme, host and port; most pages first.
	Hosts []HostStats
}

// EgressStats says how requests leave.
type EgressStats struct {
	// Name is what the egress calls itself.
	Name string
	// Available says that the egress was available when it was last used or
	// checked.
	Available bool
	// Direct says that requests leave from this machine's own address now.
	Direct bool
	// Why explains it in a sentence.
	Why string
	// Since is when Available last changed.
	Since time.Time
}

// Count is how often something occurred.
type Count struct {
	Name  string
	Count int64
}

// HostStats counts for one host.
type HostStats struct {
	// Host is scheme, host and port.
	Host string
	// Requests, Pages, Bytes and Failures count as in Stats.
	Requests, Pages, Bytes, Failures int64
}

// counters are the running values of Stats.
type counters struct {
	requests, pages, failures, bytes, wire                       atomic.Int64
	cacheHits, revalidated                                       atomic.Int64
	retries, bans, rotations, redraws, fallbacks, robots, waited atomic.Int64
	lost                                                         atomic.Bool

	mu     sync.Mutex
	exits  map[string]int64
	agents map[string]int64
	known  bool
	err    error
	since  time.Time
}

// setEgress records whether the egress is available, and reports a change.
func (s *counters) setEgress(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := !s.known || (s.err == nil) != (err == nil)
	s.err = err
	s.lost.Store(err != nil)
	if changed {
		s.known, s.since = true, time.Now()
	}
	return changed
}

func (s *counters) egressLost() bool { return s.lost.Load() }

func (s *counters) egressError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// count adds one to name in a bounded map.
func count(m *map[string]int64, name string) {
	if *m == nil {
		*m = map[string]int64{}
	}
	if _, ok := (*m)[name]; !ok && len(*m) >= maxCounted {
		name = "other"
	}
	(*m)[name]++
}

// delivered counts a page, and tells of it.
func (c *Client) delivered(x *exchange, page Page) {
	id := x.id
	c.stats.pages.Add(1)
	c.stats.bytes.Add(page.Bytes)
	c.stats.wire.Add(page.WireBytes)
	x.host.pages.Add(1)
	x.host.bytes.Add(page.Bytes)
	c.stats.mu.Lock()
	exit := unknownExit
	if known := id.exit.Load(); known != nil {
		exit = *known
	} else if id.info.Direct {
		exit = "direct"
	} else {
		id.unknown++
	}
	count(&c.stats.exits, exit)
	count(&c.stats.agents, page.Agent)
	c.stats.mu.Unlock()
	if page.Err != nil {
		c.log.Info("page cut short", "url", shownURL(x.req.URL), "bytes", page.Bytes, "error", page.Err)
	} else if c.log.Enabled(x, slog.LevelDebug) {
		c.log.Debug("page", "url", shownURL(x.req.URL), "status", page.Status, "bytes", page.Bytes, "elapsed", page.Elapsed,
			"identity", id.info.Number, "exit", exit)
	}
	if c.opts.Hooks.OnPage != nil {
		page.URL, page.Identity = shownURL(x.req.URL), id.snapshot()
		c.opts.Hooks.OnPage(page)
	}
}

// Stats returns what the client has done so far. The caller owns the result.
func (c *Client) Stats() Stats {
	s := Stats{
		Requests: c.stats.requests.Load(), Pages: c.stats.pages.Load(), Failures: c.stats.failures.Load(),
		CacheHits: c.stats.cacheHits.Load(), Revalidated: c.stats.revalidated.Load(),
		Bytes: c.stats.bytes.Load(), WireBytes: c.stats.wire.Load(), Retries: c.stats.retries.Load(),
		Bans: c.stats.bans.Load(), Rotations: c.stats.rotations.Load(), Redraws: c.stats.redraws.Load(),
		Fallbacks: c.stats.fallbacks.Load(), RobotsDenied: c.stats.robots.Load(), Waited: time.Duration(c.stats.waited.Load()),
	}
	c.stats.mu.Lock()
	s.Exits, s.UserAgents = sorted(c.stats.exits), sorted(c.stats.agents)
	s.Egress = EgressStats{Available: c.stats.err == nil && c.stats.known, Since: c.stats.since}
	known, lost := c.stats.known, c.stats.err
	c.stats.mu.Unlock()
	s.Egress.Name = c.egressName()
	switch {
	case c.guard.direct:
		s.Egress.Direct = true
		s.Egress.Why = "chosen: requests leave from this machine's own address"
	case !known:
		s.Egress.Why = "not used yet"
	case lost == nil:
		s.Egress.Why = "available"
	case c.opts.Fallback == DirectWithWarning:
		s.Egress.Direct = true
		s.Egress.Why = "requests leave from this machine's own address, as Fallback allows: " + lost.Error()
	default:
		s.Egress.Why = "no request is sent: " + lost.Error()
	}
	c.mu.Lock()
	current := c.main.cur
	if s.Egress.Direct && c.fallback.cur != nil {
		current = c.fallback.cur
	}
	c.mu.Unlock()
	if current != nil {
		s.Identity = current.snapshot()
	}
	s.Hosts = c.hosts.stats()
	return s
}

func sorted(m map[string]int64) []Count {
	list := make([]Count, 0, len(m))
	for name, n := range m {
		list = append(list, Count{name, n})
	}
	slices.SortFunc(list, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	return list
}

func (t *hostTable) stats() []HostStats {
	t.mu.Lock()
	list := make([]HostStats, 0, len(t.entries))
	for _, h := range t.entries {
		list = append(list, HostStats{
			Host: h.key.String(), Requests: h.requests.Load(), Pages: h.pages.Load(), Bytes: h.bytes.Load(), Failures: h.failures.Load(),
		})
	}
	t.mu.Unlock()
	slices.SortFunc(list, func(a, b HostStats) int {
		return cmp.Or(cmp.Compare(b.Pages, a.Pages), cmp.Compare(a.Host, b.Host))
	})
	return list
}
