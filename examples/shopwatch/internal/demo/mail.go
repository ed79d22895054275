package demo

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// MailOptions holds the settings of a [MailCatcher]. The zero value is ready
// to use.
type MailOptions struct {
	Addr          string       // loopback address to listen on. Defaults to 127.0.0.1:0.
	Keep          int          // mails kept to look at. Defaults to 50.
	MaxBytes      int64        // of one mail; larger ones are refused with 552. Defaults to 1 MiB.
	MaxRecipients int          // of one mail. Defaults to 50.
	Logger        *slog.Logger // nil means no log
}

// Mail is one mail as it was caught.
type Mail struct {
	Number     int64 // counts from 1
	MessageID  string
	Arrived    time.Time
	From       string   // of the envelope
	Recipients []string // of the envelope
	Header     string   // the From header, decoded
	To         string   // the To header, decoded
	Subject    string   // decoded
	Text       string   // the first text part, decoded; at most 16 KiB
	Bytes      int      // size as sent
}

// MailStats counts what a [MailCatcher] got since its start.
type MailStats struct {
	Caught  int64
	Repeats int64 // mails among them whose Message-ID was in those kept
	Refused int64 // mails that did not parse or were too large
}

// MailCatcher is an SMTP server that keeps what it gets and sends nothing on.
// It offers no TLS and asks for no password: it is for loopback. All methods
// are safe for concurrent use.
type MailCatcher struct {
	opts   MailOptions
	addr   string
	server *smtp.Server
	l      *tracked
	active sync.WaitGroup // mails being taken
	done   chan struct{}
	once   sync.Once
	err    error

	mu      sync.Mutex
	closing bool
	stats   MailStats
	last    *ring[Mail]
}

const maxMailText = 16 << 10

// StartMailCatcher starts a mail catcher. ctx bounds the start only. Nil opts
// means all defaults.
func StartMailCatcher(ctx context.Context, opts *MailOptions) (*MailCatcher, error) {
	c := &MailCatcher{done: make(chan struct{})}
	if opts != nil {
		c.opts = *opts
	}
	o := &c.opts
	if o.Keep < 0 || o.MaxBytes < 0 || o.MaxRecipients < 0 {
		return nil, errors.New("demo: start mail catcher: Keep and the limits must not be negative")
	}

	o.Keep = cmp.Or(o.Keep, 50)
	o.MaxBytes = cmp.Or(o.MaxBytes, 1<<20)
	o.MaxRecipients = cmp.Or(o.MaxRecipients, 50)
	o.Logger = orDiscard(o.Logger)
	c.last = newRing[Mail](o.Keep)
	l, err := listen(ctx, o.Addr)
	if err != nil {
		return nil, fmt.Errorf("demo: start mail catcher: %w", err)
	}

	c.l, c.addr = &tracked{Listener: l, conns: map[net.Conn]struct{}{}}, l.Addr().String()
	c.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &mailSession{catcher: c}, nil
	}))
	c.server.Domain = "localhost"
	c.server.ReadTimeout, c.server.WriteTimeout = 30*time.Second, 30*time.Second
	c.server.MaxMessageBytes = o.MaxBytes

	c.server.MaxRecipients = o.MaxRecipients
	c.server.MaxLineLength = 4096
	c.server.EnableSMTPUTF8 = true
	c.server.ErrorLog = slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug)

	go func() {
		defer close(c.done)
		if err := c.server.Serve(c.l); !errors.Is(err, smtp.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			c.err = err
		}
	}()

	o.Logger.Info("demo part started", "component", "mail catcher", "addr", c.addr)
	return c, nil
}

// Addr is the address that the catcher listens on.
func (c *MailCatcher) Addr() string { return c.addr }

// Close ends the catcher and waits for its mails for at most 2 s. It may be
// called more than once.
func (c *MailCatcher) Close() error {
	c.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = c.l.Close() // the error of a listener that is closed already
		<-c.done
		c.mu.Lock()
		c.closing = true
		c.mu.Unlock()

		taken := make(chan struct{})
		go func() {
			defer close(taken)
			c.active.Wait()
		}()
		select {
		case <-taken:
		case <-ctx.Done():
		}

		// Shutdown waits for every dialogue, and an idle one may last; its
		// Close does nothing after that. So the dialogues end first.
		c.l.cut()
		_ = c.server.Shutdown(context.Background())
		<-taken
	})

	return c.err
}

// Stats returns the counts.
func (c *MailCatcher) Stats() MailStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Last returns the mails that were caught last, the newest first.
func (c *MailCatcher) Last() []Mail {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last.newest()
}

func (c *MailCatcher) keep(m Mail) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, old := range c.last.values {
		if m.MessageID != "" && old.MessageID == m.MessageID {
			c.stats.Repeats++
			break
		}
	}
	c.stats.Caught++
	m.Number = c.stats.Caught
	c.last.add(m)
}

// begin reports whether one more mail may come in; if so, active counts it.
func (c *MailCatcher) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	c.active.Add(1)
	return true
}

func (c *MailCatcher) refuse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Refused++
}

// tracked is a listener that knows its open connections.
type tracked struct {
	net.Listener

	mu    sync.Mutex
	ended bool
	conns map[net.Conn]struct{}
}

func (l *tracked) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		_ = c.Close() // the peer sees the end
		return nil, net.ErrClosed
	}
	t := &trackedConn{c, l}
	l.conns[t] = struct{}{}
	return t, nil
}

// cut closes all open connections, and those to come.
func (l *tracked) cut() {
	l.mu.Lock()
	l.ended = true
	open := slices.Collect(maps.Keys(l.conns))
	l.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // its dialogue ends with an error of its own
	}
}

type trackedConn struct {
	net.Conn
	l *tracked
}

func (c *trackedConn) Close() error {
	c.l.mu.Lock()
	delete(c.l.conns, c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}

// mailSession is one SMTP dialogue.
type mailSession struct {
	catcher *MailCatcher
	from    string
	to      []string
}

func (s *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

func (s *mailSession) Reset() { s.from, s.to = "", nil }

func (s *mailSession) Logout() error { return nil }

func (s *mailSession) Data(r io.Reader) error {
	if !s.catcher.begin() {
		return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "Shutting down"}
	}
	defer s.catcher.active.Done()

	raw, err := io.ReadAll(r)
	if err != nil {
		s.catcher.refuse()
		return err
	}

	m, err := parseMail(raw)
	if err != nil {
		s.catcher.refuse()
		return &smtp.SMTPError{
			Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0},
			Message: "Not a mail that can be read: " + strings.Join(strings.Fields(clip(err.Error(), 200)), " "),
		}
	}

	m.From, m.Recipients, m.Arrived = s.from, s.to, time.Now()
	s.catcher.keep(m)
	return nil
}

// parseMail reads the header and the first text part.
func parseMail(raw []byte) (Mail, error) {
	msg, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return Mail{}, err
	}

	m := Mail{
		MessageID: clip(strings.Trim(msg.Header.Get("Message-Id"), " <>"), 256),
		Header:    decodeHeader(msg.Header.Get("From")),
		To:        decodeHeader(msg.Header.Get("To")),
		Subject:   decodeHeader(msg.Header.Get("Subject")),
		Bytes:     len(raw),
	}

	text, found, err := firstText(msg.Header.Get("Content-Type"), msg.Header.Get("Content-Transfer-Encoding"), msg.Body, 0)
	if err != nil {
		return Mail{}, err
	}
	if !found {
		text = "(no text part)"
	}

	m.Text = clip(strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\r\n", "\n"), maxMailText)
	return m, nil
}

func decodeHeader(s string) string {
	decoded, err := new(mime.WordDecoder).DecodeHeader(s)
	if err != nil {
		decoded = s
	}
	return clip(strings.ToValidUTF8(decoded, "\uFFFD"), 512)
}

// maxMailDepth bounds how deep parts may hold parts.
const maxMailDepth = 8

// firstText finds the first text/plain part, else the first text part of any
// kind.
func firstText(contentType, encoding string, body io.Reader, depth int) (text string, found bool, err error) {
	if contentType == "" {
		contentType = "text/plain"
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", false, fmt.Errorf("content type: %w", err)
	}

	if !strings.HasPrefix(media, "multipart/") {
		if !strings.HasPrefix(media, "text/") {
			return "", false, nil
		}
		switch strings.ToLower(strings.TrimSpace(encoding)) {
		case "quoted-printable":
			body = quotedprintable.NewReader(body)
		case "base64":
			body = base64.NewDecoder(base64.StdEncoding, body)
		}
		b, err := io.ReadAll(io.LimitReader(body, maxMailText+4))
		if err != nil {
			return "", false, fmt.Errorf("text part: %w", err)
		}
		return string(b), true, nil
	}

	if depth == maxMailDepth {
		return "", false, fmt.Errorf("parts are nested deeper than %d", maxMailDepth)
	}

	parts := multipart.NewReader(body, params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return text, found, nil
		}
		if err != nil {
			return "", false, fmt.Errorf("part: %w", err)
		}

		kind := part.Header.Get("Content-Type")
		t, ok, err := firstText(kind, part.Header.Get("Content-Transfer-Encoding"), part, depth+1)
		if err != nil {
			return "", false, err
		}

		if ok && (!found || strings.HasPrefix(kind, "text/plain")) {
			text, found = t, true
			if kind == "" || strings.HasPrefix(kind, "text/plain") {
				return text, true, nil
			}
		}
	}
}
