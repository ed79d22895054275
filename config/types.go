package config

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strconv"

	"github.com/svcblocks/svcblocks/config/internal/typed"
	"github.com/svcblocks/svcblocks/config/secret"
	tags "github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/internal/redact"
)

// Secret is a value that does not show itself; see [secret.Secret]. Key types
// of this type are redacted in every report, explanation and log line.
type Secret = secret.Secret

// Bytes is a size in bytes. Its text is a whole or decimal number with a unit:
// B, KB, MB, GB, TB, PB (powers of 1000) or KiB, MiB, GiB, TiB, PiB (powers of
// 1024), such as "64MiB" or "1.5GB". A number without a unit counts bytes.
type Bytes int64

// ParseBytes reads the text of a [Bytes]. Sizes are not negative.
func ParseBytes(text string) (Bytes, error) {
	n, err := tags.ParseSize(text)
	if err != nil {
		return 0, fmt.Errorf("config: parse size %q: %w", text, err)
	}
	return Bytes(n), nil
}

// String writes the size with the largest unit that divides it, such as
// "64MiB"; [ParseBytes] reads it back.
func (b Bytes) String() string {
	if b > 0 {
		return tags.FormatSize(int64(b))
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// MarshalText returns [Bytes.String].
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText sets b by [ParseBytes].
func (b *Bytes) UnmarshalText(text []byte) error {
	v, err := ParseBytes(string(text))
	if err == nil {
		*b = v
	}
	return err
}

// URL is an absolute URL, such as "https://hooks.example/x". The zero URL is
// empty.
//
// Whatever prints or encodes it shows "[redacted]" in place of the userinfo, the
// query and the fragment: every verb of fmt, also in a list or struct, log/slog,
// and the encoders for JSON, XML, YAML and gob. Two ways give the whole address,
// as they do for net/url: [URL.String] called by name, also from text/template
// ({{.URL.String}}), go-cmp and spew, and what reads fields by reflection. A
// webhook whose path is the secret goes into a [Secret].
type URL struct{ url.URL }

// ParseURL reads an absolute URL. Its error does not repeat the text, which
// may hold a password.
func ParseURL(text string) (URL, error) {
	u, err := typed.ParseURL(text)
	if err != nil {
		return URL{}, fmt.Errorf("config: parse URL: %w", err)
	}
	return URL{*u}, nil
}

// String returns the whole address, with its password if it has one. Use it to
// make requests, and print u itself.
func (u URL) String() string { return u.URL.String() }

// masked is the address as it may be shown.
func (u URL) masked() string { return redact.URL(u.URL.String()) }

// Format writes the masked address for every verb and flag.
func (u URL) Format(f fmt.State, verb rune) {
	switch {
	case verb == 'v' && f.Flag('#'):
		_, _ = io.WriteString(f, u.GoString())
	case verb == 'q':
		_, _ = io.WriteString(f, strconv.Quote(u.masked()))
	default:
		_, _ = io.WriteString(f, u.masked())
	}
}

// GoString returns the masked address as a Go expression for %#v.
func (u URL) GoString() string { return "config.URL(" + strconv.Quote(u.masked()) + ")" }

// LogValue returns the masked address for log/slog.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.masked()) }

// IsZero reports whether the URL is empty.
func (u URL) IsZero() bool { return u.URL == url.URL{} }

// Equal reports whether both are written the same, passwords included.
func (u URL) Equal(other URL) bool { return u.URL.String() == other.URL.String() }

// MarshalText returns the masked address: encoded settings do not carry their
// secrets.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.masked()), nil }

// MarshalJSON returns the masked address as a JSON string.
func (u URL) MarshalJSON() ([]byte, error) { return json.Marshal(u.masked()) }

// MarshalBinary returns the masked address, for encoding/gob.
func (u URL) MarshalBinary() ([]byte, error) { return u.MarshalText() }

// UnmarshalText sets u by [ParseURL].
func (u *URL) UnmarshalText(text []byte) error {
	v, err := ParseURL(string(text))
	if err == nil {
		*u = v
	}
	return err
}

// specials says what the schema cannot see of types that read text: the package's
// own, and those of the standard library that settings hold most.
func specials() map[reflect.Type]typed.Special {
	return map[reflect.Type]typed.Special{
		reflect.TypeFor[Bytes]():          {Want: "a size, such as 512KiB or 64MiB"},
		reflect.TypeFor[slog.Level]():     {Want: "a level: DEBUG, INFO, WARN or ERROR"},
		reflect.TypeFor[slog.LevelVar]():  {Want: "a level: DEBUG, INFO, WARN or ERROR"},
		reflect.TypeFor[regexp.Regexp]():  {Want: "a regular expression"},
		reflect.TypeFor[netip.Addr]():     {Want: "an address, such as 192.0.2.1 or 2001:db8::1"},
		reflect.TypeFor[netip.AddrPort](): {Want: "an address and port, such as 192.0.2.1:80 or [2001:db8::1]:80"},
		reflect.TypeFor[netip.Prefix]():   {Want: "a network, such as 10.0.0.0/8 or fd00::/8"},
		reflect.TypeFor[URL](): {
			Want: "a URL, such as https://host/path",
			Text: func(rv reflect.Value) string { u := rv.Interface().(URL); return u.URL.String() },
			Secret: func(rv reflect.Value) bool {
				u := rv.Interface().(URL)
				_, has := u.User.Password()
				return has
			},
		},
	}
}
