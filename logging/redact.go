package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"github.com/svcblocks/svcblocks/config/secret"
)

// minSecretBytes is the shortest secret that is searched for: the text of a
// shorter one is found everywhere.
const minSecretBytes = 4

// redactor takes out values by the key of their attribute, and the text of
// known secrets wherever it stands.
type redactor struct {
	keys    map[string]bool // lower case
	lengths [32]bool        // of keys, to reject most without hashing; the last for all longer
	values  []string
	forms   [][]byte // values as text and as they stand in a JSON string
}

func newRedactor(keys []string, secrets []secret.Secret) *redactor {
	if len(keys) == 0 && len(secrets) == 0 {
		return nil
	}
	r := &redactor{keys: map[string]bool{}}
	for _, k := range keys {
		k = strings.ToLower(k)
		r.keys[k] = true
		r.lengths[min(len(k), len(r.lengths)-1)] = true
	}
	for _, s := range secrets {
		value := s.Reveal()
		if len(value) < minSecretBytes {
			continue
		}
		r.values = append(r.values, value)
		seen := map[string]bool{}
		for _, form := range []string{value, quoted(value, true), quoted(value, false)} {
			if !seen[form] {
				seen[form] = true
				r.forms = append(r.forms, []byte(form))
			}
		}
	}
	return r
}

// quoted returns text as it stands within a JSON string.
func quoted(text string, escapeHTML bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escapeHTML)
	if err := e.Encode(text); err != nil {
		return text
	}
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(b.String(), "\n"), `"`), `"`)
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

// line takes the secrets out of an encoded line, in place if there are none.
func (r *redactor) line(p []byte) []byte {
	for _, form := range r.forms {
		if bytes.Contains(p, form) {
			p = bytes.ReplaceAll(p, form, []byte(secret.Redacted))
		}
	}
	return p
}

// text takes the secrets out of s.
func (r *redactor) text(s string) string {
	for _, v := range r.values {
		if strings.Contains(s, v) {
			s = strings.ReplaceAll(s, v, secret.Redacted)
		}
	}
	return s
}

// attr returns a without what is to be taken out, and whether that is anything.
func (r *redactor) attr(a slog.Attr) (slog.Attr, bool) {
	if r.key(a.Key) {
		return slog.String(a.Key, secret.Redacted), true
	}
	v, changed := r.value(a.Value)
	if !changed {
		return a, false
	}
	return slog.Attr{Key: a.Key, Value: v}, true
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

// any takes the secrets out of what is not a plain value, by its text.
func (r *redactor) any(v slog.Value) (slog.Value, bool) {
	if len(r.values) == 0 {
		return v, false
	}
	var text string
	if err, ok := v.Any().(error); ok {
		text = err.Error()
	} else {
		text = fmt.Sprintf("%+v", v.Any())
	}
	if clean := r.text(text); clean != text {
		return slog.StringValue(clean), true
	}
	return v, false
}

// redacting is a handler that hands redacted records on.
type redacting struct {
	redact *redactor
	next   slog.Handler
}

func (h *redacting) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *redacting) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, h.redact.text(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		a, _ = h.redact.attr(a)
		out.AddAttrs(a)
		return true
	})
	return h.next.Handle(ctx, out)
}

func (h *redacting) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i], _ = h.redact.attr(a)
	}
	return &redacting{redact: h.redact, next: h.next.WithAttrs(out)}
}

func (h *redacting) WithGroup(name string) slog.Handler {
	return &redacting{redact: h.redact, next: h.next.WithGroup(name)}
}
