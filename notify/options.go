package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
)

// Options are the settings of a [Hub]. New copies them.
type Options struct {
	// Receivers get the messages, each those that its MinLevel and Match take.
	// At least one is required.
	Receivers []Receiver
	// Group keeps storms of equal messages small.
	Group Group
	// Outbox keeps messages on disk until they are delivered. Without its Dir
	// there is none.
	Outbox Outbox
	// DryRun, if not nil, gets what would go out, and nothing goes out.
	DryRun io.Writer
	// Logger gets the hub's own events, redacted. A [NewHandler] of the same
	// hub behind it does not raise alerts about them. Defaults to none.
	Logger *slog.Logger
	// Secrets are kept out of messages, errors, logs, journals and dry runs,
	// as are those of receivers that are a [SecretHolder]. Secrets below 4
	// bytes are too short for that.
	Secrets []secret.Secret
	// CloseTimeout bounds how long Close and the end of Run wait for calls
	// that are under way. Defaults to 5s; negative does not wait.
	CloseTimeout time.Duration
}

// Receiver is one place that messages go to, and how it is treated.
type Receiver struct {
	// Name names the receiver in errors, logs and [Stats]. Required, unique.
	Name string
	// Notifier takes the messages: an email.Client, a slack.Webhook, any
	// service of nikoksr/notify. Required.
	Notifier Notifier
	// MinLevel is the lowest level that the receiver gets. The zero value is
	// [slog.LevelInfo].
	MinLevel slog.Level
	// Match picks messages further. It must be fast and not block; one that
	// panics counts as yes. Defaults to all.
	Match func(Message) bool
	// Format words a message for this receiver, as the Format of a
	// template.Template does. When it fails or panics, that is logged and the
	// message goes out as it is. Defaults to none.
	Format func(Message) (Message, error)
	// Timeout bounds one try. Defaults to 30s; negative means no bound.
	Timeout time.Duration
	// Fallback names the receiver that takes over a message which cannot be
	// delivered here. Defaults to none.
	Fallback string
	// Rate bounds how often the receiver is called.
	Rate Rate
	// Retry says how often and when a failed message is tried again.
	Retry Retry
	// Concurrency is the number of calls at the same time. Defaults to 4, and
	// with an outbox to 1: messages then keep their order, and a crash repeats
	// at most one per receiver.
	Concurrency int
}

// String returns the name and the type of the Notifier: what the Notifier holds
// may be a secret.
func (r Receiver) String() string { return fmt.Sprintf("notify.Receiver(%s, %T)", r.Name, r.Notifier) }

// GoString returns String's text.
func (r Receiver) GoString() string { return r.String() }

// MarshalJSON returns String's text as JSON.
func (r Receiver) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// LogValue returns String's text, for log/slog.
func (r Receiver) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Rate is a token bucket. The zero Rate does not limit.
type Rate struct {
	// Per is the time in which one message may go out in the long run. Zero or
	// negative means no limit.
	Per time.Duration
	// Burst is the number that may go out at once. Defaults to 1.
	Burst int `min:"0"`
}

// Retry is the schedule for what failed for the moment: SMTP 4xx, HTTP 429 and
// 5xx, a broken network. Waits grow from Base to Max, with full jitter; a wait
// that the receiver asks for wins.
type Retry struct {
	// Attempts bounds the tries. Defaults to 5 without an outbox and to no
	// bound with one; negative means one try.
	Attempts int
	// Base bounds the first wait. Defaults to 1s.
	Base time.Duration `min:"0s"`
	// Max bounds every wait. Defaults to 5m.
	Max time.Duration `min:"0s"`
	// MaxElapsed bounds the time since the message came. Defaults to 5m without
	// an outbox and to Outbox.MaxAge with one; negative means no bound.
	MaxElapsed time.Duration
}

// Group says how equal messages become few. The first message of a key goes
// out at once. While more come, one that says how many goes out after Interval
// and then every Repeat; when none came for Interval, the group is forgotten.
// A message of a higher level than the group has seen goes out at once, too.
type Group struct {
	// Wait holds the first message back, to count what comes at the same time.
	// Defaults to none.
	Wait time.Duration `min:"0s"`
	// Interval is how long repeats are held after the first message, and how
	// long it must be quiet for a group to end. Defaults to 5m; negative turns
	// grouping off.
	Interval time.Duration
	// Repeat is the time between messages about a group that goes on. Defaults
	// to 1h, or Interval if that is longer; negative means Interval.
	Repeat time.Duration
	// By names attributes. If set, messages without a Key are the same trouble
	// when Level, Subject and these attributes are equal, whatever their Text.
	By []string
	// MaxGroups bounds the groups that are kept. What comes when all are taken
	// goes to one more group, named "other". Defaults to 1,000.
	MaxGroups int `min:"0"`
}

// Outbox keeps messages in a journal on disk until they are delivered. With it
// Notify returns when the message is stored, and [Hub.Run] delivers.
type Outbox struct {
	// Dir is the folder, made if absent, readable by its owner alone. Several
	// hubs and processes of one machine may share it. Empty means no outbox.
	Dir string
	// MaxBytes bounds what waits in one process's journal. Defaults to 64 MiB.
	MaxBytes int64 `min:"0"`
	// MaxAge is when a message that cannot be delivered is given up, logged and
	// written to dead.jsonl in Dir. Defaults to 24h; negative means never.
	MaxAge time.Duration
}

const (
	defaultTimeout      = 30 * time.Second
	defaultCloseTimeout = 5 * time.Second
	forever             = time.Duration(1<<63 - 1)
)

// withDefaults returns a copy with defaults filled in, or every mistake.
func (o *Options) withDefaults() (Options, error) {
	var out Options
	if o != nil {
		out = *o
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("notify: "+format, args...)) }
	if len(out.Receivers) == 0 {
		bad("Receivers is empty: add at least one")
	}
	out.Receivers = slices.Clone(out.Receivers)
	names := map[string]bool{}
	for _, r := range out.Receivers {
		names[r.Name] = true
	}
	seen := map[string]bool{}
	for i := range out.Receivers {
		r := &out.Receivers[i]
		where := fmt.Sprintf("Receivers[%d]", i)
		if r.Name == "" {
			bad("%s.Name is empty: give it a name that is unique", where)
		} else {
			where = fmt.Sprintf("receiver %q", r.Name)
		}
		if strings.ContainsFunc(r.Name, isControl) {
			bad("%s: Name has control characters", where)
		}
		if seen[r.Name] && r.Name != "" {
			bad("%s: Name is taken by another receiver", where)
		}
		seen[r.Name] = true
		if r.Notifier == nil {
			bad("%s: Notifier is nil", where)
		}
		if r.Fallback != "" && !names[r.Fallback] {
			bad("%s: Fallback %q is no receiver; there are %s", where, r.Fallback, quoted(names))
		}
		if r.Fallback != "" && r.Fallback == r.Name {
			bad("%s: Fallback names the receiver itself", where)
		}
		if r.Rate.Burst < 0 {
			bad("%s: Rate.Burst is %d: use 0 for 1, or a positive number", where, r.Rate.Burst)
		}
		if r.Concurrency < 0 {
			bad("%s: Concurrency is %d: use 0 for the default, or a positive number", where, r.Concurrency)
		}
		if r.Retry.Base < 0 || r.Retry.Max < 0 {
			bad("%s: Retry.Base %v and Retry.Max %v must not be negative", where, r.Retry.Base, r.Retry.Max)
		}
		if r.Retry.Max > 0 && r.Retry.Base > r.Retry.Max {
			bad("%s: Retry.Base %v is above Retry.Max %v", where, r.Retry.Base, r.Retry.Max)
		}
		out.fill(r)
	}
	g := &out.Group
	if g.Wait < 0 {
		bad("Group.Wait is %v: use 0 for none", g.Wait)
	}
	if g.MaxGroups < 0 {
		bad("Group.MaxGroups is %d: use 0 for 1,000, or a positive number", g.MaxGroups)
	}
	if out.Outbox.MaxBytes < 0 {
		bad("Outbox.MaxBytes is %d: use 0 for 64 MiB, or a positive number", out.Outbox.MaxBytes)
	}
	g.Interval = either(g.Interval, 5*time.Minute)
	if g.Repeat < 0 {
		g.Repeat = g.Interval
	}
	g.Repeat = max(either(g.Repeat, time.Hour), g.Interval)
	g.MaxGroups = either(g.MaxGroups, 1000)
	g.By = slices.Clone(g.By)
	out.Outbox.MaxBytes = either(out.Outbox.MaxBytes, 64<<20)
	out.Outbox.MaxAge = out.maxAge()
	out.CloseTimeout = max(0, either(out.CloseTimeout, defaultCloseTimeout))
	if out.Logger == nil {
		out.Logger = slog.New(slog.DiscardHandler)
	}
	return out, errors.Join(errs...)
}

// fill sets the defaults of r, which depend on whether there is an outbox.
func (o *Options) fill(r *Receiver) {
	durable := o.Outbox.Dir != ""
	r.Timeout = either(r.Timeout, defaultTimeout)
	if r.Timeout < 0 {
		r.Timeout = forever
	}
	r.Rate.Burst = either(r.Rate.Burst, 1)
	r.Retry.Base = either(r.Retry.Base, time.Second)
	r.Retry.Max = max(either(r.Retry.Max, 5*time.Minute), r.Retry.Base)
	switch {
	case r.Retry.Attempts < 0:
		r.Retry.Attempts = 1
	case r.Retry.Attempts == 0 && durable:
		r.Retry.Attempts = 1<<31 - 1
	case r.Retry.Attempts == 0:
		r.Retry.Attempts = 5
	}
	switch {
	case r.Retry.MaxElapsed < 0:
		r.Retry.MaxElapsed = forever
	case r.Retry.MaxElapsed == 0 && durable:
		r.Retry.MaxElapsed = o.maxAge()
	case r.Retry.MaxElapsed == 0:
		r.Retry.MaxElapsed = 5 * time.Minute
	}
	if durable {
		r.Concurrency = either(r.Concurrency, 1)
	}
	r.Concurrency = either(r.Concurrency, 4)
}

func (o *Options) maxAge() time.Duration {
	if o.Outbox.MaxAge < 0 {
		return forever
	}
	return either(o.Outbox.MaxAge, 24*time.Hour)
}

// either returns v, or standard if v is zero.
func either[T comparable](v, standard T) T {
	var zero T
	if v == zero {
		return standard
	}
	return v
}

func quoted(names map[string]bool) string {
	list := make([]string, 0, len(names))
	for n := range names {
		list = append(list, fmt.Sprintf("%q", n))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}
