package scrape

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
)

// call is one request with all its attempts. It is the budget: nothing below it
// sends a request twice.
type call struct {
	client     *Client
	req        *http.Request
	host       *host
	began      time.Time
	patience   time.Duration // a longer wait is a *parkedError; 0: none is
	tries      int           // attempts that were made before
	chain      chain
	redirected bool // the chain began with another call
	body       requestBody
}

// attemptError is a failed attempt, with what decides on the next one.
type attemptError struct {
	err    error
	unsent bool // nothing of the request was processed
	final  bool // it would fail again
	stale  bool // the site closed a connection that was open from before
}

func (e *attemptError) Error() string { return e.err.Error() }
func (e *attemptError) Unwrap() error { return e.err }

// roundTrip gets an answer, from the cache or from the site.
func (k *call) roundTrip() (*http.Response, error) {
	c := k.client
	if k.req.URL == nil {
		return nil, errors.New("request without a URL")
	}
	if err := c.guard.checkURL(k.req.URL); err != nil {
		return nil, err
	}
	if c.ctx.Err() != nil {
		return nil, ErrClosed
	}

	if before, ok := chainOf(k.req); ok {
		answers, session := k.chain.answers, k.chain.session
		k.chain, k.redirected = before, true
		k.chain.answers, k.chain.session = answers, session
	}

	k.host = c.hosts.get(k.req.URL)
	defer c.hosts.put(k.host)

	if err := c.robots.ask(k); err != nil {
		return nil, err
	}
	if c.opts.Cache != nil {
		return k.throughCache()
	}
	return k.fetch(k.req)
}

// throughCache answers from the cache, or gets an answer and lets the cache
// store it.
func (k *call) throughCache() (*http.Response, error) {
	c, req := k.client, k.req
	unsure := req.URL.Scheme == "http" && !c.guard.direct // any exit can have written the answer
	if unsure && !c.opts.CachePlainHTTP {
		return k.fetch(req)
	}

	current := c.ids.current(k)
	var agent string
	if current != nil {
		agent = current.info.Agent
		if len(current.cookies(req)) > 0 { // what it gets is for this identity
			return k.fetch(req)
		}
	}

	// The cache sees the header as it would be sent. With PerIdentity the agent
	// may be another's in the end, if the identity changes now.
	asked := req.WithContext(req.Context())
	asked.Header = merge(c.profile(req, &k.chain, agent).header, req.Header)
	if unsure && asked.Header.Get("Cache-Control") == "" {
		asked.Header.Set("Cache-Control", maxUnsureAge) // for the cache, it is not sent
	}

	sent := false
	began := time.Now()
	res, stored, err := c.opts.Cache.RoundTrip(asked, func(conditional *http.Request) (*http.Response, error) {
		sent = true
		out := req
		for _, name := range conditions {
			if values := conditional.Header[name]; len(values) > 0 && len(req.Header[name]) == 0 {
				if out == req {
					out = req.WithContext(req.Context())
					out.Header = merge(req.Header, nil)
				}
				out.Header[name] = values
			}
		}
		res, err := k.fetch(out)
		if err == nil && out != req && res.StatusCode == http.StatusNotModified {
			drop(res) // the page is the one that is stored
		}
		return res, err
	})

	c.checkCache(req.Context())
	if err != nil || !stored {
		return res, err
	}

	if unsure && res.StatusCode >= 300 && res.StatusCode < 400 {
		_ = res.Body.Close() // a redirect of one exit is not followed by others
		return k.fetch(req)
	}
	if limit := c.opts.Limits.MaxBodyBytes; limit > 0 && res.ContentLength > limit { // stored under another limit
		_ = res.Body.Close() // the limit is the error to report
		return nil, fmt.Errorf("%w: %d bytes stored, more than %d (Limits.MaxBodyBytes)", ErrBodyTooLarge, res.ContentLength, limit)
	}

	if sent {
		c.stats.revalidated.Add(1)
	} else {
		c.stats.cacheHits.Add(1)
	}
	res.Body = &storedBody{ReadCloser: res.Body, client: c, host: k.host, page: Page{
		URL: shownURL(req.URL), Status: res.StatusCode, Agent: k.chain.agent, Cached: true,
	}, began: began}
	return res, nil
}

// fetch gets an answer from the site, with as many attempts as it takes.
func (k *call) fetch(req *http.Request) (*http.Response, error) {
	c := k.client
	k.began = time.Now()
	for number := k.tries + 1; ; number++ {
		if number > 1 && k.chain.session == nil {
			if k.redirected && k.chain.id != nil {
				c.ids.countRetry(k.chain.id)
			} else {
				k.chain.id = nil
			}
		}

		res, info, err := k.try(req)
		if parked, ok := errors.AsType[*parkedError](err); ok {
			parked.tries = number - 1
			return nil, err
		}

		v := k.judge(number, res, err)
		v.attempt.Identity = info
		if err != nil || v.again {
			v.attempt.URL = shownURL(k.req.URL)
		}
		if errors.Is(err, ErrBanned) {
			k.banned(v.attempt)
		}
		if !v.again {
			return res, err
		}

		if res != nil {
			drop(res)
		}

		k.avoid(err)
		c.stats.retries.Add(1)
		c.log.Info("trying again", "url", v.attempt.URL, "attempt", number, "status", v.attempt.Status, "wait", v.attempt.Wait, "error", v.attempt.Err)
		if c.opts.Hooks.OnRetry != nil {
			c.opts.Hooks.OnRetry(v.attempt)
		}

		if k.patience > 0 && v.attempt.Wait > k.patience {
			return nil, &parkedError{until: time.Now().Add(v.attempt.Wait), tries: number}
		}
		if v.attempt.Wait > 0 {
			c.stats.waited.Add(int64(v.attempt.Wait))
			if err := sleep(k.req.Context(), c.ctx.Done(), v.attempt.Wait); err != nil {
				return nil, err
			}
		}
	}
}

// avoid leaves an identity by which nothing came in time, where another way
// works: who cannot be told from a slow site is a proxy that hangs.
func (k *call) avoid(err error) {
	c := k.client
	if _, timeout := errors.AsType[*timeoutError](err); !timeout || k.chain.id == nil || k.chain.session != nil || !c.ways.another(k.chain.id.way) {
		return
	}
	c.ids.leave(k.chain.id)
	k.chain.id = nil
}

// banned tells of a ban and leaves the identity.
func (k *call) banned(a Attempt) {
	c := k.client
	c.stats.bans.Add(1)
	c.log.Warn("banned", "url", a.URL, "status", a.Status, "exit", a.Identity.Exit, "identity", a.Identity.Number)
	if c.opts.Hooks.OnBan != nil {
		c.opts.Hooks.OnBan(a)
	}
	if k.chain.id != nil && k.chain.session == nil {
		c.ids.leave(k.chain.id)
		k.chain.id = nil
	}
}

// try makes an attempt. While a connection leaves by another exit than its
// identity's, or by no way at all, nothing was sent, and another identity is
// taken.
func (k *call) try(req *http.Request) (*http.Response, Identity, error) {
	c := k.client
	for moved := 0; ; moved++ {
		res, info, err := k.attempt(req)
		if k.chain.id == nil || k.chain.session != nil || moved == maxRedraws {
			return res, info, err
		}

		switch {
		case errors.Is(err, errMoved):
			c.stats.redraws.Add(1)
		case errors.Is(err, ErrEgressUnavailable) && c.ways.another(k.chain.id.way):
			// This proxy is lost; another one works.
			if ae, ok := errors.AsType[*attemptError](err); ok && !ae.unsent && !isIdempotent(k.req) || !k.body.repeatable() {
				return res, info, err
			}
		default:
			return res, info, err
		}

		c.ids.drop(k.chain.id)
		k.chain.id = nil
	}
}

// attempt sends once, with the fallback if there is one.
func (k *call) attempt(req *http.Request) (*http.Response, Identity, error) {
	c, ctx := k.client, k.req.Context()
	if err := k.host.enter(ctx, &c.stats.waited, k.patience); err != nil {
		return nil, Identity{}, err
	}

	if s := k.chain.session; s != nil {
		k.chain.id = s.id
	}
	if id := k.chain.id; id != nil && id.hold() { // a redirect, or a session
		return k.send(req)
	}

	if c.opts.Fallback == DirectWithWarning && c.ways.pausing() {
		return k.sendDirect(req, nil)
	}

	id, err := c.ids.acquire(ctx, &c.ids.main, req.URL.Hostname(), k.chain.robots)
	if err != nil {
		k.host.leave()
		return k.recover(req, Identity{}, err)
	}
	k.chain.id = id
	return k.send(req)
}

// send makes one exchange, and falls back if the way out is lost.
func (k *call) send(req *http.Request) (*http.Response, Identity, error) {
	id := k.chain.id
	res, err := k.client.send(req, &k.chain, &k.body, k.host)
	if err == nil {
		return res, id.snapshot(), nil
	}
	if !errors.Is(err, ErrEgressUnavailable) {
		return nil, id.snapshot(), err
	}
	id.way.note(err)
	return k.recover(req, id.snapshot(), err)
}

// recover sends directly what no way out could take, if that is allowed.
func (k *call) recover(req *http.Request, info Identity, err error) (*http.Response, Identity, error) {
	c := k.client
	if !errors.Is(err, ErrEgressUnavailable) || c.opts.Fallback != DirectWithWarning || c.ways.works() || k.chain.session != nil {
		return nil, info, err
	}
	sent := false
	if ae, ok := errors.AsType[*attemptError](err); ok {
		sent = !ae.unsent
	}

	if !k.body.repeatable() || sent && !isIdempotent(k.req) || k.req.Context().Err() != nil {
		return nil, info, err
	}
	if err := k.host.enter(k.req.Context(), &c.stats.waited, 0); err != nil {
		return nil, info, err
	}
	return k.sendDirect(req, err)
}

// sendDirect sends from this machine's own address, and says so. The host has
// been entered.
func (k *call) sendDirect(req *http.Request, cause error) (*http.Response, Identity, error) {
	c := k.client
	if cause == nil {
		cause = c.ways.lost()
	}

	if err := c.directGuard.checkURL(req.URL); err != nil { // .onion above all
		k.host.leave()
		return nil, Identity{}, fmt.Errorf("%w (%w)", err, ErrEgressUnavailable)
	}

	id, err := c.ids.acquire(k.req.Context(), &c.ids.fallback, req.URL.Hostname(), k.chain.robots)
	if err != nil {
		k.host.leave()
		return nil, Identity{}, err
	}

	k.chain.id = id
	info := id.snapshot()
	c.stats.fallbacks.Add(1)
	c.log.Warn("request leaves from this machine's own address", "url", shownURL(req.URL), "error", cause)
	if c.opts.Hooks.OnFallback != nil {
		c.opts.Hooks.OnFallback(Attempt{URL: shownURL(req.URL), Number: 1, Err: cause, Identity: info})
	}
	res, err := c.send(req, &k.chain, &k.body, k.host)
	return res, info, err
}

// verdict is what follows from one attempt.
type verdict struct {
	again   bool
	attempt Attempt
}

// judge decides whether a request is tried again, and after what wait.
func (k *call) judge(number int, res *http.Response, err error) verdict {
	v := verdict{attempt: Attempt{Number: number, Err: err}}
	retry := &k.client.opts.Retry
	policy := backoff.Policy{Base: retry.Base, Max: retry.Max}
	last := number >= retry.Attempts || !k.body.repeatable() || retry.MaxElapsed > 0 && time.Since(k.began) > retry.MaxElapsed

	if err != nil {
		v.again = !last && k.worthRepeating(err)
		if !isStale(err) && !errors.Is(err, ErrBanned) {
			v.attempt.Wait = policy.Delay(number)
		}
		return v
	}

	v.attempt.Status = res.StatusCode
	asked := k.spare(res)
	if last {
		return v
	}

	switch status := res.StatusCode; status {
	case http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests:
		v.again = true // the site has done nothing
	case http.StatusServiceUnavailable:
		v.again = asked > 0 || isIdempotent(k.req)
	default:
		v.again = isIdempotent(k.req) && slices.Contains(retry.Statuses, status)
	}

	if asked > retry.Max {
		v.again = false // the host is paused, and nobody waits that long
	}
	if v.again {
		v.attempt.Wait = max(asked, policy.Delay(number))
	}
	return v
}

// longestPause bounds what a Retry-After is believed: a host that asks for years
// is asked again after a day, as its robots.txt is.
const longestPause = 24 * time.Hour

// spare does for the host what its answer asks for, and returns how long it
// wants to be left alone.
func (k *call) spare(res *http.Response) time.Duration {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	now := time.Now()

	wait, asked := backoff.RetryAfter(res.Header.Get("Retry-After"), now)
	if date, err := http.ParseTime(res.Header.Get("Date")); asked && err == nil {
		// A date is by the site's clock.
		if byClock, ok := backoff.RetryAfter(res.Header.Get("Retry-After"), date); ok {
			wait = byClock
		}
	}

	wait = min(wait, longestPause)
	if wait > 0 {
		k.host.pause(now.Add(wait))
	} else if res.StatusCode == http.StatusTooManyRequests {
		k.host.slowDown(now)
	}

	return wait
}

// isStale reports whether an attempt failed on a connection that the site was
// just closing, which says nothing of the site.
func isStale(err error) bool {
	ae, ok := errors.AsType[*attemptError](err)
	return ok && ae.stale
}

// worthRepeating reports whether an error may go away, and the request do no
// harm if it arrives twice.
func (k *call) worthRepeating(err error) bool {
	if errors.Is(err, ErrBanned) {
		return k.client.opts.Retry.Bans
	}
	ae, ok := errors.AsType[*attemptError](err)
	if !ok || ae.final || k.req.Context().Err() != nil || k.client.ctx.Err() != nil {
		return false
	}
	for _, final := range []error{ErrEgressUnavailable, ErrForbiddenAddress, ErrClosed} {
		if errors.Is(err, final) {
			return false
		}
	}
	return ae.unsent || isIdempotent(k.req)
}

// isIdempotent reports whether a request may arrive twice (RFC 9110 §9.2.2), or
// carries a key by which the site knows it again.
func isIdempotent(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return req.Header.Get("Idempotency-Key") != "" || req.Header.Get("X-Idempotency-Key") != ""
}

// requestBody hands out the body of a request, once for each attempt, and
// knows whether it can do so again.
type requestBody struct {
	req     *http.Request
	touched atomic.Bool // something of req.Body was read
	closed  atomic.Bool
}

// next returns the body for an attempt. It must not be called unless
// repeatable, or for the first attempt.
func (b *requestBody) next() io.ReadCloser {
	if b.req.Body == nil || b.req.Body == http.NoBody {
		return b.req.Body
	}
	if b.touched.Load() && b.req.GetBody != nil {
		body, err := b.req.GetBody()
		if err != nil {
			return failedBody{err}
		}
		return body
	}
	return &firstBody{b}
}

// repeatable reports whether the body can be sent (again).
func (b *requestBody) repeatable() bool {
	return b.req.Body == nil || b.req.Body == http.NoBody || b.req.GetBody != nil || !b.touched.Load()
}

// close closes the request's own body, as a RoundTripper must.
func (b *requestBody) close() {
	if b.req.Body != nil && b.closed.CompareAndSwap(false, true) {
		_ = b.req.Body.Close() // there is nobody to tell, as in net/http
	}
}

// firstBody is the request's own body. Closed before it was read, it stays
// open for another attempt.
type firstBody struct{ b *requestBody }

// Read reads the body.
func (f *firstBody) Read(p []byte) (int, error) {
	f.b.touched.Store(true)
	return f.b.req.Body.Read(p)
}

// Close closes the body if it was begun.
func (f *firstBody) Close() error {
	if f.b.touched.Load() {
		f.b.close()
	}
	return nil
}

// failedBody is a body that could not be had again.
type failedBody struct{ err error }

// Read fails.
func (f failedBody) Read([]byte) (int, error) { return 0, f.err }

// Close does nothing.
func (failedBody) Close() error { return nil }
