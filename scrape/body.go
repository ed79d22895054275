package scrape

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is the largest window that a zstd body may ask for (RFC 9659 §3).
// Brotli's ends at 16 MiB by itself (RFC 7932).
const maxWindow = 8 << 20

// unsupported are the registered content codings that are not decoded here.
// Other unknown words are passed over, as browsers do: sites write "utf-8".
var unsupported = []string{"compress", "x-compress", "aes128gcm", "dcb", "dcz", "exi", "pack200-gzip"}

// codings returns the codings of a body, the outermost first.
func codings(header http.Header) ([]string, error) {
	var list []string
	wide := 0
	for _, value := range header.Values("Content-Encoding") {
		for word := range strings.SplitSeq(value, ",") {
			switch word = strings.ToLower(strings.TrimSpace(word)); word {
			case "x-gzip":
				list = append(list, "gzip")
			case "gzip", "deflate":
				list = append(list, word)
			case "br", "zstd":
				list = append(list, word)
				wide++
			default:
				if slices.Contains(unsupported, word) {
					return nil, fmt.Errorf("%w %q is not supported", ErrEncoding, word)
				}
			}
		}
	}

	// Each br or zstd layer may take a window of memory.
	if len(list) > 2 || wide > 1 {
		return nil, fmt.Errorf("%w %q: too many layers", ErrEncoding, strings.Join(list, ", "))
	}
	slices.Reverse(list)
	return list, nil
}

// heldBody is a body that was read whole before it was handed out.
type heldBody struct {
	r    *bytes.Reader
	body *body
	once sync.Once
}

// Read reads decoded bytes.
func (h *heldBody) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if err != nil {
		h.deliver()
	}
	return n, err
}

// Close ends the body.
func (h *heldBody) Close() error {
	h.deliver()
	return nil
}

func (h *heldBody) deliver() {
	h.once.Do(func() {
		if !h.body.dropped {
			h.body.deliver(nil)
		}
	})
}

// dropTimeout is how long the rest of a body may stay out that nobody wants.
const dropTimeout = time.Second

// drop closes the body of an answer that is not handed out, after a little of
// it was read, so that the connection can be used again.
func drop(res *http.Response) {
	switch b := res.Body.(type) {
	case *body:
		b.dropped = true
	case *heldBody:
		b.body.dropped = true
	}
	late := time.AfterFunc(dropTimeout, func() { _ = res.Body.Close() }) // ends a Read
	defer late.Stop()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // whatever happens, it is closed
	_ = res.Body.Close()
}

// body is an answer's body: decoded, bounded, and the end of the exchange when
// it ends.
type body struct {
	x       *exchange
	wire    *wireReader
	raw     io.Closer
	codings []string // not yet set up
	src     io.Reader
	free    func()
	limit   int64
	status  int
	held    bool // read whole before it is a page
	dropped bool // no page: another attempt follows

	mu  sync.Mutex // Close may interrupt Read
	n   int64
	err error
}

// Read reads decoded bytes. Errors are *Error.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}

	if b.src == nil {
		if err := b.open(); err != nil {
			b.end(err)
			return 0, b.err
		}
	}

	if b.limit > 0 && int64(len(p)) > b.limit-b.n+1 {
		p = p[:b.limit-b.n+1]
	}
	n, err := b.src.Read(p)
	b.n += int64(n)

	if b.limit > 0 && b.n > b.limit {
		n -= int(b.n - b.limit)
		b.n = b.limit
		err = fmt.Errorf("%w: more than %d bytes decoded (Limits.MaxBodyBytes)", ErrBodyTooLarge, b.limit)
	}

	if err != nil {
		b.end(err)
	}
	return n, b.err
}

// end records how the body ended, and ends the exchange.
func (b *body) end(err error) {
	switch {
	case errors.Is(err, io.EOF):
		// What trails the last coding is read, so that the connection can serve
		// again.
		if b.wire.err == nil {
			_, _ = io.CopyN(io.Discard, b.wire, 4<<10)
		}
		b.err = io.EOF
	default:
		b.err = &Error{Op: opOf(b.x.req), URL: shownURL(b.x.req.URL), Err: fmt.Errorf("body: %w", b.cause(err))}
		_ = b.raw.Close() // the first error is the one to report
	}
	b.close()
}

// cause tells an error of the connection from one of a decoder.
func (b *body) cause(err error) error {
	switch {
	case errors.Is(err, ErrBodyTooLarge), errors.Is(err, ErrEncoding):
		return err
	case b.wire.err != nil && !errors.Is(b.wire.err, io.EOF):
		if errors.Is(b.wire.err, ErrBodyTooLarge) {
			return b.wire.err
		}
		return b.x.explain(b.wire.err)
	case len(b.codings) == 0:
		return err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("%w zstd: window larger than %d bytes (RFC 9659)", ErrEncoding, maxWindow)
	}
	return fmt.Errorf("%w %s: %w", ErrEncoding, b.codings[0], err)
}

// Close ends the body. What was not read is dropped with the connection.
func (b *body) Close() error {
	err := b.raw.Close() // first: it ends a Read that holds the lock
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil
	}
	b.err = &Error{Op: opOf(b.x.req), URL: shownURL(b.x.req.URL), Err: http.ErrBodyReadAfterClose}
	b.finish(nil)
	return err
}

func (b *body) close() {
	_ = b.raw.Close() // read to its end, or failed already
	err := b.err
	if errors.Is(err, io.EOF) {
		err = nil
	}
	b.finish(err)
}

// finish ends the exchange, and tells of the page if it is one.
func (b *body) finish(err error) {
	if b.free != nil {
		b.free()
	}
	b.x.finish(err)
	if !b.x.chain.robots && !b.dropped && !b.held {
		b.deliver(err)
	}
}

// deliver tells of the page.
func (b *body) deliver(err error) {
	b.x.client.delivered(b.x, Page{
		Status: b.status, Bytes: b.n, WireBytes: b.wire.n, Elapsed: time.Since(b.x.began), Agent: b.x.agent, Err: err,
	})
}

// open sets up the decoders.
func (b *body) open() error {
	b.src = b.wire
	for _, coding := range b.codings {
		in := bufio.NewReader(b.src)
		if _, err := in.Peek(1); errors.Is(err, io.EOF) {
			b.src = in // nothing at all, which some servers call gzip
			return nil
		}

		switch coding {
		case "gzip":
			r, err := newGzip(in)
			if err != nil {
				return err
			}
			b.src = r
		case "deflate":
			b.src = newDeflate(in)
		case "br":
			b.src = brotli.NewReader(in)
		case "zstd":
			r, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxWindow(maxWindow))
			if err != nil {
				return err
			}
			b.free, b.src = r.Close, &zstdReader{r: r}
		}
	}

	return nil
}

// gzipReader reads "gzip": members, one after another. What follows the last
// and is none is passed over, as browsers do.
type gzipReader struct {
	in *bufio.Reader
	r  *gzip.Reader
}

func newGzip(in *bufio.Reader) (*gzipReader, error) {
	r, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	r.Multistream(false)
	return &gzipReader{in: in, r: r}, nil
}

// Read reads decoded bytes.
func (g *gzipReader) Read(p []byte) (int, error) {
	for {
		n, err := g.r.Read(p)
		if !errors.Is(err, io.EOF) || n > 0 {
			if errors.Is(err, io.EOF) {
				err = nil // said again at the next Read
			}
			return n, err
		}

		head, peeked := g.in.Peek(3)
		if len(head) < 3 || head[0] != 0x1f || head[1] != 0x8b || head[2] != 8 {
			if peeked != nil && !errors.Is(peeked, io.EOF) {
				return 0, peeked
			}
			return 0, io.EOF
		}

		if g.r.Reset(g.in) != nil {
			return 0, io.EOF // no member, though it begins like one
		}
		g.r.Multistream(false)
	}
}

// zstdReader reads "zstd", and passes over what follows the last frame.
type zstdReader struct {
	r    io.Reader
	some bool
}

// Read reads decoded bytes.
func (z *zstdReader) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	if z.some && errors.Is(err, zstd.ErrMagicMismatch) {
		err = io.EOF
	}
	z.some = z.some || n > 0
	return n, err
}

// newDeflate reads "deflate", which is zlib (RFC 9110 §8.4.1.2) but raw DEFLATE
// from some servers.
func newDeflate(in *bufio.Reader) io.Reader {
	head, err := in.Peek(2)
	if err == nil && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		if r, err := zlib.NewReader(in); err == nil {
			return r
		}
	}
	return flate.NewReader(in)
}

// wireReader counts and bounds what comes over the wire.
type wireReader struct {
	r     io.Reader
	limit int64
	n     int64
	err   error
}

func (w *wireReader) Read(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.r.Read(p)
	w.n += int64(n)
	if w.limit > 0 && w.n > w.limit {
		n -= int(min(w.n-w.limit, int64(n)))
		err = fmt.Errorf("%w: more than %d bytes sent (Limits.MaxBodyBytes)", ErrBodyTooLarge, w.limit)
	}
	w.err = err
	return n, err
}
