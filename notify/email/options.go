package email

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
)

// TLSMode says how the connection becomes private.
type TLSMode uint8

const (
	// Mandatory demands STARTTLS before anything else is said. It is the
	// default.
	Mandatory TLSMode = iota
	// Implicit speaks TLS from the first byte, as on port 465.
	Implicit
	// None sends in plain text. A password is then sent to a loopback address
	// only.
	None
)

// String returns "mandatory", "implicit" or "none".
func (m TLSMode) String() string {
	switch m {
	case Mandatory:
		return "mandatory"
	case Implicit:
		return "implicit"
	case None:
		return "none"
	default:
		return fmt.Sprintf("TLSMode(%d)", uint8(m))
	}
}

// MarshalText returns the text of String.
func (m TLSMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText takes what String gives; an empty text is Mandatory.
func (m *TLSMode) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "", "mandatory":
		*m = Mandatory
	case "implicit":
		*m = Implicit
	case "none":
		*m = None
	default:
		return fmt.Errorf("email: TLS mode %q: use mandatory, implicit or none", text)
	}
	return nil
}

// Options are the settings of a [Client]. New copies them. Functions and the
// Logger are set in code; everything else can be loaded from a file.
type Options struct {
	// Host is the name or address of the mail server. Required.
	Host string
	// Port is the server's port. Defaults to 587 for Mandatory, 465 for
	// Implicit and 25 for None.
	Port int `min:"0" max:"65535"`
	// TLS says how the connection becomes private. Defaults to Mandatory.
	TLS TLSMode
	// CAFile is a PEM file with the certificates that the server's is checked
	// against. Defaults to the system's.
	CAFile string
	// Username is the login. Empty means no login.
	Username string
	// Password belongs to Username.
	Password secret.Secret
	// From is the sender, as "Shop <shop@example.com>". Required.
	From string
	// To are the recipients that everybody sees. To or Bcc is required.
	To []string
	// Bcc are recipients that nobody sees: they never stand in a header.
	Bcc []string
	// ReplyTo is where answers go. Defaults to From.
	ReplyTo string
	// EnvelopeFrom is the address that gets bounces. Defaults to From.
	EnvelopeFrom string
	// HELO is the name that the client gives itself. Defaults to the host's
	// name if that is fully qualified, else to the local address.
	HELO string
	// DSN asks the server for a report when it cannot deliver further on.
	DSN bool
	// MaxConns bounds the connections at the same time. Defaults to 4.
	MaxConns int `min:"0"`
	// MaxIdle is how long a connection is kept for the next mail. Defaults to
	// 30s; negative closes it after each.
	MaxIdle time.Duration
	// MaxConnAge is how long a connection is used in all. Defaults to 5m.
	MaxConnAge time.Duration `min:"0s"`
	// MaxPerConn bounds the mails of one connection. Defaults to 100.
	MaxPerConn int `min:"0"`
	// Timeout bounds one call whose ctx ends later. Defaults to 30s; negative
	// means no bound.
	Timeout time.Duration
	// TLSConfig is the base of the client's TLS settings, for certificates of
	// its own or a private authority. ServerName and the session cache are
	// filled in. Defaults to the system's authorities and TLS 1.2 or later.
	TLSConfig *tls.Config `koanf:"-"`
	// DialContext makes the connections. Defaults to a [net.Dialer].
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error) `koanf:"-"`
	// Logger gets the client's own events. Defaults to none.
	Logger *slog.Logger `koanf:"-"`
}

// settings are Options that were checked.
type settings struct {
	Options
	from, envelope *mail.Address
	to, bcc        []*mail.Address
	reply          *mail.Address
	tls            *tls.Config
	trust          time.Duration // see trustFor
}

// withDefaults returns checked settings, or every mistake.
func (o *Options) withDefaults() (settings, error) {
	var s settings
	if o != nil {
		s.Options = *o
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("email: "+format, args...)) }
	if s.Host == "" {
		bad("Host is empty: name the mail server")
	} else if strings.ContainsAny(s.Host, " \t\r\n/@") || strings.Contains(s.Host, ":") && net.ParseIP(s.Host) == nil {
		bad("Host %q is not a host name or address; the port goes to Port", s.Host)
	}
	if s.TLS > None {
		bad("TLS is %v: use Mandatory, Implicit or None", s.TLS)
	}
	if s.Port < 0 || s.Port > 65535 {
		bad("Port is %d: use 1 to 65535, or 0 for the default", s.Port)
	}
	address := func(field, value string, required bool) *mail.Address {
		if value == "" {
			if required {
				bad("%s is empty: give an address", field)
			}
			return nil
		}
		a, err := parseAddress(value)
		if err != nil {
			bad("%s %q: %v", field, value, err)
		}
		return a
	}
	s.from = address("From", s.From, true)
	s.reply = address("ReplyTo", s.ReplyTo, false)
	if s.envelope = address("EnvelopeFrom", s.EnvelopeFrom, false); s.envelope == nil {
		s.envelope = s.from
	}
	for i, a := range s.To {
		s.to = append(s.to, address(fmt.Sprintf("To[%d]", i), a, true))
	}
	for i, a := range s.Bcc {
		s.bcc = append(s.bcc, address(fmt.Sprintf("Bcc[%d]", i), a, true))
	}
	if len(s.To)+len(s.Bcc) == 0 {
		bad("To and Bcc are empty: give at least one recipient")
	}
	s.To, s.Bcc = slices.Clone(s.To), slices.Clone(s.Bcc)
	if !s.Password.IsZero() && s.Username == "" {
		bad("Password is set but Username is empty")
	}
	if s.Username != "" && s.Password.IsZero() {
		bad("Username is set but Password is empty")
	}
	if s.TLS == None && s.Username != "" && !isLoopback(s.Host) {
		bad("TLS is None and Host is not a loopback address: the password would be sent in plain text; use Mandatory or Implicit")
	}
	if strings.ContainsAny(s.HELO, " \t\r\n") {
		bad("HELO %q has spaces or line breaks", s.HELO)
	}
	for _, f := range []struct {
		name  string
		value int
	}{{"MaxConns", s.MaxConns}, {"MaxPerConn", s.MaxPerConn}} {
		if f.value < 0 {
			bad("%s is %d: use 0 for the default, or a positive number", f.name, f.value)
		}
	}
	if s.MaxConnAge < 0 {
		bad("MaxConnAge is %v: use 0 for 5m, or a positive duration", s.MaxConnAge)
	}
	s.tls = s.tlsConfig(bad)
	s.fill()
	return s, errors.Join(errs...)
}

func (s *settings) fill() {
	if s.Port == 0 {
		s.Port = map[TLSMode]int{Mandatory: 587, Implicit: 465, None: 25}[s.TLS]
	}
	if s.MaxConns == 0 {
		s.MaxConns = 4
	}
	if s.MaxIdle == 0 {
		s.MaxIdle = 30 * time.Second
	}
	if s.MaxConnAge == 0 {
		s.MaxConnAge = 5 * time.Minute
	}
	if s.MaxPerConn == 0 {
		s.MaxPerConn = 100
	}
	if s.Timeout == 0 {
		s.Timeout = 30 * time.Second
	}
	if s.DialContext == nil {
		s.DialContext = (&net.Dialer{}).DialContext
	}
	s.trust = trustFor
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	s.Logger = s.Logger.With("component", "notify/email")
}

// tlsConfig makes the settings that all connections share: without a common
// session cache each would pay for a full handshake and, with TLS 1.3, some
// 40 ms more while the server's session tickets wait for an acknowledgement.
func (s *settings) tlsConfig(bad func(string, ...any)) *tls.Config {
	if s.TLS == None {
		return nil
	}
	c := s.TLSConfig.Clone()
	if c == nil {
		c = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.ServerName == "" {
		c.ServerName = s.Host
	}
	if c.ClientSessionCache == nil {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			bad("CAFile: %v", err)
			return c
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			bad("CAFile %s has no certificate in PEM form", s.CAFile)
		}
	}
	return c
}

// parseAddress reads an address as it may stand in a header.
func parseAddress(text string) (*mail.Address, error) {
	a, err := mail.ParseAddress(text)
	if err != nil {
		return nil, errors.New("not a mail address, as user@example.com or Name <user@example.com>")
	}
	for _, r := range a.Address {
		if r <= ' ' || r == 0x7f || r == '<' || r == '>' {
			return nil, errors.New("address has spaces, control characters or angle brackets")
		}
	}
	if strings.ContainsFunc(a.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, errors.New("name has control characters")
	}
	local, domain, _ := cutLast(a.Address, "@")
	if len(local) > 64 || len(domain) > 255 { // RFC 5321 §4.5.3.1
		return nil, errors.New("address is longer than mail allows (64 before the @, 255 after it)")
	}
	return a, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
