package post

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/notify"
)

// Limiter is a token bucket that callers wait for. The zero value does not
// limit.
type Limiter struct {
	// Per is the time in which one request may go out in the long run. Zero or
	// negative means no limit.
	Per time.Duration
	// Burst is the number that may go out at once, at least 1.
	Burst int

	mu   sync.Mutex
	next time.Time // when the bucket would be full again
}

// Wait takes a token, waiting for it until ctx ends. When the wait would go
// beyond ctx, it returns at once, with the time to wait.
func (l *Limiter) Wait(ctx context.Context) *notify.Error {
	if l.Per <= 0 {
		return ended(ctx)
	}
	l.mu.Lock()
	now := time.Now()
	if l.next.Before(now) {
		l.next = now
	}

	wait := l.next.Add(-time.Duration(l.Burst-1) * l.Per).Sub(now)
	if deadline, ok := ctx.Deadline(); ok && wait > time.Until(deadline) {
		l.mu.Unlock() // no token taken: it would come too late
		e := notify.NewError("wait for the rate limit", context.DeadlineExceeded)
		e.Class, e.Wait = notify.ClassThrottled, wait
		e.Reason = fmt.Sprintf("the next message may go out in %v, which is too late", wait.Round(time.Millisecond))
		return e
	}

	l.next = l.next.Add(l.Per)
	l.mu.Unlock()
	if wait <= 0 {
		return ended(ctx)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()

	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		l.next = l.next.Add(-l.Per)
		l.mu.Unlock()
		return ended(ctx)
	}
}

func ended(ctx context.Context) *notify.Error {
	if ctx.Err() == nil {
		return nil
	}
	return notify.NewError("wait for the rate limit", context.Cause(ctx))
}
