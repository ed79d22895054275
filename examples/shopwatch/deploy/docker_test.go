//go:build docker

package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

const serviceImage = "svcblocks-service:latest"

// docker runs the client and returns what it printed.
func docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := tryDocker(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryDocker(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return output(testenv.Require(t, "docker").Command(args...))
}

func output(cmd *exec.Cmd) (string, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// container is what is looked at of `docker inspect`.
type container struct {
	ID     string
	Name   string
	Config struct {
		User string
	}
	HostConfig struct {
		ReadonlyRootfs bool
		CapAdd         []string
		CapDrop        []string
		SecurityOpt    []string
		Privileged     bool
	}
	State struct {
		Status    string
		Running   bool
		ExitCode  int
		Pid       int
		StartedAt time.Time
		Health    struct{ Status string }
	}
	RestartCount int
}

func inspect(t testing.TB, id string) container {
	t.Helper()
	var all []container
	if err := json.Unmarshal([]byte(docker(t, "inspect", id)), &all); err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// patience is how long the containers, up to a dozen of them on one machine, may
// take for what they do by themselves.
func patience() time.Duration { return testenv.Within(2*time.Minute, 10*time.Minute) }

// waitHealthy waits until a container's own health check is content.
func waitHealthy(t testing.TB, id string, bound time.Duration) {
	t.Helper()
	var c container
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	for c = inspect(t, id); c.State.Health.Status != "healthy"; c = inspect(t, id) {
		select {
		case <-ctx.Done():
			logs, err := testenv.Require(t, "docker").Command("logs", "--tail", "30", id).CombinedOutput()
			t.Fatalf("%s is %s and %s after %v\n%s%v", c.Name, c.State.Status, c.State.Health.Status, bound, logs, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// requireImages refuses the test unless `deploy.sh images` has run, as it does
// in `make test-docker`.
func requireImages(t *testing.T) {
	t.Helper()
	if _, err := tryDocker(t, "image", "inspect", serviceImage); err != nil {
		t.Fatalf("the images are not here: run `make test-docker`, or examples/shopwatch/deploy/deploy.sh images: %v", err)
	}
}

// copyOut copies a file, or all, out of an image.
func copyOut(t *testing.T, image, path, to string) {
	t.Helper()
	id := docker(t, "create", "--network", "none", image)
	t.Cleanup(func() { remove(t, id) })
	docker(t, "cp", id+":"+path, to)
}

// remove ends a container that the test started, with its volumes.
func remove(t testing.TB, id string) {
	// The test's context is over by now.
	if out, err := exec.Command(testenv.Require(t, "docker").Path, "rm", "-f", "-v", id).CombinedOutput(); err != nil && !strings.Contains(string(out), "No such container") {
		t.Errorf("docker rm %s: %v\n%s", id, err, out)
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
