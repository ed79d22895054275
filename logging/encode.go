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

	"github.com/svcblocks/svcblocks/logging/internal/jsontext"
)

// The functions of this file append values as JSON, byte for byte as
// slog.JSONHandler writes them.

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
	return jsontext.AppendString(b, level.String())
}

// appendFloat appends f as encoding/json does.
func appendFloat(b []byte, f float64) []byte {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return jsontext.AppendString(b, "!ERROR:json: unsupported value: "+strconv.FormatFloat(f, 'g', -1, 64))
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
	return jsontext.AppendString(b, fmt.Sprintf("!ERROR:%v", err))
}

// appendAny appends v as encoding/json does, an error by its text, and what a
// method of v panics with by the text of that.
func appendAny(b []byte, v any) (out []byte) {
	begin := len(b)
	defer func() {
		if r := recover(); r != nil {
			out = b[:begin]
			if v := reflect.ValueOf(v); v.Kind() == reflect.Pointer && v.IsNil() {
				out = jsontext.AppendString(out, "<nil>")
				return
			}
			out = jsontext.AppendString(out, fmt.Sprintf("!PANIC: %v", r))
		}
	}()

	_, marshals := v.(json.Marshaler)
	if err, ok := v.(error); ok && !marshals {
		return jsontext.AppendString(b, err.Error())
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
