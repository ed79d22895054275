package daemon_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
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

// holdVariable makes TestHold, in a process of TestKilled, start a daemon.
const holdVariable = "SVCBLOCKS_DAEMON_HOLD"

// TestHold is no test of its own: it starts a daemon and waits to be killed.
func TestHold(t *testing.T) {
	if os.Getenv(holdVariable) == "" {
		return
	}
	p := daemon.Start(t, shell(t, "exec sleep 600"))
	fmt.Println(p.Pid())
	select {}
}

// TestKilled kills a test binary with SIGKILL, and expects the daemon that it
// started to end.
func TestKilled(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestHold$")
	cmd.Env = append(os.Environ(), holdVariable+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(bufio.NewReader(out), &pid); err != nil {
		t.Errorf("the process says no id: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	testenv.Eventually(t, func() error {
		if alive(pid) {
			return fmt.Errorf("daemon %d is still there", pid)
		}
		return nil
	})
}

// alive reports whether a process exists and is no zombie, which is what it
// stays where process 1 does not wait for it.
func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(text), ") Z ")
}
