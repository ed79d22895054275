package notify

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/internal/safefile"
)

// Options are the settings of a [Hub]. New copies them. The fields with a key are
// those that an operator chooses, and package config fills them; the others are
// set in code.
type Options struct {
	// Receivers get the messages, each those that its MinLevel and Match take.
	// At least one is required. Those that settings name get their Notifier by
	// [Options.Bind].
	Receivers []Receiver `koanf:"receivers" doc:"who is told, each with a name"`
	// Group keeps storms of equal messages small.
	Group Group `koanf:"group"`
	// Outbox keeps messages on disk until they are delivered. Without its Dir
	// there is none.
	Outbox Outbox `koanf:"outbox"`
	// Source says who speaks: it stands in subjects and texts. Defaults to
	// program@host; "-" for none.
	Source string `koanf:"source" doc:"who speaks, in subjects and texts; empty: program@host; -: nobody"`
	// StuckAfter is how long a state that loses nothing may last before it is
	// told, such as a receiver that does not answer. Defaults to 1m; negative is
	// at once.
	StuckAfter time.Duration `koanf:"stuck_after" default:"1m" zero:"default" doc:"how long messages may wait before it is told; negative: at once"`
	// CloseTimeout bounds how long Close and the end of Run wait for calls
	// that are under way. Defaults to 5s; negative does not wait.
	CloseTimeout time.Duration `koanf:"close_timeout" default:"5s" zero:"default" doc:"wait for the receivers at the end; negative: none"`

	// DryRun, if not nil, gets what would go out, and nothing goes out.
	DryRun io.Writer `koanf:"-"`
	// Logger gets the hub's own events, redacted: what is lost or stuck at
	// Error, once when it begins and once when it is over; the first try of a
	// message that failed at Warn, those after it at Debug. A [NewHandler] of the
	// same hub behind it does not raise alerts about them. Nil writes what is lost
	// or stuck to stderr; slog.New(slog.DiscardHandler) turns it off.
	Logger *slog.Logger `koanf:"-"`
	// OnError is told of each loss and of each state that lasts, once when it
	// begins and once when it is over; the errors match ErrLost or ErrStuck. It is
	// called one at a time, under no lock, and may use the hub. Defaults to none.
	OnError func(error) `koanf:"-"`
	// Secrets are kept out of messages, errors, logs, journals and dry runs,
	// as are those of receivers that are a [SecretHolder]. Secrets below 4
	// bytes are too short for that.
	Secrets []secret.Secret `koanf:"-"`
}

// Receiver is one place that messages go to, and how it is treated.
type Receiver struct {
	// Name names the receiver in errors, logs and [Stats]. Required, unique.
	Name string `koanf:"name" required:"true" doc:"name of the receiver"`
	// Notifier takes the messages: an email.Client, a slack.Webhook, any
	// service of nikoksr/notify. Required.
	Notifier Notifier `koanf:"-"`
	// MinLevel is the lowest level that the receiver gets. The zero value is
	// [slog.LevelInfo].
	MinLevel slog.Level `koanf:"min_level" doc:"least level that the receiver gets, as WARN"`
	// Match picks messages further. It must be fast and not block; one that
	// panics counts as yes. Defaults to all.
	Match func(Message) bool `koanf:"-"`
	// Format words a message for this receiver, as the Format of a
	// template.Template does. When it fails or panics, that is logged and the
	// message goes out as it is. Defaults to none.
	Format func(Message) (Message, error) `koanf:"-"`
	// Classify reads the errors of a Notifier that does not explain them, such
	// as those of github.com/nikoksr/notify: the class says whether another try
	// can help. Empty leaves the class as it is. Defaults to none: such errors
	// are tried a few times.
	Classify func(error) Class `koanf:"-"`
	// Timeout bounds one try. Defaults to 30s; negative means no bound.
	Timeout time.Duration `koanf:"timeout" default:"30s" zero:"default" doc:"bound of one try; negative: none"`
	// Fallback names the receiver that takes over a message which cannot be
	// delivered here. Defaults to none.
	Fallback string `koanf:"fallback" doc:"name of the receiver that takes over; empty: none"`
	// FallbackAfter is how long a message may wait before the fallback gets a
	// copy; what is refused goes there at once. Whoever takes the message first
	// has it. Defaults to 2m.
	FallbackAfter time.Duration `koanf:"fallback_after" default:"2m" min:"0s" zero:"default" doc:"how long a message may wait before the fallback gets it"`
	// Rate bounds the number of messages.
	Rate Rate `koanf:"rate"`
	// Retry says how often and when a failed message is tried again.
	Retry Retry `koanf:"retry"`
	// Concurrency is the number of calls at the same time. Defaults to 1:
	// messages then keep their order, and a crash repeats at most one per
	// receiver.
	Concurrency int `koanf:"concurrency" default:"1" min:"1" zero:"default" doc:"calls at the same time"`
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
	Per time.Duration `koanf:"per" default:"1m" zero:"default" doc:"time in which one message goes out; negative: no limit"`
	// Burst is the number that may go out at once. Defaults to 20.
	Burst int `koanf:"burst" default:"20" min:"1" zero:"default" doc:"messages that may go out at once"`
}

// Retry is the schedule for what failed for the moment: SMTP 4xx, HTTP 429 and
// 5xx, a broken network. Waits grow from Base to Max, with full jitter; a wait
// that the receiver asks for wins. A receiver that does not answer is asked again
// by one message, while all others wait.
type Retry struct {
	// Attempts bounds the tries. Defaults to no bound; negative means one try.
	Attempts int `koanf:"attempts" doc:"tries at most; 0: no bound; negative: one"`
	// Base bounds the first wait. Defaults to 1s.
	Base time.Duration `koanf:"base" default:"1s" min:"0s" zero:"default" doc:"wait after the first failure, at most"`
	// Max bounds every wait. Defaults to 5m.
	Max time.Duration `koanf:"max" default:"5m" min:"0s" zero:"default" doc:"wait after any failure, at most"`
	// MaxElapsed bounds the time since the message came. Defaults to
	// Outbox.MaxAge with an outbox, and to 5m where a caller waits; negative
	// means no bound.
	MaxElapsed time.Duration `koanf:"max_elapsed" doc:"how long a message is tried; 0: 5m, or the outbox's max_age; negative: no bound"`
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
	Wait time.Duration `koanf:"wait" min:"0s" doc:"hold the first message back, to count what comes at the same time"`
	// Interval is the least time between two messages about one trouble that
	// do not go out at once. Defaults to 5m; negative turns grouping off.
	Interval time.Duration `koanf:"interval" default:"5m" zero:"default" doc:"least time between two messages about one trouble; negative: no grouping"`
	// Repeat is the time between messages about a trouble that goes on. Defaults
	// to 1h, or Interval if that is longer; negative means Interval.
	Repeat time.Duration `koanf:"repeat" default:"1h" zero:"default" doc:"time between messages about a trouble that goes on; negative: interval"`
	// By names attributes. If set, messages without a Key are the same trouble
	// when Level, Subject and these attributes are equal, whatever their Text.
	By []string `koanf:"by" doc:"attributes that tell troubles apart"`
	// MaxGroups bounds the troubles that are kept for each receiver. Beyond it
	// the quiet and low ones give way. Defaults to 1,000.
	MaxGroups int `koanf:"max_groups" default:"1000" min:"1" zero:"default" doc:"troubles that are kept for each receiver"`
}

// Outbox keeps messages in a journal on disk until they are delivered. With it
// nil from Notify means that the message is stored.
type Outbox struct {
	// Dir is the folder, made if absent, readable by its owner alone. Several
	// hubs and processes of one machine may share it. Empty means no outbox.
	Dir string `koanf:"dir" doc:"folder of messages that wait; empty: none"`
	// Service names the service whose messages these are: only hubs of the same
	// Service take over what a process left. It must not change from start to
	// start. Defaults to the base name of the program.
	Service string `koanf:"service" doc:"whose messages these are; empty: the name of the program"`
	// MaxBytes bounds what waits in one process's journal. Defaults to 64 MiB.
	MaxBytes int64 `koanf:"max_bytes" default:"64MiB" min:"1" zero:"default" doc:"size of what waits"`
	// MaxAge is when a message that cannot be delivered is given up, logged and
	// written to dead.jsonl in Dir. Defaults to 24h; negative means never.
	MaxAge time.Duration `koanf:"max_age" default:"24h" zero:"default" doc:"when a message is given up; negative: never"`
	// Shared takes a Dir, and files in it, that another user owns or that
	// everybody may write, as the mounts of WSL and Docker Desktop show all of
	// theirs. Whoever may write Dir can have messages delivered.
	Shared bool `koanf:"shared" doc:"take a folder that another user owns or may write"`
}

// policy says what is asked of Dir and of the files in it.
func (o Outbox) policy() safefile.Policy {
	return safefile.Policy{Shared: o.Shared, OptOut: "Outbox.Shared"}
}

const forever = time.Duration(1<<63 - 1)

// Bind gives each of Receivers the Notifier of its name. Notifiers of other names
// become receivers with the defaults, sorted by name. A receiver whose name has
// no Notifier stays without, so that [New] tells of a mistake in the name.
func (o *Options) Bind(notifiers map[string]Notifier) {
	o.Receivers = slices.Clone(o.Receivers)
	for _, name := range slices.Sorted(maps.Keys(notifiers)) {
		i := slices.IndexFunc(o.Receivers, func(r Receiver) bool { return r.Name == name })
		if i < 0 {
			i = len(o.Receivers)
			o.Receivers = append(o.Receivers, Receiver{Name: name})
		}
		o.Receivers[i].Notifier = notifiers[name]
	}
}

// Validate returns every mistake in what settings can hold, each by its field;
// New tells of those in what is set in code, too.
func (o Options) Validate() error {
	wrong := o.mistakes()
	return wrong.Err("notify: new")
}

func (o *Options) mistakes() options.Mistakes {
	wrong := options.Check(*o)
	seen := map[string]bool{}
	for i, r := range o.Receivers {
		field := fmt.Sprintf("Receivers[%d].", i)

		if strings.ContainsFunc(r.Name, isControl) {
			wrong.Add(field+"Name", "%q has control characters: leave them out", r.Name)
		}
		if seen[r.Name] && r.Name != "" {
			wrong.Add(field+"Name", "%q is taken by another receiver: names are unique", r.Name)
		}
		seen[r.Name] = true

		if r.Fallback != "" && r.Fallback == r.Name {
			wrong.Add(field+"Fallback", "%q is the receiver itself: name another one", r.Fallback)
		}
		if r.Retry.Max != 0 && r.Retry.Base > r.Retry.Max {
			wrong.Add(field+"Retry.Base", "%v is above Max, %v: give at most that, or a larger Max", r.Retry.Base, r.Retry.Max)
		}
	}
	return wrong
}

// unbound returns the mistakes in what only code can set.
func (o *Options) unbound() (wrong options.Mistakes) {
	if len(o.Receivers) == 0 {
		wrong.Add("Receivers", "is empty: give at least one")
	}

	var names []string
	for _, r := range o.Receivers {
		names = append(names, r.Name)
	}

	for i, r := range o.Receivers {
		field := fmt.Sprintf("Receivers[%d].", i)
		if r.Notifier == nil {
			wrong.Add(field+"Notifier", "is nil: give what sends for %q", r.Name)
		} else if v := reflect.ValueOf(r.Notifier); v.Kind() == reflect.Pointer && v.IsNil() {
			wrong.Add(field+"Notifier", "is a nil %T: see the error of its constructor", r.Notifier)
		}
		if r.Fallback != "" && !slices.Contains(names, r.Fallback) {
			wrong.Add(field+"Fallback", "%q is no receiver: there are %q", r.Fallback, names)
		}
	}
	return wrong
}

// withDefaults returns a copy with defaults filled in, or every mistake.
func (o *Options) withDefaults() (Options, error) {
	var out Options
	if o != nil {
		out = *o
	}
	options.Fill(&out)
	wrong := append(out.mistakes(), out.unbound()...)

	g := &out.Group
	switch {
	case g.Interval < 0:
		g.Interval, g.Repeat = 0, 0
	default:
		g.Repeat = max(g.Repeat, g.Interval)
	}
	g.By = slices.Clone(g.By)

	bounded(&out.Outbox.MaxAge)
	out.CloseTimeout = max(0, out.CloseTimeout)
	out.Outbox.Service = cmp.Or(out.Outbox.Service, program())
	for i := range out.Receivers {
		out.fill(&out.Receivers[i])
	}

	switch out.Source {
	case "":
		out.Source = program()
		if host, err := os.Hostname(); err == nil {
			out.Source += "@" + host
		}
	case "-":
		out.Source = ""
	}

	return out, wrong.Err("notify: new")
}

// fill sets what depends on other fields, and gives words such as "negative"
// their number.
func (o *Options) fill(r *Receiver) {
	bounded(&r.Timeout)
	switch {
	case r.Retry.Attempts < 0:
		r.Retry.Attempts = 1
	case r.Retry.Attempts == 0:
		r.Retry.Attempts = 1<<31 - 1
	}

	switch {
	case r.Retry.MaxElapsed == 0 && o.Outbox.Dir != "":
		r.Retry.MaxElapsed = o.Outbox.MaxAge
	case r.Retry.MaxElapsed == 0:
		r.Retry.MaxElapsed = 5 * time.Minute
	}
	bounded(&r.Retry.MaxElapsed)
}

// bounded makes a negative duration one that never ends.
func bounded(d *time.Duration) {
	if *d < 0 {
		*d = forever
	}
}

// program returns the base name of the program.
func program() string { return strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") }

// off reports whether messages are not grouped.
func (g Group) off() bool { return g.Interval <= 0 }

// distinct writes the values of the attributes that By and more name.
func (g Group) distinct(m *Message, more []string) string {
	var b []byte
	for _, f := range m.Fields() {
		for _, names := range [2][]string{g.By, more} {
			for _, name := range names {
				if f.Name == name {
					b = append(strconv.AppendQuote(b, f.Name), '=')
					b = append(strconv.AppendQuote(b, f.Value), ',')
				}
			}
		}
	}
	return string(b)
}
