package hostlimit

import (
	"context"
	"time"
)

// Ahead is how long before its turn a request may take it.
const Ahead = ahead

// Schedule takes turns.
var Schedule = schedule

// SkewClock makes l believe that the server's clock is off by d.
func SkewClock(l *Limiter, d time.Duration) {
	ask := l.clock.ask
	l.clock.ask = func(ctx context.Context) (time.Time, error) {
		t, err := ask(ctx)
		return t.Add(d), err
	}
}

// Clock tells the time of a server that is asked by ask.
type Clock struct{ c clock }

// NewClock returns such a clock.
func NewClock(ask func(context.Context) (time.Time, error)) *Clock { return &Clock{clock{ask: ask}} }

// Now returns the server's time.
func (c *Clock) Now(ctx context.Context) (time.Time, error) { return c.c.now(ctx) }

// Reserve takes one turn, or none if another limiter was first.
func Reserve(ctx context.Context, l *Limiter, name string) ([]time.Time, error) {
	turns, _, err := l.reserve(ctx, name, 1)
	return turns, err
}
