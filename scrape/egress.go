package scrape

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/scrape/internal/socks"
)

// handshakeTimeout bounds what a local proxy answers without the network:
// accepting, greeting, authentication.
const handshakeTimeout = 4 * time.Second

// Egress is a way out. An implementation keeps these:
//
//  1. DialContext connects to addr, a host:port whose host is still a name if
//     it was one. Unless resolving here is what the egress is for, the name goes
//     on to the far end.
//  2. Connections of different isolation keys share nothing that the far end
//     could tell: for Tor, circuits. An egress that has one address only may
//     ignore the key.
//  3. If the egress itself is not available, errors of DialContext and Check
//     match [ErrEgressUnavailable]; if the far end is at fault, they do not.
//  4. Both return soon after ctx is done, with an error that matches its cause.
//  5. Check reports whether a connection could be made now, without contact to
//     any site.
//  6. All methods are safe for concurrent use.
//
// An egress may also be any of [ManyEgress], [ForwardEgress], [ExitEgress],
// [ExitsEgress], [DialExitEgress], [WhereEgress], [WarmEgress],
// [IdentityEgress], [ControlEgress] and [ProbeEgress], and have a String method,
// which [Stats] shows. A wrapper passes on those that it wants to keep.
type Egress interface {
	DialContext(ctx context.Context, isolation, network, addr string) (net.Conn, error)
	Check(ctx context.Context) error
}

// IdentityEgress is an [Egress] for Rotation.By [NewNym].
type IdentityEgress interface {
	// NewIdentity returns once new connections of every key leave by new
	// circuits.
	NewIdentity(ctx context.Context) error
}

// ExitEgress is an [Egress] that tells its exits. Rotation.Distinct needs it.
type ExitEgress interface {
	// Exit returns the name of the exit that connections of this key leave by.
	Exit(ctx context.Context, isolation string) (string, error)
}

// ExitsEgress is an [Egress] that knows how many exits there are.
type ExitsEgress interface {
	Exits(ctx context.Context) (int, error)
}

// DialExitEgress is an [Egress] that tells the exit of a connection. With
// Rotation.Distinct, one that leaves by another exit than Exit told is closed
// before anything is sent.
type DialExitEgress interface {
	DialExit(ctx context.Context, isolation, network, addr string) (net.Conn, string, error)
}

// WhereEgress is an [Egress] that tells where an exit is.
type WhereEgress interface {
	// Where returns the exit's address and its country, two letters in lower
	// case; each is "" if it is not known.
	Where(ctx context.Context, exit string) (address, country string, err error)
}

// WarmEgress is an [Egress] that can get ready to connect to host under a key,
// without contact to host.
type WarmEgress interface {
	Warm(ctx context.Context, isolation, host string) error
}

// ControlEgress is an [Egress] whose NewIdentity and Exit work only if
// HasControl says so.
type ControlEgress interface{ HasControl() bool }

// ProbeEgress is an [Egress] with a cheaper Check.
type ProbeEgress interface {
	Probe(ctx context.Context) error
}

// ManyEgress is an [Egress] of several ways out, as [Proxies] is. Each has a
// state of its own: one that is lost is passed by while others work.
type ManyEgress interface {
	// Ways returns the ways out, always the same.
	Ways() []Egress
}

// ForwardEgress is an [Egress] that takes requests for http pages in absolute
// form (RFC 9112 §3.2.2), as HTTP proxies do, of which many refuse CONNECT to
// port 80.
type ForwardEgress interface {
	// Forward returns the proxy's URL, with user and password if it wants them,
	// or nil if it takes no such requests.
	Forward() *url.URL
	// DialForward connects to the proxy itself.
	DialForward(ctx context.Context) (net.Conn, error)
}

// hasControl reports whether an egress with NewIdentity or Exit can use them.
func hasControl(e Egress) bool {
	c, ok := e.(ControlEgress)
	return !ok || c.HasControl()
}

// validEgress is what an egress of this package has whose constructor cannot
// return an error.
type validEgress interface{ validate() error }

// Direct returns the egress that is this machine itself: names are resolved
// here, and sites see this machine's address. Every address is checked at the
// moment of dialling. Names in .onion are refused (RFC 7686).
func Direct() Egress { return direct{} }

type direct struct {
	resolver *net.Resolver // nil: this machine's
	guard    *guard        // for use without a Client; nil: public addresses alone
}

// check returns the guard of the Client that dials, or the egress's own.
func (d direct) check(ctx context.Context) dialCheck {
	if check, ok := ctx.Value(guardKey{}).(dialCheck); ok {
		return check
	}
	if d.guard != nil {
		return dialCheck{guard: d.guard}
	}
	return dialCheck{guard: &guard{direct: true}}
}

func (direct) String() string { return "direct" }

func (direct) Check(context.Context) error { return nil }

func (d direct) DialContext(ctx context.Context, _, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	check := d.check(ctx)
	if check.strict, err = check.guard.checkHost(host); err != nil {
		return nil, err
	}
	ctx = context.WithValue(ctx, guardKey{}, check)
	dialer := net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second, ControlContext: controlDial, Resolver: d.resolver}
	return dialer.DialContext(ctx, network, addr)
}

// SOCKS returns the egress through a SOCKS5 proxy that takes a user name and a
// password as isolation key, as Tor does on every SOCKS port (its default flag
// IsolateSOCKSAuth). addr is host:port, or unix:/path. Names are resolved at
// the exit. For the exit of an identity, and so for Rotation.Distinct, use
// package scrape/tor with a control port.
func SOCKS(addr string) Egress {
	return &socksEgress{client: socks.Client{Addr: addr, HandshakeTimeout: handshakeTimeout}}
}

type socksEgress struct{ client socks.Client }

func (e *socksEgress) String() string { return "SOCKS " + e.client.Addr }

func (e *socksEgress) validate() error { return validProxyAddr(e.client.Addr) }

func validProxyAddr(addr string) error {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if path == "" {
			return errors.New("SOCKS address unix: without a path: write unix:/path")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("SOCKS address %q: write host:port, as 127.0.0.1:9050, or unix:/path", addr)
	}
	return nil
}

func (e *socksEgress) DialContext(ctx context.Context, isolation, _, addr string) (net.Conn, error) {
	conn, err := e.client.Connect(ctx, isolation, "x", addr)
	return conn, unavailable(err)
}

func (e *socksEgress) Check(ctx context.Context) error {
	return unavailable(e.client.Probe(ctx, "check", "x"))
}

func (e *socksEgress) Warm(ctx context.Context, isolation, host string) error {
	_, err := e.client.Resolve(ctx, isolation, "x", host)
	return unavailable(err)
}

// unavailable marks the failures of the proxy itself.
func unavailable(err error) error {
	pe, ok := errors.AsType[*socks.ProxyError](err)
	if !ok {
		return err
	}
	return fmt.Errorf("%w: %w%s", ErrEgressUnavailable, err, hint(pe))
}

// hint says what to do about a proxy that cannot be used.
func hint(pe *socks.ProxyError) string {
	if _, ok := errors.AsType[*net.OpError](pe.Err); ok {
		return " (is Tor running, and is this its SocksPort?)"
	}
	return ""
}
