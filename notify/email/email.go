package email

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/redact"
	"github.com/svcblocks/svcblocks/notify"
)

// Client sends mail through one server over a few connections that it keeps.
// Make one with [New]. It is a receiver for a [notify.Hub] and works alone,
// too. All methods are safe for concurrent use.
type Client struct {
	s       settings
	pool    *pool
	answers *answers
	red     *redact.Redactor
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
	c.red = redact.New(c.Secrets()...)
	c.pool = newPool(&c.s)
	c.answers = newAnswers()
	return c, nil
}

// Secrets returns the password. That Token gives is taken out of errors where it
// is used.
func (c *Client) Secrets() []secret.Secret {
	if c.s.Password.IsZero() {
		return nil
	}
	return []secret.Secret{c.s.Password}
}

// String returns the server's address.
func (c *Client) String() string { return fmt.Sprintf("email.Client(%s:%d)", c.s.Host, c.s.Port) }

// LogValue returns String's text, for log/slog.
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Send sends a mail of level [slog.LevelError], as [notify.Hub.Send] does. See
// [Client.Notify].
func (c *Client) Send(ctx context.Context, subject, message string) error {
	return c.Notify(ctx, notify.Message{Level: slog.LevelError, Subject: subject, Text: message})
}

// Notify sends m as one mail to every recipient. It returns nil when the server
// took it for all of them, and otherwise one [*notify.Error] for each that it
// did not take it for; the others get it. It returns as soon as ctx ends.
//
// A connection that the server closed while it was idle is replaced without an
// error. A server that has the whole mail and has not answered yet keeps it: if
// ctx ends first the error is temporary, the answer is awaited for up to
// ConfirmTimeout, and Notify with the same [notify.Message].ID waits for it in
// place of sending the mail again. When the connection breaks before the answer,
// nobody knows whether the mail was taken: the error is temporary, and sending m
// again gives a mail with the same Message-ID. After three such ends the error is
// final and m is not sent again.
func (c *Client) Notify(ctx context.Context, m notify.Message) error {
	return c.send(ctx, m, c.s.recipients)
}

// NotifyRecipients is Notify for some of the recipients alone, by address.
func (c *Client) NotifyRecipients(ctx context.Context, m notify.Message, recipients []string) error {
	var some []*address
	for _, a := range c.s.recipients {
		if slices.Contains(recipients, a.given) {
			some = append(some, a)
		}
	}
	if len(some) == 0 {
		return &notify.Error{Op: "send", Class: notify.ClassInvalid, MessageID: m.ID, Reason: "none of the recipients is one of this client"}
	}
	return c.send(ctx, m, some)
}

// Check connects, proves TLS and the login, and sends no mail.
func (c *Client) Check(ctx context.Context) error {
	if err := c.pool.check(ctx); err != nil {
		return c.clean(err, "")
	}
	return nil
}

// Preview returns the envelope and the mail that Notify would send to a server
// with every extension.
func (c *Client) Preview(m notify.Message) ([]byte, error) {
	content, err := composition{&c.s, complete(m), true}.mail()
	if err != nil {
		return nil, c.clean(err, m.ID)
	}
	var head strings.Builder
	fmt.Fprintf(&head, "MAIL FROM:%s\r\n", c.s.envelope.path)
	for _, r := range c.s.recipients {
		fmt.Fprintf(&head, "RCPT TO:%s\r\n", r.path)
	}
	return append([]byte(head.String()+"\r\n"), content...), nil
}

// Close closes the connections that are idle, and those in use after their
// mail. Answers that no caller waits for are given up. Notify then returns an
// error. Close may be called more than once.
func (c *Client) Close() error {
	c.pool.close()
	c.answers.close()
	return nil
}

// complete gives m a time and an ID where they are missing.
func complete(m notify.Message) notify.Message {
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	if m.ID == "" {
		m.ID = notify.NewID()
	}
	return m
}

func (c *Client) send(ctx context.Context, m notify.Message, to []*address) error {
	m = complete(m)
	a, err := c.answers.earlier(m.ID, to)
	if err != nil {
		return c.report(m.ID, nil, nil, err)
	}

	if a == nil {
		d := c.pool.deliver(ctx, &envelope{
			id: m.ID, from: c.s.envelope, to: to, dsn: c.s.DSN, utf8: c.s.utf8,
			build: func(utf8 bool) ([]byte, error) { return composition{&c.s, m, utf8}.mail() },
		})
		if d.conn == nil {
			if d.doubt {
				c.answers.doubt(m.ID, d.err)
			}
			return c.report(m.ID, d.refused, d.to, d.err)
		}
		a = c.answers.await(m.ID, to, d)
		go c.confirm(a)
	}

	return c.wait(ctx, a)
}

// confirm waits for the server's answer, whether or not the caller does.
func (c *Client) confirm(a *answer) {
	err, known, broken := a.d.conn.confirm(c.s.ConfirmTimeout)
	if broken {
		c.pool.drop(a.d.conn)
	} else {
		c.pool.release(a.d.conn)
	}
	c.answers.record(a, err, known)
}

// wait waits for a server's answer until ctx ends.
func (c *Client) wait(ctx context.Context, a *answer) error {
	select {
	case <-a.done:
	case <-ctx.Done():
		select {
		case <-a.done:
		default:
			c.answers.leave(a, false)
			e := notify.NewError("end of data", context.Cause(ctx))
			e.Reason = "server has the mail and has not confirmed it yet: " + e.Reason
			return c.report(a.id, nil, nil, e)
		}
	}
	c.answers.leave(a, true)
	return c.report(a.id, a.d.refused, a.d.to, a.err)
}

// report makes the error that a caller gets: one for each recipient that was
// refused, and err for the rest.
func (c *Client) report(id string, refused []*notify.Error, rest []*address, err *notify.Error) error {
	var errs []error
	for _, r := range refused {
		e := *r
		e.Partial = err == nil && len(rest) > 0
		errs = append(errs, c.clean(&e, id))
	}

	switch {
	case err == nil:
	case len(refused) == 0:
		return c.clean(err, id)
	default:
		for _, a := range rest {
			e := *err
			e.Recipient = a.given
			errs = append(errs, c.clean(&e, id))
		}
	}

	return errors.Join(errs...)
}

// clean redacts err and names the message.
func (c *Client) clean(err error, id string) error {
	e := notify.NewError("send", err)
	e.MessageID = id
	e.Reason = c.red.String(strings.TrimSpace(e.Reason))
	return e
}
