package trace

import (
	"context"
	"iter"
	"net/http"
	"sync"
)

// Fetcher fetches pages with the header in each request. Make no use of it
// where requests must not be known to belong together: see [Transport].
type Fetcher struct {
	// Client makes the requests.
	Client *http.Client
}

// NewFetcher returns a Fetcher over a copy of client.
func NewFetcher(client *http.Client) *Fetcher {
	traced := *client
	traced.Transport = Transport{Next: client.Transport}
	return &Fetcher{Client: &traced}
}

// Each fetches each of urls from up to workers goroutines, and calls fn with
// the answer, whose body it closes. It stops when fn returns an error.
func (f *Fetcher) Each(ctx context.Context, urls iter.Seq[string], workers int, fn func(url string, res *http.Response, err error) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	jobs := make(chan string)

	var wg sync.WaitGroup
	for range max(1, workers) {
		wg.Go(func() {
			for address := range jobs {
				if err := f.one(ctx, address, fn); err != nil {
					stop(err)
				}
			}
		})
	}

feed:
	for address := range urls {
		select {
		case jobs <- address:
		case <-ctx.Done():
			break feed
		}
	}

	close(jobs)
	wg.Wait()
	return context.Cause(ctx)
}

func (f *Fetcher) one(ctx context.Context, address string, fn func(string, *http.Response, error) error) error {
	if context.Cause(ctx) != nil {
		return nil // another worker's fn has failed
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fn(address, nil, err)
	}
	res, err := f.Client.Do(req)
	if err != nil {
		return fn(address, nil, err)
	}
	defer func() { _ = res.Body.Close() }() // what fn wanted of it, it has read
	return fn(address, res, nil)
}
