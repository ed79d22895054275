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
	c.http = &http.Client{Transport: &following{client: c}, CheckRedirect: c.checkRedirect}
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
		c.stats.failures.Add(1)
		return nil, &Error{Op: "get", Err: unreadable(err)}
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
	if err != nil || res.Header.Get("Location") == "" || !isRedirect(res.StatusCode) || c.opts.Limits.Redirects < 0 {
		return res, err
	}
	return (&http.Client{Transport: &following{client: c, first: res}, CheckRedirect: c.checkRedirect}).Do(req)
}

// unreadable is the error for a URL that cannot be parsed, without the URL,
// which may hold a password. What cannot be read is no public address: other
// programs may well read one in it.
func unreadable(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return fmt.Errorf("%w: %w", ErrForbiddenAddress, err)
}

// isRedirect reports whether http.Client follows answers of this status.
func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// following is the transport of an http.Client that follows redirects.
type following struct {
	client *Client
	first  *http.Response // the first answer, if it is there already
}

// RoundTrip sends one request. A redirect that cannot be read is an error here,
// since http.Client's would show it.
func (f *following) RoundTrip(req *http.Request) (*http.Response, error) {
	var res *http.Response
	if f.first != nil { // never for the transport that many use
		res, f.first = f.first, nil
	} else {
		var err error
		if res, err = f.client.RoundTrip(req); err != nil {
			return nil, err
		}
	}
	if location := res.Header.Get("Location"); location != "" && isRedirect(res.StatusCode) {
		if _, err := req.URL.Parse(location); err != nil {
			drop(res)
			f.client.stats.failures.Add(1)
			return nil, &Error{Op: opOf(req), URL: shownURL(req.URL), Err: fmt.Errorf("redirect: %w", unreadable(err))}
		}
	}
	return res, nil
}

// Each fetches many pages with the given number of workers, at least 1, and
// calls fn once for each URL with its answer or its error, in the workers and
// so concurrently; the order is that of completion. It closes the body when fn
// returns. The first error that fn returns stops it: requests under way are
// cancelled, fn is not called for them, and Each returns that error. If ctx
// ends, fn is called with its error for what was under way, and Each returns
// it. urls is drawn from by the calling goroutine, one URL ahead of the workers
// at most. A panic of fn is passed on to the caller of Each.
func (c *Client) Each(ctx context.Context, urls iter.Seq[string], workers int, fn func(url string, res *http.Response, err error) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var (
		jobs     = make(chan string)
		wg       sync.WaitGroup
		once     sync.Once
		failure  error
		panicked any
		stopped  atomic.Bool
	)
	end := func(err error, value any) {
		once.Do(func() { failure, panicked = err, value })
		stopped.Store(true)
		stop(err)
	}
	one := func(address string) {
		res, err := c.Get(ctx, address)
		if res != nil {
			defer func() { _ = res.Body.Close() }() // what fn wanted of it, it has read
		}
		if stopped.Load() {
			return
		}
		returned := false
		defer func() {
			if !returned {
				end(errEachEnded, recover())
			}
		}()
		err = fn(address, res, err)
		returned = true
		if err != nil {
			end(err, nil)
		}
	}
	for range max(1, workers) {
		wg.Go(func() {
			for address := range jobs {
				one(address)
			}
		})
	}
	func() {
		defer close(jobs) // urls may panic
		for address := range urls {
			select {
			case jobs <- address:
			case <-ctx.Done():
				return
			}
		}
	}()
	wg.Wait()
	if panicked != nil {
		panic(panicked)
	}
	if failure != nil {
		return failure
	}
	if ctx.Err() != nil {
		return fmt.Errorf("scrape: each: %w", context.Cause(ctx))
	}
	return nil
}

// errEachEnded stands for a panic, and for runtime.Goexit.
var errEachEnded = errors.New("scrape: each: the function ended its goroutine")

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
