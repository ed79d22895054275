package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth/authtest"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// Each request is one line with what an operator asks for, and nothing that
// is secret; what is asked for every few seconds is a debug line.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	f := start(t, &fixture{})
	const canary = "s3cr3t-canary"
	header := []string{
		"Authorization", "Bearer " + canary, "Cookie", "session=" + canary, "Referer", "https://x.example/?" + canary,
		"User-Agent", "tester/1 " + strings.Repeat("x", 1000), "X-Forwarded-For", "203.0.113.7",
		"Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
	for _, tt := range []struct {
		method, path, route, level string
		status                     float64
	}{
		{"GET", "/", "/", "DEBUG", 200},
		{"GET", "/nothing?token=" + canary, "/", "INFO", 404},
		{"GET", "/healthz", "/healthz", "DEBUG", 200},
		{"GET", "/metrics", "/metrics", "DEBUG", 200},
		{"GET", "/api/runs/17?access_token=" + canary, "/api/runs/{id}", "INFO", 404},
		{"GET", "/api/items?points=1", "/api/items", "INFO", 200},
		{"POST", "/scrape", "/scrape", "INFO", 202},
		{"DELETE", "/api/runs", "/api/", "INFO", 405},
	} {
		f.do(t, tt.method, tt.path, header...)
		path, _, _ := strings.Cut(tt.path, "?")
		var line map[string]any
		testenv.Eventually(t, func() error { // it comes after the answer
			if line = f.access.last(`"path":"`+path+`"`, `"method":"`+tt.method+`"`); line == nil {
				return errors.New("no line for " + path)
			}
			return nil
		})
		if line["level"] != tt.level || line["status"] != tt.status || line["route"] != tt.route || line["forwarded_for"] != "203.0.113.7" {
			t.Errorf("%s %s: line %v", tt.method, tt.path, line)
		}
		for _, key := range []string{"bytes", "duration", "remote"} {
			if line[key] == nil {
				t.Errorf("%s: the line has no %s", tt.path, key)
			}
		}
		if agent, _ := line["user_agent"].(string); len(agent) > 300 || !strings.HasPrefix(agent, "tester/1") {
			t.Errorf("%s: user agent of %d bytes", tt.path, len(agent))
		}
		if strings.Contains(fmt.Sprint(line), canary) {
			t.Errorf("a secret is in the access log: %v", line)
		}
	}
	if _, _, body := f.do(t, "GET", "/metrics"); !strings.Contains(body, `http_requests_total{route="/api/",method="other",code="405"} 1`) ||
		!strings.Contains(body, `http_request_duration_seconds_bucket{route="/api/items",le="10"} 1`) {
		t.Errorf("metrics:\n%s", body)
	}
	// A trace goes on from its header.
	if status, _, body := f.do(t, "POST", "/api/runs", header...); status != http.StatusAccepted || !strings.Contains(body, "4bf92f3577b34da6a3ce929d0e0e4736") {
		t.Errorf("%d %s", status, body)
	}
}

// With a provider, the page and the API are guarded, and the log says who it
// was; assets, probes and metrics are not.
func TestGuarded(t *testing.T) {
	t.Parallel()
	idp := authtest.Start(t)
	idp.Register("http://127.0.0.1:1/")
	guard, err := auth.New(auth.Options{
		Config:  auth.Config{Issuer: idp.Issuer(), Audience: "api", Scope: "watch", ClientID: authtest.PageClient},
		BaseURL: "http://127.0.0.1:1/",
		SignIn: func(w http.ResponseWriter, _ *http.Request, s auth.SignIn) {
			w.WriteHeader(s.Status)
			_, _ = io.WriteString(w, "sign in")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- guard.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	testenv.Eventually(t, func() error { return guard.Check(t.Context()) })
	f := start(t, &fixture{auth: guard, optional: errors.New("mail: no route to 10.0.0.7")})
	bearer := []string{"Authorization", "Bearer " + idp.Issue(t, authtest.Token{Audience: []string{"api"}, Scope: "watch"})}
	for _, tt := range []struct {
		method, path string
		header       []string
		status       int
	}{
		{"GET", "/", nil, 401},
		{"GET", "/", []string{"Accept", "text/html"}, 303},
		{"GET", "/", bearer, 401}, // a page wants a login
		{"GET", "/login", nil, 200},
		{"POST", "/scrape", nil, 401},
		{"GET", "/assets/none.css", nil, 404},
		{"GET", "/healthz", nil, 200},
		{"GET", "/readyz", nil, 200},
		{"GET", "/metrics", nil, 200},
		{"GET", "/api/runs", nil, 401},
		{"GET", "/api/nothing", nil, 401},
		{"POST", "/api/runs", nil, 401},
		{"GET", "/api/runs", bearer, 200},
		{"GET", "/api/nothing", bearer, 404},
		{"POST", "/api/runs", bearer, 202},
	} {
		if status, _, body := f.do(t, tt.method, tt.path, tt.header...); status != tt.status {
			t.Errorf("%s %s = %d %s, want %d", tt.method, tt.path, status, body, tt.status)
		}
	}
	// Not every proxy says that it is one, so nobody is told.
	if _, _, body := f.do(t, "GET", "/readyz"); strings.Contains(body, "10.0.0.7") || !strings.Contains(body, "mail") {
		t.Errorf("anybody is told: %s", body)
	}
	testenv.Eventually(t, func() error {
		if line := f.access.last(`"route":"/api/runs"`, `"status":202`); line["user"] != authtest.APIClient {
			return fmt.Errorf("line = %v", line)
		}
		return nil
	})
	if n := f.asked.Load(); n != 1 {
		t.Errorf("%d runs were asked for, want 1", n)
	}
}
