package scrape

import (
	"net"
	"net/http"
	"net/netip"
)

// DirectVia is Direct with a resolver of the test's.
func DirectVia(r *net.Resolver) Egress { return direct{resolver: r} }

// RobotsCached returns how many hosts' rules are kept.
func (c *Client) RobotsCached() int {
	c.robots.mu.Lock()
	defer c.robots.mu.Unlock()
	return len(c.robots.entries)
}

// DirectAllowing is Direct with exceptions, for use without a Client.
func DirectAllowing(allow ...netip.Prefix) Egress {
	return direct{guard: &guard{allow: allow, direct: true}}
}

// CheckHost asks the guard of an egress that is not direct.
func CheckHost(host string) error {
	_, err := (&guard{}).checkHost(host)
	return err
}

// Seen is the set of pages that a crawl knows.
type Seen struct{ seen }

// Add adds a page, and reports whether it is new.
func (s *Seen) Add(id uint64) bool { return s.add(id) }

// Has reports whether a page is in the set.
func (s *Seen) Has(id uint64) bool { return s.has(id) }

// Bytes returns what the set takes.
func (s *Seen) Bytes() int {
	n := 0
	for i := range s.parts {
		n += 8 * len(s.parts[i].slots)
	}
	return n
}

// NewJar returns the jar of an identity.
func NewJar() http.CookieJar { return newJar() }
