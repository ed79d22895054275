package notify

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/svcblocks/svcblocks/internal/health"
	"github.com/svcblocks/svcblocks/internal/redact"
)

// markKey marks the context of everything that happens within a hub, so that a
// [Handler] does not raise an alert about an alert.
type markKey struct{}

func marked(ctx context.Context) context.Context {
	return context.WithValue(ctx, markKey{}, true)
}

// own is the private mark of records of the hub behind handlers that drop the
// context. It prints as the name of the package.
type own struct{}

// String returns "notify".
func (own) String() string { return "notify" }

// MarshalText returns "notify", for handlers that write JSON.
func (own) MarshalText() ([]byte, error) { return []byte("notify"), nil }

// ownAttr marks a record as one of a hub or a receiver.
func ownAttr() slog.Attr { return slog.Any("component", own{}) }

// logger is the hub's own log: marked and redacted.
type logger struct {
	out *slog.Logger
	red *redact.Redactor
}

func (l *logger) Info(msg string, args ...any)  { l.log(slog.LevelInfo, msg, args) }
func (l *logger) Warn(msg string, args ...any)  { l.log(slog.LevelWarn, msg, args) }
func (l *logger) Error(msg string, args ...any) { l.log(slog.LevelError, msg, args) }

func (l *logger) log(level slog.Level, msg string, args []any) {
	ctx := marked(context.Background())
	if l.out == nil || !l.out.Enabled(ctx, level) {
		return
	}
	out := []any{ownAttr()}
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

// later logs once t is done: no handler is called under a lock.
func (l *logger) later(t *todo, level slog.Level, msg string, args ...any) {
	for i, a := range args {
		if err, ok := a.(*Error); ok {
			c := *err
			args[i] = &c
		}
	}
	t.run = append(t.run, func() { l.log(level, msg, args) })
}

// newHealth returns the monitor of what is lost or stuck. Its records are the
// hub's own.
func newHealth(o *Options) *health.Monitor {
	log := o.Logger
	if log != nil {
		log = slog.New(ownHandler{log.Handler()})
	}
	return health.New(health.Options{
		Component: "notify", Logger: log, OnError: o.OnError, After: o.StuckAfter, Lost: ErrLost, Stuck: ErrStuck,
	})
}

func healthKey(receiver string) string { return "receiver " + receiver }

// ownHandler marks records as the hub's own.
type ownHandler struct{ slog.Handler }

// Handle passes r on with a context that is marked.
func (h ownHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.Handler.Handle(marked(ctx), r)
}

// WithAttrs puts the mark in place of the component's name.
func (h ownHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	attrs = slices.Clone(attrs)
	for i, a := range attrs {
		if a.Key == ownAttr().Key {
			attrs[i] = ownAttr()
		}
	}
	return ownHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup returns a handler of the group.
func (h ownHandler) WithGroup(name string) slog.Handler {
	return ownHandler{h.Handler.WithGroup(name)}
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
	// By names attributes that tell troubles with the same message apart, beside
	// those of [Group].By.
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
	m := Message{Level: r.Level, Subject: r.Message, Time: r.Time, Attrs: h.collect(r)}
	m.Key = h.key(ctx, r)
	if m.Subject == "" {
		m.Subject = "(no message)"
	}

	hub := h.hub
	key, grouped := groupKey{}, !hub.opts.Group.off()
	if m.Key != "" {
		key, grouped = hub.router.key(&m)
	} else if grouped {
		by := ""
		if len(h.opts.By)+len(hub.opts.Group.By) > 0 {
			by = hub.opts.Group.distinct(&m, h.opts.By)
		}
		key = hash("s", r.Message, by, int(r.Level))
	}

	// Whatever fails is logged where it fails.
	_ = hub.submit(hub.alive, m, key, grouped, false)
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

// collect returns the attributes of the handler and of r.
func (h *handler) collect(r slog.Record) []slog.Attr {
	all := make([]slog.Attr, 0, len(h.attrs)+r.NumAttrs())
	all = append(all, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		all = append(all, a)
		return true
	})
	if len(h.groups) == 0 {
		return all
	}
	return append(all[:len(h.attrs)], h.nest(slices.Clone(all[len(h.attrs):]))...)
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
	if a.Value.Kind() != slog.KindAny {
		return false
	}
	_, ok := a.Value.Any().(own)
	return ok
}
