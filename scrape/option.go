package scrape

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/scrape/useragent"
)

// Fallback says what happens to a request when the egress is not available.
type Fallback int

const (
	// Never fails the request with [ErrEgressUnavailable]. It is the default.
	Never Fallback = iota
	// DirectWithWarning sends the request from this machine's own address,
	// logs a warning for each and counts it in [Stats].
	DirectWithWarning
)

// String returns the name that settings take.
func (f Fallback) String() string {
	if f == DirectWithWarning {
		return "direct-with-warning"
	}
	return "never"
}

// RotationBy is a way to get a new identity.
type RotationBy int

const (
	// Isolation gives each identity a SOCKS user name of its own, by which Tor
	// keeps circuits apart. It costs nothing and needs no control port. It is
	// the default.
	Isolation RotationBy = iota
	// NewNym asks the egress for new circuits (Tor's signal NEWNYM), which Tor
	// grants once in 10 s: requests wait meanwhile. For an egress that does not
	// isolate by user name.
	NewNym
)

// String returns the name that settings take.
func (b RotationBy) String() string {
	if b == NewNym {
		return "newnym"
	}
	return "isolation"
}

// AgentPer says how long a user agent is kept.
type AgentPer int

const (
	// PerIdentity draws a user agent for each identity: what a site sees of one
	// exit is one browser. It is the default.
	PerIdentity AgentPer = iota
	// PerRequest draws one for each request; redirects and retries keep it. The
	// price: one connection, one exit and one session cookie show a site as many
	// browsers as requests, which no browser does.
	PerRequest
)

// String returns the name that settings take.
func (a AgentPer) String() string {
	if a == PerRequest {
		return "request"
	}
	return "identity"
}

// UserAgents is where user agents are drawn from: a *useragent.Pool, a
// *uarand.UARand, or anything else with this method. It must be safe for
// concurrent use.
type UserAgents interface {
	GetRandom() string
}

// Rotation says when one identity ends and the next begins.
type Rotation struct {
	// Every is how many requests one identity makes. Retries count, redirects
	// and robots.txt do not. Defaults to 25; negative: no limit. On Direct, where
	// the address cannot change, there is none.
	Every int `doc:"requests of one identity; negative is no limit" default:"25" zero:"default"`
	// MaxAge is how long an identity is given new requests. Defaults to 10m, as
	// long as Tor gives new connections to a circuit; negative: no limit. Without
	// a limit in Every, and on Direct, the next identity has another user agent
	// and an empty cookie jar, and keeps the way out and its connections.
	MaxAge time.Duration `doc:"how long an identity gets new requests; negative is no limit" default:"10m" zero:"default"`
	// Distinct redraws an identity until its exit differs from the exits of the
	// last min(3, exits-1) identities. Where exits run out it asks for less, and
	// says so once; changes cost 8 circuits each at most, on average. Onion
	// services have no exit.
	// The egress must be able to tell its exit (package scrape/tor with a control
	// port, or Proxies); New refuses it else.
	Distinct bool `doc:"look for another exit than those of the latest identities"`
	// Warm is how many identities are made ready in advance. Defaults to 1;
	// negative: none. It has an effect with Isolation and an egress that can be
	// warmed: Tor resolves the current host under the next identity's key, of
	// which the site sees nothing. Where several requests are under way at a
	// time, the next identity also connects to that host in advance, once the
	// current one has few requests left. With more than ten workers, 2 or 3 keep
	// up with the changes better than 1.
	Warm int `doc:"identities made ready in advance; negative is none" default:"1" zero:"default"`
	// By is the way to get a new identity. Defaults to Isolation.
	By RotationBy `doc:"way to get a new identity: isolation (the default), or newnym for a Tor that does not isolate"`
}

// Retry says which failures are tried again. A request is tried again if it is
// idempotent (RFC 9110 §9.2.2) or carries an Idempotency-Key; any other only if
// it can be sent again (no body, or GetBody) and nothing of it was processed: no
// connection came about, the site refused its HTTP/2 stream, or it answered 421,
// 425, 429, or 503 with Retry-After. A certificate that is not trusted, a name
// that does not exist and the like are not tried again.
type Retry struct {
	// Attempts is how often a request reaches the site at most. Defaults to 3;
	// negative: 1.
	Attempts int `doc:"how often a request reaches the site at most; negative is once" default:"3" zero:"default"`
	// Base bounds the wait after the first failure; it doubles with each, and
	// the wait is drawn evenly from 0 to the bound. Defaults to 1s.
	Base time.Duration `doc:"bound of the wait after the first failure; it doubles with each" default:"1s" min:"1ns" zero:"default"`
	// Max bounds each wait, Retry-After included. A site that asks for more is
	// left alone until then: its answer is the result, and later requests to the
	// host are ErrRetryLater at once. Defaults to 2m.
	Max time.Duration `doc:"bound of each wait; a site that asks for more is left alone until then" default:"2m" min:"1ns" zero:"default"`
	// MaxElapsed bounds the time after which no further attempt begins. Defaults
	// to no bound.
	MaxElapsed time.Duration `doc:"time after which no further attempt begins; none if 0" min:"0"`
	// Statuses are the answers after which an idempotent request is tried again,
	// beside 421, 425, 429 and 503. Defaults to 408, 500, 502, 504 and 520 to 524;
	// not nil but empty: none.
	Statuses []int `doc:"answers after which an idempotent request is tried again, beside 421, 425, 429 and 503" default:"408,500,502,504,520,521,522,523,524" zero:"default"`
	// Bans tries a banned request again on another identity, whatever its
	// method if it can be sent again. Tor asks its users not to make circuits
	// without need, so it is off by default: ErrBanned at once.
	Bans bool `doc:"try a banned request again by another identity"`
}

// HostLimit spares the hosts. http and https of a host count together, a port
// of its own counts alone.
type HostLimit struct {
	// PerSecond is how many requests a second one host gets. Defaults to 5;
	// negative: no limit. A Crawl-delay in robots.txt lowers it.
	PerSecond float64 `doc:"requests a second to one host; negative is no limit" default:"5" zero:"default"`
	// Burst is how many requests may come at once after a pause. Defaults to 1.
	Burst int `doc:"requests that may come at once after a rest" default:"1" min:"1" zero:"default"`
	// InFlight is how many requests to one host wait for their answer's header at
	// a time. Defaults to 8; negative: no limit.
	InFlight int `doc:"requests to one host that wait for their answer at a time; negative is no limit" default:"8" zero:"default"`
}

// Robots says how robots.txt is obeyed (RFC 9309).
type Robots struct {
	// Agent is the product token whose rules are followed. Defaults to the rules
	// for everyone (*).
	Agent string `doc:"product token whose rules of robots.txt are followed; those for everyone if empty"`
	// Ignore fetches and obeys no robots.txt.
	Ignore bool `doc:"neither fetch nor obey robots.txt"`
	// CacheHosts is how many hosts' rules are kept, for a day each. Defaults to
	// 1000.
	CacheHosts int `doc:"hosts whose rules are kept, for a day each" default:"1000" min:"1" zero:"default"`
}

// Limits bounds an answer.
type Limits struct {
	// MaxBodyBytes bounds a body, both on the wire and decoded. Defaults to 10 MiB;
	// negative: no limit.
	MaxBodyBytes int64 `doc:"bound of a body, on the wire and decoded; negative is none" default:"10MiB" zero:"default"`
	// MaxHeaderBytes bounds an answer's header. Defaults to 64 KiB; negative: 10 MiB.
	MaxHeaderBytes int64 `doc:"bound of the header of an answer; negative is 10 MiB" default:"64KiB" zero:"default"`
	// MaxRedirects is how many are followed by Do, Get, Post, Each and Crawl. Defaults
	// to 10; negative: none, the redirect itself is the result.
	MaxRedirects int `doc:"redirects that are followed; negative is none" default:"10" zero:"default"`
	// Timeout bounds one attempt, from dialling to the end of the body; waits
	// between attempts and for HostLimit come on top. Defaults to 60s; negative:
	// no limit.
	Timeout time.Duration `doc:"bound of one attempt, from dialling to the end of the body; negative is none" default:"60s" zero:"default"`
}

// Options are the settings of a [Client]. New copies them. Egress is required;
// the zero value of each other field is its default. What a file cannot hold
// (Egress, UserAgents, Header, Cache, TLS, Banned, Cookies, Hooks, Logger,
// OnError) is set in code.
type Options struct {
	// Egress is the way out: a *tor.Tor, SOCKS, Proxies or Direct.
	Egress Egress `koanf:"-"`
	// Fallback says what happens when the egress is not available. Defaults to
	// Never.
	Fallback Fallback `doc:"never (the default), or direct-with-warning: use the machine's own address while there is no way out"`
	// DisableStartCheck lets New succeed while the egress is not available:
	// requests then fail with ErrEgressUnavailable until it is.
	DisableStartCheck bool `doc:"start although there is no way out yet"`
	// Rotation says when identities change.
	Rotation Rotation `doc:"when identities change"`
	// UserAgentsFile is a file of user agents, see useragent.Load. Defaults to
	// the built-in list. It is read by New, and not together with UserAgents.
	UserAgentsFile string `doc:"file of user agents: text, JSON, JSON lines, CSV or HTML; the built-in list if empty"`
	// UserAgents is where user agents come from. Defaults to
	// useragent.Builtin(). A request that has a User-Agent header keeps it.
	UserAgents UserAgents `koanf:"-"`
	// AgentPer says how long a user agent is kept. Defaults to PerIdentity.
	AgentPer AgentPer `doc:"how long a user agent is kept: identity (the default) or request"`
	// Header is sent with every request, robots.txt included, in place of what the
	// user agent's browser would send. The fields of the request itself win.
	//
	// A GET without a body is sent as a browser's navigation. A request of another
	// method, with a body, with Authorization or X-Requested-With, or with an
	// Accept that does not name text/html is sent as a program would: with the
	// user agent, but without the fields of a navigation.
	Header http.Header `koanf:"-"`
	// Contact is where a site's owner can reach you: an http or https URL or a
	// mailto: one, of 200 bytes at most. It is appended to the user agent, as
	// "(+https://example.com/bot)". It is for Direct alone: with another egress,
	// which hides who you are, New refuses it. Defaults to none.
	Contact string `doc:"URL or mailto: that is appended to the user agent; only without Tor and proxies"`
	// Retry says which failures are tried again.
	Retry Retry `doc:"which failures are tried again"`
	// HostLimit spares the hosts.
	HostLimit HostLimit `doc:"how hosts are spared"`
	// Robots says how robots.txt is obeyed.
	Robots Robots `doc:"how robots.txt is obeyed"`
	// Limits bounds an answer.
	Limits Limits `doc:"bounds of an answer"`
	// Cache stores answers and makes requests for them conditional. robots.txt
	// is not looked for in it. Requests with cookies pass it by, see Cookies.
	// Defaults to none; package scrape/diskcache has one.
	Cache Cache `koanf:"-"`
	// CachePlainHTTP has Cache take part in requests over http that leave by
	// another way than Direct. All identities share what is stored, for an hour at
	// most, redirects excepted: one bad exit can write what all of them read. Off,
	// such requests pass the cache by; https is cached either way.
	CachePlainHTTP bool `doc:"cache answers over http that come through Tor or proxies, for an hour at most"`
	// Allow are addresses that may be asked for although they are not public.
	// With Direct, names such as localhost may be too if they resolve into it.
	// Through SOCKS and Proxies addresses are checked as they stand in URLs alone:
	// the proxy resolves names, and one in your own network may find hosts there.
	Allow []netip.Prefix `doc:"addresses that may be asked for although they are not public, as 127.0.0.0/8"`
	// TLS is the configuration for https. Defaults to Go's.
	TLS *tls.Config `koanf:"-"`
	// Banned reports whether an answer and its decoded body say that the site
	// has banned the exit. With it, bodies are read whole before RoundTrip
	// returns. It is called concurrently. Defaults to never.
	Banned func(res *http.Response, body []byte) bool `koanf:"-"`
	// Cookies makes the cookie jar of an identity; nil from it means no cookies.
	// Defaults to an empty jar that knows the public suffix list and, as browsers
	// do, drops the oldest of more than 180 cookies of a site, or 3,000 in all.
	Cookies func(Identity) http.CookieJar `koanf:"-"`
	// Hooks are called as things happen.
	Hooks Hooks `koanf:"-"`
	// Logger gets one line per event. Nil: a way out that is lost for longer than
	// StuckAfter is told on stderr, and nothing else; slog.New(slog.DiscardHandler)
	// turns that off too.
	Logger *slog.Logger `koanf:"-"`
	// OnError is told of each way out that is lost for longer than StuckAfter, and
	// of the end. It is called by one goroutine at a time, and may use the client.
	OnError func(error) `koanf:"-"`
	// StuckAfter is how long a way out may be lost before it is told. Defaults to
	// 1m; negative: at once.
	StuckAfter time.Duration `doc:"how long a way out may be lost before it is told; negative is at once" default:"1m" zero:"default"`
}

// Validate returns every mistake that settings can hold, each by its field.
func (o Options) Validate() error {
	wrong := o.mistakes()
	return wrong.Err("scrape: options")
}

// mistakes returns what is wrong but for what only code can set.
func (o Options) mistakes() options.Mistakes {
	if o.Retry.Max > 0 && o.Retry.Base == 0 {
		o.Retry.Base = min(time.Second, o.Retry.Max)
	}
	options.Fill(&o)
	wrong := options.Check(o)
	if o.Fallback < Never || o.Fallback > DirectWithWarning {
		wrong.Add("Fallback", "%d is none: use Never or DirectWithWarning", o.Fallback)
	}

	if o.AgentPer < PerIdentity || o.AgentPer > PerRequest {
		wrong.Add("AgentPer", "%d is none: use PerIdentity or PerRequest", o.AgentPer)
	}
	if o.Rotation.By < Isolation || o.Rotation.By > NewNym {
		wrong.Add("Rotation.By", "%d is none: use Isolation or NewNym", o.Rotation.By)
	}
	if o.Retry.Base > o.Retry.Max {
		wrong.Add("Retry.Base", "%v is above Max, %v: give at most that, or a larger Max", o.Retry.Base, o.Retry.Max)
	}

	for i, status := range o.Retry.Statuses {
		if status < 400 || status > 599 {
			wrong.Add(fmt.Sprintf("Retry.Statuses[%d]", i), "%d is no status of an error: give 400 to 599", status)
		}
	}

	if o.Contact != "" {
		if err := validContact(o.Contact); err != nil {
			wrong.Add("Contact", "%s", err)
		}
	}

	for i, p := range o.Allow {
		if !p.IsValid() {
			wrong.Add(fmt.Sprintf("Allow[%d]", i), "%v is no prefix: write one as 127.0.0.0/8", p)
		}
	}

	return wrong
}

// withDefaults returns a copy with every default filled in, or all that is
// wrong.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	wrong := c.mistakes()
	wrong = append(wrong, c.withEgress()...)

	if c.UserAgentsFile != "" && c.UserAgents != nil {
		wrong.Add("UserAgentsFile", "is set, and UserAgents too: choose one of them")
	} else if c.UserAgentsFile != "" {
		pool, err := useragent.Load(c.UserAgentsFile)
		if err != nil {
			wrong.Add("UserAgentsFile", "%s", err)
		}
		c.UserAgents = pool
	}

	if err := wrong.Err("scrape: new"); err != nil {
		return c, err
	}

	c.Allow, c.Header = slices.Clone(c.Allow), c.Header.Clone()
	if c.UserAgents == nil {
		c.UserAgents = useragent.Builtin()
	}
	if c.Retry.Base == 0 && c.Retry.Max > 0 {
		c.Retry.Base = min(time.Second, c.Retry.Max)
	}
	options.Fill(&c)
	c.Retry.Attempts = max(1, c.Retry.Attempts)
	if c.Limits.MaxHeaderBytes < 0 {
		c.Limits.MaxHeaderBytes = 10 << 20
	}
	return c, nil
}

// withEgress returns what is wrong with the egress, alone and beside the rest.
func (o *Options) withEgress() (wrong options.Mistakes) {
	if o.Egress == nil {
		wrong.Add("Egress", "is missing: give a *tor.Tor, scrape.SOCKS(addr), scrape.Proxies(urls...), or scrape.Direct() to use your own address")
		return wrong
	}

	if v, ok := o.Egress.(validEgress); ok {
		if err := v.validate(); err != nil {
			wrong.Add("Egress", "%s", err)
		}
	}

	if _, ok := o.Egress.(direct); !ok && o.Contact != "" {
		wrong.Add("Contact", "tells sites who you are, and the egress hides it: leave it out, or use Direct")
	}
	if _, ok := o.Egress.(IdentityEgress); o.Rotation.By == NewNym && (!ok || !hasControl(o.Egress)) {
		wrong.Add("Rotation.By", "is NewNym, but the egress has no NewIdentity: use a *tor.Tor with a control port, or Isolation")
	}
	if _, ok := o.Egress.(ExitEgress); o.Rotation.Distinct && (!ok || !hasControl(o.Egress)) {
		wrong.Add("Rotation.Distinct", "is set, but the egress does not tell its exits: use a *tor.Tor with a control port, or Proxies")
	}
	return wrong
}

// maxContact keeps a user agent within what servers take.
const maxContact = 200

// validContact reports what is wrong with a contact in a user agent.
func validContact(contact string) error {
	u, err := url.Parse(contact)
	switch {
	case err != nil, u.Scheme != "mailto" && (u.Scheme != "http" && u.Scheme != "https" || u.Host == ""), u.Scheme == "mailto" && !strings.Contains(u.Opaque, "@"):
		return errors.New("is no address: write a URL, as https://example.com/bot or mailto:bot@example.com")
	case u.User != nil:
		return errors.New("holds a user name: leave it out")
	case len(contact) > maxContact:
		return fmt.Errorf("%d bytes are more than %d: shorten it", len(contact), maxContact)
	case strings.ContainsFunc(contact, func(r rune) bool { return r <= ' ' || r > '~' || r == '(' || r == ')' }):
		return errors.New("holds a character that may not stand in a user agent: use printable ASCII without spaces and parentheses")
	}
	return nil
}

// errName reports a name that stands for none of a type's values.
var errName = errors.New("unknown name")

// parseName finds the value whose String is text.
func parseName[T fmt.Stringer](text []byte, values ...T) (T, error) {
	names := make([]string, 0, len(values))
	for _, v := range values {
		if strings.EqualFold(strings.TrimSpace(string(text)), v.String()) {
			return v, nil
		}
		names = append(names, v.String())
	}
	var zero T
	return zero, fmt.Errorf("%w %q: use %s", errName, text, strings.Join(names, " or "))
}

// MarshalText returns the name of f.
func (f Fallback) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText sets f by its name: never or direct-with-warning.
func (f *Fallback) UnmarshalText(text []byte) (err error) {
	*f, err = parseName(text, Never, DirectWithWarning)
	return err
}

// MarshalText returns the name of b.
func (b RotationBy) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText sets b by its name: isolation or newnym.
func (b *RotationBy) UnmarshalText(text []byte) (err error) {
	*b, err = parseName(text, Isolation, NewNym)
	return err
}

// MarshalText returns the name of a.
func (a AgentPer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText sets a by its name: request or identity.
func (a *AgentPer) UnmarshalText(text []byte) (err error) {
	*a, err = parseName(text, PerIdentity, PerRequest)
	return err
}
