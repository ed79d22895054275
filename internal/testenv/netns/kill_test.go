package netns_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/netns"
)

// holdVariable tells TestHold, in a process of TestKillLeavesNothing, which
// mark the processes that it starts carry.
const holdVariable = "SVCBLOCKS_NETNS_HOLD"

// TestHold is no test of its own: it starts a child and an orphan and waits
// to be killed.
func TestHold(t *testing.T) {
	mark := os.Getenv(holdVariable)
	if mark == "" {
		return
	}
	netns.Require(t)
	// The inner shell outlives the outer one, which is its parent.
	script := "sh -c 'sleep 600; : " + mark + "' & sleep 600; : " + mark
	if err := exec.Command("sh", "-c", script).Start(); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("sh", "-c", "sh -c 'sleep 600; : "+mark+"' &").Run(); err != nil {
		t.Fatal(err)
	}
	fmt.Println("holding")
	select {}
}

// TestKillLeavesNothing kills a test binary with SIGKILL, which it cannot
// clean up after, and expects the kernel to have ended all that it started.
func TestKillLeavesNothing(t *testing.T) {
	netns.Require(t)
	mark := "mark-" + filepath.Base(t.TempDir()) + fmt.Sprint(time.Now().UnixNano())
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestHold$")
	cmd.Env = append(os.Environ(), "SVCBLOCKS_NETNS=", holdVariable+"="+mark, "TMPDIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "holding\n" {
		t.Errorf("the process said %q, %v", line, err)
	}
	testenv.Eventually(t, func() error {
		if got := marked(t, mark); len(got) < 3 {
			return fmt.Errorf("processes %q, want three at least", got)
		}
		return nil
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	testenv.Eventually(t, func() error {
		if left := marked(t, mark); len(left) > 0 {
			return fmt.Errorf("processes %q are still there", left)
		}
		return nil
	})
}

// marked returns the command lines of the processes that carry mark.
func marked(t *testing.T, mark string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && bytes.Contains(text, []byte(mark)) {
			found = append(found, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}
