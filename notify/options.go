package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
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
	// Source says who speaks: it stands in subjects and texts. Defaults to
	// program@host; "-" for none.
	Source string
	// DryRun, if not nil, gets what would go out, and nothing goes out.
	DryRun io.Writer
	// Logger gets the hub's own events, redacted: what is lost or stuck at
	// Error, once when it begins and once when it is over. A [NewHandler] of the
	// same hub behind it does not raise alerts about them. Nil writes what is lost
	// or stuck to stderr; slog.New(slog.DiscardHandler) turns it off.
	Logger *slog.Logger
	// OnError is told of each loss and of each state that lasts, once when it
	// begins and once when it is over; the errors match ErrLost or ErrStuck. It is
	// called one at a time, under no lock, and may use the hub. Defaults to none.
	OnError func(error)
	// StuckAfter is how long a state that loses nothing may last before it is
	// told, such as a receiver that does not answer. Defaults to 1m; negative is
	// at once.
	StuckAfter time.Duration
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
	// Classify reads the errors of a Notifier that does not explain them, such
	// as those of github.com/nikoksr/notify: the class says whether another try
	// can help. Empty leaves the class as it is. Defaults to none: such errors
	// are tried a few times.
	Classify func(error) Class
	// Timeout bounds one try. Defaults to 30s; negative means no bound.
	Timeout time.Duration
	// Fallback names the receiver that takes over a message which cannot be
	// delivered here. Defaults to none.
	Fallback string
	// FallbackAfter is how long a message may wait before the fallback gets a
	// copy; what is refused goes there at once. Whoever takes the message first
	// has it. Defaults to 2m.
	FallbackAfter time.Duration
	// Rate bounds the number of messages.
	Rate Rate
	// Retry says how often and when a failed message is tried again.
	Retry Retry
	// Concurrency is the number of calls at the same time. Defaults to 1:
	// messages then keep their order, and a crash repeats at most one per
	// receiver.
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

// Rate bounds the messages to a receiver: Burst at once, then one in each Per.
// What comes beyond is held and goes out as one summary in each Per, the most
// serious first, with the subject of each up to a bound. The end of a trouble, and
// a level above any that went out within Per, pass on credit, at most Burst.
type Rate struct {
	// Per is the time in which one message may go out in the long run. Defaults
	// to 1m; negative means no limit.
	Per time.Duration
	// Burst is the number that may go out at once. Defaults to 20.
	Burst int `min:"0"`
}

// Retry is the schedule for what failed for the moment: SMTP 4xx, HTTP 429 and
// 5xx, a broken network. Waits grow from Base to Max, with full jitter; a wait
// that the receiver asks for wins. A receiver that does not answer is asked again
// by one message, while all others wait.
type Retry struct {
	// Attempts bounds the tries. Defaults to no bound; negative means one try.
	Attempts int
	// Base bounds the first wait. Defaults to 1s.
	Base time.Duration `min:"0s"`
	// Max bounds every wait. Defaults to 5m.
	Max time.Duration `min:"0s"`
	// MaxElapsed bounds the time since the message came. Defaults to
	// Outbox.MaxAge with an outbox, and to 5m where a caller waits; negative
	// means no bound.
	MaxElapsed time.Duration
}

// Group says how messages about one trouble become few, for each receiver by
// itself. At once go out: the first word of a trouble, a level above any that was
// told, and the first end. Whatever else happens within Interval becomes one
// message with the count of all; while the trouble goes on, there is one every
// Repeat. The end goes to whoever heard the start. What was told is kept in the
// outbox, so that a process that starts again does not tell it again.
//
// A trouble with a Key is open until Resolved; one without is forgotten when
// nothing came for Repeat.
type Group struct {
	// Wait holds the first message back, to count what comes at the same time.
	// Defaults to none.
	Wait time.Duration `min:"0s"`
	// Interval is the least time between two messages about one trouble that
	// do not go out at once. Defaults to 5m; negative turns grouping off.
	Interval time.Duration
	// Repeat is the time between messages about a trouble that goes on. Defaults
	// to 1h, or Interval if that is longer; negative means Interval.
	Repeat time.Duration
	// By names attributes. If set, messages without a Key are the same trouble
	// when Level, Subject and these attributes are equal, whatever their Text.
	By []string
	// MaxGroups bounds the troubles that are kept for each receiver. Beyond it
	// the quiet and low ones give way. Defaults to 1,000.
	MaxGroups int `min:"0"`
}

// Outbox keeps messages in a journal on disk until they are delivered. With it
// nil from Notify means that the message is stored.
type Outbox struct {
	// Dir is the folder, made if absent, readable by its owner alone. Several
	// hubs and processes of one machine may share it. Empty means no outbox.
	Dir string
	// Service names the service whose messages these are: only hubs of the same
	// Service take over what a process left. It must not change from start to
	// start. Defaults to the base name of the program.
	Service string
	// MaxBytes bounds what waits in one process's journal. Defaults to 64 MiB.
	MaxBytes int64 `min:"0"`
	// MaxAge is when a message that cannot be delivered is given up, logged and
	// written to dead.jsonl in Dir. Defaults to 24h; negative means never.
	MaxAge time.Duration
}

const (
	defaultTimeout       = 30 * time.Second
	defaultCloseTimeout  = 5 * time.Second
	defaultFallbackAfter = 2 * time.Minute
	forever              = time.Duration(1<<63 - 1)
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

		if r.FallbackAfter < 0 {
			bad("%s: FallbackAfter is %v: use 0 for 2m, or a positive duration", where, r.FallbackAfter)
		}
		if r.Rate.Burst < 0 {
			bad("%s: Rate.Burst is %d: use 0 for 20, or a positive number", where, r.Rate.Burst)
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

	if g.Interval < 0 {
		g.Interval, g.Repeat = 0, 0
	}
	if g.Interval > 0 {
		g.Repeat = max(either(g.Repeat, time.Hour), g.Interval)
	}
	g.MaxGroups = either(g.MaxGroups, 1000)

	g.By = slices.Clone(g.By)
	out.Outbox.MaxBytes = either(out.Outbox.MaxBytes, 64<<20)
	out.Outbox.MaxAge = out.maxAge()
	out.CloseTimeout = max(0, either(out.CloseTimeout, defaultCloseTimeout))
	out.Outbox.Service = either(out.Outbox.Service, program())

	switch out.Source {
	case "":
		out.Source = program()
		if host, err := os.Hostname(); err == nil {
			out.Source += "@" + host
		}
	case "-":
		out.Source = ""
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
	r.FallbackAfter = either(r.FallbackAfter, defaultFallbackAfter)
	r.Rate.Per = either(r.Rate.Per, time.Minute)

	r.Rate.Burst = either(r.Rate.Burst, 20)
	r.Retry.Base = either(r.Retry.Base, time.Second)
	r.Retry.Max = max(either(r.Retry.Max, 5*time.Minute), r.Retry.Base)

	switch {
	case r.Retry.Attempts < 0:
		r.Retry.Attempts = 1
	case r.Retry.Attempts == 0:
		r.Retry.Attempts = 1<<31 - 1
	}

	switch {
	case r.Retry.MaxElapsed < 0:
		r.Retry.MaxElapsed = forever
	case r.Retry.MaxElapsed == 0 && durable:
		r.Retry.MaxElapsed = o.maxAge()
	case r.Retry.MaxElapsed == 0:
		r.Retry.MaxElapsed = 5 * time.Minute
	}

	r.Concurrency = either(r.Concurrency, 1)
}

// program returns the base name of the program.
func program() string {
	name := filepath.Base(os.Args[0])
	return strings.TrimSuffix(name, ".exe")
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
