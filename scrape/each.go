package scrape

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"sync"
	"sync/atomic"
)

// Each fetches many pages with the given number of workers, at least 1, and
// calls fn once for each URL with its answer or its error, in the workers and
// so concurrently; the order is that of completion. It closes the body when fn
// returns. The first error that fn returns stops it: requests under way are
// cancelled, fn is not called for them, and Each returns that error. If ctx
// ends, fn is called with its error for what was under way, and Each returns
// it. urls is drawn from by the calling goroutine, one URL ahead of the workers
// at most. A panic of fn is passed on to the caller of Each.
func (c *Client) Each(ctx context.Context, urls iter.Seq[string], workers int, fn func(url string, res *http.Response, err error) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var (
		jobs     = make(chan string)
		wg       sync.WaitGroup
		once     sync.Once
		failure  error
		panicked any
		stopped  atomic.Bool
	)
	end := func(err error, value any) {
		once.Do(func() { failure, panicked = err, value })
		stopped.Store(true)
		stop(err)
	}
	one := func(address string) {
		res, err := c.Get(ctx, address)
		if res != nil {
			defer func() { _ = res.Body.Close() }() // what fn wanted of it, it has read
		}
		if stopped.Load() {
			return
		}
		returned := false
		defer func() {
			if !returned {
				end(errEachEnded, recover())
			}
		}()
		err = fn(address, res, err)
		returned = true
		if err != nil {
			end(err, nil)
		}
	}
	for range max(1, workers) {
		wg.Go(func() {
			for address := range jobs {
				one(address)
			}
		})
	}
	func() {
		defer close(jobs) // urls may panic
		for address := range urls {
			select {
			case jobs <- address:
			case <-ctx.Done():
				return
			}
		}
	}()
	wg.Wait()
	if panicked != nil {
		panic(panicked)
	}
	if failure != nil {
		return failure
	}
	if ctx.Err() != nil {
		return fmt.Errorf("scrape: each: %w", context.Cause(ctx))
	}
	return nil
}

// errEachEnded stands for a panic, and for runtime.Goexit.
var errEachEnded = errors.New("scrape: each: the function ended its goroutine")
