package logging

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
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
		if value := s.Reveal(); len(value) >= minSecretBytes {
			r.values = append(r.values, written(value)...)
		}
	}
	for _, v := range r.values {
		for _, form := range distinct(v, quoted(v, true), quoted(v, false)) {
			r.forms = append(r.forms, []byte(form))
		}
	}
	return r
}

// written returns the forms in which a value comes to stand in a text: as it is,
// in a URL, quoted by %q or in JSON, and as encoding/json writes bytes.
func written(value string) []string {
	goQuoted := strconv.Quote(value)
	return distinct(
		value, url.QueryEscape(value), url.PathEscape(value),
		goQuoted[1:len(goQuoted)-1], quoted(value, true), quoted(value, false),
		base64.StdEncoding.EncodeToString([]byte(value)),
	)
}

func distinct(all ...string) (out []string) {
	for _, s := range all {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
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

// line takes the secrets out of an encoded JSON object and its newline. Without
// any, which is the rule, it returns p itself.
func (r *redactor) line(p []byte) []byte {
	for _, form := range r.forms {
		if bytes.Contains(p, form) {
			return r.rewrite(p)
		}
	}
	return p
}

// plain takes the secrets out of a line that is no JSON.
func (r *redactor) plain(p []byte) []byte {
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

// any redacts what is not a plain value: an error by its text, anything else
// as JSON, and as it is if that holds nothing to take out.
func (r *redactor) any(v slog.Value) (slog.Value, bool) {
	switch x := v.Any().(type) {
	case nil, *slog.Source:
		return v, false
	case error:
		text := string(appendAny(nil, x))
		if clean := string(r.rewrite([]byte(text))); clean != text {
			return slog.AnyValue(redactedJSON(clean)), true
		}
		return v, false
	}
	text := appendAny(nil, v.Any())
	if clean := r.rewrite(text); !bytes.Equal(clean, text) {
		return slog.AnyValue(redactedJSON(clean)), true
	}
	if bytes.Contains(text, []byte("encountered a cycle via ")) {
		return slog.StringValue(unquote(text)), true // fmt would never return
	}
	shown := fmt.Sprintf("%+v", v.Any())
	if r.text(shown) != shown {
		return slog.StringValue(r.text(shown)), true
	}
	// A field that JSON leaves out, but fmt, as slog.TextHandler uses it, does not.
	if lower := strings.ToLower(shown); slices.ContainsFunc(slices.Collect(maps.Keys(r.keys)), func(k string) bool { return strings.Contains(lower, k+":") }) {
		return slog.AnyValue(redactedJSON(text)), true
	}
	return v, false
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
