package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// TestChildrenGetNoSecret watches each program that the service starts, its Tor
// among them: none has a secret of the service in its environment or arguments.
func TestChildrenGetNoSecret(t *testing.T) {
	t.Parallel()
	strace, torProgram := testenv.Require(t, "strace"), testenv.Require(t, "tor")
	const canary = "canary-9d27-of-the-environment"
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	env := []string{
		"SVC_SHIP_URL=http://127.0.0.1:9/logs", "SVC_SHIP_TOKEN=" + canary + "-1", "SVC_AUTH_SESSION_KEY=" + canary + "-2",
		"SVC_SLACK_WEBHOOK=http://127.0.0.1:9/services/" + canary + "-3", "VAULT_TOKEN=" + canary + "-4", "VAULT_SECRET_ID=" + canary + "-5",
		"SVC_SITE_URL=http://site.test/", "SVC_SITE_NAME=x", "SVC_TOR_START=true", "SVC_TOR_BINARY=" + torProgram.Path, "SVC_MAIL_HOST=127.0.0.1",
		"SVC_MAIL_PORT=9", "SVC_MAIL_TO=a@service.example", "SVC_MAIL_FROM=b@service.example", "SVC_MAIL_TLS=none",
	}
	// With -D the process that is started is the service, and not strace.
	p := startCommand(t, dir, strace.Command("-D", "-f", "-v", "-s", "100000", "-e", "trace=execve", "-o", trace, "--", binary, "-listen", "127.0.0.1:0"), env)
	p.awaitAddress()

	var lines []string
	testenv.Eventually(t, func() error {
		text, err := os.ReadFile(trace)
		if err != nil {
			return err
		}
		lines = strings.Split(string(text), "\n")
		for _, line := range lines {
			if strings.Contains(line, "execve(") && strings.Contains(line, fmt.Sprintf("%q, [", torProgram.Path)) {
				return nil
			}
		}
		return fmt.Errorf("no Tor was started: %s", text)
	})
	if !strings.Contains(lines[0], canary) {
		t.Fatalf("the environment of the service is not in the trace, so that it says nothing: %s", lines[0])
	}
	for _, line := range lines[1:] {
		if strings.Contains(line, canary) {
			t.Errorf("a child has a secret: %s", line)
		}
	}
	if code, _ := p.terminate(); code != 0 {
		stdout, stderr := p.output()
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}
