package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
)

// verdict is what follows from one attempt.
type verdict struct {
	again   bool
	banned  bool
	err     error
	attempt Attempt
}

// passing are the statuses that may go away by themselves.
var passing = []int{
	http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// judge decides whether a request is tried again, and after what wait.
func (c *Client) judge(req *http.Request, body *requestBody, number int, res *http.Response, err error) verdict {
	if err == nil && !slices.Contains(passing, res.StatusCode) {
		return verdict{}
	}
	v := verdict{err: err, attempt: Attempt{URL: shownURL(req.URL), Number: number, Err: err}}
	if res != nil {
		v.attempt.Status = res.StatusCode
	}
	v.banned = errors.Is(err, ErrBanned)
	last := number >= c.opts.Retry.Attempts || !body.repeatable()
	policy := backoff.Policy{Base: c.opts.Retry.Base, Max: c.opts.Retry.Max}
	switch {
	case v.banned:
		v.again = !last && c.opts.Retry.Bans
		return v
	case err != nil:
		v.again = !last && c.worthRepeating(req, body, err)
		v.attempt.Wait = policy.Delay(number)
		return v
	}
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		wait, asked := backoff.RetryAfter(res.Header.Get("Retry-After"), time.Now())
		if !asked {
			wait = policy.Delay(number)
		}
		if wait > c.opts.Retry.Max {
			v.err = &Error{
				Op: opOf(req), URL: v.attempt.URL, after: wait,
				Err: fmt.Errorf("%w: status %d, Retry-After %v is more than %v (Retry.Max)", ErrRetryLater, res.StatusCode, wait, c.opts.Retry.Max),
			}
			return v
		}
		if asked { // for every request to the host, whether this one is made again or not
			h := c.hosts.get(originOf(req.URL))
			h.pause(time.Now().Add(wait))
			c.hosts.put(h)
		}
		if v.again = !last; v.again {
			v.attempt.Wait = wait
		}
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		v.again = !last && isIdempotent(req)
		v.attempt.Wait = policy.Delay(number)
	}
	return v
}

// worthRepeating reports whether an error may go away, and the request do no
// harm if it arrives twice.
func (c *Client) worthRepeating(req *http.Request, body *requestBody, err error) bool {
	if req.Context().Err() != nil || c.ctx.Err() != nil {
		return false
	}
	for _, final := range []error{ErrTorUnavailable, ErrForbiddenAddress, ErrBodyTooLarge, ErrHeaderTooLarge, ErrEncoding, ErrClosed, ErrRobots} {
		if errors.Is(err, final) {
			return false
		}
	}
	if errors.Is(err, context.Canceled) {
		return false
	}
	return isIdempotent(req) || req.Body != nil && req.Body != http.NoBody && !body.touched.Load()
}

// isIdempotent reports whether a request may arrive twice (RFC 9110 §9.2.2).
func isIdempotent(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
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

func (f *firstBody) Read(p []byte) (int, error) {
	f.b.touched.Store(true)
	return f.b.req.Body.Read(p)
}

func (f *firstBody) Close() error {
	if f.b.touched.Load() {
		f.b.close()
	}
	return nil
}

// failedBody is a body that could not be had again.
type failedBody struct{ err error }

func (f failedBody) Read([]byte) (int, error) { return 0, f.err }
func (failedBody) Close() error               { return nil }
