// Package chat makes receivers for a notify.Hub of a service of
// github.com/nikoksr/notify: Telegram, Microsoft Teams and Discord by HTTP.
//
// It adds what that leaves out: text is shown as it is and cannot mention
// anybody, the platforms' limits are kept, answers that refuse a message are
// told apart, and nothing is asked for before the first message.
package chat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"
	"time"

	httpservice "github.com/nikoksr/notify/service/http"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/safehttp"
	"github.com/svcblocks/svcblocks/notify"
)

// Receiver is nikoksr/notify's HTTP service as a receiver. It is safe for
// concurrent use.
type Receiver struct {
	service notify.Notifier
	secret  secret.Secret
	text    func(subject, message string) (string, string) // as the platform wants it
	client  *http.Client
}

// Send is for [notify.Notifier].
func (r *Receiver) Send(ctx context.Context, subject, message string) error {
	subject, message = r.text(subject, message)
	return r.service.Send(ctx, subject, message)
}

// Secrets are for the hub, which keeps them out of errors and log lines.
func (r *Receiver) Secrets() []secret.Secret { return []secret.Secret{r.secret} }

// Close lets go of idle connections.
func (r *Receiver) Close() error {
	r.client.CloseIdleConnections()
	return nil
}

// Options are what the receivers have in common. The zero value is all
// defaults.
type Options struct {
	// Transport makes the requests. Defaults to one of the receiver's own.
	Transport http.RoundTripper
	// Timeout bounds one request. Defaults to 30s.
	Timeout time.Duration
}

func (o *Options) client() *http.Client {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	return &http.Client{
		Transport: classified{c.Transport}, Timeout: cmp.Or(c.Timeout, 30*time.Second),
		// A redirect would take the message, and for a webhook its secret,
		// elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// post returns a receiver that posts what build makes of a message as JSON. It
// is nikoksr's HTTP service: those for the three platforms bring clients for all
// that these can do, up to 1.1 MB each, for the same POST.
func post(address string, opts *Options, build func(subject, message string) any) *Receiver {
	client := opts.client()
	service := httpservice.New()
	service.WithClient(client)
	service.AddReceivers(&httpservice.Webhook{
		Method: http.MethodPost, URL: address, ContentType: "application/json",
		// Both must be there: the service would write them into this map,
		// which messages that are sent at the same time share.
		Header:       http.Header{"Content-Type": {"application/json"}, "User-Agent": {"svcblocks-example/1"}},
		BuildPayload: build,
	})
	return &Receiver{service: service, client: client}
}

// What the platforms take, in UTF-16 code units, with room for the title.
const (
	maxTelegram = 4096 // https://core.telegram.org/bots/api#sendmessage
	maxDiscord  = 2000 // https://discord.com/developers/docs/resources/webhook#execute-webhook
	maxTeams    = 4000 // 28 KB for the card, in JSON that writes some letters as \u0026
	maxTitle    = 200
)

// Telegram is a bot that writes to one chat.
type Telegram struct {
	Token secret.Secret `koanf:"token" doc:"token of a Telegram bot; empty for none"`
	Chat  int64         `koanf:"chat" doc:"number of the chat that it writes to"`
}

// Enabled reports whether there is a bot.
func (t Telegram) Enabled() bool { return !t.Token.IsZero() }

// Validate reports what cannot be used.
func (t Telegram) Validate() error {
	switch {
	case t.Enabled() && t.Chat == 0:
		return errors.New("telegram.chat is missing: name the number of the chat")
	case strings.ContainsFunc(t.Token.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/?#%", r) }):
		return errors.New("telegram.token is no token: it looks like 123456:ABC…")
	}
	return nil
}

// New returns the receiver.
func (t Telegram) New(opts *Options) (*Receiver, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	r := post("https://api.telegram.org/bot"+t.Token.Reveal()+"/sendMessage", opts, func(subject, message string) any {
		return map[string]any{"chat_id": t.Chat, "parse_mode": "HTML", "text": subject + "\n" + message}
	})
	r.secret = t.Token
	r.text = func(subject, message string) (string, string) {
		return "<b>" + html.EscapeString(shorten(subject, maxTitle)) + "</b>", html.EscapeString(shorten(message, maxTelegram-maxTitle-1))
	}
	return r, nil
}

// Discord is a webhook of a channel.
type Discord struct {
	Webhook secret.Secret `koanf:"webhook" doc:"address of a webhook of a Discord channel; empty for none"`
}

// Enabled reports whether there is a webhook.
func (d Discord) Enabled() bool { return !d.Webhook.IsZero() }

// Validate reports what cannot be used.
func (d Discord) Validate() error { return webhook("discord.webhook", d.Webhook) }

// New returns the receiver.
func (d Discord) New(opts *Options) (*Receiver, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	r := post(d.Webhook.Reveal(), opts, func(subject, message string) any {
		// Nothing in a text mentions anybody.
		return map[string]any{"content": "**" + subject + "**\n" + message, "allowed_mentions": map[string]any{"parse": []string{}}}
	})
	r.secret = d.Webhook
	r.text = func(subject, message string) (string, string) {
		subject = plain(shorten(subject, maxTitle))
		return subject, plainWithin(message, maxDiscord-len("****\n")-units(subject))
	}
	return r, nil
}

// Teams is a webhook of a channel's workflow.
type Teams struct {
	Webhook secret.Secret `koanf:"webhook" doc:"address of a webhook of a Microsoft Teams workflow; empty for none"`
}

// Enabled reports whether there is a webhook.
func (t Teams) Enabled() bool { return !t.Webhook.IsZero() }

// Validate reports what cannot be used.
func (t Teams) Validate() error { return webhook("teams.webhook", t.Webhook) }

// New returns the receiver.
func (t Teams) New(opts *Options) (*Receiver, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	r := post(t.Webhook.Reveal(), opts, func(subject, message string) any {
		// https://adaptivecards.io/schemas/adaptive-card.json
		return map[string]any{"type": "message", "attachments": []any{map[string]any{
			"contentType": "application/vnd.microsoft.card.adaptive",
			"content": map[string]any{"type": "AdaptiveCard", "version": "1.5", "body": []any{
				map[string]any{"type": "TextBlock", "wrap": true, "style": "heading", "text": subject},
				map[string]any{"type": "TextBlock", "wrap": true, "text": message},
			}},
		}}}
	})
	r.secret = t.Webhook
	r.text = func(subject, message string) (string, string) {
		return plain(shorten(cmp.Or(subject, "Message"), maxTitle)), plain(shorten(cmp.Or(message, subject, "–"), maxTeams))
	}
	return r, nil
}

// webhook checks an address without showing it.
func webhook(key string, address secret.Secret) error {
	if address.IsZero() {
		return nil
	}
	// The address is the secret, so nothing of it is in the error.
	if _, err := (safehttp.Rule{Secret: true}).Parse(address.Reveal()); err != nil {
		return fmt.Errorf("%s: write an address that begins with https://", key)
	}
	return nil
}

// markdown is what would be taken for formatting, for a link with a text of its
// own or, in Discord, for a time or a link without a preview.
var markdown = strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "~", `\~`, "`", "\\`", "|", `\|`, "[", `\[`, "]", `\]`, "<", `\<`)

// What formats a line by standing at its beginning: headlines, quotes, rulers
// and lists.
var (
	atBegin = regexp.MustCompile(`(?m)^([ \t]*)([#>+=-])`)
	number  = regexp.MustCompile(`(?m)^([ \t]*\d+)([.)])([ \t]|$)`)
)

// plain returns text so that it is shown as it is.
func plain(text string) string {
	text = atBegin.ReplaceAllString(markdown.Replace(text), `${1}\${2}`)
	return number.ReplaceAllString(text, `${1}\${2}${3}`)
}

// plainWithin is plain of as much of text as keeps to limit afterwards.
func plainWithin(text string, limit int) string {
	out := plain(text)
	for keep := limit; units(out) > limit; keep -= units(out) - limit {
		out = plain(shorten(text, keep))
	}
	return out
}

// units counts UTF-16 code units, as the platforms do.
func units(text string) (n int) {
	for _, r := range text {
		n++
		if r > 0xffff {
			n++
		}
	}
	return n
}

// shorten keeps at most limit units of text, and marks a cut.
func shorten(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	if units(text) <= limit {
		return text
	}
	n := 0
	for i, r := range text {
		n += units(string(r))
		if n > limit-1 {
			return text[:i] + "…"
		}
	}
	return text
}
