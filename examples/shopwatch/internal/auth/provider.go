package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/time/rate"
)

// ErrUnavailable says that the provider, or its keys, cannot be reached.
var ErrUnavailable = errors.New("the identity provider cannot be reached")

const (
	maxAnswer    = 1 << 20         // bytes of one answer of the provider
	askTimeout   = 3 * time.Second // for its description and keys
	loginTimeout = 10 * time.Second
)

// provider is what is known of the provider, and keeps that current.
type provider struct {
	issuer string
	client *http.Client
	limit  *rate.Limiter // for what tokens cause

	tried chan struct{} // closed after the first try
	once  sync.Once

	mu       sync.Mutex
	err      error    // why the last try failed; nil once it is known and answers
	endpoint endpoint // zero until it is known
	keys     *keySet  // nil until it is known
}

// endpoint is where a login goes.
type endpoint struct {
	oauth2.Endpoint

	endSession string         // empty where the provider has none
	provider   *oidc.Provider // for its UserInfo
}

// newClient returns the client for requests to the provider. It follows no
// redirect: an answer counts when it comes from the address that was asked.
func newClient(next http.RoundTripper) *http.Client {
	if next == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 2
		t.IdleConnTimeout = time.Minute
		next = t
	}
	return &http.Client{
		Transport:     bounded{next},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded cuts off answers that are too long to be meant well.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxAnswer), res.Body}
	return res, nil
}

func (b bounded) CloseIdleConnections() {
	if c, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// update reads the provider's description (OpenID Connect Discovery 1.0 §4) and
// its keys. Where that fails, what is known stays in use.
func (p *provider) update(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	err := p.discover(ctx)
	defer p.once.Do(func() { close(p.tried) })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
	return err
}

func (p *provider) discover(ctx context.Context) error {
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.issuer)
	if err != nil {
		if m, ok := errors.AsType[*oidc.IssuerMismatchError](err); ok {
			return fmt.Errorf("it calls itself %q: set auth.issuer to exactly that", short(m.Discovered))
		}
		return errors.New(short(err.Error())) // it may hold a whole page
	}

	var more struct {
		KeysURL    string `json:"jwks_uri"`
		EndSession string `json:"end_session_endpoint"`
	}
	if err := found.Claims(&more); err != nil {
		return fmt.Errorf("its description: %w", err)
	}

	at := endpoint{Endpoint: found.Endpoint(), endSession: more.EndSession, provider: found}
	// Codes, tokens and the client's secret travel to these.
	secure := strings.HasPrefix(p.issuer, "https:")
	for name, address := range map[string]string{
		"authorization_endpoint": at.AuthURL, "token_endpoint": at.TokenURL, "jwks_uri": more.KeysURL,
		"userinfo_endpoint": found.UserInfoEndpoint(), "end_session_endpoint": at.endSession,
	} {
		if address == "" && (name == "userinfo_endpoint" || name == "end_session_endpoint") {
			continue // a provider may have neither
		}
		if err := secureURL(name, address); err != nil {
			return fmt.Errorf("its description: %w", err)
		}
		// Plain http is for a provider on this machine. One elsewhere has no
		// business here.
		if secure && !strings.HasPrefix(address, "https:") {
			return fmt.Errorf("its description: %s is not https, as the issuer is", name)
		}
	}

	keys := &keySet{url: more.KeysURL, client: p.client, limit: p.limit}
	if err := keys.refresh(ctx); err != nil {
		return err
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	p.endpoint, p.keys = at, keys
	return nil
}

// get returns the keys and endpoints, or [ErrUnavailable].
func (p *provider) get() (*keySet, endpoint, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		return nil, endpoint{}, ErrUnavailable
	}
	return p.keys, p.endpoint, nil
}

func (p *provider) status() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// short keeps a text from elsewhere readable in a log line.
func short(text string) string {
	const limit = 300
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	return strings.ToValidUTF8(text, "") // it may be cut within a letter
}
