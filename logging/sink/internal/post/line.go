package post

import (
	"encoding/json"
	"strconv"

	"github.com/svcblocks/svcblocks/logging"
)

// IsObject reports whether line looks like a JSON object. It looks at the ends
// alone: what is in between was written by a JSON encoder or refuses itself at
// the receiver.
func IsObject(line []byte) bool {
	return len(line) >= 2 && line[0] == '{' && line[len(line)-1] == '}'
}

// AppendObject appends e as a JSON object: its line, or an object with the line
// as "message" where it is none. With an idField the object begins with the
// event's ID under that key.
func AppendObject(b []byte, e logging.Event, idField string) []byte {
	object := IsObject(e.Line)
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

func blank(b []byte) bool {
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// AppendString appends s as a JSON string.
func AppendString(b []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return append(append(append(b, '"'), s...), '"')
	}
	q, err := json.Marshal(s)
	if err != nil {
		return strconv.AppendQuoteToASCII(b, s)
	}
	return append(b, q...)
}
