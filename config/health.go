package config

import (
	"context"
	"errors"
	"time"

	"github.com/svcblocks/svcblocks/internal/health"
)

// closeTimeout bounds how long Close waits for Logger and OnError.
const closeTimeout = 5 * time.Second

// reloadKey names the layers as a whole in what Check tells. A file that was
// removed is one of their mistakes.
const reloadKey = "reload"

// referenceKey names a reference in what Check tells.
func referenceKey(text string) string { return "reference " + showReference(text) }

// newHealth returns the monitor of what keeps the settings from being current.
func newHealth(o *options) *health.Monitor {
	return health.New(health.Options{
		Component: "config", Logger: o.told, OnError: o.onError, After: o.stuckAfter,
		Lost: ErrLost, Stuck: ErrStuck, Invalid: "no longer valid",
	})
}

// gaveUp reports whether the caller ended the work, so that its failure says
// nothing of what failed. A deadline that has passed does say something.
func gaveUp(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }
