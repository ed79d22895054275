package email

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/textproto"
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
	Host string `doc:"name or address of the mail server"`
	// Port is the server's port. Defaults to 587 for Mandatory, 465 for
	// Implicit and 25 for None.
	Port int `doc:"port of the mail server; 587, 465 or 25 by TLS if not set" min:"0" max:"65535"`
	// TLS says how the connection becomes private. Defaults to Mandatory.
	TLS TLSMode `doc:"how the connection becomes private: mandatory (STARTTLS), implicit or none"`
	// CAFile is a PEM file with the certificates that the server's is checked
	// against. Defaults to the system's.
	CAFile string `doc:"PEM file with the authorities of the server's certificate; the system's if not set"`
	// Username is the login. Empty means no login.
	Username string `doc:"login; none if empty"`
	// Password belongs to Username.
	Password secret.Secret `doc:"password of the login"`
	// Token returns the OAuth 2.0 access token of Username, for servers that
	// take XOAUTH2 in place of a password. It is called for each connection:
	// keep the token until it expires. Its error is the mail's; one that says
	// Temporary() is tried again. Defaults to none.
	Token func(ctx context.Context) (secret.Secret, error) `koanf:"-"`
	// From is the sender, as "Shop <shop@example.com>". Required.
	From string `doc:"sender, as Shop <shop@example.com>"`
	// To are the recipients that everybody sees. To or Bcc is required.
	To []string `doc:"recipients"`
	// Bcc are recipients that nobody sees: they never stand in a header.
	Bcc []string `doc:"recipients that nobody sees"`
	// ReplyTo is where answers go. Defaults to From.
	ReplyTo string `doc:"where answers go; From if not set"`
	// EnvelopeFrom is the address that gets bounces. Defaults to From.
	EnvelopeFrom string `doc:"address that gets bounces; From if not set"`
	// Headers are more headers of each mail, as "List-Id" or those that a mail
	// service reads. Those that name the sender, the recipients, the subject or
	// the form of the mail are not among them. Defaults to none.
	Headers map[string]string `doc:"more headers of each mail"`
	// HELO is the name that the client gives itself. Defaults to the host's
	// name if that is fully qualified, else to the local address.
	HELO string `doc:"name that the client gives itself; the host's or its address if not set"`
	// DSN asks the server for a report when it cannot deliver further on.
	DSN bool `doc:"ask for a report when a mail cannot be delivered further on"`
	// Simple does without every extension but STARTTLS and AUTH, for servers
	// that announce what they cannot do: one command at a time, and addresses
	// in ASCII. A server that offers PIPELINING and then falls silent is treated
	// so for an hour without it.
	Simple bool `doc:"do without extensions that the server offers, but for STARTTLS and AUTH"`
	// MaxConns bounds the connections at the same time. Defaults to 4.
	MaxConns int `doc:"connections at the same time" default:"4" min:"0"`
	// MaxIdle is how long a connection is kept for the next mail. Defaults to
	// 30s; negative closes it after each.
	MaxIdle time.Duration `doc:"how long an idle connection is kept; negative closes it after each mail" default:"30s"`
	// MaxConnAge is how long a connection is used in all. Defaults to 5m.
	MaxConnAge time.Duration `doc:"how long a connection is used in all" default:"5m" min:"0s"`
	// MaxPerConn bounds the mails of one connection. Defaults to 100.
	MaxPerConn int `doc:"mails of one connection" default:"100" min:"0"`
	// Timeout bounds each step up to the end of a mail: to connect, a reply, 64
	// KiB of the mail. Defaults to 30s; negative means no bound but ctx.
	Timeout time.Duration `doc:"bound of each step: to connect, a reply, 64 KiB of a mail; negative is none" default:"30s"`
	// ConfirmTimeout bounds how long the server may take to confirm a mail that
	// it has whole. To give up earlier sends it twice (RFC 5321 §4.5.3.2.6).
	// Defaults to 10m; negative means no bound.
	ConfirmTimeout time.Duration `doc:"how long the server may take to confirm a mail; negative is no bound" default:"10m"`
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
	from, envelope, reply *address
	to, bcc               []*address
	recipients            []*address // to and bcc, each once
	headers               []header
	// utf8 says that From, EnvelopeFrom or ReplyTo need SMTPUTF8.
	utf8 bool
	tls  *tls.Config
}

// header is one of Options.Headers.
type header struct{ name, value string }

// withDefaults returns checked settings, or every mistake.
func (o *Options) withDefaults() (settings, error) {
	var s settings
	if o != nil {
		s.Options = *o
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("email: "+format, args...)) }

	s.checkServer(bad)
	s.checkLogin(bad)
	s.checkAddresses(bad)
	s.checkHeaders(bad)
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

func (s *settings) checkServer(bad func(string, ...any)) {
	switch {
	case s.Host == "":
		bad("Host is empty: name the mail server")
	case strings.ContainsAny(s.Host, " \t\r\n/@"), strings.Contains(s.Host, ":") && net.ParseIP(s.Host) == nil:
		bad("Host %q is not a host name or address; the port goes to Port", s.Host)
	}
	if s.TLS > None {
		bad("TLS is %v: use Mandatory, Implicit or None", s.TLS)
	}
	if s.Port < 0 || s.Port > 65535 {
		bad("Port is %d: use 1 to 65535, or 0 for the default", s.Port)
	}
	if strings.ContainsFunc(s.HELO, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		bad("HELO %q is not a host name in ASCII", s.HELO)
	}
}

func (s *settings) checkLogin(bad func(string, ...any)) {
	hasKey := !s.Password.IsZero() || s.Token != nil
	if hasKey && s.Username == "" {
		bad("Password or Token is set but Username is empty")
	}
	if s.Username != "" && !hasKey {
		bad("Username is set but Password and Token are empty")
	}
	if !s.Password.IsZero() && s.Token != nil {
		bad("Password and Token are both set: use one")
	}
	if strings.ContainsAny(s.Username, "\x00\x01\r\n") || strings.ContainsRune(s.Password.Reveal(), 0) {
		bad("Username or Password has control characters")
	}
	if s.TLS == None && s.Username != "" && !isLoopback(s.Host) {
		bad("TLS is None and Host is not a loopback address: the password would be sent in plain text; use Mandatory or Implicit")
	}
}

func (s *settings) checkAddresses(bad func(string, ...any)) {
	parse := func(field, value string, required bool) *address {
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
	list := func(field string, values []string) (all []*address) {
		for i, v := range values {
			if a := parse(fmt.Sprintf("%s[%d]", field, i), v, true); a != nil {
				all = append(all, a)
			}
		}
		return all
	}

	s.from = parse("From", s.From, true)
	s.reply = parse("ReplyTo", s.ReplyTo, false)
	if s.envelope = parse("EnvelopeFrom", s.EnvelopeFrom, false); s.envelope == nil {
		s.envelope = s.from
	}
	for _, a := range []*address{s.from, s.reply, s.envelope} {
		s.utf8 = s.utf8 || a != nil && a.utf8()
	}
	if len(s.To)+len(s.Bcc) == 0 {
		bad("To and Bcc are empty: give at least one recipient")
	}
	s.to, s.bcc = list("To", s.To), list("Bcc", s.Bcc)
	s.recipients = unique(slices.Concat(s.to, s.bcc)...)
	s.To, s.Bcc = slices.Clone(s.To), slices.Clone(s.Bcc)
}

// ours are the headers that Options.Headers cannot set: who writes to whom, and
// the form of the mail.
var ours = []string{
	"Bcc", "Cc", "Date", "From", "In-Reply-To", "Message-Id", "Received", "References", "Reply-To", "Return-Path", "Sender", "Subject", "To",
}

func (s *settings) checkHeaders(bad func(string, ...any)) {
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		value, key := s.Headers[name], textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }): // RFC 5322 §2.2
			bad("Headers: %q is not the name of a header", name)
		case slices.Contains(ours, key) || key == "Mime-Version" || strings.HasPrefix(key, "Content-") || strings.HasPrefix(key, "Resent-"):
			bad("Headers: %s is set by the client; use the option for it, if there is one", name)
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
			bad("Headers: the value of %s has control characters", name)
		default:
			s.headers = append(s.headers, header{name, value})
		}
	}
	s.Headers = maps.Clone(s.Headers)
}

func (s *settings) fill() {
	if s.Port == 0 {
		s.Port = map[TLSMode]int{Mandatory: 587, Implicit: 465, None: 25}[s.TLS]
	}
	s.MaxConns = cmp.Or(s.MaxConns, 4)
	s.MaxIdle = cmp.Or(s.MaxIdle, 30*time.Second)
	s.MaxConnAge = cmp.Or(s.MaxConnAge, 5*time.Minute)
	s.MaxPerConn = cmp.Or(s.MaxPerConn, 100)
	s.Timeout = cmp.Or(s.Timeout, 30*time.Second)
	s.ConfirmTimeout = cmp.Or(s.ConfirmTimeout, 10*time.Minute)
	if s.DialContext == nil {
		s.DialContext = (&net.Dialer{}).DialContext
	}
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

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
