package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv/postfix"
	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// binaryVariable names the built service to the process in the namespace,
// which could not download anything to build it.
const binaryVariable = "SVCBLOCKS_E2E_BINARY"

func TestMain(m *testing.M) {
	if os.Getenv(binaryVariable) != "" {
		goleak.VerifyTestMain(tornet.Wrap(m))
	}
	dir, err := os.MkdirTemp("", "svcblocks-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary := filepath.Join(dir, "service")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", binary, "..").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		_ = os.RemoveAll(dir)
		os.Exit(1)
	}
	os.Setenv(binaryVariable, binary)
	goleak.VerifyTestMain(tornet.Wrap(m), goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

const (
	pages = 400 // of the site
	every = 25  // requests of one identity
	limit = 5 * time.Minute
)

// TestService runs the built service through everything that it is for, with
// real parts: two runs over a site that only Tor's exits reach, log lines
// shipped in bulk, and the change that the second run finds told by mail and
// Slack.
func TestService(t *testing.T) {
	network := tornet.Shared(t)
	mail := postfix.Start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()

	shop := &shop{pages: pages, cents: map[int]int{}, reads: map[string]int{}}
	site := network.ServeSite(t, shop)
	socks := startTap(t, network.Client.SOCKSAddr)
	logs := startReceiver(t)
	slack := notifytest.StartSlack(nil)
	defer slack.Close()

	host, port, _ := strings.Cut(mail.Addr, ":")
	dir := t.TempDir()
	configure(t, dir, fmt.Sprintf(`
listen: 127.0.0.1:0
data_dir: data
shutdown_timeout: 20s
site: {name: Lamps, url: "%s", every: -1s, workers: 8}
tor: {socks: "%s", control: "%s", cookie_file: "%s"}
scrape:
  fallback: never
  rotation: {every: %d}
  host_limit: {per_second: -1}
log:
  file: {path: log/service.log, segment_bytes: 65536}
  console: {format: json}
ship: {url: "%s"}
mail: {host: "%s", port: %s, tls: mandatory, ca_file: "%s", from: watch@service.test, to: [operator@service.test]}
slack: {webhook: "%s"}
`, site.URL("shop.test", "/"), socks.addr, network.Client.ControlAddr, network.Client.CookieFile,
		every, logs.url, host, port, mail.CAFile, slack.WebhookURL()))
	service := start(ctx, t, dir)

	service.await(ctx, t, 1)
	shop.price(1250, 7, 133, 400)
	service.request(ctx, t, http.MethodPost, "/scrape")
	service.await(ctx, t, 2)

	t.Run("exits", func(t *testing.T) {
		sources := site.Sources()
		t.Logf("connections by exit: %v", sources)
		if len(sources) < 3 {
			t.Errorf("the site saw %d source addresses, want 3 at least", len(sources))
		}
		if strangers := site.Strangers(); len(strangers) > 0 {
			t.Errorf("the site was reached from %v, which are no exits", strangers)
		}
		shop.mu.Lock()
		defer shop.mu.Unlock()
		if len(shop.reads) != pages {
			t.Errorf("%d pages were read, want %d", len(shop.reads), pages)
		}
	})
	t.Run("identities", func(t *testing.T) {
		socks.mu.Lock()
		defer socks.mu.Unlock()
		total := 0
		for i, user := range socks.users {
			count := len(socks.pages[user])
			total += count
			if count > every || count < every && i < len(socks.users)-1 {
				t.Errorf("identity %d (%s) asked for %d pages, want %d", i+1, user, count, every)
			}
		}
		t.Logf("%d identities asked for %d pages", len(socks.users), total)
		if total < 2*pages || len(socks.users) < 2*pages/every {
			t.Errorf("%d identities asked for %d pages, want %d for %d", len(socks.users), total, 2*pages/every, 2*pages)
		}
		if len(socks.other) > 0 {
			t.Errorf("on the way to Tor: %q", socks.other)
		}
	})
	t.Run("names", func(t *testing.T) {
		if queries := network.LocalQueries(); len(queries) > 0 {
			t.Errorf("the local resolver was asked: %v", queries)
		}
		asked := 0
		for _, q := range network.Queries() {
			if q.Name == "shop.test" {
				asked++
			}
		}
		if asked < 3 {
			t.Errorf("the exits resolved shop.test %d times, want 3 at least", asked)
		}
	})
	t.Run("mail", func(t *testing.T) {
		got := mail.Wait(ctx, t, 1)[0]
		if got.Recipient != "operator@service.test" {
			t.Errorf("the mail went to %s", got.Recipient)
		}
		if subject := got.Header.Get("Subject"); subject != "Lamps: 3 prices changed" {
			t.Errorf("subject %q", subject)
		}
	})
	t.Run("slack", func(t *testing.T) {
		messages := waitSlack(ctx, t, slack)
		if len(messages) != 1 || !strings.Contains(messages[0].Text, "3 prices changed") {
			t.Errorf("messages %+v, want one of 3 prices changed", messages)
		}
	})
	// The end of the service is what ships the last lines.
	code := service.terminate(t)
	t.Run("logs", func(t *testing.T) {
		if code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		compare(t, service.lines(), logs)
	})
}

// compare holds the lines that arrived against those that the service also
// wrote to its console.
func compare(t *testing.T, written []string, logs *receiver) {
	t.Helper()
	logs.mu.Lock()
	defer logs.mu.Unlock()
	if len(logs.bad) > 0 {
		t.Errorf("%d lines cannot be told from others, as %s", len(logs.bad), logs.bad[0])
	}
	arrived := map[string]int{}
	for _, line := range logs.lines {
		arrived[line]++
	}
	fetched := 0
	for _, line := range written {
		if strings.Contains(line, `"page read"`) {
			fetched++
		}
		if arrived[line] == 0 {
			t.Errorf("did not arrive: %s", line)
			continue
		}
		arrived[line]--
	}
	for line, count := range arrived {
		if count != 0 {
			t.Errorf("arrived %d times too often: %s", count, line)
		}
	}
	if fetched != 2*pages {
		t.Errorf("%d pages in the log, want %d", fetched, 2*pages)
	}
	repeats := logs.count - len(logs.lines)
	if repeats < largeLines {
		t.Errorf("%d lines were repeated, though the receiver took %d at least without saying so", repeats, largeLines)
	}
	t.Logf("%d lines written, %d arrived, %d of them repeats", len(written), logs.count, repeats)
}

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

// await waits until a run is complete. The first one begins with the service.
func (s *service) await(ctx context.Context, t *testing.T, id int) {
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
			if r := runs[i]; r.Pages != pages || r.Failures != 0 {
				t.Fatalf("run %+v, want %d pages and no failure", r, pages)
			}
			t.Logf("run %d read %d pages in %v", id, pages, time.Since(begin).Round(time.Millisecond))
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("run %d is not complete: %+v: %v", id, runs, context.Cause(ctx))
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

// waitSlack waits for the first message.
func waitSlack(ctx context.Context, t *testing.T, slack *notifytest.Slack) []notifytest.SlackMessage {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		if messages := slack.Messages(); len(messages) > 0 {
			return messages
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("no Slack message: %v", context.Cause(ctx))
		}
	}
}
