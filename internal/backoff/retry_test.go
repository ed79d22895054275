package backoff_test

import (
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
)

func TestRetryCheck(t *testing.T) {
	t.Parallel()
	type blocks struct { // converts, whatever its tags
		Attempts   int           `default:"5" min:"-1"`
		Base       time.Duration `default:"1s"`
		Max        time.Duration
		MaxElapsed time.Duration
	}
	for _, tc := range []struct {
		retry blocks
		want  string
	}{
		{blocks{}, ""},
		{blocks{Attempts: -1, Base: time.Second, Max: time.Second, MaxElapsed: -1}, ""},
		{blocks{Base: time.Minute}, ""},
		{blocks{Attempts: -2}, "Retry.Attempts: -2 is below -1: give a number of tries, or -1 for no limit"},
		{
			blocks{Base: -time.Second, Max: -time.Minute},
			"Retry.Base: -1s is below 0: give a wait, or leave it out\nRetry.Max: -1m0s is below 0: give a wait, or leave it out",
		},
		{blocks{Base: time.Minute, Max: time.Second}, "Retry.Base: 1m0s is above Max, 1s: give at most that, or a larger Max"},
		{blocks{Base: time.Minute, MaxElapsed: time.Second}, "Retry.MaxElapsed: 1s is below Base, 1m0s: nothing would be tried again"},
	} {
		if got := backoff.Retry(tc.retry).Check("Retry").Error(); got != tc.want {
			t.Errorf("%+v: got %q, want %q", tc.retry, got, tc.want)
		}
	}
	if got, want := backoff.Retry(blocks{Base: 1, Max: 2}).Policy(), (backoff.Policy{Base: 1, Max: 2}); got != want {
		t.Errorf("Policy = %v", got)
	}
}
