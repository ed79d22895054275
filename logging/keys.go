package logging

import (
	"log/slog"
	"strings"

	"github.com/svcblocks/svcblocks/logging/internal/jsontext"
)

// keySet is how the fields that each record has are called.
type keySet struct {
	time, level, source, message, trace, span string // with a colon, as JSON
	levels                                    func(b []byte, level slog.Level) []byte
}

// The sets of Options.Keys.
var (
	slogKeys = keySet{`"time":`, `"level":`, `"source":`, `"msg":`, `"trace_id":`, `"span_id":`, appendLevel}
	// https://cloud.google.com/logging/docs/structured-logging
	googleKeys = keySet{
		`"time":`, `"severity":`, `"logging.googleapis.com/sourceLocation":`, `"message":`,
		`"logging.googleapis.com/trace":`, `"logging.googleapis.com/spanId":`, appendSeverity,
	}
	// https://www.elastic.co/docs/reference/ecs
	ecsKeys = keySet{`"@timestamp":`, `"log.level":`, `"log.origin":`, `"message":`, `"trace.id":`, `"span.id":`, appendLowerLevel}
)

func keysOf(name string) *keySet {
	switch name {
	case "google":
		return &googleKeys
	case "ecs":
		return &ecsKeys
	}
	return &slogKeys
}

// appendSeverity appends the severity of Google Cloud that is next below.
func appendSeverity(b []byte, level slog.Level) []byte {
	name := "DEBUG"
	switch {
	case level >= slog.LevelError+4:
		name = "CRITICAL"
	case level >= slog.LevelError:
		name = "ERROR"
	case level >= slog.LevelWarn:
		name = "WARNING"
	case level >= slog.LevelInfo+2:
		name = "NOTICE"
	case level >= slog.LevelInfo:
		name = "INFO"
	}
	return jsontext.AppendString(b, name)
}

func appendLowerLevel(b []byte, level slog.Level) []byte {
	return jsontext.AppendString(b, strings.ToLower(level.String()))
}
