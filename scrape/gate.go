package scrape

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/idna"
)

// Bounds on the connections that a gate keeps for later. A walk over thousands
// of hosts must not use up the process's file descriptors.
const (
	maxIdleConns = 256
	idleTimeout  = 90 * time.Second
	pingAfter    = 15 * time.Second // of silence on HTTP/2 with a request under way
	pingTimeout  = 10 * time.Second
)

// gate is where requests leave: it owns the connections of an identity. Each
// connection and each request on one is made here, once, by whoever has the
// host's turn; net/http's Transport only makes connections and repeats nothing,
// for RoundTrip of a ClientConn sends a request once or fails.
type gate struct {
	dialer    dialer
	transport *http.Transport

	stats *counters

	mu      sync.Mutex
	closed  bool
	doomed  []*conn // closed as soon as mu is free, for that may take a moment
	lanes   map[laneKey]*lane
	conns   map[*conn]struct{}
	idle    *list.List // of *conn, longest idle first
	cleaner *time.Timer
}

// dialer is what makes the raw connections of a gate.
type dialer interface {
	// dial connects to addr for requests to key. They differ where an HTTP proxy
	// takes the requests.
	dial(ctx context.Context, network, addr string, key laneKey) (net.Conn, error)
	// forward returns the HTTP proxy that takes requests for http pages, or nil.
	forward() *url.URL
}

// laneKey is where connections lead to.
type laneKey struct{ scheme, addr string }

// lane is the connections of one key.
type lane struct {
	key     laneKey
	free    []*conn       // HTTP/1.1 without a request, latest last
	shared  []*conn       // HTTP/2
	finding chan struct{} // closed when the connection that shows the protocol is there
	dialing int
	open    int
}

// conn is one connection.
type conn struct {
	cc     *http.ClientConn
	wire   *wireConn
	lane   *lane
	h2     bool
	uses   int           // guarded by gate.mu
	active int           // requests under way; guarded by gate.mu
	spent  bool          // gets no more requests; guarded by gate.mu
	since  time.Time     // idle since; guarded by gate.mu
	place  *list.Element // in gate.idle; guarded by gate.mu
}

// newGate returns a gate without connections.
func newGate(d dialer, opts *Options, stats *counters) *gate {
	g := &gate{dialer: d, stats: stats, lanes: map[laneKey]*lane{}, conns: map[*conn]struct{}{}, idle: list.New()}
	g.transport = &http.Transport{
		Proxy:                  g.proxy, // the environment must not choose the way out
		DialContext:            g.dial,
		TLSClientConfig:        opts.TLS.Clone(),
		TLSHandshakeTimeout:    30 * time.Second,
		ExpectContinueTimeout:  time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // decoded by body.go, within limits
		MaxResponseHeaderBytes: opts.Limits.MaxHeaderBytes,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	return g
}

// wireConn is a connection that counts, so that it is known what left and
// whether anything came.
type wireConn struct {
	net.Conn
	read, wrote atomic.Int64
}

// Read reads and counts.
func (w *wireConn) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.read.Add(int64(n))
	return n, err
}

// Write writes and counts.
func (w *wireConn) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.wrote.Add(int64(n))
	return n, err
}

// ticketKey carries a *ticket to dial, through net/http.
type ticketKey struct{}

// ticket goes from whoever asks for a connection to dial, and back.
type ticket struct {
	to   laneKey
	host *host // that the connection is counted for
	wire *wireConn
}

// proxy is the HTTP proxy that takes requests for http pages itself, if the way
// out is one.
func (g *gate) proxy(req *http.Request) (*url.URL, error) {
	if req.URL.Scheme != "http" {
		return nil, nil
	}
	return g.dialer.forward(), nil
}

// dial makes the raw connection for the transport.
func (g *gate) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	t, _ := ctx.Value(ticketKey{}).(*ticket)
	if t == nil {
		return nil, errors.New("a connection that no request asked for")
	}
	c, err := g.dialer.dial(ctx, network, addr, t.to)
	if err != nil {
		return nil, err
	}
	g.stats.connections.Add(1)
	t.host.connections.Add(1)
	t.wire = &wireConn{Conn: c}
	return t.wire, nil
}

// keyOf returns where a request for u leads to.
func keyOf(u *url.URL) (laneKey, error) {
	host, port := u.Hostname(), u.Port()
	if !isASCII(host) {
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil {
			return laneKey{}, fmt.Errorf("%w: host %q is no name", ErrForbiddenAddress, host)
		}
		host = ascii
	} else if port != "" {
		return laneKey{u.Scheme, u.Host}, nil
	}

	if port == "" {
		if port = "80"; u.Scheme == "https" {
			port = "443"
		}
	}

	return laneKey{u.Scheme, net.JoinHostPort(host, port)}, nil
}

// take returns a connection for one request to key, which the caller gives back
// with done. h is the host that the connection is counted for. An HTTP/1.1
// connection that has been idle for longer than fresh is not taken. reused says
// that it has served before.
func (g *gate) take(ctx context.Context, key laneKey, h *host, fresh time.Duration) (c *conn, reused bool, err error) {
	for waited := false; ; {
		g.mu.Lock()
		if g.closed {
			g.mu.Unlock()
			return nil, false, errGateClosed
		}

		l := g.lanes[key]
		if l == nil {
			l = &lane{key: key}
			g.lanes[key] = l
		}

		if c := g.reuseLocked(l, fresh); c != nil {
			reused := c.uses > 1
			g.unlock()
			return c, reused, nil
		}

		// The first connection over TLS shows whether one is enough for all.
		if finding := l.finding; finding != nil && !waited {
			g.unlock()
			select {
			case <-finding:
				waited = true
				continue
			case <-ctx.Done():
				return nil, false, context.Cause(ctx)
			}
		}

		first := key.scheme == "https" && l.open == 0 && l.finding == nil && !waited && !h.http1.Load()
		if first {
			l.finding = make(chan struct{})
		}
		l.dialing++
		g.unlock()

		c, err := g.connect(ctx, key, h)

		g.mu.Lock()
		l.dialing--
		if first {
			close(l.finding)
			l.finding = nil
		}

		if err != nil {
			g.forgetLocked(l)
			g.mu.Unlock()
			return nil, false, err
		}
		if err := g.addLocked(l, c); err != nil {
			g.mu.Unlock()
			_ = c.cc.Close() // nobody wants it
			return nil, false, err
		}
		c.active, c.uses = 1, 1
		g.mu.Unlock()
		return c, false, nil
	}
}

// reuseLocked returns a connection that is open and has room for a request, or
// nil. g.mu is held.
func (g *gate) reuseLocked(l *lane, fresh time.Duration) *conn {
	for len(l.free) > 0 {
		c := l.free[len(l.free)-1]
		if fresh > 0 && time.Since(c.since) > fresh {
			break
		}

		l.free = l.free[:len(l.free)-1]
		g.busyLocked(c)
		if c.cc.Reserve() == nil {
			c.active++
			c.uses++
			return c
		}
		g.removeLocked(c) // the site has closed it
	}

	for i := 0; i < len(l.shared); {
		c := l.shared[i]
		if c.cc.Reserve() == nil {
			g.busyLocked(c)
			c.active++
			c.uses++
			return c
		}

		if c.cc.Err() == nil && c.active > 0 { // as many requests as the site allows, or the last ones
			i++
			continue
		}
		g.retireLocked(c)
		if c.active == 0 {
			g.removeLocked(c)
		}
	}
	return nil
}

// connect makes a connection, TLS and protocol included.
func (g *gate) connect(ctx context.Context, key laneKey, h *host) (*conn, error) {
	t := &ticket{to: key, host: h}
	cc, err := g.transport.NewClientConn(context.WithValue(ctx, ticketKey{}, t), key.scheme, key.addr)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &attemptError{err: err, unsent: true, final: isFinal(err, t.wire != nil)}
	}

	c := &conn{cc: cc, wire: t.wire, h2: key.scheme == "https" && cc.Available() > 1}
	if key.scheme == "https" {
		h.http1.Store(!c.h2)
	}
	if err := cc.Reserve(); err != nil {
		_ = cc.Close() // it has ended already
		return nil, &attemptError{err: err, unsent: true}
	}
	return c, nil
}

// addLocked makes c one of l's. g.mu is held.
func (g *gate) addLocked(l *lane, c *conn) error {
	if g.closed {
		return net.ErrClosed
	}
	if g.lanes[l.key] == nil { // forgotten while the connection was made
		g.lanes[l.key] = l
	}
	c.lane = g.lanes[l.key]
	c.lane.open++
	g.conns[c] = struct{}{}
	if c.h2 {
		c.lane.shared = append(c.lane.shared, c)
	}
	return nil
}

// done gives c back after a request. dead says that it is not to be used again,
// though other requests on it may go on.
func (g *gate) done(c *conn, dead bool) {
	g.mu.Lock()
	defer g.unlock()
	if c.active--; dead || c.cc.Err() != nil {
		g.retireLocked(c)
	}
	if c.active > 0 {
		return
	}
	if c.spent || g.closed || !c.h2 && c.cc.Available() == 0 {
		g.removeLocked(c)
		return
	}

	if !c.h2 {
		c.lane.free = append(c.lane.free, c)
	}
	c.since = time.Now()
	c.place = g.idle.PushBack(c)
	if g.idle.Len() > maxIdleConns {
		g.dropIdleLocked(g.idle.Front().Value.(*conn))
	}
	if g.cleaner == nil {
		g.cleaner = time.AfterFunc(idleTimeout, g.clean)
	}
}

// retireLocked keeps new requests from c. g.mu is held.
func (g *gate) retireLocked(c *conn) {
	c.spent = true
	for i, s := range c.lane.shared {
		if s == c {
			c.lane.shared = append(c.lane.shared[:i], c.lane.shared[i+1:]...)
			break
		}
	}
}

// busyLocked takes c from the idle ones. g.mu is held.
func (g *gate) busyLocked(c *conn) {
	if c.place != nil {
		g.idle.Remove(c.place)
		c.place = nil
	}
}

// dropIdleLocked closes a connection that has no request. g.mu is held.
func (g *gate) dropIdleLocked(c *conn) {
	for i, f := range c.lane.free {
		if f == c {
			c.lane.free = append(c.lane.free[:i], c.lane.free[i+1:]...)
			break
		}
	}
	g.retireLocked(c)
	g.removeLocked(c)
}

// removeLocked forgets c, and has it closed. g.mu is held.
func (g *gate) removeLocked(c *conn) {
	g.busyLocked(c)
	if _, ok := g.conns[c]; !ok {
		return
	}
	delete(g.conns, c)
	c.lane.open--
	g.forgetLocked(c.lane)
	g.doomed = append(g.doomed, c)
}

// unlock frees g.mu and closes what was removed while it was held.
func (g *gate) unlock() {
	doomed := g.doomed
	g.doomed = nil
	g.mu.Unlock()
	for _, c := range doomed {
		_ = c.cc.Close() // it is thrown away
	}
}

// forgetLocked drops a lane of which nothing is left. g.mu is held.
func (g *gate) forgetLocked(l *lane) {
	if l.open == 0 && l.dialing == 0 && g.lanes[l.key] == l {
		delete(g.lanes, l.key)
	}
}

// clean closes the connections that were idle for too long.
func (g *gate) clean() {
	g.mu.Lock()
	defer g.unlock()
	now := time.Now()
	for e := g.idle.Front(); e != nil; e = g.idle.Front() {
		c := e.Value.(*conn)
		if left := idleTimeout - now.Sub(c.since); left > 0 && !g.closed {
			g.cleaner.Reset(left)
			return
		}
		g.dropIdleLocked(c)
	}
	g.cleaner = nil
}

// prepare opens a connection to key before it is needed.
func (g *gate) prepare(ctx context.Context, key laneKey, h *host) error {
	c, err := g.connect(ctx, key, h)
	if err != nil {
		return err
	}
	g.mu.Lock()
	l := g.lanes[key]
	if l == nil {
		l = &lane{key: key}
	}

	err = g.addLocked(l, c)
	if err == nil {
		c.active = 1
	}
	g.mu.Unlock()
	if err != nil {
		_ = c.cc.Close() // nobody wants it
		return err
	}

	c.cc.Release()
	g.done(c, false)
	return nil
}

// busiest returns where most connections lead to, and how many they are.
func (g *gate) busiest() (key laneKey, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.lanes {
		if l.open > n {
			key, n = l.key, l.open
		}
	}
	return key, n
}

// close closes every connection, and with it the requests on them.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	open := make([]*conn, 0, len(g.conns))
	for c := range g.conns {
		open = append(open, c)
	}
	clear(g.conns)
	clear(g.lanes)
	g.idle.Init()
	if g.cleaner != nil {
		g.cleaner.Stop()
	}
	g.mu.Unlock()

	var wg sync.WaitGroup
	for _, c := range open {
		if c.wire != nil {
			_ = c.wire.Conn.Close() // first: Close of HTTP/2 writes to it
		}
		wg.Go(func() { _ = c.cc.Close() })
	}
	wg.Wait()
}

// errGateClosed is what a request gets whose identity was ended under it.
var errGateClosed = errors.New("the identity was ended")

// url returns the address that a key stands for.
func (k laneKey) url() *url.URL { return &url.URL{Scheme: k.scheme, Host: k.addr} }

// reopen makes a closed gate take requests again.
func (g *gate) reopen() {
	g.mu.Lock()
	g.closed = false
	g.mu.Unlock()
}
