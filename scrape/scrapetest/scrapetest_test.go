package scrapetest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/scrapetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plain is an egress that keeps every obligation, without a Tor to lose.
type plain struct {
	dial  func(ctx context.Context, isolation, addr string) (net.Conn, error)
	check func(ctx context.Context) error
	exit  func() string
}

func (p plain) DialContext(ctx context.Context, isolation, network, addr string) (net.Conn, error) {
	if p.dial != nil {
		return p.dial(ctx, isolation, addr)
	}
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

func (p plain) Check(ctx context.Context) error {
	if p.check != nil {
		return p.check(ctx)
	}
	return nil
}

func (p plain) Exit(context.Context, string) (string, error) {
	if p.exit != nil {
		return p.exit(), nil
	}
	return "here", nil
}

// TestTheSuiteFinds asserts that one breach of each obligation is found.
func TestTheSuiteFinds(t *testing.T) {
	t.Parallel()
	harness := func(p plain) scrapetest.Harness {
		return scrapetest.Harness{New: func() (scrape.Egress, error) { return p, nil }}
	}
	if err := scrapetest.Check(harness(plain{})); err != nil {
		t.Errorf("an egress that keeps them all: %v", err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	go func() {
		for {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	direct := func(ctx context.Context, addr string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	turn := 0
	busy, last := make(chan struct{}, 1), ""
	down := func(err error) func() (scrape.Egress, error) {
		return func() (scrape.Egress, error) {
			return plain{
				dial:  func(context.Context, string, string) (net.Conn, error) { return nil, err },
				check: func(context.Context) error { return err },
			}, nil
		}
	}
	resolving := harness(plain{})
	resolving.Asked = func() []string { return []string{"93.184.216.34"} }
	silent := harness(plain{})
	silent.Down = down(errors.New("connection refused"))
	hanging := harness(plain{})
	hanging.Hang = func() (scrape.Egress, error) {
		return plain{dial: func(context.Context, string, string) (net.Conn, error) {
			time.Sleep(6 * time.Second) // what the suite is to find
			return nil, errors.New("at last")
		}}, nil
	}
	for number, h := range map[string]scrapetest.Harness{
		"1/connects to what": harness(plain{dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return direct(ctx, other.Addr().String())
		}}),
		"1/passes names": resolving,
		"2/keys": harness(plain{exit: func() string {
			turn++
			return fmt.Sprint(turn)
		}}),
		"3/says that it is": silent,
		"3/does not blame": harness(plain{dial: func(ctx context.Context, _, addr string) (net.Conn, error) {
			conn, err := direct(ctx, addr)
			if err != nil {
				err = fmt.Errorf("%w: %w", scrape.ErrEgressUnavailable, err)
			}
			return conn, err
		}}),
		"4/returns soon": hanging,
		"6/is safe": harness(plain{dial: func(ctx context.Context, key, addr string) (net.Conn, error) {
			select {
			case busy <- struct{}{}:
				defer func() { <-busy }()
			default:
				return nil, errors.New("one at a time")
			}
			last = key
			if strings.HasPrefix(last, "worker") {
				time.Sleep(20 * time.Millisecond) // long enough to be met
			}
			return direct(ctx, addr)
		}}),
	} {
		t.Run(number, func(t *testing.T) {
			t.Parallel()
			err := scrapetest.Check(h)
			if err == nil || !strings.Contains(err.Error(), "obligation "+number) {
				t.Errorf("Check = %v, want it to find %s", err, number)
			}
		})
	}
	if err := scrapetest.Check(scrapetest.Harness{}); err == nil {
		t.Error("Check takes an empty Harness")
	}
}

func ExampleHarness() {
	var h scrapetest.Harness
	h.New = func() (scrape.Egress, error) { return plain{}, nil }
	fmt.Println(scrapetest.Check(h))
	// Output: <nil>
}

// TestTheTrapsFind: net/http's Transport repeats requests as it likes, and the
// budget tells.
func TestTheTrapsFind(t *testing.T) {
	t.Parallel()
	const most = 5 // requests, then it is enough
	for _, trap := range scrapetest.Traps() {
		if trap.Name != "GOAWAY" {
			continue
		}
		t.Run(trap.Name, func(t *testing.T) {
			t.Parallel()
			site, err := trap.Start()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = site.Close() }()
			transport := &http.Transport{TLSClientConfig: site.TLS, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()

			began := time.Now()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var sent atomic.Int64
			ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() {
				if sent.Add(1) > most {
					cancel()
				}
			}})
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, site.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			if res, err := transport.RoundTrip(req); err == nil {
				_ = res.Body.Close()
				t.Fatal("an answer")
			}
			budget := scrapetest.Budget{Attempts: 1, PerSecond: 20}
			if err := budget.Check(trap, site.Seen(), http.MethodGet, 1, began); err == nil {
				t.Errorf("%d requests of one are within %+v", site.Seen().Requests, budget)
			}
		})
	}
}
