package slack

import (
	"context"
	"sync"
	"time"
)

// limiter is a token bucket that callers wait for.
type limiter struct {
	per   time.Duration
	burst int

	mu   sync.Mutex
	next time.Time // when the bucket would be full again
}

// wait takes a token, waiting for it until ctx ends.
func (l *limiter) wait(ctx context.Context) error {
	if l.per <= 0 {
		return ctx.Err()
	}
	l.mu.Lock()
	now := time.Now()
	if l.next.Before(now) {
		l.next = now
	}
	wait := l.next.Add(-time.Duration(l.burst-1) * l.per).Sub(now)
	if deadline, ok := ctx.Deadline(); ok && wait > time.Until(deadline) {
		l.mu.Unlock() // no token taken: it would come too late
		return context.DeadlineExceeded
	}
	l.next = l.next.Add(l.per)
	l.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		l.next = l.next.Add(-l.per)
		l.mu.Unlock()
		return ctx.Err()
	}
}
