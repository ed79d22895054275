package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/relative"
)

// The addresses of a login.
const (
	pathLogin    = "/login"
	pathStart    = "/login/start"
	pathCallback = "/login/callback"
	pathLogout   = "/logout"
)

// loginLasts is how long a person has for the provider's pages.
const loginLasts = 15 * time.Minute

// SignIn is what the page for those who are not logged in shows.
type SignIn struct {
	Status   int    // to answer with
	Message  string // what has happened, in a sentence; empty at a first visit
	Trouble  bool   // the message tells of a failure
	Start    string // address that begins a login
	Provider string // name of the provider's host
	// EndSession is the provider's own page for logging out; empty where it
	// has none, or where nobody has logged out here.
	EndSession string
}

// Page lets requests through that have a session. A browser without one is
// sent to the login; anything else is answered 401. Without a ClientID everyone
// is let through.
func (a *Auth) Page(next http.Handler) http.Handler {
	if a.opts.ClientID == "" {
		return next
	}

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, ok := a.session(r); ok {
			a.pass(next, w, r, user)
			return
		}
		a.counts.missing.Add(1)
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			w.Header().Set("Cache-Control", "no-store")
			relative.Redirect(w, r, strings.TrimPrefix(pathLogin, "/"))
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="page"`)
		a.json(w, http.StatusUnauthorized, "log in at "+pathLogin)
	})
}

// Login serves /login, the addresses below it, and /logout. Without a ClientID
// all of them are answered 404.
func (a *Auth) Login() http.Handler {
	if a.opts.ClientID == "" {
		return http.NotFoundHandler()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathLogin, a.signIn)
	mux.HandleFunc("GET "+pathStart, a.start)
	mux.HandleFunc("GET "+pathCallback, a.callback)
	mux.HandleFunc("POST "+pathLogout, a.logout)
	return mux
}

func (a *Auth) signIn(w http.ResponseWriter, r *http.Request) {
	if _, ok := a.session(r); ok {
		relative.Redirect(w, r, "")
		return
	}
	s := SignIn{Status: http.StatusOK}
	_, at, err := a.provider.get()

	if r.URL.Query().Has("out") {
		s.Message = "You are signed out here."
		if at.endSession != "" {
			s.EndSession = at.endSession + "?" + url.Values{"client_id": {a.opts.ClientID}}.Encode()
		}
	}

	if err != nil {
		a.notNow(w, r)
		return
	}
	a.show(w, r, s)
}

// notNow tells a person that the provider is away.
func (a *Auth) notNow(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", a.retryAfter())
	a.show(w, r, SignIn{
		Status: http.StatusServiceUnavailable, Trouble: true,
		Message: "The sign-in service does not answer. It is asked again every second; everything else goes on working.",
	})
}

// failed tells a person that a login came to nothing.
func (a *Auth) failed(w http.ResponseWriter, r *http.Request, status int, message string, err error) {
	a.counts.failed.Add(1)
	a.opts.Logger.WarnContext(r.Context(), "login failed", "reason", message, "error", err)
	a.show(w, r, SignIn{Status: status, Trouble: true, Message: message})
}

func (a *Auth) show(w http.ResponseWriter, r *http.Request, s SignIn) {
	s.Start, s.Provider = relative.Root(r.URL.Path)+strings.TrimPrefix(pathStart, "/"), a.opts.Issuer
	if u, err := url.Parse(a.opts.Issuer); err == nil {
		s.Provider = u.Host
	}
	w.Header().Set("Cache-Control", "no-store")
	a.opts.SignIn(w, r, s)
}

// start sends the browser to the provider (OpenID Connect Core 1.0 §3.1.2.1,
// RFC 7636).
func (a *Auth) start(w http.ResponseWriter, r *http.Request) {
	_, at, err := a.provider.get()
	if err != nil {
		a.notNow(w, r)
		return
	}

	// The cookie has to be at the host that the provider sends back to. Once
	// is enough: a proxy may hide which one the browser asked.
	if !strings.EqualFold(r.Host, a.public.Host) && !r.URL.Query().Has("here") {
		http.Redirect(w, r, a.link(pathStart)+"?here", http.StatusSeeOther)
		return
	}

	x := attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Until: time.Now().Add(loginLasts)}
	if err := a.setCookie(w, loginCookie, x, loginLasts); err != nil {
		a.failed(w, r, http.StatusInternalServerError, "The sign-in could not be begun.", err)
		return
	}

	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, a.oauth(at).AuthCodeURL(x.State, oidc.Nonce(x.Nonce), oauth2.S256ChallengeOption(x.Verifier)), http.StatusSeeOther)
}

// link is an address of ours as browsers reach it.
func (a *Auth) link(path string) string {
	return strings.TrimSuffix(a.opts.BaseURL, "/") + path
}

func (a *Auth) oauth(at endpoint) *oauth2.Config {
	c := &oauth2.Config{
		ClientID: a.opts.ClientID, ClientSecret: a.opts.ClientSecret.Reveal(), Endpoint: at.Endpoint,
		RedirectURL: a.link(pathCallback), Scopes: []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail},
	}
	if c.ClientSecret == "" {
		c.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return c
}

// callback takes what the provider sends back, and makes a session of it.
func (a *Auth) callback(w http.ResponseWriter, r *http.Request) {
	var x attempt
	c, err := r.Cookie(a.cookieName(loginCookie))
	if err == nil {
		err = a.sessions.open(loginCookie, c.Value, &x)
	}

	query := r.URL.Query()
	switch {
	case err != nil || time.Now().After(x.Until), subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(x.State)) != 1:
		a.failed(w, r, http.StatusBadRequest, "This sign-in was not begun in this browser, or too long ago. Please begin again.", err)
		return
	case query.Has("iss") && query.Get("iss") != a.opts.Issuer: // RFC 9207 §2.4
		a.failed(w, r, http.StatusBadRequest, "The answer came from another sign-in service.", nil)
		return
	}

	_ = a.setCookie(w, loginCookie, nil, 0) // taking one away cannot fail
	if code := query.Get("error"); code != "" {
		a.failed(w, r, http.StatusForbidden, "The sign-in service did not let you in.", fmt.Errorf("%q: %q", short(code), short(query.Get("error_description"))))
		return
	}

	session, err := a.exchange(r.Context(), query.Get("code"), x)
	switch {
	case errors.Is(err, errNotAdmitted):
		a.failed(w, r, http.StatusForbidden, "You are known to the sign-in service, but not admitted here.", err)
		return
	case errors.Is(err, ErrUnavailable):
		a.notNow(w, r)
		return
	case err != nil:
		a.failed(w, r, http.StatusBadGateway, "The sign-in could not be completed. Please begin again.", err)
		return
	}

	if err := a.setCookie(w, sessionCookie, session, a.opts.Session); err != nil {
		a.failed(w, r, http.StatusInternalServerError, "The sign-in could not be completed.", err)
		return
	}
	a.counts.logins.Add(1)
	a.opts.Logger.InfoContext(r.Context(), "logged in", "subject", session.Subject)
	w.Header().Set("Cache-Control", "no-store")
	relative.Redirect(w, r, "")
}

var errNotAdmitted = errors.New("not among auth.users")

// exchange turns the code into an ID token, checks that (OpenID Connect Core
// 1.0 §3.1.3) and makes a session of it.
func (a *Auth) exchange(ctx context.Context, code string, x attempt) (session, error) {
	keys, at, err := a.provider.get()
	if err != nil {
		return session{}, err
	}

	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, a.provider.client), loginTimeout)
	defer cancel()
	answer, err := a.oauth(at).Exchange(ctx, code, oauth2.VerifierOption(x.Verifier))
	if err != nil {
		if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
			return session{}, fmt.Errorf("the provider refused the code: %q", short(refused.ErrorCode))
		}
		if ctx.Err() != nil {
			return session{}, context.Cause(ctx)
		}
		return session{}, fmt.Errorf("%w: %s", ErrUnavailable, short(err.Error()))
	}

	raw, _ := answer.Extra("id_token").(string)
	if raw == "" {
		return session{}, errors.New("the provider sent no ID token")
	}

	token, err := a.verify(ctx, keys, raw, a.opts.ClientID)
	if err != nil {
		return session{}, err
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(x.Nonce)) != 1 {
		return session{}, errors.New("the ID token belongs to another sign-in")
	}

	var c person
	if err := token.Claims(&c); err != nil {
		return session{}, err
	}
	if c.Party != "" && c.Party != a.opts.ClientID || c.Party == "" && len(token.Audience) > 1 {
		return session{}, errors.New("the ID token was issued to another client")
	}

	if c.Email == "" || c.Name == "" {
		if err := c.complete(ctx, at, answer, token.Subject); err != nil {
			a.opts.Logger.InfoContext(ctx, "the provider tells no more of the person", "subject", token.Subject, "error", err)
		}
	}
	if !a.admitted.user(token.Subject, c.verified()) {
		return session{}, errNotAdmitted
	}

	name := []rune(firstOf(c.Name, c.Preferred, c.Email, token.Subject))
	now := time.Now()
	return session{
		ID: rand.Text(), Subject: token.Subject, Email: c.verified(), Name: string(name[:min(len(name), 80)]),
		Since: now, Until: now.Add(a.opts.Session),
	}, nil
}

// person is what the provider says of who logs in.
type person struct {
	Party     string `json:"azp"`
	Email     string `json:"email"`
	Verified  any    `json:"email_verified"`
	Name      string `json:"name"`
	Preferred string `json:"preferred_username"`
}

// complete asks the UserInfo endpoint for what the ID token left out, as it may
// (OpenID Connect Core 1.0 §5.4).
func (c *person) complete(ctx context.Context, at endpoint, token *oauth2.Token, subject string) error {
	if at.provider.UserInfoEndpoint() == "" {
		return nil
	}
	info, err := at.provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return errors.New(short(err.Error()))
	}

	if info.Subject != subject { // §5.3.2
		return errors.New("its UserInfo is about somebody else")
	}
	more := *c
	if err := info.Claims(&more); err != nil {
		return err
	}

	if c.Email == "" { // an address and whether it is verified belong together
		c.Email, c.Verified = more.Email, more.Verified
	}
	c.Name, c.Preferred = firstOf(c.Name, more.Name), firstOf(c.Preferred, more.Preferred)
	return nil
}

// verified returns the address if the provider has verified it.
func (c *person) verified() string {
	if c.Verified == true || c.Verified == "true" { // some providers write text
		return c.Email
	}
	return ""
}

func (a *Auth) logout(w http.ResponseWriter, r *http.Request) {
	if s, ok := a.readSession(r); ok {
		if err := a.sessions.end(s); err != nil {
			a.opts.Logger.ErrorContext(r.Context(), "a logout is remembered until the next restart only", "subject", s.Subject, "error", err)
		}
		a.opts.Logger.InfoContext(r.Context(), "logged out", "subject", s.Subject)
	}
	_ = a.setCookie(w, sessionCookie, nil, 0) // taking one away cannot fail
	w.Header().Set("Cache-Control", "no-store")
	relative.Redirect(w, r, strings.TrimPrefix(pathLogin, "/")+"?out")
}
