package scrape_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv/nginx"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/scrapetest"
)

// trapBudget is what the client of newTrapClient promises.
var trapBudget = scrapetest.Budget{Attempts: 3, Redirects: 4, PerSecond: 20}

func newTrapClient(t *testing.T, config *tls.Config, trap scrapetest.Trap) *scrape.Client {
	t.Helper()
	opts := options(scrape.Direct())
	opts.TLS = config
	opts.HostLimit = scrape.HostLimit{PerSecond: trapBudget.PerSecond, Burst: 1}
	opts.Retry = scrape.Retry{Attempts: trapBudget.Attempts, Base: time.Millisecond, Max: 5 * time.Second}
	opts.Limits = scrape.Limits{Timeout: 500 * time.Millisecond, MaxRedirects: trapBudget.Redirects}
	opts.Robots = scrape.Robots{Ignore: !trap.Robots}
	if trap.Delay > 0 {
		opts.HostLimit.Burst = 5 // a Crawl-delay holds all the same
	}
	return newClient(t, opts)
}

// fetchTwice fetches a page twice by method and reads it.
func fetchTwice(t *testing.T, c *scrape.Client, method, url string) {
	t.Helper()
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var body io.Reader
		if method == http.MethodPost {
			body = strings.NewReader("once")
		}
		req, err := http.NewRequestWithContext(ctx, method, url, body)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		if _, ok := errors.AsType[*scrape.Error](err); err != nil && !ok {
			t.Errorf("%v is no *scrape.Error", err)
		}
		if ctx.Err() != nil {
			t.Error("it takes more than a minute")
		}
		cancel()
	}
}

// TestTraps: whatever a site does, what reaches it keeps to Retry.Attempts and
// HostLimit, a POST has one effect, and Stats says what the site has seen.
func TestTraps(t *testing.T) {
	t.Parallel()
	for _, trap := range scrapetest.Traps() {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(trap.Name+"/"+method, func(t *testing.T) {
				t.Parallel()
				site, err := trap.Start()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = site.Close() })
				c := newTrapClient(t, site.TLS, trap)
				began := time.Now()
				fetchTwice(t, c, method, site.URL)

				seen := site.Seen()
				if err := trapBudget.Check(trap, seen, method, 2, began); err != nil {
					t.Error(err)
				}
				s := c.Stats()
				early := seen.Requests == 0 && site.TLS == nil // a reset may come before connect returns
				if s.Connections != int64(seen.Connections) && !early {
					t.Errorf("Stats has %d connections, the site %d", s.Connections, seen.Connections)
				}
				if seen.Requests > 0 && s.Requests != int64(seen.Requests+seen.Robots) {
					t.Errorf("Stats has %d requests, the site %d and %d for robots.txt", s.Requests, seen.Requests, seen.Robots)
				}
			})
		}
	}
}

// TestNginxHangsUp: 444 of nginx, which is what sites answer to bots.
func TestNginxHangsUp(t *testing.T) {
	t.Parallel()
	server := nginx.Start(t, `
		server { listen {{ADDR}}; return 444; }
		server { listen {{TLS_ADDR}} ssl http2; ssl_certificate {{CERT}}; ssl_certificate_key {{KEY}}; return 444; }
	`)
	seen := 0
	for _, url := range []string{"http://" + server.Addr + "/", "https://" + server.TLSAddr + "/"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			c := newTrapClient(t, &tls.Config{RootCAs: server.Certificate.Pool}, scrapetest.Trap{})
			fetchTwice(t, c, method, url)
			want := 2 * trapBudget.Attempts
			if method == http.MethodPost {
				want = 2
			}
			log, err := server.AccessLog()
			lines := strings.Count(log, "\n")
			if n := lines - seen; err != nil || n != want || c.Stats().Requests != int64(n) {
				t.Errorf("%s %s: %v, %d requests at the site, %d by Stats, want %d", method, url, err, n, c.Stats().Requests, want)
			}
			seen = lines
		}
	}
}
