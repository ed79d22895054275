package logging

import (
	"bytes"
	"encoding/json"

	"github.com/svcblocks/svcblocks/config/secret"
)

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
	r.walk(p, func(token []byte, isKey bool) {
		if isKey && r.key(unquote(token)) {
			found = true
		}
	})
	return found || escapes
}

// rewrite returns the JSON text p without what is to be taken out.
func (r *redactor) rewrite(p []byte) []byte {
	var out []byte
	kept := 0 // of p, up to where it was copied or left out
	redactNext := false
	depth, until := 0, -1

	r.scan(p, func(from, to int, isKey bool) {
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
				out = appendString(out, secret.Redacted)
				kept, until = to, -1
			}
		case until >= 0: // within what is left out
		case isKey:
			text := unquote(token)
			redactNext = r.key(text)
			if clean := r.text(text); clean != text {
				out = appendString(append(out, p[kept:from]...), clean)
				kept = to
			}
		case redactNext:
			out = appendString(append(out, p[kept:from]...), secret.Redacted)
			kept, redactNext = to, false
		case c == '"':
			text := unquote(token)
			if clean := r.text(text); clean != text {
				out = appendString(append(out, p[kept:from]...), clean)
				kept = to
			}
		default:
			if text := string(token); r.text(text) != text { // a number
				out = appendString(append(out, p[kept:from]...), secret.Redacted)
				kept = to
			}
		}
	})

	return append(out, p[kept:]...)
}

// walk calls visit with each string of the JSON text p.
func (r *redactor) walk(p []byte, visit func(token []byte, isKey bool)) {
	r.scan(p, func(from, to int, isKey bool) {
		if p[from] == '"' {
			visit(p[from:to], isKey)
		}
	})
}

// scan calls visit with the bounds of each bracket, string, number and literal
// of the JSON text p. Whatever p is, the bounds are within it and grow.
func (r *redactor) scan(p []byte, visit func(from, to int, isKey bool)) {
	for i := 0; i < len(p); {
		switch c := p[i]; c {
		case '{', '}', '[', ']':
			visit(i, i+1, false)
			i++
		case ',', ':', ' ', '\t', '\r', '\n':
			i++
		case '"':
			end := i + 1
			for end < len(p) && p[end] != '"' {
				if p[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(p))
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

// unquote returns the text of a JSON string.
func unquote(token []byte) string {
	if len(token) >= 2 && bytes.IndexByte(token, '\\') < 0 {
		return string(token[1 : len(token)-1])
	}
	var s string
	if err := json.Unmarshal(token, &s); err != nil {
		return string(token)
	}
	return s
}
