// Package post makes the HTTP requests of the sinks and turns answers into
// what the shipper does next.
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
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/klauspost/compress/gzip"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/logging"
)

// Poster posts to one address. Its methods are safe for concurrent use.
type Poster struct {
	name   string
	client *http.Client
	header http.Header
	gzip   bool
	hidden []string
}

// Options tunes New.
type Options struct {
	Client  *http.Client // nil: one of its own with Timeout
	Timeout time.Duration
	Header  http.Header // copied
	Gzip    bool
	Secrets []secret.Secret // taken out of error texts
}

// New returns a Poster for the sink called name.
func New(name string, o Options) *Poster {
	p := &Poster{name: name, gzip: o.Gzip, header: o.Header.Clone()}
	if p.header == nil {
		p.header = http.Header{}
	}
	for _, s := range o.Secrets {
		p.hide(s.Reveal())
	}
	for name, values := range p.header {
		for _, v := range values {
			if carriesSecret(name) {
				p.hide(v)
				_, credentials, _ := strings.Cut(v, " ") // behind the scheme
				p.hide(credentials)
			}
		}
	}
	client := http.Client{Timeout: o.Timeout}
	if o.Client != nil {
		client = *o.Client
	}
	// A redirected POST turns into a GET, whose 200 confirms nothing.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p.client = &client
	return p
}

// hide takes value out of error texts, which quote what receivers answer.
func (p *Poster) hide(value string) {
	if value != "" {
		p.hidden = append(p.hidden, value, url.PathEscape(value), url.QueryEscape(value))
	}
}

// carriesSecret reports whether the header called name may hold credentials.
func carriesSecret(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"auth", "cookie", "key", "token", "secret", "password", "signature"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// CheckURL reports what is wrong with the address of a receiver.
func CheckURL(field, raw string) (*url.URL, error) {
	if raw == "" {
		return nil, fmt.Errorf("%s is empty: give the receiver's address, such as https://logs.example.com/ingest", field)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%s is no URL", field) // its text is in err
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%s: scheme %q is neither http nor https", field, u.Scheme)
	case u.Host == "":
		return nil, fmt.Errorf("%s has no host", field)
	case u.User != nil:
		return nil, fmt.Errorf("%s of host %s carries a user or password: give them in the fields made for it", field, u.Host)
	}
	return u, nil
}

// Answer is what a receiver said with a 2xx status.
type Answer struct {
	Status int
	Body   []byte // at most 4 MiB
}

const maxAnswer = 4 << 20

// Post sends body and returns the answer if its status is 2xx. Any other
// outcome is a *logging.SinkError.
func (p *Poster) Post(ctx context.Context, u *url.URL, body []byte, extra ...string) (*Answer, error) {
	if !p.gzip {
		return p.do(ctx, u, bytes.NewReader(body), int64(len(body)), "", extra)
	}
	return p.zipped(ctx, u, bytes.NewReader(body), extra)
}

// zipped sends what body holds, compressed.
func (p *Poster) zipped(ctx context.Context, u *url.URL, body io.Reader, extra []string) (*Answer, error) {
	z := zippers.Get().(*zipper)
	defer zippers.Put(z)
	z.buf.Reset()
	z.w.Reset(&z.buf)
	if _, err := io.CopyBuffer(z.w, body, z.piece); err != nil {
		return nil, &logging.SinkError{Err: fmt.Errorf("%s: compress: %w", p.name, err)}
	}
	if err := z.w.Close(); err != nil {
		return nil, &logging.SinkError{Err: fmt.Errorf("%s: compress: %w", p.name, err)}
	}
	// The buffer goes back to the pool when do returns, and the transport may
	// still read from it after an early answer: hence a reader that ends.
	r := &ending{r: bytes.NewReader(z.buf.Bytes())}
	defer r.end()
	return p.do(ctx, u, r, int64(z.buf.Len()), "gzip", extra)
}

// PostSection sends body as it is. Where that is a section of a file and is not
// to be compressed, the kernel copies it to a plain TCP connection by itself.
func (p *Poster) PostSection(ctx context.Context, u *url.URL, body *io.SectionReader, extra ...string) (*Answer, error) {
	if p.gzip {
		return p.zipped(ctx, u, body, extra)
	}
	at, from, size := body.Outer()
	if f, ok := at.(*os.File); ok {
		// A descriptor of its own for each request: after an early answer the
		// transport may go on reading for a while, and move the position.
		if own, err := os.Open(f.Name()); err == nil {
			defer func() { _ = own.Close() }() // read only
			if _, err := own.Seek(from, io.SeekStart); err == nil {
				return p.do(ctx, u, &fileSection{f: own, end: from + size}, size, "", extra)
			}
		}
	}
	return p.do(ctx, u, body, size, "", extra)
}

// fileSection is the rest of f up to end. Package net sends what is a
// [syscall.Conn] by sendfile, past Read, and leaves the position behind it; Read
// therefore asks for the position.
type fileSection struct {
	f   *os.File
	end int64
}

// SyscallConn is that of the file.
func (s *fileSection) SyscallConn() (syscall.RawConn, error) { return s.f.SyscallConn() }

// Close does nothing: a body with a Close of its own reaches package net as it
// is, and not in a wrapper.
func (s *fileSection) Close() error { return nil }

// Read reads up to the end of the section.
func (s *fileSection) Read(p []byte) (int, error) {
	at, err := s.f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	if at >= s.end {
		return 0, io.EOF
	}
	return s.f.Read(p[:min(int64(len(p)), s.end-at)])
}

type zipper struct {
	buf   bytes.Buffer
	w     *gzip.Writer
	piece []byte // to copy by
}

var zippers = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is valid
	}
	return &zipper{w: w, piece: make([]byte, 64<<10)}
}}

// ending is a reader that can be taken away.
type ending struct {
	mu sync.Mutex
	r  io.Reader
}

func (e *ending) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.r == nil {
		return 0, errors.New("request is over")
	}
	return e.r.Read(p)
}

func (e *ending) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.r = nil
}

func (p *Poster) do(ctx context.Context, u *url.URL, body io.Reader, size int64, encoding string, extra []string) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), body)
	if err != nil {
		return nil, p.fail(logging.KindConfig, u, "request cannot be made")
	}
	req.ContentLength = size
	maps.Copy(req.Header, p.header)
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	for i := 0; i+1 < len(extra); i += 2 {
		req.Header.Set(extra[i], extra[i+1])
	}
	resp, err := p.client.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // its text holds the whole URL
		}
		return nil, &logging.SinkError{Kind: logging.KindRetry, Err: &cause{text: p.clean(fmt.Sprintf("%s: post %s: %v", p.name, u.Host, err)), err: err}}
	}
	defer func() { _ = resp.Body.Close() }() // what matters was read
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		if err != nil {
			return nil, p.fail(logging.KindRetry, u, "answer cut short: "+err.Error())
		}
		return &Answer{Status: resp.StatusCode, Body: answer}, nil
	}
	text := resp.Status
	if loc := resp.Header.Get("Location"); loc != "" && resp.StatusCode < 400 {
		text += ": the receiver has moved; give its new address"
	}
	if resp.StatusCode == http.StatusUnsupportedMediaType && encoding != "" {
		text += ": the receiver may not take gzip; if so set DisableGzip"
	}
	if s := excerpt(answer); s != "" {
		text += ": " + s
	}
	se := p.fail(KindOf(resp.StatusCode), u, text)
	se.Err = &StatusError{Status: resp.StatusCode, Body: answer, text: se.Err.Error()}
	if wait, ok := backoff.RetryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
		se.RetryAfter = wait
	}
	return nil, se
}

// StatusError is the cause of a SinkError for a status other than 2xx.
type StatusError struct {
	Status int
	Body   []byte // at most 4 MiB; never part of the text
	text   string
}

// Error returns a text without secrets.
func (e *StatusError) Error() string { return e.text }

// KindOf says what a status other than 2xx means for the batch.
func KindOf(status int) logging.Kind {
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return logging.KindTooLarge
	case status == http.StatusBadRequest, status == http.StatusUnprocessableEntity:
		return logging.KindRejected
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests,
		status == http.StatusConflict, status == http.StatusMisdirectedRequest, status >= 500:
		return logging.KindRetry
	}
	return logging.KindConfig // 3xx, 401, 403, 404 ...: no event is at fault
}

// Fail returns an error about an answer of u's receiver, without secrets.
func (p *Poster) Fail(kind logging.Kind, u *url.URL, text string) *logging.SinkError {
	return p.fail(kind, u, text)
}

func (p *Poster) fail(kind logging.Kind, u *url.URL, text string) *logging.SinkError {
	return &logging.SinkError{Kind: kind, Err: errors.New(p.clean(fmt.Sprintf("%s: post %s: %s", p.name, u.Host, text)))}
}

// Clean returns text without the secrets of the sink.
func (p *Poster) Clean(text string) string { return p.clean(text) }

func (p *Poster) clean(text string) string {
	for _, s := range p.hidden {
		text = strings.ReplaceAll(text, s, secret.Redacted)
	}
	return text
}

// cause keeps err readable by errors.Is under a text without secrets.
type cause struct {
	text string
	err  error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.err }

const maxExcerpt = 200

// excerpt returns the beginning of an answer on one line.
func excerpt(body []byte) string {
	s := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, string(body[:min(len(body), maxExcerpt)]))
	return strings.Join(strings.Fields(s), " ")
}
