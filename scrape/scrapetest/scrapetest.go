// Package scrapetest checks that a [scrape.Egress] keeps its obligations, and
// serves hostile sites to try a scraper on.
//
// A package that implements an egress calls [Run] from a test with a [Harness].
// The subtests carry the numbers of the obligations of [scrape.Egress]. [Check]
// is the same without testing. [Hostile] is the site. [Traps] are sites that make
// clients send more than they should; each counts what it is sent, and
// [Budget.Check] tells whether that is too much.
package scrapetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/scrape"
)

// patience is what "soon" means to the suite.
const patience = 5 * time.Second

// Harness adapts the suite to one egress.
type Harness struct {
	// New returns the egress to check, available. Required.
	New func() (scrape.Egress, error)
	// Down returns one that is not available: its Tor or proxy is not there.
	// Nil: the egress is always available.
	Down func() (scrape.Egress, error)
	// Hang returns one whose Tor or proxy takes connections and says nothing.
	// Nil: not checked.
	Hang func() (scrape.Egress, error)
	// Address returns the host:port by which the egress reaches a listener of
	// this process at addr, on 127.0.0.1. Defaults to addr itself.
	Address func(addr string) string
	// Asked returns the hosts that the far end was asked for so far. Nil: not
	// checked.
	Asked func() []string
}

// obligation is one case of the suite; what it returns explains the breach.
type obligation struct {
	name  string
	check func(h *Harness) error
}

var obligations = []obligation{
	{"1/connects to what it is asked for", connects},
	{"1/passes names on", passesNames},
	{"2/keys do not disturb each other", keys},
	{"3/says that it is unavailable", unavailable},
	{"3/does not blame itself for the far end", farEnd},
	{"4/returns soon after ctx ends", cancels},
	{"5/Check contacts no site", checkIsQuiet},
	{"6/is safe for concurrent use", concurrent},
}

// Check returns an error for each obligation that the egress of h breaks.
func Check(h Harness) error {
	if h.New == nil {
		return errors.New("scrapetest: Harness.New is required")
	}
	var broken []error
	for _, o := range obligations {
		if err := o.check(&h); err != nil {
			broken = append(broken, fmt.Errorf("obligation %s: %w", o.name, err))
		}
	}
	return errors.Join(broken...)
}

// Run runs the suite, each obligation as a subtest.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if h.New == nil {
		t.Fatal("scrapetest: Harness.New is required")
	}
	for _, o := range obligations {
		t.Run(o.name, func(t *testing.T) {
			if err := o.check(&h); err != nil {
				t.Error(err)
			}
		})
	}
}

// site is a server that answers each connection with one line.
type site struct {
	listener    net.Listener
	connections atomic.Int64
	wg          sync.WaitGroup
}

func newSite() (*site, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &site{listener: l}

	s.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.connections.Add(1)
			_, _ = io.WriteString(conn, greeting) // the client may be gone
			_ = conn.Close()
		}
	})

	return s, nil
}

const greeting = "welcome\n"

func (s *site) close() {
	_ = s.listener.Close() // only accepts
	s.wg.Wait()
}

// address is what to ask the egress for.
func (h *Harness) address(s *site) string {
	addr := s.listener.Addr().String()
	if h.Address != nil {
		return h.Address(addr)
	}
	return addr
}

// read connects and reads what the site says.
func read(ctx context.Context, e scrape.Egress, isolation, addr string) error {
	conn, err := e.DialContext(ctx, isolation, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // all was read
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}

	text, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if string(text) != greeting {
		return fmt.Errorf("the site said %q, the connection gave %q", greeting, text)
	}
	return nil
}

// with calls f with an egress, a site and a bounded context.
func (h *Harness) with(f func(ctx context.Context, e scrape.Egress, s *site) error) error {
	e, err := h.New()
	if err != nil {
		return fmt.Errorf("from Harness.New: %w", err)
	}
	s, err := newSite()
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()
	return f(ctx, e, s)
}

func connects(h *Harness) error {
	return h.with(func(ctx context.Context, e scrape.Egress, s *site) error {
		for range 3 {
			if err := read(ctx, e, "connects", h.address(s)); err != nil {
				return err
			}
		}
		if n := s.connections.Load(); n != 3 {
			return fmt.Errorf("3 connections were asked for, the site saw %d", n)
		}
		return nil
	})
}

func passesNames(h *Harness) error {
	if h.Asked == nil {
		return nil
	}

	return h.with(func(ctx context.Context, e scrape.Egress, s *site) error {
		_, port, err := net.SplitHostPort(h.address(s))
		if err != nil {
			return err
		}
		const name = "name.that.only.the.far.end.knows.example"
		// Whether it resolves there does not matter here.
		if conn, err := e.DialContext(ctx, "names", "tcp", net.JoinHostPort(name, port)); err == nil {
			_ = conn.Close()
		}
		if slices.Contains(h.Asked(), name) {
			return nil
		}
		return fmt.Errorf("the far end was asked for %q, not for %s: was the name resolved on the way?", h.Asked(), name)
	})
}

func keys(h *Harness) error {
	return h.with(func(ctx context.Context, e scrape.Egress, s *site) error {
		for _, key := range []string{"key-a", "key-b", "key-a", "a key with spaces, \"quotes\" and ünicode"} {
			if err := read(ctx, e, key, h.address(s)); err != nil {
				return fmt.Errorf("key %q: %w", key, err)
			}
		}

		exits, ok := e.(interface {
			Exit(ctx context.Context, isolation string) (string, error)
		})
		if control, depends := e.(interface{ HasControl() bool }); !ok || depends && !control.HasControl() {
			return nil
		}

		first, err := exits.Exit(ctx, "key-a")
		if err != nil {
			return fmt.Errorf("exit of a key: %w", err)
		}
		if again, err := exits.Exit(ctx, "key-a"); err != nil || again != first || first == "" {
			return fmt.Errorf("exit of one key is %q and then %q (%w)", first, again, err)
		}
		return nil
	})
}

func unavailable(h *Harness) error {
	if h.Down == nil {
		return nil
	}
	e, err := h.Down()
	if err != nil {
		return fmt.Errorf("from Harness.Down: %w", err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	began := time.Now()
	if err := e.Check(ctx); !errors.Is(err, scrape.ErrEgressUnavailable) {
		return fmt.Errorf("what Check gives is not ErrEgressUnavailable: %w", orNil(err))
	}

	conn, err := e.DialContext(ctx, "down", "tcp", "example.com:80")
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, scrape.ErrEgressUnavailable) {
		return fmt.Errorf("what DialContext gives is not ErrEgressUnavailable: %w", orNil(err))
	}

	if took := time.Since(began); took > patience {
		return fmt.Errorf("both took %v, more than %v", took, patience)
	}
	return nil
}

// orNil makes a nil error printable.
func orNil(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}

func farEnd(h *Harness) error {
	return h.with(func(ctx context.Context, e scrape.Egress, s *site) error {
		addr := h.address(s)
		s.close() // now nothing listens there
		conn, err := e.DialContext(ctx, "far-end", "tcp", addr)
		if err == nil {
			_ = conn.Close()
			return errors.New("a connection to where nothing listens")
		}
		if errors.Is(err, scrape.ErrEgressUnavailable) {
			return fmt.Errorf("nothing listens at the far end, and DialContext gives ErrEgressUnavailable: %w", err)
		}
		return nil
	})
}

func cancels(h *Harness) error {
	ended := func(e scrape.Egress, how string, wait time.Duration) error {
		reason := errors.New("the caller has had enough")
		ctx, cancel := context.WithCancelCause(context.Background())

		if wait == 0 {
			cancel(reason)
		} else {
			timer := time.AfterFunc(wait, func() { cancel(reason) })
			defer timer.Stop()
		}
		defer cancel(nil)

		began := time.Now()
		conn, err := e.DialContext(ctx, "cancel", "tcp", "192.0.2.1:80")
		if err == nil {
			_ = conn.Close()
			return fmt.Errorf("%s: DialContext succeeded", how)
		}

		if took := time.Since(began); took > wait+patience {
			return fmt.Errorf("%s: DialContext returned %v after ctx had ended", how, took-wait)
		}
		if errors.Is(err, scrape.ErrEgressUnavailable) && !errors.Is(err, reason) && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("%s: DialContext blames the egress: %w", how, err)
		}
		return nil
	}

	e, err := h.New()
	if err != nil {
		return fmt.Errorf("from Harness.New: %w", err)
	}
	if err := ended(e, "ended before", 0); err != nil || h.Hang == nil {
		return err
	}

	if e, err = h.Hang(); err != nil {
		return fmt.Errorf("from Harness.Hang: %w", err)
	}
	return ended(e, "ended while it hangs", 100*time.Millisecond)
}

func checkIsQuiet(h *Harness) error {
	return h.with(func(ctx context.Context, e scrape.Egress, s *site) error {
		if err := e.Check(ctx); err != nil {
			return fmt.Errorf("failed: %w", err)
		}
		if n := s.connections.Load(); n != 0 {
			return fmt.Errorf("the site saw %d connections", n)
		}
		return nil
	})
}

func concurrent(h *Harness) error {
	return h.with(func(ctx context.Context, e scrape.Egress, s *site) error {
		addr := h.address(s)
		errs := make(chan error)
		const workers = 16
		for i := range workers {
			go func() {
				err := read(ctx, e, fmt.Sprintf("worker-%d", i%4), addr)
				if err == nil {
					err = e.Check(ctx)
				}
				errs <- err
			}()
		}

		var all []error
		for range workers {
			all = append(all, <-errs)
		}
		return errors.Join(all...)
	})
}
