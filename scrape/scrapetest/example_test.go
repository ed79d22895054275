package scrapetest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/scrapetest"
)

// One page of a site that answers every request with GOAWAY, which net/http's
// Transport repeats without end.
func ExampleTraps() {
	traps := scrapetest.Traps()
	i := slices.IndexFunc(traps, func(t scrapetest.Trap) bool { return t.Name == "GOAWAY" })
	site, err := traps[i].Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer site.Close()

	ctx, began := context.Background(), time.Now()
	client, err := scrape.New(ctx, &scrape.Options{
		Egress: scrape.Direct(),
		Allow:  []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		Robots: scrape.Robots{Ignore: true},
		Retry:  scrape.Retry{Attempts: 3, Base: time.Millisecond},
		TLS:    site.TLS,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	_, err = client.Get(ctx, site.URL)
	fmt.Println(errors.Is(err, scrape.ErrHangUp))

	report := func(site *scrapetest.TrapSite, seen scrapetest.Seen) {
		budget := scrapetest.Budget{Attempts: 3, PerSecond: 5}
		fmt.Println(seen.Requests, "requests,", budget.Check(traps[i], seen, http.MethodGet, 1, began))
	}
	report(site, site.Seen())
	// Output:
	// true
	// 3 requests, <nil>
}
