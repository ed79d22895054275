// Package backoff computes the waits between attempts: exponential with full
// jitter, and what a server asked for by Retry-After.
package backoff

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Policy is an exponential backoff with full jitter. The zero Policy waits
// between 0 and 1 s after the first failure and at most 5 min later on.
type Policy struct {
	// Base bounds the wait after the first failure. Defaults to 1s.
	Base time.Duration
	// Max bounds every wait. Defaults to 5m.
	Max time.Duration
}

// Bound returns the longest wait after the given number of failures in a row,
// counted from 1: Base doubled for each further failure, at most Max.
func (p Policy) Bound(failures int) time.Duration {
	base, limit := p.Base, p.Max
	if base <= 0 {
		base = time.Second
	}
	if limit <= 0 {
		limit = 5 * time.Minute
	}

	bound := base
	for range failures - 1 {
		if bound >= limit/2 {
			return limit
		}
		bound *= 2
	}
	return min(bound, limit)
}

// Delay returns a wait drawn evenly from [0, Bound(failures)].
func (p Policy) Delay(failures int) time.Duration {
	return rand.N(p.Bound(failures) + 1)
}

// maxSeconds keeps the conversion of seconds to a Duration from overflowing.
const maxSeconds = int64(1<<63-1) / int64(time.Second)

// RetryAfter reads a Retry-After value (RFC 9110 §10.2.3): a number of seconds
// or an HTTP date, which is taken relative to now. It reports false for
// anything else. A date in the past gives 0. The result is not capped.
func RetryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0, false
	}

	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > maxSeconds { // digits only: out of range
			return time.Duration(maxSeconds) * time.Second, true
		}
		return time.Duration(seconds) * time.Second, true
	}

	// RFC 9110 §5.6.7: IMF-fixdate, then the two obsolete forms.
	for _, layout := range []string{"Mon, 02 Jan 2006 15:04:05 GMT", "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC} {
		if at, err := time.Parse(layout, value); err == nil {
			return max(0, at.Sub(now)), true
		}
	}
	return 0, false
}
