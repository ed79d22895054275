package scrape_test

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
	"github.com/svcblocks/svcblocks/scrape"
)

// TestTorFewExits has two usable exits where Distinct would want three others:
// everything is served, changes are cheap, and it is said once. In soak mode it
// runs five times, beside two loops that keep the processors busy.
func TestTorFewExits(t *testing.T) {
	network := tornet.Shared(t)
	plain := network.ServeSite(t, http.HandlerFunc(source))
	securePort, config := secureSite(t, network, source)
	client := network.NewClient(t, &tornet.ClientOptions{Torrc: fmt.Sprintf("ExitNodes %s,%s\nStrictNodes 1\n", network.Exits[0].Fingerprint, network.Exits[1].Fingerprint)})

	rounds, requests := 1, testenv.Reps(600)
	if testenv.Soak() {
		rounds = 5
		var stop atomic.Bool
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop.Store(true)
		for range 2 {
			wg.Go(func() {
				for !stop.Load() { // keeps the machine busy
				}
			})
		}
	}
	for round := range rounds {
		for name, address := range map[string]string{"http": plain.URL("shop.test", "/"), "http2": "https://example.com:" + strconv.Itoa(securePort) + "/"} {
			t.Run(fmt.Sprintf("%s %d", name, round), func(t *testing.T) {
				var log logBook
				opts := options(dialTor(t, client))
				opts.Allow, opts.TLS, opts.Logger = nil, config, log.logger()
				opts.Rotation = scrape.Rotation{Every: 10, Distinct: true}
				c := newClient(t, opts)
				for i := range requests {
					if status, body, err := get(t, c, address); err != nil || status != http.StatusOK {
						t.Fatalf("request %d: %d %q %v", i, status, body, err)
					}
				}
				s := c.Stats()
				perRotation := float64(s.Redraws)/float64(max(1, s.Rotations)) + 1
				t.Logf("%d served, %d rotations, %.1f circuits each", s.Pages, s.Rotations, perRotation)
				if s.Rotations < int64(requests/10-1) || perRotation > 8 {
					t.Errorf("%d rotations, %.1f circuits each; want %d, at most 8 each", s.Rotations, perRotation, requests/10-1)
				}
			})
		}
	}
}
