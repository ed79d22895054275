package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/health"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/server"
	"github.com/svcblocks/svcblocks/internal/safehttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fixture struct {
	srv      *server.Server
	client   *http.Client
	history  *history.Store
	required error
	optional error
	asked    atomic.Int64
	held     bool
	silent   bool // a part that does not answer
	auth     *auth.Auth
	hosts    *safehttp.Hosts
	access   lines // of the access log
}

// lines are log lines in JSON.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(p))
	return len(p), nil
}

// last returns the last line with all of parts.
func (l *lines) last(parts ...string) map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range slices.Backward(l.text) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		var out map[string]any
		if all && json.Unmarshal([]byte(line), &out) == nil {
			return out
		}
	}
	return nil
}

// start serves until the test ends.
func start(t *testing.T, f *fixture) *fixture {
	t.Helper()
	var err error
	if f.history, err = history.Open(filepath.Join(t.TempDir(), "history.db"), history.Options{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	monitor := health.New([]health.Check{
		{Name: "history", Required: true, Func: func(ctx context.Context) error {
			if f.silent {
				<-ctx.Done()
			}
			return f.required
		}, Advice: func(error) string { return "free some space" }},
		{Name: "mail", Func: func(context.Context) error { return f.optional }},
	}, health.Options{})
	monitored, served := make(chan error, 1), make(chan error, 1)
	go func() { monitored <- monitor.Run(ctx) }()
	if !f.silent {
		<-monitor.Asked()
	}
	l, err := server.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.srv = server.New(l, server.Options{
		Hosts: f.hosts,
		Page: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				http.NotFound(w, r)
				return
			}
			_, _ = io.WriteString(w, "the page")
		}),
		Trigger: func(context.Context, string) bool { f.asked.Add(1); return !f.held },
		Status:  func(context.Context) any { return map[string]string{"name": "the service"} },
		Health:  monitor, History: f.history,
		Metrics: func(w io.Writer) { _, _ = io.WriteString(w, "runs_total 3\n") },
		Auth:    f.auth, Access: slog.New(slog.NewJSONHandler(&f.access, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	go func() { served <- f.srv.Serve() }()
	transport := &http.Transport{}
	f.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := f.srv.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-monitored; err != nil {
			t.Error(err)
		}
		if err := f.history.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) do(t *testing.T, method, path string, header ...string) (status int, h http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(f.srv.URL(), "/")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	f := start(t, &fixture{optional: errors.New("mail: connection refused")})
	r, err := f.history.Begin("start")
	if err != nil {
		t.Fatal(err)
	}
	page := history.Page{URL: &url.URL{Scheme: "https", Host: "shop.example"}, Items: []extract.Item{{
		Name: "Mug", URL: "https://shop.example/mug", Price: extract.Price{Cents: 100, Currency: "EUR"},
	}}}
	if _, _, err := f.history.Put(r.ID, page); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, path string
		header       []string
		status       int
		want         string
	}{
		{"GET", "/", nil, 200, "the page"},
		{"GET", "/nothing", nil, 404, ""},
		{"GET", "/healthz", nil, 200, `"status": "ok"`},
		{"GET", "/readyz", nil, 200, `"status": "degraded"`},
		{"GET", "/readyz", nil, 200, `"error": "mail: connection refused"`},
		{"GET", "/metrics", nil, 200, "runs_total 3\n"},
		{"GET", "/api/runs", nil, 200, `"status": "running"`},
		{"GET", "/api/runs?n=0", nil, 200, `[]`},
		{"GET", "/api/runs?n=-1", nil, 400, "n must be a number from 0 to 1000"},
		{"GET", "/api/items", nil, 200, `"first_seen"`},
		{"GET", "/api/items?points=x", nil, 400, "points must be a number"},
		{"GET", "/api/status", nil, 200, `"name": "the service"`},
		{"GET", "/api/runs/1", nil, 200, `"changes": []`},
		{"GET", "/api/runs/2", nil, 404, "there is no run 2"},
		{"GET", "/api/runs/one", nil, 400, "number"},
		{"GET", "/api/history", nil, 400, "which item"},
		{"GET", "/api/history?url=https://shop.example/mug", nil, 200, `"cents": 100`},
		{"GET", "/api/history?url=https://shop.example/cup", nil, 404, "no item"},
		{"GET", "/api/nothing", nil, 404, "/api/items"},
		{"GET", "/api/", nil, 404, "/api/items"},
		{"DELETE", "/api/runs", nil, 405, "ask with GET or POST"},
		{"POST", "/api/items", nil, 405, "ask with GET"},
		{"POST", "/api/runs", nil, 202, `"trace_id": "`},
		{"POST", "/api/runs", []string{"Sec-Fetch-Site", "cross-site"}, 403, ""},
		{"GET", "/scrape", nil, 404, ""}, // the page's handler knows no such path
		{"POST", "/scrape", nil, 202, `"status": "asked"`},
		{"POST", "/scrape", []string{"Accept", "text/html,*/*"}, 303, ""},
		{"POST", "/scrape", []string{"Sec-Fetch-Site", "cross-site"}, 403, ""},
		{"POST", "/scrape", []string{"Origin", "https://evil.example"}, 403, ""},
	} {
		status, header, body := f.do(t, tt.method, tt.path, tt.header...)
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s = %d %q, want %d with %q", tt.method, tt.path, status, body, tt.status, tt.want)
		}
		if status == http.StatusSeeOther && header.Get("Location") != "./" {
			t.Errorf("a form is sent to %q", header.Get("Location"))
		}
		if strings.HasPrefix(tt.path, "/api/") && status != 403 && !json.Valid([]byte(body)) {
			t.Errorf("%s is no JSON: %s", tt.path, body)
		}
	}
	if n := f.asked.Load(); n != 3 {
		t.Errorf("asked for %d runs, want 3", n)
	}
}

func TestScrapeAskedAlready(t *testing.T) {
	t.Parallel()
	f := start(t, &fixture{held: true})
	if status, _, body := f.do(t, "POST", "/scrape"); status != http.StatusAccepted || !strings.Contains(body, "asked already") {
		t.Errorf("%d %s", status, body)
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	f := start(t, &fixture{required: errors.New("disk full")})
	status, _, body := f.do(t, "GET", "/readyz")
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "disk full") || !strings.Contains(body, "free some space") {
		t.Errorf("%d %s", status, body)
	}
}

func TestNotAskedYet(t *testing.T) {
	t.Parallel()
	f := start(t, &fixture{silent: true})
	status, _, body := f.do(t, "GET", "/readyz")
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "not asked yet") {
		t.Errorf("%d %s", status, body)
	}
}

func TestStopping(t *testing.T) {
	t.Parallel()
	f := start(t, &fixture{})
	f.srv.Stopping()
	if status, _, body := f.do(t, "GET", "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "stopping") {
		t.Errorf("readyz: %d %s", status, body)
	}
	for _, path := range []string{"/scrape", "/api/runs"} {
		if status, _, _ := f.do(t, "POST", path); status != http.StatusServiceUnavailable || f.asked.Load() != 0 {
			t.Errorf("%s: %d, asked %d", path, status, f.asked.Load())
		}
	}
	if status, _, _ := f.do(t, "GET", "/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d", status)
	}
}

func TestHistoryTrouble(t *testing.T) {
	t.Parallel()
	f := start(t, &fixture{})
	if err := f.history.Close(); err != nil {
		t.Fatal(err)
	}
	if status, _, body := f.do(t, "GET", "/api/items"); status != http.StatusInternalServerError || !strings.Contains(body, "the log says why") {
		t.Errorf("%d %s", status, body)
	}
}

func TestListenErrors(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, err = server.Listen(t.Context(), l.Addr().String())
	if !errors.Is(err, server.ErrInUse) || !strings.Contains(err.Error(), "-listen") {
		t.Errorf("error = %v, want ErrInUse with advice", err)
	}
	if _, err = server.Listen(t.Context(), "no port"); err == nil || !strings.Contains(err.Error(), "host:port") {
		t.Errorf("error = %v, want advice", err)
	}
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"127.0.0.1:80": "http://127.0.0.1:80/", "[::]:81": "http://127.0.0.1:81/", "0.0.0.0:82": "http://127.0.0.1:82/",
		":83": "http://127.0.0.1:83/", "[::1]:84": "http://[::1]:84/", "localhost:85": "http://localhost:85/",
	} {
		if got := server.BaseURL(addr); got != want {
			t.Errorf("BaseURL(%s) = %s, want %s", addr, got, want)
		}
	}
}
