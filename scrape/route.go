package scrape

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
)

// route is how an identity leaves: its way out, the key by which that keeps it
// apart from others, the exit, and the connections.
type route struct {
	way       *way
	guard     *guard
	isolation string
	distinct  bool
	exit      atomic.Pointer[string]
	at        atomic.Pointer[exitPlace] // where the exit is
	gate      *gate
	users     int // identities; guarded by identities.mu
}

// exitPlace is where an exit is; each is "" if it is not known.
type exitPlace struct{ address, country string }

// newRoute returns a route without connections.
func (c *Client) newRoute(w *way, g *guard, isolation string) *route {
	r := &route{way: w, guard: g, isolation: isolation, distinct: c.opts.Rotation.Distinct}
	r.gate = newGate(r, &c.opts, &c.stats)
	return r
}

// errMoved: a connection left by another exit than the identity's.
var errMoved = errors.New("the connection left by another exit")

// forward returns the HTTP proxy that takes requests for http pages itself.
func (r *route) forward() *url.URL {
	if f, ok := r.way.egress.(ForwardEgress); ok {
		return f.Forward()
	}
	return nil
}

// dial makes a connection. It is the only way by which one comes to be.
func (r *route) dial(ctx context.Context, network, addr string, key laneKey) (net.Conn, error) {
	host, _, err := net.SplitHostPort(key.addr)
	if err != nil {
		return nil, err
	}

	strict, err := r.guard.checkHost(host) // again: it is ASCII by now
	if err != nil {
		return nil, err
	}

	if f, ok := r.way.egress.(ForwardEgress); ok && addr != key.addr {
		if isOnion(host) {
			return nil, fmt.Errorf("%w: host %q is reached through Tor alone (RFC 7686)", ErrForbiddenAddress, host)
		}
		return f.DialForward(ctx)
	}

	if r.guard.direct {
		ctx = context.WithValue(ctx, guardKey{}, dialCheck{r.guard, strict})
	}

	// With Distinct a connection must leave by the exit that was found to be
	// distinct. An onion service has no exit.
	e, ok := r.way.egress.(DialExitEgress)
	want := r.exit.Load()
	if !ok || want == nil || !r.distinct || isOnion(host) {
		return r.way.egress.DialContext(ctx, r.isolation, network, addr)
	}

	conn, exit, err := e.DialExit(ctx, r.isolation, network, addr)
	if err != nil {
		return nil, err
	}
	if exit != *want {
		_ = conn.Close() // nothing was sent
		return nil, fmt.Errorf("%w: %s, not %s", errMoved, exit, *want)
	}
	return conn, nil
}
