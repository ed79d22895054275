package notify

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/notify/internal/redact"
)

// markKey marks the context of everything that happens within a hub, so that a
// [Handler] does not raise an alert about an alert.
type markKey struct{}

func marked(ctx context.Context) context.Context {
	return context.WithValue(ctx, markKey{}, true)
}

// componentKey and componentName mark records of the hub and its receivers
// behind handlers that drop the context.
const (
	componentKey  = "component"
	componentName = "notify"
)

// logger is the hub's own log: marked and redacted.
type logger struct {
	out *slog.Logger
	red *redact.Redactor
}

func (l logger) Info(msg string, args ...any)  { l.log(slog.LevelInfo, msg, args) }
func (l logger) Warn(msg string, args ...any)  { l.log(slog.LevelWarn, msg, args) }
func (l logger) Error(msg string, args ...any) { l.log(slog.LevelError, msg, args) }

func (l logger) log(level slog.Level, msg string, args []any) {
	ctx := marked(context.Background())
	if !l.out.Enabled(ctx, level) {
		return
	}
	out := []any{slog.String(componentKey, componentName)}
	for _, a := range args {
		if err, ok := a.(error); ok {
			a = l.red.String(errText(err))
		}
		out = append(out, a)
	}
	r := slog.NewRecord(time.Now(), level, msg, 0)
	r.Add(out...)
	_ = l.out.Handler().Handle(ctx, r) // nowhere to report it
}

// errText returns the text of err, without addresses' paths if it is foreign.
func errText(err error) string {
	if _, ok := errors.AsType[*Error](err); ok {
		return err.Error()
	}
	return redact.Reason(err.Error())
}

// HandlerOptions are the settings of [NewHandler].
type HandlerOptions struct {
	// Level is the lowest level that raises an alert. Defaults to
	// [slog.LevelError].
	Level slog.Leveler
	// Key returns the [Message].Key of a record. Defaults to its level and
	// message and the attributes named by By, so that records which differ in
	// other attributes alone are one trouble.
	Key func(ctx context.Context, r slog.Record) string
	// By names attributes that tell troubles with the same message apart.
	By []string
}

// NewHandler returns a handler that passes every record on to next, which may
// be nil, and makes those of level Error and above messages of hub. It never
// waits for a receiver or a disk: the hub delivers in the background. Records
// of the hub, of its receivers, and of what they call with the context they
// were given, raise no alert.
func NewHandler(hub *Hub, next slog.Handler, opts *HandlerOptions) slog.Handler {
	if hub == nil {
		panic("notify: NewHandler: hub is nil")
	}
	if next == nil {
		next = slog.DiscardHandler
	}
	h := &handler{hub: hub, next: next}
	if opts != nil {
		h.opts = *opts
		h.opts.By = slices.Clone(opts.By)
	}
	if h.opts.Level == nil {
		h.opts.Level = slog.LevelError
	}
	return h
}

type handler struct {
	hub    *Hub
	next   slog.Handler
	opts   HandlerOptions
	attrs  []slog.Attr // from WithAttrs, within their groups
	groups []string    // open groups
	own    bool        // records of the hub or its receivers
}

// Enabled reports whether the record goes to next or raises an alert.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.opts.Level.Level() || h.next.Enabled(ctx, level)
}

// Handle passes r on and raises the alert.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	var err error
	if h.next.Enabled(ctx, r.Level) {
		err = h.next.Handle(ctx, r.Clone())
	}
	if r.Level >= h.opts.Level.Level() && !h.own && ctx.Value(markKey{}) == nil && !isOwn(r) {
		h.alert(ctx, r)
	}
	return err
}

func (h *handler) alert(ctx context.Context, r slog.Record) {
	m := Message{Level: r.Level, Subject: r.Message, Time: r.Time}
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	m.Key = h.key(ctx, r)
	var key groupKey
	if m.Key == "" {
		key = h.hub.groups.hash("s", r.Message, h.distinct(r), r.Level)
	} else {
		key = h.hub.groups.key(&m)
	}
	h.hub.alert(m, key, func(m *Message) { m.Attrs = h.collect(r) })
}

// key asks Key. One that panics gives none: logging must not end a program.
func (h *handler) key(ctx context.Context, r slog.Record) (key string) {
	if h.opts.Key == nil {
		return ""
	}
	defer func() {
		if recover() != nil {
			key = ""
		}
	}()
	return h.opts.Key(ctx, r)
}

// alert takes a record as a message without waiting; fill adds what is needed
// only if it goes out.
func (h *Hub) alert(m Message, key groupKey, fill func(*Message)) {
	now := time.Now()
	if h.isClosed() {
		return
	}
	if h.mute.active() {
		fill(&m)
		if h.mute.hides(m, now) {
			return
		}
	}
	if b, held := h.groups.repeat(key, &m, now); held {
		_ = h.keep(b, false) // never fails without waiting
		return
	}
	m.ID = newID(now)
	fill(&m)
	if m.Subject == "" {
		m.Subject = "(no message)"
	}
	if len(h.route(&m)) == 0 {
		return
	}
	m.resolve()
	m, b, goes := h.groups.admit(key, m, now)
	if !goes {
		_ = h.keep(b, false)
		return
	}
	// Whatever fails from here on is logged where it fails.
	_ = h.dispatch(h.life, m, false)
}

// distinct renders the attributes named by By.
func (h *handler) distinct(r slog.Record) string {
	if len(h.opts.By) == 0 {
		return ""
	}
	var b strings.Builder
	for _, f := range (Message{Attrs: h.collect(r)}).Fields() {
		if slices.Contains(h.opts.By, f.Name) {
			b.WriteString(f.Name + "\xff" + f.Value + "\xff")
		}
	}
	return b.String()
}

// collect returns the attributes of the handler and of r.
func (h *handler) collect(r slog.Record) []slog.Attr {
	own := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		own = append(own, a)
		return true
	})
	return append(slices.Clip(h.attrs), h.nest(own)...)
}

// nest puts attrs into the open groups.
func (h *handler) nest(attrs []slog.Attr) []slog.Attr {
	if len(attrs) == 0 {
		return nil
	}
	for _, name := range slices.Backward(h.groups) {
		attrs = []slog.Attr{{Key: name, Value: slog.GroupValue(attrs...)}}
	}
	return attrs
}

// WithAttrs returns a handler whose records have attrs, too.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	c := *h
	c.next = h.next.WithAttrs(attrs)
	c.attrs = append(slices.Clip(h.attrs), h.nest(attrs)...)
	c.own = h.own || len(h.groups) == 0 && slices.ContainsFunc(attrs, isOwnAttr)
	return &c
}

// WithGroup returns a handler whose records have their attributes in a group.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.next = h.next.WithGroup(name)
	c.groups = append(slices.Clip(h.groups), name)
	return &c
}

// isOwn reports whether r comes from a hub or a receiver.
func isOwn(r slog.Record) bool {
	own := false
	r.Attrs(func(a slog.Attr) bool {
		own = own || isOwnAttr(a)
		return !own
	})
	return own
}

func isOwnAttr(a slog.Attr) bool {
	if a.Key != componentKey || a.Value.Kind() != slog.KindString {
		return false
	}
	name := a.Value.String()
	return name == componentName || strings.HasPrefix(name, componentName+"/")
}
