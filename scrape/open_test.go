package scrape_test

import (
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
)

// TestConnectionsAreOpenedInAdvance: with several workers the next identity
// has connected when it takes over, with one it has not.
func TestConnectionsAreOpenedInAdvance(t *testing.T) {
	t.Parallel()
	for name, workers := range map[string]int{"one worker": 1, "four workers": 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := sockstest.Start(t)
			const every = 40
			connected := func(user string) bool {
				return slices.ContainsFunc(proxy.Requests(), func(r sockstest.Request) bool { return r.Command == 1 && r.User == user })
			}
			var mu sync.Mutex
			arrived, together := 0, make(chan struct{})
			site := newSite(t, func(_ http.ResponseWriter, r *http.Request) {
				mu.Lock()
				arrived++
				n := arrived
				if n == workers {
					close(together)
				}
				mu.Unlock()
				if n <= workers { // so that there are as many connections
					<-together
				}
				// The last requests of the identity, one of each worker, wait until the
				// next has connected.
				if workers > 1 && n > every-workers && n <= every {
					testenv.Eventually(t, func() error {
						if len(proxy.Users()) < 2 {
							return errors.New("the next identity has not connected")
						}
						return nil
					})
				}
			})
			opts := options(scrape.SOCKS(proxy.Addr))
			opts.Rotation.Every = every
			var early []bool
			opts.Hooks.OnRotate = func(old, next scrape.Identity) {
				if old.Number != 0 {
					early = append(early, connected(next.Isolation))
				}
			}
			c := newClient(t, opts)
			urls := func(yield func(string) bool) {
				for range every + 1 {
					if !yield(site.URL) {
						return
					}
				}
			}
			if err := c.Each(t.Context(), urls, workers, func(_ string, _ *http.Response, err error) error { return err }); err != nil {
				t.Fatal(err)
			}
			if len(early) != 1 || early[0] != (workers > 1) {
				t.Errorf("connected before it took over: %v, want %v", early, workers > 1)
			}
		})
	}
}
