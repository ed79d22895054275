package post

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/svcblocks/svcblocks/logging"
)

// IsObject reports whether line looks like a JSON object. It looks at the ends
// alone.
func IsObject(line []byte) bool {
	return len(line) >= 2 && line[0] == '{' && line[len(line)-1] == '}'
}

// AppendObject appends e as a JSON object: its line, or an object with the line
// as "message" where it is none. With an idField the object begins with the
// event's ID under that key.
func AppendObject(b []byte, e logging.Event, idField string) []byte {
	object := IsObject(e.Line) && json.Valid(e.Line)
	if object && idField == "" {
		return append(b, e.Line...)
	}
	b = append(b, '{')
	if idField != "" {
		b = append(AppendString(b, idField), ':')
		b = append(AppendString(b, e.ID), ',')
	}

	if !object {
		b = append(b, `"message":`...)
		return append(AppendString(b, string(e.Line)), '}')
	}
	if rest := e.Line[1:]; !blank(rest[:len(rest)-1]) {
		return append(b, rest...)
	}

	if b[len(b)-1] == ',' {
		b = b[:len(b)-1]
	}
	return append(b, '}')
}

// AppendUnique appends e as a JSON object, as AppendObject does, with each key
// once in each object: the last of a name wins.
func AppendUnique(b []byte, e logging.Event) []byte {
	if !IsObject(e.Line) || !json.Valid(e.Line) {
		return AppendObject(b, e, "")
	}
	return appendUnique(b, e.Line)
}

// appendUnique appends the valid JSON value p with each key once.
func appendUnique(b, p []byte) []byte {
	switch p[0] {
	case '{':
		keys, values := []string(nil), [][]byte(nil)
		last := map[string]int{}
		members(p, func(key string, raw []byte) {
			last[key] = len(keys)
			keys, values = append(keys, key), append(values, raw)
		})
		b = append(b, '{')
		for i, key := range keys {
			if last[key] != i {
				continue
			}
			if b[len(b)-1] != '{' {
				b = append(b, ',')
			}
			b = append(AppendString(b, key), ':')
			b = appendUnique(b, values[i])
		}
		return append(b, '}')
	case '[':
		b = append(b, '[')
		elements(p, func(raw []byte) {
			if b[len(b)-1] != '[' {
				b = append(b, ',')
			}
			b = appendUnique(b, raw)
		})
		return append(b, ']')
	}

	return append(b, p...)
}

// HasMember reports whether e's line is a JSON object with a member called key,
// not counting those of objects within it.
func HasMember(e logging.Event, key string) bool {
	if !bytes.Contains(e.Line, []byte(key)) || !IsObject(e.Line) || !json.Valid(e.Line) {
		return false
	}
	found := false
	members(e.Line, func(k string, _ []byte) { found = found || k == key })
	return found
}

func blank(b []byte) bool {
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// AppendString appends s as a JSON string. What is no UTF-8 becomes U+FFFD.
func AppendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')

	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(append(b, s[start:i]...), "\uFFFD"...)
				start = i + 1
			}
			i += size
			continue
		case c == '"' || c == '\\':
			b = append(append(b, s[start:i]...), '\\', c)
			start = i + 1
		case c < 0x20:
			b = append(append(b, s[start:i]...), '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
			start = i + 1
		}

		i++
	}

	return append(append(b, s[start:]...), '"')
}
