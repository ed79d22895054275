package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// ConsoleOptions says what is shown on the console.
type ConsoleOptions struct {
	// Format is "text", lines for people on the standard error, "json", the
	// same lines as in the file on the standard output, as containers expect,
	// or "off". Defaults to "text" without a file and to "off" with one.
	Format string `koanf:"format" oneof:"text|json|off" doc:"text, json or off; text without a file, else off"`
	// Level is the level of the console: below it nothing is shown, whatever the
	// component's level. Empty: all.
	Level string `koanf:"level" doc:"least level of the console; empty: all"`
	// Color is "always", "never" or "auto": on a terminal unless NO_COLOR is
	// set. Defaults to "auto".
	Color string `koanf:"color" default:"auto" zero:"default" oneof:"auto|always|never" doc:"auto, always or never"`
	// Writer is where the console writes. Defaults to the standard error for
	// text and to the standard output for JSON.
	Writer io.Writer `koanf:"-"`
}

// colored reports whether text on w is coloured.
func (c ConsoleOptions) colored(w io.Writer) bool {
	switch c.Color {
	case "always":
		return true
	case "never":
		return false
	}
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// console writes records for people: time, level, component, message and
// attributes, one line each.
type console struct {
	mu     *sync.Mutex
	w      io.Writer
	color  bool
	redact *redactor
	least  *slog.LevelVar // below it nothing is shown
	source bool
	trace  func(context.Context) (traceID, spanID string) // nil: traceOf
	prefix string                                         // of keys, by groups
	attrs  string                                         // by WithAttrs, formatted
	logger string                                         // the component
}

func (h *console) Enabled(_ context.Context, level slog.Level) bool { return level >= h.least.Level() }

func (h *console) WithGroup(name string) slog.Handler {
	c := *h
	c.prefix += name + "."
	return &c
}

func (h *console) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	for _, a := range attrs {
		if a.Key == componentKey && h.prefix == "" {
			c.logger = a.Value.Resolve().String()
			continue
		}
		c.attrs = string(h.appendAttr([]byte(c.attrs), h.prefix, a))
	}
	return &c
}

const (
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	reset  = "\x1b[0m"
)

var consoleBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

func (h *console) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < h.least.Level() {
		return nil // where it is the only output, nobody asked
	}
	buf := consoleBuffers.Get().(*[]byte)
	b := (*buf)[:0]
	if !r.Time.IsZero() {
		b = h.paint(b, dim, r.Time.Format("15:04:05.000"))
		b = append(b, ' ')
	}

	color := cyan
	switch {
	case r.Level >= slog.LevelError:
		color = red
	case r.Level >= slog.LevelWarn:
		color = yellow
	case r.Level >= slog.LevelInfo:
		color = green
	}

	level := r.Level.String()
	b = h.paint(b, color, level)
	for range max(0, 5-len(level)) {
		b = append(b, ' ')
	}
	b = append(b, ' ')
	if h.logger != "" {
		b = h.paint(b, cyan, string(appendPlain(nil, h.logger))+":")
		b = append(b, ' ')
	}

	b = appendPlain(b, r.Message)
	b = append(b, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		b = h.appendAttr(b, h.prefix, a)
		return true
	})
	b = h.appendOrigin(b, ctx, r)

	b = append(b, '\n')
	if h.redact != nil {
		b = h.redact.plain(b)
	}
	h.mu.Lock()
	_, err := h.w.Write(b)
	h.mu.Unlock()

	if cap(b) <= 16<<10 {
		*buf = b
		consoleBuffers.Put(buf)
	}
	return err
}

// appendOrigin appends the trace and the place of the log call.
func (h *console) appendOrigin(b []byte, ctx context.Context, r slog.Record) []byte {
	trace := h.trace
	if trace == nil {
		trace = traceOf
	}
	if traceID, spanID := trace(ctx); traceID != "" {
		b = h.appendAttr(b, "", slog.String("trace_id", traceID))
		b = h.appendAttr(b, "", slog.String("span_id", spanID))
	}
	if src := r.Source(); h.source && src != nil {
		b = h.appendAttr(b, "", slog.String("source", filepath.Base(src.File)+":"+strconv.Itoa(src.Line)))
	}
	return b
}

func (h *console) paint(b []byte, color, text string) []byte {
	if !h.color {
		return append(b, text...)
	}
	return append(append(append(b, color...), text...), reset...)
}

func (h *console) appendAttr(b []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, a := range v.Group() {
			b = h.appendAttr(b, prefix, a)
		}
		return b
	}

	if a.Equal(slog.Attr{}) {
		return b
	}
	b = append(b, ' ')
	b = h.paint(b, dim, string(appendPlain(nil, prefix+a.Key))+"=")

	text := ""
	switch v.Kind() {
	case slog.KindTime:
		text = v.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		var ok bool
		if text, ok = plainText(v.Any()); !ok {
			return appendPlain(b, string(appendAny(nil, v.Any())))
		}
	default:
		text = v.String()
	}

	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r == ' ' || r == '"' || r == '=' || !unicode.IsPrint(r) }) {
		return strconv.AppendQuote(b, text)
	}
	return append(b, text...)
}

// plainText returns x in the words of its own methods. Without any, what is made
// of other values is shown as JSON, as in the file: fmt would show fields that
// are not meant to be seen, and never return from a map that holds itself.
func plainText(x any) (string, bool) {
	switch x := x.(type) {
	case redactedJSON:
		return "", false
	case nil, error, fmt.Stringer:
		return fmt.Sprint(x), true
	case []byte:
		return string(x), true
	}
	switch reflect.TypeOf(x).Kind() {
	case reflect.Struct, reflect.Map, reflect.Slice, reflect.Array, reflect.Pointer:
		return "", false
	}
	return fmt.Sprint(x), true
}

// appendPlain appends text without what could move the cursor.
func appendPlain(b []byte, text string) []byte {
	for _, r := range text {
		if r == utf8.RuneError || r != '\t' && !unicode.IsPrint(r) {
			q := strconv.QuoteRune(r)
			b = append(b, q[1:len(q)-1]...)
			continue
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}
