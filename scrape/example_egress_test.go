package scrape_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/svcblocks/svcblocks/scrape"
)

// counted is an egress that counts the connections of another one. It passes
// on each of the optional methods that it wants to keep: what it does not pass
// on, the client does without.
type counted struct {
	scrape.Egress
	connections atomic.Int64
}

func (c *counted) DialContext(ctx context.Context, isolation, network, addr string) (net.Conn, error) {
	c.connections.Add(1)
	return c.Egress.DialContext(ctx, isolation, network, addr)
}

// HasControl tells whether the egress within can do what Exit and NewIdentity
// ask for.
func (c *counted) HasControl() bool {
	_, exits := c.Egress.(scrape.ExitEgress)
	_, renews := c.Egress.(scrape.IdentityEgress)
	control, depends := c.Egress.(scrape.ControlEgress)
	return exits && renews && (!depends || control.HasControl())
}

func (c *counted) Exit(ctx context.Context, isolation string) (string, error) {
	return c.Egress.(scrape.ExitEgress).Exit(ctx, isolation)
}

func (c *counted) NewIdentity(ctx context.Context) error {
	return c.Egress.(scrape.IdentityEgress).NewIdentity(ctx)
}

func (c *counted) Exits(ctx context.Context) (int, error) {
	if e, ok := c.Egress.(scrape.ExitsEgress); ok {
		return e.Exits(ctx)
	}
	return 2, nil
}

func (c *counted) DialExit(ctx context.Context, isolation, network, addr string) (net.Conn, string, error) {
	c.connections.Add(1)
	return c.Egress.(scrape.DialExitEgress).DialExit(ctx, isolation, network, addr)
}

func (c *counted) Where(ctx context.Context, exit string) (address, country string, err error) {
	if e, ok := c.Egress.(scrape.WhereEgress); ok {
		return e.Where(ctx, exit)
	}
	return "", "", nil
}

func (c *counted) Warm(ctx context.Context, isolation, host string) error {
	if e, ok := c.Egress.(scrape.WarmEgress); ok {
		return e.Warm(ctx, isolation, host)
	}
	return nil
}

func (c *counted) Probe(ctx context.Context) error {
	if e, ok := c.Egress.(scrape.ProbeEgress); ok {
		return e.Probe(ctx)
	}
	return c.Check(ctx)
}

func (c *counted) Forward() *url.URL {
	if e, ok := c.Egress.(scrape.ForwardEgress); ok {
		return e.Forward()
	}
	return nil
}

func (c *counted) DialForward(ctx context.Context) (net.Conn, error) {
	return c.Egress.(scrape.ForwardEgress).DialForward(ctx)
}

// several is an egress of more than one way out, each with a state of its own.
type several []scrape.Egress

func (s several) Ways() []scrape.Egress { return s }

func (s several) DialContext(ctx context.Context, isolation, network, addr string) (net.Conn, error) {
	return s[0].DialContext(ctx, isolation, network, addr)
}

func (s several) Check(ctx context.Context) error { return s[0].Check(ctx) }

func ExampleManyEgress() {
	ctx := context.Background()
	egress := several{pinned{"127.0.0.1:8001"}, pinned{"127.0.0.1:8002"}}
	c, err := scrape.New(ctx, &scrape.Options{Egress: egress})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println(len(c.Stats().Egress.Ways), "ways out,", egress.Check(ctx))
	// Output: 2 ways out, <nil>
}

// pinned connects to one address, whatever it is asked for.
type pinned struct{ addr string }

func (p pinned) DialContext(ctx context.Context, _, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, p.addr)
}

func (p pinned) Check(context.Context) error { return nil }

func ExampleEgress_wrapper() {
	address, stop := shop()
	defer stop()
	egress := &counted{Egress: pinned{strings.TrimPrefix(address, "http://")}}
	c, err := scrape.New(context.Background(), &scrape.Options{Egress: egress})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		res, err := c.Get(context.Background(), "http://shop.example.com/page")
		if err != nil {
			log.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body) // read to its end, the connection serves again
		_ = res.Body.Close()
	}
	var way scrape.WayStats = c.Stats().Egress.Ways[0]
	fmt.Println(way.Works, egress.connections.Load())
	// Output: true 1
}

// A session keeps its cookies and its exit, whatever Rotation says.
func ExampleSession() {
	address, stop := shop()
	defer stop()
	c, err := scrape.New(context.Background(), &scrape.Options{Egress: scrape.Direct(), Allow: allowLocal})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	var s *scrape.Session
	if s, err = c.Session(context.Background()); err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for range 2 {
		res, err := s.Get(context.Background(), address+"/page")
		if err != nil {
			log.Fatal(err)
		}
		_ = res.Body.Close()
		fmt.Println(res.StatusCode == http.StatusOK)
	}
	// Output:
	// true
	// true
}
