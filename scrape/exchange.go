package scrape

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// chainKey finds the chain in the context of a request that was sent.
type chainKey struct{}

// chain is what a request and the redirects that follow from it have in
// common. It is used by one goroutine at a time.
type chain struct {
	id      *identity // held by whoever is under way
	agent   string
	robots  bool     // a request for robots.txt itself
	answers bool     // for Transport: an answer is an answer, whatever it says
	session *Session // the identity is pinned
}

// chainOf returns the chain that req continues, or a new one.
func chainOf(req *http.Request) (chain, bool) {
	if req.Response != nil && req.Response.Request != nil {
		if ch, ok := req.Response.Request.Context().Value(chainKey{}).(*chain); ok {
			next := *ch
			return next, true
		}
	}
	return chain{}, false
}

// exchange is one request on the wire and its answer, to the end of the body.
type exchange struct {
	client *Client
	id     *identity
	host   *host
	chain  *chain
	req    *http.Request // the caller's
	ctx    context.Context
	cancel context.CancelCauseFunc
	conn   *conn
	agent  string
	began  time.Time
	heard  int64 // what conn had read when the request went out
	body   body
	wire   wireReader

	limit    *time.Timer
	stall    *time.Timer
	answered atomic.Bool
	left     atomic.Bool
	finished atomic.Bool
}

// begin starts an exchange by the identity of ch, which is held, with the host
// entered; both are released by it.
func (c *Client) begin(req *http.Request, ch *chain, h *host) (*exchange, error) {
	x := &exchange{client: c, id: ch.id, host: h, chain: ch, req: req, began: time.Now()}
	x.ctx, x.cancel = context.WithCancelCause(req.Context())
	if err := c.flights.add(x); err != nil {
		x.finish(err)
		return nil, err
	}
	x.watch()
	return x, nil
}

// stallAfter is how long an answer may stay out before the egress is asked
// whether it is still there.
const stallAfter = 5 * time.Second

// watch ends the exchange at Limits.Timeout, and as soon as it is seen that the
// egress hangs.
func (x *exchange) watch() {
	timeout := x.client.opts.Limits.Timeout
	if timeout > 0 {
		x.limit = time.AfterFunc(timeout, func() { x.cancel(&timeoutError{timeout}) })
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
		if err := x.id.way.probe(x.ctx, patience); err != nil {
			x.cancel(err)
		}
	})
}

// freshEnough is how long an HTTP/1.1 connection may have been idle for a
// request that must not be sent twice: the site may just be closing it.
const freshEnough = time.Second

// maxStale is how many connections that the site has closed meanwhile are
// tried before one is made.
const maxStale = 8

// send makes one exchange by the identity of ch, which is held, with the host
// entered. Errors are *attemptError, but for those of the caller's context.
func (c *Client) send(req *http.Request, ch *chain, body *requestBody, h *host) (*http.Response, error) {
	x, err := c.begin(req, ch, h)
	if err != nil {
		return nil, err
	}
	id := x.id
	res, err := x.roundTrip(body)
	if err != nil {
		if _, timeout := errors.AsType[*timeoutError](err); timeout && !id.info.Direct {
			id.way.stall()
		}
		x.finish(err)
		return nil, err
	}

	if res.StatusCode == http.StatusProxyAuthRequired && x.req.URL.Scheme == "http" && id.forward() != nil {
		_ = res.Body.Close() // it is the proxy's, and no page
		err := &attemptError{err: refused(id.way.name, id.forward().User != nil, res.Status), unsent: true}
		x.finish(err)
		return nil, err
	}

	if !id.info.Direct {
		id.way.answered()
	}
	c.lookUpOnce(id)
	id.setCookies(req, res)
	if err := x.take(res); err != nil {
		_ = res.Body.Close() // the reason to refuse it is the error to report
		x.finish(err)
		return nil, err
	}
	return res, nil
}

// roundTrip sends the request once. A connection on which nothing could be
// written, because the site had closed it, is no attempt.
func (x *exchange) roundTrip(body *requestBody) (*http.Response, error) {
	key, err := keyOf(x.req.URL)
	if err != nil {
		return nil, err
	}

	out, header, err := x.outgoing(body)
	if err != nil {
		return nil, err
	}
	var fresh time.Duration
	if !isIdempotent(x.req) {
		fresh = freshEnough
	}

	for stale := 0; ; stale++ {
		conn, reused, err := x.id.gate.take(x.ctx, key, x.host, fresh)
		if err != nil {
			return nil, x.explain(err)
		}

		x.conn = conn
		wrote := conn.wire.wrote.Load()
		x.heard = conn.wire.read.Load()
		x.client.stats.requests.Add(1)
		x.host.requests.Add(1)

		res, err := conn.cc.RoundTrip(out)
		x.answered.Store(true)
		if err == nil {
			x.leave()
			res.Request = out.WithContext(context.WithValue(x.req.Context(), chainKey{}, x.chain))
			res.Request.Header = header
			return res, nil
		}

		nothing := !conn.h2 && conn.wire.wrote.Load() == wrote
		if nothing {
			x.client.stats.requests.Add(-1)
			x.host.requests.Add(-1)
		}

		if nothing && reused && stale < maxStale && x.ctx.Err() == nil && !body.touched.Load() {
			x.answered.Store(false)
			x.id.gate.done(conn, true)
			x.conn = nil
			continue
		}

		failed := x.explain(err)
		if ae, ok := errors.AsType[*attemptError](failed); ok {
			ae.unsent = ae.unsent || nothing
			ae.stale = reused && !conn.h2 && conn.wire.read.Load() == x.heard
		}
		return nil, failed
	}
}

// outgoing returns the request as it is sent, and its header as it is shown.
func (x *exchange) outgoing(body *requestBody) (out *http.Request, header http.Header, err error) {
	c := x.client
	browser := c.profile(x.req, x.chain, x.id.info.Agent)
	out = x.req.WithContext(x.ctx)
	out.Header = c.header(x.req, browser)
	out.Response = nil
	if query := percent(out.URL.RawQuery, encodedInQuery); query != out.URL.RawQuery {
		clean := *out.URL
		clean.RawQuery, out.URL = query, &clean
	}

	out.Body = body.next()
	cookies, hook := x.id.cookies(x.req), c.opts.Hooks.OnRequest
	for _, cookie := range cookies {
		out.AddCookie(cookie)
	}
	if hook != nil {
		if err := hook(out); err != nil {
			return nil, nil, fmt.Errorf("hook OnRequest: %w", err)
		}
	}
	header, x.agent = out.Header, out.Header.Get("User-Agent")

	// What is the browser's alone need not be spelled anew for each page.
	if len(x.req.Header) == 0 && len(c.opts.Header) == 0 && len(cookies) == 0 && hook == nil {
		out.Header = browser.spelled
	} else {
		out.Header = spelled(header)
	}
	return out, header, nil
}

// take makes res.Body the decoded body within limits, or says why it is
// refused.
func (x *exchange) take(res *http.Response) error {
	if res.StatusCode == http.StatusSwitchingProtocols {
		// From here on the caller speaks another protocol, for as long as it likes.
		if rw, ok := res.Body.(io.ReadWriteCloser); ok {
			if x.limit != nil {
				x.limit.Stop()
			}
			res.Body = &upgraded{ReadWriteCloser: rw, x: x}
			return nil
		}
	}

	limit := x.client.opts.Limits.MaxBodyBytes
	if x.req.Method != http.MethodHead && !x.chain.robots && limit > 0 && res.ContentLength > limit {
		return fmt.Errorf("%w: %d bytes announced, more than %d (Limits.MaxBodyBytes)", ErrBodyTooLarge, res.ContentLength, limit)
	}
	list, err := codings(res.Header)
	if err != nil {
		return err
	}

	x.wire.r, x.wire.limit = res.Body, limit
	b := &x.body
	b.x, b.wire, b.raw, b.codings, b.limit, b.status = x, &x.wire, res.Body, list, limit, res.StatusCode

	if x.req.Method == http.MethodHead {
		b.codings = nil
	} else if len(list) > 0 {
		res.Header.Del("Content-Encoding")
		res.Header.Del("Content-Length")
		res.ContentLength = -1
		res.Uncompressed = true
	}

	res.Body = b
	if x.client.opts.Banned == nil || x.chain.robots || x.chain.answers {
		return nil
	}
	b.held = true
	text, err := io.ReadAll(b)
	if err != nil {
		return err
	}

	if x.client.opts.Banned(res, text) {
		return &attemptError{err: fmt.Errorf("%w: status %d", ErrBanned, res.StatusCode)}
	}
	res.Body = &heldBody{r: bytes.NewReader(text), body: b}
	return nil
}

// explain finds out what an error of the connection means.
func (x *exchange) explain(err error) error {
	c := x.client
	switch {
	case x.req.Context().Err() != nil:
		return context.Cause(x.req.Context())
	case x.ctx.Err() != nil: // Limits.Timeout, Close, or the egress hangs
		return &attemptError{err: context.Cause(x.ctx), unsent: x.conn == nil}
	case errors.Is(err, ErrEgressUnavailable), errors.Is(err, ErrForbiddenAddress), errors.Is(err, errMoved), errors.Is(err, ErrClosed), errors.Is(err, errGateClosed):
		return &attemptError{err: err, unsent: true}
	}

	if ae, ok := errors.AsType[*attemptError](err); ok { // there was no connection
		return ae
	}

	if yes, maybe := isHeaderTooLarge(err); yes {
		return &attemptError{err: fmt.Errorf("%w: more than %d bytes (Limits.MaxHeaderBytes)", ErrHeaderTooLarge, c.opts.Limits.MaxHeaderBytes), final: true}
	} else if maybe {
		return &attemptError{err: fmt.Errorf("%w: more than %d bytes (Limits.MaxHeaderBytes), or broken in another way: %w", ErrHeaderTooLarge, c.opts.Limits.MaxHeaderBytes, err), final: true}
	}

	// A connection that broke may be the site's doing, or the egress's end.
	if !x.id.info.Direct {
		if lost := x.id.way.probe(x.req.Context(), 2*time.Second); lost != nil {
			return &attemptError{err: fmt.Errorf("%w (after %w)", lost, err)}
		}
	}
	return &attemptError{err: fmt.Errorf("%w: %w", ErrHangUp, err), unsent: isUnprocessed(err)}
}

// leave gives the host's place back, once the header is there.
func (x *exchange) leave() {
	if x.left.CompareAndSwap(false, true) {
		x.host.leave()
	}
}

// finish ends the exchange. Only the first call has an effect.
func (x *exchange) finish(err error) {
	if !x.finished.CompareAndSwap(false, true) {
		return
	}
	if x.limit != nil {
		x.limit.Stop()
	}
	if x.stall != nil {
		x.stall.Stop()
	}

	// An HTTP/2 connection that said nothing for as long as a request was given
	// is not trusted with another.
	if x.conn != nil {
		dead := err != nil && x.ctx.Err() != nil && x.conn.wire.read.Load() == x.heard
		x.id.gate.done(x.conn, dead)
	}

	x.cancel(errFinished)
	x.leave()
	x.client.flights.remove(x)
	x.id.release()
	if err != nil {
		x.host.failures.Add(1)
	}
}

// errFinished is the cause of the context of an exchange that is over.
var errFinished = errors.New("the exchange is over")

// upgraded is the connection of an answer 101, which belongs to the caller now.
type upgraded struct {
	io.ReadWriteCloser
	x *exchange
}

// Close ends the connection.
func (u *upgraded) Close() error {
	err := u.ReadWriteCloser.Close()
	u.x.finish(nil)
	return err
}

// flights are the exchanges under way, for Close.
type flights struct {
	mu     sync.Mutex
	closed bool
	all    map[*exchange]struct{}
}

func (f *flights) add(x *exchange) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	if f.all == nil {
		f.all = map[*exchange]struct{}{}
	}
	f.all[x] = struct{}{}
	return nil
}

func (f *flights) remove(x *exchange) {
	f.mu.Lock()
	delete(f.all, x)
	f.mu.Unlock()
}

// end fails every exchange with ErrClosed, and those that begin later.
func (f *flights) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for x := range f.all {
		x.cancel(ErrClosed)
	}
}
