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
	// Connections the connections that were made for it; Pages the answers that
	// were delivered; Failures the requests that ended in an error.
	Requests, Connections, Pages, Failures int64
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
	// Exits counts the pages that were fetched by exit, most first. Where the exit
	// is not known it is "unknown"; pages fetched from this machine's own address
	// are "direct".
	Exits []ExitCount
	// UserAgents counts the pages that were fetched by user agent, most first.
	UserAgents []Count
	// Hosts counts by host, and port if it is not the scheme's; most pages first.
	// At most 4,096 hosts are remembered; what others did comes last, together.
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
	// Ways are the ways out: one, or the proxies of [Proxies].
	Ways []WayStats
}

// WayStats is the state of one way out.
type WayStats struct {
	// Name is what the way calls itself: "tor", or a proxy's host:port.
	Name string
	// Works says that it worked when it was last used or checked. One that does
	// not is passed by while others work, and asked now and then.
	Works bool
	// Since is when that last changed.
	Since time.Time
	// Why says why it does not work.
	Why string
}

// Count is how often something occurred.
type Count struct {
	Name  string
	Count int64
}

// ExitCount is how many pages came by an exit.
type ExitCount struct {
	// Name is the exit as the egress names it; Address and Country are as in
	// [Identity].
	Name, Address, Country string
	Count                  int64
}

// HostStats counts for one host.
type HostStats struct {
	// Host is the host, with its port if that is not the scheme's.
	Host string
	// Requests, Connections, Pages, Bytes and Failures count as in Stats.
	Requests, Connections, Pages, Bytes, Failures int64
	// PausedUntil is when the next request may be sent, if the host has asked for
	// a pause (Retry-After).
	PausedUntil time.Time
}

// add counts what another host has done.
func (s *HostStats) add(o HostStats) {
	s.Requests += o.Requests
	s.Connections += o.Connections
	s.Pages += o.Pages
	s.Bytes += o.Bytes
	s.Failures += o.Failures
}

// counters are the running values of Stats.
type counters struct {
	requests, connections, pages, failures, bytes, wire          atomic.Int64
	cacheHits, revalidated                                       atomic.Int64
	retries, bans, rotations, redraws, fallbacks, robots, waited atomic.Int64

	mu     sync.Mutex
	exits  map[string]int64
	places map[string]exitPlace // of the exits that are counted
	agents map[string]int64
}

// placed records where an exit is.
func (s *counters) placed(exit string, at exitPlace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.places == nil {
		s.places = map[string]exitPlace{}
	}
	if len(s.places) < maxCounted {
		s.places[exit] = at
	}
}

// byExit returns the pages by exit, most first. s.mu is held.
func (s *counters) byExit() []ExitCount {
	list := make([]ExitCount, 0, len(s.exits))
	for _, c := range sorted(s.exits) {
		at := s.places[c.Name]
		list = append(list, ExitCount{Name: c.Name, Address: at.address, Country: at.country, Count: c.Count})
	}
	return list
}

// learned records the exit of an identity, and counts for it the pages that
// were delivered before it was known.
func (s *counters) learned(id *identity, exit string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id.exit.Store(&exit)
	for range id.unknown {
		count(&s.exits, exit)
	}
	if left := s.exits[unknownExit] - id.unknown; id.unknown > 0 && left > 0 {
		s.exits[unknownExit] = left
	} else if id.unknown > 0 {
		delete(s.exits, unknownExit)
	}
	id.unknown = 0
}

// count adds one to name in a bounded map.
func count(m *map[string]int64, name string) {
	if *m == nil {
		*m = map[string]int64{}
	}
	n, ok := (*m)[name]
	if !ok && len(*m) >= maxCounted {
		name = "other"
		n = (*m)[name]
	}
	(*m)[name] = n + 1
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
	} else if c.log.Enabled(x.ctx, slog.LevelDebug) {
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
		Requests: c.stats.requests.Load(), Connections: c.stats.connections.Load(), Pages: c.stats.pages.Load(), Failures: c.stats.failures.Load(),
		CacheHits: c.stats.cacheHits.Load(), Revalidated: c.stats.revalidated.Load(),
		Bytes: c.stats.bytes.Load(), WireBytes: c.stats.wire.Load(), Retries: c.stats.retries.Load(),
		Bans: c.stats.bans.Load(), Rotations: c.stats.rotations.Load(), Redraws: c.stats.redraws.Load(),
		Fallbacks: c.stats.fallbacks.Load(), RobotsDenied: c.stats.robots.Load(), Waited: time.Duration(c.stats.waited.Load()),
	}

	c.stats.mu.Lock()
	s.Exits, s.UserAgents = c.stats.byExit(), sorted(c.stats.agents)
	c.stats.mu.Unlock()
	s.Egress = c.egressStats()

	c.ids.mu.Lock()
	current := c.ids.main.cur
	if s.Egress.Direct && c.ids.fallback.cur != nil {
		current = c.ids.fallback.cur
	}
	c.ids.mu.Unlock()
	if current != nil {
		s.Identity = current.snapshot()
	}

	s.Hosts = c.hosts.stats()
	return s
}

// egressStats says how requests leave.
func (c *Client) egressStats() EgressStats {
	s := EgressStats{Name: nameOf(c.opts.Egress)}
	known := false
	for _, w := range c.ways.list {
		state := w.stats()
		known = known || state.Works || !state.Since.IsZero()
		s.Available = s.Available || state.Works
		if state.Since.After(s.Since) {
			s.Since = state.Since
		}
		s.Ways = append(s.Ways, state)
	}

	lost := c.ways.lost()
	switch {
	case c.guard.direct:
		s.Direct = true
		s.Why = "chosen: requests leave from this machine's own address"
	case !known:
		s.Why = "not used yet"
	case lost == nil:
		s.Why = "available"
	case c.opts.Fallback == DirectWithWarning:
		s.Direct = true
		s.Why = "requests leave from this machine's own address, as Fallback allows: " + lost.Error()
	default:
		s.Why = "no request is sent: " + lost.Error()
	}
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
