package scrape_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
	"github.com/svcblocks/svcblocks/scrape"
)

// TestTorOnion fetches pages of an onion service, which has no exit, with
// Distinct.
func TestTorOnion(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) })
	dir := filepath.Join(t.TempDir(), "onion")
	network.NewClient(t, &tornet.ClientOptions{Torrc: "HiddenServiceDir " + dir + "\nHiddenServicePort 80 127.0.0.1:" + port(t, site) + "\n"})
	name, err := os.ReadFile(filepath.Join(dir, "hostname"))
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + strings.TrimSpace(string(name)) + "/"

	opts := options(dialTor(t, network.Client))
	opts.Allow = nil
	opts.Rotation = scrape.Rotation{Every: 5, Distinct: true}
	c := newClient(t, opts)
	testenv.EventuallyWithin(t, 3*time.Minute, func() error { // its descriptor has to be published first
		_, _, err := get(t, c, address)
		return err
	})
	for i := range 20 {
		if status, body, err := get(t, c, address); err != nil || status != http.StatusOK {
			t.Fatalf("request %d: %d %q %v", i, status, body, err)
		}
	}
	s := c.Stats()
	t.Logf("%d served, %d rotations, %d redraws, exits %+v", s.Pages, s.Rotations, s.Redraws, s.Exits)
	if s.Redraws > 0 || s.Rotations < 4 {
		t.Errorf("%d redraws and %d rotations; want none and at least 4", s.Redraws, s.Rotations)
	}
}
