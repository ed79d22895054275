package azurekeyvault_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
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
	"github.com/svcblocks/svcblocks/config/azurekeyvault"
	"github.com/svcblocks/svcblocks/config/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ config.Resolver = (*azurekeyvault.Resolver)(nil)

const (
	canary   = "canary-7f3a-hunter2"
	vaultURL = "https://team.vault.azure.net"
	version  = "0123456789abcdef0123456789abcdef"
)

// service follows the REST API of Key Vault 7.4 and of managed identities.
type service struct {
	vault, identity *httptest.Server
	client          *http.Client

	mu        sync.Mutex
	calls     map[string]int
	valid     string // the token that is accepted
	issued    int
	lifetime  time.Duration
	challenge string
	busy      int // answers of 429 that are left
	identify  func(w http.ResponseWriter, r *http.Request) bool
}

func newService(t *testing.T) *service {
	s := &service{calls: map[string]int{}, lifetime: time.Hour, challenge: `Bearer authorization="https://login.microsoftonline.com/tenant", resource="https://vault.azure.net"`}
	s.vault = httptest.NewTLSServer(http.HandlerFunc(s.serveVault))
	s.identity = httptest.NewServer(http.HandlerFunc(s.serveIdentity))
	// Every name leads to the test's server: the vault keeps its own name.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // a test's own server
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if strings.HasPrefix(addr, "team.") {
			addr = s.vault.Listener.Addr().String()
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	s.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.vault.Close()
		s.identity.Close()
	})
	return s
}

func (s *service) resolver(t *testing.T, change func(o *azurekeyvault.Options)) *azurekeyvault.Resolver {
	t.Helper()
	o := azurekeyvault.Options{VaultURL: vaultURL, Client: s.client, IdentityEndpoint: s.identity.URL + "/msi/token", IdentityHeader: secret.New("header-" + canary)}
	if change != nil {
		change(&o)
	}
	r, err := azurekeyvault.New(&o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *service) count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[call]
}

func (s *service) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *service) serveIdentity(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls["token"]++
	if s.identify != nil && s.identify(w, r) {
		return
	}
	q := r.URL.Query()
	if r.Header.Get("X-IDENTITY-HEADER") != "header-"+canary || q.Get("resource") != "https://vault.azure.net" || q.Get("api-version") != "2019-08-01" {
		w.WriteHeader(400)
		fmt.Fprint(w, `{"error": "invalid_request", "error_description": "Identity not found"}`)
		return
	}
	s.issued++
	s.valid = fmt.Sprintf("token-%d-%s", s.issued, canary)
	fmt.Fprintf(w, `{"access_token": %q, "expires_on": "%d", "token_type": "Bearer"}`, s.valid, time.Now().Add(s.lifetime).Unix())
}

func (s *service) serveVault(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[r.URL.Path]++
	fail := func(status int, code, message, inner string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error": {"code": %q, "message": %q, "innererror": {"code": %q}}}`, code, message, inner)
	}
	switch {
	case r.URL.Query().Get("api-version") != "7.4" || r.Host != "team.vault.azure.net":
		fail(400, "BadParameter", "api-version", "")
		return
	case s.valid == "" || r.Header.Get("Authorization") != "Bearer "+s.valid:
		w.Header().Set("WWW-Authenticate", s.challenge)
		fail(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.", "")
		return
	case s.busy > 0:
		s.busy--
		w.Header().Set("Retry-After", "0")
		fail(429, "Throttled", "Request was not processed because too many requests were received.", "")
		return
	}
	exp := time.Now().Add(24 * time.Hour).Unix()
	switch strings.TrimPrefix(r.URL.Path, "/secrets/") {
	case "mail-password":
		fmt.Fprintf(w, `{"value": %q, "id": "x", "attributes": {"enabled": true}}`, canary)
	case "mail-password/" + version:
		fmt.Fprint(w, `{"value": "old", "attributes": {"enabled": true}}`)
	case "leased":
		fmt.Fprintf(w, `{"value": "v", "attributes": {"enabled": true, "exp": %d}}`, exp)
	case "json":
		fmt.Fprint(w, `{"value": "{\"user\": \"u\", \"port\": 25}", "attributes": {}}`)
	case "off":
		fail(403, "Forbidden", "Operation get is not allowed on a disabled secret.", "SecretDisabled")
	case "off-quietly":
		fmt.Fprint(w, `{"value": "v", "attributes": {"enabled": false}}`)
	case "denied":
		fail(403, "Forbidden", "The user, group or application does not have secrets get permission.", "AccessDenied")
	case "moved":
		http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
	case "garbage":
		_, _ = io.WriteString(w, "<html>")
	default:
		fail(404, "SecretNotFound", "A secret with (name/id) x was not found in this key vault.", "")
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	s := newService(t)
	r := s.resolver(t, nil)
	s.set(func() { s.busy = 2 })
	for _, tc := range []struct {
		path, key, want string
		leased          bool
	}{
		{"mail-password", "", canary, false},
		{"/mail-password/" + version, "", "old", false},
		{"leased", "", "v", true},
		{"json", "user", "u", false},
		{"json", "port", "25", false},
	} {
		got, lease, err := r.Resolve(t.Context(), tc.path, tc.key)
		if err != nil || got != tc.want || (lease > 23*time.Hour) != tc.leased {
			t.Errorf("%s#%s = %q for %v, %v; want %q", tc.path, tc.key, got, lease, err, tc.want)
		}
	}
	if n := s.count("token"); n != 1 {
		t.Errorf("%d tokens were taken, want 1", n)
	}
	// A token that is no longer good is replaced once.
	s.set(func() { s.valid = "revoked" })
	if _, _, err := r.Resolve(t.Context(), "mail-password", ""); err != nil || s.count("token") != 2 {
		t.Errorf("with a revoked token: %v after %d tokens", err, s.count("token"))
	}
	s.set(func() {
		s.identify = func(w http.ResponseWriter, _ *http.Request) bool {
			fmt.Fprintf(w, `{"access_token": "never good", "expires_on": %d}`, time.Now().Add(time.Hour).Unix())
			return true
		}
		s.valid = "revoked"
	})
	var failed *azurekeyvault.Error
	if _, _, err := r.Resolve(t.Context(), "mail-password", ""); !errors.As(err, &failed) || failed.StatusCode != 401 || s.count("token") != 3 {
		t.Errorf("with tokens that are refused: %v after %d tokens", err, s.count("token"))
	}
}

func TestResolveErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, path, key, want string
		is                    error
		change                func(o *azurekeyvault.Options)
		prepare               func(s *service)
	}{
		{name: "missing", path: "none", want: "azurekeyvault: read none: status 404: not found: SecretNotFound", is: azurekeyvault.ErrNotFound},
		{name: "disabled", path: "off", want: "the secret is disabled", is: azurekeyvault.ErrDisabled},
		{name: "disabled in its attributes", path: "off-quietly", want: "azurekeyvault: read off-quietly: the secret is disabled", is: azurekeyvault.ErrDisabled},
		{name: "denied", path: "denied", want: "AccessDenied", is: azurekeyvault.ErrForbidden},
		{name: "redirect", path: "moved", want: "status 302"},
		{name: "garbage", path: "garbage", want: "not the JSON that was expected"},
		{name: "name", path: "a/b", want: "want the name of a secret"},
		{name: "no object", path: "mail-password", key: "x", want: "the value is no JSON object"},
		{name: "no key", path: "json", key: "x", want: "there are: port, user", is: azurekeyvault.ErrNotFound},
		{name: "busy", path: "json", want: "status 429: Throttled", prepare: func(s *service) { s.busy = 100 }},
		{
			name: "foreign challenge", path: "json", want: "not of the vault's domain",
			prepare: func(s *service) { s.challenge = `Bearer resource="https://evil.example"` },
		},
		{
			name: "challenge of a longer name", path: "json", want: "not of the vault's domain",
			prepare: func(s *service) { s.challenge = `Bearer resource="https://m.vault.azure.net"` },
		},
		{name: "no challenge", path: "json", want: "asks for no bearer token", prepare: func(s *service) { s.challenge = "Basic" }},
		{
			name: "no identity", path: "json", want: "azurekeyvault: get token: azurekeyvault: get token from managed identity: status 400: invalid_request: Identity not found",
			change: func(o *azurekeyvault.Options) { o.IdentityHeader = secret.New("other-" + canary) },
		},
		{
			name: "token function", path: "json", want: "azurekeyvault: get token: no credential", is: context.DeadlineExceeded,
			change: func(o *azurekeyvault.Options) {
				o.Token = func(context.Context, string) (string, time.Time, error) {
					return "", time.Time{}, fmt.Errorf("no credential: %w", context.DeadlineExceeded)
				}
			},
		},
		{
			name: "empty token", path: "json", want: "gave no token",
			change: func(o *azurekeyvault.Options) {
				o.Token = func(context.Context, string) (string, time.Time, error) { return "", time.Time{}, nil }
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			if tc.prepare != nil {
				tc.prepare(s)
			}
			r := s.resolver(t, func(o *azurekeyvault.Options) {
				o.Retry.Attempts = 1
				if tc.change != nil {
					tc.change(o)
				}
			})
			value, _, err := r.Resolve(t.Context(), tc.path, tc.key)
			if err == nil || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) || value != "" {
				t.Errorf("value %q, error %v\nwant one with %q", value, err, tc.want)
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "hunter2") {
				t.Errorf("the error shows a secret: %+v", err)
			}
		})
	}
}

func TestTokenFunction(t *testing.T) {
	t.Parallel()
	s := newService(t)
	var resources []string
	r := s.resolver(t, func(o *azurekeyvault.Options) {
		o.Token = func(_ context.Context, resource string) (string, time.Time, error) {
			resources = append(resources, resource)
			s.set(func() { s.valid = "own" })
			return "own", time.Now().Add(30 * time.Second), nil // too short to be kept
		}
	})
	for range 2 {
		if got, _, err := r.Resolve(t.Context(), "mail-password", ""); err != nil || got != canary {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if len(resources) == 0 || resources[0] != "https://vault.azure.net" {
		t.Errorf("tokens were asked for %v", resources)
	}
}

func TestConcurrentCallsShareToken(t *testing.T) {
	t.Parallel()
	s := newService(t)
	r := s.resolver(t, nil)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, _, err := r.Resolve(t.Context(), "mail-password", ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.count("token"); n != 1 {
		t.Errorf("%d tokens were taken, want 1", n)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]*azurekeyvault.Options{
		"VaultURL is empty":                    nil,
		"VaultURL is no https URL":             {VaultURL: "http://team.vault.azure.net"},
		"VaultURL has more than":               {VaultURL: "https://team.vault.azure.net/secrets/x"},
		"IdentityEndpoint is no http or https": {VaultURL: vaultURL, IdentityEndpoint: "localhost"},
	} {
		if _, err := azurekeyvault.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// TestTokenFile: a token that another process renews in a file is read again.
func TestTokenFile(t *testing.T) {
	t.Parallel()
	s := newService(t)
	path := filepath.Join(t.TempDir(), "token")
	give := func(token string) {
		if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := s.resolver(t, func(o *azurekeyvault.Options) { o.TokenFile = path })
	for _, token := range []string{"first", "second\n"} {
		give(token)
		s.set(func() { s.valid = strings.TrimSpace(token) })
		if got, _, err := r.Resolve(t.Context(), "mail-password", ""); err != nil || got != canary {
			t.Errorf("with %q: got %q, %v", token, got, err)
		}
	}
	give("two tokens")
	s.set(func() { s.valid = "third" })
	if _, _, err := r.Resolve(t.Context(), "mail-password", ""); err == nil || !strings.Contains(err.Error(), "does not hold one token") || strings.Contains(err.Error(), "two") {
		t.Errorf("error %v", err)
	}

	_, err := azurekeyvault.New(&azurekeyvault.Options{
		VaultURL: vaultURL, TokenFile: path,
		Token: func(context.Context, string) (string, time.Time, error) { return "", time.Time{}, nil },
	})
	if err == nil || !strings.Contains(err.Error(), "Token and TokenFile are set") {
		t.Errorf("error %v", err)
	}
}
