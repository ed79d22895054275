package scrape_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
)

// placed is an egress that tells its exit, and where it is.
type placed struct{ scrape.Egress }

// Exit returns the exit of all.
func (placed) Exit(context.Context, string) (string, error) { return "exit1", nil }

// Where returns where it is.
func (placed) Where(_ context.Context, exit string) (address, country string, err error) {
	if exit != "exit1" {
		return "", "", fmt.Errorf("exit %q", exit)
	}
	return "203.0.113.9", "de", nil
}

func TestStatsTellWhereAnExitIs(t *testing.T) {
	t.Parallel()
	proxy := sockstest.Start(t)
	site := newSite(t, func(http.ResponseWriter, *http.Request) {})
	c := newClient(t, options(placed{scrape.SOCKS(proxy.Addr)}))
	for range 3 {
		if _, _, err := get(t, c, "http://shop.example.com:"+port(t, site)); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, func() error {
		s := c.Stats()
		if diff := cmp.Diff([]scrape.ExitCount{{Name: "exit1", Address: "203.0.113.9", Country: "de", Count: 3}}, s.Exits); diff != "" {
			return fmt.Errorf("Exits (-want +got):\n%s", diff)
		}
		if s.Identity.Exit != "exit1" || s.Identity.Address != "203.0.113.9" || s.Identity.Country != "de" {
			return fmt.Errorf("identity %+v", s.Identity)
		}
		return nil
	})
}
