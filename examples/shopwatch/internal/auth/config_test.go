package auth_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		config auth.Config
		want   []string // empty: valid
	}{
		{"nothing", auth.Config{}, nil},
		{"api alone", auth.Config{Issuer: "https://id.example", Audience: "api"}, nil},
		{"page alone", auth.Config{Issuer: "http://127.0.0.1:1/realm", ClientID: "page"}, nil},
		{"no issuer", auth.Config{ClientID: "page"}, []string{"auth.issuer"}},
		{"all wrong", auth.Config{
			Issuer: "http://id.example", Scope: "a b", WriteScope: `x"`, Users: []string{""}, Clients: []string{""},
			SessionKey: secret.New("hunter2"), Session: time.Second,
		}, []string{"auth.issuer", "https", "auth.audience", "auth.scope", "auth.write_scope", "auth.users", "auth.clients", "auth.session_key", "auth.session "}},
		{"a password", auth.Config{Issuer: "https://user:hunter2@id.example", Audience: "api"}, []string{"user or password"}},
		{"a query", auth.Config{Issuer: "https://id.example?x=1", Audience: "api"}, []string{"no query"}},
	} {
		err := tt.config.Validate()
		if (err == nil) != (len(tt.want) == 0) {
			t.Errorf("%s: error = %v", tt.name, err)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error lacks %q:\n%v", tt.name, want, err)
			}
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: a secret shows:\n%v", tt.name, err)
		}
	}
	if _, err := auth.New(auth.Options{}); err == nil || !strings.Contains(err.Error(), "Issuer") || !strings.Contains(err.Error(), "BaseURL") {
		t.Errorf("New without anything = %v", err)
	}
	if _, err := auth.New(auth.Options{Config: auth.Config{Issuer: "https://id.example", ClientID: "page"}, BaseURL: "http://127.0.0.1:1"}); err == nil || !strings.Contains(err.Error(), "SignIn") {
		t.Errorf("New without SignIn = %v", err)
	}
}

// Without a client of its own the page is open, and there is no login.
func TestAPIAlone(t *testing.T) {
	t.Parallel()
	f := start(t, func(o *auth.Options) { o.ClientID, o.SignIn = "", nil }).run(t).ready(t)
	for path, want := range map[string]int{"/": 200, "/login": 404, "/api/runs": 401} {
		if a := f.do(t, http.MethodGet, path); a.status != want {
			t.Errorf("%s: %d, want %d", path, a.status, want)
		}
	}
}
