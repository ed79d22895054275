package scrape

import (
	"context"
	"iter"
	"net/http"
)

// maxWaiting is how many pages may wait for their hosts in memory: Each takes no
// more, Crawl has the others in its journal.
const maxWaiting = 10_000

// each is a crawl without discovery, see [Client.Each].
func each(ctx context.Context, c *Client, urls iter.Seq[string], workers int, fn func(url string, res *http.Response, err error) error) error {
	k := newCrawl(c, CrawlOptions{MaxPause: c.opts.Retry.Max}, func(v *Visit) error {
		return fn(v.Request.URL, v.Response, v.Err)
	})
	k.each = true
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	panicked := make(chan any, 1)
	go func() {
		defer k.front.noMore()
		defer func() {
			if value := recover(); value != nil {
				panicked <- value
				cancel()
			}
		}()

		// What is drawn is fetched: the caller may stop by yielding no more.
		if !k.front.room(ctx) {
			return
		}
		for address := range urls {
			u, err := parseAddress(address)
			if err != nil {
				u = nil
			}
			k.front.push(&item{request: Request{URL: address}, url: u, bad: err}, u)
			if !k.front.room(ctx) {
				return
			}
		}
	}()

	err := k.run(ctx, workers)
	select {
	case value := <-panicked:
		panic(value)
	default:
	}

	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return &Error{Op: "each", Err: context.Cause(ctx)}
	}
	return nil
}
