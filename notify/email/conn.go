package email

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"

	"github.com/svcblocks/svcblocks/notify"
)

// conn is a connection that is ready for mails.
type conn struct {
	raw     *boundedConn // below TLS: its deadline ends whatever is under way
	client  *smtp.Client
	born    time.Time
	used    time.Time     // when it was put back; zero before
	trust   time.Duration // how long after used a whole mail may go at once
	mails   int
	dirty   bool // a transaction is open: RSET goes first
	proven  bool // the server took a chunk
	maxSize int64
	ext     extensions
}

// extensions is what the server offered that matters here.
type extensions struct {
	pipelining, chunking, size, utf8, dsn bool
}

// dial connects, secures the connection and logs in.
func dial(ctx context.Context, s *settings) (*conn, error) {
	nc, err := s.DialContext(ctx, "tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
	if err != nil {
		return nil, failure(ctx, "dial", err)
	}
	raw := &boundedConn{Conn: ackQuickly(nc)}
	c := &conn{raw: raw, born: time.Now(), trust: s.trust}
	release := c.watch(ctx)
	op, err := c.setUp(ctx, s)
	if !release() && err == nil {
		op, err = "dial", context.Cause(ctx)
	}
	if err != nil {
		_ = raw.Close()
		return nil, failure(ctx, op, err)
	}
	return c, nil
}

// watch makes everything under way end as soon as ctx does. release reports
// whether ctx had not ended.
func (c *conn) watch(ctx context.Context) (release func() bool) {
	_ = c.raw.SetDeadline(time.Time{})
	c.raw.left = maxReplies
	return context.AfterFunc(ctx, func() { _ = c.raw.SetDeadline(time.Unix(1, 0)) })
}

// setUp says hello, starts TLS and logs in. It returns the step that failed.
func (c *conn) setUp(ctx context.Context, s *settings) (op string, err error) {
	var nc net.Conn = c.raw
	if s.TLS == Implicit {
		t := tls.Client(c.raw, s.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			return "TLS handshake", err
		}
		nc = t
	}
	if c.client, err = smtp.NewClient(nc, s.Host); err != nil {
		return "greeting", err
	}
	if err := c.client.Hello(heloName(s.HELO, c.raw)); err != nil {
		return "EHLO", err
	}
	if s.TLS == Mandatory {
		if ok, _ := c.client.Extension("STARTTLS"); !ok {
			return "STARTTLS", &notify.Error{
				Op: "STARTTLS", Class: notify.ClassTLS,
				Reason: "server offers no STARTTLS, and mail is not sent in plain text: check Host and Port, or set TLS to implicit or none",
			}
		}
		if err := c.client.StartTLS(s.tls); err != nil {
			return "STARTTLS", err
		}
	}
	if s.Username != "" {
		if err := c.login(s); err != nil {
			return "AUTH", err
		}
	}
	c.ext.pipelining, _ = c.client.Extension("PIPELINING")
	c.ext.chunking, _ = c.client.Extension("CHUNKING")
	c.ext.utf8, _ = c.client.Extension("SMTPUTF8")
	c.ext.dsn, _ = c.client.Extension("DSN")
	var size string
	if c.ext.size, size = c.client.Extension("SIZE"); c.ext.size {
		c.maxSize, _ = strconv.ParseInt(strings.TrimSpace(size), 10, 64) // no number: no limit told
	}
	return "", nil
}

// login authenticates with the best mechanism that the server offers.
func (c *conn) login(s *settings) error {
	_, offered := c.client.Extension("AUTH")
	user, password := s.Username, s.Password.Reveal()
	// Without TLS New allows a loopback host alone.
	for _, mech := range []struct {
		name string
		auth func() smtp.Auth
	}{
		{"SCRAM-SHA-256", func() smtp.Auth { return smtp.ScramSHA256Auth(user, password) }},
		{"SCRAM-SHA-1", func() smtp.Auth { return smtp.ScramSHA1Auth(user, password) }},
		{"PLAIN", func() smtp.Auth { return smtp.PlainAuth("", user, password, s.Host, s.TLS == None) }},
		{"LOGIN", func() smtp.Auth { return smtp.LoginAuth(user, password, s.Host, s.TLS == None) }},
		{"CRAM-MD5", func() smtp.Auth { return smtp.CRAMMD5Auth(user, password) }},
	} {
		for name := range strings.FieldsSeq(offered) {
			if strings.EqualFold(name, mech.name) {
				return c.client.Auth(mech.auth())
			}
		}
	}
	return &notify.Error{
		Op: "AUTH", Class: notify.ClassAuth,
		Reason: fmt.Sprintf("server offers no login that is supported (it offers %q)", offered),
	}
}

// heloName returns configured, a fully qualified host name, or an address
// literal (RFC 5321 §4.1.3).
func heloName(configured string, nc net.Conn) string {
	if configured != "" {
		return configured
	}
	if name, err := os.Hostname(); err == nil && strings.Contains(strings.Trim(name, "."), ".") && !strings.ContainsAny(name, " \r\n") {
		return name
	}
	host, _, err := net.SplitHostPort(nc.LocalAddr().String())
	ip := net.ParseIP(host)
	switch {
	case err != nil || ip == nil:
		return "[127.0.0.1]"
	case ip.To4() != nil:
		return "[" + ip.To4().String() + "]"
	default:
		return "[IPv6:" + ip.String() + "]"
	}
}

// quit says goodbye without waiting for an answer.
func (c *conn) quit() {
	_ = c.raw.SetDeadline(time.Now().Add(200 * time.Millisecond))
	if w := c.client.Text.W; w != nil {
		if _, err := w.WriteString("QUIT\r\n"); err == nil {
			_ = w.Flush()
		}
	}
	_ = c.raw.Close()
}

func (c *conn) text() *textproto.Conn { return c.client.Text }
