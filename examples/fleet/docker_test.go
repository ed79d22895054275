//go:build docker

package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// deploy is where the samples' containers are prepared: base images, a module
// proxy, and Compose in the version that there is.
const deploy = "../shopwatch/deploy"

// TestDockerCompose builds the image, starts a hub and two workers, has pages
// fetched, and kills a worker: it comes back, and nothing is lost.
func TestDockerCompose(t *testing.T) {
	testenv.Require(t, "docker")
	secrets := t.TempDir()
	for _, name := range []string{"nats_token", "tor_password"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte("hunter2-7f3a\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(secrets, 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := filepath.Abs("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// A port that is free now: the page is not what this is about.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	env := append(os.Environ(), "COMPOSE_PROJECT_NAME=fleettest", "SECRETS="+secrets, "EGRESS=direct", "PER_SECOND=1000", "HOSTS=hub",
		"ALLOW=10.0.0.0/8,172.16.0.0/12,192.168.0.0/16", fmt.Sprintf("PORT=%d", port))
	command := func(stdin string, name string, args ...string) (string, error) {
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env, cmd.Stdin = deploy, env, strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	compose := func(stdin string, args ...string) string {
		t.Helper()
		out, err := command(stdin, "./compose.sh", append([]string{"-f", file}, args...)...)
		if err != nil {
			t.Fatalf("compose %v: %v\n%s", args, err, out)
		}
		return out
	}
	compose("", "config", "-q")
	if out, err := command("", "../../../.ci/bases.sh", "go", "run", "./goproxy", "./compose.sh", "-f", file, "build", "hub"); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := command("", "./compose.sh", "-f", file, "logs", "--no-color", "--tail=25")
			t.Log(out)
		}
		if out, err := command("", "./compose.sh", "-f", file, "down", "-v", "-t", "3"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	compose("", "up", "-d", "--no-build", "--scale", "worker=2", "hub", "worker")

	submit := func(from, to int) {
		t.Helper()
		var list strings.Builder
		for n := from; n < to; n++ {
			fmt.Fprintf(&list, "http://hub:8080/?page=%d\n", n)
		}
		testenv.Eventually(t, func() error {
			out, err := command(list.String(), "./compose.sh", "-f", file, "exec", "-T", "hub", "/fleet", "submit", "-")
			if err != nil {
				return fmt.Errorf("submit: %w\n%s", err, out)
			}
			return nil
		})
	}
	results := func(want int) {
		t.Helper()
		testenv.EventuallyWithin(t, 2*testenv.Within(30e9, 60e9), func() error {
			out := compose("", "exec", "-T", "hub", "/fleet", "results")
			if n := strings.Count(out, `"status":200`); n != want {
				return fmt.Errorf("%d results, want %d\n%s", n, want, compose("", "exec", "-T", "hub", "/fleet", "dead"))
			}
			return nil
		})
	}
	submit(0, 20)
	results(20)

	ids := strings.Fields(compose("", "ps", "-q", "worker"))
	if len(ids) != 2 {
		t.Fatalf("workers %q, want 2", ids)
	}
	if out, err := command("", "docker", "inspect", "-f", "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}", ids[0]); err != nil || strings.TrimSpace(out) != "65532:65532 true [ALL]" {
		t.Errorf("user, root and capabilities: %s, %v", out, err)
	}
	if out, err := command("", "docker", "kill", "-s", "KILL", ids[0]); err != nil {
		t.Fatalf("kill: %v\n%s", err, out)
	}
	submit(20, 60)
	results(60)
}
