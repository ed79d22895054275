package tests_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/config/vault"
)

var mail = request("POST", "secret/data/mail", map[string]any{"data": map[string]any{"password": "p"}})

func TestTokenFile(t *testing.T) {
	t.Parallel()
	s := newServer(t, mail)
	first, accessor := s.token("1h", nil)
	path := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first)
	r := s.resolver(func(o *vault.Options) { o.Token, o.TokenFile = secret.Secret{}, path })
	if got, _, err := r.Resolve(t.Context(), "secret/data/mail", "password"); err != nil || got != "p" {
		t.Errorf("got %q, %v", got, err)
	}
	s.api("POST", "auth/token/revoke-accessor", map[string]any{"accessor": accessor})
	if _, _, err := r.Resolve(t.Context(), "secret/data/mail", "password"); !errors.Is(err, vault.ErrForbidden) {
		t.Errorf("with a revoked token: %v, want ErrForbidden", err)
	}
	second, _ := s.token("1h", nil)
	write(second)
	if got, _, err := r.Resolve(t.Context(), "secret/data/mail", "password"); err != nil || got != "p" {
		t.Errorf("with the next token: %q, %v", got, err)
	}
}

// TestTokenIsRenewed lives on a token of 3 s for longer than that.
func TestTokenIsRenewed(t *testing.T) {
	t.Parallel()
	s := newServer(t, mail)
	token, _ := s.token("3s", nil)
	r := s.resolver(func(o *vault.Options) { o.Token = secret.New(token) })
	_, lease, err := r.Resolve(t.Context(), "secret/data/mail", "password")
	if err != nil || lease <= 0 || lease > 3*time.Second {
		t.Fatalf("lease %v, %v; want the token's", lease, err)
	}
	start := time.Now()
	for time.Since(start) < 7*time.Second {
		<-time.After(max(lease*2/3, 100*time.Millisecond)) // when a store asks again
		if _, lease, err = r.Resolve(t.Context(), "secret/data/mail", "password"); err != nil {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
	}
	if n := s.count("POST auth/token/renew-self"); n < 2 || n > 8 {
		t.Errorf("%d renewals of a token of 3 s in 7 s", n)
	}
	if n := s.count("GET auth/token/lookup-self"); n != 1 {
		t.Errorf("asked %d times for the token's life, want once", n)
	}
}

func TestAppRole(t *testing.T) {
	t.Parallel()
	s := newServer(t, mail,
		request("POST", "sys/auth/machines", map[string]any{"type": "approle"}),
		request("POST", "auth/machines/role/app", map[string]any{"token_policies": "reader", "token_ttl": "1h"}),
	)
	_, _ = s.token("1h", nil) // for its policy
	role := s.api("GET", "auth/machines/role/app/role-id", nil)["role_id"].(string)
	id := s.api("POST", "auth/machines/role/app/secret-id", nil)["secret_id"].(string)
	with := func(id string) func(o *vault.Options) {
		return func(o *vault.Options) {
			o.Token, o.AppRole = secret.Secret{}, vault.AppRole{Mount: "machines", RoleID: role, SecretID: secret.New(id)}
		}
	}
	r := s.resolver(with(id))
	for range 3 {
		got, lease, err := r.Resolve(t.Context(), "secret/data/mail", "password")
		if err != nil || got != "p" || lease > time.Hour || lease < 50*time.Minute {
			t.Fatalf("got %q for %v, %v; want it for the token's hour", got, lease, err)
		}
	}
	// A token that was revoked is replaced, once.
	for _, accessor := range s.api("GET", "auth/token/accessors?list=true", nil)["keys"].([]any) {
		info := s.api("POST", "auth/token/lookup-accessor", map[string]any{"accessor": accessor})
		if info["path"] == "auth/machines/login" {
			s.api("POST", "auth/token/revoke-accessor", map[string]any{"accessor": accessor})
		}
	}
	if got, _, err := r.Resolve(t.Context(), "secret/data/mail", "password"); err != nil || got != "p" {
		t.Errorf("after the token was revoked: %q, %v", got, err)
	}
	if n := s.count("POST auth/machines/login"); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
	_, _, err := s.resolver(with("canary-wrong")).Resolve(t.Context(), "secret/data/mail", "password")
	var failed *vault.Error
	if !errors.As(err, &failed) || failed.Op != "login" || failed.StatusCode != 400 || strings.Contains(err.Error(), "canary") {
		t.Errorf("with a wrong secret ID: %v", err)
	}
}

// TestKubernetes logs in with a signed service account token, whose review a
// stand-in for the cluster's API answers as documented.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	issued := time.Now().Add(-time.Minute).Unix()
	jwt := signed(t, key, map[string]any{
		"iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:shop:app", "iat": issued, "nbf": issued, "exp": issued + 3600,
		"kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]any{"name": "app", "uid": "u-1"}},
	})
	cluster := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			Spec struct{ Token string }
		}
		if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || json.NewDecoder(r.Body).Decode(&review) != nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"authenticated":%t,
			"user":{"username":"system:serviceaccount:shop:app","uid":"u-1"}}}`, review.Spec.Token == jwt)
	}))
	t.Cleanup(cluster.Close)
	s := newServer(t, mail,
		request("POST", "sys/auth/kubernetes", map[string]any{"type": "kubernetes"}),
		request("POST", "auth/kubernetes/config", map[string]any{
			"kubernetes_host": cluster.URL, "pem_keys": []string{public}, "disable_local_ca_jwt": true, "token_reviewer_jwt": jwt,
		}),
		request("POST", "auth/kubernetes/role/app", map[string]any{
			"bound_service_account_names": "app", "bound_service_account_namespaces": "shop", "token_policies": "reader", "token_ttl": "20m",
			"audience": "",
		}),
	)
	_, _ = s.token("1h", nil) // for its policy
	path := filepath.Join(t.TempDir(), "jwt")
	with := func(jwt string) *vault.Resolver {
		if err := os.WriteFile(path, []byte(jwt+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return s.resolver(func(o *vault.Options) {
			o.Token, o.Kubernetes = secret.Secret{}, vault.Kubernetes{Role: "app", TokenFile: path}
		})
	}
	got, lease, err := with(jwt).Resolve(t.Context(), "secret/data/mail", "password")
	if err != nil || got != "p" || lease > 20*time.Minute || lease < 15*time.Minute {
		t.Errorf("got %q for %v, %v; want it for the token's 20 minutes", got, lease, err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	forged := signed(t, other, map[string]any{"nbf": issued, "exp": issued + 3600, "kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]any{"name": "app", "uid": "u-1"}}})
	if _, _, err := with(forged).Resolve(t.Context(), "secret/data/mail", "password"); !errors.Is(err, vault.ErrForbidden) || strings.Contains(err.Error(), forged) {
		t.Errorf("with a forged token: %v, want ErrForbidden", err)
	}
}

// signed makes a token in the compact form of RFC 7515, signed with RS256.
func signed(t *testing.T, key *rsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}
