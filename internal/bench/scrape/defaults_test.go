package scrape_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/bench"
	"github.com/svcblocks/svcblocks/scrape"
)

// turn is how many pages each client fetches before the next one's turn.
const turn = 1000

// fetchTurn fetches pages with so many workers, and reads them to the end.
func fetchTurn(url string, workers int, get func(url string) (*http.Response, error)) error {
	var drawn atomic.Int64
	results := make(chan error, workers)
	for range workers {
		go func() {
			results <- func() error {
				for n := drawn.Add(1); n <= turn; n = drawn.Add(1) {
					res, err := get(url + strconv.FormatInt(n, 10))
					if err != nil {
						return err
					}
					err = read(res)
					_ = res.Body.Close()
					if err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}

	var errs []error
	for range workers {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

// BenchmarkDefaults compares a client with default options, but for the host's
// limit, with net/http that sends the same header.
func BenchmarkDefaults(b *testing.B) {
	s := startSite(b)
	header, url := headerOfOurs(b, s), s.url+"/page/"
	client := func(b *testing.B) *scrape.Client {
		c, err := scrape.New(b.Context(), &scrape.Options{
			Egress:     scrape.Direct(),
			Allow:      []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
			UserAgents: chrome,
			HostLimit:  scrape.HostLimit{PerSecond: -1, InFlight: -1},
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Close() })
		return c
	}

	for _, workers := range []int{8, 32, 64} {
		netHTTP := func(b *testing.B) func() error {
			transport := &http.Transport{MaxIdleConnsPerHost: workers, DisableCompression: true}
			b.Cleanup(transport.CloseIdleConnections)
			c := &http.Client{Transport: transport, Timeout: time.Minute}
			return func() error {
				return fetchTurn(url, workers, func(url string) (*http.Response, error) {
					req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
					if err != nil {
						return nil, err
					}
					maps.Copy(req.Header, header)
					return c.Do(req)
				})
			}
		}
		get := func(b *testing.B) func() error {
			c := client(b)
			return func() error {
				return fetchTurn(url, workers, func(url string) (*http.Response, error) { return c.Get(context.Background(), url) })
			}
		}
		each := func(b *testing.B) func() error {
			c := client(b)
			return func() error {
				urls := func(yield func(string) bool) {
					for n := range turn {
						if !yield(url + strconv.Itoa(n+1)) {
							return
						}
					}
				}
				return c.Each(context.Background(), urls, workers, func(_ string, res *http.Response, err error) error {
					if err != nil {
						return err
					}
					return read(res)
				})
			}
		}

		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			bench.Alternate(b, 40, turn, "pages/s",
				bench.Stepper{Name: "net-http", Start: netHTTP}, bench.Stepper{Name: "get", Start: get}, bench.Stepper{Name: "each", Start: each})
		})
	}
}
