package scrape_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/svcblocks/svcblocks/scrape"
)

// tree serves pages that link to two more, with traps.
type tree struct {
	mu    sync.Mutex
	seen  map[string]int
	pages int
}

func (s *tree) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.seen == nil {
		s.seen = map[string]int{}
	}
	s.seen[r.URL.RequestURI()]++
	s.mu.Unlock()
	n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/p/"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	for _, next := range []int{2 * n, 2*n + 1} {
		if next < s.pages {
			fmt.Fprintf(w, "/p/%d\n./%d#top\n/%%70/%d\n", next, next, next)
		}
	}
	fmt.Fprintf(w, "/calendar/%d\nhttp://elsewhere.example.com/\nmailto:me@example.com\n", n+1)
}

// links adds each line of a page.
func links(v *scrape.Visit) error {
	if v.Err != nil {
		return v.Err
	}
	lines := bufio.NewScanner(v.Response.Body)
	for lines.Scan() {
		v.Add(lines.Text())
	}
	return lines.Err()
}

func TestCrawl(t *testing.T) {
	t.Parallel()
	site := &tree{pages: 500}
	server := newSite(t, site.ServeHTTP)
	c := newClient(t, options(scrape.Direct()))
	var last scrape.Progress
	err := c.Crawl(t.Context(), []scrape.Request{{URL: server.URL + "/p/1"}}, &scrape.CrawlOptions{
		Exclude: []string{"/calendar/"}, OnProgress: func(p scrape.Progress) { last = p },
	}, links)
	if err != nil {
		t.Fatal(err)
	}
	if len(site.seen) != 499 || last.Done != 499 || last.Waiting != 0 || last.Bytes == 0 {
		t.Errorf("%d pages, %+v; want 499", len(site.seen), last)
	}
	for path, n := range site.seen {
		if n != 1 {
			t.Errorf("%s was fetched %d times", path, n)
		}
	}
}

func TestCrawlEnds(t *testing.T) {
	t.Parallel()
	server := newSite(t, (&tree{pages: 1 << 20}).ServeHTTP)
	seeds := []scrape.Request{{URL: server.URL + "/p/1"}}
	broken := errors.New("broken")
	for name, tc := range map[string]struct {
		opts scrape.CrawlOptions
		fn   func(v *scrape.Visit, n int64) error
		want error
		most int64
	}{
		"MaxPages":   {scrape.CrawlOptions{MaxPages: 20}, nil, nil, 20},
		"MaxDepth":   {scrape.CrawlOptions{MaxDepth: 2, Exclude: []string{"/calendar"}}, nil, nil, 7},
		"seeds only": {scrape.CrawlOptions{MaxDepth: -1}, nil, nil, 1},
		"an error": {scrape.CrawlOptions{}, func(_ *scrape.Visit, n int64) error {
			if n == 10 {
				return broken
			}
			return nil
		}, broken, 30},
		"skipped": {scrape.CrawlOptions{MaxPages: 20}, func(*scrape.Visit, int64) error { return scrape.ErrSkip }, nil, 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, options(scrape.Direct()))
			var calls atomic.Int64
			err := c.Crawl(t.Context(), seeds, &tc.opts, func(v *scrape.Visit) error {
				n := calls.Add(1)
				if err := links(v); err != nil && tc.want == nil {
					return err
				}
				if tc.fn != nil {
					return tc.fn(v, n)
				}
				return nil
			})
			if !errors.Is(err, tc.want) || calls.Load() > tc.most || tc.want == nil && calls.Load() != tc.most {
				t.Errorf("%v after %d pages, want %v after %d", err, calls.Load(), tc.want, tc.most)
			}
		})
	}
	t.Run("ctx", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, options(scrape.Direct()))
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int64
		err := c.Crawl(ctx, seeds, nil, func(v *scrape.Visit) error {
			if calls.Add(1) == 5 {
				cancel()
			}
			return links(v)
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Crawl = %v", err)
		}
	})
}

// TestAHostThatWaitsKeepsNoWorker: pages of other hosts go on while one host
// asks for a pause.
func TestAHostThatWaitsKeepsNoWorker(t *testing.T) {
	t.Parallel()
	var paused atomic.Int64
	slow := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
		if paused.Add(1) == 1 {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	other := newSite(t, func(http.ResponseWriter, *http.Request) {})
	opts := options(scrape.Direct())
	opts.Retry = scrape.Retry{Attempts: 3}
	done, slowBefore := 0, 0 // pages of the slow host before the other's last
	slowDone, slowAtPause := 0, 0
	var mu sync.Mutex
	opts.Hooks.OnRetry = func(scrape.Attempt) { // the pause has begun
		mu.Lock()
		defer mu.Unlock()
		slowAtPause = slowDone
	}
	c := newClient(t, opts)
	var urls []string
	for i := range 20 {
		urls = append(urls, fmt.Sprintf("%s/%d", slow.URL, i), fmt.Sprintf("%s/%d", other.URL, i))
	}
	err := c.Each(t.Context(), slices.Values(urls), 4, func(address string, res *http.Response, err error) error {
		mu.Lock()
		defer mu.Unlock()
		if err == nil && res.StatusCode == http.StatusOK {
			done++
		}
		if strings.HasPrefix(address, slow.URL) {
			slowDone++
		} else {
			slowBefore = slowDone
		}
		return err
	})
	if err != nil || done != 40 {
		t.Errorf("%v, %d of 40 pages", err, done)
	}
	// What the three other workers had under way when the pause began ends in it.
	if n := slowBefore - slowAtPause; n > 3 {
		t.Errorf("the other host was done after %d pages of the one that waits", n)
	}
}

// TestEachEndsWithCtx: also while the sequence does not yield.
func TestEachEndsWithCtx(t *testing.T) {
	t.Parallel()
	site := newSite(t, func(http.ResponseWriter, *http.Request) {})
	c := newClient(t, options(scrape.Direct()))
	ctx, cancel := context.WithCancel(t.Context())
	hold := make(chan struct{})
	defer close(hold)
	err := c.Each(ctx, func(yield func(string) bool) {
		if yield(site.URL) {
			<-hold
		}
	}, 2, func(string, *http.Response, error) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Each = %v", err)
	}
}

func TestCrawlJournalIsOneCrawls(t *testing.T) {
	t.Parallel()
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Method, r.Header.Get("X-A")) })
	c := newClient(t, options(scrape.Direct()))
	dir := t.TempDir()
	seeds := []scrape.Request{{URL: site.URL, Method: http.MethodPost, Header: http.Header{"X-A": {"1"}}, Body: []byte("q=1"), Meta: map[string]string{"k": "v"}}}
	opts := &scrape.CrawlOptions{Dir: dir}
	err := c.Crawl(t.Context(), seeds, opts, func(v *scrape.Visit) error {
		text, _ := io.ReadAll(v.Response.Body)
		if string(text) != "POST1" || v.Request.Meta["k"] != "v" {
			t.Errorf("%s %v", text, v.Request.Meta)
		}
		if err := c.Crawl(t.Context(), seeds, opts, links); err == nil || !strings.Contains(err.Error(), "another crawl") {
			t.Errorf("a second crawl in the same folder: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	// All is done: nothing is fetched again.
	if err := c.Crawl(t.Context(), seeds, opts, func(v *scrape.Visit) error { return errors.New(v.Request.URL) }); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

// TestEachOfAHostThatIsAway: pages of a host that asks for an hour fail at once.
func TestEachOfAHostThatIsAway(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	site := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	c := newClient(t, options(scrape.Direct()))
	var urls []string
	for i := range 50 {
		urls = append(urls, fmt.Sprintf("%s/%d", site.URL, i))
	}
	var later atomic.Int64
	err := c.Each(t.Context(), slices.Values(urls), 2, func(_ string, _ *http.Response, err error) error {
		if errors.Is(err, scrape.ErrRetryLater) {
			later.Add(1)
		}
		return nil
	})
	if err != nil || asked.Load() > 4 || later.Load() != 50-asked.Load() {
		t.Errorf("%v: %d requests, %d ErrRetryLater of 50 pages", err, asked.Load(), later.Load())
	}
}
