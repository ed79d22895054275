package daemon_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv/daemon"
)

// TestEndsTheGroup ends a daemon whose child ignores the polite signal and
// outlives it, and expects the child to be gone too.
func TestEndsTheGroup(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*daemon.Process){
		"Stop": (*daemon.Process).Stop,
		"Kill": (*daemon.Process).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := shell(t, `(trap '' TERM; echo up; while :; do sleep 1; done) & exec sleep 600`)
			p := daemon.Start(t, cmd)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			p.Await(ctx, t, func() error {
				if !strings.Contains(p.Output(), "up") {
					return errors.New("not up")
				}
				return nil
			})
			end(p)
			end(p)
			if err := syscall.Kill(-p.Pid(), 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("process group %d: %v, want none", p.Pid(), err)
			}
		})
	}
}
