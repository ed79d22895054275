package slack

import (
	"cmp"
	"container/list"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/internal/post"
)

// Bot posts to one channel through the Web API, as a bot user with the scope
// chat:write. Make one with [NewBot]. It is a receiver for a [notify.Hub] and
// works alone, too. All methods are safe for concurrent use.
//
// What a Hub tells about repeats of a message brings the message in Slack up
// to date, which keeps its first text, or answers in its thread, see
// [Options].NoEdit. That the trouble
// has become worse, or is over, is told in the thread and the channel, as
// Slack tells nobody of an edit. A Hub with an outbox remembers across restarts
// where the first message is. When it is not known any more, a new one is posted.
type Bot struct {
	s       settings
	token   secret.Secret
	channel string
	poster  *post.Poster

	mu    sync.Mutex
	posts map[string]*list.Element // by message ID
	order *list.List               // of *root, the latest in front
}

// root is where the first message about some trouble is in Slack, what it said,
// and the highest level that was told of.
type root struct {
	id, channel, ts string
	text            string
	level           slog.Level
}

// wireRoot is a root as the Hub keeps it.
type wireRoot struct {
	Channel string     `json:"channel"`
	TS      string     `json:"ts"`
	Text    string     `json:"text,omitempty"`
	Level   slog.Level `json:"level"`
}

// maxKept bounds what is remembered of a first text.
const maxKept = 4000

// maxPosts bounds the messages that can be brought up to date.
const maxPosts = 1000

var (
	_ notify.ThreadNotifier = (*Bot)(nil)
	_ notify.Checker        = (*Bot)(nil)
	_ notify.Previewer      = (*Bot)(nil)
	_ notify.SecretHolder   = (*Bot)(nil)
)

// NewBot returns a receiver that posts to channel, an ID as "C012AB3CD" or a
// name as "#ops", with the token of a bot. It reports every mistake at once and
// does not connect; [Bot.Check] does. opts may be nil.
func NewBot(token secret.Secret, channel string, opts *Options) (*Bot, error) {
	s, wrong := opts.withDefaults()
	if err := checkToken(token, s.BaseURL); err != nil {
		wrong.Add("token", "%s", err)
	}

	switch {
	case channel == "":
		wrong.Add("channel", "is empty: give its ID or its name")
	case strings.ContainsFunc(channel, func(r rune) bool { return r <= ' ' || r == ',' }):
		wrong.Add("channel", "%q has white space or a comma in it: give one ID or name", channel)
	}

	if err := wrong.Err("slack: new bot"); err != nil {
		return nil, err
	}
	return &Bot{
		s: s, token: token, channel: channel, poster: s.poster("Slack", []secret.Secret{token}),
		posts: map[string]*list.Element{}, order: list.New(),
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

// Send posts a message of level [slog.LevelError], as [notify.Hub.Send] does. See
// [Bot.Notify].
func (b *Bot) Send(ctx context.Context, subject, message string) error {
	return b.Notify(ctx, notify.Message{Level: slog.LevelError, Subject: subject, Text: message})
}

// Notify posts m, or brings the message that m belongs to up to date. It
// returns nil when Slack answered that it is ok, and a [*notify.Error]
// otherwise. When the blocks of m are refused the text goes out alone. It waits
// for the rate limit, and returns at once when the wait would go beyond ctx.
func (b *Bot) Notify(ctx context.Context, m notify.Message) error {
	ctx, cancel := b.poster.Bound(ctx)
	defer cancel()
	m = post.Defaults(m)
	if err := b.tell(ctx, m); err != nil {
		return b.poster.Clean(err, m.ID)
	}
	return nil
}

// NotifyThread is [Bot.Notify] for a message whose first one is at place, which an
// earlier call returned, in this process or another one.
func (b *Bot) NotifyThread(ctx context.Context, m notify.Message, place string) (kept string, err error) {
	var first wireRoot
	if m.Thread != "" && json.Unmarshal([]byte(place), &first) == nil {
		if _, known := b.find(m.Thread); !known {
			b.remember(root{m.Thread, first.Channel, first.TS, first.Text, first.Level})
		}
	}

	err = b.Notify(ctx, m)
	now, known := b.find(cmp.Or(m.Thread, m.ID))
	if !known {
		return "", err
	}
	data, _ := json.Marshal(wireRoot{now.channel, now.ts, now.text, now.level}) // it has no value that fails
	return string(data), err
}

// tell posts m, answers in the thread of the trouble, or edits its first
// message. When that one is gone a new one takes its place.
func (b *Bot) tell(ctx context.Context, m notify.Message) *notify.Error {
	first, known := b.find(m.Thread)
	news := m.Resolved || m.Level > first.level
	if known && !b.s.NoEdit && !news {
		err := b.edit(ctx, first, m)
		if err == nil || !gone(err) {
			return err
		}
		b.forget(m.Thread)
		known = false
	}

	p := b.s.render(m, true)
	p.Channel = b.channel
	if known {
		p.Channel, p.ThreadTS, p.Broadcast = first.channel, first.ts, news
	}
	answer, err := b.say(ctx, "chat.postMessage", m.ID, p)
	if err != nil && known && gone(err) {
		b.forget(m.Thread)
		known, p.Channel, p.ThreadTS, p.Broadcast = false, b.channel, "", false
		answer, err = b.say(ctx, "chat.postMessage", m.ID, p)
	}
	if err != nil {
		return err
	}

	switch {
	case !known:
		kept, _ := cut(m.Text, maxKept)
		b.remember(root{cmp.Or(m.Thread, m.ID), answer.Channel, answer.TS, strings.Clone(kept), m.Level})
	case m.Level > first.level:
		first.level = m.Level
		b.remember(first)
	}
	return nil
}

// edit brings the first message about m's trouble up to date. Its text stays:
// what came last stands below.
func (b *Bot) edit(ctx context.Context, first root, m notify.Message) *notify.Error {
	switch {
	case m.Text == "" || m.Text == first.text:
		m.Text = first.text
	case first.text != "":
		m.Text = first.text + "\n\nlatest:\n" + m.Text
	}
	p := b.s.render(m, true)
	p.Channel, p.TS = first.channel, first.ts
	_, err := b.say(ctx, "chat.update", m.ID, p)
	return err
}

// say calls a method with p, and without its blocks if those are refused.
func (b *Bot) say(ctx context.Context, method, id string, p payload) (answer, *notify.Error) {
	a, err := b.call(ctx, method, p)
	if refusesBlocks(err) {
		b.s.Logger.WarnContext(ctx, "blocks were refused, and the text goes out alone", "message_id", id, "reason", err.Reason)
		return b.call(ctx, method, p.withoutBlocks())
	}
	return a, err
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
	ctx, cancel := b.poster.Bound(ctx)
	defer cancel()
	if _, err := b.call(ctx, "auth.test", struct{}{}); err != nil {
		return b.poster.Clean(err, "")
	}
	return nil
}

// Preview returns the JSON that Notify would post as a new message.
func (b *Bot) Preview(m notify.Message) ([]byte, error) {
	p := b.s.render(post.Defaults(m), true)
	p.Channel = b.channel
	return p.encode()
}

func (b *Bot) call(ctx context.Context, method string, args any) (answer, *notify.Error) {
	body, err := json.Marshal(args)
	if err != nil {
		return answer{}, notify.NewError(method, err)
	}

	got, failed := b.poster.Do(ctx, post.Request{
		Op: method, Address: b.s.BaseURL + "/" + method, Body: body,
		Header: http.Header{"Content-Type": {contentType}, "Authorization": {"Bearer " + b.token.Reveal()}},
	})
	if failed != nil {
		return answer{}, failed
	}
	if e := statusError(b.poster, method, got, time.Now()); e != nil {
		return answer{}, e
	}

	var a answer
	if err := json.Unmarshal([]byte(got.Body), &a); err != nil {
		return answer{}, &notify.Error{Op: method, Code: got.Status, Class: notify.ClassRejected, Reason: "answer is not Slack's: " + b.poster.Reason(got.Body)}
	}
	if !a.OK {
		e := &notify.Error{Op: method, Code: got.Status, Enhanced: a.code()}
		e.Reason = b.poster.Reason(e.Enhanced)
		if e.Class = classOf(e.Enhanced, notify.ClassRejected); e.Class == notify.ClassThrottled {
			post.Throttle(e)
		}
		return answer{}, e
	}
	return a, nil
}

func (b *Bot) find(id string) (root, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.posts[id]
	if id == "" || e == nil {
		return root{}, false
	}
	b.order.MoveToFront(e)
	return *e.Value.(*root), true // the list holds nothing else
}

func (b *Bot) remember(p root) {
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
		delete(b.posts, last.Value.(*root).id) // as above
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
