package scrape

import "net"

// DirectVia is Direct with a resolver of the test's.
func DirectVia(r *net.Resolver) Egress { return direct{resolver: r} }

// RobotsCached returns how many hosts' rules are kept.
func (c *Client) RobotsCached() int {
	c.robots.mu.Lock()
	defer c.robots.mu.Unlock()
	return len(c.robots.entries)
}
