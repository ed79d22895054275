package scrape_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/tor"
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

// BenchmarkTorRotation fetches 10 KB pages through the private Tor network one
// after another: with one identity, with a new one every 25 pages, and by
// NEWNYM every 25 pages. Run it with -benchtime 150x at least.
func BenchmarkTorRotation(b *testing.B) {
	network := tornet.Shared(b)
	page := []byte(strings.Repeat("0123456789abcdef", 640))
	site := network.ServeSite(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(page) // the client reads it all
	}))
	for _, impl := range []struct {
		name     string
		rotation scrape.Rotation
	}{
		{"none", scrape.Rotation{Every: -1, MaxAge: -1}},
		{"isolation", scrape.Rotation{Every: 25}},
		{"newnym", scrape.Rotation{Every: 25, By: scrape.NewNym}},
	} {
		b.Run("impl="+impl.name, func(b *testing.B) {
			egress, err := tor.Dial(b.Context(), &tor.Options{SOCKS: network.Client.SOCKSAddr, Control: network.Client.ControlAddr, Password: secret.New(network.Client.Password)})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = egress.Close() }()
			opts := options(egress)
			opts.Rotation = impl.rotation
			c := newClient(b, opts)
			address := site.URL("bench.test", "/")
			b.ResetTimer()
			for range b.N {
				res, err := c.Get(b.Context(), address)
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if err != nil || n != int64(len(page)) {
					b.Fatalf("%d bytes, %v", n, err)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pages/s")
		})
	}
}
