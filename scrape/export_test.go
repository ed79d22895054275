package scrape

import (
	"net"
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
