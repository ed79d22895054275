package scrape

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// Cache answers requests from what it has stored, by the rules of RFC 9111.
// Package scrape/diskcache has one; the rules are the implementation's, so that
// who uses none pays for none. It keeps these:
//
//  1. RoundTrip returns an answer that is stored and may be used, without a
//     call of send, or what send returns. It calls send with req, perhaps with
//     If-None-Match and If-Modified-Since added, of which nothing else is taken,
//     and again without them if it cannot use what it got.
//  2. stored says that the answer's body is a stored one. Its Request is req,
//     or the one of the answer that confirmed it.
//  3. An answer of send may be stored once its body was read to the end without
//     an error. Its Request is what was sent: Vary is about that header. Its body
//     is decoded, so that Accept-Encoding needs no variants.
//  4. Answers that an identity's cookies or a caller's credentials had a part
//     in, and those with Set-Cookie, are not stored for others.
//  5. Errors of the store do not fail a request.
//  6. It is safe for concurrent use.
//
// It may also be a [CheckCache].
type Cache interface {
	RoundTrip(req *http.Request, send func(*http.Request) (*http.Response, error)) (res *http.Response, stored bool, err error)
}

// CheckCache is a [Cache] that tells whether it works. [Client.Check], OnError
// and Logger then tell of one that does not, as [ErrStuck].
type CheckCache interface {
	Cache
	// Check returns why an answer could not be stored, nil once another one was
	// or could be.
	Check(ctx context.Context) error
}

// maxUnsureAge is how old an answer over http may be that came through others.
const maxUnsureAge = "max-age=3600"

// conditions are the header fields that ask whether what is stored still holds.
var conditions = [...]string{"If-None-Match", "If-Modified-Since"}

// checkCache notes whether the cache works.
func (c *Client) checkCache(ctx context.Context) {
	if cache, ok := c.opts.Cache.(CheckCache); ok {
		c.health.Fail("cache", cache.Check(ctx)) // nil: it works
	}
}

// storedBody is the body of a stored answer; it tells of the page when it ends.
type storedBody struct {
	io.ReadCloser
	client *Client
	host   *host
	page   Page
	began  time.Time
	bytes  atomic.Int64
	told   atomic.Bool
}

// Read reads bytes of the page.
func (b *storedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes.Add(int64(n))
	if err != nil {
		b.tell()
	}
	return n, err
}

// Close ends the body.
func (b *storedBody) Close() error {
	b.tell()
	return b.ReadCloser.Close()
}

func (b *storedBody) tell() {
	if !b.told.CompareAndSwap(false, true) {
		return
	}
	c := b.client
	b.page.Bytes, b.page.Elapsed = b.bytes.Load(), time.Since(b.began)
	c.stats.pages.Add(1)
	c.stats.bytes.Add(b.page.Bytes)
	b.host.pages.Add(1)
	b.host.bytes.Add(b.page.Bytes)
	c.log.Debug("page from the cache", "url", b.page.URL, "status", b.page.Status, "bytes", b.page.Bytes)
	if c.opts.Hooks.OnPage != nil {
		c.opts.Hooks.OnPage(b.page)
	}
}
