package hostlimit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	clockSamples = 5
	clockEvery   = time.Minute
	// clockJump is how far the wall clock and the monotonic one may part
	// before the server is asked again: the machine slept, or was set.
	clockJump = 100 * time.Millisecond
)

// clock tells the server's time.
type clock struct {
	ask func(context.Context) (time.Time, error)

	mu     sync.Mutex
	server time.Time // the server's time at local
	local  time.Time
}

// askStream asks for the time of the server that leads a stream.
func askStream(s jetstream.Stream) func(context.Context) (time.Time, error) {
	return func(ctx context.Context) (time.Time, error) {
		info, err := s.Info(ctx)
		if err != nil {
			return time.Time{}, fmt.Errorf("ask for the server's time: %w", err)
		}
		if info.TimeStamp.IsZero() {
			return time.Time{}, fmt.Errorf("the server tells no time: it must be version 2.10 or newer")
		}
		return info.TimeStamp, nil
	}
}

// now returns the server's time.
func (c *clock) now(ctx context.Context) (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	elapsed := time.Since(c.local)
	jumped := (time.Now().Round(0).Sub(c.local.Round(0)) - elapsed).Abs() > clockJump
	if c.local.IsZero() || jumped || elapsed > clockEvery {
		// What was measured a minute ago will do until the server answers.
		if err := c.sync(ctx); err != nil && (c.local.IsZero() || jumped) {
			return time.Time{}, err
		}
	}
	return c.server.Add(time.Since(c.local)), nil
}

// sync asks the server for its time. The answer of the fastest round trip is
// the best one, and lies at its middle, give or take half of it.
func (c *clock) sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()

	best := time.Duration(-1)
	for range clockSamples {
		before := time.Now()
		at, err := c.ask(ctx)
		if err != nil {
			return err
		}
		after := time.Now()
		if trip := after.Sub(before); best < 0 || trip < best {
			best, c.server, c.local = trip, at.Add(trip/2), after
		}
	}

	return nil
}
