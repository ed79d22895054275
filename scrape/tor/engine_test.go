//go:build unix

package tor_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

// TestDockerHost reaches the engine by each way that DOCKER_HOST may name, by
// the option and by the environment.
func TestDockerHost(t *testing.T) { // not parallel: it sets the environment
	socks := sockstest.Start(t).Addr
	_, socksPort, _ := net.SplitHostPort(socks)
	published := `{"State":{"Running":true},"NetworkSettings":{"Ports":{"9050/tcp":[{"HostIp":"0.0.0.0","HostPort":"` + socksPort + `"}]}}}`
	serve := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/containers/tor/json" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprint(w, published)
	}
	socket := "unix://" + engine(t, serve)
	tcp := httptest.NewServer(http.HandlerFunc(serve))
	defer tcp.Close()

	// An ssh that leads to the same engine, and notes what it was called with.
	dir := t.TempDir()
	called := filepath.Join(dir, "called")
	answer := filepath.Join(dir, "answer")
	if err := os.WriteFile(answer, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(published), published), 0o600); err != nil {
		t.Fatal(err)
	}
	known := filepath.Join(dir, "known")
	t.Setenv("APP_PASSWORD", "canary of the environment")
	t.Setenv("SSH_AUTH_SOCK", "/run/agent")
	script := "#!/bin/sh\necho \"$@\" > " + called + "\nenv > " + known + "\ncase \"$*\" in *refused*) echo 'Permission denied (publickey).' >&2; exit 255;; esac\nread line\ncat " + answer + "\n"
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))

	for _, tc := range []struct{ option, env, says string }{
		{socket, "", ""},
		{"", socket, ""},
		{socket, "tcp://127.0.0.1:1", ""},
		{"tcp://" + strings.TrimPrefix(tcp.URL, "http://"), "", ""},
		{"", strings.Replace(tcp.URL, "http", "tcp", 1), ""},
		{"ssh://me@localhost:2222", "", ""},
		{"", "ssh://refused", "Permission denied"},
		{"", "npipe:////./pipe/docker_engine", "DOCKER_HOST"},
		{"", "ssh://-oProxyCommand=x/", "DOCKER_HOST"},
	} {
		t.Setenv("DOCKER_HOST", tc.env)
		egress, err := tor.Dial(t.Context(), &tor.Options{Container: "tor", DockerHost: tc.option, Timeout: 2 * time.Second})
		if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("option %q, DOCKER_HOST %q: %v, want %q", tc.option, tc.env, err, tc.says)
		}
		if err == nil {
			_ = egress.Close()
		}
	}
	if text, err := os.ReadFile(called); err != nil || strings.TrimSpace(string(text)) != "-T -o BatchMode=yes -- refused docker system dial-stdio" {
		t.Errorf("ssh was called with %q, %v", text, err)
	}
	if text, err := os.ReadFile(known); err != nil || !strings.Contains(string(text), "SSH_AUTH_SOCK=/run/agent") || strings.Contains(string(text), "canary") {
		t.Errorf("ssh knows a secret, or no socket of an agent (%d bytes, %v)", len(text), err)
	}
}

// TestRemoteContainer: of a container on another machine, only what it publishes
// there can be reached.
func TestRemoteContainer(t *testing.T) {
	t.Parallel()
	const text = `{"HostConfig":{"NetworkMode":"host"},"NetworkSettings":{"Ports":{"9050/tcp":[{"HostIp":"127.0.0.1","HostPort":"1"},{"HostIp":"0.0.0.0","HostPort":"2"},{"HostIp":"192.0.2.7","HostPort":"3"}]},"Networks":{"a":{"IPAddress":"172.17.0.2"}}}}`
	for host, want := range map[string]string{
		"":            "127.0.0.1:1 127.0.0.1:2 192.0.2.7:3 172.17.0.2:9050 127.0.0.1:9050",
		"box.example": "box.example:2 192.0.2.7:3",
	} {
		if got := strings.Join(tor.Candidates(text, host, "9050"), " "); got != want {
			t.Errorf("host %q: %s, want %s", host, got, want)
		}
	}
}

// TestDataDirOfOthers: Tor's folder is not one that others may write.
func TestDataDirOfOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := tor.Start(t.Context(), &tor.Options{Binary: os.Args[0], DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "tor.Options.Shared") {
		t.Errorf("Start = %v", err)
	}
}
