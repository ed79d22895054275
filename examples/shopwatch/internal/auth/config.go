package auth

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/safehttp"
)

// Config is what a settings file says. Without an Issuer there is no login and
// nothing is protected.
type Config struct {
	Issuer       string        `koanf:"issuer" doc:"address of the OpenID Connect provider, exactly as its tokens name it; empty: no login, and the API is open"`
	Audience     string        `koanf:"audience" doc:"audience that access tokens for the API must have; empty: no access token is taken"`
	Scope        string        `koanf:"scope" doc:"scope that access tokens must have"`
	WriteScope   string        `koanf:"write_scope" doc:"scope for requests that change something; default: the same"`
	Clients      []string      `koanf:"clients" doc:"clients whose access tokens are taken (azp or client_id); empty: all, where users does not say otherwise"`
	ClientID     string        `koanf:"client_id" doc:"the page's own client at the provider; empty: the page is open"`
	ClientSecret secret.Secret `koanf:"client_secret" doc:"its secret; empty for a public client"`
	Users        []string      `koanf:"users" doc:"subjects or verified e-mail addresses that are admitted, by a login and by an access token alike; empty: all whom the provider lets in"`
	SessionKey   secret.Secret `koanf:"session_key" doc:"32 characters or more that protect sessions; default: made at each start, which ends all sessions"`
	Session      time.Duration `koanf:"session" doc:"how long a login lasts; 8h if 0"`
}

const (
	defaultScope   = "shop-watch"
	defaultSession = 8 * time.Hour
	minSessionKey  = 32 // bytes
)

// Enabled reports whether there is a provider.
func (c Config) Enabled() bool { return c.Issuer != "" }

// withDefaults returns c with the documented defaults.
func (c Config) withDefaults() Config {
	c.Scope = cmp.Or(c.Scope, defaultScope)
	c.WriteScope = cmp.Or(c.WriteScope, c.Scope)
	c.Session = cmp.Or(c.Session, defaultSession)
	return c
}

// Validate reports every field that cannot be used.
func (c Config) Validate() error {
	if !c.Enabled() {
		if c.ClientID != "" || c.Audience != "" {
			return errors.New("auth.issuer is empty, so nothing would be protected: set it, or leave auth.client_id and auth.audience empty")
		}
		return nil
	}

	var errs []error
	errs = append(errs, secureURL("auth.issuer", c.Issuer))
	if c.Audience == "" && c.ClientID == "" {
		errs = append(errs, errors.New("auth.audience is empty: name the audience of the API's access tokens, or the page's client as auth.client_id"))
	}

	for _, s := range []struct{ key, value string }{{"auth.scope", c.Scope}, {"auth.write_scope", c.WriteScope}} {
		if strings.ContainsFunc(s.value, notScope) {
			errs = append(errs, fmt.Errorf("%s %q: name one scope, without spaces, quotes or backslashes", s.key, s.value))
		}
	}

	for _, s := range []struct {
		key    string
		values []string
	}{{"auth.users", c.Users}, {"auth.clients", c.Clients}} {
		if slices.Contains(s.values, "") {
			errs = append(errs, fmt.Errorf("%s has an empty entry: leave it out", s.key))
		}
	}

	if n := len(c.SessionKey.Reveal()); n > 0 && n < minSessionKey {
		errs = append(errs, fmt.Errorf("auth.session_key has %d bytes: give at least %d, as from openssl rand -hex 32", n, minSessionKey))
	}
	if c.Session < 0 || c.Session > 0 && c.Session < time.Minute {
		errs = append(errs, fmt.Errorf("auth.session %v: give at least 1m", c.Session))
	}
	return errors.Join(errs...)
}

// notScope reports what RFC 6749 §3.3 does not allow in a scope.
func notScope(r rune) bool { return r < 0x21 || r > 0x7e || r == '"' || r == '\\' }

// secureURL reports an address over which tokens must not travel.
func secureURL(key, value string) error {
	u, err := (safehttp.Rule{Secret: true}).Parse(value)
	switch {
	case errors.Is(err, safehttp.ErrPlain):
		return fmt.Errorf("%s %s: write https; http is for this machine only", key, value)
	case err != nil:
		return fmt.Errorf("%s: %w", key, err)
	case u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%s: write an address that begins with https:// and has no query", key)
	}
	return nil
}

// Options are an [Auth]'s settings. Issuer and BaseURL are required.
type Options struct {
	Config

	// BaseURL is where browsers reach the page: server.public_url, else where the
	// service listens.
	BaseURL string
	// SignIn writes the page for those who are not logged in. Required where
	// there is a ClientID.
	SignIn func(w http.ResponseWriter, r *http.Request, s SignIn)
	// RetryEvery is the time between tries to reach the provider. Defaults to
	// 1s.
	RetryEvery time.Duration
	// KeysEvery is how long the provider's keys are used before they are asked
	// for again, and so how long a withdrawn one is still taken. Defaults to
	// 5m.
	KeysEvery time.Duration
	// Logouts remembers the sessions that ended before their time, across
	// restarts. Nil remembers them in memory alone.
	Logouts Logouts
	// Transport makes the requests to the provider. Defaults to one of its
	// own.
	Transport http.RoundTripper
	// Logger gets state changes, logins and refusals. Nil discards.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	var errs []error
	if o.Issuer == "" {
		errs = append(errs, errors.New("auth: new: Issuer is required"))
	}

	if o.BaseURL == "" {
		errs = append(errs, errors.New("auth: new: BaseURL is required"))
	} else if err := secureURL("server.public_url", o.BaseURL); err != nil {
		errs = append(errs, fmt.Errorf("auth: new: %w", err))
	}

	if o.ClientID != "" && o.SignIn == nil {
		errs = append(errs, errors.New("auth: new: SignIn is required where there is a ClientID"))
	}
	if err := o.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("auth: new: %w", err))
	}
	o.Config = o.Config.withDefaults()

	o.BaseURL = strings.TrimSuffix(o.BaseURL, "/") + "/"
	o.RetryEvery = cmp.Or(o.RetryEvery, time.Second)
	o.KeysEvery = cmp.Or(o.KeysEvery, 5*time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, errors.Join(errs...)
}
