//go:build docker

package main_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// TestDockerImage runs the image as production would: read-only, without any
// capability, as a numeric user, judged by its own health check.
func TestDockerImage(t *testing.T) {
	docker := testenv.Require(t, "docker")
	run := func(args ...string) string {
		t.Helper()
		cmd := docker.Command(args...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
		}
		return strings.TrimSpace(string(out))
	}

	image := filepath.Join(t.TempDir(), "image")
	if err := os.MkdirAll(filepath.Join(image, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(image, "service"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	id := run("build", "-q", "-f", "Dockerfile", image)
	t.Cleanup(func() { run("rmi", "-f", id) })

	port := freePort(t)
	container := run("create", "--network", "host", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"-e", "SVC_LISTEN=127.0.0.1:"+port, id)
	t.Cleanup(func() { run("rm", "-f", "-v", container) })
	run("start", container)

	var state struct {
		Config     struct{ User string }
		HostConfig struct {
			ReadonlyRootfs bool
			CapDrop        []string
		}
		State struct {
			Running  bool
			ExitCode int
			Health   struct{ Status string }
		}
	}
	inspect := func() {
		t.Helper()
		if err := json.Unmarshal([]byte(strings.Trim(run("inspect", container), "[]\n")), &state); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for inspect(); state.State.Health.Status != "healthy"; inspect() {
		if !state.State.Running || ctx.Err() != nil {
			t.Fatalf("the container is %+v\n%s", state.State, run("logs", container))
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	if state.Config.User != "65532:65532" || !state.HostConfig.ReadonlyRootfs || len(state.HostConfig.CapDrop) != 1 {
		t.Errorf("runs as %q, read-only %v, without %v", state.Config.User, state.HostConfig.ReadonlyRootfs, state.HostConfig.CapDrop)
	}
	res, err := http.Get("http://127.0.0.1:" + port + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), "<title>") {
		t.Errorf("the page answered %s, %v", res.Status, err)
	}
	run("stop", "-t", "20", container)
	if inspect(); state.State.ExitCode != 0 {
		t.Errorf("exit code %d after SIGTERM\n%s", state.State.ExitCode, run("logs", container))
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
