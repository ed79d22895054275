package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/internal/redact"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/internal/post"
)

// Client posts messages to one address. Make one with [New]. It is a receiver
// for a [notify.Hub] and works alone, too. All methods are safe for concurrent
// use.
type Client struct {
	o       Options
	address *url.URL
	header  http.Header
	body    *body
	poster  *post.Poster
}

// The Client is what a Hub looks for, but for Check: no request proves that a
// service would take a message.
var (
	_ notify.MessageNotifier = (*Client)(nil)
	_ notify.Previewer       = (*Client)(nil)
	_ notify.SecretHolder    = (*Client)(nil)
)

// New returns a Client. It reports every mistake in opts at once, also a Body
// that would give no JSON for some message, and does not connect.
func New(opts *Options) (*Client, error) {
	c := &Client{}
	if opts != nil {
		c.o = *opts
	}
	options.Fill(&c.o)
	wrong := c.o.mistakes()
	if c.o.URL.IsZero() {
		wrong.Add("URL", "is empty: give the address that the service told you")
	}
	if c.o.Body == "" {
		wrong.Add("Body", "is empty: give a template, as {\"text\": {{json .Title}}}")
	}
	if err := wrong.Err("webhook: new"); err != nil {
		return nil, err
	}

	c.o.Headers, c.o.Values = maps.Clone(c.o.Headers), maps.Clone(c.o.Values)
	c.address, _ = post.Address(c.o.URL, c.o.AllowPlainHTTP) // both were checked
	c.body, _ = newBody(&c.o)
	c.header = http.Header{"Content-Type": {c.o.ContentType}}
	for name, value := range c.o.Headers {
		c.header.Set(name, value.Reveal())
	}

	c.poster = &post.Poster{
		Client: post.Client(c.o.HTTPClient), Timeout: c.o.Timeout, Limit: &post.Limiter{Per: c.o.Rate, Burst: c.o.Burst},
		Redactor: redact.New(c.Secrets()...), Service: c.address.Host,
	}
	return c, nil
}

// Secrets returns the address, the parts of it that are secrets themselves, the
// headers and the values.
func (c *Client) Secrets() []secret.Secret {
	list := post.Parts(c.address)
	for _, m := range []map[string]secret.Secret{c.o.Headers, c.o.Values} {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			list = append(list, m[name])
			if _, key, ok := strings.Cut(m[name].Reveal(), " "); ok { // "Bearer x"
				list = append(list, secret.New(key))
			}
		}
	}
	return list
}

// String returns the host of the address alone.
func (c *Client) String() string { return "webhook.Client(" + c.address.Host + ")" }

// GoString returns String's text.
func (c *Client) GoString() string { return c.String() }

// MarshalJSON returns String's text as JSON.
func (c *Client) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// LogValue returns String's text, for log/slog.
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Send posts a message of level [slog.LevelError], as [notify.Hub.Send] does. See
// [Client.Notify].
func (c *Client) Send(ctx context.Context, subject, message string) error {
	return c.Notify(ctx, notify.Message{Level: slog.LevelError, Subject: subject, Text: message})
}

// Notify posts m. It returns nil when the answer is one of the 200s and holds
// what Expect says, and a [*notify.Error] otherwise. It waits for the rate limit,
// and returns at once when the wait would go beyond ctx.
func (c *Client) Notify(ctx context.Context, m notify.Message) error {
	ctx, cancel := c.poster.Bound(ctx)
	defer cancel()
	m = post.Defaults(m)
	if err := c.post(ctx, m); err != nil {
		return c.poster.Clean(err, m.ID)
	}
	return nil
}

func (c *Client) post(ctx context.Context, m notify.Message) *notify.Error {
	content, err := c.body.render(m)
	if err != nil {
		return &notify.Error{Op: "build", Class: notify.ClassInvalid, Reason: "Body: " + c.poster.Redactor.Reason(err.Error())}
	}
	a, failed := c.poster.Do(ctx, post.Request{Op: "post", Method: c.o.Method, Address: c.address.String(), Header: c.header, Body: content})
	if failed != nil {
		return failed
	}

	if e := c.poster.StatusError("post", a, time.Now()); e != nil {
		return e
	}

	if !strings.Contains(a.Body, c.o.Expect) {
		return &notify.Error{
			Op: "post", Code: a.Status, Class: notify.ClassRejected,
			Reason: fmt.Sprintf("answer does not hold %q: %s", c.o.Expect, c.poster.Reason(a.Body)),
		}
	}

	return nil
}

// Preview returns the body that Notify would post, with the secrets of Values in
// it: a Hub takes them out.
func (c *Client) Preview(m notify.Message) ([]byte, error) {
	content, err := c.body.render(post.Defaults(m))
	if err != nil {
		return nil, &notify.Error{Op: "build", MessageID: m.ID, Class: notify.ClassInvalid, Reason: "Body: " + c.poster.Redactor.Reason(err.Error())}
	}
	return content, nil
}
