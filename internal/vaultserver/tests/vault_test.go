package tests_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/config/vault"
)

func TestKeyValueVersions(t *testing.T) {
	t.Parallel()
	s := newServer(t,
		request("POST", "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}}),
		request("POST", "kv/mail", map[string]any{"password": "p1", "port": 25}),
		request("POST", "kv/odd", map[string]any{"data": "d", "metadata": "m"}),
		request("POST", "secret/data/mail", map[string]any{"data": map[string]any{"password": "first", "hosts": []string{"a", "b"}}}),
		request("POST", "secret/data/mail", map[string]any{"data": map[string]any{"password": "second", "hosts": []string{"a", "b"}}}),
		request("POST", "secret/data/team/one word", map[string]any{"data": map[string]any{"only": "one"}}),
		request("POST", "secret/data/gone", map[string]any{"data": map[string]any{"x": "1"}}),
		request("DELETE", "secret/data/gone", nil),
		request("POST", "secret/data/burnt", map[string]any{"data": map[string]any{"x": "1"}}),
		request("PUT", "secret/destroy/burnt", map[string]any{"versions": []int{1}}),
	)
	r := s.resolver(nil)
	for _, tc := range []struct {
		path, key, want string
		lease           time.Duration
	}{
		{"secret/data/mail", "password", "second", 0},
		{"secret/data/mail", "hosts", `["a","b"]`, 0},
		{"secret/data/mail?version=1", "password", "first", 0},
		{"secret/data/team/one word", "", "one", 0},
		{"kv/mail", "password", "p1", 0},
		{"kv/mail", "port", "25", 0},
		{"kv/odd", "data", "d", 0},
	} {
		got, lease, err := r.Resolve(t.Context(), tc.path, tc.key)
		if err != nil || got != tc.want || lease != tc.lease {
			t.Errorf("%s#%s = %q for %v, %v; want %q for %v", tc.path, tc.key, got, lease, err, tc.want, tc.lease)
		}
	}
	for _, tc := range []struct{ path, key, want string }{
		{"secret/data/none", "x", "status 404: not found"},
		{"secret/data/gone", "x", "version 1 is deleted at 20"},
		{"secret/data/burnt", "x", "version 1 is destroyed"},
		{"secret/data/mail?version=9", "password", "status 404: not found"},
		{"secret/mail", "password", "a KV version 2 engine: write secret/data/mail"},
		{"nomount/mail", "password", "status 404: not found: no handler for route"},
		{"secret/data/mail", "pasword", `not found: no key "pasword"; there are: hosts, password`},
	} {
		if _, _, err := r.Resolve(t.Context(), tc.path, tc.key); !errors.Is(err, vault.ErrNotFound) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s#%s: error %v\nwant ErrNotFound with %q", tc.path, tc.key, err, tc.want)
		}
	}
}

// TestNamespace: an edition without namespaces takes no notice of the header.
func TestNamespace(t *testing.T) {
	t.Parallel()
	s := newServer(t, request("POST", "secret/data/mail", map[string]any{"data": map[string]any{"password": "p"}}))
	r := s.resolver(func(o *vault.Options) { o.Namespace = "team" })
	if got, _, err := r.Resolve(t.Context(), "secret/data/mail", "password"); err != nil || got != "p" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	s := newServer(t, request("POST", "secret/data/mail", map[string]any{"data": map[string]any{"password": "canary-p"}}))
	powerless, _ := s.token("1h", map[string]any{"policies": []string{"default"}})
	for name, token := range map[string]string{"no token of the server": "hvs.canary", "no policy": powerless} {
		_, _, err := s.resolver(func(o *vault.Options) { o.Token = secret.New(token) }).Resolve(t.Context(), "secret/data/mail", "password")
		var failed *vault.Error
		if !errors.Is(err, vault.ErrForbidden) || !errors.As(err, &failed) || failed.Temporary() {
			t.Errorf("%s: error %v, want a lasting ErrForbidden", name, err)
		}
		if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, "canary") || strings.Contains(text, token) {
			t.Errorf("%s: the error shows a secret: %s", name, text)
		}
	}
}
