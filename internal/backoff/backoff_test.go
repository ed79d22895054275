package backoff_test

import (
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
)

func TestBound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		policy   backoff.Policy
		failures int
		want     time.Duration
	}{
		{"zero value, first", backoff.Policy{}, 1, time.Second},
		{"zero value, third", backoff.Policy{}, 3, 4 * time.Second},
		{"capped", backoff.Policy{}, 10, 5 * time.Minute},
		{"no overflow", backoff.Policy{Max: 1<<63 - 1}, 1000, 1<<63 - 1},
		{"base above max", backoff.Policy{Base: time.Minute, Max: time.Second}, 1, time.Second},
		{"before any failure", backoff.Policy{}, 0, time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := tc.policy.Bound(tc.failures); got != tc.want {
				t.Errorf("Bound(%d) = %v, want %v", tc.failures, got, tc.want)
			}
		})
	}
}

func TestDelayStaysWithinBound(t *testing.T) {
	t.Parallel()
	p := backoff.Policy{Base: 10 * time.Millisecond, Max: 80 * time.Millisecond}
	low, high := time.Duration(1<<63-1), time.Duration(0)
	for range 10_000 {
		d := p.Delay(4)
		low, high = min(low, d), max(high, d)
	}
	if low < 0 || low > 8*time.Millisecond || high > 80*time.Millisecond || high < 72*time.Millisecond {
		t.Errorf("10,000 delays span %v to %v, want about 0 to 80ms", low, high)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 6, 8, 49, 37, 0, time.UTC)
	for _, tc := range []struct {
		value string
		want  time.Duration
		ok    bool
	}{
		{"2", 2 * time.Second, true},
		{" 120 ", 2 * time.Minute, true},
		{"0", 0, true},
		{"1000000000", 1_000_000_000 * time.Second, true},
		{"99999999999999999999", 9223372036 * time.Second, true},
		{"Fri, 06 Nov 2026 08:49:39 GMT", 2 * time.Second, true},
		{"Friday, 06-Nov-26 08:49:39 GMT", 2 * time.Second, true},
		{"Fri Nov  6 08:49:39 2026", 2 * time.Second, true},
		{"Fri, 06 Nov 2026 08:00:00 GMT", 0, true},
		{"", 0, false},
		{"-1", 0, false},
		{"1.5", 0, false},
		{"soon", 0, false},
	} {
		got, ok := backoff.RetryAfter(tc.value, now)
		if got != tc.want || ok != tc.ok {
			t.Errorf("RetryAfter(%q) = %v, %v; want %v, %v", tc.value, got, ok, tc.want, tc.ok)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"2", "Fri, 06 Nov 2026 08:49:39 GMT", "99999999999999999999", "-1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if d, ok := backoff.RetryAfter(value, time.Unix(0, 0)); d < 0 || (!ok && d != 0) {
			t.Errorf("RetryAfter(%q) = %v, %v", value, d, ok)
		}
	})
}
