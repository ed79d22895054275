package testenv_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

func TestEventually(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		testenv.Eventually(t, func() error {
			if calls++; calls < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		if calls != 3 {
			t.Errorf("%d calls, want 3", calls)
		}
		r, began := &recorder{TB: t}, time.Now()
		func() {
			defer func() {
				if v := recover(); v != (stop{}) {
					t.Errorf("ended with %v, want a failure", v)
				}
			}()
			testenv.EventuallyWithin(r, time.Minute, func() error { return errors.New("the last word") })
		}()
		if took := time.Since(began); took < time.Minute || took > time.Minute+time.Second {
			t.Errorf("gave up after %v, want 1m", took)
		}
		if !strings.Contains(r.failed, "1m0s") || !strings.Contains(r.failed, "the last word") {
			t.Errorf("failed with %q, which names the bound and the last error not both", r.failed)
		}
	})
}
