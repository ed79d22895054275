package post

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/internal/jsontext"
)

// Record is what receivers with a model of their own ask of a line.
type Record struct {
	Time    time.Time
	Level   string // as it stands in the line
	Message string
	Trace   string // hex
	Span    string // hex
	Fields  []Field
}

// Field is a further member of the line's object.
type Field struct {
	Key string
	Raw json.RawMessage
}

// Parse reads e's line, as slog, zerolog or zap write it. A line that is no
// JSON object is the message.
func Parse(e logging.Event) Record {
	r := Record{}
	if !IsObject(e.Line) || !json.Valid(e.Line) {
		r.Message = string(e.Line)
		r.Time = sealed(e.ID)
		return r
	}

	jsontext.Members(e.Line, func(key string, raw []byte) {
		text, isText := jsontext.Text(raw)
		switch key {
		case "time", "ts", "timestamp", "@timestamp":
			if t, ok := timeOf(raw, text, isText); ok && r.Time.IsZero() {
				r.Time = t
				return
			}
		case "level", "severity", "lvl", "log.level":
			if isText && r.Level == "" {
				r.Level = text
				return
			}
		case "msg", "message":
			if isText && r.Message == "" {
				r.Message = text
				return
			}
		case "trace_id", "trace.id", "logging.googleapis.com/trace":
			if isText && r.Trace == "" && isHex(text, 32) {
				r.Trace = text
				return
			}
		case "span_id", "span.id", "logging.googleapis.com/spanId":
			if isText && r.Span == "" && isHex(text, 16) {
				r.Span = text
				return
			}
		}

		r.Fields = append(r.Fields, Field{Key: key, Raw: raw})
	})

	if r.Time.IsZero() {
		r.Time = sealed(e.ID)
	}
	r.Fields = unique(r.Fields)
	return r
}

// unique leaves the last field of each key.
func unique(fields []Field) []Field {
	last := make(map[string]int, len(fields))
	for i, f := range fields {
		last[f.Key] = i
	}
	if len(last) == len(fields) {
		return fields
	}
	out := fields[:0]
	for i, f := range fields {
		if last[f.Key] == i {
			out = append(out, f)
		}
	}
	return out
}

// Time returns the time of e's line, and where it has none that of its
// segment, so that it is the same when e is sent again.
func Time(e logging.Event) time.Time {
	// Nearly all lines begin so; the rest is worth parsing.
	if rest, ok := bytes.CutPrefix(e.Line, []byte(`{"time":"`)); ok {
		if i := bytes.IndexByte(rest, '"'); i > 0 {
			if t, err := time.Parse(time.RFC3339Nano, string(rest[:i])); err == nil {
				return t
			}
		}
	}
	return Parse(e).Time
}

// sealed returns the time at which the segment of the event was sealed, from
// its ID.
func sealed(id string) time.Time {
	if len(id) < 20 {
		return time.Unix(0, 0).UTC()
	}
	t, err := time.Parse("20060102150405.000000", id[:14]+"."+id[14:20])
	if err != nil {
		return time.Unix(0, 0).UTC()
	}
	return t
}

func timeOf(raw []byte, text string, isText bool) (time.Time, bool) {
	if isText {
		t, err := time.Parse(time.RFC3339Nano, text)
		return t, err == nil
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f <= 0 || f > math.MaxInt64 {
		return time.Time{}, false
	}

	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		switch {
		case n > 1e17:
			return time.Unix(0, n).UTC(), true
		case n > 1e14:
			return time.UnixMicro(n).UTC(), true
		case n > 1e11:
			return time.UnixMilli(n).UTC(), true
		}
		return time.Unix(n, 0).UTC(), true
	}

	if f > 1e11 {
		f /= 1e3 // milliseconds
	}
	whole, frac := math.Modf(f)
	return time.Unix(int64(whole), int64(frac*1e9)).UTC(), true
}

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// Severity returns OpenTelemetry's number for a level's name: slog's with
// offsets, zerolog's and zap's. 0 means unknown.
func Severity(level string) int {
	name := strings.ToUpper(level)
	offset := 0

	if i := strings.IndexAny(name, "+-"); i > 0 {
		n, err := strconv.Atoi(name[i:])
		if err != nil {
			return 0
		}
		name, offset = name[:i], n
	}

	base := map[string]int{
		"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "WARNING": 13, "ERROR": 17,
		"DPANIC": 18, "PANIC": 19, "FATAL": 21,
	}[name]
	if base == 0 {
		return 0
	}

	return min(24, max(1, base+offset))
}

// Level returns the level in e's line, "" if there is none.
func Level(e logging.Event) string {
	// Nearly all lines begin with time and level.
	if rest, ok := bytes.CutPrefix(e.Line, []byte(`{"time":"`)); ok {
		if i := bytes.IndexByte(rest, '"'); i > 0 {
			if rest, ok := bytes.CutPrefix(rest[i:], []byte(`","level":"`)); ok {
				if i := bytes.IndexByte(rest, '"'); i > 0 {
					return string(rest[:i])
				}
			}
		}
	}
	return Parse(e).Level
}
