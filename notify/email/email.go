package email

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/internal/redact"
)

// Client sends mail through one server over a few connections that it keeps.
// Make one with [New]. It is a receiver for a [notify.Hub] and works alone,
// too. All methods are safe for concurrent use.
type Client struct {
	s    settings
	pool *pool
	red  *redact.Redactor
}

// The Client is all that a Hub looks for.
var (
	_ notify.RecipientNotifier = (*Client)(nil)
	_ notify.Checker           = (*Client)(nil)
	_ notify.Previewer         = (*Client)(nil)
	_ notify.SecretHolder      = (*Client)(nil)
)

// New returns a Client. It reports every mistake in opts at once and does not
// connect; [Client.Check] does.
func New(opts *Options) (*Client, error) {
	s, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{s: s}
	var forms []string
	for _, f := range c.Secrets() {
		forms = append(forms, f.Reveal())
	}
	c.red = redact.New(forms...)
	c.pool = newPool(&c.s)
	return c, nil
}

// Secrets returns the password, also in the form that AUTH PLAIN gives it.
func (c *Client) Secrets() []secret.Secret {
	if c.s.Password.IsZero() {
		return nil
	}
	password := c.s.Password.Reveal()
	plain := "\x00" + c.s.Username + "\x00" + password
	return []secret.Secret{c.s.Password, secret.New(base64.StdEncoding.EncodeToString([]byte(plain)))}
}

// String returns the server's address.
func (c *Client) String() string { return fmt.Sprintf("email.Client(%s:%d)", c.s.Host, c.s.Port) }

// LogValue returns String's text, for log/slog.
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Send sends a mail of level [slog.LevelInfo]. See [Client.Notify].
func (c *Client) Send(ctx context.Context, subject, message string) error {
	return c.Notify(ctx, notify.Message{Subject: subject, Text: message})
}

// Notify sends m as one mail to every recipient. It returns nil when the server
// took it for all of them, and otherwise one [*notify.Error] for each that it
// did not take it for; the others get it. It returns as soon as ctx ends.
//
// A connection that the server closed while it was idle is replaced without an
// error. When the connection breaks after the whole mail was sent and before
// the server answered, nobody knows whether it was taken: the error is
// temporary, and sending m again gives a mail with the same Message-ID.
func (c *Client) Notify(ctx context.Context, m notify.Message) error {
	return c.send(ctx, m, c.recipients())
}

// NotifyRecipients is Notify for some of the recipients alone, by address.
func (c *Client) NotifyRecipients(ctx context.Context, m notify.Message, recipients []string) error {
	var some []string
	for _, r := range c.recipients() {
		if slices.Contains(recipients, r) {
			some = append(some, r)
		}
	}
	if len(some) == 0 {
		return &notify.Error{Op: "send", Class: notify.ClassInvalid, MessageID: m.ID, Reason: "none of the recipients is one of this client"}
	}
	return c.send(ctx, m, some)
}

// recipients returns the envelope's addresses, each once.
func (c *Client) recipients() []string {
	var list []string
	for _, group := range [][]*mail.Address{c.s.to, c.s.bcc} {
		for _, a := range group {
			if !slices.Contains(list, a.Address) {
				list = append(list, a.Address)
			}
		}
	}
	return list
}

// Check connects, proves TLS and the login, and sends no mail.
func (c *Client) Check(ctx context.Context) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	return c.clean(c.pool.check(ctx), "")
}

// Preview returns the envelope and the mail that Notify would send.
func (c *Client) Preview(m notify.Message) ([]byte, error) {
	content, err := c.build(withDefaults(m))
	if err != nil {
		return nil, c.clean(err, m.ID)
	}
	var head strings.Builder
	head.WriteString(fmt.Sprintf("MAIL FROM:<%s>\r\n", c.s.envelope.Address))
	for _, r := range c.recipients() {
		head.WriteString(fmt.Sprintf("RCPT TO:<%s>\r\n", r))
	}
	return append([]byte(head.String()+"\r\n"), content...), nil
}

// Close closes the connections that are idle, and those in use after their
// mail. Notify then returns an error. Close may be called more than once.
func (c *Client) Close() error {
	c.pool.close()
	return nil
}

func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.s.Timeout < 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.s.Timeout)
}

func withDefaults(m notify.Message) notify.Message {
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	if m.ID == "" {
		m.ID = notify.NewID()
	}
	return m
}

func (c *Client) send(ctx context.Context, m notify.Message, recipients []string) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	m = withDefaults(m)
	content, err := c.build(m)
	if err != nil {
		return c.clean(err, m.ID)
	}
	e := &envelope{id: m.ID, from: c.s.envelope.Address, to: recipients, content: content, dsn: c.s.DSN}
	refused, err := c.pool.deliver(ctx, e)
	if err != nil {
		return c.clean(err, m.ID)
	}
	errs := make([]error, 0, len(refused))
	for _, r := range refused {
		r.Partial = len(refused) < len(recipients)
		errs = append(errs, c.clean(r, m.ID))
	}
	return errors.Join(errs...)
}

// clean redacts err and names the message.
func (c *Client) clean(err error, id string) error {
	if err == nil {
		return nil
	}
	e := notify.NewError("send", err)
	e.MessageID = id
	e.Reason = c.red.String(strings.TrimSpace(e.Reason))
	return e
}
