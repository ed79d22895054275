package scrape

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/svcblocks/svcblocks/scrape/diskcache"
	"github.com/svcblocks/svcblocks/scrape/useragent"
)

// Config are the settings of a [Client] in a form that a configuration file can
// hold. Each field means what the field of the same name in [Options] means,
// and the zero Config stands for the defaults. The egress is no setting of
// these: see tor.Config.
type Config struct {
	// Fallback is "never" or "direct-with-warning".
	Fallback Fallback `koanf:"fallback" doc:"never, or direct-with-warning: use the machine's own address while Tor is not available"`
	// DisableStartCheck lets New succeed while the egress is not available.
	DisableStartCheck bool `koanf:"disable_start_check" doc:"start although Tor is not available yet"`
	// Rotation says when identities change: every, max_age, distinct, warm, by.
	Rotation Rotation `koanf:"rotation" doc:"when identities change"`
	// UserAgentsFile is a file of user agents, see useragent.Load.
	UserAgentsFile string `koanf:"user_agents_file" doc:"file of user agents: text, JSON or HTML; the built-in list if empty"`
	// AgentPer is "request" or "identity".
	AgentPer AgentPer `koanf:"agent_per" doc:"how long a user agent is kept: request or identity"`
	// Contact is where a site's owner can reach you, with Direct.
	Contact string `koanf:"contact" doc:"URL or mailto: to append to the user agent; only without Tor"`
	// CacheDir is the folder of a diskcache.Cache, and CacheBytes its bound.
	CacheDir   string `koanf:"cache_dir" doc:"folder to keep answers in, for conditional requests; none if empty"`
	CacheBytes int64  `koanf:"cache_bytes" doc:"bound on cache_dir; 256 MiB if 0, none if negative"`
	// Retry says which failures are tried again: attempts, base, max, bans.
	Retry Retry `koanf:"retry" doc:"which failures are tried again"`
	// HostLimit spares the hosts: per_second, burst, in_flight.
	HostLimit HostLimit `koanf:"host_limit" doc:"how hosts are spared"`
	// Robots says how robots.txt is obeyed: agent, ignore, cache_hosts.
	Robots Robots `koanf:"robots" doc:"how robots.txt is obeyed"`
	// Limits bounds an answer: body_bytes, header_bytes, redirects, timeout.
	Limits Limits `koanf:"limits" doc:"bounds on an answer"`
	// Allow are addresses that may be asked for although they are not public.
	Allow []netip.Prefix `koanf:"allow" doc:"addresses that may be asked for although they are not public, as 127.0.0.0/8"`
}

// DefaultConfig returns the settings with every default written out, for a
// program that wants to show them.
func DefaultConfig() Config {
	o, _ := (&Options{Egress: Direct()}).withDefaults() // nothing in it can be wrong
	return Config{Rotation: o.Rotation, Retry: o.Retry, HostLimit: o.HostLimit, Robots: o.Robots, Limits: o.Limits}
}

// Options returns the Options that the settings stand for; the caller adds the
// egress. It reads UserAgentsFile and opens CacheDir.
func (c Config) Options() (*Options, error) {
	opts := &Options{
		Fallback: c.Fallback, DisableStartCheck: c.DisableStartCheck, Rotation: c.Rotation, AgentPer: c.AgentPer, Retry: c.Retry,
		HostLimit: c.HostLimit, Robots: c.Robots, Limits: c.Limits, Allow: slices.Clone(c.Allow), Contact: c.Contact,
	}
	if c.CacheDir != "" {
		cache, err := diskcache.Open(context.Background(), c.CacheDir, &diskcache.Options{MaxBytes: c.CacheBytes})
		if err != nil {
			return nil, fmt.Errorf("scrape: config: cache_dir: %w", err)
		}
		opts.Cache = cache
	}
	if c.UserAgentsFile != "" {
		pool, err := useragent.Load(c.UserAgentsFile)
		if err != nil {
			return nil, fmt.Errorf("scrape: config: user_agents_file: %w", err)
		}
		opts.UserAgents = pool
	}
	return opts, nil
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
