package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// The functions of this file append values as JSON, byte for byte as
// slog.JSONHandler writes them.

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string without escaping HTML.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	i := plainPrefix(s)
	b = append(b, s[:i]...)
	if i < len(s) {
		b = appendEscaped(b, s[i:])
	}
	return append(b, '"')
}

// plainPrefix returns how many bytes at the start of s stand for themselves in
// a JSON string: printable ASCII but for the quote and the backslash.
func plainPrefix(s string) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)

	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		quote := w ^ ('"' * ones)
		slash := w ^ ('\\' * ones)
		// A byte's high bit ends up set if it is above 0x7f, below 0x20, a
		// quote or a backslash; borrows can only add false alarms behind one.
		if (w|(w-0x20*ones)|(quote-ones)|(slash-ones))&highs != 0 {
			break
		}
	}

	for ; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			break
		}
	}

	return i
}

func appendEscaped(b []byte, s string) []byte {
	for len(s) > 0 {
		c := s[0]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c == '\n':
				b = append(b, '\\', 'n')
			case c == '\r':
				b = append(b, '\\', 'r')
			case c == '\t':
				b = append(b, '\\', 't')
			case c < 0x20:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
			default:
				n := plainPrefix(s)
				b = append(b, s[:n]...)
				s = s[n:]
				continue
			}

			s = s[1:]
			continue
		}

		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(b, `\ufffd`...)
		case r == '\u2028' || r == '\u2029': // end lines in JavaScript
			b = append(b, `\u202`...)
			b = append(b, hexDigits[r&0xf])
		default:
			b = append(b, s[:size]...)
		}

		s = s[size:]
	}

	return b
}

// clock caches the text of a second: most records fall into the same as the
// one before.
type clock struct{ last atomic.Pointer[second] }

type second struct {
	unix int64
	loc  *time.Location
	text [19]byte // 2006-01-02T15:04:05
	zone string   // Z or -07:00
}

// appendTime appends t as RFC 3339 with nanoseconds.
func appendTime(b []byte, t time.Time) []byte {
	if y := t.Year(); y < 0 || y >= 10000 {
		return appendError(b, errors.New("time.Time year outside of range [0,9999]"))
	}
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

// appendTime is the function of that name for the times of records.
func (c *clock) appendTime(b []byte, t time.Time) []byte {
	s := c.last.Load()
	if s == nil || s.unix != t.Unix() || s.loc != t.Location() {
		if y := t.Year(); y < 0 || y >= 10000 {
			return appendTime(b, t)
		}
		s = &second{unix: t.Unix(), loc: t.Location()}
		text := t.Truncate(0).AppendFormat(nil, "2006-01-02T15:04:05Z07:00")
		s.zone = string(text[copy(s.text[:], text):])
		c.last.Store(s)
	}

	b = append(b, '"')
	b = append(b, s.text[:]...)

	if n := t.Nanosecond(); n != 0 {
		var d [10]byte
		d[0] = '.'
		for i := 9; i > 0; i-- {
			d[i] = byte('0' + n%10)
			n /= 10
		}
		end := 10
		for d[end-1] == '0' {
			end--
		}
		b = append(b, d[:end]...)
	}

	b = append(b, s.zone...)
	return append(b, '"')
}

// appendLevel appends level as a JSON string.
func appendLevel(b []byte, level slog.Level) []byte {
	switch level {
	case slog.LevelDebug:
		return append(b, `"DEBUG"`...)
	case slog.LevelInfo:
		return append(b, `"INFO"`...)
	case slog.LevelWarn:
		return append(b, `"WARN"`...)
	case slog.LevelError:
		return append(b, `"ERROR"`...)
	}
	return appendString(b, level.String())
}

// appendFloat appends f as encoding/json does.
func appendFloat(b []byte, f float64) []byte {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return appendString(b, "!ERROR:json: unsupported value: "+strconv.FormatFloat(f, 'g', -1, 64))
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}

	b = strconv.AppendFloat(b, f, format, -1, 64)
	if format == 'e' { // e-09 to e-9
		if n := len(b); n >= 4 && b[n-4] == 'e' && b[n-3] == '-' && b[n-2] == '0' {
			b[n-2] = b[n-1]
			b = b[:n-1]
		}
	}

	return b
}

func appendError(b []byte, err error) []byte {
	return appendString(b, fmt.Sprintf("!ERROR:%v", err))
}

// appendAny appends v as encoding/json does, an error by its text, and what a
// method of v panics with by the text of that.
func appendAny(b []byte, v any) (out []byte) {
	begin := len(b)
	defer func() {
		if r := recover(); r != nil {
			out = b[:begin]
			if v := reflect.ValueOf(v); v.Kind() == reflect.Pointer && v.IsNil() {
				out = appendString(out, "<nil>")
				return
			}
			out = appendString(out, fmt.Sprintf("!PANIC: %v", r))
		}
	}()

	_, marshals := v.(json.Marshaler)
	if err, ok := v.(error); ok && !marshals {
		return appendString(b, err.Error())
	}
	return appendMarshal(b, v)
}

type jsonEncoder struct {
	buf bytes.Buffer
	enc *json.Encoder
}

var jsonEncoders = sync.Pool{New: func() any {
	e := &jsonEncoder{}
	e.enc = json.NewEncoder(&e.buf)
	e.enc.SetEscapeHTML(false)
	return e
}}

// maxPooled bounds what the pools keep, so that one huge record does not stay.
const maxPooled = 16 << 10

func appendMarshal(b []byte, v any) []byte {
	e := jsonEncoders.Get().(*jsonEncoder)
	defer func() {
		if e.buf.Cap() <= maxPooled {
			e.buf.Reset()
			jsonEncoders.Put(e)
		}
	}()
	if err := e.enc.Encode(v); err != nil {
		return appendError(b, err)
	}
	text := e.buf.Bytes()
	return append(b, text[:len(text)-1]...) // without the newline
}
