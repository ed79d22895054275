package scrape_test

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
)

func TestRobots(t *testing.T) {
	t.Parallel()
	serve := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	}
	const denyX = "User-agent: *\nDisallow: /x\nUser-agent: shopbot\nDisallow: /y\n"
	for _, tc := range []struct {
		name   string
		robots http.HandlerFunc
		agent  string
		// what happens to /x and to /y
		x, y error
	}{
		{"rules for everyone", serve(denyX), "", scrape.ErrRobots, nil},
		{"rules for the agent", serve(denyX), "ShopBot", nil, scrape.ErrRobots},
		{"404 allows", http.NotFound, "", nil, nil},
		{"403 allows", status(403), "", nil, nil},
		{"503 denies", status(503), "", scrape.ErrRobots, scrape.ErrRobots},
		{"500 denies", status(500), "", scrape.ErrRobots, scrape.ErrRobots},
		{"429 denies", status(429), "", scrape.ErrRobots, scrape.ErrRobots},
		{"connection lost denies", reset, "", scrape.ErrHangUp, scrape.ErrHangUp},
		{"redirects are followed", func(w http.ResponseWriter, r *http.Request) {
			if n := len(r.URL.RawQuery); n < 5 {
				http.Redirect(w, r, "/robots.txt?"+strings.Repeat("r", n+1), http.StatusFound)
				return
			}
			serve(denyX)(w, r)
		}, "", scrape.ErrRobots, nil},
		{"a loop of redirects allows", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/robots.txt", http.StatusFound)
		}, "", nil, nil},
		{"a redirect to a local address denies", status(302, "Location", "http://10.0.0.1/robots.txt"), "", scrape.ErrForbiddenAddress, scrape.ErrForbiddenAddress},
		{"5 MB, the rule first", serve(denyX + strings.Repeat("# padding\n", 500_000)), "", scrape.ErrRobots, nil},
		{"5 MB, the rule last", serve(strings.Repeat("# padding\n", 500_000) + denyX), "", nil, nil},
		{"compressed", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			_, _ = w.Write(encode(t, "br", []byte(denyX)))
		}, "", scrape.ErrRobots, nil},
		{"HTML allows", serve("<html>User-agent: *<br>Disallow: /</html>"), "", nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var fetched, counted atomic.Int64
			site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/robots.txt" {
					if r.URL.RawQuery == "" {
						fetched.Add(1)
					}
					tc.robots(w, r)
					return
				}
				counted.Add(1)
			})
			opts := options(scrape.Direct())
			opts.Robots = scrape.Robots{Agent: tc.agent}
			c := newClient(t, opts)
			for range 2 {
				for path, want := range map[string]error{"/x": tc.x, "/y": tc.y} {
					_, _, err := get(t, c, site.URL+path)
					if !errors.Is(err, want) {
						t.Errorf("%s: %v, want %v", path, err, want)
					}
				}
			}
			if n := fetched.Load(); !errors.Is(tc.x, scrape.ErrForbiddenAddress) && n > 6 || n == 0 {
				t.Errorf("robots.txt was fetched %d times", n)
			}
			if s := c.Stats(); s.Pages != counted.Load() {
				t.Errorf("%d pages counted, %d served: is robots.txt one?", s.Pages, counted.Load())
			}
		})
	}
}

func TestRobotsDoNotCountForRotation(t *testing.T) {
	t.Parallel()
	proxy := sockstest.Start(t)
	site := newSite(t, func(http.ResponseWriter, *http.Request) {})
	opts := options(scrape.SOCKS(proxy.Addr))
	opts.Robots = scrape.Robots{}
	opts.Rotation.Every = 5
	c := newClient(t, opts)
	for i := range 10 {
		if _, _, err := get(t, c, fmt.Sprintf("http://host%d.example.com:%s/", i, port(t, site))); err != nil {
			t.Fatal(err)
		}
	}
	if s := c.Stats(); s.Rotations != 1 || s.Requests != 20 || s.Pages != 10 {
		t.Errorf("%d rotations, %d requests, %d pages; want 1, 20, 10", s.Rotations, s.Requests, s.Pages)
	}
}

func TestRobotsCrawlDelay(t *testing.T) {
	t.Parallel()
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/robots.txt" {
			fmt.Fprint(w, "User-agent: *\nCrawl-delay: 0.3\n")
		}
	})
	opts := options(scrape.Direct())
	opts.Robots = scrape.Robots{}
	c := newClient(t, opts)
	began := time.Now()
	for range 4 {
		if _, _, err := get(t, c, site.URL); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < 850*time.Millisecond {
		t.Errorf("4 requests 0.3 s apart took %v", took)
	}
}

func TestRobotsCacheIsBounded(t *testing.T) {
	t.Parallel()
	proxy := sockstest.Start(t)
	var fetched atomic.Int64
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/robots.txt" {
			fetched.Add(1)
		}
	})
	opts := options(scrape.SOCKS(proxy.Addr))
	opts.Robots = scrape.Robots{CacheHosts: 100}
	opts.Rotation.Every = -1
	c := newClient(t, opts)
	hosts := testenv.Reps(10_000)
	jobs := make(chan int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range jobs {
				if _, _, err := get(t, c, fmt.Sprintf("http://host%d.example.com:%s/", i, port(t, site))); err != nil {
					t.Error(err)
				}
				if n := c.RobotsCached(); n > 100 {
					t.Errorf("%d hosts are cached", n)
				}
			}
		})
	}
	for i := range hosts {
		jobs <- i
	}
	close(jobs)
	wg.Wait()
	// At most 256 stay idle, each with the proxy's connection to the site.
	testenv.Eventually(t, func() error {
		if n := proxy.Open(); n > 2*256 {
			return fmt.Errorf("%d connections are open after %d hosts", n, hosts)
		}
		return nil
	})
	if n := fetched.Load(); n != int64(hosts) {
		t.Errorf("robots.txt was fetched %d times for %d hosts", n, hosts)
	}
}

func TestRobotsFetchedOnce(t *testing.T) {
	t.Parallel()
	var fetched atomic.Int64
	site := newSite(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/robots.txt" {
			fetched.Add(1)
		}
	})
	opts := options(scrape.Direct())
	opts.Robots = scrape.Robots{}
	c := newClient(t, opts)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, _, err := get(t, c, site.URL); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := fetched.Load(); n != 1 {
		t.Errorf("robots.txt was fetched %d times by 20 requests at once", n)
	}
}

// TestRobotsLargerThanABody has a robots.txt that is larger than pages may be,
// with its length announced and without, and cut in the middle of a rule.
func TestRobotsLargerThanABody(t *testing.T) {
	t.Parallel()
	head := "User-agent: *\nDisallow: /x\n"
	text := head + "#" + strings.Repeat("x", 1000-len(head)-13) + "\nDisallow: /yes\n" // cut behind "/y"
	for _, announced := range []bool{true, false} {
		site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/robots.txt" {
				return
			}
			if announced {
				w.Header().Set("Content-Length", strconv.Itoa(len(text)))
			} else {
				w.(http.Flusher).Flush()
			}
			fmt.Fprint(w, text)
		})
		opts := options(scrape.Direct())
		opts.Robots = scrape.Robots{}
		opts.Limits.MaxBodyBytes = 1000
		c := newClient(t, opts)
		for path, want := range map[string]error{"/x": scrape.ErrRobots, "/y": nil, "/": nil} {
			if _, _, err := get(t, c, site.URL+path); !errors.Is(err, want) {
				t.Errorf("announced %v: %s: %v, want %v", announced, path, err, want)
			}
		}
	}
}
