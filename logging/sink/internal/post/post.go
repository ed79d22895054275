// Package post makes the HTTP requests of the sinks and turns answers into
// what the shipper does next.
package post

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"

	"github.com/klauspost/compress/gzip"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/internal/redact"
	"github.com/svcblocks/svcblocks/internal/safehttp"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
)

// Poster posts to one receiver. Its methods are safe for concurrent use.
type Poster struct {
	name    string
	url     *url.URL
	client  *http.Client
	timeout time.Duration
	header  http.Header
	redact  *redact.Redactor
	gzip    atomic.Int32
}

// What is known of the receiver and gzip.
const (
	gzipOff     int32 = iota // it is not to be used, or not understood
	gzipUnknown              // nothing was taken yet
	gzipTaken
)

// Options tunes New.
type Options struct {
	HTTP    sink.HTTP
	URL     string      // the receiver's address, of the option of that name
	Header  http.Header // copied
	Gzip    bool
	Secrets []secret.Secret // taken out of error texts
}

const defaultTimeout = 30 * time.Second

// New returns a Poster for the sink called name, or all mistakes in o.
func New(name string, o Options) (*Poster, options.Mistakes) {
	p := &Poster{name: name, timeout: o.HTTP.Timeout, header: o.Header.Clone()}
	if p.header == nil {
		p.header = http.Header{}
	}
	if p.header.Get("User-Agent") == "" {
		p.header.Set("User-Agent", "svcblocks-logging (+https://github.com/svcblocks/svcblocks)")
	}
	if o.Gzip {
		p.gzip.Store(gzipUnknown)
	}

	secrets := slices.DeleteFunc(slices.Clone(o.Secrets), secret.Secret.IsZero)
	for name, values := range p.header {
		for _, v := range values {
			if carriesSecret(name) {
				_, credentials, _ := strings.Cut(v, " ") // behind the scheme
				secrets = append(secrets, secret.New(v), secret.New(credentials))
			}
		}
	}
	p.redact = redact.New(secrets...)

	var wrong options.Mistakes
	var err error
	rule := safehttp.Rule{Secret: len(secrets) > 0, AllowPlain: o.HTTP.AllowPlainHTTP, OptOut: "AllowPlainHTTP"}
	if o.URL == "" {
		wrong.Add("URL", "is missing: give the receiver's address, such as https://logs.example.com/ingest")
	} else if p.url, err = rule.Parse(o.URL); err != nil {
		wrong.Add("URL", "%v", err)
	}

	switch {
	case p.timeout < 0:
		wrong.Add("Timeout", "%v is below 0: give how long a request may take, or leave it out", p.timeout)
	case p.timeout == 0:
		p.timeout = defaultTimeout
	}

	p.client = client(&wrong, o.HTTP, p.timeout)
	return p, wrong
}

// client returns a client that follows no redirect: a redirected POST turns into
// a GET, whose 200 confirms nothing. It adds to wrong what keeps it from one.
func client(wrong *options.Mistakes, o sink.HTTP, timeout time.Duration) *http.Client {
	own := o.CAFile != "" || o.RootCAs != nil || o.CertFile != "" || o.KeyFile != ""
	switch {
	case o.Client != nil && own:
		wrong.Add("Client", "is set, and CAFile, RootCAs, CertFile or KeyFile too: give the certificates to the Client")
		return nil
	case o.CAFile != "" && o.RootCAs != nil:
		wrong.Add("CAFile", "is set, and RootCAs too: use one")
		return nil
	case o.CertFile == "" && o.KeyFile != "":
		wrong.Add("CertFile", "is missing, and KeyFile is set: give both or none")
		return nil
	case o.KeyFile == "" && o.CertFile != "":
		wrong.Add("KeyFile", "is missing, and CertFile is set: give both or none")
		return nil
	}

	var c http.Client
	if o.Client != nil {
		c = *o.Client
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	transport, ok := http.DefaultTransport.(*http.Transport)
	switch {
	case o.Client != nil, !ok && !own: // the caller's, as it is
		return &c
	case !ok:
		transport = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	}

	transport = transport.Clone()
	transport.HTTP2 = pinged(timeout)
	if own {
		transport.TLSClientConfig = certificates(wrong, o)
	}
	c.Transport = transport
	return &c
}

// certificates reads the files of certificates. It adds to wrong what is amiss
// with them.
func certificates(wrong *options.Mistakes, o sink.HTTP) *tls.Config {
	conf := &tls.Config{RootCAs: o.RootCAs}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		conf.RootCAs = x509.NewCertPool()
		switch {
		case err != nil:
			wrong.Add("CAFile", "%v", err)
		case !conf.RootCAs.AppendCertsFromPEM(pem):
			wrong.Add("CAFile", "%s holds no certificate in PEM", o.CAFile)
		}
	}

	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			wrong.Add("CertFile", "does not go with KeyFile: %v", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf
}

// pinged has a silent HTTP/2 connection asked whether it is alive, and given up
// within the time that a request has: one that somebody on the way has forgotten
// is else used again until the system gives it up, for a quarter of an hour.
func pinged(timeout time.Duration) *http.HTTP2Config {
	return &http.HTTP2Config{SendPingTimeout: min(timeout/2, 15*time.Second), PingTimeout: min(timeout/2, 10*time.Second)}
}

// URL returns the receiver's address.
func (p *Poster) URL() *url.URL { return p.url }

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

// Answer is what a receiver said with a 2xx status.
type Answer struct {
	Status int
	Body   []byte // at most 4 MiB
	// Cut says that the answer was longer.
	Cut bool
}

const maxAnswer = 4 << 20

// Post sends body and returns the answer if its status is 2xx. Any other
// outcome is a *logging.SinkError.
func (p *Poster) Post(ctx context.Context, u *url.URL, body []byte, extra ...string) (*Answer, error) {
	return p.post(ctx, u, extra,
		func() io.Reader { return bytes.NewReader(body) },
		func() (*Answer, error) { return p.do(ctx, u, bytes.NewReader(body), int64(len(body)), "", extra) })
}

// PostSection sends body as it is. Where that is a section of a file and is not
// to be compressed, the kernel copies it to a plain TCP connection by itself.
func (p *Poster) PostSection(ctx context.Context, u *url.URL, body *io.SectionReader, extra ...string) (*Answer, error) {
	at, from, size := body.Outer()
	return p.post(ctx, u, extra,
		func() io.Reader { return io.NewSectionReader(at, from, size) },
		func() (*Answer, error) { return p.section(ctx, u, at, from, size, extra) })
}

// post sends a body compressed, and plain where the receiver refuses that
// before it took any compressed one: many do not look at Content-Encoding. From
// then on it is sent plain.
func (p *Poster) post(ctx context.Context, u *url.URL, extra []string, body func() io.Reader, plain func() (*Answer, error)) (*Answer, error) {
	known := p.gzip.Load()
	if known == gzipOff {
		return plain()
	}

	answer, err := p.zipped(ctx, u, body(), extra)
	if err == nil {
		p.gzip.CompareAndSwap(gzipUnknown, gzipTaken)
		return answer, nil
	}

	refused, ok := errors.AsType[*StatusError](err)
	if !ok || refused.Status != http.StatusUnsupportedMediaType && (known == gzipTaken || refused.Status != http.StatusBadRequest) {
		return nil, err
	}
	answer, perr := plain()
	if _, said := errors.AsType[*StatusError](perr); perr != nil && !said && ctx.Err() == nil {
		// A server that did not read the compressed body ends the connection.
		answer, perr = plain()
	}
	if perr == nil {
		p.gzip.Store(gzipOff)
		return answer, nil
	}
	return nil, perr
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

// section sends a piece of at.
func (p *Poster) section(ctx context.Context, u *url.URL, at io.ReaderAt, from, size int64, extra []string) (*Answer, error) {
	if f, ok := at.(*os.File); ok {
		// A descriptor of its own for each request: after an early answer the
		// transport may go on reading for a while, and move the position. The name
		// may be another file's by now.
		if own, err := os.Open(f.Name()); err == nil {
			defer func() { _ = own.Close() }() // read only
			if _, err := own.Seek(from, io.SeekStart); err == nil && sameFile(own, f) {
				return p.do(ctx, u, &fileSection{f: own, end: from + size}, size, "", extra)
			}
		}
	}
	return p.do(ctx, u, io.NewSectionReader(at, from, size), size, "", extra)
}

func sameFile(a, b *os.File) bool {
	ai, err := a.Stat()
	if err != nil {
		return false
	}
	bi, err := b.Stat()
	return err == nil && os.SameFile(ai, bi)
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
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
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
		return nil, &logging.SinkError{Kind: logging.KindRetry, Err: p.redact.Error(fmt.Errorf("%s: post %s: %w", p.name, u.Host, err))}
	}
	defer func() { _ = resp.Body.Close() }() // what matters was read

	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	cut := len(answer) > maxAnswer
	answer = answer[:min(len(answer), maxAnswer)]

	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		if err != nil {
			return nil, p.fail(logging.KindRetry, u, "answer cut short: "+err.Error())
		}
		if isPage(answer) {
			return nil, p.fail(logging.KindRetry, u, resp.Status+": the answer is not a receiver's, but a page for people, as those that ask to log in")
		}
		return &Answer{Status: resp.StatusCode, Body: answer, Cut: cut}, nil
	}
	return nil, p.status(u, resp, answer)
}

// isPage reports whether an answer is an HTML document. What stands before a
// receiver says 200 with it: a log-in, a portal, a page for whatever has no other.
func isPage(answer []byte) bool {
	begin := strings.ToLower(strings.TrimLeft(string(answer[:min(len(answer), 100)]), "\ufeff \t\r\n"))
	return strings.HasPrefix(begin, "<!doctype html") || strings.HasPrefix(begin, "<html")
}

// status returns the error for an answer that is not 2xx.
func (p *Poster) status(u *url.URL, resp *http.Response, answer []byte) error {
	text := resp.Status
	if loc := resp.Header.Get("Location"); loc != "" && resp.StatusCode < 400 {
		text += ": the receiver has moved; give its new address"
	}
	if s := excerpt(answer); s != "" {
		text += ": " + s
	}
	se := p.fail(KindOf(resp.StatusCode), u, text)
	se.Err = &StatusError{Status: resp.StatusCode, Body: answer, text: se.Err.Error()}

	// A date is one of the receiver's clock (RFC 9110 §10.2.3, §6.6.1).
	now, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	if wait, ok := backoff.RetryAfter(resp.Header.Get("Retry-After"), now); ok {
		se.RetryAfter = wait
	}
	return se
}

// StatusError is the cause of a SinkError for a status other than 2xx.
type StatusError struct {
	Status int
	Body   []byte // at most 4 MiB; never part of the text
	text   string
}

// Error returns a text without secrets.
func (e *StatusError) Error() string { return e.text }

// StatusCode returns the status, from which what to do about it is read.
func (e *StatusError) StatusCode() int { return e.Status }

// KindOf says what a status other than 2xx means for the batch.
func KindOf(status int) logging.Kind {
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return logging.KindTooLarge
	case status == http.StatusBadRequest, status == http.StatusUnprocessableEntity:
		return logging.KindRejected
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests,
		status == http.StatusConflict, status == http.StatusMisdirectedRequest:
		return logging.KindRetry
	case status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported:
		return logging.KindRetry
	}
	return logging.KindConfig // 3xx, 401, 403, 404, 501 ...: no event is at fault, and time heals none
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

func (p *Poster) clean(text string) string { return p.redact.String(text) }

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
