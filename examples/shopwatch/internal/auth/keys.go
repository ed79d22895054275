package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/time/rate"
)

// algorithms are those with a public key. "none" and those with a shared
// secret have no place here (RFC 8725 §3.1).
var algorithms = []jose.SignatureAlgorithm{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

func algorithmNames() []string {
	var out []string
	for _, a := range algorithms {
		out = append(out, string(a))
	}
	return out
}

// newAskLimit bounds the requests for keys that tokens cause: a stranger's
// tokens must not become a stream of requests to the provider.
func newAskLimit() *rate.Limiter { return rate.NewLimiter(rate.Every(time.Second), 3) }

var errSignature = errors.New("no key of the provider made its signature")

// keySet is the provider's public keys. Unlike go-oidc's it forgets those that
// are withdrawn, and asks for unknown ones at a bounded rate.
type keySet struct {
	url    string
	client *http.Client
	limit  *rate.Limiter // of the provider

	asking sync.Mutex // held by the one who asks for keys

	mu    sync.Mutex
	keys  []jose.JSONWebKey
	tried time.Time // when they were last asked for
	err   error     // of that
}

// VerifySignature is for oidc.KeySet.
func (k *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	sig, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, err
	}
	id := sig.Signatures[0].Header.KeyID
	keys, tried, _ := k.current()
	payload, known := verify(sig, keys, id)
	if payload != nil {
		return payload, nil
	}

	if known { // a key does not change under its name
		return nil, errSignature
	}
	if err := k.refreshSince(ctx, tried); err != nil {
		return nil, err
	}
	keys, _, _ = k.current()
	if payload, _ := verify(sig, keys, id); payload != nil {
		return payload, nil
	}
	return nil, errSignature
}

// verify returns the payload if one of the keys made the signature, and
// whether there is a key with the token's id.
func verify(sig *jose.JSONWebSignature, keys []jose.JSONWebKey, id string) (payload []byte, known bool) {
	for _, key := range keys {
		if id != "" && key.KeyID != id {
			continue
		}
		known = known || id != ""
		if payload, err := sig.Verify(&key); err == nil {
			return payload, true
		}
	}
	return nil, known
}

func (k *keySet) current() (keys []jose.JSONWebKey, tried time.Time, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys, k.tried, k.err
}

// refreshSince asks for the keys unless somebody did after since; it then
// returns how that went. Those who come too fast wait, and one answer does for
// all of them.
func (k *keySet) refreshSince(ctx context.Context, since time.Time) error {
	k.asking.Lock()
	defer k.asking.Unlock()
	if _, tried, err := k.current(); tried.After(since) {
		return err
	}
	if err := k.limit.Wait(ctx); err != nil {
		return fmt.Errorf("%w: too many tokens of keys that are not known: %w", ErrUnavailable, err)
	}
	return k.ask(ctx)
}

// refresh asks for the keys.
func (k *keySet) refresh(ctx context.Context) error {
	k.asking.Lock()
	defer k.asking.Unlock()
	return k.ask(ctx)
}

func (k *keySet) ask(ctx context.Context) error {
	// Others wait for the answer: one caller who leaves must not fail them.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	keys, err := k.fetch(ctx)
	if err != nil {
		err = fmt.Errorf("%w: its keys: %s", ErrUnavailable, short(err.Error()))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tried, k.err = time.Now(), err
	if err == nil {
		k.keys = keys // those that are not named any more are withdrawn
	}
	return err
}

// fetch reads the key set (RFC 7517 §5).
func (k *keySet) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	res, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()

	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", k.url, res.Status)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}

	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("%s: no key set: %w", k.url, err)
	}

	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		// A key of a kind that is not known here is for somebody else.
		if err := json.Unmarshal(raw, &key); err != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		keys = append(keys, key)
	}

	if len(keys) == 0 {
		return nil, fmt.Errorf("%s names no key that can be used", k.url)
	}
	return keys, nil
}
