// Package adopt_test runs each stage of the service as a process: what it does
// for those who ask stays the same, and each stage brings what it is there for.
package adopt_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

const steps = 5

var binaries string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "adopt-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries = dir
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// build builds each step. Those between the first and the last are diffs, and
// for the compiler folders beside them.
func build(dir string) error {
	sources, err := mains()
	if err != nil {
		return err
	}
	title, err := filepath.Abs(filepath.Join("step0", "title.go"))
	if err != nil {
		return err
	}

	replace := map[string]string{}
	args := []string{"build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", dir + string(filepath.Separator)}
	for i, text := range sources {
		step := fmt.Sprintf("step%d", i)
		args = append(args, "./"+step)
		if i == 0 || i == steps-1 {
			continue
		}
		file := filepath.Join(dir, step+".go")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
		at := filepath.Dir(filepath.Dir(title))
		replace[filepath.Join(at, step, "main.go")], replace[filepath.Join(at, step, "title.go")] = file, title
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		return err
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// mains returns the main.go of each step: that of step 0, and what the diffs
// make of it.
func mains() ([]string, error) {
	first, err := os.ReadFile(filepath.Join("step0", "main.go"))
	if err != nil {
		return nil, err
	}
	out := []string{string(first)}
	for i := 1; i < steps; i++ {
		diff, err := os.ReadFile(fmt.Sprintf("step%d.diff", i))
		if err != nil {
			return nil, err
		}
		next, err := patch(out[i-1], string(diff))
		if err != nil {
			return nil, fmt.Errorf("step%d.diff: %w", i, err)
		}
		out = append(out, next)
	}
	return out, nil
}

var hunk = regexp.MustCompile(`^@@ -([0-9]+)`)

// patch applies a diff of one file, each line at its place.
func patch(text, diff string) (string, error) {
	from, at := strings.SplitAfter(text, "\n"), 0
	var out strings.Builder
	for line := range strings.Lines(diff) {
		if m := hunk.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			if n-1 < at || n > len(from) {
				return "", fmt.Errorf("%s is out of place", line)
			}
			out.WriteString(strings.Join(from[at:n-1], ""))
			at = n - 1
			continue
		}
		switch {
		case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
		case line[0] == '+':
			out.WriteString(line[1:])
		case at == len(from) || from[at] != line[1:]:
			return "", fmt.Errorf("%q is not in line %d", line, at+1)
		default:
			if line[0] == ' ' {
				out.WriteString(from[at])
			}
			at++
		}
	}
	return out.String() + strings.Join(from[at:], ""), nil
}

// The diffs lead from step 0 to step 4, and the README tells their lengths.
func TestDiffs(t *testing.T) {
	t.Parallel()
	sources, err := mains()
	if err != nil {
		t.Fatal(err)
	}
	last, err := os.ReadFile("step4/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(last), sources[steps-1]); diff != "" {
		t.Errorf("the diffs do not lead to step 4 (-step4 +diffs):\n%s", diff)
	}

	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range sources {
		if row := regexp.MustCompile(fmt.Sprintf(`(?m)^\| %d[a-z ]* \| %d \|`, i, strings.Count(text, "\n"))); !row.Match(readme) {
			t.Errorf("step %d has %d lines, the README says another number", i, strings.Count(text, "\n"))
		}
	}
}

// process is a running stage.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	ended chan struct{}
	ready chan struct{}
	url   string // of its root; read after ready

	mu   sync.Mutex
	text bytes.Buffer
}

var listening = regexp.MustCompile(`(http://127\.0\.0\.1:[0-9]+)/title`)

// Write takes the output of both streams.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text.Write(b)
	if m := listening.FindSubmatch(p.text.Bytes()); m != nil && p.url == "" {
		p.url = string(m[1])
		close(p.ready)
	}
	return len(b), nil
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// launch starts a stage in a folder of its own.
func launch(t *testing.T, step int, env ...string) *process {
	t.Helper()
	p := &process{t: t, ended: make(chan struct{}), ready: make(chan struct{})}
	p.cmd = exec.Command(filepath.Join(binaries, fmt.Sprintf("step%d", step)))
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append(append(os.Environ(), "TITLE_LISTEN=127.0.0.1:0"), env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the state says it
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
	})
	return p
}

// start is launch, and waits until it serves.
func start(t *testing.T, step int, env ...string) *process {
	t.Helper()
	p := launch(t, step, env...)
	select {
	case <-p.ready:
	case <-p.ended:
		t.Fatalf("it ended: %s", p.output())
	case <-time.After(30 * time.Second):
		t.Fatalf("it says no address: %s", p.output())
	}
	return p
}

// wait returns the exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(30 * time.Second):
		p.t.Fatalf("it does not end: %s", p.output())
		return -1
	}
}

// get asks for the title of a page.
func (p *process) get(query string) (status int, body string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+query, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(text))
}

func title(address string) string { return "/title?url=" + url.QueryEscape(address) }

// pages is a site to tell the titles of.
func pages(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good":
			fmt.Fprint(w, "<html><TITLE lang=en>\n Tea &amp;\n cakes </TITLE></html>")
		case "/none":
			fmt.Fprint(w, "<html></html>")
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// loopback is what the last stage needs to be told, for a test's pages.
const loopback = "TITLE_ALLOW=127.0.0.1/32"

func envOf(step int, more ...string) []string {
	if step == 4 {
		return append(more, loopback)
	}
	return more
}

// What the service does is the same from the first stage to the last.
func TestEachStageServes(t *testing.T) {
	t.Parallel()
	site := pages(t)
	for step := range steps {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			t.Parallel()
			p := start(t, step, envOf(step)...)
			for _, tt := range []struct {
				query  string
				status int
				body   string
			}{
				{"/healthz", 200, "ok"},
				{title(site + "/good"), 200, "Tea & cakes"},
				{title(site + "/none"), 502, "the page cannot be read"},
				{title(site + "/gone"), 502, "the page cannot be read"},
				{title("http://127.0.0.1:1/"), 502, "the page cannot be read"},
				{"/title", 400, "which page? /title?url=…"},
				{"/else", 404, "404 page not found"},
			} {
				if status, body := p.get(tt.query); status != tt.status || body != tt.body {
					t.Errorf("%s: %d %q, want %d %q", tt.query, status, body, tt.status, tt.body)
				}
			}
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if code := p.wait(); (code == 0) != (step >= 2) { // before, nobody listens to the signal
				t.Errorf("exit code %d after SIGTERM\n%s", code, p.output())
			}
		})
	}
}

// The file that does the work never changes: only what is put into it.
func TestTitleStaysAsItIs(t *testing.T) {
	t.Parallel()
	first, err1 := os.ReadFile("step0/title.go")
	last, err2 := os.ReadFile("step4/title.go")
	if err1 != nil || err2 != nil || !bytes.Equal(first, last) {
		t.Errorf("step4/title.go differs: %v", errors.Join(err1, err2))
	}
}

// Step 1: a mistake in the settings is told, and all of them at once.
func TestConfig(t *testing.T) {
	t.Parallel()
	mistakes := []string{"TITLE_TIMEOUT=soon", "TITLE_MAX_BYTES=12", "TITLE_MAXBYTES=99"}
	start(t, 0, mistakes...) // serves with 10 s and a megabyte, whatever was meant
	for step := 1; step < steps; step++ {
		p := launch(t, step, mistakes...)
		if code := p.wait(); code == 0 {
			t.Errorf("step %d starts", step)
		}
		for _, want := range []string{"env TITLE_TIMEOUT", `"soon"`, "env TITLE_MAX_BYTES", "env TITLE_MAXBYTES"} {
			if !strings.Contains(p.output(), want) {
				t.Errorf("step %d does not say %s:\n%s", step, want, p.output())
			}
		}
	}
}

// Step 2: every request is a line with fields in a file, under the trace that
// it came with.
func TestLogging(t *testing.T) {
	t.Parallel()
	site := pages(t)
	for step := 2; step < steps; step++ {
		p := launch(t, step, envOf(step, "TITLE_LOG_FILE_PATH=log/title.log")...)
		lines := func() (out []map[string]any) {
			files, err := filepath.Glob(filepath.Join(p.cmd.Dir, "log", "title*.log"))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range files {
				text, err := os.ReadFile(path)
				if err != nil && !errors.Is(err, os.ErrNotExist) { // sealed meanwhile
					t.Fatal(err)
				}
				for line := range strings.Lines(string(text)) {
					var m map[string]any
					if err := json.Unmarshal([]byte(line), &m); err != nil {
						t.Fatalf("%s: %v", line, err)
					}
					out = append(out, m)
				}
			}
			return out
		}
		testenv.Eventually(t, func() error {
			for _, m := range lines() {
				if address, ok := m["address"].(string); ok && m["msg"] == "listening" {
					p.url = strings.TrimSuffix(address, "/title?url=")
					return nil
				}
			}
			return errors.New("no line says that it listens")
		})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+title(site+"/good"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if err := p.cmd.Process.Kill(); err != nil { // no line is lost
			t.Fatal(err)
		}
		p.wait()
		found := false
		for _, m := range lines() {
			if m["msg"] == "title told" {
				found = m["component"] == "title" && m["url"] == site+"/good" && m["title"] == "Tea & cakes" &&
					m["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
			}
		}
		if !found {
			t.Errorf("step %d: no such line in %v", step, lines())
		}
	}
}

// Step 2, too: what is under way when it is asked to end gets its answer.
func TestStopWithRequestUnderWay(t *testing.T) {
	t.Parallel()
	for step := 2; step < steps; step++ {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			t.Parallel()
			asked, release := make(chan struct{}), make(chan struct{})
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/slow" {
					http.NotFound(w, r)
					return
				}
				close(asked)
				<-release
				fmt.Fprint(w, "<title>At last</title>")
			}))
			t.Cleanup(srv.Close)
			p := start(t, step, envOf(step)...)
			answer := make(chan string, 1)
			go func() {
				res, err := http.Get(p.url + title(srv.URL+"/slow")) // no Fatal in here
				if err != nil {
					answer <- err.Error()
					return
				}
				defer res.Body.Close()
				text, err := io.ReadAll(res.Body)
				answer <- fmt.Sprint(res.StatusCode, " ", strings.TrimSpace(string(text)), " ", err)
				http.DefaultClient.CloseIdleConnections()
			}()
			<-asked
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			testenv.Eventually(t, func() error { // it takes no more
				c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
				if err != nil {
					return nil
				}
				return errors.Join(errors.New("it still listens"), c.Close())
			})
			close(release)
			if got, want := <-answer, "200 At last <nil>"; got != want {
				t.Errorf("answer %q, want %q", got, want)
			}
			if code := p.wait(); code != 0 {
				t.Errorf("exit code %d\n%s", code, p.output())
			}
		})
	}
}

// Step 3: the operator hears of the first error at once, and once.
func TestNotify(t *testing.T) {
	t.Parallel()
	site := pages(t)
	for step := 3; step < steps; step++ {
		posts := make(chan string, 100)
		hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			posts <- r.URL.Path + " " + string(body)
			fmt.Fprint(w, "ok")
		}))
		t.Cleanup(hook.Close)
		p := start(t, step, envOf(step, "TITLE_SLACK="+hook.URL+"/services/T0/B0/canary")...)
		for range 15 {
			p.get(title(site + "/gone"))
		}
		select {
		case post := <-posts:
			if !strings.HasPrefix(post, "/services/T0/B0/canary ") || !strings.Contains(post, "page cannot be read") {
				t.Errorf("step %d: %s", step, post)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("step %d: nobody is told\n%s", step, p.output())
		}
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := p.wait(); code != 0 || strings.Contains(p.output(), "canary") {
			t.Errorf("step %d: exit code %d, or the webhook shows:\n%s", step, code, p.output())
		}
		if n := len(posts); n > 1 { // the repeats as one
			t.Errorf("step %d: %d more messages for one trouble", step, n)
		}
	}
}

// Step 4: who asks for a page of the machine itself, or of the network behind
// it, does not get it; and without Tor nothing leaves, where Tor was asked for.
func TestScrape(t *testing.T) {
	t.Parallel()
	site := pages(t)
	before, after := start(t, 3), start(t, 4)
	if status, body := before.get(title(site + "/good")); status != 200 {
		t.Errorf("step 3: %d %s", status, body)
	}
	for _, address := range []string{site + "/good", "http://localhost/", "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "file:///etc/passwd", "http://10.0.0.1/"} {
		if status, body := after.get(title(address)); status != http.StatusForbidden {
			t.Errorf("step 4: %s: %d %s", address, status, body)
		}
	}
	tor := start(t, 4, loopback, "TITLE_TOR=127.0.0.1:1")
	if status, _ := tor.get(title(site + "/good")); status != http.StatusBadGateway {
		t.Errorf("without Tor: %d\n%s", status, tor.output())
	}
	testenv.Eventually(t, func() error {
		if !strings.Contains(tor.output(), "egress unavailable") {
			return errors.New("without Tor, it does not say so: " + tor.output())
		}
		return nil
	})
}
