package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
)

// TestTorDies kills Tor in the middle of a run and expects the service to
// serve on, to say what is wrong, to reach nothing in any other way, and to
// read everything once Tor is back.
func TestTorDies(t *testing.T) {
	const pages = 100
	network := tornet.Shared(t)
	client := network.NewClient(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()

	shop := &shop{pages: pages, cents: map[int]int{}, reads: map[string]int{}, reached: make(chan struct{}), alarm: 20}
	site := network.ServeSite(t, shop)
	dir := t.TempDir()
	configure(t, dir, fmt.Sprintf(`
listen: 127.0.0.1:0
data_dir: data
site: {name: Lamps, url: "%s", every: 24h, workers: 4}
tor: {socks: "%s", control: "%s", password: "%s"}
scrape: {fallback: never, rotation: {every: 5}, retry: {base: 50ms}, host_limit: {per_second: -1}}
log: {file: {path: log/service.log}, console: {format: json}}
`, site.URL("mortal.test", "/"), client.SOCKSAddr, client.ControlAddr, client.Password))
	service := start(ctx, t, dir)

	select {
	case <-shop.reached:
	case <-ctx.Done():
		t.Fatal("the run does not begin")
	}
	client.Kill()
	if r := service.await(ctx, t, 1); r.Failures == 0 || r.Error == "" {
		t.Errorf("run %+v, want failures and a reason", r)
	}
	service.request(ctx, t, http.MethodGet, "/healthz")
	service.shows(ctx, t, "start Tor")

	if err := client.Start(ctx); err != nil {
		t.Fatal(err)
	}
	service.request(ctx, t, http.MethodPost, "/scrape")
	service.complete(ctx, t, 2, pages)

	if strangers := site.Strangers(); len(strangers) > 0 {
		t.Errorf("the site was reached from %v, which are no exits", strangers)
	}
	if queries := network.LocalQueries(); len(queries) > 0 {
		t.Errorf("the local resolver was asked: %v", queries)
	}
	if code := service.terminate(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
