package testenv

import (
	"testing"
	"time"
)

// Eventually calls check until it returns nil, and fails t with its last error
// once 20 s have passed. It is for what tells of itself in no other way, such
// as another process or the operating system; where there is an event, wait for
// that, and where only time passes, use testing/synctest.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	EventuallyWithin(t, 20*time.Second, check)
}

// EventuallyWithin is [Eventually] with a bound of the caller's.
func EventuallyWithin(t testing.TB, bound time.Duration, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(bound); ; time.Sleep(2 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", bound, err)
		}
	}
}
