package email

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"github.com/svcblocks/svcblocks/internal/loopback"
	"github.com/svcblocks/svcblocks/internal/options"
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
	Port int `doc:"port of the mail server; 587, 465 or 25 by TLS if not set" min:"1" max:"65535"`
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
	MaxConns int `doc:"connections at the same time" default:"4" min:"1" zero:"default"`
	// MaxIdle is how long a connection is kept for the next mail. Defaults to
	// 30s; negative closes it after each.
	MaxIdle time.Duration `doc:"how long an idle connection is kept; negative closes it after each mail" default:"30s" zero:"default"`
	// MaxConnAge is how long a connection is used in all. Defaults to 5m.
	MaxConnAge time.Duration `doc:"how long a connection is used in all" default:"5m" min:"0s" zero:"default"`
	// MaxPerConn bounds the mails of one connection. Defaults to 100.
	MaxPerConn int `doc:"mails of one connection" default:"100" min:"1" zero:"default"`
	// Timeout bounds each step up to the end of a mail: to connect, a reply, 64
	// KiB of the mail. Defaults to 30s; negative means no bound but ctx.
	Timeout time.Duration `doc:"bound of each step: to connect, a reply, 64 KiB of a mail; negative is none" default:"30s" zero:"default"`
	// ConfirmTimeout bounds how long the server may take to confirm a mail that
	// it has whole. To give up earlier sends it twice (RFC 5321 §4.5.3.2.6).
	// Defaults to 10m; negative means no bound.
	ConfirmTimeout time.Duration `doc:"how long the server may take to confirm a mail; negative is no bound" default:"10m" zero:"default"`
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

// Validate returns every mistake in what is set, each by its field. Options of
// which nothing is set are no receiver, and right.
func (o Options) Validate() error {
	if o.Host == "" && o.From == "" && len(o.To)+len(o.Bcc) == 0 && o.Username == "" {
		return nil
	}
	s := settings{Options: o}
	wrong := s.check()
	return wrong.Err("email: options")
}

// withDefaults returns settings with every default, and every mistake in them.
func (o *Options) withDefaults() (settings, error) {
	var s settings
	if o != nil {
		s.Options = *o
	}
	options.Fill(&s.Options)
	wrong := s.check()
	if s.TLS != None {
		s.tls = s.tlsConfig(&wrong)
	}

	s.To, s.Bcc, s.Headers = slices.Clone(s.To), slices.Clone(s.Bcc), maps.Clone(s.Headers)
	if s.Port == 0 {
		s.Port = map[TLSMode]int{Mandatory: 587, Implicit: 465, None: 25}[s.TLS]
	}
	if s.DialContext == nil {
		s.DialContext = (&net.Dialer{}).DialContext
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	s.Logger = s.Logger.With("component", "notify/email")
	return s, wrong.Err("email: new")
}

// check reads what is written as text, and returns what is wrong with it.
func (s *settings) check() options.Mistakes {
	wrong := options.Check(s.Options)
	s.checkServer(&wrong)
	s.checkLogin(&wrong)
	s.checkAddresses(&wrong)
	s.checkHeaders(&wrong)
	return wrong
}

func (s *settings) checkServer(wrong *options.Mistakes) {
	switch {
	case s.Host == "":
		wrong.Add("Host", "is empty: name the mail server")
	case strings.ContainsAny(s.Host, " \t\r\n/@"), strings.Contains(s.Host, ":") && net.ParseIP(s.Host) == nil:
		wrong.Add("Host", "%q is not a host name or address; the port goes to Port", s.Host)
	}
	if s.TLS > None {
		wrong.Add("TLS", "%v is none: use Mandatory, Implicit or None", s.TLS)
	}
	if strings.ContainsFunc(s.HELO, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		wrong.Add("HELO", "%q is not a host name in ASCII", s.HELO)
	}
}

func (s *settings) checkLogin(wrong *options.Mistakes) {
	hasKey := !s.Password.IsZero() || s.Token != nil
	if hasKey && s.Username == "" {
		wrong.Add("Username", "is empty, but Password or Token is set")
	}
	if s.Username != "" && !hasKey {
		wrong.Add("Password", "is empty, and so is Token, but Username is set")
	}

	if !s.Password.IsZero() && s.Token != nil {
		wrong.Add("Token", "is set, and so is Password: use one")
	}
	if strings.ContainsAny(s.Username, "\x00\x01\r\n") {
		wrong.Add("Username", "has control characters")
	}
	if strings.ContainsRune(s.Password.Reveal(), 0) {
		wrong.Add("Password", "has a zero byte")
	}

	if s.TLS == None && s.Username != "" && !loopback.Is(s.Host) {
		wrong.Add("TLS", "is None and Host is not this machine: the password would be sent in plain text; use Mandatory or Implicit")
	}
}

func (s *settings) checkAddresses(wrong *options.Mistakes) {
	parse := func(field, value string, required bool) *address {
		if value == "" {
			if required {
				wrong.Add(field, "is empty: give an address")
			}
			return nil
		}
		a, err := parseAddress(value)
		if err != nil {
			wrong.Add(field, "%q: %v", value, err)
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
		wrong.Add("To", "is empty, and so is Bcc: give at least one recipient")
	}
	s.to, s.bcc = list("To", s.To), list("Bcc", s.Bcc)
	s.recipients = unique(slices.Concat(s.to, s.bcc)...)
}

// ours are the headers that Options.Headers cannot set: who writes to whom, and
// the form of the mail.
var ours = []string{
	"Bcc", "Cc", "Date", "From", "In-Reply-To", "Message-Id", "Received", "References", "Reply-To", "Return-Path", "Sender", "Subject", "To",
}

func (s *settings) checkHeaders(wrong *options.Mistakes) {
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		value, key := s.Headers[name], textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }): // RFC 5322 §2.2
			wrong.Add("Headers", "%q is not the name of a header", name)
		case slices.Contains(ours, key) || key == "Mime-Version" || strings.HasPrefix(key, "Content-") || strings.HasPrefix(key, "Resent-"):
			wrong.Add("Headers", "%s is set by the client; use the option for it, if there is one", name)
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
			wrong.Add("Headers", "the value of %s has control characters", name)
		default:
			s.headers = append(s.headers, header{name, value})
		}
	}
}

// tlsConfig makes the settings that all connections share: without a common
// session cache each would pay for a full handshake and, with TLS 1.3, some
// 40 ms more while the server's session tickets wait for an acknowledgement.
func (s *settings) tlsConfig(wrong *options.Mistakes) *tls.Config {
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
			wrong.Add("CAFile", "%v", err)
			return c
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			wrong.Add("CAFile", "%s has no certificate in PEM form", s.CAFile)
		}
	}

	return c
}
