package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/internal/typed"
	"github.com/svcblocks/svcblocks/config/secret"
)

// maxShown bounds the length of a value in messages, in characters.
const maxShown = 80

func shorten(text string) string {
	if utf8.RuneCountInString(text) <= maxShown {
		return text
	}
	return string([]rune(text)[:maxShown]) + "…"
}

// redact stands for text that must not be shown; empty text may.
func redact(text string) string {
	if text == "" {
		return `""`
	}
	return secret.Redacted
}

// sensitiveKey reports whether a key's name says that its value is a secret,
// for settings that hold one in a plain string. It is a second line of
// defence: Secret is the type to use.
func sensitiveKey(key string) bool {
	_, last, _ := cutLast(key, ".")
	last = strings.ToLower(strings.TrimRight(last, "[]0123456789"))
	for _, word := range []string{"password", "passwd", "passphrase", "secret", "token", "api_key", "apikey", "private_key", "credential", "credentials"} {
		if last == word || strings.HasSuffix(last, "_"+word) {
			return true
		}
	}
	return false
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

// parameter matches a password in a connection string: in the query of a URL,
// or in the form of password=….
var parameter = regexp.MustCompile(`(?i)\b([a-z0-9_.-]*(?:password|passwd|passphrase|secret|token|api_?key)=)[^&;#\s"']+`)

// maskSecrets hides the password of every URL and connection string in text.
func maskSecrets(text string) string {
	if strings.Contains(text, "=") {
		text = parameter.ReplaceAllString(text, "${1}xxxxx")
	}
	return maskUserinfo(text)
}

// maskUserinfo hides the password before the host of every URL in text.
func maskUserinfo(text string) string {
	from := 0
	for {
		i := strings.Index(text[from:], "://")
		if i < 0 {
			return text
		}
		start := from + i + len("://")
		end := strings.IndexAny(text[start:], "/?# \t\n\"'")
		if end < 0 {
			end = len(text) - start
		}
		authority := text[start : start+end]
		// A password may itself hold the characters that end an authority.
		if at := strings.LastIndex(text[start:], "@"); at > end {
			if colon := strings.IndexByte(authority, ':'); colon >= 0 && !isPort(authority[colon+1:]) {
				authority = text[start : start+at+1]
			}
		}
		at := strings.LastIndexByte(authority, '@')
		colon := strings.IndexByte(authority, ':')
		if at >= 0 && colon >= 0 && colon < at {
			text = text[:start+colon+1] + "xxxxx" + text[start+at:]
			from = start + colon + 1 + len("xxxxx")
			continue
		}
		from = start
	}
}

func isPort(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

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
			return secret.Redacted
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
		return secret.Redacted
	}
	return maskSecrets(text)
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
			return redact(v)
		}
		return maskSecrets(v)
	}
	if sensitiveKey(key) {
		return secret.Redacted
	}
	return v
}
