package config

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/internal/typed"
	"github.com/svcblocks/svcblocks/internal/redact"
)

// maxShown bounds the length of a value in messages, maxKeyShown that of a key,
// in characters.
const (
	maxShown    = 80
	maxKeyShown = 250
)

func shorten(text string) string { return cut(text, maxShown) }

// cut ends text behind its first n characters where it has more.
func cut(text string, n int) string {
	for i := range text {
		if n == 0 {
			return text[:i] + "…"
		}
		n--
	}
	return text
}

// masked stands for text that must not be shown; empty text may.
func masked(text string) string {
	if text == "" {
		return `""`
	}
	return redact.Mask
}

// sensitiveKey reports whether a key's name says that its value is a secret,
// for settings that hold one in a plain string. It is a second line of
// defence, and a list that always lags: Secret is the type to use.
func sensitiveKey(key string) bool {
	_, last, _ := cutLast(key, ".")
	last = strings.ToLower(strings.TrimRight(last, "[]0123456789"))
	return sensitiveName.MatchString(strings.ReplaceAll(last, "-", "_"))
}

var sensitiveName = regexp.MustCompile(`(^|_)(pass|passwords?|passwd|pwd|passphrases?|secrets?|tokens?|credentials?|api_?keys?|` +
	`(secret|secret_access|private|encryption|signing|account|shared_access|master|auth)_keys?)$`)

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

// showable is text with the passwords of its URLs and connection strings
// hidden, and what else is known to hold one: the path of a webhook, and the
// value of an Authorization header.
func showable(text string) string {
	text = redact.URL(text)
	text = authorization.ReplaceAllString(text, "${1}"+redact.Mask)
	return webhook.ReplaceAllString(text, "${1}"+redact.Mask)
}

var (
	authorization = regexp.MustCompile(`(?i)\b((?:Bearer|Basic) )[A-Za-z0-9._~+/=-]{6,}`)
	webhook       = regexp.MustCompile(`(?i)(https?://(?:hooks\.[^/\s"]+/|[^\s"]+/(?:api/webhooks|webhookb2|webhooks)/))[^\s"?\[]+`)
)

// showReference is the text of a reference, whose path and key name a secret
// and are none. Only what stands for a password in it is hidden.
func showReference(text string) string {
	if shown := redact.URL(text); strings.Contains(shown, redact.Mask+"@") {
		return shown
	}
	return text
}

// display is the text of a value for people, redacted.
func display(rv reflect.Value, s *typed.Shape, key string, hidden bool) string {
	for s.Code == typed.Pointer {
		if rv.IsNil() {
			return "null"
		}
		rv, s = rv.Elem(), s.Elem
	}

	switch s.Code {
	case typed.Slice, typed.Array:
		parts := make([]string, rv.Len())
		for i := range parts {
			parts[i] = display(rv.Index(i), s.Elem, key, hidden)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case typed.Map:
		parts := make([]string, 0, rv.Len())
		for it := rv.MapRange(); it.Next(); {
			k := typed.PlainText(it.Key(), s.Key)
			parts = append(parts, k+": "+display(it.Value(), s.Elem, doc.JoinKey(key, k), hidden))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	case typed.Struct:
		parts := make([]string, 0, len(s.Struct.Names))
		for _, k := range typed.SortedKeys(s.Struct.Names) {
			f := s.Struct.Names[k]
			if fv, ok := typed.ReadPath(rv, f.Path); ok && !fv.IsZero() {
				parts = append(parts, k+": "+display(fv, f.Shape, doc.JoinKey(key, k), hidden))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case typed.Any:
		if hidden || sensitiveKey(key) {
			return redact.Mask
		}
		data, err := json.Marshal(redactAny(rv.Interface(), key))
		if err != nil {
			return fmt.Sprintf("%T", rv.Interface())
		}
		return string(data)
	case typed.Time:
		if rv.IsZero() {
			return ""
		}
	}

	text := typed.PlainText(rv, s)
	if s.Code == typed.Secret || (hidden || sensitiveKey(key)) && !rv.IsZero() {
		if text == "" {
			return ""
		}
		return redact.Mask
	}

	return showable(text)
}

// redactAny copies a value of type any for showing.
func redactAny(v any, key string) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = redactAny(item, doc.JoinKey(key, k))
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = redactAny(item, key)
		}
		return out
	case string:
		if sensitiveKey(key) {
			return masked(v)
		}
		return showable(v)
	}

	if sensitiveKey(key) {
		return redact.Mask
	}
	if f, ok := v.(float64); ok && (math.IsInf(f, 0) || math.IsNaN(f)) {
		return fmt.Sprint(f) // JSON has no number for it
	}
	return v
}
