package logging

import (
	"context"
	"log/slog"
	"math"
)

// output is an output of the log with a level of its own, below which it takes
// nothing.
type output struct {
	next slog.Handler
	min  *slog.LevelVar
}

// everything is the level of an output without one of its own.
const everything = slog.Level(math.MinInt32)

func (o *output) Enabled(ctx context.Context, level slog.Level) bool { return level >= o.min.Level() }

func (o *output) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < o.min.Level() {
		return nil
	}
	return o.next.Handle(ctx, r)
}

func (o *output) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &output{o.next.WithAttrs(attrs), o.min}
}

func (o *output) WithGroup(name string) slog.Handler { return &output{o.next.WithGroup(name), o.min} }
