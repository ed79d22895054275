package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// binary is the service as `go build` makes it; the tests run it as a process
// of its own, as its users do.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "service-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "service")
	if out, err := exec.Command("go", append(append([]string{"build"}, buildFlags...), "-o", binary, ".")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// process is a running service.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	dir    string // its working directory
	url    string // "" until it has said so
	ready  chan struct{}
	exited chan struct{}
	err    error // of Wait; read after exited

	mu     sync.Mutex
	stdout bytes.Buffer
	stderr bytes.Buffer
}

// start starts the service in dir, on a port that the kernel picks. It is
// killed at the end of the test.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	return startEnv(t, dir, nil, args...)
}

// startEnv is start with variables of the form NAME=value.
func startEnv(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	return startCommand(t, dir, exec.Command(binary, append([]string{"-listen", "127.0.0.1:0"}, args...)...), env) // a later -listen wins
}

// startCommand starts cmd, which is the service or becomes it.
func startCommand(t *testing.T, dir string, cmd *exec.Cmd, env []string) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, dir: dir, ready: make(chan struct{}), exited: make(chan struct{})}
	p.cmd.Dir = dir
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "SVC_") {
			p.cmd.Env = append(p.cmd.Env, kv)
		}
	}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Env = append(p.cmd.Env, "GORACE=atexit_sleep_ms=0") // the detector waits 1 s at the end otherwise
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = lockedWriter{&p.mu, &p.stderr}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.mu.Lock()
			p.stdout.WriteString(lines.Text() + "\n")
			if _, rest, ok := strings.Cut(lines.Text(), "status page at "); ok && p.url == "" {
				p.url, _, _ = strings.Cut(rest, " ")
				close(p.ready)
			}
			p.mu.Unlock()
		}
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.exited
	})
	return p
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

// output is what the process has written so far.
func (p *process) output() (stdout, stderr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String(), p.stderr.String()
}

// awaitAddress waits until the page can be asked for.
func (p *process) awaitAddress() *process {
	p.t.Helper()
	select {
	case <-p.ready:
	case <-p.exited:
		stdout, stderr := p.output()
		p.t.Fatalf("the service ended: %v\n%s%s", p.err, stdout, stderr)
	case <-time.After(testenv.Within(30*time.Second, 2*time.Minute)):
		p.t.Fatal("the service says no address")
	}
	return p
}

// stopBound is how long the end of a process may take after SIGTERM.
func stopBound() time.Duration { return testenv.Within(10*time.Second, time.Minute) }

// terminate sends SIGTERM and returns the exit code and how long it took.
func (p *process) terminate() (code int, took time.Duration) {
	p.t.Helper()
	begin := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	return p.wait(), time.Since(begin)
}

// wait returns the exit code of a process that is to end.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(60 * time.Second):
		p.t.Fatal("the service does not end")
	}
	if p.err != nil {
		if e, ok := errors.AsType[*exec.ExitError](p.err); ok {
			return e.ExitCode()
		}
		p.t.Fatal(p.err)
	}
	return 0
}

// get returns what the service answers.
func (p *process) get(path string) (status int, body string) {
	p.t.Helper()
	return p.do(http.MethodGet, path)
}

func (p *process) do(method, path string) (status int, body string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(p.url, "/")+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}

type runRecord struct {
	ID       int    `json:"id"`
	Status   string `json:"status"`
	Pages    int    `json:"pages"`
	Failures int    `json:"failures"`
	Items    int    `json:"items"`
	Changed  int    `json:"changed"`
	Error    string `json:"error"`
}

func (p *process) runs() (out []runRecord) {
	p.t.Helper()
	if status, body := p.get("/api/runs?n=1000"); status == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			p.t.Fatal(err)
		}
	}
	return out
}

type itemRecord struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	Gone string `json:"gone"`
	Now  struct {
		Cents int64 `json:"cents"`
	} `json:"price"`
	Points []struct {
		Price struct {
			Cents int64 `json:"cents"`
		} `json:"price"`
	} `json:"points"`
}

func (p *process) items() (out []itemRecord) {
	p.t.Helper()
	if status, body := p.get("/api/items?points=10000"); status == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			p.t.Fatal(err)
		}
	}
	return out
}
