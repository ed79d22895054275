package safehttp

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Redirects says where a client with credentials may be sent.
type Redirects struct {
	// Hosts are further hosts that may have the credentials, as "name" for any
	// port or "name:port": the standbys of a Vault.
	Hosts []string
	// Setting names the option that fills Hosts, for errors.
	Setting string
	// Max bounds the redirects of one request. Defaults to 2; negative follows
	// none and returns the answer as it is.
	Max int
	// AllowPlain lets redirects lead to http off this machine, if the first
	// request was http. From https to http none is followed.
	AllowPlain bool
	// Logger gets a line for each redirect to another host: at Info if it is
	// followed, at Warn if not. Nil writes none.
	Logger *slog.Logger
}

// RedirectError is a redirect that is not followed, because it would take the
// credentials elsewhere.
type RedirectError struct {
	From, To string // scheme and host
	Reason   string
}

func (e *RedirectError) Error() string {
	return fmt.Sprintf("the redirect from %s to %s is not followed: %s", e.From, e.To, e.Reason)
}

// NewClient returns a copy of base, or of a client without a time limit if base
// is nil, that follows redirects as r says. CheckRedirect of base is not used.
func NewClient(base *http.Client, r Redirects) *http.Client {
	client := &http.Client{}
	if base != nil {
		*client = *base
	}
	r.Hosts = slices.Clone(r.Hosts)
	if r.Max == 0 {
		r.Max = 2
	}
	client.CheckRedirect = r.check
	return client
}

// NewProbe returns a client for health checks: it asks no proxy of the
// environment, which would not reach this machine, follows no redirect, keeps
// no connection and gives up after timeout.
func NewProbe(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (r Redirects) check(next *http.Request, via []*http.Request) error {
	if r.Max < 0 {
		return http.ErrUseLastResponse
	}
	first := via[0].URL
	refuse := func(reason string) error {
		err := &RedirectError{From: Origin(first), To: Origin(next.URL), Reason: reason}
		if r.Logger != nil {
			r.Logger.LogAttrs(next.Context(), slog.LevelWarn, "redirect not followed",
				slog.String("from", err.From), slog.String("to", err.To), slog.String("reason", reason))
		}
		return err
	}

	switch {
	case len(via) > r.Max:
		return refuse(fmt.Sprintf("there were %d before it", r.Max))
	case next.URL.User != nil:
		return refuse("it names a user or password of its own")
	case first.Scheme == "https" && next.URL.Scheme != "https":
		return refuse("what was asked by https is not asked by http")
	}
	if err := (Rule{Secret: true, AllowPlain: r.AllowPlain}).Check(next.URL); err != nil {
		return refuse(err.Error())
	}

	if sameHost(first, next.URL) {
		return nil
	}
	if !r.listed(next.URL) {
		reason := "the credentials would go to another host"
		if r.Setting != "" {
			reason += ": if it is yours, list it in " + r.Setting
		}
		return refuse(reason)
	}
	if r.Logger != nil {
		r.Logger.LogAttrs(next.Context(), slog.LevelInfo, "redirect followed to a listed host",
			slog.String("from", Origin(first)), slog.String("to", Origin(next.URL)))
	}
	return nil
}

// sameHost compares names and ports. From http to https on the usual ports of
// one name it is the same host.
func sameHost(a, b *url.URL) bool {
	if !strings.EqualFold(trimDot(a.Hostname()), trimDot(b.Hostname())) {
		return false
	}
	return port(a) == port(b) || port(a) == "80" && port(b) == "443"
}

func (r Redirects) listed(u *url.URL) bool {
	name := strings.ToLower(trimDot(u.Hostname()))
	return slices.ContainsFunc(r.Hosts, func(host string) bool {
		h := parseHost(host)
		return h.name == name && (h.port == "" || h.port == port(u))
	})
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
