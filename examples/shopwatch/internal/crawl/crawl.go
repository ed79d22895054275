package crawl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"sync"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
)

// ErrMaxPages says that the listing has more pages than Options.MaxPages.
var ErrMaxPages = errors.New("the listing has more pages than site.max_pages allows")

// StatusError says that the server answered with something else than a page.
type StatusError struct {
	URL    string
	Status int
}

// Error returns the status and the address.
func (e *StatusError) Error() string {
	return fmt.Sprintf("crawl: %s: the server answered %d %s", e.URL, e.Status, http.StatusText(e.Status))
}

// Fetcher fetches pages; *scrape.Client is one. Each calls fn once for each of
// urls that it takes, from up to workers goroutines, closes the body, and
// stops when fn returns an error.
type Fetcher interface {
	Each(ctx context.Context, urls iter.Seq[string], workers int, fn func(url string, res *http.Response, err error) error) error
}

// Options are a crawl's settings.
type Options struct {
	// Start is the first page of the listing.
	Start string
	// Workers is the number of pages that are fetched at the same time.
	// Defaults to 4.
	Workers int
	// MaxPages bounds the pages of one crawl. Defaults to 1000.
	MaxPages int
	// Selectors describe the site's markup.
	Selectors extract.Selectors
}

// Page is one page of the listing.
type Page struct {
	URL *url.URL // after redirects
	extract.Page
	Bytes int64
	// Err says that the page could not be fetched or read. The others are
	// crawled all the same.
	Err error
}

// Crawl is one pass over a listing. It is used once.
type Crawl struct {
	opts     Options
	frontier *frontier
	stopOnce sync.Once
	stopped  chan struct{}
}

// New returns a crawl that has not begun.
func New(opts Options) *Crawl {
	opts.Workers = cmp.Or(opts.Workers, 4)
	opts.MaxPages = cmp.Or(opts.MaxPages, 1000)
	return &Crawl{opts: opts, frontier: newFrontier(opts.MaxPages), stopped: make(chan struct{})}
}

// Progress may be called at any time.
func (c *Crawl) Progress() Progress { return c.frontier.progress() }

// Stop lets the pages on their way finish and begins no new one. It may be
// called at any time and more than once.
func (c *Crawl) Stop() {
	c.stopOnce.Do(func() {
		close(c.stopped)
		c.frontier.close()
	})
}

// Run crawls, and calls visit for each page; visit may be called concurrently
// and ends the crawl with an error. Run returns nil if every page of the
// listing was visited, [context.Canceled] if it was stopped, [ErrMaxPages] if
// pages were left out, and otherwise what ended it.
func (c *Crawl) Run(ctx context.Context, fetcher Fetcher, visit func(Page) error) error {
	// A wait for new pages ends with ctx.
	defer context.AfterFunc(ctx, c.frontier.close)()
	c.frontier.add(normal(c.opts.Start))

	err := fetcher.Each(ctx, c.frontier.all(ctx), c.opts.Workers, func(address string, res *http.Response, err error) error {
		defer c.frontier.finish()
		page := c.read(address, res, err)
		c.frontier.add(page.Links...)
		if err := visit(page); err != nil {
			c.frontier.close() // Each may be waiting for a further page
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}

	unfetched, cut := c.frontier.left()
	select {
	case <-c.stopped:
		if unfetched > 0 {
			return context.Canceled
		}
	default:
	}

	if cut {
		return fmt.Errorf("%w (%d): raise it, or begin at a shorter listing", ErrMaxPages, c.opts.MaxPages)
	}
	return nil
}

// normal writes an address without a path as links to it are written.
func normal(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Path != "" || u.Host == "" {
		return address
	}
	u.Path = "/"
	return u.String()
}

func (c *Crawl) read(address string, res *http.Response, err error) Page {
	page := Page{Err: err}
	if page.URL, err = url.Parse(address); err != nil && page.Err == nil {
		page.Err = err
	}
	if page.Err != nil {
		return page
	}

	if res.Request != nil && res.Request.URL != nil {
		page.URL = res.Request.URL
	}
	if res.StatusCode != http.StatusOK {
		page.Err = &StatusError{URL: page.URL.Redacted(), Status: res.StatusCode}
		return page
	}

	body := &counter{r: res.Body}
	page.Page, page.Err = extract.Parse(body, extract.Source{URL: page.URL, ContentType: res.Header.Get("Content-Type")}, c.opts.Selectors)
	page.Bytes = body.n
	return page
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
