package slack

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/internal/redact"
)

// Bot posts to one channel through the Web API, as a bot user with the scope
// chat:write. Make one with [NewBot]. It is a receiver for a [notify.Hub] and
// works alone, too. All methods are safe for concurrent use.
//
// What a Hub tells about repeats of a message brings the message in Slack up
// to date, or answers in its thread, see [Options].NoEdit. That the trouble
// has become worse, or is over, is told in the thread and the channel, as
// Slack tells nobody of an edit. When the first message is not known any more,
// after a restart for instance, a new one is posted.
type Bot struct {
	s       settings
	token   secret.Secret
	channel string
	limit   *limiter
	red     *redact.Redactor

	mu    sync.Mutex
	posts map[string]*list.Element // by message ID
	order *list.List               // of *post, the latest in front
}

// post is where a message is in Slack, and the highest level that was told of.
type post struct {
	id, channel, ts string
	level           slog.Level
}

// maxPosts bounds the messages that can be brought up to date.
const maxPosts = 1000

var (
	_ notify.MessageNotifier = (*Bot)(nil)
	_ notify.Checker         = (*Bot)(nil)
	_ notify.Previewer       = (*Bot)(nil)
	_ notify.SecretHolder    = (*Bot)(nil)
)

// NewBot returns a receiver that posts to channel, an ID as "C012AB3CD" or a
// name as "#ops", with the token of a bot. It reports every mistake at once and
// does not connect; [Bot.Check] does. opts may be nil.
func NewBot(token secret.Secret, channel string, opts *Options) (*Bot, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("slack: "+format, args...)) }
	if token.IsZero() {
		bad("token is empty")
	}
	if channel == "" {
		bad("channel is empty: give its ID or its name")
	}
	s := opts.withDefaults(bad)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &Bot{
		s: s, token: token, channel: channel, limit: &limiter{per: s.Rate, burst: s.Burst},
		red: redact.New(token.Reveal()), posts: map[string]*list.Element{}, order: list.New(),
	}, nil
}

// Secrets returns the token.
func (b *Bot) Secrets() []secret.Secret { return []secret.Secret{b.token} }

// String returns the channel.
func (b *Bot) String() string { return "slack.Bot(" + b.channel + ")" }

// GoString returns String's text.
func (b *Bot) GoString() string { return b.String() }

// MarshalJSON returns String's text as JSON.
func (b *Bot) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", b.String()), nil }

// LogValue returns String's text, for log/slog.
func (b *Bot) LogValue() slog.Value { return slog.StringValue(b.String()) }

// Send posts a message of level [slog.LevelInfo]. See [Bot.Notify].
func (b *Bot) Send(ctx context.Context, subject, message string) error {
	return b.Notify(ctx, notify.Message{Subject: subject, Text: message})
}

// Notify posts m, or brings the message that m belongs to up to date. It
// returns nil when Slack answered that it is ok, and a [*notify.Error]
// otherwise. It waits for the rate limit, and returns at once when the wait
// would go beyond ctx.
func (b *Bot) Notify(ctx context.Context, m notify.Message) error {
	ctx, cancel := bound(ctx, b.s.Timeout)
	defer cancel()
	m = withDefaults(m)
	if err := b.tell(ctx, m); err != nil {
		err.MessageID = m.ID
		err.Reason, err.Enhanced = b.red.String(err.Reason), b.red.String(err.Enhanced)
		return err
	}
	return nil
}

func (b *Bot) tell(ctx context.Context, m notify.Message) *notify.Error {
	if err := b.limit.wait(ctx); err != nil {
		return err
	}
	p := b.s.render(m)
	p.Channel = b.channel
	root, known := b.find(m.Thread)
	news := m.Resolved || m.Level > root.level
	if known && !b.s.NoEdit && !news {
		p.Channel, p.TS = root.channel, root.ts
		_, err := b.call(ctx, "chat.update", p)
		if err == nil || !gone(err) {
			return err
		}
		b.forget(m.Thread) // somebody deleted it: post anew
		known, p.Channel, p.TS = false, b.channel, ""
	} else if known {
		p.Channel, p.ThreadTS, p.Broadcast = root.channel, root.ts, news
	}
	answer, err := b.call(ctx, "chat.postMessage", p)
	if err != nil && p.ThreadTS != "" && gone(err) {
		b.forget(m.Thread)
		known, p.Channel, p.ThreadTS, p.Broadcast = false, b.channel, "", false
		answer, err = b.call(ctx, "chat.postMessage", p)
	}
	if err != nil {
		return err
	}
	switch {
	case m.Thread == "":
		b.remember(post{m.ID, answer.Channel, answer.TS, m.Level})
	case !known:
		b.remember(post{m.Thread, answer.Channel, answer.TS, m.Level})
	case m.Level > root.level:
		root.level = m.Level
		b.remember(root)
	}
	return nil
}

// gone reports whether the message to be edited or answered cannot be any more.
func gone(e *notify.Error) bool {
	switch e.Enhanced {
	case "message_not_found", "cant_update_message", "edit_window_closed", "channel_not_found", "thread_not_found", "cannot_reply_to_message":
		return true
	default:
		return false
	}
}

// Check asks Slack whether the token is good (auth.test). It posts nothing and
// does not prove that the bot is in the channel.
func (b *Bot) Check(ctx context.Context) error {
	ctx, cancel := bound(ctx, b.s.Timeout)
	defer cancel()
	if _, err := b.call(ctx, "auth.test", struct{}{}); err != nil {
		err.Reason, err.Enhanced = b.red.String(err.Reason), b.red.String(err.Enhanced)
		return err
	}
	return nil
}

// Preview returns the JSON that Notify would post as a new message.
func (b *Bot) Preview(m notify.Message) ([]byte, error) {
	p := b.s.render(withDefaults(m))
	p.Channel = b.channel
	return p.encode()
}

// answer is what every method of the Web API returns.
type answer struct {
	OK      bool   `json:"ok"`
	Error   string `json:"error"`
	Channel string `json:"channel"`
	TS      string `json:"ts"`
}

func (b *Bot) call(ctx context.Context, method string, args any) (answer, *notify.Error) {
	body, err := json.Marshal(args)
	if err != nil {
		return answer{}, notify.NewError(method, err)
	}
	resp, raw, err := do(ctx, b.s.client, b.s.BaseURL+"/"+method, "application/json; charset=utf-8", b.token.Reveal(), body)
	if err != nil {
		return answer{}, transportError(ctx, method, err)
	}
	if e := statusError(method, resp, raw, time.Now()); e != nil {
		if code := apiError(raw); code != "" {
			e.Enhanced, e.Reason = code, code
		}
		return answer{}, e
	}
	var a answer
	if err := json.Unmarshal([]byte(raw), &a); err != nil {
		return answer{}, &notify.Error{Op: method, Code: resp.StatusCode, Class: notify.ClassRejected, Reason: "answer is not Slack's: " + reason(raw)}
	}
	if !a.OK {
		e := &notify.Error{Op: method, Code: resp.StatusCode, Enhanced: errorCode(a.Error), Reason: reason(a.Error)}
		e.Class = classOf(e.Enhanced, notify.ClassRejected)
		if e.Class == notify.ClassThrottled {
			e.RetryAfter = defaultPause
		}
		return answer{}, e
	}
	return a, nil
}

// apiError returns the error code of a Web API answer, or "".
func apiError(raw string) string {
	var a answer
	if json.Unmarshal([]byte(raw), &a) != nil {
		return ""
	}
	return errorCode(a.Error)
}

func (b *Bot) find(id string) (post, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.posts[id]
	if id == "" || e == nil {
		return post{}, false
	}
	b.order.MoveToFront(e)
	return *e.Value.(*post), true // the list holds nothing else
}

func (b *Bot) remember(p post) {
	if p.ts == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.posts[p.id]; e != nil {
		e.Value = &p
		return
	}
	b.posts[p.id] = b.order.PushFront(&p)
	if b.order.Len() > maxPosts {
		last := b.order.Back()
		b.order.Remove(last)
		delete(b.posts, last.Value.(*post).id) // as above
	}
}

func (b *Bot) forget(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.posts[id]; e != nil {
		b.order.Remove(e)
		delete(b.posts, id)
	}
}
