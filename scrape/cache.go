package scrape

import (
	"context"
	"fmt"
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
