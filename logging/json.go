package logging

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/logging/internal/jsontext"
)

// jsonHandler writes one JSON object per record, equal to what
// slog.JSONHandler writes but for what is redacted.
type jsonHandler struct {
	out    *jsonOutput
	attrs  []byte   // by WithAttrs, encoded, with the groups they open
	groups []string // by WithGroup
	opened int      // how many of groups are open in attrs
	hidden bool     // within a group whose key is redacted: nothing is added
}

// jsonOutput is what the handlers derived from one share.
type jsonOutput struct {
	w      io.Writer
	mu     *sync.Mutex // nil where w needs none
	source bool
	keys   *keySet
	least  *slog.LevelVar // below it nothing is written
	redact *redactor      // nil: nothing
	trace  func(context.Context) (traceID, spanID string)
	clock  clock
}

// newJSON returns a handler which writes to w, with one Write per record.
func newJSON(w io.Writer, o *Options, redact *redactor, least *slog.LevelVar) *jsonHandler {
	trace := o.Trace
	out := &jsonOutput{w: w, source: o.Source, keys: keysOf(o.Keys), least: least, redact: redact, trace: trace}
	if trace == nil {
		out.trace = traceOf
	}
	if _, ok := w.(*File); !ok {
		out.mu = new(sync.Mutex)
	}
	return &jsonHandler{out: out}
}

func (h *jsonHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.out.least.Level()
}

var recordBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

func (h *jsonHandler) Handle(ctx context.Context, r slog.Record) error {
	o := h.out
	if r.Level < o.least.Level() {
		return nil // where it is the only output, nobody asked
	}

	pooled := recordBuffers.Get().(*[]byte)
	b := append((*pooled)[:0], '{')
	if !r.Time.IsZero() {
		b = append(b, o.keys.time...)
		b = append(o.clock.appendTime(b, r.Time), ',')
	}

	b = append(b, o.keys.level...)
	b = append(o.keys.levels(b, r.Level), ',')

	if o.source {
		if src := r.Source(); src != nil {
			b = append(b, o.keys.source...)
			b = append(appendSource(b, src), ',')
		}
	}

	b = append(b, o.keys.message...)
	b = jsontext.AppendString(b, r.Message)

	if traceID, spanID := o.trace(ctx); traceID != "" {
		b = append(append(b, ','), o.keys.trace...)
		b = jsontext.AppendString(b, traceID)
		b = append(append(b, ','), o.keys.span...)
		b = jsontext.AppendString(b, spanID)
	}

	if len(h.attrs) > 0 {
		b = append(append(b, ','), h.attrs...)
	}

	open := h.opened
	if r.NumAttrs() > 0 && !h.hidden {
		before := len(b)
		b = h.openGroups(b)
		some := false
		r.Attrs(func(a slog.Attr) bool {
			var written bool
			b, written = o.appendAttr(b, a)
			some = some || written
			return true
		})
		if some {
			open = len(h.groups)
		} else {
			b = b[:before]
		}
	}

	for range open {
		b = append(b, '}')
	}
	b = append(b, '}', '\n')

	err := o.write(b)
	if cap(b) <= maxPooled {
		*pooled = b
		recordBuffers.Put(pooled)
	}
	return err
}

func (o *jsonOutput) write(b []byte) error {
	if o.redact != nil && !o.redact.secrets.IsZero() {
		b = o.redact.line(b)
	}
	if o.mu != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
	}
	_, err := o.w.Write(b)
	return err
}

// openGroups opens the groups that attrs has not.
func (h *jsonHandler) openGroups(b []byte) []byte {
	for _, name := range h.groups[h.opened:] {
		b = append(appendKey(b, name), '{')
	}
	return b
}

func (h *jsonHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if h.hidden || !slices.ContainsFunc(attrs, func(a slog.Attr) bool {
		return a.Value.Kind() != slog.KindGroup || len(a.Value.Group()) > 0
	}) {
		return h
	}

	// What is encoded begins without a comma; one in front makes appendKey
	// right at the beginning too.
	b := append([]byte{','}, h.attrs...)
	if len(h.attrs) == 0 {
		b = append(b[:0], '{')
	}
	begin := len(b)

	b = h.openGroups(b)
	some := false
	for _, a := range attrs {
		var written bool
		b, written = h.out.appendAttr(b, a)
		some = some || written
	}

	if !some {
		b = b[:begin]
	}
	c := *h
	c.attrs = slices.Clip(b[1:])
	if some {
		c.opened = len(h.groups)
	}
	return &c
}

func (h *jsonHandler) WithGroup(name string) slog.Handler {
	if h.hidden || name == "" {
		return h
	}
	c := *h
	if r := h.out.redact; r != nil && r.key(name) {
		c = *h.WithAttrs([]slog.Attr{slog.String(name, secret.Redacted)}).(*jsonHandler)
		c.hidden = true
		return &c
	}
	c.groups = append(slices.Clip(h.groups), name)
	return &c
}

// appendKey appends key and a colon, and before it a comma unless the object
// just begins.
func appendKey(b []byte, key string) []byte {
	if last := b[len(b)-1]; last != '{' {
		b = append(b, ',')
	}
	return append(jsontext.AppendString(b, key), ':')
}

// appendAttr appends a and reports whether it is to count as output.
func (o *jsonOutput) appendAttr(b []byte, a slog.Attr) ([]byte, bool) {
	if a.Value.Kind() == slog.KindLogValuer {
		a.Value = a.Value.Resolve()
	}
	if o.redact != nil && o.redact.key(a.Key) {
		return jsontext.AppendString(appendKey(b, a.Key), secret.Redacted), true
	}

	v := a.Value
	switch v.Kind() {
	case slog.KindString:
		return jsontext.AppendString(appendKey(b, a.Key), v.String()), true
	case slog.KindInt64:
		return strconv.AppendInt(appendKey(b, a.Key), v.Int64(), 10), true
	case slog.KindUint64:
		return strconv.AppendUint(appendKey(b, a.Key), v.Uint64(), 10), true
	case slog.KindFloat64:
		return appendFloat(appendKey(b, a.Key), v.Float64()), true
	case slog.KindBool:
		return strconv.AppendBool(appendKey(b, a.Key), v.Bool()), true
	case slog.KindDuration:
		return strconv.AppendInt(appendKey(b, a.Key), int64(v.Duration()), 10), true
	case slog.KindTime:
		return appendTime(appendKey(b, a.Key), v.Time()), true
	case slog.KindGroup:
		return o.appendGroup(b, a.Key, v.Group())
	}

	x := v.Any()
	if x == nil && a.Key == "" {
		return b, false
	}

	if src, ok := x.(*slog.Source); ok {
		if src == nil || *src == (slog.Source{}) {
			return b, false
		}
		if a.Key == "" {
			return appendSourceFields(b, src), true
		}
		return appendSource(appendKey(b, a.Key), src), true
	}

	b = appendKey(b, a.Key)
	from := len(b)
	b = appendAny(b, x)
	if o.redact != nil {
		b = o.redact.jsonValue(b, from)
	}
	return b, true
}

// appendGroup appends a group, or its attributes if it has no key.
func (o *jsonOutput) appendGroup(b []byte, key string, attrs []slog.Attr) ([]byte, bool) {
	if len(attrs) == 0 {
		return b, true // as slog: only LogValue can give it
	}
	begin := len(b)
	if key != "" {
		b = append(appendKey(b, key), '{')
	}

	some := false
	for _, a := range attrs {
		var written bool
		b, written = o.appendAttr(b, a)
		some = some || written
	}

	if !some {
		return b[:begin], false
	}
	if key != "" {
		b = append(b, '}')
	}
	return b, true
}

// appendSource appends src as slog does: without its empty fields.
func appendSource(b []byte, src *slog.Source) []byte {
	return append(appendSourceFields(append(b, '{'), src), '}')
}

func appendSourceFields(b []byte, src *slog.Source) []byte {
	if src.Function != "" {
		b = jsontext.AppendString(appendKey(b, "function"), src.Function)
	}
	if src.File != "" {
		b = jsontext.AppendString(appendKey(b, "file"), src.File)
	}
	if src.Line != 0 {
		b = strconv.AppendInt(appendKey(b, "line"), int64(src.Line), 10)
	}
	return b
}
