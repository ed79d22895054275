package scrape_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gocolly/colly/v2"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/scrapetest"
)

// trapTime is how long a client has for one page of a trap. For the table it is
// 3 s, else no longer than shows that ours keeps its budget.
func trapTime() time.Duration {
	if testenv.Soak() {
		return 3 * time.Second
	}
	return 300 * time.Millisecond
}

// fetchers get one page, whatever comes of it.
var fetchers = []struct {
	name  string
	fetch func(ctx context.Context, t *testing.T, url string, config *tls.Config, robots bool)
}{
	{"ours", func(ctx context.Context, t *testing.T, url string, config *tls.Config, robots bool) {
		c, err := scrape.New(ctx, &scrape.Options{
			Egress: scrape.Direct(), Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, TLS: config, UserAgents: chrome,
			Robots: scrape.Robots{Ignore: !robots}, Retry: scrape.Retry{Base: 10 * time.Millisecond}, Limits: scrape.Limits{Timeout: time.Second},
		})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if res, err := c.Get(ctx, url); err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}},
	{"net/http", func(ctx context.Context, t *testing.T, url string, config *tls.Config, _ bool) {
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Error(err)
			return
		}
		if res, err := (&http.Client{Transport: transport}).Do(req); err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}},
	{"colly", func(ctx context.Context, _ *testing.T, url string, config *tls.Config, robots bool) {
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		c := colly.NewCollector(colly.StdlibContext(ctx))
		c.WithTransport(transport)
		c.SetRequestTimeout(trapTime())
		c.IgnoreRobotsTxt = !robots
		_ = c.Visit(url)
	}},
}

// TestTraps sends each client to each trap for one page and logs what the sites
// have seen; ours keeps to its three attempts.
func TestTraps(t *testing.T) {
	testenv.Slow(t)
	var table strings.Builder
	for _, trap := range scrapetest.Traps() {
		fmt.Fprintf(&table, "| %s |", trap.Name)
		for _, f := range fetchers {
			site, err := trap.Start()
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), trapTime())
			f.fetch(ctx, t, site.URL, site.TLS, trap.Robots)
			cancel()
			seen := site.Seen()
			fmt.Fprintf(&table, " %d |", seen.Requests+seen.Robots)
			budget := scrapetest.Budget{Attempts: 3, Redirects: 10, PerSecond: 5}
			if err := budget.Check(trap, seen, http.MethodGet, 1, began); f.name == "ours" && err != nil {
				t.Errorf("%s: %v", trap.Name, err)
			}
			_ = site.Close()
		}
		table.WriteString("\n")
	}
	t.Log("requests for one page, of ours, net/http and Colly:\n" + table.String())
}
