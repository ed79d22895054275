package logging

import (
	"bytes"
	"context"
	"log/slog"
	"strings"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/redact"
	"github.com/svcblocks/svcblocks/logging/internal/jsontext"
)

// redactor takes out values by the key of their attribute, and the text of
// known secrets wherever it stands.
type redactor struct {
	keys    map[string]bool // lower case
	lengths [32]bool        // of keys, to reject most without hashing; the last for all longer
	secrets *redact.Redactor
}

// newRedactor returns nil if there is nothing to take out.
func newRedactor(keys []string, secrets []secret.Secret) *redactor {
	if len(keys) == 0 && len(secrets) == 0 {
		return nil
	}
	r := &redactor{keys: map[string]bool{}, secrets: redact.New(secrets...)}
	for _, k := range keys {
		k = strings.ToLower(k)
		r.keys[k] = true
		r.lengths[min(len(k), len(r.lengths)-1)] = true
	}
	return r
}

// key reports whether the value of an attribute called k is taken out.
func (r *redactor) key(k string) bool {
	if !r.lengths[min(len(k), len(r.lengths)-1)] {
		return false
	}
	if r.keys[k] {
		return true
	}
	for i := range len(k) {
		if c := k[i]; 'A' <= c && c <= 'Z' || c >= 0x80 {
			return r.keys[strings.ToLower(k)]
		}
	}
	return false
}

// line takes the secrets out of an encoded JSON object and its newline. Without
// any, which is the rule, it returns p itself.
func (r *redactor) line(p []byte) []byte {
	if !r.secrets.Contains(p) {
		return p
	}
	return r.rewrite(p)
}

// plain takes the secrets out of a line that is no JSON.
func (r *redactor) plain(p []byte) []byte { return r.secrets.Bytes(p) }

// text takes the secrets out of s.
func (r *redactor) text(s string) string { return r.secrets.String(s) }

// attr returns a without what is to be taken out, and whether that is anything.
func (r *redactor) attr(a slog.Attr) (slog.Attr, bool) {
	if r.key(a.Key) {
		return slog.String(a.Key, secret.Redacted), true
	}
	key := r.text(a.Key)
	v, changed := r.value(a.Value)
	if !changed && key == a.Key {
		return a, false
	}
	return slog.Attr{Key: key, Value: v}, true
}

func (r *redactor) value(v slog.Value) (slog.Value, bool) {
	switch v.Kind() {
	case slog.KindLogValuer:
		v, _ = r.value(v.Resolve())
		return v, true
	case slog.KindGroup:
		attrs := v.Group()
		for i, a := range attrs {
			if b, changed := r.attr(a); changed {
				out := append([]slog.Attr(nil), attrs[:i]...)
				out = append(out, b)
				for _, a := range attrs[i+1:] {
					b, _ := r.attr(a)
					out = append(out, b)
				}
				return slog.GroupValue(out...), true
			}
		}
		return v, false
	case slog.KindString:
		if s := r.text(v.String()); s != v.String() {
			return slog.StringValue(s), true
		}
		return v, false
	case slog.KindAny:
		return r.any(v)
	}

	return v, false
}

// any redacts what is not a plain value: an error by its text, anything else in
// its JSON form. That form is what further handlers get too, whether or not
// anything was taken out: fmt, as slog.TextHandler uses it, reads fields that
// JSON leaves out, and does so past a lock that the value's own methods take.
func (r *redactor) any(v slog.Value) (slog.Value, bool) {
	switch x := v.Any().(type) {
	case nil, *slog.Source, redactedJSON:
		return v, false
	case error:
		text := unquote(appendAny(nil, x))
		if clean := r.text(text); clean != text {
			return slog.StringValue(clean), true
		}
		return v, false
	}

	form := r.rewrite(appendAny(nil, v.Any()))
	if len(form) > 0 && form[0] == '"' {
		return slog.StringValue(unquote(form)), true
	}
	return slog.AnyValue(redactedJSON(form)), true
}

// jsonValue redacts the JSON value in b[from:], as encoding/json wrote it:
// objects within it by key, strings within it by text.
func (r *redactor) jsonValue(b []byte, from int) []byte {
	switch {
	case from >= len(b):
		return b
	case b[from] != '{' && b[from] != '[' && b[from] != '"':
		return b // write looks at the text
	case !r.concerns(b[from:]):
		return b
	}
	return append(b[:from], r.rewrite(bytes.Clone(b[from:]))...)
}

// concerns reports whether the JSON value p holds anything to redact, or may do.
func (r *redactor) concerns(p []byte) bool {
	escapes := !r.secrets.IsZero() && bytes.IndexByte(p, '\\') >= 0
	found := false
	jsontext.Tokens(p, func(from, to int, isKey bool) {
		found = found || isKey && r.key(unquote(p[from:to]))
	})
	return found || escapes
}

// rewrite returns the JSON text p without what is to be taken out.
func (r *redactor) rewrite(p []byte) []byte {
	var out []byte
	kept := 0 // of p, up to where it was copied or left out
	redactNext := false
	depth, until := 0, -1

	jsontext.Tokens(p, func(from, to int, isKey bool) {
		token := p[from:to]
		switch c := token[0]; {
		case c == '{' || c == '[':
			if redactNext && until < 0 {
				out = append(out, p[kept:from]...)
				until = depth
			}
			redactNext = false
			depth++
		case c == '}' || c == ']':
			depth--
			if depth == until {
				out = jsontext.AppendString(out, secret.Redacted)
				kept, until = to, -1
			}
		case until >= 0: // within what is left out
		case isKey:
			text := unquote(token)
			redactNext = r.key(text)
			if clean := r.text(text); clean != text {
				out = jsontext.AppendString(append(out, p[kept:from]...), clean)
				kept = to
			}
		case redactNext:
			out = jsontext.AppendString(append(out, p[kept:from]...), secret.Redacted)
			kept, redactNext = to, false
		case c == '"':
			text := unquote(token)
			if clean := r.text(text); clean != text {
				out = jsontext.AppendString(append(out, p[kept:from]...), clean)
				kept = to
			}
		default:
			if text := string(token); r.text(text) != text { // a number
				out = jsontext.AppendString(append(out, p[kept:from]...), secret.Redacted)
				kept = to
			}
		}
	})

	return append(out, p[kept:]...)
}

// redactedJSON is a value in the JSON form that is left of it.
type redactedJSON string

// MarshalJSON returns the form.
func (j redactedJSON) MarshalJSON() ([]byte, error) { return []byte(j), nil }

// String returns the form.
func (j redactedJSON) String() string { return string(j) }

// redacting is a handler that hands redacted records on.
type redacting struct {
	redact *redactor
	next   slog.Handler
	hidden bool // within a group whose key is redacted: nothing is added
}

func (h *redacting) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *redacting) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, h.redact.text(r.Message), r.PC)
	if !h.hidden {
		r.Attrs(func(a slog.Attr) bool {
			a, _ = h.redact.attr(a)
			out.AddAttrs(a)
			return true
		})
	}
	return h.next.Handle(ctx, out)
}

func (h *redacting) WithAttrs(attrs []slog.Attr) slog.Handler {
	if h.hidden {
		return h
	}
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i], _ = h.redact.attr(a)
	}
	return &redacting{redact: h.redact, next: h.next.WithAttrs(out)}
}

func (h *redacting) WithGroup(name string) slog.Handler {
	switch {
	case h.hidden:
		return h
	case h.redact.key(name):
		return &redacting{redact: h.redact, hidden: true, next: h.next.WithAttrs([]slog.Attr{slog.String(name, secret.Redacted)})}
	}
	return &redacting{redact: h.redact, next: h.next.WithGroup(name)}
}

// unquote returns the text of a JSON string; what is none as it is.
func unquote(token []byte) string {
	if s, ok := jsontext.Text(token); ok {
		return s
	}
	return string(token)
}
