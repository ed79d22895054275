package crawl_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/crawl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fetcher is the contract of scrape.Client.Each over plain functions.
type fetcher struct {
	page  func(ctx context.Context, url string) (*http.Response, error)
	mu    sync.Mutex
	now   int
	peak  int
	asked []string
}

func (f *fetcher) Each(ctx context.Context, urls iter.Seq[string], workers int, fn func(string, *http.Response, error) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan string)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for u := range work {
				f.mu.Lock()
				f.now++
				f.peak = max(f.peak, f.now)
				f.asked = append(f.asked, u)
				f.mu.Unlock()
				res, err := f.page(ctx, u)
				if err := fn(u, res, err); err != nil {
					cancel(err)
				}
				if res != nil {
					_ = res.Body.Close()
				}
				f.mu.Lock()
				f.now--
				f.mu.Unlock()
			}
		})
	}
	for u := range urls {
		work <- u
	}
	close(work)
	wg.Wait()
	return context.Cause(ctx)
}

func html(u, body string) *http.Response {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, body)
	res := w.Result()
	res.Request = httptest.NewRequest(http.MethodGet, u, nil)
	return res
}

// listing is page n of a listing with the given number of pages.
func listing(u string, n, pages int) *http.Response {
	var b strings.Builder
	fmt.Fprintf(&b, `<div itemscope itemtype="https://schema.org/Product"><a href="/item/%d" itemprop=name>item %d</a><b itemprop=price>%d EUR</b></div><nav class=pages>`, n, n, n)
	for i := range pages {
		fmt.Fprintf(&b, `<a href="/p/%d">%d</a>`, i+1, i+1)
	}
	return html(u, b.String())
}

func number(u string) (n int) {
	_, _ = fmt.Sscanf(u, "https://shop.example/p/%d", &n)
	return n
}

func TestCrawlVisitsEveryPageOnce(t *testing.T) {
	t.Parallel()
	const pages = 40
	f := &fetcher{page: func(_ context.Context, u string) (*http.Response, error) { return listing(u, number(u), pages), nil }}
	c := crawl.New(crawl.Options{Start: "https://shop.example/p/1", Workers: 3})
	var mu sync.Mutex
	var got []string
	var bytes int64
	err := c.Run(t.Context(), f, func(p crawl.Page) error {
		mu.Lock()
		defer mu.Unlock()
		for _, it := range p.Items {
			got = append(got, it.Name)
		}
		bytes += p.Bytes
		return p.Err
	})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range pages {
		want = append(want, fmt.Sprintf("item %d", i+1))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	if f.peak > 3 || len(f.asked) != pages || bytes == 0 {
		t.Errorf("%d at a time, %d requests, %d bytes", f.peak, len(f.asked), bytes)
	}
	if p := c.Progress(); p != (crawl.Progress{Known: pages, Done: pages}) {
		t.Errorf("progress = %+v", p)
	}
}

func TestCrawlFollowsNextLinks(t *testing.T) {
	t.Parallel()
	f := &fetcher{page: func(_ context.Context, u string) (*http.Response, error) {
		n := number(u)
		res := listing(u, n, 0)
		if n < 5 {
			res.Body = io.NopCloser(io.MultiReader(res.Body, strings.NewReader(fmt.Sprintf(`<a rel=next href="/p/%d">next</a>`, n+1))))
		}
		return res, nil
	}}
	visited := 0
	err := crawl.New(crawl.Options{Start: "https://shop.example/p/1", Workers: 1}).Run(t.Context(), f, func(crawl.Page) error { visited++; return nil })
	if err != nil || visited != 5 {
		t.Errorf("visited %d pages, %v", visited, err)
	}
}

func TestCrawlStartIsAPageOfTheListing(t *testing.T) {
	t.Parallel()
	f := &fetcher{page: func(_ context.Context, u string) (*http.Response, error) {
		return html(u, `<nav class=pages><a href="/">1</a></nav>`), nil
	}}
	err := crawl.New(crawl.Options{Start: "https://shop.example"}).Run(t.Context(), f, func(crawl.Page) error { return nil })
	if err != nil || len(f.asked) != 1 {
		t.Errorf("asked for %v, %v", f.asked, err)
	}
}

func TestCrawlGoesOnAfterBadPages(t *testing.T) {
	t.Parallel()
	down := errors.New("connection refused")
	f := &fetcher{page: func(_ context.Context, u string) (*http.Response, error) {
		switch number(u) {
		case 2:
			return nil, down
		case 3:
			res := html(u, "gone")
			res.StatusCode = http.StatusGone
			return res, nil
		case 4:
			return html(u, "\x00\x01\x02 garbage"), nil
		}
		return listing(u, number(u), 5), nil
	}}
	var mu sync.Mutex
	failed := map[int]error{}
	err := crawl.New(crawl.Options{Start: "https://shop.example/p/1"}).Run(t.Context(), f, func(p crawl.Page) error {
		mu.Lock()
		defer mu.Unlock()
		if p.Err != nil {
			failed[number(p.URL.String())] = p.Err
		}
		return nil
	})
	if err != nil || len(failed) != 3 {
		t.Fatalf("failed = %v, %v", failed, err)
	}
	if !errors.Is(failed[2], down) || !errors.Is(failed[4], extract.ErrNotHTML) {
		t.Errorf("failed = %v", failed)
	}
	if e, ok := errors.AsType[*crawl.StatusError](failed[3]); !ok || e.Status != http.StatusGone {
		t.Errorf("page 3: %v", failed[3])
	}
}

func TestCrawlMaxPages(t *testing.T) {
	t.Parallel()
	f := &fetcher{page: func(_ context.Context, u string) (*http.Response, error) { return listing(u, number(u), 20), nil }}
	err := crawl.New(crawl.Options{Start: "https://shop.example/p/1", MaxPages: 7}).Run(t.Context(), f, func(crawl.Page) error { return nil })
	if !errors.Is(err, crawl.ErrMaxPages) || len(f.asked) != 7 {
		t.Errorf("%d pages, %v", len(f.asked), err)
	}
}

func TestCrawlStopFinishesPagesOnTheirWay(t *testing.T) {
	t.Parallel()
	started, release := make(chan struct{}, 100), make(chan struct{})
	f := &fetcher{page: func(_ context.Context, u string) (*http.Response, error) {
		if n := number(u); n > 1 {
			started <- struct{}{}
			<-release
		}
		return listing(u, number(u), 20), nil
	}}
	c := crawl.New(crawl.Options{Start: "https://shop.example/p/1", Workers: 2})
	go func() {
		<-started
		<-started
		c.Stop()
		c.Stop()
		close(release)
	}()
	var mu sync.Mutex
	visited := 0
	err := c.Run(t.Context(), f, func(p crawl.Page) error {
		mu.Lock()
		defer mu.Unlock()
		visited++
		return p.Err
	})
	if !errors.Is(err, context.Canceled) || visited < 3 || visited > 5 {
		t.Errorf("visited %d pages, %v; want those on their way, then context.Canceled", visited, err)
	}
}

func TestCrawlStoppedBeforeAndAfter(t *testing.T) {
	t.Parallel()
	f := &fetcher{page: func(_ context.Context, u string) (*http.Response, error) { return listing(u, number(u), 2), nil }}
	c := crawl.New(crawl.Options{Start: "https://shop.example/p/1"})
	c.Stop()
	if err := c.Run(t.Context(), f, func(crawl.Page) error { return nil }); !errors.Is(err, context.Canceled) || len(f.asked) != 0 {
		t.Errorf("stopped before: %v, asked %v", err, f.asked)
	}
}

func TestCrawlEndsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f := &fetcher{page: func(ctx context.Context, _ string) (*http.Response, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	err := crawl.New(crawl.Options{Start: "https://shop.example/p/1"}).Run(ctx, f, func(crawl.Page) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

func TestCrawlEndsWithVisitsError(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	f := &fetcher{page: func(_ context.Context, u string) (*http.Response, error) { return listing(u, number(u), 20), nil }}
	c := crawl.New(crawl.Options{Start: "https://shop.example/p/1", Workers: 1})
	err := c.Run(t.Context(), f, func(crawl.Page) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("error = %v", err)
	}
}
