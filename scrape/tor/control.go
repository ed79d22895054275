package tor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cretz/bine/control"

	"github.com/svcblocks/svcblocks/config/secret"
)

// ErrCommand reports a control command that cannot be sent as one line, or
// that Tor refused.
var ErrCommand = errors.New("tor: control command")

// controller speaks to the control port: one command at a time, each within a
// deadline, over a connection that is made when it is needed and made anew when
// it broke. Package bine's Conn deadlocks on two concurrent commands and hangs
// on a silent Tor, so it is never left alone with the connection.
type controller struct {
	addr       string
	password   secret.Secret
	cookieFile string
	timeout    time.Duration

	turn    chan struct{} // holds a token while nobody uses conn
	conn    *session
	retired atomic.Bool // conn is closed after its use
}

func newController(addr string, password secret.Secret, cookieFile string, timeout time.Duration) *controller {
	c := &controller{addr: addr, password: password, cookieFile: cookieFile, timeout: timeout, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c
}

// session is one authenticated connection.
type session struct {
	net  net.Conn
	bine *control.Conn
}

// close closes the connection without a word: QUIT would wait for Tor.
func (s *session) close() { _ = s.net.Close() }

// within runs f, and ends it after limit or when ctx ends.
func (s *session) within(ctx context.Context, limit time.Duration, f func() error) error {
	if err := s.net.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = s.net.SetDeadline(time.Unix(1, 0)) // fails only if closed, which ends f too
	})

	err := f()
	if !stop() {
		<-done
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}

	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer within %v: %w", limit, context.DeadlineExceeded)
	}
	return err
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

// send sends one line and reads the answer.
func (s *session) send(ctx context.Context, limit time.Duration, line string) (res *control.Response, err error) {
	err = s.within(ctx, limit, func() error {
		var err error
		res, err = s.bine.SendRequest("%s", line)
		return err
	})
	return res, err
}

// word is the command without its arguments, which may hold a password.
func word(line string) string {
	name, _, _ := strings.Cut(line, " ")
	return name
}

// isGone reports whether the other side closed the connection.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

// dial reaches the control port.
func (c *controller) dial(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	network, addr := "tcp", c.addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("control port %s: %w (is ControlPort set in torrc?)", c.addr, err)
	}
	return &session{net: conn, bine: control.NewConn(textproto.NewConn(conn))}, nil
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
