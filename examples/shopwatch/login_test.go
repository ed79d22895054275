package main_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth/authtest"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

const (
	audience = "shop-watch-api"
	scope    = "watch"
)

// guarded starts the service with a provider that does not answer yet: it
// does once it is registered.
func (w *world) guarded(t *testing.T, idp *authtest.Provider, args ...string) *process {
	t.Helper()
	return w.start(t, append([]string{
		"-auth.issuer", idp.Issuer(), "-auth.audience", audience, "-auth.scope", scope, "-auth.client-id", authtest.PageClient,
	}, args...)...).awaitAddress()
}

// ask asks the API with a token, "" for none.
func (p *process) ask(method, path, token string) (status int, header http.Header, body string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(p.url, "/")+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Close = true
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

// The provider is away when the service starts: the API says so, the rest
// works, and 5 s after the provider is back the API does, too.
func TestProviderDownAtStart(t *testing.T) {
	t.Parallel()
	w, idp := newWorld(t), authtest.Start(t)
	p := w.guarded(t, idp)
	status, header, body := p.ask("GET", "/api/runs", "some.access.token")
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || !strings.Contains(body, "identity provider") {
		t.Errorf("the API without its provider: %d, Retry-After %q, %s", status, header.Get("Retry-After"), body)
	}
	for path, want := range map[string]int{"/healthz": 200, "/metrics": 200, "/login": 503, "/api/runs": 401} {
		if status, body := p.get(path); status != want {
			t.Errorf("%s without the provider: %d %s, want %d", path, status, body, want)
		}
	}
	w.awaitPages(t)                      // and it works on
	testenv.Eventually(t, func() error { // every part is asked first
		if status, body := p.get("/readyz"); status != http.StatusOK {
			return fmt.Errorf("readyz without the provider: %d %s", status, body)
		}
		return nil
	})
	testenv.Eventually(t, func() error {
		// With a login, errors are for who reads the log: the probe is open.
		if w.logs.holds(`"part does not work"`, `"login"`, "auth.issuer") == 0 {
			return errors.New("the log does not say what to do about the login")
		}
		_, body := p.get("/readyz")
		if strings.Contains(body, "auth.issuer") || strings.Contains(body, idp.Issuer()) {
			return fmt.Errorf("readyz shows the error to everybody: %s", body)
		}
		return nil
	})

	idp.Register(p.url)
	back := time.Now()
	token := idp.Issue(t, authtest.Token{Audience: []string{audience}, Scope: scope})
	testenv.EventuallyWithin(t, testenv.Within(5*time.Second, 20*time.Second), func() error {
		if status, _, body := p.ask("GET", "/api/runs", token); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	t.Logf("recovered after %v", time.Since(back).Round(time.Millisecond))
	if code, _ := p.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// awaitPages waits until a run has read pages.
func (w *world) awaitPages(t *testing.T) {
	t.Helper()
	testenv.Eventually(t, func() error {
		w.site.mu.Lock()
		defer w.site.mu.Unlock()
		if len(w.site.served) < w.site.pages {
			return fmt.Errorf("%d pages were read", len(w.site.served))
		}
		return nil
	})
}

// Each kind of token at the service as it is built. The table in
// internal/auth has more of them.
func TestTokens(t *testing.T) {
	t.Parallel()
	w, idp, stranger := newWorld(t), authtest.Start(t), authtest.Start(t)
	p := w.guarded(t, idp, "-auth.write-scope", "watch.run")
	idp.Register(p.url)
	stranger.Register(p.url)
	issue := func(audience, scope string, lifetime time.Duration) string {
		return idp.Issue(t, authtest.Token{Audience: []string{audience}, Scope: scope, Lifetime: lifetime})
	}
	good := issue(audience, scope, 0)
	testenv.Eventually(t, func() error {
		if status, _, body := p.ask("GET", "/api/runs", good); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(good, ".")[1] + "."
	for _, tt := range []struct {
		name, token string
		status      int
	}{
		{"none", "", 401},
		{"cut", good[:len(good)-10], 401},
		{"expired", issue(audience, scope, -time.Minute), 401},
		{"wrong audience", issue("another", scope, 0), 401},
		{"wrong issuer", stranger.Issue(t, authtest.Token{Audience: []string{audience}, Scope: scope}), 401},
		{"alg none", none, 401},
		{"wrong scope", issue(audience, "other", 0), 403},
		{"good", good, 200},
	} {
		for _, path := range []string{"/api/status", "/api/runs", "/api/runs/1", "/api/items", "/api/history?url=x"} {
			status, _, body := p.ask("GET", path, tt.token)
			if status != tt.status && (tt.status != 200 || status != 404) {
				t.Errorf("%s: %s = %d %s, want %d", tt.name, path, status, body, tt.status)
			}
		}
	}
	if status, _, body := p.ask("POST", "/api/runs", good); status != http.StatusForbidden {
		t.Errorf("a run with a token for reading: %d %s", status, body)
	}
	if status, _, body := p.ask("POST", "/api/runs", issue(audience, "watch.run", 0)); status != http.StatusAccepted {
		t.Errorf("a run with a token for that: %d %s", status, body)
	}
	idp.Rotate(t)
	if status, _, body := p.ask("GET", "/api/runs", issue(audience, scope, 0)); status != http.StatusOK {
		t.Errorf("after the key was rotated: %d %s", status, body)
	}
	if status, _, body := p.ask("GET", "/api/runs", good); status != http.StatusUnauthorized {
		t.Errorf("a token of the withdrawn key: %d %s", status, body)
	}
	if code, _ := p.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	stdout, stderr := p.output()
	for part := range strings.SplitSeq(good, ".") {
		if w.logs.holds(part) > 0 || strings.Contains(stdout+stderr, part) {
			t.Error("a part of a token is in the log")
		}
	}
}

// A trace goes from the request that asks for a run, over the log lines of
// that run, to the requests for pages, where the site is one's own.
func TestTrace(t *testing.T) {
	t.Parallel()
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	w := newWorld(t)
	seen := make(chan string, 1000)
	w.site.change(func() {
		w.site.special[2] = func(rw http.ResponseWriter, r *http.Request) {
			select {
			case seen <- r.Header.Get("Traceparent"):
			default:
			}
			http.NotFound(rw, r)
		}
	})
	p := w.start(t, "-site.trace", "-site.every", "-1s").awaitAddress()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"api/runs", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Traceparent", "00-"+id+"-00f067aa0ba902b7-01")
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	select {
	case got := <-seen:
		if !strings.HasPrefix(got, "00-"+id+"-") || strings.Contains(got, "00f067aa0ba902b7") {
			t.Errorf("the site got Traceparent %q", got)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no page was asked for")
	}
	testenv.Eventually(t, func() error {
		for _, line := range []string{`"run started"`, `"page read"`, `"run ended"`, `"msg":"request"`} {
			if w.logs.holds(line, id) == 0 {
				return fmt.Errorf("no line %s has the trace", line)
			}
		}
		return nil
	})
}

// Profiles are served on this machine's own address, where asked for.
func TestProfiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t, "-profiling.listen", "0.0.0.0:0")
	if code := p.wait(); code != 2 {
		t.Errorf("exit code %d with an address that others reach", code)
	}
	if _, stderr := p.output(); !strings.Contains(stderr, "profiling.listen") || !strings.Contains(stderr, "127.0.0.1") {
		t.Errorf("the error is %q", stderr)
	}
	p = w.start(t).awaitAddress()
	if status, _ := p.get("/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("the page serves profiles: %d", status)
	}
}
