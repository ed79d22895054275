// Package post sends requests to web addresses that are secrets, for the
// receivers that do, and reads what their answers mean.
package post

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/internal/redact"
	"github.com/svcblocks/svcblocks/internal/safehttp"
	"github.com/svcblocks/svcblocks/notify"
)

// maxBody bounds what is read of an answer.
const maxBody = 64 << 10

// defaultPause is the wait after a 429 that names none.
const defaultPause = 30 * time.Second

// Poster sends requests, one for each token of its Limiter. All methods are safe
// for concurrent use.
type Poster struct {
	// Client makes the requests. See [Client].
	Client *http.Client
	// Timeout bounds one call whose ctx ends later; negative means no bound.
	Timeout time.Duration
	// Limit is kept before each request.
	Limit *Limiter
	// Redactor takes the secrets out of what the other side says.
	Redactor *redact.Redactor
	// Service is the other side's name in errors.
	Service string
}

// Request is one request.
type Request struct {
	// Op names it in errors.
	Op string
	// Method defaults to POST.
	Method  string
	Address string
	Header  http.Header
	Body    []byte
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Client returns a copy of c, or of the default client, that follows no redirect:
// the body and the headers would go to somebody else.
func Client(c *http.Client) *http.Client {
	return safehttp.NewClient(c, safehttp.Redirects{Max: -1})
}

// Bound returns ctx with the Poster's Timeout.
func (p *Poster) Bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.Timeout < 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, p.Timeout)
}

// Do sends a request and reads the answer. An answer of the other side is no
// error, whatever its status.
func (p *Poster) Do(ctx context.Context, r Request) (Answer, *notify.Error) {
	if err := p.Limit.Wait(ctx); err != nil {
		return Answer{}, err
	}

	if r.Method == "" {
		r.Method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.Address, bytes.NewReader(r.Body))
	if err != nil {
		return Answer{}, p.failure(ctx, r.Op, err)
	}
	maps.Copy(req.Header, r.Header)

	resp, err := p.Client.Do(req)
	if err != nil {
		return Answer{}, p.failure(ctx, r.Op, err)
	}

	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return Answer{}, p.failure(ctx, r.Op, fmt.Errorf("read answer: %w", err))
	}
	return Answer{resp.StatusCode, resp.Header, string(body)}, nil
}

// failure makes a typed error of what the HTTP client gave. Its text has no
// address in it.
func (p *Poster) failure(ctx context.Context, op string, err error) *notify.Error {
	if ctx.Err() != nil {
		e := notify.NewError(op, context.Cause(ctx))
		e.Reason = "no answer from " + p.Service + " in time: " + e.Reason
		return e
	}
	return notify.NewError(op, err)
}

// statusError is a status, from which what to do about it is read.
type statusError int

func (s statusError) Error() string   { return http.StatusText(int(s)) }
func (s statusError) StatusCode() int { return int(s) }

// StatusError returns what a status means that is not of the 200s, or nil. A
// receiver with codes of its own may know better.
func (p *Poster) StatusError(op string, a Answer, now time.Time) *notify.Error {
	if a.Status >= 200 && a.Status < 300 {
		return nil
	}
	e := notify.NewError(op, statusError(a.Status))
	e.Code, e.Class, e.Reason = a.Status, notify.ClassRejected, p.Reason(a.Body)

	after, asked := backoff.RetryAfter(a.Header.Get("Retry-After"), now)
	switch {
	case a.Status == http.StatusTooManyRequests:
		e.Class = notify.ClassThrottled
		if e.Wait = after; !asked {
			e.Wait = defaultPause
		}
	case a.Status >= 500, a.Status == http.StatusRequestTimeout, a.Status == http.StatusTooEarly:
		e.Class, e.Wait = notify.ClassServer, after
	case a.Status >= 300 && a.Status < 400:
		e.Class = notify.ClassInvalid
		e.Reason = p.Service + "'s address answers with a redirect, which is not followed: check the address"
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden, a.Status == http.StatusProxyAuthRequired:
		e.Class = notify.ClassAuth
	}

	return e
}

// Throttle marks e as a request for fewer messages.
func Throttle(e *notify.Error) {
	e.Class = notify.ClassThrottled
	if e.Wait == 0 {
		e.Wait = defaultPause
	}
}

// Reason says in a line what an answer is.
func (p *Poster) Reason(body string) string {
	body = strings.TrimSpace(body)
	switch {
	case body == "":
		return "answer without a text"
	case strings.HasPrefix(body, "<"):
		return "answer is a web page, not " + p.Service + "'s"
	}
	return p.Redactor.Reason(body)
}

// Clean redacts err and names the message.
func (p *Poster) Clean(err *notify.Error, id string) *notify.Error {
	err.MessageID = id
	err.Reason, err.Enhanced = p.Redactor.String(err.Reason), p.Redactor.String(err.Enhanced)
	return err
}

// Address reads the address of a receiver, which is a secret as a whole: the
// error says what is wrong and does not show it. A line end behind it, as a file
// has, does not count. Without plain it is https, or http to this machine.
func Address(address secret.Secret, plain bool) (*url.URL, error) {
	text := strings.TrimRight(address.Reveal(), "\r\n")
	switch {
	case text == "":
		return nil, errors.New("is empty")
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == 0xa0 }):
		return nil, errors.New("has white space in it" + hidden)
	}

	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("is not an https address" + hidden)
	case u.User != nil:
		return nil, errors.New("has a user in it, which belongs into a header" + hidden)
	}

	if err := (safehttp.Rule{Secret: true, AllowPlain: plain, OptOut: "AllowPlainHTTP in a network of your own"}).Check(u); err != nil {
		return nil, fmt.Errorf("will not do: %w", err)
	}
	return u, nil
}

const hidden = " (its value is not shown, as it is a secret)"

// Parts returns the secrets of an address: itself, its path, the long parts of
// the path, and its query.
func Parts(u *url.URL) []secret.Secret {
	list := []secret.Secret{secret.New(u.String())}
	path := strings.Trim(u.EscapedPath(), "/")
	if len(path) > minPart {
		list = append(list, secret.New(path))
	}
	for part := range strings.SplitSeq(path, "/") {
		if len(part) >= minPart && part != path {
			list = append(list, secret.New(part))
		}
	}
	if u.RawQuery != "" {
		list = append(list, secret.New(u.RawQuery))
	}
	return list
}

// minPart is the length from which a part of a path is taken for a secret, not
// for a word as "services" or "message".
const minPart = 12

// Defaults returns m with the time and the ID that a message has.
func Defaults(m notify.Message) notify.Message {
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	if m.ID == "" {
		m.ID = notify.NewID()
	}
	return m
}
