package scrape

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Client fetches pages through an [Egress]. Make one with [New]; end it with
// [Client.Close]. Safe for concurrent use. A Client is an http.RoundTripper.
type Client struct {
	opts        Options
	log         *slog.Logger
	guard       *guard // for the egress
	directGuard *guard // for the fallback
	http        *http.Client
	hosts       *hostTable
	profiles    profileCache
	limiters    limiters
	robots      *robotsCache
	stats       counters
	numbers     atomic.Int64
	breaker     breaker

	ctx    context.Context // ends with Close; for what works in the background
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	main     slot
	fallback slot
	recent   []string // exits of the latest identities, newest last
	lastHost string
	all      map[*identity]struct{}
}

// New returns a client. It checks that the egress is available, within ctx,
// and fails with [ErrTorUnavailable] if it is not, unless opts.Fallback is
// [DirectWithWarning] or opts.DisableStartCheck is set. All that is wrong with
// opts is reported at once.
func New(ctx context.Context, opts *Options) (*Client, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	_, isDirect := o.Egress.(direct)
	c := &Client{
		opts:        o,
		log:         o.Logger.With("component", "scrape"),
		guard:       &guard{allow: o.Allow, direct: isDirect},
		directGuard: &guard{allow: o.Allow, direct: true},
		hosts:       newHostTable(o.HostLimit),
		robots:      newRobotsCache(o.Robots.CacheHosts),
		profiles:    profileCache{contact: o.Contact},
		fallback:    slot{direct: true},
		all:         map[*identity]struct{}{},
	}
	c.http = &http.Client{Transport: c, CheckRedirect: c.checkRedirect}
	// Ends with Close, not with the caller's ctx
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if !o.DisableStartCheck {
		if err := c.Check(ctx); err != nil {
			c.cancel()
			return nil, fmt.Errorf("scrape: new: %w", err)
		}
	}
	return c, nil
}

// checkRedirect is the CheckRedirect of the client's http.Client.
func (c *Client) checkRedirect(_ *http.Request, via []*http.Request) error {
	if c.opts.Limits.Redirects < 0 {
		return http.ErrUseLastResponse
	}
	if len(via) > c.opts.Limits.Redirects {
		return fmt.Errorf("%w: more than %d (Limits.Redirects)", ErrTooManyRedirects, c.opts.Limits.Redirects)
	}
	return nil
}

// HTTPClient returns an http.Client that sends through c and follows redirects
// within Limits.Redirects. It has no cookie jar of its own: cookies belong to
// the identity. The caller must not change it.
func (c *Client) HTTPClient() *http.Client { return c.http }

// Get fetches a page, redirects followed. The caller closes the body, from
// which [ErrBodyTooLarge] and errors of the connection may come still. An
// answer of any status is a result, not an error. Errors are *Error.
func (c *Client) Get(ctx context.Context, address string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // without the address, which may hold a password
		}
		c.stats.failures.Add(1)
		return nil, &Error{Op: "get", Err: err}
	}
	res, err := c.do(req)
	if err == nil {
		return res, nil
	}
	if se, ok := errors.AsType[*Error](err); ok {
		return nil, se
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	c.stats.failures.Add(1)
	return nil, &Error{Op: "get", URL: shownURL(req.URL), Err: err}
}

// do is c.http.Do for a request that Get has made. http.Client is called in
// only where there is something for it to do, as it costs a tenth of a page.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	if req.URL.User != nil {
		return c.http.Do(req)
	}
	res, err := c.RoundTrip(req)
	if err != nil || res.Header.Get("Location") == "" || !isRedirect(res.StatusCode) {
		return res, err
	}
	return (&http.Client{Transport: &begun{client: c, first: res}, CheckRedirect: c.checkRedirect}).Do(req)
}

// isRedirect reports whether http.Client follows answers of this status.
func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// begun is the transport of a chain of redirects whose first answer is there.
type begun struct {
	client *Client
	first  *http.Response
}

func (b *begun) RoundTrip(req *http.Request) (*http.Response, error) {
	if res := b.first; res != nil {
		b.first = nil
		return res, nil
	}
	return b.client.RoundTrip(req)
}

// Each fetches many pages with the given number of workers, at least 1, and
// calls fn once for each URL with its answer or its error, in the workers and
// so concurrently; the order is that of completion. It closes the body when fn
// returns. The first error that fn returns stops it: requests under way are
// cancelled, fn is not called for them, and Each returns that error. If ctx
// ends, fn is called with its error for what was under way, and Each returns
// it. urls is drawn from by the calling goroutine, one URL ahead of the workers
// at most.
func (c *Client) Each(ctx context.Context, urls iter.Seq[string], workers int, fn func(url string, res *http.Response, err error) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var (
		jobs    = make(chan string)
		wg      sync.WaitGroup
		once    sync.Once
		failure error
		stopped atomic.Bool
	)
	for range max(1, workers) {
		wg.Go(func() {
			for address := range jobs {
				res, err := c.Get(ctx, address)
				if !stopped.Load() {
					if ferr := fn(address, res, err); ferr != nil {
						once.Do(func() { failure = ferr })
						stopped.Store(true)
						stop(ferr)
					}
				}
				if res != nil {
					_ = res.Body.Close() // what fn wanted of it, it has read
				}
			}
		})
	}
feed:
	for address := range urls {
		select {
		case jobs <- address:
		case <-ctx.Done():
			break feed
		}
	}
	close(jobs)
	wg.Wait()
	if failure != nil {
		return failure
	}
	if ctx.Err() != nil {
		return fmt.Errorf("scrape: each: %w", context.Cause(ctx))
	}
	return nil
}

// Check reports whether a request could be made now: nil if the egress is
// available, or if it is not and requests would fall back to this machine's
// own address; Stats tells which. It contacts no site. Without a deadline in
// ctx it takes 15 s at most.
func (c *Client) Check(ctx context.Context) error {
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
	}
	err := c.opts.Egress.Check(ctx)
	c.note(err)
	if err == nil {
		return nil
	}
	if c.opts.Fallback == DirectWithWarning && errors.Is(err, ErrTorUnavailable) {
		c.log.WarnContext(ctx, "egress unavailable, requests will leave from this machine's own address", "error", err)
		return nil
	}
	return err
}

// note records whether the egress is available.
func (c *Client) note(err error) {
	if err != nil && !errors.Is(err, ErrTorUnavailable) {
		return
	}
	if c.stats.setEgress(err) {
		if err != nil {
			c.log.Warn("egress lost", "error", err)
		} else {
			c.log.Info("egress available", "egress", c.egressName())
		}
	}
	c.breaker.set(err != nil)
}

// egressName is what to show of the egress.
func (c *Client) egressName() string {
	if s, ok := c.opts.Egress.(fmt.Stringer); ok {
		return s.String()
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", c.opts.Egress), "*")
}

// Close ends the client: requests under way fail with [ErrClosed], all
// connections are closed. The egress stays open, it is the caller's. Close
// returns nil, the second time too.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.cancel()
	c.mu.Unlock()
	c.wg.Wait()
	c.mu.Lock()
	open := make([]*identity, 0, len(c.all))
	for id := range c.all {
		open = append(open, id)
	}
	c.mu.Unlock()
	for _, id := range open {
		id.closeNow()
	}
	return nil
}

// breakerPause is how long a lost egress is not tried again while requests
// fall back.
const breakerPause = 5 * time.Second

// breaker remembers that the egress was lost, so that not every request that
// falls back waits for it first.
type breaker struct{ until atomic.Int64 }

func (b *breaker) set(lost bool) {
	if lost {
		b.until.Store(time.Now().Add(breakerPause).UnixNano())
		return
	}
	b.until.Store(0)
}

func (b *breaker) open() bool {
	until := b.until.Load()
	return until != 0 && time.Now().UnixNano() < until
}
