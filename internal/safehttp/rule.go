package safehttp

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/svcblocks/svcblocks/internal/loopback"
)

// ErrPlain says that a secret would travel in clear.
var ErrPlain = errors.New("a secret would travel in clear")

// Rule says which addresses are good enough for what travels to them.
type Rule struct {
	// Secret says that a secret goes along, in a header, the path or the body:
	// then http is for this machine alone.
	Secret bool
	// AllowPlain is the opt-out of that.
	AllowPlain bool
	// OptOut names the option that sets AllowPlain, for errors. Optional.
	OptOut string
}

// Parse reads an address and checks it. Errors show scheme and host alone.
func (r Rule) Parse(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("it is no URL: write https://host/path") // err quotes it, and what it may hold
	}
	if err := r.Check(u); err != nil {
		return nil, err
	}
	return u, nil
}

// Check reports an address that is not http or https, has no host or a port that
// does not exist, carries a user or password, or over which a secret must not travel: that one matches
// [ErrPlain].
func (r Rule) Check(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("scheme %q is neither http nor https", u.Scheme)
	case u.Hostname() == "":
		return errors.New("it has no host: write https://host/path")
	case !validPort(u.Port()):
		return fmt.Errorf("port %s is not between 1 and 65535", u.Port())
	case u.User != nil:
		return fmt.Errorf("%s carries a user or password: give them in the fields made for it", Origin(u))
	case r.Secret && !r.AllowPlain && u.Scheme == "http" && !loopback.Is(u.Hostname()):
		help := "write https"
		if r.OptOut != "" {
			help += ", or set " + r.OptOut
		}
		return fmt.Errorf("%w to %s: %s", ErrPlain, Origin(u), help)
	}

	return nil
}

// validPort reports whether a port, of which url.Parse let digits alone through,
// exists. "" is the scheme's.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// Origin returns scheme and host of u, which are what may be shown of it.
func Origin(u *url.URL) string { return u.Scheme + "://" + u.Host }
