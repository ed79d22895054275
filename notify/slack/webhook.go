package slack

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/internal/post"
)

// Webhook posts to one channel through an incoming webhook. Make one with
// [NewWebhook]. It is a receiver for a [notify.Hub] and works alone, too. All
// methods are safe for concurrent use.
//
// A webhook does not tell what became of a message: it cannot edit or thread.
// Use a [Bot] for that.
//
// Others take messages of the same shape: Mattermost, Rocket.Chat, Zulip,
// Discord's /slack address. They ignore the blocks, so that the text has it all,
// and what they answer is read by their own rules.
type Webhook struct {
	s       settings
	address *url.URL
	slack   bool // the address is Slack's own
	poster  *post.Poster
}

// The Webhook is what a Hub looks for, but for Check: there is no request that
// proves a webhook without posting.
var (
	_ notify.MessageNotifier = (*Webhook)(nil)
	_ notify.Previewer       = (*Webhook)(nil)
	_ notify.SecretHolder    = (*Webhook)(nil)
)

// NewWebhook returns a receiver that posts to the incoming webhook at address,
// which is a secret as a whole: who has it can post. It reports every mistake
// at once, also an address that cannot be one of a webhook, and does not
// connect. opts may be nil.
func NewWebhook(address secret.Secret, opts *Options) (*Webhook, error) {
	s, wrong := opts.withDefaults()
	u, err := webhookAddress(address, s.AllowPlainHTTP)
	if err != nil {
		wrong.Add("webhook address", "%s", err)
	}
	if err := wrong.Err("slack: new webhook"); err != nil {
		return nil, err
	}

	w := &Webhook{s: s, address: u, slack: isSlack(u.Hostname())}
	name := "Slack"
	if !w.slack {
		name = u.Host
	}
	w.poster = s.poster(name, w.Secrets())
	return w, nil
}

// Secrets returns the address and the parts of it that are secrets themselves.
func (w *Webhook) Secrets() []secret.Secret {
	list := post.Parts(w.address)
	if ids, ok := strings.CutPrefix(strings.Trim(w.address.EscapedPath(), "/"), "services/"); ok {
		list = append(list, secret.New(ids))
	}
	return list
}

// String returns the host of the address alone.
func (w *Webhook) String() string { return "slack.Webhook(" + w.address.Host + ")" }

// GoString returns String's text.
func (w *Webhook) GoString() string { return w.String() }

// MarshalJSON returns String's text as JSON.
func (w *Webhook) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", w.String()), nil }

// LogValue returns String's text, for log/slog.
func (w *Webhook) LogValue() slog.Value { return slog.StringValue(w.String()) }

// Send posts a message of level [slog.LevelError], as [notify.Hub.Send] does. See
// [Webhook.Notify].
func (w *Webhook) Send(ctx context.Context, subject, message string) error {
	return w.Notify(ctx, notify.Message{Level: slog.LevelError, Subject: subject, Text: message})
}

// Notify posts m. It returns nil when the other side said that it took it, and
// not on a bare 200, and a [*notify.Error] otherwise. When the blocks of m are
// refused the text goes out alone. It waits for the rate limit, and returns at
// once when the wait would go beyond ctx.
func (w *Webhook) Notify(ctx context.Context, m notify.Message) error {
	ctx, cancel := w.poster.Bound(ctx)
	defer cancel()
	m = post.Defaults(m)

	p := w.s.render(m, w.slack)
	err := w.post(ctx, p)
	if refusesBlocks(err) {
		w.s.Logger.WarnContext(ctx, "blocks were refused, and the text goes out alone", "message_id", m.ID, "reason", err.Reason)
		err = w.post(ctx, p.withoutBlocks())
	}
	if err != nil {
		return w.poster.Clean(err, m.ID)
	}
	return nil
}

func (w *Webhook) post(ctx context.Context, p payload) *notify.Error {
	body, err := p.encode()
	if err != nil {
		return notify.NewError("post", err)
	}

	a, failed := w.poster.Do(ctx, post.Request{
		Op: "post", Address: w.address.String(), Header: http.Header{"Content-Type": {contentType}}, Body: body,
	})
	if failed != nil {
		return failed
	}
	if e := statusError(w.poster, "post", a, time.Now()); e != nil {
		return e
	}

	if strings.TrimSpace(a.Body) == "ok" || a.Status == http.StatusNoContent && !w.slack {
		return nil
	}

	said := readAnswer(a.Body)
	if said.taken() {
		return nil
	}

	// 200 with anything else comes from a proxy or a wrong address.
	e := &notify.Error{Op: "post", Code: a.Status, Enhanced: said.code(), Reason: "answer is not that of a webhook: " + w.poster.Reason(a.Body)}
	if e.Class = classOf(e.Enhanced, notify.ClassRejected); e.Class == notify.ClassThrottled {
		post.Throttle(e)
	}
	return e
}

const contentType = "application/json; charset=utf-8"

// Preview returns the JSON that Notify would post.
func (w *Webhook) Preview(m notify.Message) ([]byte, error) {
	return w.s.render(post.Defaults(m), w.slack).encode()
}
