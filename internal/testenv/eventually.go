package testenv

import (
	"testing"
	"time"
)

// Eventually calls check until it returns nil, and fails t with its last error
// once 20 s have passed, or 2 minutes where not every bound is asked for (see
// [Within]): a machine that is busy with other work needs them. It is for what
// tells of itself in no other way, such as another process or the operating
// system; where there is an event, wait for that, and where only time passes, use
// testing/synctest.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	EventuallyWithin(t, Within(20*time.Second, 2*time.Minute), check)
}

// EventuallyWithin is [Eventually] with a bound of the caller's.
func EventuallyWithin(t testing.TB, bound time.Duration, check func() error) {
	t.Helper()
	wait := time.Millisecond
	for deadline := time.Now().Add(bound); ; {
		began := time.Now()
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", bound, err)
		}

		// What is asked often, or takes long to answer, takes the time from what is
		// waited for.
		wait = min(2*wait, 50*time.Millisecond)
		time.Sleep(max(wait, time.Since(began)))
	}
}
