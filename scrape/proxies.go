package scrape

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/scrape/internal/socks"
)

// maxAssigned is how many isolation keys keep their proxy outside a [Client];
// the oldest are forgotten.
const maxAssigned = 1024

// connectTimeout bounds what a remote proxy does before it dials the site.
const connectTimeout = 20 * time.Second

// askTimeout bounds each of the two answers that Check waits for.
const askTimeout = 5 * time.Second

// nowhere is what Check asks an HTTP proxy to connect to: a name that exists
// nowhere (RFC 6761 §6.4), and the port that proxies allow.
const nowhere = "check.invalid:443"

// Proxies returns the egress through a list of proxies, one for each identity
// in turn: socks5://, socks5h:// (names are resolved at the proxy with either),
// http:// and https:// (by CONNECT, and for http pages in absolute form), each
// with user:password@ if needed. New reports what is wrong with the list. A
// proxy that does not work is passed by while others do, and asked now and then
// whether it is back; [ErrEgressUnavailable] means that none works. The exit of
// an identity is its proxy's host:port, so that Rotation.Distinct works with two
// or more.
//
// Names are resolved at the proxy, behind the guard of the Client: a proxy in
// one's own network that resolves a public name to an address of that network
// connects to it. Where sites are not trusted, let the proxy itself refuse such
// addresses.
func Proxies(urls ...string) Egress {
	e := &proxiesEgress{assigned: map[string]*proxy{}}
	if len(urls) == 0 {
		e.err = errors.New("no proxy given")
	}
	for i, text := range urls {
		p, err := parseProxy(text)
		if err != nil {
			e.err = errors.Join(e.err, fmt.Errorf("proxy %d: %w", i, err))
			continue
		}
		e.list = append(e.list, p)
	}
	return e
}

// proxiesEgress hands out its proxies in turn.
type proxiesEgress struct {
	list []*proxy
	err  error

	mu       sync.Mutex
	assigned map[string]*proxy
	order    []string // of keys, oldest first
	next     int
}

func (e *proxiesEgress) validate() error { return e.err }

// String names the list.
func (e *proxiesEgress) String() string {
	if len(e.list) == 1 {
		return "proxy " + e.list[0].addr
	}
	return fmt.Sprintf("%d proxies", len(e.list))
}

// Ways returns the proxies.
func (e *proxiesEgress) Ways() []Egress {
	list := make([]Egress, len(e.list))
	for i, p := range e.list {
		list[i] = p
	}
	return list
}

// of returns the proxy of an isolation key.
func (e *proxiesEgress) of(isolation string) (*proxy, error) {
	if e.err != nil {
		return nil, e.err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.assigned[isolation]; p != nil {
		return p, nil
	}

	p := e.list[e.next%len(e.list)]
	e.next++
	e.assigned[isolation] = p
	if e.order = append(e.order, isolation); len(e.order) > maxAssigned {
		delete(e.assigned, e.order[0])
		e.order = e.order[1:]
	}
	return p, nil
}

// Exit returns the proxy of an isolation key.
func (e *proxiesEgress) Exit(_ context.Context, isolation string) (string, error) {
	p, err := e.of(isolation)
	if err != nil {
		return "", err
	}
	return p.addr, nil
}

// Exits returns how many different proxies there are.
func (e *proxiesEgress) Exits(context.Context) (int, error) {
	seen := map[string]bool{}
	for _, p := range e.list {
		seen[p.addr] = true
	}
	return len(seen), e.err
}

// Check asks all proxies at once and succeeds as soon as one answers.
func (e *proxiesEgress) Check(ctx context.Context) error {
	if e.err != nil {
		return e.err
	}
	return newWays(ctx, new(sync.WaitGroup), e).check(ctx)
}

// DialContext connects through the proxy of an isolation key.
func (e *proxiesEgress) DialContext(ctx context.Context, isolation, network, addr string) (net.Conn, error) {
	p, err := e.of(isolation)
	if err != nil {
		return nil, err
	}
	return p.DialContext(ctx, isolation, network, addr)
}

// proxy is one of them, an egress by itself.
type proxy struct {
	url      *url.URL
	addr     string
	user     string
	password string
}

// parseProxy reads a proxy's URL. Its errors do not show the URL, which may
// hold a password.
func parseProxy(text string) (*proxy, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("not a URL: write scheme://host:port")
	}
	port := map[string]string{"socks5": "1080", "socks5h": "1080", "http": "80", "https": "443"}[u.Scheme]
	if port == "" {
		return nil, fmt.Errorf("scheme %q: use socks5, socks5h, http or https", u.Scheme)
	}

	if u.Port() != "" {
		port = u.Port()
	}
	p := &proxy{url: u, addr: net.JoinHostPort(u.Hostname(), port)}
	if u.User != nil {
		p.user = u.User.Username()
		p.password, _ = u.User.Password()
	}
	return p, nil
}

// String returns the proxy's host:port.
func (p *proxy) String() string { return p.addr }

// Exit returns the proxy's host:port.
func (p *proxy) Exit(context.Context, string) (string, error) { return p.addr, nil }

// DialContext connects through the proxy.
func (p *proxy) DialContext(ctx context.Context, _, _, addr string) (net.Conn, error) {
	if client, ok := p.socks(); ok {
		conn, err := client.Connect(ctx, p.user, p.password, addr)
		return conn, p.unavailable(err)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if isOnion(host) {
		return nil, fmt.Errorf("%w: host %q is reached through Tor alone (RFC 7686)", ErrForbiddenAddress, host)
	}
	return p.connect(ctx, addr)
}

// Forward returns the URL of an HTTP proxy.
func (p *proxy) Forward() *url.URL {
	if p.url.Scheme != "http" && p.url.Scheme != "https" {
		return nil
	}
	// The connection is made by DialForward, TLS included.
	return &url.URL{Scheme: "http", User: p.url.User, Host: p.addr}
}

// DialForward connects to an HTTP proxy.
func (p *proxy) DialForward(ctx context.Context) (net.Conn, error) { return p.reach(ctx) }

func (p *proxy) socks() (*socks.Client, bool) {
	if p.url.Scheme != "socks5" && p.url.Scheme != "socks5h" {
		return nil, false
	}
	return &socks.Client{Addr: p.addr, HandshakeTimeout: connectTimeout}, true
}

// unavailable marks what is the fault of a SOCKS proxy, with what to do about
// its credentials.
func (p *proxy) unavailable(err error) error {
	if _, ok := errors.AsType[*socks.ProxyError](err); !ok {
		return err
	}
	hint := ""
	switch {
	case errors.Is(err, socks.ErrRefused):
		hint = ": " + otherCredentials
	case errors.Is(err, socks.ErrWanted):
		hint = ": " + noCredentials
	case errors.Is(err, socks.ErrNotTaken):
		hint = ": leave user:password@ out of its URL"
	}
	return fmt.Errorf("%w: %w%s", ErrEgressUnavailable, err, hint)
}

// What to do about credentials that a proxy does not take.
const (
	otherCredentials = "see user:password@ in its URL"
	noCredentials    = "give user:password@ in its URL, or let it know this machine's address"
)

// refused is the error of an HTTP proxy that answers 407.
func refused(addr string, given bool, status string) error {
	if given {
		return fmt.Errorf("%w: proxy %s: user or password refused (%s): %s", ErrEgressUnavailable, addr, status, otherCredentials)
	}
	return fmt.Errorf("%w: proxy %s: it wants a user and a password (%s): %s", ErrEgressUnavailable, addr, status, noCredentials)
}

// Check reports whether the proxy answers and takes the credentials.
func (p *proxy) Check(ctx context.Context) error {
	if client, ok := p.socks(); ok {
		client.HandshakeTimeout = 2 * askTimeout // as long as an HTTP proxy has
		return p.unavailable(client.Probe(ctx, p.user, p.password))
	}

	// A tunnel is what the credentials are asked for, and a proxy looks at them
	// before the name. What it says of the name does not matter.
	status, err := p.ask(ctx, p.request(http.MethodConnect, nowhere))
	if err != nil && ctx.Err() == nil {
		// It may take long over a name, or know no tunnels. This one it answers
		// by itself (RFC 9110 §9.3.7).
		if again, errAgain := p.ask(ctx, p.request(http.MethodOptions, "*")); errAgain == nil {
			status, err = again, nil
		}
	}

	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case status == http.StatusProxyAuthRequired:
		return refused(p.addr, p.user != "", fmt.Sprint(status, " ", http.StatusText(status)))
	}
	return nil
}

// ask sends a request of no body to an HTTP proxy, and returns the status of
// the answer.
func (p *proxy) ask(ctx context.Context, req *http.Request) (status int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, fmt.Errorf("%w: proxy %s: no answer within %v", ErrEgressUnavailable, p.addr, askTimeout))
	defer cancel()
	conn, err := p.reach(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }() // what it says is known
	stop := closeWith(ctx, conn)

	res, _, err := p.exchange(conn, req)
	if !stop() {
		return 0, context.Cause(ctx)
	}
	if err != nil {
		return 0, err
	}
	return res.StatusCode, nil
}

// closeWith ends what conn waits for when ctx ends, unless stop is called
// before.
func closeWith(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // a closed connection needs none
}

// reach opens a connection to an HTTP proxy.
func (p *proxy) reach(ctx context.Context) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: connectTimeout}
	var conn net.Conn
	var err error

	if p.url.Scheme == "https" {
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: &tls.Config{ServerName: p.url.Hostname()}}).DialContext(ctx, "tcp", p.addr)
	} else {
		conn, err = dialer.DialContext(ctx, "tcp", p.addr)
	}

	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: proxy %s: %w", ErrEgressUnavailable, p.addr, err)
	}

	return conn, nil
}

// connect opens a tunnel through an HTTP proxy (RFC 9110 §9.3.6).
func (p *proxy) connect(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := p.reach(ctx)
	if err != nil {
		return nil, err
	}
	stop := closeWith(ctx, conn)
	tunnel, err := p.tunnel(conn, addr)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close() // the tunnel's error is the one to report
		return nil, err
	}
	return tunnel, nil
}

func (p *proxy) tunnel(conn net.Conn, addr string) (net.Conn, error) {
	res, r, err := p.exchange(conn, p.request(http.MethodConnect, addr))
	if err != nil {
		return nil, err
	}
	switch {
	case res.StatusCode == http.StatusProxyAuthRequired:
		return nil, refused(p.addr, p.user != "", res.Status)
	case res.StatusCode == http.StatusForbidden:
		return nil, fmt.Errorf("proxy %s: connect %s: the proxy forbids it (403): see its rules, and whom it lets out", p.addr, addr)
	case res.StatusCode/100 != 2:
		return nil, fmt.Errorf("proxy %s: connect %s: %s", p.addr, addr, res.Status)
	}

	if n := r.Buffered(); n > 0 { // the server speaks first
		head, _ := r.Peek(n) // of what is buffered
		return &headConn{Conn: conn, head: head}, nil
	}
	return conn, nil
}

// request is a request to the proxy itself.
func (p *proxy) request(method, target string) *http.Request {
	req := &http.Request{Method: method, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{"User-Agent": nil}}
	if target == "*" {
		req.Host = p.addr
	}
	if p.user != "" {
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(p.user+":"+p.password)))
	}
	return req
}

// exchange sends a request to the proxy, and reads the header of its answer.
func (p *proxy) exchange(conn net.Conn, req *http.Request) (*http.Response, *bufio.Reader, error) {
	if err := req.Write(conn); err != nil {
		return nil, nil, fmt.Errorf("%w: proxy %s: %w", ErrEgressUnavailable, p.addr, err)
	}
	r := bufio.NewReader(io.LimitReader(conn, 64<<10)) // a header is no longer
	res, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: proxy %s: %w", ErrEgressUnavailable, p.addr, err)
	}
	return res, r, nil
}

// headConn is a connection of which a little was read already.
type headConn struct {
	net.Conn
	head []byte
}

func (c *headConn) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
