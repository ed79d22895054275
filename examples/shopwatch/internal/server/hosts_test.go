package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/safehttp"
)

// A page whose name its owner turned to this machine, which sends just what the
// service's own page would, reads and starts nothing.
func TestRebinding(t *testing.T) {
	t.Parallel()
	hosts, err := safehttp.NewHosts("server.hosts", "https://watch.example/", "service:8080")
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, &fixture{hosts: hosts})
	for _, tt := range []struct{ method, path string }{
		{"GET", "/"},
		{"GET", "/assets/x"},
		{"GET", "/api/status"},
		{"GET", "/api/runs"},
		{"GET", "/api/items"},
		{"GET", "/readyz"},
		{"GET", "/healthz"},
		{"GET", "/metrics"},
		{"POST", "/api/runs"},
		{"POST", "/scrape"},
		{"GET", "/login"},
		{"GET", "/none"},
	} {
		for host, allowed := range map[string]bool{
			"rebind.attacker.example": false, "127.0.0.1.attacker.example:80": false,
			"watch.example": true, "service:8080": true, "127.0.0.1": true, "10.2.3.4:8080": true, "localhost:80": true,
		} {
			before := f.asked.Load()
			status, _, body := f.do(t, tt.method, tt.path, "Host", host, "Origin", "http://"+host, "Sec-Fetch-Site", "same-origin")
			if refused := status == http.StatusMisdirectedRequest; refused == allowed {
				t.Errorf("%s %s by %s: %d %s", tt.method, tt.path, host, status, body)
			}
			if !allowed && (!strings.Contains(body, "server.hosts") || f.asked.Load() != before) {
				t.Errorf("%s %s by %s says %q; runs asked for: %d", tt.method, tt.path, host, body, f.asked.Load()-before)
			}
		}
	}
	if f.asked.Load() == 0 {
		t.Error("no run was asked for by a good name")
	}
}
