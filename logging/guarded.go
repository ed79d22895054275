package logging

import (
	"context"
	"fmt"
	"log/slog"
)

// guarded is a further handler whose failures are told: slog drops what Handle
// returns, and a panic would end the program for a log line.
type guarded struct {
	next    slog.Handler
	reports *reports
	key     string
}

func (g *guarded) Enabled(ctx context.Context, level slog.Level) bool {
	return g.next.Enabled(ctx, level)
}

func (g *guarded) Handle(ctx context.Context, r slog.Record) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		if err == nil {
			g.reports.OK(g.key)
			return
		}
		err = &Error{Op: "handle by " + g.key, Err: err}
		g.reports.Broken(g.key, err)
	}()
	return g.next.Handle(ctx, r)
}

func (g *guarded) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &guarded{g.next.WithAttrs(attrs), g.reports, g.key}
}

func (g *guarded) WithGroup(name string) slog.Handler {
	return &guarded{g.next.WithGroup(name), g.reports, g.key}
}
