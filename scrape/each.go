package scrape

import (
	"context"
	"iter"
	"net/http"
)

// maxWaiting is how many pages may wait for their hosts in memory: Each takes no
// more, Crawl has the others in its journal.
const maxWaiting = 10_000

// Each fetches many pages with the given number of workers, at least 1, and
// calls fn once for each URL with its answer or its error, in the workers and
// so concurrently; the order is that of completion. It closes the body when fn
// returns. A host that waits, by HostLimit, Crawl-delay or Retry-After, keeps no
// worker from the others: up to 10,000 URLs of such hosts are put aside.
//
// The first error that fn returns stops it: requests under way are cancelled, fn
// is not called for them, and Each returns that error. If ctx ends, fn is called
// with its error for what was under way, and Each returns it, even while urls
// does not yield; the goroutine that draws from urls then ends when it does. A
// URL is drawn when a worker has nothing to do. A panic of fn or urls is passed
// on to the caller of Each. To follow links, use [Client.Crawl].
func (c *Client) Each(ctx context.Context, urls iter.Seq[string], workers int, fn func(url string, res *http.Response, err error) error) error {
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
		if !k.front.room(ctx, maxWaiting) {
			return
		}
		for address := range urls {
			u, err := parseAddress(address)
			if err != nil {
				u = nil
			}
			k.front.push(&item{request: Request{URL: address}, bad: err}, u)
			if !k.front.room(ctx, maxWaiting) {
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
