package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// maxToken bounds an access token.
const maxToken = 16 << 10

// TokenError says why a token is not taken.
type TokenError struct {
	// Code is the error code of RFC 6750 §3.1.
	Code string
	// Text says what is wrong in words of our own: nothing of the token is in
	// it.
	Text string
	// Err is for the log.
	Err error
}

// The codes of RFC 6750 §3.1.
const (
	codeInvalidToken      = "invalid_token"
	codeInsufficientScope = "insufficient_scope"
)

// Error returns the text and the cause.
func (e *TokenError) Error() string {
	if e.Err == nil {
		return "auth: token: " + e.Text
	}
	return fmt.Sprintf("auth: token: %s: %v", e.Text, e.Err)
}

// Unwrap returns Err.
func (e *TokenError) Unwrap() error { return e.Err }

// Status is the HTTP status to answer with.
func (e *TokenError) Status() int {
	if e.Code == codeInsufficientScope {
		return http.StatusForbidden
	}
	return http.StatusUnauthorized
}

func invalid(text string, err error) *TokenError {
	return &TokenError{Code: codeInvalidToken, Text: text, Err: err}
}

// tokenClaims are the claims of an access token that are read here (RFC 9068
// §2.2, and scp of providers that are older than it).
type tokenClaims struct {
	person

	Subject  string    `json:"sub"`
	Client   string    `json:"client_id"`
	Scope    scopeList `json:"scope"`
	Scp      scopeList `json:"scp"`
	Confirm  any       `json:"cnf"`
	Issuer   string    `json:"iss"`
	Audience audience  `json:"aud"`

	// What makes it a token of another kind, whatever its header says.
	Type      string `json:"typ"`       // of Keycloak: Bearer, ID, Refresh, Logout
	Use       string `json:"token_use"` // of Cognito: access, id
	Nonce     any    `json:"nonce"`     // of an ID token, and the next three
	AtHash    any    `json:"at_hash"`
	CodeHash  any    `json:"c_hash"`
	StateHash any    `json:"s_hash"` // FAPI 1.0 part 2, §5.1.1
	Events    any    `json:"events"` // of a logout token
}

// notAccess says what else the token is, or nothing.
func (c *tokenClaims) notAccess() string {
	switch {
	case c.Nonce != nil || c.AtHash != nil || c.CodeHash != nil || c.StateHash != nil:
		return "it is an ID token, which is for the client that asked for it"
	case c.Events != nil:
		return "it tells of an event, and is no access token"
	case c.Type != "" && !strings.EqualFold(c.Type, "Bearer"), c.Use != "" && c.Use != "access":
		return "its claims say that it is no access token"
	}
	return ""
}

// scopeList is a text with spaces, or an array.
type scopeList []string

func (s *scopeList) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*s = strings.Fields(text)
		return nil
	}
	return json.Unmarshal(b, (*[]string)(s))
}

// audience is one text, or an array (RFC 7519 §4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*a = audience{text}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// verifyToken checks an access token and returns who it speaks for. The error
// is a *[TokenError], or matches [ErrUnavailable].
func (a *Auth) verifyToken(ctx context.Context, raw, scope string) (User, error) {
	if a.opts.Audience == "" {
		return User{}, invalid("no access tokens are taken here: auth.audience is not set", nil)
	}
	keys, _, err := a.provider.get()
	if err != nil {
		return User{}, err
	}

	if len(raw) > maxToken {
		return User{}, invalid("it is too long", nil)
	}

	sig, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		return User{}, invalid("it is no JWT signed with a public key", err)
	}

	// An ID token or a logout token is no access token (RFC 8725 §3.11).
	// Providers from before RFC 9068 write JWT, or nothing.
	switch typ, _ := sig.Signatures[0].Header.ExtraHeaders[jose.HeaderType].(string); strings.ToLower(typ) {
	case "", "jwt", "at+jwt", "application/at+jwt":
	default:
		return User{}, invalid("its type is not that of an access token", nil)
	}

	token, err := a.verify(ctx, keys, raw, a.opts.Audience)
	if err != nil {
		return User{}, err
	}

	var c tokenClaims
	if err := token.Claims(&c); err != nil {
		return User{}, invalid("its claims cannot be read", err)
	}

	switch other := c.notAccess(); {
	case other != "":
		return User{}, invalid(other, nil)
	case c.Subject == "": // RFC 9068 §2.2
		return User{}, invalid("it does not say whom it speaks for", nil)
	case c.Confirm != nil:
		return User{}, invalid("it is bound to a key, which is not supported here", nil)
	}

	if err := a.admitted.token(&c); err != nil {
		return User{}, err
	}
	if !slices.Contains(c.Scope, scope) && !slices.Contains(c.Scp, scope) {
		return User{}, &TokenError{Code: codeInsufficientScope, Text: "it lacks the scope " + scope}
	}
	return User{Subject: c.Subject, Name: c.Subject}, nil
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// verify checks what ID tokens and access tokens have in common: signature,
// issuer, audience and time.
func (a *Auth) verify(ctx context.Context, keys *keySet, raw, audience string) (*oidc.IDToken, error) {
	watched := &watchedKeys{keySet: keys}
	verifier := oidc.NewVerifier(a.opts.Issuer, watched, &oidc.Config{ClientID: audience, SupportedSigningAlgs: algorithmNames()})

	token, err := verifier.Verify(ctx, raw)
	switch {
	case err == nil:
		return token, nil
	case errors.Is(watched.err, ErrUnavailable):
		return nil, watched.err
	case watched.err != nil:
		return nil, invalid("its signature is not the provider's", watched.err)
	}

	if expired, ok := errors.AsType[*oidc.TokenExpiredError](err); ok {
		return nil, invalid("it has expired", expired)
	}

	// The signature is good by now, so its claims can be believed.
	var c tokenClaims
	if json.Unmarshal(watched.payload, &c) == nil {
		switch {
		case c.Issuer != a.opts.Issuer:
			return nil, invalid("it is of another issuer", err)
		case !slices.Contains(c.Audience, audience):
			return nil, invalid("it is for another audience", err)
		}
	}

	return nil, invalid("it is not valid", err)
}

// watchedKeys remembers what came of one verification, which go-oidc tells in
// words only.
type watchedKeys struct {
	*keySet

	payload []byte
	err     error
}

func (w *watchedKeys) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	w.payload, w.err = w.keySet.VerifySignature(ctx, token)
	return w.payload, w.err
}
