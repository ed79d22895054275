package logging

import (
	"context"
	"strings"
)

// traceKey is the key of the context value that WithTraceparent sets.
type traceKey struct{}

type trace struct{ trace, span string }

// WithTraceparent returns a context whose records carry the trace and span IDs
// of a W3C traceparent header ("00-<trace>-<span>-<flags>") as trace_id and
// span_id. A header that is not valid is ignored, as the recommendation asks
// for. Programs with a tracing library set Options.Trace instead.
func WithTraceparent(ctx context.Context, header string) context.Context {
	// W3C Trace Context §3.2: version, trace-id, parent-id and flags; later
	// versions may add more.
	parts := strings.Split(strings.TrimSpace(header), "-")
	if len(parts) < 4 || parts[0] == "00" && len(parts) > 4 || parts[0] == "ff" ||
		!lowerHex(parts[0], 2) || !lowerHex(parts[1], 32) || !lowerHex(parts[2], 16) || !lowerHex(parts[3], 2) ||
		strings.Trim(parts[1], "0") == "" || strings.Trim(parts[2], "0") == "" {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, &trace{trace: parts[1], span: parts[2]})
}

func lowerHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// traceOf returns what WithTraceparent set.
func traceOf(ctx context.Context) (traceID, spanID string) {
	if t, ok := ctx.Value(traceKey{}).(*trace); ok {
		return t.trace, t.span
	}
	return "", ""
}
