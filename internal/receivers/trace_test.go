package receivers_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"go.opentelemetry.io/otel/trace"

	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink/otlp"
)

// Example_otelslog is what docs/coming-to-logging.md shows to who comes from
// otelslog: the trace of a context, and OTLP without OpenTelemetry's SDK for logs.
func Example_otelslog() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	sink, err := otlp.New(&otlp.Options{
		URL:      "http://127.0.0.1:4318",
		Resource: map[string]string{"service.name": "shop"},
	})
	if err != nil {
		panic(err)
	}
	logs, err := logging.New(&logging.Options{
		File: logging.FileOptions{Path: filepath.Join(dir, "app.log")},
		Sink: sink,
		Trace: func(ctx context.Context) (traceID, spanID string) {
			if c := trace.SpanContextFromContext(ctx); c.IsValid() {
				return c.TraceID().String(), c.SpanID().String()
			}
			return "", ""
		},
		Console:      logging.ConsoleOptions{Format: "json", Writer: traceOnly{}},
		CloseTimeout: -1,
	})
	if err != nil {
		panic(err)
	}
	defer logs.Close()

	ctx := trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2},
	}))
	logs.Logger("orders").InfoContext(ctx, "order placed")
	// Output: "trace_id":"01000000000000000000000000000000","span_id":"0200000000000000"
}

// traceOnly prints what a line says of the trace.
type traceOnly struct{}

func (traceOnly) Write(line []byte) (int, error) {
	const begin, size = `"trace_id"`, 74
	for i := range line {
		if len(line) >= i+size && string(line[i:i+len(begin)]) == begin {
			fmt.Println(string(line[i : i+size]))
		}
	}
	return len(line), nil
}
