package slack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/internal/redact"
)

// maxBody bounds what is read of an answer.
const maxBody = 64 << 10

// Webhook posts to one channel through an incoming webhook. Make one with
// [NewWebhook]. It is a receiver for a [notify.Hub] and works alone, too. All
// methods are safe for concurrent use.
//
// A webhook does not tell what became of a message: it cannot edit or thread.
// Use a [Bot] for that.
type Webhook struct {
	s       settings
	address secret.Secret
	limit   *limiter
	red     *redact.Redactor
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
// at once and does not connect. opts may be nil.
func NewWebhook(address secret.Secret, opts *Options) (*Webhook, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("slack: "+format, args...)) }
	if err := checkWebhook(address); err != nil {
		bad("%w", err)
	}
	s := opts.withDefaults(bad)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	w := &Webhook{s: s, address: address, limit: &limiter{per: s.Rate, burst: s.Burst}}
	var forms []string
	for _, f := range w.Secrets() {
		forms = append(forms, f.Reveal())
	}
	w.red = redact.New(forms...)
	return w, nil
}

// Secrets returns the address, its path and the path's last part.
func (w *Webhook) Secrets() []secret.Secret {
	list := []secret.Secret{w.address}
	if u, err := url.Parse(w.address.Reveal()); err == nil {
		path := strings.Trim(u.EscapedPath(), "/")
		list = append(list, secret.New(path), secret.New(strings.TrimPrefix(path, "services/")))
		if i := strings.LastIndexByte(path, '/'); i >= 0 && len(path)-i > 8 {
			list = append(list, secret.New(path[i+1:]))
		}
		if u.RawQuery != "" {
			list = append(list, secret.New(u.RawQuery))
		}
	}
	return list
}

// String returns the host of the address alone.
func (w *Webhook) String() string {
	host := ""
	if u, err := url.Parse(w.address.Reveal()); err == nil {
		host = u.Host
	}
	return "slack.Webhook(" + host + ")"
}

// GoString returns String's text.
func (w *Webhook) GoString() string { return w.String() }

// MarshalJSON returns String's text as JSON.
func (w *Webhook) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", w.String()), nil }

// LogValue returns String's text, for log/slog.
func (w *Webhook) LogValue() slog.Value { return slog.StringValue(w.String()) }

// Send posts a message of level [slog.LevelInfo]. See [Webhook.Notify].
func (w *Webhook) Send(ctx context.Context, subject, message string) error {
	return w.Notify(ctx, notify.Message{Subject: subject, Text: message})
}

// Notify posts m. It returns nil when Slack answered 200 and "ok", and a
// [*notify.Error] otherwise. It waits for the rate limit, and returns at once
// when the wait would go beyond ctx.
func (w *Webhook) Notify(ctx context.Context, m notify.Message) error {
	ctx, cancel := bound(ctx, w.s.Timeout)
	defer cancel()
	m = withDefaults(m)
	if err := w.post(ctx, m); err != nil {
		err.MessageID = m.ID
		err.Reason, err.Enhanced = w.red.String(err.Reason), w.red.String(err.Enhanced)
		return err
	}
	return nil
}

func (w *Webhook) post(ctx context.Context, m notify.Message) *notify.Error {
	body, err := w.s.render(m).encode()
	if err != nil {
		return notify.NewError("post", err)
	}
	if err := w.limit.wait(ctx); err != nil {
		return err
	}
	resp, answer, err := do(ctx, w.s.client, w.address.Reveal(), "application/json; charset=utf-8", "", body)
	if err != nil {
		return transportError(ctx, "post", err)
	}
	if e := statusError("post", resp, answer, time.Now()); e != nil {
		return e
	}
	if strings.TrimSpace(answer) != "ok" {
		// 200 with anything else comes from a proxy or a wrong address.
		e := &notify.Error{Op: "post", Code: resp.StatusCode, Reason: "answer is not Slack's: " + reason(answer)}
		e.Enhanced = apiError(answer)
		e.Class = classOf(e.Enhanced, notify.ClassRejected)
		return e
	}
	return nil
}

// Preview returns the JSON that Notify would post.
func (w *Webhook) Preview(m notify.Message) ([]byte, error) {
	return w.s.render(withDefaults(m)).encode()
}

// do posts body and reads the answer.
func do(ctx context.Context, client *http.Client, address, contentType, token string, body []byte) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Content-Type", contentType)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, "", fmt.Errorf("read answer: %w", err)
	}
	return resp, string(answer), nil
}

func bound(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout < 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
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
