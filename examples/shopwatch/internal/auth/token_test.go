package auth_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth/authtest"
)

// good is a token that is taken for GET.
func good() authtest.Token { return authtest.Token{Audience: []string{apiAudience}, Scope: apiScope} }

// What each kind of token is answered with, and that nothing of it shows.
func TestTokens(t *testing.T) {
	t.Parallel()
	f := start(t, nil).run(t).ready(t)
	other := authtest.Start(t)
	other.Register(f.URL)
	ok := f.idp.Issue(t, good())
	parts := strings.Split(ok, ".")
	claims := func(change map[string]any) map[string]any {
		c := map[string]any{
			"iss": f.idp.Issuer(), "aud": apiAudience, "sub": "robot", "scope": apiScope, "client_id": authtest.APIClient,
			"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
		}
		maps.Copy(c, change)
		maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
		return c
	}
	signed := func(typ string, change map[string]any) string { return f.idp.Sign(t, typ, claims(change)) }

	for _, tt := range []struct {
		name, token string
		status      int
		code, text  string
	}{
		{"good", ok, 200, "", "hello robot"},
		{"good, of RFC 9068", signed("at+jwt", nil), 200, "", "hello"},
		{"good, several audiences", signed("", map[string]any{"aud": []string{"x", apiAudience}}), 200, "", "hello"},
		{"good, scope among others", signed("", map[string]any{"scope": "a " + apiScope + " b"}), 200, "", "hello"},
		{"good, scp array", signed("", map[string]any{"scope": nil, "scp": []string{apiScope}}), 200, "", "hello"},

		{"empty", "", 401, "invalid_token", "no JWT"},
		{"no token", "abc", 401, "invalid_token", "no JWT"},
		{"cut in the signature", ok[:len(ok)-20], 401, "invalid_token", "signature"},
		{"cut in the claims", ok[:len(parts[0])+20], 401, "invalid_token", "no JWT"},
		{"without a signature", parts[0] + "." + parts[1] + ".", 401, "invalid_token", ""},
		{"two parts", parts[0] + "." + parts[1], 401, "invalid_token", "no JWT"},
		{"other claims", parts[0] + "." + encode(t, claims(map[string]any{"sub": "root"})) + "." + parts[2], 401, "invalid_token", "signature"},
		{"expired", f.idp.Issue(t, authtest.Token{Audience: []string{apiAudience}, Scope: apiScope, Lifetime: -time.Minute}), 401, "invalid_token", "expired"},
		{"no end", signed("", map[string]any{"exp": nil}), 401, "invalid_token", "expired"},
		{"not yet", signed("", map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), 401, "invalid_token", "not valid"},
		{"wrong audience", f.idp.Issue(t, authtest.Token{Audience: []string{"another"}, Scope: apiScope}), 401, "invalid_token", "audience"},
		{"no audience", signed("", map[string]any{"aud": nil}), 401, "invalid_token", "audience"},
		{"wrong issuer, its key", other.Issue(t, good()), 401, "invalid_token", "signature"},
		{"wrong issuer, our key", signed("", map[string]any{"iss": other.Issuer()}), 401, "invalid_token", "issuer"},
		{"issuer without its slash", signed("", map[string]any{"iss": strings.TrimSuffix(f.idp.Issuer(), "/")}), 401, "invalid_token", "issuer"},
		{"alg none", encode(t, map[string]any{"alg": "none"}) + "." + encode(t, claims(nil)) + ".", 401, "invalid_token", "no JWT"},
		{"alg NONE with a signature", encode(t, map[string]any{"alg": "NONE"}) + "." + parts[1] + "." + parts[2], 401, "invalid_token", "no JWT"},
		{"alg HS256 with a public key", hs256(t, claims(nil)), 401, "invalid_token", "no JWT"},
		{"own key in the header", ownKey(t, claims(nil)), 401, "invalid_token", "signature"},
		{"an ID token's type", signed("logout+jwt", nil), 401, "invalid_token", "type"},
		{"JSON instead of compact", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, 401, "invalid_token", "no JWT"},
		{"bound to a key", signed("", map[string]any{"cnf": map[string]any{"jkt": "x"}}), 401, "invalid_token", "bound"},
		{"claims that are no object", signedRaw(t, f, `"text"`), 401, "invalid_token", ""},
		{"too long", ok + strings.Repeat("x", 20<<10), 401, "invalid_token", "too long"},

		{"wrong scope", f.idp.Issue(t, authtest.Token{Audience: []string{apiAudience}, Scope: "other"}), 403, "insufficient_scope", apiScope},
		{"no scope", signed("", map[string]any{"scope": nil}), 403, "insufficient_scope", apiScope},
		{"scope that only begins so", signed("", map[string]any{"scope": apiScope + "x"}), 403, "insufficient_scope", apiScope},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := f.token(t, tt.token)
			challenge := a.header.Get("WWW-Authenticate")
			if a.status != tt.status || !strings.Contains(a.body, tt.text) {
				t.Errorf("answered %d %q, want %d with %q", a.status, a.body, tt.status, tt.text)
			}
			if tt.status != 200 && (!strings.HasPrefix(challenge, "Bearer ") || !strings.Contains(challenge, `error="`+tt.code+`"`)) {
				t.Errorf("WWW-Authenticate = %q, want error %s", challenge, tt.code)
			}
			if tt.status != 200 && !json.Valid([]byte(a.body)) {
				t.Errorf("the answer is no JSON: %q", a.body)
			}
		})
	}
	for _, part := range parts {
		if strings.Contains(f.log.String(), part) {
			t.Error("a part of a token is in the log")
		}
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// hs256 signs with a secret that a stranger knows, too.
func hs256(t *testing.T, claims map[string]any) string {
	t.Helper()
	text := encode(t, map[string]any{"alg": "HS256"}) + "." + encode(t, claims)
	mac := hmac.New(sha256.New, []byte("the public key"))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// ownKey brings the key that made the signature (RFC 7515 §4.1.3).
func ownKey(t *testing.T, claims map[string]any) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func signedRaw(t *testing.T, f *fixture, payload string) string {
	t.Helper()
	token := f.idp.Sign(t, "", map[string]any{})
	head, rest, _ := strings.Cut(token, ".")
	_, sig, _ := strings.Cut(rest, ".")
	return head + "." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + "." + sig
}

// Without a token, or with another header than one Bearer.
func TestNoToken(t *testing.T) {
	t.Parallel()
	f := start(t, nil).run(t).ready(t)
	ok := f.idp.Issue(t, good())
	for _, tt := range []struct {
		name   string
		header []string
	}{
		{"none", nil},
		{"basic", []string{"Authorization", "Basic dXNlcjpwYXNz"}},
		{"two", []string{"Authorization", "Bearer " + ok, "Authorization", "Bearer " + ok}},
		{"in the address", nil},
		{"a cookie of somebody else", []string{"Cookie", "session=AAAA"}},
	} {
		path := "/api/runs"
		if tt.name == "in the address" {
			path += "?access_token=" + ok
		}
		a := f.get(t, path, tt.header...)
		if a.status != 401 || a.header.Get("WWW-Authenticate") != `Bearer realm="api"` {
			t.Errorf("%s: %d %q", tt.name, a.status, a.header.Get("WWW-Authenticate"))
		}
	}
	if a := f.get(t, "/api/runs", "Authorization", "bearer  "+ok); a.status != 200 {
		t.Errorf("the scheme in lower case: %d %s", a.status, a.body)
	}
}

// What changes something needs a scope of its own, and clients can be limited.
func TestScopesAndClients(t *testing.T) {
	t.Parallel()
	f := start(t, func(o *auth.Options) { o.Clients = []string{authtest.APIClient} }).run(t).ready(t)
	read, run := f.idp.Issue(t, good()), f.idp.Issue(t, authtest.Token{Audience: []string{apiAudience}, Scope: runScope})
	stranger := f.idp.Issue(t, authtest.Token{Audience: []string{apiAudience}, Scope: apiScope, Claims: map[string]any{"azp": "stranger"}})
	for _, tt := range []struct {
		method, token string
		want          int
	}{
		{http.MethodGet, read, 200},
		{http.MethodHead, read, 200},
		{http.MethodPost, read, 403},
		{http.MethodPost, run, 200},
		{http.MethodDelete, read, 403},
		{http.MethodGet, run, 403},
		{http.MethodGet, stranger, 403},
	} {
		if a := f.do(t, tt.method, "/api/runs", "Authorization", "Bearer "+tt.token); a.status != tt.want {
			t.Errorf("%s: %d %s, want %d", tt.method, a.status, a.body, tt.want)
		}
	}
}
