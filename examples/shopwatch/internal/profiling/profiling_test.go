package profiling_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/profiling"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestListenRefuses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.com:0", "6060", "", "127.0.0.1", "[::ffff:192.0.2.1]:0", "127.0.0.1.example:0", "0:0",
	} {
		if s, err := profiling.Listen(t.Context(), address); err == nil {
			t.Errorf("%q was taken: %s", address, s.Addr())
			_ = s.Close()
		}
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	s, err := profiling.Listen(t.Context(), "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for _, tt := range []struct {
		path, host, origin string
		status             int
		text               string
	}{
		{"/debug/pprof/", "", "", 200, "goroutine"},
		{"/debug/pprof/heap?debug=1", "", "", 200, "heap profile"},
		{"/debug/pprof/goroutine?debug=1", "", "", 200, "goroutine profile"},
		{"/debug/pprof/allocs?gc=1", "", "", 200, ""},
		{"/debug/pprof/profile?seconds=1", "", "", 200, ""},
		{"/debug/pprof/profile?seconds=x", "", "", 400, "from 1 to 300"},
		{"/debug/pprof/nothing", "", "", 404, "no such profile"},
		{"/", "", "", 404, ""},
		{"/debug/pprof/", "evil.example", "", 403, "by its own name"},
		{"/debug/pprof/", "", "https://evil.example", 403, "by its own name"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tt.host
		if tt.origin != "" {
			req.Header.Set("Origin", tt.origin)
		}
		res, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != tt.status || !strings.Contains(string(body), tt.text) {
			t.Errorf("%s for %q: %s %v", tt.path, tt.host, res.Status, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
