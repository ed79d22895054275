package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// configure writes the service's settings into dir.
func configure(t *testing.T, dir, settings string) {
	t.Helper()
	folder := filepath.Join(dir, "config")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"config.yaml": settings, "config.prod.yaml": "{}\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// service is the running binary.
type service struct {
	cmd    *exec.Cmd
	url    string
	stdout string // file
	stderr string // file
	exited chan error
}

// start starts the binary in dir and waits for its address.
func start(ctx context.Context, t *testing.T, dir string) *service {
	t.Helper()
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	stdout, err := os.Create(filepath.Join(dir, "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	s := &service{
		cmd:    exec.CommandContext(ctx, os.Getenv(binaryVariable), "-profile", "prod"),
		stdout: stdout.Name(), stderr: stderr.Name(), exited: make(chan error, 1),
	}
	s.cmd.Dir = dir
	s.cmd.Stderr = stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill()
			<-s.exited
		}
		if t.Failed() {
			for _, file := range []string{s.stdout, s.stderr} {
				text, err := os.ReadFile(file)
				t.Logf("the end of %s: %v\n%s", filepath.Base(file), err, text[max(0, len(text)-4<<10):])
			}
		}
	})
	in := bufio.NewReader(io.TeeReader(out, stdout))
	for s.url == "" {
		line, err := in.ReadString('\n')
		if _, rest, ok := strings.Cut(line, "status page at "); ok {
			s.url, _, _ = strings.Cut(rest, " ")
		}
		if err != nil {
			break
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		err := s.cmd.Wait()
		s.exited <- errors.Join(err, stdout.Close())
	}()
	if s.url == "" {
		t.Fatal("the service says no address")
	}
	return s
}

// request asks the service for something and returns the answer.
func (s *service) request(ctx context.Context, t *testing.T, method, path string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(s.url, "/")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s %v: %s", method, path, resp.Status, err, body)
	}
	return body
}

// run is what the service says of a run.
type run struct {
	ID       int
	Status   string
	Pages    int
	Failures int
	Error    string
}

// await waits until a run has ended, and returns it. The first one begins with
// the service.
func (s *service) await(ctx context.Context, t *testing.T, id int) run {
	t.Helper()
	begin := time.Now()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		var runs []run
		if err := json.Unmarshal(s.request(ctx, t, http.MethodGet, "/api/runs?n=10"), &runs); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(runs, func(r run) bool { return r.ID == id && r.Status != "running" })
		if i >= 0 {
			t.Logf("run %d ended after %v: %+v", id, time.Since(begin).Round(time.Millisecond), runs[i])
			return runs[i]
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("run %d has not ended: %+v: %v", id, runs, context.Cause(ctx))
		}
	}
}

// complete waits for a run that has read every one of count pages.
func (s *service) complete(ctx context.Context, t *testing.T, id, count int) {
	t.Helper()
	if r := s.await(ctx, t, id); r.Pages != count || r.Failures != 0 {
		t.Fatalf("run %+v, want %d pages and no failure", r, count)
	}
}

// shows waits until the status page says something.
func (s *service) shows(ctx context.Context, t *testing.T, text string) {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for !strings.Contains(string(s.request(ctx, t, http.MethodGet, "/")), text) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("the status page does not say %q: %v", text, context.Cause(ctx))
		}
	}
}

// terminate ends the service with SIGTERM and returns its exit code.
func (s *service) terminate(t *testing.T) int {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.exited:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(time.Minute):
		t.Fatal("the service does not end")
	}
	return -1
}

// lines returns the log lines that the service wrote to its console.
func (s *service) lines() []string {
	text, err := os.ReadFile(s.stdout)
	if err != nil {
		return []string{err.Error()}
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		var event map[string]any
		if json.Unmarshal([]byte(line), &event) == nil {
			lines = append(lines, canonical(event))
		}
	}
	return lines
}
