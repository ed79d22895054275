package vault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/config/vault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	_ config.Resolver = (*vault.Resolver)(nil)
	_ config.Expirer  = (*vault.Resolver)(nil)
)

const canary = "canary-7f3a-hunter2"

// server follows Vault's documented HTTP API as far as the resolver uses it.
type server struct {
	*httptest.Server
	t *testing.T

	mu        sync.Mutex
	calls     map[string]int // "METHOD path" → how often
	tokens    map[string]bool
	issued    int
	tokenTTL  int // seconds; of logins
	leaseTTL  int // seconds; of database credentials
	renewTTL  int // granted at a renewal; 0: as leaseTTL
	failRenew bool
	namespace string
	answer    func(w http.ResponseWriter, r *http.Request) bool // true: answered
}

func newServer(t *testing.T) *server {
	s := &server{t: t, calls: map[string]int{}, tokens: map[string]bool{"root": true}, tokenTTL: 3600, leaseTTL: 3600}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[call]
}

func (s *server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func fail(w http.ResponseWriter, status int, messages ...string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": append([]string{}, messages...)})
}

func reply(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	s.calls[r.Method+" "+path]++
	body, _ := io.ReadAll(r.Body)
	var in map[string]any
	_ = json.Unmarshal(body, &in)
	if s.answer != nil && s.answer(w, r) {
		return
	}
	if r.Header.Get("X-Vault-Request") != "true" || r.Header.Get("X-Vault-Namespace") != s.namespace {
		fail(w, 400, "headers")
		return
	}
	if s.login(w, path, in) {
		return
	}
	if !s.tokens[r.Header.Get("X-Vault-Token")] {
		fail(w, 403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n") // as Vault has it
		return
	}
	s.secrets(w, r, path)
}

func (s *server) login(w http.ResponseWriter, path string, in map[string]any) bool {
	switch path {
	case "auth/approle/login":
		if in["role_id"] != "role" || in["secret_id"] != canary {
			fail(w, 400, "invalid role or secret ID")
			return true
		}
	case "auth/k8s/login":
		if in["role"] != "app" || in["jwt"] != "jwt-"+canary {
			fail(w, 403, "permission denied")
			return true
		}
	default:
		return false
	}
	s.issued++
	token := fmt.Sprintf("t%d-%s", s.issued, canary)
	s.tokens[token] = true
	reply(w, map[string]any{"auth": map[string]any{"client_token": token, "lease_duration": s.tokenTTL, "renewable": true}})
	return true
}

func (s *server) secrets(w http.ResponseWriter, r *http.Request, path string) {
	switch path {
	case "auth/token/lookup-self":
		reply(w, map[string]any{"data": map[string]any{"ttl": 0, "renewable": false}})
	case "auth/token/renew-self":
		reply(w, map[string]any{"auth": map[string]any{"client_token": r.Header.Get("X-Vault-Token"), "lease_duration": s.tokenTTL, "renewable": true}})
	case "sys/leases/renew":
		if s.failRenew {
			fail(w, 400, "lease not found")
			return
		}
		granted := s.leaseTTL
		if s.renewTTL > 0 {
			granted = s.renewTTL
		}
		reply(w, map[string]any{"lease_id": "database/creds/app/1", "lease_duration": granted, "renewable": true})
	case "secret/data/mail":
		password := canary
		if v := r.URL.Query().Get("version"); v != "" {
			password = "version " + v
		}
		reply(w, map[string]any{"lease_duration": 0, "data": map[string]any{
			"data":     map[string]any{"password": password, "port": 25, "tls": true, "hosts": []string{"a"}, "none": nil},
			"metadata": map[string]any{"created_time": "2026-01-01T00:00:00Z", "version": 4, "deletion_time": "", "destroyed": false},
		}})
	case "secret/data/one word":
		reply(w, map[string]any{"data": map[string]any{"data": map[string]any{"only": "one"}, "metadata": map[string]any{"created_time": "x"}}})
	case "secret/data/gone":
		w.WriteHeader(404)
		reply(w, map[string]any{"data": map[string]any{"data": nil, "metadata": map[string]any{"deletion_time": "2026-02-03T04:05:06Z", "version": 2, "destroyed": false}}})
	case "secret/mail":
		w.WriteHeader(404)
		reply(w, map[string]any{"errors": []string{}, "warnings": []string{"Invalid path for a versioned K/V secrets engine. See the API docs"}})
	case "kv/mail":
		reply(w, map[string]any{"lease_duration": 2764800, "data": map[string]any{"password": canary}})
	case "kv/short":
		reply(w, map[string]any{"lease_duration": 30, "data": map[string]any{"password": canary, "ttl": "30s"}})
	case "kv/odd": // a version 1 secret with the names of version 2
		reply(w, map[string]any{"data": map[string]any{"data": "d", "metadata": "m"}})
	case "database/creds/app":
		s.issued++
		reply(w, map[string]any{
			"lease_id": fmt.Sprintf("database/creds/app/%d", s.issued), "lease_duration": s.leaseTTL, "renewable": true,
			"data": map[string]any{"username": fmt.Sprintf("u%d", s.issued), "password": fmt.Sprintf("p%d", s.issued)},
		})
	default:
		fail(w, 404)
	}
}

func (s *server) resolver(change func(o *vault.Options)) *vault.Resolver {
	s.t.Helper()
	o := vault.Options{Address: s.URL, Token: secret.New("root"), Client: s.Client()}
	if change != nil {
		change(&o)
	}
	r, err := vault.New(&o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.Client().CloseIdleConnections)
	return r
}

func TestResolve(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	r := s.resolver(nil)
	for _, tc := range []struct {
		path, key, want string
		lease           time.Duration
	}{
		{"secret/data/mail", "password", canary, 0},
		{"secret/data/mail", "port", "25", 0},
		{"secret/data/mail", "tls", "true", 0},
		{"secret/data/mail", "hosts", `["a"]`, 0},
		{"secret/data/mail?version=3", "password", "version 3", 0},
		{"secret/data/one word", "", "one", 0},
		{"/kv/mail", "password", canary, 0},
		{"kv/short", "password", canary, 30 * time.Second},
		{"kv/odd", "data", "d", 0},
	} {
		got, lease, err := r.Resolve(t.Context(), tc.path, tc.key)
		if err != nil || got != tc.want || lease != tc.lease {
			t.Errorf("%s#%s = %q for %v, %v; want %q for %v", tc.path, tc.key, got, lease, err, tc.want, tc.lease)
		}
	}
	if n := s.count("GET auth/token/lookup-self"); n != 1 {
		t.Errorf("asked %d times for the token's life, want once", n)
	}
}

func TestResolveErrors(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, tc := range []struct {
		name, path, key, want string
		is                    error
		change                func(o *vault.Options)
		answer                func(w http.ResponseWriter, r *http.Request) bool
	}{
		{name: "missing", path: "secret/data/none", key: "x", want: "vault: read secret/data/none: status 404: not found", is: vault.ErrNotFound},
		{name: "deleted version", path: "secret/data/gone", key: "x", want: "version 2 is deleted at 2026-02-03T04:05:06Z", is: vault.ErrNotFound},
		{name: "path of version 1", path: "secret/mail", key: "x", want: "write secret/data/mail", is: vault.ErrNotFound},
		{name: "missing key", path: "secret/data/mail", key: "pasword", want: `not found: no key "pasword"; there are: hosts, none, password`, is: vault.ErrNotFound},
		{name: "no key", path: "secret/data/mail", want: "the secret has 5 keys; add # and one of them"},
		{name: "null", path: "secret/data/mail", key: "none", want: "is null"},
		{name: "bad version", path: "secret/data/mail?v=1", key: "x", want: "after ? stands version="},
		{
			name: "wrong token", path: "secret/data/mail", key: "password", want: "status 403: permission denied: 2 errors occurred: * permission denied * invalid token", is: vault.ErrForbidden,
			change: func(o *vault.Options) { o.Token = secret.New("not-" + canary) },
		},
		{
			name: "wrong secret id", path: "secret/data/mail", key: "password", want: "vault: login auth/approle/login: status 400: invalid role or secret ID",
			change: func(o *vault.Options) {
				o.Token, o.AppRole = secret.Secret{}, vault.AppRole{RoleID: "role", SecretID: secret.New("x" + canary)}
			},
		},
		{
			name: "no token file", path: "secret/data/mail", key: "password", want: "vault: read token: open /nonexistent", is: os.ErrNotExist,
			change: func(o *vault.Options) { o.Token, o.TokenFile = secret.Secret{}, "/nonexistent" },
		},
		{
			name: "sealed", path: "x", key: "x", want: "status 503: server is sealed or unavailable: Vault is sealed", is: vault.ErrSealed,
			answer: func(w http.ResponseWriter, _ *http.Request) bool { fail(w, 503, "Vault is sealed"); return true },
		},
		{
			name: "no JSON", path: "x", key: "x", want: "the answer is no JSON",
			answer: func(w http.ResponseWriter, _ *http.Request) bool { _, _ = io.WriteString(w, "<html>"); return true },
		},
		{
			name: "no data", path: "x", key: "x", want: "the answer holds no secret",
			answer: func(w http.ResponseWriter, _ *http.Request) bool { reply(w, map[string]any{}); return true },
		},
		{
			name: "endless", path: "x", key: "x", want: "larger than 4194304 bytes",
			answer: func(w http.ResponseWriter, _ *http.Request) bool {
				for range 5 << 10 {
					_, _ = w.Write(make([]byte, 1<<10))
				}
				return true
			},
		},
		{
			name: "redirects without end", path: "x", key: "x", want: "is not followed: there were 2 before it",
			answer: func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
				return true
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.set(func() { s.answer = tc.answer })
			r := s.resolver(func(o *vault.Options) {
				o.Retry.Attempts = 1
				if tc.change != nil {
					tc.change(o)
				}
			})
			value, _, err := r.Resolve(t.Context(), tc.path, tc.key)
			if err == nil || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) || value != "" {
				t.Errorf("value %q, error %v\nwant one with %q", value, err, tc.want)
			}
			if err != nil && strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "hunter2") {
				t.Errorf("the error shows a secret: %+v", err)
			}
		})
	}
}

func TestRetriesWhileSealed(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	left := 2
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/mail") && left > 0 {
			left--
			w.Header().Set("Retry-After", "0")
			fail(w, []int{503, 429}[left], "not now")
			return true
		}
		return false
	}
	if got, _, err := s.resolver(nil).Resolve(t.Context(), "secret/data/mail", "password"); err != nil || got != canary {
		t.Errorf("got %q, %v", got, err)
	}
	if n := s.count("GET secret/data/mail"); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

func TestHang(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(hang.Close)
	t.Cleanup(func() { close(stop) })
	r, err := vault.New(&vault.Options{Address: hang.URL, Token: secret.New("x"), Timeout: 50 * time.Millisecond, Retry: vault.Retry{Attempts: 1}, Client: hang.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Resolve(t.Context(), "secret/data/x", "y"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 50ms") {
		t.Errorf("error %v, want the timeout", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("shutting down"))
	if _, _, err := r.Resolve(ctx, "secret/data/x", "y"); err == nil || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("error %v, want the cause of the context's end", err)
	}
}

func TestRedirectToActiveNode(t *testing.T) {
	t.Parallel()
	active := newServer(t)
	active.namespace = "team"
	standby := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, active.URL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	}))
	t.Cleanup(standby.Close)
	r := active.resolver(func(o *vault.Options) { o.Address, o.Namespace = standby.URL, "team" })
	if _, _, err := r.Resolve(t.Context(), "secret/data/mail", "password"); err == nil || !strings.Contains(err.Error(), "RedirectHosts") {
		t.Errorf("error %v: the token goes to a host that nobody listed", err)
	}
	if n := active.count("GET secret/data/mail"); n != 0 {
		t.Errorf("%d requests with the token at a host that nobody listed", n)
	}

	r = active.resolver(func(o *vault.Options) {
		o.Address, o.Namespace, o.Token = standby.URL, "team", secret.Secret{}
		o.RedirectHosts = []string{strings.TrimPrefix(active.URL, "http://")}
		o.AppRole = vault.AppRole{RoleID: "role", SecretID: secret.New(canary)}
	})
	if got, lease, err := r.Resolve(t.Context(), "secret/data/mail", "password"); err != nil || got != canary || lease != 0 {
		t.Errorf("got %q for %v, %v; want it without a lease", got, lease, err)
	}
	if left := time.Until(r.Expires()); left > time.Hour || left < time.Hour-time.Minute {
		t.Errorf("the access ends in %v, want the token's hour", left)
	}
}

func TestLogins(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	jwt := filepath.Join(t.TempDir(), "jwt")
	token := filepath.Join(t.TempDir(), "token")
	for path, content := range map[string]string{jwt: "jwt-" + canary + "\n", token: "root\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(o *vault.Options){
		"approle":    func(o *vault.Options) { o.AppRole = vault.AppRole{RoleID: "role", SecretID: secret.New(canary)} },
		"kubernetes": func(o *vault.Options) { o.Kubernetes = vault.Kubernetes{Mount: "k8s", Role: "app", TokenFile: jwt} },
		"token file": func(o *vault.Options) { o.TokenFile = token },
	} {
		r := s.resolver(func(o *vault.Options) { o.Token = secret.Secret{}; change(o) })
		if got, _, err := r.Resolve(t.Context(), "secret/data/mail", "password"); err != nil || got != canary {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	// A login whose token was revoked is made again, once.
	r := s.resolver(func(o *vault.Options) {
		o.Token, o.AppRole = secret.Secret{}, vault.AppRole{RoleID: "role", SecretID: secret.New(canary)}
	})
	for range 2 {
		if _, _, err := r.Resolve(t.Context(), "secret/data/mail", "password"); err != nil {
			t.Error(err)
		}
		s.set(func() { clear(s.tokens) })
	}
	if n := s.count("POST auth/approle/login"); n != 3 {
		t.Errorf("%d logins by approle, want 3", n)
	}
}

// TestLeasedCredentials reads two keys of one lease through a running store
// until the lease was renewed, could not be renewed, and was replaced.
func TestLeasedCredentials(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.leaseTTL = 4 // leaves a busy machine more than a second for each renewal
	type settings struct {
		User     string
		Password secret.Secret
	}
	path := filepath.Join(t.TempDir(), "s.yaml")
	if err := os.WriteFile(path, []byte("user: ref+vault://database/creds/app#username\npassword: ref+vault://database/creds/app#password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := config.Load(t.Context(), settings{}, config.File(path), config.Resolve("vault", s.resolver(nil)))
	if err != nil {
		t.Fatal(err)
	}
	first := store.Get()
	if first.User != "u1" || first.Password.Reveal() != "p1" {
		t.Fatalf("settings %s %s, want u1 p1 of one lease", first.User, first.Password.Reveal())
	}
	changed := make(chan settings, 10)
	stop := config.OnChange(store, func(v *settings) settings { return *v }, func(_, now settings) { changed <- now })
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx) }()
	deadline := time.After(30 * time.Second)
	for s.count("PUT sys/leases/renew") < 2 {
		select {
		case v := <-changed:
			t.Fatalf("a renewed lease changed the settings to %s", v.User)
		case <-deadline:
			t.Fatal("the lease was not renewed twice")
		case <-time.After(10 * time.Millisecond):
		}
	}
	if n := s.count("GET database/creds/app"); n != 1 {
		t.Errorf("credentials were read %d times while their lease was renewed", n)
	}
	s.set(func() { s.failRenew = true })
	before := s.count("PUT sys/leases/renew")
	select {
	case now := <-changed:
		if now.User[1:] != now.Password.Reveal()[1:] || now.User == "u1" {
			t.Errorf("got %s with %s: not of one new lease", now.User, now.Password.Reveal())
		}
	case <-deadline:
		t.Fatal("no new credentials after a failed renewal")
	}
	if n := s.count("PUT sys/leases/renew") - before; n > 2 {
		t.Errorf("%d renew calls for one lease, want at most 2", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRenewCallsAreBounded asks all the time while the server refuses.
func TestRenewCallsAreBounded(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.leaseTTL, s.tokenTTL = 3600, 1
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/v1/auth/token/renew-self") {
			fail(w, 500, "internal error")
			return true
		}
		return false
	}
	r := s.resolver(func(o *vault.Options) {
		o.Retry.Attempts, o.Token = 1, secret.Secret{}
		o.AppRole = vault.AppRole{RoleID: "role", SecretID: secret.New(canary)}
	})
	end := time.Now().Add(1500 * time.Millisecond) // past the token's end
	for time.Now().Before(end) {
		if _, _, err := r.Resolve(t.Context(), "secret/data/mail", "password"); err != nil {
			t.Fatal(err)
		}
	}
	logins, renewals := s.count("POST auth/approle/login"), s.count("POST auth/token/renew-self")
	if renewals > 2*logins || logins > 4 {
		t.Errorf("%d renewals of %d tokens, want at most 2 of each", renewals, logins)
	}
}

// TestOutage keeps the last value while the server is away.
func TestOutage(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	type settings struct{ Password secret.Secret }
	path := filepath.Join(t.TempDir(), "s.yaml")
	if err := os.WriteFile(path, []byte("password: ref+vault://secret/data/mail#password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := config.Load(t.Context(), settings{}, config.File(path),
		config.Resolve("vault", s.resolver(func(o *vault.Options) { o.Retry.Attempts = 1 })))
	if err != nil {
		t.Fatal(err)
	}
	s.set(func() {
		s.answer = func(w http.ResponseWriter, _ *http.Request) bool { fail(w, 503, "Vault is sealed"); return true }
	})
	if err := store.Refresh(t.Context()); !errors.Is(err, vault.ErrSealed) {
		t.Errorf("Refresh: %v, want ErrSealed", err)
	}
	refs := store.Stats().References
	if store.Get().Password.Reveal() != canary || len(refs) != 1 || !errors.Is(refs[0].Err, vault.ErrSealed) {
		t.Errorf("references %+v", refs)
	}
	if err := store.Reload(t.Context()); err != nil {
		t.Errorf("a reload during the outage: %v", err)
	}
	s.set(func() { s.answer = nil })
	if err := store.Refresh(t.Context()); err != nil || store.Stats().References[0].Err != nil {
		t.Errorf("after the outage: %v, %v", err, store.Stats().References[0].Err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	_, err := vault.New(&vault.Options{Address: "vault:8200", Token: secret.New("a b"), TokenFile: "x"})
	for _, want := range []string{`scheme "vault" is neither http nor https`, "2 ways to log in are set", "Token holds white space"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	plain := vault.Options{Address: "http://vault.internal:8200", Token: secret.New(canary)}
	if _, err := vault.New(&plain); err == nil || !strings.Contains(err.Error(), "AllowPlainHTTP") || strings.Contains(err.Error(), canary) {
		t.Errorf("a token over http off this machine: %v", err)
	}
	plain.AllowPlainHTTP = true
	if _, err := vault.New(&plain); err != nil {
		t.Error(err)
	}
	if _, err := vault.New(nil); err == nil || !strings.Contains(err.Error(), "Address is empty") {
		t.Errorf("nil options: %v", err)
	}
	type settings struct{ Vault vault.Options }
	store, err := config.Load(t.Context(), settings{}, config.Env("APP"), config.Source("env", envLike{
		"vault": map[string]any{"address": "https://v", "token": canary, "app_role": map[string]any{"role_id": "r"}, "timeout": "3s"},
	}, nil))
	if err != nil {
		t.Fatal(err)
	}
	if o := store.Get().Vault; o.Address != "https://v" || o.Token.Reveal() != canary || o.AppRole.RoleID != "r" || o.Timeout != 3*time.Second {
		t.Errorf("options %+v", o)
	}
}

type envLike map[string]any

func (e envLike) Read() (map[string]any, error) { return e, nil }
func (envLike) ReadBytes() ([]byte, error)      { return nil, errors.New("no bytes") }

// TestTokenIsKept: a secret without a lease is asked for before the token ends,
// which renews it, with RefreshEvery off too.
func TestTokenIsKept(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.tokenTTL = 6 // 2 s remain from the renewal to the end, also on a busy machine
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "lookup-self") {
			reply(w, map[string]any{"data": map[string]any{"ttl": 6, "renewable": true}})
			return true
		}
		return false
	}
	store := s.store(s.resolver(nil), config.RefreshEvery(-1))
	if at := store.Stats().References[0].ExpiresAt; !at.IsZero() {
		t.Errorf("the secret is said to end with the token, at %v", at)
	}
	follow(t, store)
	deadline := time.After(time.Minute)
	for s.count("POST auth/token/renew-self") < 2 {
		select {
		case <-deadline:
			t.Fatal("the token was not renewed twice")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestRotation changes secrets without a lease where they are kept: a running
// store sees them each RefreshEvery, however long its token lives.
func TestRotation(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(password string) any{
		"version 2": func(password string) any {
			return map[string]any{"data": map[string]any{"data": map[string]any{"password": password}, "metadata": map[string]any{"created_time": "2026-01-01T00:00:00Z"}}}
		},
		"version 1": func(password string) any {
			return map[string]any{"lease_duration": 2764800, "data": map[string]any{"password": password}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			password := "old"
			s.answer = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/v1/secret/data/mail" {
					reply(w, answer(password))
					return true
				}
				return false
			}
			store := s.store(s.resolver(func(o *vault.Options) {
				o.Token, o.AppRole = secret.Secret{}, vault.AppRole{RoleID: "role", SecretID: secret.New(canary)}
			}), config.RefreshEvery(time.Second))
			changed := make(chan string, 1)
			config.OnChange(store, func(v *held) secret.Secret { return v.Password }, func(_, now secret.Secret) { changed <- now.Reveal() })
			follow(t, store)

			s.set(func() { password = "new" })
			select {
			case got := <-changed:
				if got != "new" {
					t.Errorf("the password is %q", got)
				}
			case <-time.After(30 * time.Second):
				t.Error("the new password was not seen")
			}
		})
	}
}

// held are settings with one secret of the server's.
type held struct{ Password secret.Secret }

func (s *server) store(r *vault.Resolver, opts ...config.Option) *config.Store[held] {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "s.yaml")
	if err := os.WriteFile(path, []byte("password: ref+vault://secret/data/mail#password\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	store, err := config.Load(s.t.Context(), held{}, append(opts, config.File(path), config.Resolve("vault", r))...)
	if err != nil {
		s.t.Fatal(err)
	}
	return store
}

// follow runs the store until the end of the test.
func follow(t *testing.T, store *config.Store[held]) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
