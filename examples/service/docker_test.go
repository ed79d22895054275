//go:build docker

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

const maxImage = 12_000_000

// TestDocker builds and starts compose.yaml by Compose v2 and BuildKit, as a
// person with an engine alone would: the page answers, the image is small, a
// healthy container says so at a port of its own, and what was logged and told
// before SIGTERM is there after a restart.
func TestDocker(t *testing.T) {
	testenv.Require(t, "docker")
	program := testenv.Require(t, "compose").Path
	dir := t.TempDir()
	webhook := filepath.Join(dir, "webhook")
	if err := os.WriteFile(webhook, []byte("https://hooks.slack.invalid/services/T0/B0/x"), 0o644); err != nil {
		t.Fatal(err)
	}
	golang, debian := bases(t, dir)
	env := append(os.Environ(), "DOCKER_BUILDKIT=1", "GO_IMAGE="+golang, "DEBIAN_IMAGE="+debian,
		"SITE_URL=https://site.invalid/", "SLACK_WEBHOOK_FILE="+webhook)
	compose := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(program, append([]string{"-p", "svcblocks-service", "-f", "compose.yaml", "-f", "compose.test.yaml"}, args...)...)
		cmd.Env = env
		return output(t, cmd)
	}

	compose("build")
	t.Cleanup(func() { compose("down", "-v", "-t", "3") })
	compose("up", "-d")
	waitFor(t, "the page", func() error { return get("http://127.0.0.1:8080/", "site.invalid") })
	waitFor(t, "health", func() error {
		status := output(t, exec.Command("docker", "inspect", "--format", "{{.State.Health.Status}}", strings.TrimSpace(compose("ps", "-q", "service"))))
		if strings.TrimSpace(status) != "healthy" {
			return fmt.Errorf("the container is %s", status)
		}
		return nil
	})

	image := strings.TrimSpace(output(t, exec.Command("docker", "inspect", "--format", "{{.Image}}", strings.TrimSpace(compose("ps", "-q", "service")))))
	size, err := strconv.Atoi(strings.TrimSpace(output(t, exec.Command("docker", "image", "inspect", "--format", "{{.Size}}", image))))
	if err != nil || size > maxImage {
		t.Errorf("the image has %d bytes, want at most %d; %v", size, maxImage, err)
	}
	files := strings.Fields(output(t, exec.Command("sh", "-c", `id=$(docker create "$0") && docker export "$id" | tar t | grep -v '/$' ; docker rm "$id" >/dev/null`, image)))
	own := 0
	for _, name := range files {
		if !strings.HasPrefix(name, "dev/") && !strings.HasPrefix(name, "proc/") && !strings.HasPrefix(name, "sys/") {
			own++
		}
	}
	if own > 5+4 { // the engine adds .dockerenv, hostname, hosts, resolv.conf
		t.Errorf("the image holds %v", files)
	}

	before := compose("logs", "--no-log-prefix", "service")
	compose("stop", "service")
	id := strings.TrimSpace(compose("ps", "-aq", "service"))
	if code := strings.TrimSpace(output(t, exec.Command("docker", "inspect", "--format", "{{.State.ExitCode}}", id))); code != "0" {
		t.Errorf("exit code %s after SIGTERM:\n%s", code, compose("logs", "service"))
	}
	log := output(t, exec.Command("docker", "cp", id+":/data/log/service.log", "-"))
	for line := range strings.SplitSeq(before, "\n") {
		if strings.HasPrefix(line, "{") && !strings.Contains(log, line) {
			t.Errorf("a line of the console is not in the file: %s", line)
		}
	}
	compose("start", "service")
	waitFor(t, "the message that waits", func() error { return get("http://127.0.0.1:8080/metrics", "notify_waiting ") })
}

// bases returns base images of this machine, the first with the modules of the
// service in it, for a build that asks no proxy.
func bases(t *testing.T, dir string) (golang, debian string) {
	t.Helper()
	out := output(t, exec.Command("../../.ci/bases.sh", "sh", "-c", `echo "$GO_IMAGE $DEBIAN_IMAGE"`))
	golang, debian, ok := strings.Cut(strings.TrimSpace(out[strings.LastIndexByte(strings.TrimSpace(out), '\n')+1:]), " ")
	if !ok {
		t.Fatalf("bases.sh said %q", out)
	}
	cache := strings.TrimSpace(output(t, exec.Command("go", "env", "GOMODCACHE")))
	output(t, exec.Command("go", "mod", "download"))
	// The graph of modules is read from go.mod files alone; archives are those of
	// the modules that are built.
	script := `set -e; mkdir -p "$2"; list=$(cd "$0" && go list -m -f '{{with .Replace}}{{else}}{{.Path}}@{{.Version}}{{end}}' all)
		cd "$1"; find . -name '*.mod' -o -name '*.info' | xargs cp --parents -t "$2"
		for m in $list; do
			f=$(printf '%s/@v/%s' "${m%@*}" "${m##*@}" | sed 's/[A-Z]/!\L&/g')
			for e in zip ziphash; do [ ! -e "$f.$e" ] || cp --parents "$f.$e" "$2"; done
		done`
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	output(t, exec.Command("sh", "-c", script, here, filepath.Join(cache, "cache", "download"), filepath.Join(dir, "modules")))
	file := "FROM " + golang + "\nCOPY modules /goproxy\nENV GOPROXY=file:///goproxy GOTOOLCHAIN=local\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, exec.Command("docker", "build", "-q", "-t", "svcblocks-go-modules", dir))
	return "svcblocks-go-modules", debian
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd.Args, err, out, stderr.Bytes())
	}
	return string(out)
}

func get(address, want string) error {
	res, err := http.Get(address)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
		return fmt.Errorf("%s: %s %s %w", address, res.Status, body, err)
	}
	return nil
}

// waitFor asks again and again: an engine has no event for what a service answers.
func waitFor(t *testing.T, what string, ask func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
