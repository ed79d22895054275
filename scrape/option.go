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

// String returns the name that [Config] takes.
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

// String returns the name that [Config] takes.
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

// String returns the name that [Config] takes.
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
	Every int
	// MaxAge is how long an identity is given new requests. Defaults to 10m, as
	// long as Tor gives new connections to a circuit; negative: no limit. Without
	// a limit in Every, and on Direct, the next identity has another user agent
	// and an empty cookie jar, and keeps the way out and its connections.
	MaxAge time.Duration
	// Distinct redraws an identity until its exit differs from the exits of the
	// last min(3, exits-1) identities. Where exits run out it asks for less, and
	// says so once; a change costs 8 circuits at most. Onion services have no exit.
	// The egress must be able to tell its exit (package scrape/tor with a control
	// port, or Proxies); New refuses it else.
	Distinct bool
	// Warm is how many identities are made ready in advance. Defaults to 1;
	// negative: none. It has an effect with Isolation and an egress that can be
	// warmed: Tor resolves the current host under the next identity's key, of
	// which the site sees nothing. Where several requests are under way at a
	// time, the next identity also connects to that host in advance, once the
	// current one has few requests left. With more than ten workers, 2 or 3 keep
	// up with the changes better than 1.
	Warm int
	// By is the way to get a new identity. Defaults to Isolation.
	By RotationBy
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
	Attempts int
	// Base bounds the wait after the first failure; it doubles with each, and
	// the wait is drawn evenly from 0 to the bound. Defaults to 1s.
	Base time.Duration
	// Max bounds each wait, Retry-After included. A site that asks for more is
	// left alone until then: its answer is the result, and later requests to the
	// host are ErrRetryLater at once. Defaults to 2m.
	Max time.Duration
	// MaxElapsed bounds the time after which no further attempt begins. Defaults
	// to no bound.
	MaxElapsed time.Duration
	// Statuses are the answers after which an idempotent request is tried again,
	// beside 421, 425, 429 and 503. Defaults to 408, 500, 502, 504 and 520 to 524;
	// not nil but empty: none.
	Statuses []int
	// Bans tries a banned request again on another identity, whatever its
	// method if it can be sent again. Tor asks its users not to make circuits
	// without need, so it is off by default: ErrBanned at once.
	Bans bool
}

// HostLimit spares the hosts. http and https of a host count together, a port
// of its own counts alone.
type HostLimit struct {
	// PerSecond is how many requests a second one host gets. Defaults to 5;
	// negative: no limit. A Crawl-delay in robots.txt lowers it.
	PerSecond float64
	// Burst is how many requests may come at once after a pause. Defaults to 1.
	Burst int
	// InFlight is how many requests to one host wait for their answer's header at
	// a time. Defaults to 8; negative: no limit.
	InFlight int
}

// Robots says how robots.txt is obeyed (RFC 9309).
type Robots struct {
	// Agent is the product token whose rules are followed. Defaults to the rules
	// for everyone (*).
	Agent string
	// Ignore fetches and obeys no robots.txt.
	Ignore bool
	// CacheHosts is how many hosts' rules are kept, for a day each. Defaults to
	// 1000; negative: 1.
	CacheHosts int
}

// Limits bounds an answer.
type Limits struct {
	// BodyBytes bounds a body, both on the wire and decoded. Defaults to 10 MiB;
	// negative: no limit.
	BodyBytes int64
	// HeaderBytes bounds an answer's header. Defaults to 64 KiB; negative: 10 MiB.
	HeaderBytes int64
	// Redirects is how many are followed by HTTPClient, Get and Each. Defaults
	// to 10; negative: none, the redirect itself is the result.
	Redirects int
	// Timeout bounds one attempt, from dialling to the end of the body; waits
	// between attempts and for HostLimit come on top. Defaults to 60s; negative:
	// no limit.
	Timeout time.Duration
}

// Options are the settings of a [Client]. Egress is required; the zero value of
// each other field is its default.
type Options struct {
	// Egress is the way out: a *tor.Tor, SOCKS, Proxies or Direct.
	Egress Egress
	// Fallback says what happens when the egress is not available. Defaults to
	// Never.
	Fallback Fallback
	// DisableStartCheck lets New succeed while the egress is not available:
	// requests then fail with ErrEgressUnavailable until it is.
	DisableStartCheck bool
	// Rotation says when identities change.
	Rotation Rotation
	// UserAgents is where user agents come from. Defaults to
	// useragent.Builtin(). A request that has a User-Agent header keeps it.
	UserAgents UserAgents
	// AgentPer says how long a user agent is kept. Defaults to PerIdentity.
	AgentPer AgentPer
	// Header is sent with every request, robots.txt included, in place of what the
	// user agent's browser would send. The fields of the request itself win.
	//
	// A GET without a body is sent as a browser's navigation. A request of another
	// method, with a body, with Authorization or X-Requested-With, or with an
	// Accept that does not name text/html is sent as a program would: with the
	// user agent, but without the fields of a navigation.
	Header http.Header
	// Contact is where a site's owner can reach you: an http or https URL or a
	// mailto: one, of 200 bytes at most. It is appended to the user agent, as
	// "(+https://example.com/bot)". It is for Direct alone: with another egress,
	// which hides who you are, New refuses it. Defaults to none.
	Contact string
	// Retry says which failures are tried again.
	Retry Retry
	// HostLimit spares the hosts.
	HostLimit HostLimit
	// Robots says how robots.txt is obeyed.
	Robots Robots
	// Limits bounds an answer.
	Limits Limits
	// Cache stores answers and makes requests for them conditional. robots.txt
	// is not looked for in it. Requests with cookies pass it by, see Cookies.
	// Defaults to none; package scrape/diskcache has one.
	Cache Cache
	// Allow are addresses that may be asked for although they are not public.
	// With Direct, names such as localhost may be too if they resolve into it.
	Allow []netip.Prefix
	// TLS is the configuration for https. Defaults to Go's.
	TLS *tls.Config
	// Banned reports whether an answer and its decoded body say that the site
	// has banned the exit. With it, bodies are read whole before RoundTrip
	// returns. It is called concurrently. Defaults to never.
	Banned func(res *http.Response, body []byte) bool
	// Cookies makes the cookie jar of an identity; nil from it means no cookies.
	// Defaults to an empty jar that knows the public suffix list.
	Cookies func(Identity) http.CookieJar
	// Hooks are called as things happen.
	Hooks Hooks
	// Logger gets one line per event. Defaults to none.
	Logger *slog.Logger
}

// withDefaults returns a copy with every default filled in, or all that is
// wrong.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("scrape: new: "+format, args...)) }

	if c.Egress == nil {
		bad("Options.Egress is missing: give a *tor.Tor, scrape.SOCKS(addr), scrape.Proxies(urls...), or scrape.Direct() to use your own address")
	} else if v, ok := c.Egress.(validEgress); ok {
		if err := v.validate(); err != nil {
			bad("Options.Egress: %w", err)
		}
	}
	if c.Fallback < Never || c.Fallback > DirectWithWarning {
		bad("Options.Fallback is %d: use Never or DirectWithWarning", c.Fallback)
	}
	if c.AgentPer < PerIdentity || c.AgentPer > PerRequest {
		bad("Options.AgentPer is %d: use PerIdentity or PerRequest", c.AgentPer)
	}
	if c.Contact != "" {
		if err := validContact(c.Contact); err != nil {
			bad("Options.Contact: %w", err)
		} else if _, ok := c.Egress.(direct); !ok && c.Egress != nil {
			bad("Options.Contact tells sites who you are, and the egress hides it: use one of them alone")
		}
	}
	switch c.Rotation.By {
	case Isolation:
	case NewNym:
		if _, ok := c.Egress.(IdentityEgress); (!ok || !hasControl(c.Egress)) && c.Egress != nil {
			bad("Options.Rotation.By is NewNym, but the egress has no NewIdentity: use a *tor.Tor with a control port, or Isolation")
		}
	default:
		bad("Options.Rotation.By is %d: use Isolation or NewNym", c.Rotation.By)
	}
	if c.Rotation.Distinct {
		if _, ok := c.Egress.(ExitEgress); (!ok || !hasControl(c.Egress)) && c.Egress != nil {
			bad("Options.Rotation.Distinct needs an egress that tells its exits: use a *tor.Tor with a control port")
		}
	}
	for i, p := range c.Allow {
		if !p.IsValid() {
			bad("Options.Allow[%d] is no valid prefix", i)
		}
	}
	c.Allow = slices.Clone(c.Allow)
	if c.UserAgents == nil {
		c.UserAgents = useragent.Builtin()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&c.Rotation.Every, 25)
	setDefault(&c.Rotation.MaxAge, 10*time.Minute)
	setDefault(&c.Rotation.Warm, 1)
	setDefault(&c.Retry.Attempts, 3)
	c.Retry.Attempts = max(1, c.Retry.Attempts)
	positive(&c.Retry.Max, 2*time.Minute)
	positive(&c.Retry.Base, min(time.Second, c.Retry.Max))
	if c.Retry.Base > c.Retry.Max {
		bad("Options.Retry.Base is %v, more than Retry.Max, %v", c.Retry.Base, c.Retry.Max)
	}
	if c.Retry.Statuses == nil {
		c.Retry.Statuses = []int{408, 500, 502, 504, 520, 521, 522, 523, 524}
	}
	c.Header = c.Header.Clone()
	setDefault(&c.HostLimit.PerSecond, 5)
	positive(&c.HostLimit.Burst, 1)
	setDefault(&c.HostLimit.InFlight, 8)
	setDefault(&c.Robots.CacheHosts, 1000)
	c.Robots.CacheHosts = max(1, c.Robots.CacheHosts)
	setDefault(&c.Limits.BodyBytes, 10<<20)
	setDefault(&c.Limits.HeaderBytes, 64<<10)
	if c.Limits.HeaderBytes < 0 {
		c.Limits.HeaderBytes = 10 << 20
	}
	setDefault(&c.Limits.Redirects, 10)
	setDefault(&c.Limits.Timeout, time.Minute)
	return c, errors.Join(errs...)
}

// maxContact keeps a user agent within what servers take.
const maxContact = 200

// validContact reports what is wrong with a contact in a user agent.
func validContact(contact string) error {
	u, err := url.Parse(contact)
	switch {
	case err != nil, u.Scheme != "mailto" && (u.Scheme != "http" && u.Scheme != "https" || u.Host == ""), u.Scheme == "mailto" && !strings.Contains(u.Opaque, "@"):
		return errors.New("write a URL, as https://example.com/bot or mailto:bot@example.com")
	case u.User != nil:
		return errors.New("the URL holds a user name")
	case len(contact) > maxContact:
		return fmt.Errorf("%d bytes are more than %d", len(contact), maxContact)
	case strings.ContainsFunc(contact, func(r rune) bool { return r <= ' ' || r > '~' || r == '(' || r == ')' }):
		return errors.New("only printable ASCII without spaces and parentheses may stand in a user agent")
	}
	return nil
}

// setDefault fills in a zero; a negative value stays and means off.
func setDefault[T int | int64 | float64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// positive fills in whatever is not positive: the field cannot be off.
func positive[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}
