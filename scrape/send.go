package scrape

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/scrape/useragent"
)

// chainKey finds the chain in the context of a request that was sent.
type chainKey struct{}

// chain is what a request and the redirects that follow from it have in
// common. It is used by one goroutine at a time.
type chain struct {
	id     *identity // held by whoever is under way
	agent  string
	robots bool // a request for robots.txt itself
}

// chainOf returns the chain that req continues, or a new one.
func chainOf(req *http.Request) (chain, bool) {
	if req.Response != nil && req.Response.Request != nil {
		if ch, ok := req.Response.Request.Context().Value(chainKey{}).(*chain); ok {
			return *ch, true
		}
	}
	return chain{}, false
}

// call is one RoundTrip.
type call struct {
	chain      chain
	redirected bool // the chain began with another call
	body       requestBody
}

// RoundTrip sends one request, as http.RoundTripper says, and with it comes all
// that the Options ask for: it waits for the host's turn and for Retry-After,
// reads robots.txt, tries again. The answer's body is decoded; it must be
// closed, or the host's place in HostLimit.InFlight stays taken. Errors are
// *Error.
func (c *Client) RoundTrip(req *http.Request) (*http.Response, error) {
	k := &call{body: requestBody{req: req}}
	res, err := c.roundTrip(req, k)
	if err == nil {
		return res, nil
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

func (c *Client) roundTrip(req *http.Request, k *call) (*http.Response, error) {
	if req.URL == nil {
		return nil, errors.New("request without a URL")
	}
	if err := c.guard.checkURL(req.URL); err != nil {
		return nil, err
	}
	k.chain, k.redirected = chainOf(req)
	if err := c.askRobots(req, &k.chain); err != nil {
		return nil, err
	}
	h := c.hosts.get(originOf(req.URL))
	defer c.hosts.put(h)
	if c.opts.Cache != nil {
		return c.throughCache(req, k, h)
	}
	return c.fetch(req, k, h)
}

// fetch gets an answer from the site, with as many attempts as it takes.
func (c *Client) fetch(req *http.Request, k *call, h *host) (*http.Response, error) {
	ch, redirected, body := &k.chain, k.redirected, &k.body
	for number := 1; ; number++ {
		if number > 1 && redirected && ch.id != nil {
			c.countRetry(ch.id)
		}
		if !redirected && number > 1 {
			ch.id = nil
		}
		res, info, err := c.try(req, ch, body, h)
		verdict := c.judge(req, body, number, res, err)
		verdict.attempt.Identity = info
		if verdict.banned {
			c.stats.bans.Add(1)
			c.log.Warn("banned", "url", verdict.attempt.URL, "status", verdict.attempt.Status, "exit", info.Exit, "identity", info.Number)
			if c.opts.Hooks.OnBan != nil {
				c.opts.Hooks.OnBan(verdict.attempt)
			}
			if ch.id != nil {
				c.leave(ch.id)
				ch.id = nil
			}
		}
		if !verdict.again {
			if verdict.err != nil {
				if res != nil {
					drop(res)
				}
				return nil, verdict.err
			}
			return res, nil
		}
		if res != nil {
			drop(res)
		}
		c.stats.retries.Add(1)
		c.log.Info("trying again", "url", verdict.attempt.URL, "attempt", number, "status", verdict.attempt.Status,
			"wait", verdict.attempt.Wait, "error", verdict.attempt.Err)
		if c.opts.Hooks.OnRetry != nil {
			c.opts.Hooks.OnRetry(verdict.attempt)
		}
		if err := c.pause(req.Context(), verdict.attempt.Wait); err != nil {
			return nil, err
		}
	}
}

// pause waits, and counts the wait.
func (c *Client) pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	c.stats.waited.Add(int64(d))
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.ctx.Done():
		return ErrClosed
	}
}

// try makes an attempt. While a connection leaves by another exit than its
// identity's, so that nothing was sent, it takes another identity.
func (c *Client) try(req *http.Request, ch *chain, body *requestBody, h *host) (*http.Response, Identity, error) {
	for moved := 0; ; moved++ {
		res, info, err := c.attempt(req, ch, body, h)
		if !errors.Is(err, errMoved) || ch.id == nil || moved == maxRedraws {
			return res, info, err
		}
		c.stats.redraws.Add(1)
		c.drop(ch.id)
		ch.id = nil
	}
}

// attempt sends once, with the fallback if there is one.
func (c *Client) attempt(req *http.Request, ch *chain, body *requestBody, h *host) (*http.Response, Identity, error) {
	if err := c.enter(req.Context(), h); err != nil {
		return nil, Identity{}, err
	}
	if ch.id != nil && ch.id.info.Direct == c.guard.direct { // a redirect
		ch.id.hold()
		c.register(ch.id) // it may have been retired and forgotten
		return c.sendAndRecover(req, ch, body, h)
	}
	if c.opts.Fallback == DirectWithWarning && !c.guard.direct && c.breaker.open() {
		return c.sendDirect(req, ch, body, h, nil)
	}
	id, err := c.acquire(req.Context(), &c.main, req.URL.Hostname(), ch)
	if err != nil {
		h.leave()
		return c.recover(req, ch, body, h, Identity{}, err)
	}
	ch.id = id
	return c.sendAndRecover(req, ch, body, h)
}

func (c *Client) sendAndRecover(req *http.Request, ch *chain, body *requestBody, h *host) (*http.Response, Identity, error) {
	res, err := c.send(req, ch, body, h)
	if err != nil {
		return c.recover(req, ch, body, h, ch.id.snapshot(), err)
	}
	return res, ch.id.snapshot(), nil
}

// recover sends directly what the egress could not take, if that is allowed.
func (c *Client) recover(req *http.Request, ch *chain, body *requestBody, h *host, info Identity, err error) (*http.Response, Identity, error) {
	if errors.Is(err, ErrTorUnavailable) {
		c.note(err)
		_, sent := errors.AsType[*sentError](err)
		if c.opts.Fallback == DirectWithWarning && body.repeatable() && (!sent || isIdempotent(req)) && req.Context().Err() == nil {
			if err := c.enter(req.Context(), h); err != nil {
				return nil, info, err
			}
			return c.sendDirect(req, ch, body, h, err)
		}
	}
	return nil, info, err
}

// enter waits for the host's turn, and counts the wait.
func (c *Client) enter(ctx context.Context, h *host) error {
	if h.tryEnter() {
		return nil
	}
	began := time.Now()
	err := h.enter(ctx)
	if waited := time.Since(began); waited > time.Millisecond {
		c.stats.waited.Add(int64(waited))
	}
	return err
}

// sendDirect sends from this machine's own address, and says so. The host has
// been entered.
func (c *Client) sendDirect(req *http.Request, ch *chain, body *requestBody, h *host, cause error) (*http.Response, Identity, error) {
	if cause == nil {
		cause = c.stats.egressError()
	}
	if err := c.directGuard.checkURL(req.URL); err != nil { // .onion above all
		h.leave()
		return nil, Identity{}, fmt.Errorf("%w (%w)", err, ErrTorUnavailable)
	}
	id, err := c.acquireDirect(req.Context(), ch, req.URL.Hostname())
	if err != nil {
		h.leave()
		return nil, Identity{}, err
	}
	ch.id = id
	info := id.snapshot()
	c.stats.fallbacks.Add(1)
	c.log.Warn("request leaves from this machine's own address", "url", shownURL(req.URL), "error", cause)
	if c.opts.Hooks.OnFallback != nil {
		c.opts.Hooks.OnFallback(Attempt{URL: shownURL(req.URL), Number: 1, Err: cause, Identity: info})
	}
	res, err := c.send(req, ch, body, h)
	return res, info, err
}

func (c *Client) acquireDirect(ctx context.Context, ch *chain, host string) (*identity, error) {
	if ch.id != nil && ch.id.info.Direct {
		ch.id.hold()
		return ch.id, nil
	}
	return c.acquire(ctx, &c.fallback, host, ch)
}

// send makes one exchange by the identity of ch, which is held, with the host
// entered; both are released when the exchange is over.
func (c *Client) send(req *http.Request, ch *chain, body *requestBody, h *host) (*http.Response, error) {
	id := ch.id
	x := &exchange{client: c, id: id, host: h, chain: ch, robots: ch.robots, began: time.Now()}
	x.Context, x.cancel = context.WithCancelCause(req.Context())
	x.watch()

	out := req.WithContext(x)
	secure := isSecure(req.URL)
	out.Header = c.header(req, ch, id, secure)
	x.agent = out.Header.Get("User-Agent")
	out.Body = body.next()
	for _, cookie := range id.cookies(req.URL) {
		out.AddCookie(cookie)
	}
	c.stats.requests.Add(1)
	h.requests.Add(1)
	res, err := id.transport.RoundTrip(out)
	x.answered.Store(true)
	if err != nil {
		err = c.explain(req.Context(), x, id, err)
		x.finish(err)
		return nil, err
	}
	if c.stats.egressLost() && !id.info.Direct {
		c.note(nil) // it works again
	}
	c.lookUpOnce(id)
	id.setCookies(req.URL, res)
	x.req = req
	if err := x.take(res); err != nil {
		_ = res.Body.Close() // the reason to refuse it is the error to report
		x.finish(err)
		return nil, err
	}
	return res, nil
}

// explain finds out what an error of the transport means.
func (c *Client) explain(outer, inner context.Context, id *identity, err error) error {
	switch {
	case outer.Err() != nil:
		return context.Cause(outer)
	case inner.Err() != nil:
		return &sentError{context.Cause(inner)} // Limits.Timeout, or the egress hangs
	case errors.Is(err, ErrTorUnavailable), errors.Is(err, ErrForbiddenAddress), errors.Is(err, errMoved):
		return err
	case c.ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrClosed, err)
	case isHeaderTooLarge(err):
		return fmt.Errorf("%w: more than %d bytes (Limits.HeaderBytes)", ErrHeaderTooLarge, c.opts.Limits.HeaderBytes)
	case strings.Contains(err.Error(), "PROTOCOL_ERROR"): // what HTTP/2 makes of a header far too large
		return fmt.Errorf("%w: more than %d bytes (Limits.HeaderBytes), or broken in another way: %w", ErrHeaderTooLarge, c.opts.Limits.HeaderBytes, err)
	}
	// A connection that broke may be the site's doing, or Tor's end.
	if id.info.Direct {
		return err
	}
	if lost := c.probe(outer, 2*time.Second); lost != nil {
		return &sentError{fmt.Errorf("%w (after %w)", lost, err)}
	}
	return err
}

// isHeaderTooLarge recognises an error for which net/http has no type; a test
// holds these texts against the standard library.
func isHeaderTooLarge(err error) bool {
	text := err.Error()
	return strings.Contains(text, "server response headers exceeded") || strings.Contains(text, "response header list larger than")
}

// probe returns an error only if the egress says that it is unavailable.
func (c *Client) probe(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	check := c.opts.Egress.Check
	if p, ok := c.opts.Egress.(probeEgress); ok {
		check = p.Probe
	}
	err := check(ctx)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrTorUnavailable):
		return err
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded): // the timer may be a moment late
		return fmt.Errorf("%w: no answer within %v", ErrTorUnavailable, limit)
	}
	return nil
}

// exchange is one request and its answer, to the end of the body. It is the
// context of the request that is sent, and holds its parts by value, for it is
// made for every page.
type exchange struct {
	context.Context // ends with the exchange

	client *Client
	id     *identity
	host   *host
	chain  *chain
	began  time.Time
	cancel context.CancelCauseFunc
	agent  string
	robots bool          // for robots.txt: no page, no ban
	req    *http.Request // set with the answer
	body   body
	wire   wireReader

	limit    *limiter
	stall    *time.Timer
	answered atomic.Bool
	finished atomic.Bool
}

// Value returns the chain, for the requests that a redirect leads to.
func (x *exchange) Value(key any) any {
	if key == (chainKey{}) {
		return x.chain
	}
	return x.Context.Value(key)
}

// stallAfter is how long an answer may stay out before the egress is asked
// whether it is still there.
const stallAfter = 5 * time.Second

// watch ends the exchange at Limits.Timeout, and as soon as it is seen that the
// egress hangs.
func (x *exchange) watch() {
	timeout := x.client.opts.Limits.Timeout
	if timeout > 0 {
		x.limit = x.client.limiters.start(x, timeout)
	}
	if x.id.info.Direct {
		return
	}
	after, patience := stallAfter, stallAfter
	if timeout > 0 {
		after, patience = min(after, timeout/2), min(patience, timeout/4)
	}
	x.stall = time.AfterFunc(after, func() {
		if x.answered.Load() {
			return
		}
		if err := x.client.probe(x, patience); err != nil {
			x.cancel(err)
		}
	})
}

// limiters are timers for Limits.Timeout, which are used again.
type limiters struct{ pool sync.Pool }

// limiter ends an exchange that takes too long.
type limiter struct {
	timer   *time.Timer
	x       *exchange
	timeout time.Duration
}

func (l *limiter) fire() { l.x.cancel(&timeoutError{l.timeout}) }

func (p *limiters) start(x *exchange, timeout time.Duration) *limiter {
	l, ok := p.pool.Get().(*limiter)
	if !ok {
		l = &limiter{x: x, timeout: timeout}
		l.timer = time.AfterFunc(timeout, l.fire)
		return l
	}
	l.x, l.timeout = x, timeout
	l.timer.Reset(timeout)
	return l
}

// stop ends l. One that has fired may still be at it, and is not used again.
func (p *limiters) stop(l *limiter) {
	if l.timer.Stop() {
		l.x = nil
		p.pool.Put(l)
	}
}

// finish ends the exchange. Only the first call has an effect.
func (x *exchange) finish(err error) {
	if !x.finished.CompareAndSwap(false, true) {
		return
	}
	if x.limit != nil {
		x.client.limiters.stop(x.limit)
	}
	if x.stall != nil {
		x.stall.Stop()
	}
	x.cancel(nil)
	x.host.leave()
	x.id.release()
	if err != nil {
		x.host.failures.Add(1)
	}
}

// header returns what is sent: what the caller set, and for the rest what the
// browser of the user agent sends.
func (c *Client) header(req *http.Request, ch *chain, id *identity, secure bool) http.Header {
	profile := c.profile(req, ch, id.info.Agent, secure)
	header := merge(profile, req.Header)
	if cookies, ok := req.Header["Cookie"]; ok {
		header["Cookie"] = append([]string(nil), cookies...) // AddCookie writes to it
	}
	return header
}

// merge returns the fields of both, the second's where both have one.
func merge(first, second http.Header) http.Header {
	header := make(http.Header, len(first)+len(second)+1)
	maps.Copy(header, first)
	maps.Copy(header, second)
	return header
}

// profile returns the headers of the user agent of a request, which it chooses:
// the caller's, the identity's, or one that is drawn. They are not changed.
func (c *Client) profile(req *http.Request, ch *chain, identitys string, secure bool) http.Header {
	own, given := req.Header["User-Agent"]
	switch {
	case given && len(own) > 0:
		ch.agent = own[0]
	case identitys != "":
		ch.agent = identitys
	case ch.agent == "":
		ch.agent = c.opts.UserAgents.GetRandom()
	}
	return c.profiles.get(ch.agent, secure)
}

// isSecure reports whether browsers take the origin for a secure one.
func isSecure(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	host := u.Hostname()
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// maxProfiles bounds the profile cache; a pool has some hundred agents.
const maxProfiles = 4096

// profileCache keeps the headers of each user agent. They are shared and not
// changed.
type profileCache struct {
	contact       string   // appended to the agent
	secure, plain sync.Map // string → http.Header
	size          atomic.Int64
}

func (p *profileCache) get(agent string, secure bool) http.Header {
	cache := &p.plain
	if secure {
		cache = &p.secure
	}
	if h, ok := cache.Load(agent); ok {
		return h.(http.Header)
	}
	parsed, _ := useragent.Parse(agent) // no browser: the plain headers
	header := parsed.Header(secure)
	if p.contact != "" {
		header.Set("User-Agent", agent+" (+"+p.contact+")")
	}
	if p.size.Add(1) <= maxProfiles {
		cache.Store(agent, header)
	}
	return header
}

// origin is what HostLimit and robots.txt count as one host.
type origin struct{ scheme, host string }

func originOf(u *url.URL) origin {
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return origin{u.Scheme, host}
}

// String returns the origin as the beginning of a URL.
func (o origin) String() string { return o.scheme + "://" + o.host }
