package config

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/svcblocks/svcblocks/config/internal/doc"
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

// plainText is the text of a scalar value as a file would hold it. It shows
// secrets: it is for comparing and writing, never for a message.
func plainText(rv reflect.Value, s *shape) string {
	for s.code == codePointer {
		if rv.IsNil() {
			return ""
		}
		rv, s = rv.Elem(), s.elem
	}
	switch s.code {
	case codeString:
		return rv.String()
	case codeBool:
		return strconv.FormatBool(rv.Bool())
	case codeInt:
		return strconv.FormatInt(rv.Int(), 10)
	case codeUint:
		return strconv.FormatUint(rv.Uint(), 10)
	case codeFloat:
		return strconv.FormatFloat(rv.Float(), 'g', -1, rv.Type().Bits())
	case codeComplex:
		return strings.Trim(strconv.FormatComplex(rv.Complex(), 'g', -1, rv.Type().Bits()), "()")
	case codeDuration:
		return time.Duration(rv.Int()).String()
	case codeTime:
		return rv.Interface().(time.Time).Format(time.RFC3339Nano)
	case codeSecret:
		return rv.Interface().(Secret).Reveal()
	case codeRaw:
		return string(rv.Bytes())
	case codeURL:
		u := rv.Interface().(url.URL)
		return u.String()
	case codeText:
		if u, ok := rv.Interface().(URL); ok {
			return u.URL.String()
		}
		return marshalText(rv)
	}
	return fmt.Sprint(rv.Interface())
}

func marshalText(rv reflect.Value) string {
	v := rv
	if rv.CanAddr() {
		v = rv.Addr()
	} else {
		v = reflect.New(rv.Type())
		v.Elem().Set(rv)
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	if st, ok := v.Interface().(fmt.Stringer); ok {
		return st.String()
	}
	return fmt.Sprint(rv.Interface())
}

// display is the text of a value for people, redacted.
func display(rv reflect.Value, s *shape, key string, hidden bool) string {
	for s.code == codePointer {
		if rv.IsNil() {
			return "null"
		}
		rv, s = rv.Elem(), s.elem
	}
	switch s.code {
	case codeSlice, codeArray:
		parts := make([]string, rv.Len())
		for i := range parts {
			parts[i] = display(rv.Index(i), s.elem, key, hidden)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case codeMap:
		parts := make([]string, 0, rv.Len())
		for it := rv.MapRange(); it.Next(); {
			k := plainText(it.Key(), s.key)
			parts = append(parts, k+": "+display(it.Value(), s.elem, doc.JoinKey(key, k), hidden))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	case codeStruct:
		parts := make([]string, 0, len(s.str.names))
		for _, k := range sortedKeys(s.str.names) {
			f := s.str.names[k]
			if fv, ok := readPath(rv, f.path); ok && !fv.IsZero() {
				parts = append(parts, k+": "+display(fv, f.shape, doc.JoinKey(key, k), hidden))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case codeAny:
		if hidden || sensitiveKey(key) {
			return secret.Redacted
		}
		data, err := json.Marshal(redactAny(rv.Interface(), key))
		if err != nil {
			return fmt.Sprintf("%T", rv.Interface())
		}
		return string(data)
	case codeTime:
		if rv.IsZero() {
			return ""
		}
	}
	text := plainText(rv, s)
	if s.code == codeSecret || (hidden || sensitiveKey(key)) && !rv.IsZero() {
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

// deepCopy copies a value so that no list, map or struct is shared; a scalar
// comes back as it is, and as addressable as it was. Pointers to what is no key
// stay as they are.
func deepCopy(rv reflect.Value, s *shape) reflect.Value {
	switch s.code {
	case codePointer, codeSlice, codeArray, codeRaw, codeMap, codeStruct:
	default:
		return rv // nothing in it is shared
	}
	out := reflect.New(rv.Type()).Elem()
	out.Set(rv)
	switch s.code {
	case codePointer:
		if !rv.IsNil() && s.elem.code != codeText {
			p := reflect.New(rv.Type().Elem())
			p.Elem().Set(deepCopy(rv.Elem(), s.elem))
			out.Set(p)
		}
	case codeSlice:
		if !rv.IsNil() {
			out.Set(reflect.MakeSlice(rv.Type(), rv.Len(), rv.Len()))
			for i := range rv.Len() {
				out.Index(i).Set(deepCopy(rv.Index(i), s.elem))
			}
		}
	case codeArray:
		for i := range rv.Len() {
			out.Index(i).Set(deepCopy(rv.Index(i), s.elem))
		}
	case codeRaw:
		if !rv.IsNil() {
			out.Set(reflect.MakeSlice(rv.Type(), rv.Len(), rv.Len()))
			reflect.Copy(out, rv)
		}
	case codeMap:
		if !rv.IsNil() {
			out.Set(reflect.MakeMapWithSize(rv.Type(), rv.Len()))
			for it := rv.MapRange(); it.Next(); {
				out.SetMapIndex(it.Key(), deepCopy(it.Value(), s.elem))
			}
		}
	case codeStruct:
		for _, f := range s.str.fields {
			switch fv := out.Field(f.index); {
			case f.shape.code == codeStruct: // in place, as an embedded one may be of an unexported type
				copyPromoted(fv, f.shape)
			case fv.CanSet():
				fv.Set(deepCopy(rv.Field(f.index), f.shape))
			}
		}
	}
	return out
}

// copyPromoted copies what the fields of a struct share, in place.
func copyPromoted(rv reflect.Value, s *shape) {
	for _, f := range s.str.fields {
		switch fv := rv.Field(f.index); {
		case f.shape.code == codeStruct:
			copyPromoted(fv, f.shape)
		case fv.CanSet():
			fv.Set(deepCopy(fv, f.shape))
		}
	}
}

// equal compares two values by their keys: functions, loggers and clients in
// them do not count.
func equal(a, b reflect.Value, s *shape) bool {
	switch s.code {
	case codePointer:
		if a.IsNil() || b.IsNil() || a.Pointer() == b.Pointer() {
			return a.IsNil() == b.IsNil()
		}
		return equal(a.Elem(), b.Elem(), s.elem)
	case codeStruct:
		for _, f := range s.str.fields {
			if !equal(a.Field(f.index), b.Field(f.index), f.shape) {
				return false
			}
		}
		return true
	case codeSlice, codeArray:
		if a.Len() != b.Len() || s.code == codeSlice && a.IsNil() != b.IsNil() {
			return false
		}
		for i := range a.Len() {
			if !equal(a.Index(i), b.Index(i), s.elem) {
				return false
			}
		}
		return true
	case codeMap:
		if a.Len() != b.Len() || a.IsNil() != b.IsNil() {
			return false
		}
		for it := a.MapRange(); it.Next(); {
			if other := b.MapIndex(it.Key()); !other.IsValid() || !equal(it.Value(), other, s.elem) {
				return false
			}
		}
		return true
	case codeFloat: // one that is no number is the same as another one
		return a.Float() == b.Float() || math.IsNaN(a.Float()) && math.IsNaN(b.Float())
	}
	if !a.CanInterface() {
		return true // of an embedded type that is not exported, and no key
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}
