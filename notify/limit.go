package notify

import "time"

// bucket is a token bucket. It is not safe for concurrent use.
type bucket struct {
	per    time.Duration
	burst  float64
	tokens float64
	last   time.Time
}

func newBucket(r Rate) bucket {
	return bucket{per: r.Per, burst: float64(r.Burst), tokens: float64(r.Burst)}
}

// take takes a token, or returns how long until there is one.
func (b *bucket) take(now time.Time) time.Duration {
	if b.per <= 0 {
		return 0
	}
	if !b.last.IsZero() {
		b.tokens = min(b.burst, b.tokens+float64(now.Sub(b.last))/float64(b.per))
	}
	b.last = now
	// A wait computed below may end a nanosecond short of a whole token.
	if b.tokens > 1-1e-6 {
		b.tokens--
		return 0
	}
	return max(1, time.Duration((1-b.tokens)*float64(b.per)))
}
