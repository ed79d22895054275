package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/health"
)

// Client fetches pages through an [Egress]. Make one with [New]; end it with
// [Client.Close]. [Client.Get] is for one page, [Client.Each] for a list of
// them, [Client.Crawl] for a site, [Client.Do] for any request. Safe for
// concurrent use.
type Client struct {
	opts        Options
	log         *slog.Logger
	guard       *guard // for the egress
	directGuard *guard // for the fallback
	hosts       *hosts
	ways        *ways
	ids         *identities
	flights     flights
	profiles    profileCache
	robots      *robotsCache
	stats       counters
	health      *health.Monitor

	ctx    context.Context // ends with Close; for what works in the background
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// New returns a client. It checks that the egress is available, within ctx,
// and fails with [ErrEgressUnavailable] if it is not, unless opts.Fallback is
// [DirectWithWarning] or opts.DisableStartCheck is set. All that is wrong with
// opts is reported at once.
func New(ctx context.Context, opts *Options) (*Client, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}

	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler) // what lasts is told by health, on stderr
	}

	_, isDirect := o.Egress.(direct)
	c := &Client{
		opts:        o,
		log:         log.With("component", "scrape"),
		guard:       &guard{allow: o.Allow, direct: isDirect},
		directGuard: &guard{allow: o.Allow, direct: true},
		profiles:    profileCache{contact: o.Contact},
		health: health.New(health.Options{
			Component: "scrape", Logger: o.Logger, OnError: o.OnError, After: o.StuckAfter, Lost: ErrLost, Stuck: ErrStuck,
		}),
	}

	// Ends with Close, not with the caller's ctx
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.robots = newRobotsCache(c, o.Robots.CacheHosts)
	c.hosts = newHosts(o.HostLimit, o.Retry.Max, c.ctx.Done())
	c.ways = newWays(c.ctx, &c.wg, o.Egress)
	c.ways.changed = c.wayChanged
	c.ids = &identities{client: c, fallback: slot{direct: true}, all: map[*identity]struct{}{}, credit: maxDraws}

	if !o.DisableStartCheck {
		if err := c.check(ctx); err != nil {
			_ = c.Close() // returns nil
			return nil, &Error{Op: "new", Err: err}
		}
	}

	c.health.Start()
	return c, nil
}

// wayChanged tells that a way out was lost or works again.
func (c *Client) wayChanged(w *way, err error) {
	c.health.Fail("way "+w.name, err) // nil: it works
	if err != nil {
		c.log.Warn("egress lost", "way", w.name, "error", err)
		return
	}
	c.log.Info("egress available", "way", w.name)
}

// Get fetches a page, redirects followed within Limits.MaxRedirects. The caller
// closes the body, from which [ErrBodyTooLarge] and errors of the connection may
// come still. An answer of any status is a result, not an error. Errors are
// *Error.
func (c *Client) Get(ctx context.Context, address string) (*http.Response, error) {
	return c.get(ctx, nil, address)
}

func (c *Client) get(ctx context.Context, s *Session, address string) (*http.Response, error) {
	u, err := parseAddress(address)
	if err != nil {
		c.stats.failures.Add(1)
		return nil, &Error{Op: "get", Err: err}
	}
	req := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}}).WithContext(ctx)
	return c.do(req, s)
}

// Post sends a body of the given type, redirects followed as [Client.Do] does.
func (c *Client) Post(ctx context.Context, address, contentType string, body io.Reader) (*http.Response, error) {
	return c.post(ctx, nil, address, contentType, body)
}

func (c *Client) post(ctx context.Context, s *Session, address, contentType string, body io.Reader) (*http.Response, error) {
	u, err := parseAddress(address)
	if err != nil {
		c.stats.failures.Add(1)
		return nil, &Error{Op: "post", Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "", body)
	if err != nil {
		c.stats.failures.Add(1)
		return nil, &Error{Op: "post", URL: shownURL(u), Err: err}
	}
	req.URL, req.Host = u, u.Host
	req.Header.Set("Content-Type", contentType)
	return c.do(req, s)
}

// Do sends a request and follows redirects within Limits.MaxRedirects, as browsers
// do: 303, and 301 and 302 after a POST, lead to a GET; 307 and 308 repeat the
// request if its body can be had again (GetBody). Authorization and Cookie do
// not go to another host. What makes a request a navigation of a browser is said
// at [Options.Header]. The caller closes the answer's body. Errors are *Error.
func (c *Client) Do(req *http.Request) (*http.Response, error) { return c.do(req, nil) }

// do sends req, by the identity of s if there is one, and follows redirects.
func (c *Client) do(req *http.Request, s *Session) (*http.Response, error) {
	return c.follow(req, &call{client: c, chain: chain{session: s}})
}

// follow makes the call k of req, and one for each redirect.
func (c *Client) follow(req *http.Request, k *call) (*http.Response, error) {
	s := k.chain.session
	for hops := 0; ; hops++ {
		res, err := c.roundTrip(req, k)
		if err != nil {
			return nil, err
		}

		next, err := c.hop(req, res, hops)
		if err != nil {
			drop(res)
			return nil, err
		}
		if next == nil {
			return res, nil
		}

		drop(res)
		req, k = next, &call{client: c, chain: chain{session: s}}
	}
}

// hop returns the request that an answer leads to after some redirects, nil if
// the answer is the result.
func (c *Client) hop(req *http.Request, res *http.Response, hops int) (*http.Request, error) {
	limit := c.opts.Limits.MaxRedirects
	if limit < 0 {
		return nil, nil
	}

	next, err := redirect(req, res)
	if err == nil && next == nil {
		return nil, nil
	}

	if err == nil && hops >= limit {
		err = fmt.Errorf("%w: more than %d (Limits.MaxRedirects)", ErrTooManyRedirects, limit)
	}
	if err != nil {
		c.stats.failures.Add(1)
		return nil, &Error{Op: opOf(req), URL: shownURL(req.URL), Err: fmt.Errorf("redirect: %w", err)}
	}
	return next, nil
}

// roundTrip makes one call, and counts its failure.
func (c *Client) roundTrip(req *http.Request, k *call) (*http.Response, error) {
	c.health.Used()
	k.req, k.body.req = req, req
	res, err := k.roundTrip()
	if err == nil {
		return res, nil
	}
	if isParked(err) {
		return nil, err
	}

	k.body.close()
	c.stats.failures.Add(1)
	wrapped, ok := errors.AsType[*Error](err)
	if !ok {
		wrapped = &Error{Op: opOf(req), URL: shownURL(req.URL), Err: err}
	}
	c.log.Debug("request failed", "error", wrapped)
	return nil, wrapped
}

// Each fetches many pages with the given number of workers, at least 1, and
// calls fn once for each URL with its answer or its error, in the workers and
// so concurrently; the order is that of completion. It closes the body when fn
// returns. A host that waits, by HostLimit, Crawl-delay or Retry-After, keeps no
// worker from the others: up to 10,000 URLs of such hosts are put aside.
//
// The first error that fn returns stops it: requests under way are cancelled, fn
// is not called for them, and Each returns that error. If ctx ends, fn is called
// with its error for what was under way, and Each returns it, even while urls
// does not yield; the goroutine that draws from urls then ends when it does. A
// URL is drawn when a worker has nothing to do. A panic of fn or urls is passed
// on to the caller of Each. To follow links, use [Client.Crawl].
func (c *Client) Each(ctx context.Context, urls iter.Seq[string], workers int, fn func(url string, res *http.Response, err error) error) error {
	return each(ctx, c, urls, workers, fn)
}

// Crawl fetches the seeds and what fn adds, each page once, and calls fn with
// each, in the workers and so concurrently. It ends when no page is left, and
// returns nil; or when ctx ends, with its cause; or with the first error of fn
// but [ErrSkip]. A host that waits, by HostLimit, Crawl-delay or Retry-After,
// keeps no worker from the others.
//
// A page is done when fn has returned nil or ErrSkip and the journal has it, if
// there is one. Pages are the same if their normalised URLs are, the fragment
// does not count, or if redirects lead to the same one: fn is called once. A
// redirect of a seed to another host of its site, as to www, brings that host
// into scope if Hosts is empty. A panic of fn is passed on to the caller. When
// MaxPages, MaxBytes or MaxElapsed is reached, no more pages begin, the log and
// Progress say so, and Crawl returns nil; with Dir, a later one with more goes on.
func (c *Client) Crawl(ctx context.Context, seeds []Request, opts *CrawlOptions, fn func(*Visit) error) error {
	return crawlFrom(ctx, c, seeds, opts, fn)
}

// Transport returns an http.RoundTripper with all that the Options ask for, to
// put behind code that takes an *http.Client: it waits for the host's turn and
// for Retry-After, reads robots.txt, tries again. It keeps net/http's contract:
// an answer is an answer, whatever its status, so that [ErrBanned] does not come
// from it. Its body is decoded. Errors are *Error. A request that brings a
// Cookie header, as those of an http.Client with a Jar do, is sent without the
// identity's own cookies. The http.Client follows redirects by its own limit;
// its errors show the URL with its query, which those of [Client.Do] do not.
func (c *Client) Transport() http.RoundTripper { return &transport{client: c} }

// transport is a Client as a RoundTripper.
type transport struct {
	client  *Client
	session *Session
}

// RoundTrip sends one request, as http.RoundTripper says.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	return t.client.roundTrip(req, &call{client: t.client, chain: chain{session: t.session, answers: true}})
}

// Rotate retires the identity and returns the one that takes its place. By
// [NewNym] it waits until the egress says that the change took effect. On
// [Direct] the connections stay.
func (c *Client) Rotate(ctx context.Context) (Identity, error) {
	id, err := c.ids.rotate(ctx)
	if err != nil {
		return Identity{}, &Error{Op: "rotate", Err: err}
	}
	return id, nil
}

// Check reports whether a request could be made now: nil if a way out works, or
// if none does and requests would fall back to this machine's own address; Stats
// tells which. It contacts no site. Without a deadline in ctx it takes 15 s at
// most. Its error matches [ErrStuck] and [ErrEgressUnavailable], or [ErrClosed];
// what OnError was told of, and what lasts, is in it too: a cache that cannot
// store, a crawl's journal that cannot be written.
func (c *Client) Check(ctx context.Context) error {
	c.health.Used()
	if c.ctx.Err() != nil {
		return &Error{Op: "check", Err: ErrClosed}
	}

	err := c.check(ctx)
	if ctx.Err() == nil {
		c.checkCache(ctx)
	}
	told := c.health.Check()

	if err == nil || errors.Is(told, ErrEgressUnavailable) {
		return told
	}

	if advice := health.Advice(err); advice != "" {
		err = fmt.Errorf("%w: %s", err, advice)
	}
	return errors.Join(&Error{Op: "check", Err: fmt.Errorf("%w: %w", ErrStuck, err)}, told)
}

// check asks the ways out.
func (c *Client) check(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
	}
	err := c.ways.check(ctx)
	if err == nil {
		return nil
	}
	if c.opts.Fallback == DirectWithWarning && errors.Is(err, ErrEgressUnavailable) {
		c.log.WarnContext(ctx, "egress unavailable, requests will leave from this machine's own address", "error", err)
		return nil
	}
	return err
}

// Close ends the client: requests under way, and those that wait for whatever
// it may be, fail with [ErrClosed]; all connections are closed. The egress stays
// open, it is the caller's. Close returns nil, the second time too.
func (c *Client) Close() error {
	c.cancel()
	c.flights.end()
	c.wg.Wait()
	c.ids.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // for what is to be told
	defer cancel()
	c.health.Close(ctx)
	return nil
}

// lookUp asks the egress for id's exit and where it is, for Stats, and then
// counts the pages that were delivered meanwhile.
func (c *Client) lookUp(ctx context.Context, id *identity) {
	e, ok := id.way.egress.(ExitEgress)
	if !ok || !hasControl(id.way.egress) || id.info.Direct {
		return
	}
	if id.exit.Load() == nil {
		exit, err := e.Exit(ctx, id.isolation)
		if err != nil {
			c.log.DebugContext(ctx, "exit not known", "error", err)
			return
		}
		c.stats.learned(id, exit)
	}

	w, ok := id.way.egress.(WhereEgress)
	if !ok || id.at.Load() != nil {
		return
	}

	exit := *id.exit.Load()
	address, country, err := w.Where(ctx, exit)
	if err != nil {
		c.log.DebugContext(ctx, "exit's place not known", "error", err)
		return
	}
	id.at.Store(&exitPlace{address, country})
	c.stats.placed(exit, exitPlace{address, country})
}

// lookUpOnce looks up the exit of an identity that has just connected.
func (c *Client) lookUpOnce(id *identity) {
	if id.connected.Load() || !id.connected.CompareAndSwap(false, true) || id.info.Direct || id.at.Load() != nil {
		return
	}
	if _, tells := id.way.egress.(WhereEgress); !tells && id.exit.Load() != nil {
		return
	}

	c.ids.mu.Lock()
	defer c.ids.mu.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, warmTimeout)
		defer cancel()
		c.lookUp(ctx, id)
	})
}

// redirect returns the request that an answer leads to, nil if to none.
func redirect(req *http.Request, res *http.Response) (*http.Request, error) {
	method, keep := http.MethodGet, false
	switch res.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound:
		if req.Method != http.MethodPost {
			method = req.Method
		}
	case http.StatusSeeOther:
		if req.Method == http.MethodHead {
			method = req.Method
		}
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		method, keep = req.Method, true
	default:
		return nil, nil
	}

	location := res.Header.Get("Location")
	if location == "" {
		return nil, nil
	}

	hasBody := req.Body != nil && req.Body != http.NoBody
	if keep && hasBody && req.GetBody == nil {
		return nil, nil // it cannot be repeated: the redirect is the result
	}

	to, err := resolve(req.URL, location)
	if err != nil {
		return nil, err
	}

	next := &http.Request{
		Method: method, URL: to, Host: "", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: req.Header.Clone(), Response: res,
		//lint:ignore SA1019 whoever sets it expects what http.Client does
		Cancel: req.Cancel,
	}

	if keep && hasBody {
		if next.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
		next.GetBody, next.ContentLength = req.GetBody, req.ContentLength
	} else {
		for name := range next.Header { // they are about the body
			if name == "Content-Type" || name == "Content-Length" || name == "Content-Encoding" {
				delete(next.Header, name)
			}
		}
	}

	if originOf(to) != originOf(req.URL) { // credentials stay where they were given
		for _, name := range []string{"Authorization", "Cookie", "Cookie2", "Proxy-Authorization", "Www-Authenticate"} {
			next.Header.Del(name)
		}
	} else if req.Host != "" && req.Host != req.URL.Host && to.Host == req.URL.Host {
		next.Host = req.Host
	}

	return next.WithContext(req.Context()), nil
}

// origin is scheme, host and port.
type origin struct{ scheme, host string }

// String returns the origin as the beginning of a URL.
func (o origin) String() string { return o.scheme + "://" + o.host }

func originOf(u *url.URL) origin { return origin{u.Scheme, hostKey(u)} }
