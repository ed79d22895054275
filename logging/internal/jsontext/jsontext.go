// Package jsontext writes and scans JSON text without values in between: for
// lines that are JSON already, and records that become JSON.
package jsontext

import (
	"bytes"
	"encoding/json"
)

// Text returns the text of a JSON string, and whether p is one.
func Text(p []byte) (string, bool) {
	if len(p) < 2 || p[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(p, '\\') < 0 {
		return string(p[1 : len(p)-1]), true
	}
	var s string
	return s, json.Unmarshal(p, &s) == nil
}

// Tokens calls visit with the bounds of each bracket, string, number and literal
// of p. Whatever p is, the bounds are within it and grow.
func Tokens(p []byte, visit func(from, to int, isKey bool)) {
	for i := 0; i < len(p); {
		switch c := p[i]; c {
		case '{', '}', '[', ']':
			visit(i, i+1, false)
			i++
		case ',', ':', ' ', '\t', '\r', '\n':
			i++
		case '"':
			end := stringEnd(p, i)
			visit(i, end, end < len(p) && p[end] == ':')
			i = end
		default:
			end := i + 1
			for end < len(p) && bytes.IndexByte([]byte(",:{}[]\" \t\r\n"), p[end]) < 0 {
				end++
			}
			visit(i, end, false)
			i = end
		}
	}
}

// Members calls visit with each member of the valid JSON object p.
func Members(p []byte, visit func(key string, raw []byte)) {
	i := 1
	for {
		for i < len(p) && (p[i] == ',' || space(p[i])) {
			i++
		}
		if i >= len(p) || p[i] != '"' {
			return
		}
		end := stringEnd(p, i)
		key, _ := Text(p[i:end])

		i = end
		for i < len(p) && (p[i] == ':' || space(p[i])) {
			i++
		}
		from := i
		i = valueEnd(p, i)
		visit(key, bytes.TrimSpace(p[from:i]))
	}
}

// Elements calls visit with each element of the valid JSON array p.
func Elements(p []byte, visit func(raw []byte)) {
	for i := 1; i < len(p); i++ {
		from := i
		i = valueEnd(p, i)
		if raw := bytes.TrimSpace(p[from:i]); len(raw) > 0 {
			visit(raw)
		}
	}
}

// valueEnd returns where the value that begins at i, or before it, ends.
func valueEnd(p []byte, i int) int {
	for depth := 0; i < len(p); {
		switch p[i] {
		case '"':
			i = stringEnd(p, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

// stringEnd returns where the string that begins at i ends.
func stringEnd(p []byte, i int) int {
	for i++; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(p)
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
