package scrape

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/publicsuffix"
)

// Identity is what one stretch of requests has in common: an isolation key and
// with it an exit, connections, cookies and, with PerIdentity, a user agent.
type Identity struct {
	// Number counts the identities of a client, from 1.
	Number int
	// Isolation is the key given to the egress. It is random and no secret.
	Isolation string
	// Exit is the exit as the egress names it (Tor: the fingerprint), "" if it
	// is not known, or not yet.
	Exit string
	// Agent is the user agent with PerIdentity, else "".
	Agent string
	// Direct says that requests leave from this machine's own address.
	Direct bool
	// Since is when the identity was made.
	Since time.Time
}

// identity is an Identity at work.
type identity struct {
	client    *Client
	egress    Egress
	guard     *guard
	info      Identity // but for Exit
	exit      atomic.Pointer[string]
	connected atomic.Bool // it has had an answer
	unknown   int64       // pages counted before exit was known; guarded by stats.mu
	transport *http.Transport
	jar       http.CookieJar
	ownJar    bool        // jar was made here
	cookied   atomic.Bool // cookies were put into jar

	used   int  // guarded by client.mu
	left   bool // no more requests; guarded by client.mu
	opened bool // connections were opened in advance; guarded by client.mu

	mu      sync.Mutex
	refs    int // requests in flight
	retired bool
	conns   map[*trackedConn]struct{}
	ready   map[string][]*trackedConn // opened in advance, by address
}

// newIsolation returns a key that no other identity of any process has. It
// never begins with "<torS0X>", which Tor takes for a format of its own.
func newIsolation() string { return "sb-" + rand.Text() }

// newIdentity makes an identity with nothing in it. It makes no connection.
func (c *Client) newIdentity(isolation string, direct bool) *identity {
	id := &identity{
		client: c, egress: c.opts.Egress, guard: c.guard, conns: map[*trackedConn]struct{}{},
		info: Identity{
			Number: int(c.numbers.Add(1)), Isolation: isolation, Since: time.Now(),
			Direct: direct || c.guard.direct,
		},
	}
	if direct {
		id.egress, id.guard = Direct(), c.directGuard
	}
	if c.opts.AgentPer == PerIdentity {
		id.info.Agent = c.opts.UserAgents.GetRandom()
	}
	if c.opts.Cookies != nil {
		id.jar = c.opts.Cookies(id.info)
	} else {
		// New fails only for options that are not used here.
		id.jar, _ = cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
		id.ownJar = true
	}
	id.transport = &http.Transport{
		Proxy:                  nil, // the environment must not choose the way out
		DialContext:            id.dial,
		TLSClientConfig:        c.opts.TLS.Clone(),
		TLSHandshakeTimeout:    30 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // decoded by body.go, within limits
		MaxIdleConns:           maxIdleConns,
		MaxIdleConnsPerHost:    maxIdleConns,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: c.opts.Limits.HeaderBytes,
	}
	return id
}

// maxIdleConns bounds the connections that an identity keeps for later, of one
// host or of many: a walk over thousands of hosts must not use up the
// process's file descriptors.
const maxIdleConns = 256

// cookies returns what to send to u. A jar that was never given any is not
// asked: its answer costs a look into the public suffix list.
func (id *identity) cookies(u *url.URL) []*http.Cookie {
	if id.jar == nil || id.ownJar && !id.cookied.Load() {
		return nil
	}
	return id.jar.Cookies(u)
}

// setCookies keeps the cookies of an answer.
func (id *identity) setCookies(u *url.URL, res *http.Response) {
	if id.jar == nil {
		return
	}
	if cookies := res.Cookies(); len(cookies) > 0 {
		id.jar.SetCookies(u, cookies)
		id.cookied.Store(true)
	}
}

// snapshot returns what is known of the identity now.
func (id *identity) snapshot() Identity {
	info := id.info
	if exit := id.exit.Load(); exit != nil {
		info.Exit = *exit
	}
	return info
}

// dial returns a connection for a request.
func (id *identity) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if conn := id.take(addr); conn != nil {
		return conn, nil
	}
	conn, err := id.dialNew(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// dialNew is the only way by which a connection of this identity comes to be.
func (id *identity) dialNew(ctx context.Context, network, addr string) (*trackedConn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	// Checked again: the transport has turned the host into ASCII since.
	strict, err := id.guard.checkHost(host)
	if err != nil {
		return nil, err
	}
	if id.guard.direct {
		ctx = context.WithValue(ctx, guardKey{}, dialCheck{id.guard, strict})
	}
	conn, err := id.connect(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	tracked := &trackedConn{Conn: conn, id: id, addr: addr}
	id.mu.Lock()
	unused := id.retired && id.refs <= 0
	if !unused {
		id.conns[tracked] = struct{}{}
	}
	id.mu.Unlock()
	if unused { // the request that asked for it is over
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	return tracked, nil
}

// errMoved: a connection left by another exit than the identity's.
var errMoved = errors.New("the connection left by another exit")

// connect asks the egress for a connection and, with Distinct, sees that it
// leaves by the exit that was found to be distinct.
func (id *identity) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	e, ok := id.egress.(dialExitEgress)
	want := id.exit.Load()
	if !ok || want == nil || !id.client.opts.Rotation.Distinct {
		return id.egress.DialContext(ctx, id.info.Isolation, network, addr)
	}
	conn, exit, err := e.DialExit(ctx, id.info.Isolation, network, addr)
	if err != nil {
		return nil, err
	}
	if exit != *want {
		_ = conn.Close() // nothing was sent
		return nil, fmt.Errorf("%w: %s, not %s", errMoved, exit, *want)
	}
	return conn, nil
}

// trackedConn is a connection that its identity knows of.
type trackedConn struct {
	net.Conn
	id   *identity
	addr string
}

// Close closes the connection.
func (t *trackedConn) Close() error {
	t.id.mu.Lock()
	delete(t.id.conns, t)
	t.id.mu.Unlock()
	return t.Conn.Close()
}

// hold counts a request in flight.
func (id *identity) hold() {
	id.mu.Lock()
	id.refs++
	id.mu.Unlock()
}

// release ends a request in flight; the last one of a retired identity closes
// its connections.
func (id *identity) release() {
	id.mu.Lock()
	id.refs--
	over := id.retired && id.refs <= 0
	id.mu.Unlock()
	if over {
		id.closeIfDone()
	}
}

// retire takes the identity out of service. What is in flight goes on.
func (id *identity) retire() {
	id.mu.Lock()
	id.retired = true
	id.mu.Unlock()
	id.closeIfDone()
}

func (id *identity) closeIfDone() {
	id.mu.Lock()
	if !id.retired || id.refs > 0 {
		id.mu.Unlock()
		return
	}
	conns := make([]net.Conn, 0, len(id.conns))
	for conn := range id.conns {
		conns = append(conns, conn)
	}
	id.mu.Unlock()
	id.client.forget(id)
	id.transport.CloseIdleConnections()
	// Nothing is in flight, so what the transport has not yet filed as idle is
	// of no use either.
	for _, conn := range conns {
		_ = conn.Close() // an error of a connection that is thrown away
	}
}

// closeNow ends the identity with all that is in flight.
func (id *identity) closeNow() {
	id.mu.Lock()
	id.retired, id.refs = true, 0
	id.mu.Unlock()
	id.closeIfDone()
}
