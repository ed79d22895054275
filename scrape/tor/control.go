package tor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cretz/bine/control"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/health"
)

// ErrCommand reports a control command that cannot be sent as one line, or
// that Tor refused.
var ErrCommand = errors.New("tor: control command")

// controller speaks to the control port: one command at a time, each within a
// deadline, over a connection that is made when it is needed and made anew when
// it broke. Package bine's Conn deadlocks on two concurrent commands and hangs
// on a silent Tor, so it is never left alone with the connection.
type controller struct {
	login

	turn    chan struct{} // holds a token while nobody uses conn
	conn    *session
	retired atomic.Bool // conn is closed after its use
}

func newController(addr string, password secret.Secret, cookieFile string, timeout time.Duration) *controller {
	c := &controller{login: login{addr: addr, password: password, cookieFile: cookieFile, timeout: timeout}, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c
}

// command sends one command and returns Tor's answer. A connection that was
// kept from before and turns out to be dead is made anew once.
func (c *controller) command(ctx context.Context, line string) (*control.Response, error) {
	if i := strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return nil, fmt.Errorf("%w: control character at position %d: it would end the command", ErrCommand, i)
	}

	select {
	case <-c.turn:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer c.release()

	for {
		kept := c.conn != nil
		if !kept {
			s, err := c.open(ctx)
			if err != nil {
				return nil, err
			}
			c.conn = s
		}

		res, err := c.conn.send(ctx, c.timeout, line)
		var refusal *textproto.Error
		switch {
		case err == nil:
			return res, nil
		case errors.As(err, &refusal): // Tor answered: the connection is good
			return res, fmt.Errorf("%w %s: Tor answered %d %s", ErrCommand, word(line), refusal.Code, refusal.Msg)
		}

		c.conn.close()
		c.conn = nil
		if kept && isGone(err) && ctx.Err() == nil {
			continue
		}
		return nil, fmt.Errorf("control port %s: %s: %w", c.addr, word(line), err)
	}
}

// word is the command without its arguments, which may hold a password.
func word(line string) string {
	name, _, _ := strings.Cut(line, " ")
	return name
}

// isGone reports whether the other side closed the connection.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || health.Disconnected(err) || errors.Is(err, net.ErrClosed)
}

// release ends the use of the connection.
func (c *controller) release() {
	if c.retired.Load() && c.conn != nil {
		c.conn.close()
		c.conn = nil
	}
	c.turn <- struct{}{}
}

// close drops the connection, and keeps none from now on. A command under way
// ends first.
func (c *controller) close() {
	c.retired.Store(true)
	<-c.turn
	c.release()
}

// retire does as close does, but does not wait: a command under way drops the
// connection when it ends.
func (c *controller) retire() {
	c.retired.Store(true)
	select {
	case <-c.turn:
		c.release()
	default:
	}
}

// info returns the values of GETINFO keys.
func (c *controller) info(ctx context.Context, keys ...string) (map[string]string, error) {
	res, err := c.command(ctx, "GETINFO "+strings.Join(keys, " "))
	if err != nil {
		return nil, err
	}

	values := make(map[string]string, len(keys))
	for _, line := range res.Data {
		if key, value, ok := strings.Cut(line, "="); ok {
			values[key] = strings.TrimPrefix(value, "\r\n")
		}
	}

	for _, key := range keys {
		if _, ok := values[key]; !ok {
			return nil, fmt.Errorf("control port %s: GETINFO: no value for %q in the answer", c.addr, key)
		}
	}

	return values, nil
}

// newIdentity sends NEWNYM and waits until it took effect.
func (c *controller) newIdentity(ctx context.Context) error {
	e, err := listen(ctx, &c.login, control.EventCodeSignal)
	if err != nil {
		return err
	}
	defer e.close()
	if _, err := c.command(ctx, "SIGNAL NEWNYM"); err != nil {
		return err
	}
	_, err = e.wait(ctx, func(line string) bool { return line == "SIGNAL NEWNYM" })
	return err
}

// circuits returns Tor's circuits.
func (c *controller) circuits(ctx context.Context) ([]circuit, error) {
	info, err := c.info(ctx, "circuit-status")
	if err != nil {
		return nil, err
	}
	var list []circuit
	for line := range strings.Lines(info["circuit-status"]) {
		if one, ok := parseCircuit(strings.TrimRight(line, "\r\n")); ok {
			list = append(list, one)
		}
	}
	return list, nil
}

// exitOf returns the exit of an open connection.
func (c *controller) exitOf(ctx context.Context, s *streams, conn net.Conn) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("no STREAM event within %v: %w", c.timeout, context.DeadlineExceeded))
	defer cancel()
	id, err := s.of(ctx, conn.LocalAddr().String())
	if err != nil {
		return "", err
	}
	circuits, err := c.circuits(ctx)
	if err != nil {
		return "", err
	}

	for _, circuit := range circuits {
		if circuit.id == id && len(circuit.path) > 0 {
			return circuit.path[len(circuit.path)-1], nil
		}
	}

	return "", fmt.Errorf("%w %d any more", ErrNoCircuit, id)
}

// where returns the address and the country of a relay.
func (c *controller) where(ctx context.Context, fingerprint string) (address, country string, err error) {
	if fingerprint == "" || strings.Trim(fingerprint, "0123456789ABCDEFabcdef") != "" {
		return "", "", fmt.Errorf("%w: %q is no fingerprint", ErrCommand, fingerprint)
	}

	key := "ns/id/" + fingerprint
	info, err := c.info(ctx, key)
	if err != nil {
		return "", "", err
	}

	// r nickname identity digest date time address ORPort DirPort (dir-spec §3.4.1)
	for line := range strings.Lines(info[key]) {
		if words := strings.Fields(line); len(words) >= 7 && words[0] == "r" {
			if ip, err := netip.ParseAddr(words[6]); err == nil {
				address = ip.String()
			}
		}
	}
	if address == "" {
		return "", "", nil
	}

	key = "ip-to-country/" + address
	info, err = c.info(ctx, key)
	if errors.Is(err, ErrCommand) {
		return address, "", nil // Tor has no table of countries
	}
	if err != nil {
		return address, "", err
	}
	if country = strings.ToLower(strings.TrimSpace(info[key])); country == "??" {
		country = ""
	}
	return address, country, nil
}
