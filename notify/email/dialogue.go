package email

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/redact"
	"github.com/svcblocks/svcblocks/notify"
)

// conn is a connection that is ready for mails.
type conn struct {
	raw  *boundedConn // below TLS: its deadline ends whatever is under way
	text *textproto.Conn
	// timeout bounds each step: a reply, or a block of a mail.
	timeout time.Duration
	born    time.Time
	used    time.Time // when it was put back; zero before
	mails   int
	dirty   bool // a transaction is open: RSET goes first
	ext     extensions
}

// extensions is what the server offered that matters here.
type extensions struct {
	startTLS, pipelining, size, utf8, dsn bool
	maxSize                               int64    // 0 if it told none
	auth                                  []string // mechanisms, in capital letters
}

// dial connects, secures the connection and logs in.
func dial(ctx context.Context, s *settings, simple bool) (*conn, error) {
	dialCtx, cancel := bound(ctx, s.Timeout)
	defer cancel()
	nc, err := s.DialContext(dialCtx, "tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
	if err != nil {
		return nil, failure(dialCtx, "dial", err)
	}

	c := &conn{raw: &boundedConn{Conn: nc}, timeout: s.Timeout, born: time.Now()}
	release := c.watch(ctx)
	op, err := c.setUp(ctx, s)
	release()
	if err == nil && ctx.Err() != nil {
		op, err = "dial", context.Cause(ctx)
	}
	if err != nil {
		_ = c.raw.Close()
		return nil, failure(ctx, op, err)
	}

	if simple {
		c.ext = extensions{maxSize: c.ext.maxSize}
	}
	return c, nil
}

func bound(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout < 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

// watch makes everything under way end as soon as ctx does, until release.
func (c *conn) watch(ctx context.Context) (release func()) {
	_ = c.raw.SetDeadline(time.Time{})
	c.raw.left = maxReplies
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.raw.SetDeadline(past)
		close(ended)
	})
	return func() {
		if !stop() {
			<-ended // its deadline must not end what comes after
		}
	}
}

// past is a deadline that ends reads and writes at once.
var past = time.Unix(1, 0)

// step gives the next reply, or the next block of a mail, its time.
func (c *conn) step(ctx context.Context) {
	if c.timeout < 0 {
		return
	}
	_ = c.raw.SetDeadline(time.Now().Add(c.timeout))
	if ctx.Err() != nil { // watch may have been faster
		_ = c.raw.SetDeadline(past)
	}
}

// use makes nc the way to the server.
func (c *conn) use(nc net.Conn) { c.text = textproto.NewConn(nc) }

// setUp says hello, starts TLS and logs in. It returns the step that failed.
func (c *conn) setUp(ctx context.Context, s *settings) (op string, err error) {
	c.use(c.raw)
	if s.TLS == Implicit {
		if err := c.handshake(ctx, s.tls); err != nil {
			return "TLS handshake", err
		}
	}

	c.step(ctx)
	if _, _, err := c.text.ReadResponse(220); err != nil {
		return "greeting", err
	}
	if err := c.hello(ctx, heloName(s.HELO, c.raw)); err != nil {
		return "EHLO", err
	}

	if s.TLS == Mandatory {
		if err := c.startTLS(ctx, s); err != nil {
			return "STARTTLS", err
		}
	}

	if s.Username != "" {
		if err := c.login(ctx, s); err != nil {
			return "AUTH", err
		}
	}
	return "", nil
}

// ask sends a line and reads the reply, whatever its code.
func (c *conn) ask(ctx context.Context, line string) (code int, text string, err error) {
	c.step(ctx)
	if err := c.write(line + "\r\n"); err != nil {
		return 0, "", err
	}
	return c.text.ReadResponse(0)
}

// command is ask for a line whose reply must be of the kind that expect names.
func (c *conn) command(ctx context.Context, expect int, line string) (text string, err error) {
	c.step(ctx)
	if err := c.write(line + "\r\n"); err != nil {
		return "", err
	}
	_, text, err = c.text.ReadResponse(expect)
	return text, err
}

func (c *conn) write(text string) error {
	if _, err := c.text.W.WriteString(text); err != nil {
		return err
	}
	return c.text.W.Flush()
}

// hello introduces the client and reads what the server offers. A server that
// does not know EHLO is greeted by HELO (RFC 5321 §3.2).
func (c *conn) hello(ctx context.Context, name string) error {
	text, err := c.command(ctx, 250, "EHLO "+name)
	if reply, ok := errors.AsType[*textproto.Error](err); ok && reply.Code >= 500 {
		if _, heloErr := c.command(ctx, 250, "HELO "+name); heloErr != nil {
			return err // it says why
		}
		text, err = "", nil
	}
	if err != nil {
		return err
	}
	c.ext = offered(text)
	return nil
}

// offered reads the reply to EHLO. Keywords and parameters are the same in
// capital and small letters (RFC 5321 §2.4, §4.1.1.1). "AUTH=LOGIN PLAIN" is
// the form of a draft, which some servers give alone.
func offered(text string) (ext extensions) {
	_, lines, _ := strings.Cut(text, "\n") // the first one is the server's name
	for line := range strings.SplitSeq(lines, "\n") {
		words := strings.Fields(strings.ToUpper(line))
		if len(words) == 0 {
			continue
		}
		keyword, params := words[0], words[1:]
		if rest, ok := strings.CutPrefix(keyword, "AUTH="); ok {
			keyword, params = "AUTH", append([]string{rest}, params...)
		}

		switch keyword {
		case "STARTTLS":
			ext.startTLS = true
		case "PIPELINING":
			ext.pipelining = true
		case "SMTPUTF8":
			ext.utf8 = true
		case "DSN":
			ext.dsn = true
		case "SIZE":
			ext.size = true
			if len(params) > 0 {
				ext.maxSize, _ = strconv.ParseInt(params[0], 10, 64) // no number: no limit told
			}
		case "AUTH":
			ext.auth = append(ext.auth, params...)
		}
	}
	return ext
}

// startTLS makes the connection private and says hello again: what was offered
// before may have come from somebody else (RFC 3207 §4.2).
func (c *conn) startTLS(ctx context.Context, s *settings) error {
	if !c.ext.startTLS {
		return &notify.Error{
			Op: "STARTTLS", Class: notify.ClassTLS,
			Reason: "server offers no STARTTLS, and mail is not sent in plain text: check Host and Port, or set TLS to implicit or none",
		}
	}

	if _, err := c.command(ctx, 220, "STARTTLS"); err != nil {
		return err
	}
	if c.text.R.Buffered() > 0 {
		return &notify.Error{Op: "STARTTLS", Class: notify.ClassTLS, Reason: "text came in behind the server's answer, which somebody on the way may have added"}
	}
	if err := c.handshake(ctx, s.tls); err != nil {
		return err
	}
	return c.hello(ctx, heloName(s.HELO, c.raw))
}

func (c *conn) handshake(ctx context.Context, config *tls.Config) error {
	c.step(ctx)
	t := tls.Client(c.raw, config)
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	c.use(t)
	return nil
}

// mechanism is a way to log in.
type mechanism struct {
	name string
	auth func(s *settings, key string) smtp.Auth
	// shows says that the server gets the password itself: its no is about that.
	shows bool
}

// Without TLS New allows a loopback host alone, so that PLAIN and LOGIN are safe.
var (
	byPassword = []mechanism{
		{"SCRAM-SHA-256", func(s *settings, key string) smtp.Auth { return smtp.ScramSHA256Auth(s.Username, key) }, false},
		{"SCRAM-SHA-1", func(s *settings, key string) smtp.Auth { return smtp.ScramSHA1Auth(s.Username, key) }, false},
		{"PLAIN", func(s *settings, key string) smtp.Auth { return smtp.PlainAuth("", s.Username, key, s.Host, true) }, true},
		{"LOGIN", func(s *settings, key string) smtp.Auth { return smtp.LoginAuth(s.Username, key, s.Host, true) }, true},
		{"CRAM-MD5", func(s *settings, key string) smtp.Auth { return smtp.CRAMMD5Auth(s.Username, key) }, false},
	}
	byToken = []mechanism{
		{"XOAUTH2", func(s *settings, key string) smtp.Auth { return smtp.XOAuth2Auth(s.Username, key) }, true},
	}
)

// login authenticates with the best mechanism that the server offers, and with
// the next one where one is offered but cannot be completed. The no of a server
// that saw the password is final: each further try could lock the account.
func (c *conn) login(ctx context.Context, s *settings) error {
	key, mechanisms := s.Password, byPassword
	if s.Token != nil {
		var err error
		if key, err = s.Token(ctx); err != nil {
			return notify.NewError("Token", err)
		}
		mechanisms = byToken
	}

	var refused error
	for _, m := range mechanisms {
		if !slices.Contains(c.ext.auth, m.name) {
			continue
		}
		usable, err := c.authenticate(ctx, m.auth(s, key.Reveal()), &smtp.ServerInfo{Name: s.Host, TLS: s.TLS != None, Auth: c.ext.auth})
		if err == nil {
			return nil
		}

		refused = withoutKey(err, key)
		reply, isReply := errors.AsType[*textproto.Error](err)
		if !usable || isReply && (reply.Code < 500 || m.shows && reply.Code == 535) {
			return refused
		}
	}

	if refused != nil {
		return refused
	}
	return &notify.Error{
		Op: "AUTH", Class: notify.ClassAuth,
		Reason: fmt.Sprintf("server offers no login that fits: it offers %q, and %s", strings.Join(c.ext.auth, " "), names(mechanisms)),
	}
}

// names says what could be used.
func names(list []mechanism) string {
	var all []string
	for _, m := range list {
		all = append(all, m.name)
	}
	if len(all) == 1 {
		return "Token is for " + all[0]
	}
	return "Password is for " + strings.Join(all, ", ") + "; for XOAUTH2 set Token"
}

// withoutKey takes the key out of what a server said about it. A token is not
// among the client's Secrets, as each call of Token may give another one.
func withoutKey(err error, key secret.Secret) error {
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		return &textproto.Error{Code: reply.Code, Msg: redact.New(key).String(reply.Msg)}
	}
	return err
}

// maxChallenges bounds the turns of a login: none needs more than three.
const maxChallenges = 8

// authenticate runs one mechanism (RFC 4954 §4). usable reports whether the
// connection is in order for another one after an error.
func (c *conn) authenticate(ctx context.Context, a smtp.Auth, server *smtp.ServerInfo) (usable bool, err error) {
	name, answer, err := a.Start(server)
	if err != nil {
		return true, err
	}
	line := "AUTH " + name
	if answer != nil {
		line += " " + base64.StdEncoding.EncodeToString(answer)
	}

	for range maxChallenges {
		code, text, err := c.ask(ctx, line)
		if err != nil {
			return false, err
		}

		switch code {
		case 235:
			_, err := a.Next([]byte(text), false)
			return false, err
		case 334:
			challenge, err := base64.StdEncoding.DecodeString(text)
			if err == nil {
				answer, err = a.Next(challenge, true)
			}
			if err != nil { // give up this mechanism: the server must answer 501
				code, _, cancelErr := c.ask(ctx, "*")
				return cancelErr == nil && code != 421 && code != 235, err
			}
			line = base64.StdEncoding.EncodeToString(answer)
		default:
			return code != 421, &textproto.Error{Code: code, Msg: text}
		}
	}
	return false, errors.New("server asks without end")
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

// confirm reads what the server did with the mail that was handed over. known
// is false when it did not say.
func (c *conn) confirm(wait time.Duration) (err *notify.Error, known, broken bool) {
	deadline := time.Time{}
	if wait >= 0 {
		deadline = time.Now().Add(wait)
	}
	_ = c.raw.SetDeadline(deadline)

	_, _, failed := c.text.ReadResponse(250)
	switch {
	case failed == nil:
		c.dirty = false
		return nil, true, false
	case isReply(failed):
		c.dirty = false
		return failure(context.Background(), "end of data", failed), true, isEnd(failed)
	default:
		return failure(context.Background(), "end of data", failed), false, true
	}
}

// quit says goodbye without waiting for an answer.
func (c *conn) quit() {
	_ = c.raw.SetDeadline(time.Now().Add(200 * time.Millisecond))
	_ = c.write("QUIT\r\n") // the connection ends either way
	_ = c.raw.Close()
}
