package scrape_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/useragent"
)

// crawl fetches b.N pages of 10,240 bytes with the given number of workers and
// checks that each is whole.
func crawl(b *testing.B, workers int, fetch func(url string) (*http.Response, error)) {
	b.Helper()
	page := []byte(strings.Repeat("0123456789abcdef", 640))
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(page) // the client reads it all
	}))
	defer site.Close()
	jobs := make(chan struct{}, workers)
	var wg sync.WaitGroup
	b.ResetTimer()
	for range workers {
		wg.Go(func() {
			for range jobs {
				res, err := fetch(site.URL)
				if err != nil {
					b.Error(err)
					continue
				}
				n, err := io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if err != nil || n != int64(len(page)) {
					b.Errorf("%d bytes, %v", n, err)
				}
			}
		})
	}
	for range b.N {
		jobs <- struct{}{}
	}
	close(jobs)
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pages/s")
}

// BenchmarkPages compares a client with net/http that sends the same header.
func BenchmarkPages(b *testing.B) {
	for _, workers := range []int{32, 64} {
		b.Run(fmt.Sprintf("workers=%d/impl=nethttp", workers), func(b *testing.B) {
			transport := &http.Transport{MaxIdleConnsPerHost: 256}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			pool := useragent.Builtin()
			headers := map[string]http.Header{}
			for _, s := range pool.Agents() {
				a, _ := useragent.Parse(s)
				headers[s] = a.Header(true)
			}
			crawl(b, workers, func(url string) (*http.Response, error) {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
				if err != nil {
					return nil, err
				}
				req.Header = headers[pool.GetRandom()]
				return client.Do(req)
			})
		})
		b.Run(fmt.Sprintf("workers=%d/impl=ours", workers), func(b *testing.B) {
			opts := options(scrape.Direct())
			opts.Rotation.Every = -1
			c := newClient(b, opts)
			crawl(b, workers, func(url string) (*http.Response, error) { return c.Get(b.Context(), url) })
		})
	}
}

// BenchmarkTorRotation fetches 10 KB pages through the private Tor network: with
// one identity, with a new one every 25 pages, and by NEWNYM every 25 pages.
// They take turns of 100 pages, so that what else the machine does falls on all
// alike. Run it with -benchtime 10x at least, each of which is one turn.
func BenchmarkTorRotation(b *testing.B) {
	network := tornet.Shared(b)
	page := []byte(strings.Repeat("0123456789abcdef", 640))
	site := network.ServeSite(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(page) // the client reads it all
	}))
	const turn = 100
	urls := func(yield func(string) bool) {
		for range turn {
			if !yield(site.URL("bench.test", "/")) {
				return
			}
		}
	}
	impls := []struct {
		name     string
		rotation scrape.Rotation
	}{
		{"none", scrape.Rotation{Every: -1, MaxAge: -1}},
		{"isolation", scrape.Rotation{Every: 25}},
		{"newnym", scrape.Rotation{Every: 25, By: scrape.NewNym}},
	}
	for _, workers := range []int{1, 8, 16, 32} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			impls := impls
			if workers > 1 { // NEWNYM takes its 10 s, however many wait for it
				impls = impls[:2]
			}
			took := make([]time.Duration, len(impls))
			clients := make([]*scrape.Client, len(impls))
			for i, impl := range impls {
				opts := options(dialTor(b, network.Client))
				opts.Rotation = impl.rotation
				clients[i] = newClient(b, opts)
			}
			for n := range b.N + 1 {
				for k := range impls {
					i := (n + k) % len(impls)
					began := time.Now()
					err := clients[i].Each(b.Context(), urls, workers, func(_ string, res *http.Response, err error) error {
						if err != nil {
							return err
						}
						n, err := io.Copy(io.Discard, res.Body)
						if err == nil && n != int64(len(page)) {
							err = fmt.Errorf("%d bytes", n)
						}
						return err
					})
					if err != nil {
						b.Fatal(err)
					}
					if n > 0 { // the first turn builds the circuits
						took[i] += time.Since(began)
					}
				}
			}
			for i, impl := range impls {
				b.ReportMetric(turn*float64(b.N)/took[i].Seconds(), impl.name+"-pages/s")
			}
			b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "isolation/none")
			if len(took) > 2 {
				b.ReportMetric(took[2].Seconds()/took[1].Seconds(), "isolation/newnym")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
