package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/internal/health"
	"github.com/svcblocks/svcblocks/scrape/internal/named"
	"github.com/svcblocks/svcblocks/scrape/internal/socks"
)

// What a caller may branch on, by errors.Is.
var (
	// ErrEgressUnavailable: there is no way out. Tor, or each of the proxies,
	// cannot be reached, refuses the credentials or is not ready.
	ErrEgressUnavailable = errors.New("scrape: egress unavailable")
	// ErrHangUp: the site ended the connection or the HTTP/2 stream without an
	// answer, and was asked no more often than Retry.Attempts.
	ErrHangUp = errors.New("scrape: the site hung up")
	// ErrBanned: Options.Banned recognised the answer as a ban.
	ErrBanned = errors.New("scrape: banned by the site")
	// ErrBodyTooLarge: the body is larger than Limits.MaxBodyBytes, on the wire or
	// decoded. It comes from RoundTrip if the length was announced, else from
	// the body's Read.
	ErrBodyTooLarge = errors.New("scrape: body too large")
	// ErrHeaderTooLarge: the header is larger than Limits.MaxHeaderBytes.
	ErrHeaderTooLarge = errors.New("scrape: header too large")
	// ErrTooManyRedirects: more redirects than Limits.MaxRedirects.
	ErrTooManyRedirects = errors.New("scrape: too many redirects")
	// ErrEncoding: the body is encoded in a way that is not decoded here, or is
	// not what its Content-Encoding says.
	ErrEncoding = errors.New("scrape: content encoding")
	// ErrForbiddenAddress: the address is not public, or the scheme is not http
	// or https. No connection was made.
	ErrForbiddenAddress = errors.New("scrape: forbidden address")
	// ErrRobots: robots.txt of the host forbids the page, or the site answers for
	// it with an error, which counts as a refusal (RFC 9309 §2.3.1.4).
	ErrRobots = errors.New("scrape: forbidden by robots.txt")
	// ErrRetryLater: the site has asked to come back later than Retry.Max, so
	// nothing was sent; [Error.RetryAfter] says when.
	ErrRetryLater = errors.New("scrape: the site asks to come back later")
	// ErrStuck: no way out works, so that requests fail and nothing is lost, or
	// the cache stores nothing, so that pages are asked for again. It
	// comes from Check and OnError.
	ErrStuck = errors.New("scrape: stuck")
	// ErrLost: pages of a crawl were fetched and could not be recorded.
	ErrLost = errors.New("scrape: lost")
	// ErrClosed: the client was closed.
	ErrClosed = errors.New("scrape: client closed")
)

// Error is a failed operation. Every error of a [Client] is or wraps an *Error,
// but for what a function of the caller has returned.
type Error struct {
	// Op is what failed: "get", "post", "robots", "new", "crawl" and the like.
	Op string
	// URL is the address without user, password, query and fragment; "" where
	// the operation has none.
	URL string
	// Err is the cause.
	Err error
}

// Error returns "scrape: op url: cause". The package is named once.
func (e *Error) Error() string {
	text := "scrape: " + e.Op
	if e.URL != "" {
		text += " " + e.URL
	}
	return text + ": " + named.Bare(fmt.Sprint(e.Err), "scrape")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same request may succeed later: the egress is
// not available, the site is slow, busy, out of reach or has banned an exit, or
// a connection broke. Whatever else went wrong is permanent.
func (e *Error) Temporary() bool {
	for _, final := range []error{ErrForbiddenAddress, ErrBodyTooLarge, ErrHeaderTooLarge, ErrEncoding, ErrTooManyRedirects, ErrClosed, context.Canceled} {
		if errors.Is(e.Err, final) {
			return false
		}
	}

	if ae, ok := errors.AsType[*attemptError](e.Err); ok && ae.final {
		return false
	}

	for _, passing := range []error{ErrEgressUnavailable, ErrBanned, ErrRetryLater, ErrHangUp, errRobotsUnread, context.DeadlineExceeded} {
		if errors.Is(e.Err, passing) {
			return true
		}
	}

	if errors.Is(e.Err, ErrRobots) {
		return false
	}
	if _, ok := errors.AsType[*socks.ReplyError](e.Err); ok {
		return true
	}
	_, ok := errors.AsType[net.Error](e.Err)
	return ok || errors.Is(e.Err, io.EOF) || errors.Is(e.Err, io.ErrUnexpectedEOF) || health.Disconnected(e.Err)
}

// RetryAfter returns how long the site wants to be left alone, 0 if it did not
// say.
func (e *Error) RetryAfter() time.Duration {
	if paused, ok := errors.AsType[*pausedError](e.Err); ok {
		return max(0, time.Until(paused.until))
	}
	return 0
}

// errRobotsUnread tells a robots.txt that the site could not give from one that
// forbids.
var errRobotsUnread = errors.New("robots.txt could not be read, which counts as a refusal (RFC 9309 §2.3.1.4)")

// timeoutError is the cause of an attempt that ran into Limits.Timeout.
type timeoutError struct{ limit time.Duration }

func (e *timeoutError) Error() string {
	return fmt.Sprintf("not finished within %v (Limits.Timeout)", e.limit)
}
func (e *timeoutError) Timeout() bool   { return true }
func (e *timeoutError) Temporary() bool { return true }
func (e *timeoutError) Is(target error) bool {
	return target == context.DeadlineExceeded
}

// shownURL is u without what may be secret.
func shownURL(u *url.URL) string {
	if u == nil {
		return ""
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath, Opaque: u.Opaque}
	return shown.String()
}

// opOf names what a request does.
func opOf(req *http.Request) string {
	if req.Method == "" {
		return "get"
	}
	return strings.ToLower(req.Method)
}
