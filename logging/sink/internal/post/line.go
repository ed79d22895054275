package post

import (
	"bytes"
	"encoding/json"

	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/internal/jsontext"
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
		b = append(jsontext.AppendString(b, idField), ':')
		b = append(jsontext.AppendString(b, e.ID), ',')
	}

	if !object {
		b = append(b, `"message":`...)
		return append(jsontext.AppendString(b, string(e.Line)), '}')
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
		jsontext.Members(p, func(key string, raw []byte) {
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
			b = append(jsontext.AppendString(b, key), ':')
			b = appendUnique(b, values[i])
		}
		return append(b, '}')
	case '[':
		b = append(b, '[')
		jsontext.Elements(p, func(raw []byte) {
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
	jsontext.Members(e.Line, func(k string, _ []byte) { found = found || k == key })
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
