// Package authtest runs an OpenID Connect provider in the test's process:
// zitadel/oidc's, with keys that can be rotated, tokens that can be anything,
// and a switch that takes it away.
package authtest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// The page's client, a client of the API, and a person.
const (
	PageClient  = "page"
	APIClient   = "robot"
	APISecret   = "verysecret"
	User        = "test-user2"
	Password    = "verysecure"
	UserSubject = "id2"
	UserName    = "Test User2"
	UserEmail   = "test-user2@zitadel.ch" // which is not verified
	Verified    = "test-user@127.0.0.1"   // another person, with the same password,
	VerifiedAt  = "test-user@zitadel.ch"  // whose address is
)

// Provider is a provider on a loopback port.
type Provider struct {
	server  *httptest.Server
	handler http.Handler

	mu    sync.Mutex
	down  bool
	keys  []key  // the last one signs
	next  Token  // of the next token
	nonce string // instead of the one that is sent, unless empty
	asked map[string]int
}

// Token describes a token that the provider is to issue.
type Token struct {
	Audience []string
	Scope    string
	Lifetime time.Duration // 5m if 0; negative: it has expired
	Claims   map[string]any
}

// Start starts a provider that ends with the test.
func Start(t testing.TB) *Provider {
	t.Helper()
	p := &Provider{asked: map[string]int{}}
	p.Rotate(t)
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.server.Close)
	return p
}

// Register makes the provider ready for a page at base, such as
// http://127.0.0.1:8080/. It must be called before the provider is used, as the
// address of a service may not be known before the provider's.
func (p *Provider) Register(base string) { p.RegisterConfidential(base, "") }

// RegisterConfidential is Register for a page whose client has a secret.
func (p *Provider) RegisterConfidential(base, clientSecret string) {
	back := strings.TrimSuffix(base, "/") + "/login/callback"
	page := storage.NativeClient(PageClient, back)
	if clientSecret != "" {
		page = storage.WebClient(PageClient, clientSecret, back)
	}
	users := storage.NewUserStore(p.Issuer())
	users.GetUserByID(UserSubject).EmailVerified = false
	inner := storage.NewStorageWithClients(users, map[string]*storage.Client{PageClient: page})
	handler := exampleop.SetupServer(p.Issuer(), &store{Storage: inner, provider: p}, nil, false, op.WithAllowInsecure())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handler = handler
}

// Issuer is the provider's name, which ends in a slash.
func (p *Provider) Issuer() string { return p.server.URL + "/" }

// SetDown takes the provider away, or brings it back.
func (p *Provider) SetDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	if down {
		p.server.CloseClientConnections()
	}
}

// SetNonce makes ID tokens carry another nonce than the one that was sent.
func (p *Provider) SetNonce(nonce string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nonce = nonce
}

// Asked returns how often a path was asked for.
func (p *Provider) Asked(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

func (p *Provider) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	down, handler := p.down, p.handler
	p.asked[r.URL.Path]++
	p.mu.Unlock()
	if down || handler == nil {
		panic(http.ErrAbortHandler) // the connection ends without an answer
	}
	handler.ServeHTTP(w, r)
}

// Rotate makes a new key; those from before are withdrawn.
func (p *Provider) Rotate(t testing.TB) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = []key{{id: rand.Text(), key: k}}
}

// Issue returns an access token that the provider's token endpoint made.
func (p *Provider) Issue(t testing.TB, want Token) string {
	t.Helper()
	p.mu.Lock()
	p.next = want
	p.mu.Unlock()

	form := url.Values{"grant_type": {"client_credentials"}, "scope": {want.Scope}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Issuer()+"oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(APIClient, APISecret)

	res, err := p.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()

	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}

	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
		t.Fatalf("token endpoint: %s: %s", res.Status, body)
	}

	return answer.AccessToken
}

// Sign signs claims of any kind with the provider's key, with the header's
// type typ unless that is empty.
func (p *Provider) Sign(t testing.TB, typ string, claims map[string]any) string {
	t.Helper()
	p.mu.Lock()
	k := p.keys[len(p.keys)-1]
	p.mu.Unlock()
	options := &jose.SignerOptions{}
	if typ != "" {
		options = options.WithType(jose.ContentType(typ))
	}

	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k.key, KeyID: k.id}}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}

	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// key is one key of the provider, as its library wants it.
type key struct {
	id  string
	key *rsa.PrivateKey
}

func (k key) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k key) Key() any                                    { return k.key }
func (k key) ID() string                                  { return k.id }

type publicKey struct{ key }

func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Key() any                           { return &k.key.key.PublicKey }

// store is the library's example storage, which issues opaque tokens and has
// one key for ever, with that changed.
type store struct {
	*storage.Storage

	provider *Provider
}

func (s *store) CreateAuthRequest(ctx context.Context, asked *oidc.AuthRequest, user string) (op.AuthRequest, error) {
	s.provider.mu.Lock()
	nonce := s.provider.nonce
	s.provider.mu.Unlock()
	if nonce != "" {
		asked.Nonce = nonce
	}
	return s.Storage.CreateAuthRequest(ctx, asked, user)
}

func (s *store) SigningKey(context.Context) (op.SigningKey, error) {
	s.provider.mu.Lock()
	defer s.provider.mu.Unlock()
	return s.provider.keys[len(s.provider.keys)-1], nil
}

func (s *store) KeySet(context.Context) (out []op.Key, err error) {
	s.provider.mu.Lock()
	defer s.provider.mu.Unlock()
	for _, k := range s.provider.keys {
		out = append(out, publicKey{k})
	}
	return out, nil
}

func (s *store) ClientCredentials(ctx context.Context, id, clientSecret string) (op.Client, error) {
	if id != APIClient || clientSecret != APISecret {
		return nil, errors.New("wrong client or secret")
	}
	return robot{storage.WebClient(id, clientSecret)}, nil
}

// robot is a client that gets JWTs.
type robot struct{ *storage.Client }

func (robot) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }
func (robot) GrantTypes() []oidc.GrantType        { return []oidc.GrantType{oidc.GrantTypeClientCredentials} }
func (robot) IsScopeAllowed(string) bool          { return true }

func (s *store) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	s.provider.mu.Lock()
	defer s.provider.mu.Unlock()
	return &oidc.JWTTokenRequest{Subject: id, Audience: s.provider.next.Audience, Scopes: scopes}, nil
}

func (s *store) CreateAccessToken(ctx context.Context, request op.TokenRequest) (string, time.Time, error) {
	if _, ok := request.(*oidc.JWTTokenRequest); !ok {
		return s.Storage.CreateAccessToken(ctx, request)
	}
	s.provider.mu.Lock()
	defer s.provider.mu.Unlock()
	lifetime := s.provider.next.Lifetime
	if lifetime == 0 {
		lifetime = 5 * time.Minute
	}
	return rand.Text(), time.Now().Add(lifetime), nil
}

func (s *store) GetPrivateClaimsFromScopes(_ context.Context, _, _ string, _ []string) (map[string]any, error) {
	s.provider.mu.Lock()
	defer s.provider.mu.Unlock()
	claims := map[string]any{"scope": s.provider.next.Scope}
	maps.Copy(claims, s.provider.next.Claims)
	return claims, nil
}
