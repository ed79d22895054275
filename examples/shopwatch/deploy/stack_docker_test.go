//go:build docker

package deploy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/daemon"
)

// stack is a Compose project of the test's own, with secrets of its own.
type stack struct {
	t       *testing.T
	project string
	files   []string
	profile string
	env     []string
	secrets string
	page    string // the address of nginx
	client  *http.Client
}

// newStack prepares a project and ends what becomes of it with the test.
func newStack(t *testing.T, profile string, files ...string) *stack {
	t.Helper()
	requireImages(t)
	s := &stack{t: t, project: strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())), profile: profile, secrets: t.TempDir()}
	for _, file := range append([]string{"compose.prod.yaml"}, files...) {
		path, err := filepath.Abs(filepath.Join("..", file))
		if err != nil {
			t.Fatal(err)
		}
		s.files = append(s.files, "-f", path)
	}
	if out, err := exec.Command("go", "run", "./secrets", s.secrets, "postfix").CombinedOutput(); err != nil {
		t.Fatalf("secrets: %v\n%s", err, out)
	}
	s.secret("mail_password", "first-password-7f3a")
	s.secret("slack_webhook", "http://receiver:8080/services/T0/B0/7f3a")
	port := daemon.Port(t)
	s.page = fmt.Sprintf("https://127.0.0.1:%d/", port)
	s.env = append(os.Environ(), "COMPOSE_PROJECT_NAME="+s.project, "SECRETS="+s.secrets, "SLACK_ALLOW_PLAIN_HTTP=true", fmt.Sprintf("HTTPS_PORT=%d", port))
	certificate, err := os.ReadFile(filepath.Join(s.secrets, "tls_certificate"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certificate) {
		t.Fatal("there is no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	s.client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if t.Failed() {
			out, _ := s.command("logs", "--no-color", "--tail=25").CombinedOutput()
			t.Logf("%s", out)
		}
		if out, err := s.command("down", "-v", "-t", "3", "--remove-orphans").CombinedOutput(); err != nil {
			t.Errorf("compose down: %v\n%s", err, out)
		}
	})
	return s
}

// secret writes a secret in place, as the containers hold on to the file.
func (s *stack) secret(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.secrets, name)
	if err := os.Chmod(path, 0o644); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stack) command(args ...string) *exec.Cmd {
	all := append(append([]string{}, s.files...), "--profile", s.profile)
	cmd := exec.Command("./compose.sh", append(all, args...)...)
	cmd.Env = s.env
	return cmd
}

func (s *stack) compose(args ...string) string {
	s.t.Helper()
	out, err := output(s.command(args...))
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// id returns the container of a service.
func (s *stack) id(service string) string {
	s.t.Helper()
	id := s.compose("ps", "-q", service)
	if id == "" || strings.Contains(id, "\n") {
		s.t.Fatalf("containers of %s: %q", service, id)
	}
	return id
}

// address returns where this machine reaches a service's published port.
func (s *stack) address(service, port string) string {
	s.t.Helper()
	return s.compose("port", service, port)
}

// fetch gets an address, which need not answer yet.
func (s *stack) fetch(url string) (int, string, error) {
	res, err := s.client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

// await waits until a page holds every one of parts.
func (s *stack) await(bound time.Duration, url string, parts ...string) {
	s.t.Helper()
	testenv.EventuallyWithin(s.t, bound, func() error {
		time.Sleep(100 * time.Millisecond) // the reader has a rate limit
		status, body, err := s.fetch(url)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("%s answered %d", url, status)
		}
		for _, part := range parts {
			if !strings.Contains(body, part) {
				return fmt.Errorf("%s does not hold %q", url, part)
			}
		}
		return nil
	})
}

// shopState is what the shop has seen.
type shopState struct {
	Sources map[string]int
	Served  int
}

func (s *stack) shop() (state shopState, err error) {
	_, body, err := s.fetch("http://" + s.address("shop", "9000"))
	if err != nil {
		return state, err
	}
	return state, json.Unmarshal([]byte(body), &state)
}

// received returns a file of the receiver: logs or slack.
func (s *stack) received(name string) (string, error) {
	status, body, err := s.fetch("http://" + s.address("receiver", "8080") + "/" + name)
	if err == nil && status == http.StatusNotFound {
		return "", nil
	}
	return body, err
}

// mails returns all that postfix delivered.
func (s *stack) mails() (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	part := testenv.Require(s.t, "docker")
	return output(exec.CommandContext(ctx, part.Path, "exec", s.id("postfix"), "bash", "-c", "shopt -s nullglob; cat /mail/inbox/new/* /dev/null"))
}
