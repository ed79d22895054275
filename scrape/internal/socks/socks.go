// Package socks speaks the client's side of SOCKS5 (RFC 1928, RFC 1929) with
// what Tor adds to it: RESOLVE and the extended error codes (Tor's
// socks-extensions.txt). Names go to the proxy as names.
package socks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Client is a SOCKS5 proxy that is dialled anew for each connection. Safe for
// concurrent use.
type Client struct {
	// Addr is where the proxy listens: host:port, or unix:/path.
	Addr string
	// HandshakeTimeout bounds everything up to the request: reaching the proxy,
	// greeting and authentication. It must be positive.
	HandshakeTimeout time.Duration
	// Dial reaches the proxy. Defaults to a plain net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// ProxyError reports that the proxy itself could not be used: not reached, not
// SOCKS5, credentials refused, gone. Nothing was asked of it yet.
type ProxyError struct {
	Addr string
	Err  error
}

// Error describes the failure.
func (e *ProxyError) Error() string { return "SOCKS proxy " + e.Addr + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *ProxyError) Unwrap() error { return e.Err }

// ReplyError reports that the proxy answered a request with a refusal.
type ReplyError struct {
	Target string
	Code   byte
}

// replies are the texts of RFC 1928 §6 and of Tor's extended errors.
var replies = map[byte]string{
	0x01: "general failure (a refused connection, a name that does not resolve, or no circuit)",
	0x02: "not allowed by the proxy's rules",
	0x03: "network unreachable",
	0x04: "host unreachable (the name does not resolve at the exit)",
	0x05: "connection refused",
	0x06: "timed out",
	0x07: "command not supported",
	0x08: "address type not supported",
	0xf0: "onion service descriptor not found",
	0xf1: "onion service descriptor is invalid",
	0xf2: "onion service introduction failed",
	0xf3: "onion service rendezvous failed",
	0xf4: "onion service needs client authorization",
	0xf5: "onion service client authorization is wrong",
	0xf6: "onion address is invalid",
	0xf7: "onion service introduction timed out",
}

// Error describes the refusal.
func (e *ReplyError) Error() string {
	text := replies[e.Code]
	if text == "" {
		text = "unknown reply"
	}
	return fmt.Sprintf("connect %s: %s (SOCKS reply %#02x)", e.Target, text, e.Code)
}

// Why a proxy does not take the credentials, by errors.Is.
var (
	// ErrRefused: user name or password are wrong.
	ErrRefused = errors.New("user name or password refused")
	// ErrWanted: none was given, and the proxy wants one.
	ErrWanted = errors.New("the proxy wants a user name and a password")
	// ErrNotTaken: the proxy takes none, so that it cannot keep identities apart.
	ErrNotTaken = errors.New("user name and password are not accepted: identities cannot be kept apart")
)

const (
	version    = 5
	noAuth     = 0
	userPass   = 2
	refused    = 0xff
	cmdConnect = 1
	cmdResolve = 0xf0
	cmdPTR     = 0xf1
)

// Connect opens a connection through the proxy to addr, a host:port whose host
// is passed on unresolved. An empty user means no authentication. Errors:
// *ProxyError, *ReplyError, or that of ctx.
func (c *Client) Connect(ctx context.Context, user, password, addr string) (net.Conn, error) {
	host, port, err := splitAddr(addr)
	if err != nil {
		return nil, err
	}
	conn, err := c.greet(ctx, user, password)
	if err != nil {
		return nil, err
	}
	if _, err := request(ctx, conn, cmdConnect, host, port, addr); err != nil {
		_ = conn.Close() // the request's error is the one to report
		return nil, c.wrap(err)
	}
	return conn, nil
}

// Resolve asks the proxy (Tor alone knows this command) for an address of
// host. Errors are those of Connect.
func (c *Client) Resolve(ctx context.Context, user, password, host string) (netip.Addr, error) {
	conn, err := c.greet(ctx, user, password)
	if err != nil {
		return netip.Addr{}, err
	}
	defer func() { _ = conn.Close() }() // all was read
	addr, err := request(ctx, conn, cmdResolve, host, 0, host)
	if err != nil {
		return netip.Addr{}, c.wrap(err)
	}
	return addr, nil
}

// ResolvePTR asks the proxy (Tor alone knows this command) for the name of an
// address, and drops the answer. Errors are those of Connect.
func (c *Client) ResolvePTR(ctx context.Context, user, password, addr string) error {
	conn, err := c.greet(ctx, user, password)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // all was read
	if _, err := request(ctx, conn, cmdPTR, addr, 0, addr); err != nil {
		return c.wrap(err)
	}
	return nil
}

// Probe reaches the proxy and greets it as a connection would, no more.
func (c *Client) Probe(ctx context.Context, user, password string) error {
	conn, err := c.greet(ctx, user, password)
	if err != nil {
		return err
	}
	return conn.Close()
}

// wrap turns a lost connection to the proxy into a ProxyError.
func (c *Client) wrap(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errProtocol) {
		return &ProxyError{c.Addr, err}
	}
	if _, ok := errors.AsType[*net.OpError](err); ok && !isTimeout(err) {
		return &ProxyError{c.Addr, err}
	}
	return err
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

var errProtocol = errors.New("answer is not SOCKS5")

// greet reaches the proxy and authenticates.
func (c *Client) greet(ctx context.Context, user, password string) (net.Conn, error) {
	if len(user) > 255 || len(password) > 255 {
		return nil, fmt.Errorf("SOCKS user name of %d and password of %d bytes: at most 255 each", len(user), len(password))
	}
	handshake, cancel := context.WithTimeout(ctx, c.HandshakeTimeout)
	defer cancel()
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}

	network, addr := "tcp", c.Addr
	if path, ok := strings.CutPrefix(c.Addr, "unix:"); ok {
		network, addr = "unix", path
	}
	conn, err := dial(handshake, network, addr)
	if err != nil {
		return nil, c.proxyError(ctx, err)
	}

	if err := within(handshake, conn, func() error { return authenticate(conn, user, password) }); err != nil {
		_ = conn.Close() // the handshake's error is the one to report
		return nil, c.proxyError(ctx, err)
	}
	return conn, nil
}

// proxyError keeps apart the caller's giving up from the proxy's failing.
func (c *Client) proxyError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("SOCKS proxy %s: %w", c.Addr, context.Cause(ctx))
	}
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		err = fmt.Errorf("no answer within %v: %w", c.HandshakeTimeout, context.DeadlineExceeded)
	}
	return &ProxyError{c.Addr, err}
}

func authenticate(conn net.Conn, user, password string) error {
	method := byte(noAuth)
	if user != "" {
		method = userPass
	}
	if _, err := conn.Write([]byte{version, 1, method}); err != nil {
		return err
	}

	var reply [2]byte
	if _, err := io.ReadFull(conn, reply[:]); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}

	switch {
	case reply[0] != version:
		return fmt.Errorf("greeting: %w but begins with %q: is something else listening there?", errProtocol, reply)
	case reply[1] == refused && method == userPass:
		return fmt.Errorf("greeting: %w", ErrNotTaken)
	case reply[1] == refused:
		return fmt.Errorf("greeting: %w", ErrWanted)
	case reply[1] != method:
		return fmt.Errorf("greeting: %w: method %#x was not offered", errProtocol, reply[1])
	case method == noAuth:
		return nil
	}

	message := append([]byte{1, byte(len(user))}, user...)
	message = append(append(message, byte(len(password))), password...)
	if _, err := conn.Write(message); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, reply[:]); err != nil {
		return fmt.Errorf("authentication: %w", err)
	}

	if reply[1] != 0 {
		return fmt.Errorf("authentication: %w", ErrRefused)
	}
	return nil
}

// request sends a command and reads the reply and the address in it.
func request(ctx context.Context, conn net.Conn, command byte, host string, port uint16, target string) (netip.Addr, error) {
	message := []byte{version, command, 0}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().Is4() {
		message = append(append(message, 1), ip.Unmap().AsSlice()...)
	} else if err == nil {
		message = append(append(message, 4), ip.WithZone("").AsSlice()...)
	} else if len(host) == 0 || len(host) > 255 {
		return netip.Addr{}, fmt.Errorf("host name of %d bytes: must have 1 to 255", len(host))
	} else {
		message = append(append(message, 3, byte(len(host))), host...)
	}

	message = append(message, byte(port>>8), byte(port))
	var bound netip.Addr

	err := within(ctx, conn, func() error {
		if _, err := conn.Write(message); err != nil {
			return err
		}
		var err error
		bound, err = readReply(conn, target)
		return err
	})

	return bound, err
}

func readReply(r io.Reader, target string) (netip.Addr, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return netip.Addr{}, fmt.Errorf("reply: %w", err)
	}
	if head[0] != version {
		return netip.Addr{}, fmt.Errorf("reply: %w", errProtocol)
	}

	if head[1] != 0 {
		return netip.Addr{}, &ReplyError{Target: target, Code: head[1]}
	}

	size := 0
	switch head[3] {
	case 1:
		size = 4
	case 4:
		size = 16
	case 3:
		var n [1]byte
		if _, err := io.ReadFull(r, n[:]); err != nil {
			return netip.Addr{}, fmt.Errorf("reply: %w", err)
		}
		size = int(n[0])
	default:
		return netip.Addr{}, fmt.Errorf("reply: %w: address type %#x", errProtocol, head[3])
	}

	rest := make([]byte, size+2)
	if _, err := io.ReadFull(r, rest); err != nil {
		return netip.Addr{}, fmt.Errorf("reply: %w", err)
	}
	addr, _ := netip.AddrFromSlice(rest[:size]) // a name gives the zero Addr
	return addr, nil
}

// within runs f, and ends it when ctx ends.
func within(ctx context.Context, conn net.Conn, f func() error) error {
	// The context's own timer, and not the connection's, says that time is up:
	// else one could be over a moment before the other.
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = conn.SetDeadline(time.Unix(1, 0)) // fails only if closed, which ends f too
	})

	err := f()
	if !stop() {
		<-done
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}

	if err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

func splitAddr(addr string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("address %s: port must be a number to 65535", addr)
	}
	return host, uint16(n), nil
}
