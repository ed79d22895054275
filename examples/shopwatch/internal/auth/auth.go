package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// ErrRunning says that Run is under way already.
var ErrRunning = errors.New("auth: already running")

// Auth guards handlers. It is safe for concurrent use.
type Auth struct {
	opts     Options
	public   *url.URL
	secure   bool // cookies for https alone
	provider *provider
	sessions *sessions
	admitted admitted
	running  atomic.Bool
	counts   counts
}

// User is who a request speaks for.
type User struct {
	Subject string // as the provider names it
	Name    string // to show; never empty
}

type userKey struct{}

// UserFrom returns who the request of ctx speaks for; the zero User if nobody
// had to say.
func UserFrom(ctx context.Context) User {
	u, _ := ctx.Value(userKey{}).(User)
	return u
}

// New returns an Auth that has contacted nobody yet; see [Auth.Run]. The error
// names every option that cannot be used.
func New(opts Options) (*Auth, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	public, err := url.Parse(opts.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("auth: new: %w", err)
	}

	sessions, err := newSessions(opts.Config, opts.Logouts)
	if err != nil {
		return nil, fmt.Errorf("auth: new: %w", err)
	}

	return &Auth{
		opts: opts, public: public, secure: public.Scheme == "https", sessions: sessions,
		admitted: admitted{users: opts.Users, clients: opts.Clients},
		provider: &provider{issuer: opts.Issuer, client: newClient(opts.Transport), limit: newAskLimit(), tried: make(chan struct{}), err: ErrUnavailable},
	}, nil
}

// Run keeps what is known of the provider current, until ctx ends. A second
// concurrent call returns [ErrRunning].
func (a *Auth) Run(ctx context.Context) error {
	if !a.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer a.running.Store(false)
	defer a.provider.client.CloseIdleConnections()

	var last string // trouble that was told
	for first := true; ; first = false {
		wait := a.opts.KeysEvery
		err := a.provider.update(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			wait = a.opts.RetryEvery
			if text := err.Error(); text != last {
				last = text
				a.opts.Logger.WarnContext(ctx, "the identity provider cannot be used, it is tried again", "issuer", a.opts.Issuer, "error", err)
			}
		case first || last != "":
			last = ""
			a.opts.Logger.InfoContext(ctx, "the identity provider answers", "issuer", a.opts.Issuer)
		}

		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Check says whether the provider answered when it was last asked; it waits for
// the first time.
func (a *Auth) Check(ctx context.Context) error {
	select {
	case <-a.provider.tried:
	case <-ctx.Done():
		return fmt.Errorf("auth: provider %s: %w", a.opts.Issuer, context.Cause(ctx))
	}
	if err := a.provider.status(); err != nil {
		return fmt.Errorf("auth: provider %s: %w", a.opts.Issuer, err)
	}
	return nil
}

// API lets requests through that carry a good access token, or the session of
// a login. Requests that may change something need WriteScope.
func (a *Auth) API(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scope := a.opts.Scope
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			scope = a.opts.WriteScope
		}

		lines := r.Header.Values("Authorization")
		if len(lines) == 0 {
			if user, ok := a.session(r); ok {
				a.pass(next, w, r, user)
				return
			}
			a.counts.missing.Add(1)
			a.refuse(w, r, &TokenError{Text: "send an access token, as Authorization: Bearer …"}, scope)
			return
		}

		scheme, token, _ := strings.Cut(lines[0], " ")
		if len(lines) > 1 || !strings.EqualFold(scheme, "Bearer") {
			a.counts.refused.Add(1)
			a.refuse(w, r, &TokenError{Text: "send one Authorization header, with Bearer and an access token"}, scope)
			return
		}

		user, err := a.verifyToken(r.Context(), strings.TrimSpace(token), scope)
		if refusal, ok := errors.AsType[*TokenError](err); ok {
			a.counts.refused.Add(1)
			a.refuse(w, r, refusal, scope)
			return
		}

		if err != nil {
			a.counts.unavailable.Add(1)
			a.unavailable(w)
			return
		}

		a.pass(next, w, r, user)
	})
}

func (a *Auth) pass(next http.Handler, w http.ResponseWriter, r *http.Request, user User) {
	a.counts.passed.Add(1)
	next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, user)))
}

// refuse answers as RFC 6750 §3 asks for. A request without a token learns no
// error code.
func (a *Auth) refuse(w http.ResponseWriter, r *http.Request, e *TokenError, scope string) {
	status := e.Status()
	challenge := `Bearer realm="api"`
	if e.Code != "" {
		challenge += `, error="` + e.Code + `", error_description="` + e.Text + `"`
	}
	if e.Code == codeInsufficientScope {
		challenge += `, scope="` + scope + `"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	if e.Code != "" {
		a.opts.Logger.InfoContext(r.Context(), "access token refused", "path", r.URL.Path, "reason", e.Text, "error", e.Err)
	}
	a.json(w, status, e.Text)
}

// unavailable tells that nobody can be recognised for now.
func (a *Auth) unavailable(w http.ResponseWriter) {
	w.Header().Set("Retry-After", a.retryAfter())
	a.json(w, http.StatusServiceUnavailable, ErrUnavailable.Error()+"; it is tried again every "+a.opts.RetryEvery.String())
}

func (a *Auth) retryAfter() string {
	return strconv.Itoa(max(1, int((a.opts.RetryEvery+time.Second-1)/time.Second)))
}

func (a *Auth) json(w http.ResponseWriter, status int, text string) {
	body, err := json.MarshalIndent(map[string]string{"error": text}, "", "  ")
	if err != nil {
		body = []byte(`{}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a reader who left is no error of ours
}

type counts struct{ passed, missing, refused, unavailable, logins, failed atomic.Int64 }

// Stats counts what an [Auth] did.
type Stats struct {
	// Passed requests were let through, Missing ones showed nothing, Refused
	// ones a token that is not good; Unavailable ones could not be judged for
	// want of the provider.
	Passed, Missing, Refused, Unavailable int64
	// Logins and FailedLogins are those of the page.
	Logins, FailedLogins int64
	// Available says that the provider answered when it was last asked.
	Available bool
}

// Stats returns the counts since New.
func (a *Auth) Stats() Stats {
	return Stats{
		Passed: a.counts.passed.Load(), Missing: a.counts.missing.Load(), Refused: a.counts.refused.Load(),
		Unavailable: a.counts.unavailable.Load(), Logins: a.counts.logins.Load(), FailedLogins: a.counts.failed.Load(),
		Available: a.provider.status() == nil,
	}
}
