package daemon_test

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell returns a command that runs script, or nil where there is no shell.
func shell(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	if runtime.GOOS == "windows" {
		return nil
	}
	return exec.Command("sh", "-c", script)
}

func TestStop(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"polite": `trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done`,
		"plain":  `echo up; exec sleep 600`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := shell(t, script)
			if cmd == nil {
				return
			}
			p := daemon.Start(t, cmd)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			p.Await(ctx, t, func() error {
				if !strings.Contains(p.Output(), "up") {
					return errors.New("not up")
				}
				return nil
			})
			p.Stop()
			p.Stop()
			<-p.Done()
			if got, want := strings.Contains(p.Output(), "bye"), name == "polite"; got != want {
				t.Errorf("output %q: said bye %v, want %v", p.Output(), got, want)
			}
		})
	}
}
