package main_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// want fails unless text holds every one of parts.
func want(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s lacks %q:\n%s", what, p, text)
		}
	}
}

// awaitPage waits until the status page holds every one of parts.
func (p *process) awaitPage(t *testing.T, parts ...string) {
	t.Helper()
	testenv.Eventually(t, func() error {
		status, body := p.get("/")
		if status != http.StatusOK {
			return fmt.Errorf("page: %d %s", status, body)
		}
		for _, part := range parts {
			if !strings.Contains(body, part) {
				return fmt.Errorf("the page lacks %q", part)
			}
		}
		return nil
	})
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.yaml")
	if err := os.WriteFile(broken, []byte("site:\n  url: demo\n  evry: 10s\nlisten: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"missing file", []string{"-config", "none.yaml"}, []string{"none.yaml"}},
		{"broken file", []string{"-config", broken}, []string{"broken.yaml:"}},
		{"missing profile", []string{"-profile", "nope"}, []string{"config.nope.yaml"}},
		{"prod without a site", []string{"-profile", "prod"}, []string{"site.url"}},
		{"unknown flag", []string{"-nonsense"}, []string{"service: flag provided but not defined: -nonsense\nservice -help lists the flags\n"}},
		{"unknown command", []string{"serve"}, []string{`"serve" is no command`, "-help"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, dir, tt.args...)
			if code := p.wait(); code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
			stdout, stderr := p.output()
			want(t, "the message", stderr, tt.want...)
			if stdout != "" {
				t.Errorf("stdout = %q", stdout)
			}
			if n := strings.Count(stderr, "\n"); n > 8 {
				t.Errorf("%d lines hide what is wrong:\n%s", n, stderr)
			}
		})
	}
}

// Whoever points the service, as it is shipped, at a real site, without a Tor,
// sends that site nothing: it would see this machine's own address.
func TestShippedProfilesWithoutTor(t *testing.T) {
	t.Parallel()
	profiles, err := filepath.Glob("config/config.*.yaml")
	if err != nil || len(profiles) < 2 {
		t.Fatal(profiles, err)
	}
	for _, path := range profiles {
		profile := strings.Split(filepath.Base(path), ".")[1]
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			site := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
			defer site.Close()

			p := start(t, t.TempDir(), "-profile", profile, "-site.url", site.URL, "-scrape.allow", "127.0.0.0/8", "-site.every", "1s",
				"-tor.socks", closedPort(t), "-data-dir", "var", "-log.file.path", "var/log").awaitAddress()
			p.awaitPage(t, "no page was asked for", "egress unavailable", "start Tor", "nothing leaves")
			if p.do(http.MethodPost, "/api/runs"); len(p.runs()) == 0 {
				t.Error("no run was tried")
			}
			if n := asked.Load(); n > 0 {
				t.Errorf("%d requests left from this machine's own address", n)
			}
		})
	}
}

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// SIGHUP reads the settings again, and bad ones change nothing.
func TestHangup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t).awaitAddress()
	p.awaitPage(t, "item 3")
	path := filepath.Join(w.dir, "config", "config.yaml")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ more, log string }{
		{"log: {level: debug}\n", `"msg":"settings reloaded"`},
		{"log: {level: nonsense}\n", `"msg":"settings not reloaded: the last good ones hold"`},
	} {
		if err := os.WriteFile(path, []byte(string(good)+tt.more), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, func() error {
			if w.logs.holds(tt.log) == 0 {
				return errors.New("no line with " + tt.log)
			}
			return nil
		})
	}
	if w.logs.holds(`"msg":"the log has new settings"`, `"level":"debug"`) == 0 {
		t.Error("the level was not applied")
	}
	if code, _ := p.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	p := start(t, t.TempDir(), "-listen", l.Addr().String())
	if code := p.wait(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	_, stderr := p.output()
	want(t, "the message", stderr, l.Addr().String(), "in use", "-listen 127.0.0.1:0")
}

func TestSecondServiceOnTheSameData(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(t).awaitAddress()
	second := w.start(t)
	if code := second.wait(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	_, stderr := second.output()
	want(t, "the message", stderr, "another process", "data_dir")
}

// A log folder that cannot be made: the lines go to the console, the page and
// /readyz say so, and everything else works.
func TestUnwritableLogFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := filepath.Join(w.dir, "file") // in place of a folder: that stops root as well
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := w.start(t, "-log.file.path", filepath.Join(file, "service.log")).awaitAddress()
	p.awaitPage(t, "log lines go to the console alone", "set log.file.path", "item 3")
	w.awaitMail(t, "the log file cannot be written", "set log.file.path")
	testenv.Eventually(t, func() error {
		if status, body := p.get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "set log.file.path") {
			return fmt.Errorf("readyz = %d %s", status, body)
		}
		return nil
	})
	if status, _ := p.get("/healthz"); status != http.StatusOK {
		t.Errorf("healthz = %d", status)
	}
	testenv.Eventually(t, func() error {
		stdout, _ := p.output()
		if !strings.Contains(stdout, `"msg":"run ended"`) {
			return errors.New("the console has no log line")
		}
		return nil
	})
	if code, _ := p.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A data folder that cannot be made leaves nothing to keep the history in.
func TestUnwritableDataFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, dir, "-data-dir", filepath.Join(file, "data"))
	if code := p.wait(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	_, stderr := p.output()
	want(t, "the message", stderr, "history", "data_dir")
}

// A mail server that is not there: the page says so, the message stays in the
// outbox across a restart, Slack gets it at once, and the mail arrives when
// the server is back.
func TestDeadMailHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, port, _ := strings.Cut(closedPort(t), ":")

	p := w.start(t, "-mail.port", port, "-site.every", "200ms").awaitAddress()
	p.awaitPage(t, "messages wait in the outbox", "item 3")
	w.site.change(func() { w.site.price[3] = 900 })
	testenv.Eventually(t, func() error {
		if len(w.slack.Last()) == 0 {
			return errors.New("Slack has no message")
		}
		return nil
	})
	p.awaitPage(t, "connection refused")
	if status, body := p.get("/readyz"); status != http.StatusOK || !strings.Contains(body, `"degraded"`) {
		t.Errorf("readyz = %d %s", status, body)
	}
	code, took := p.terminate()
	if code != 0 || took > stopBound() {
		t.Errorf("exit code %d after %v", code, took)
	}

	w.start(t).awaitAddress()
	w.awaitMail(t, "10.00 EUR → 9.00 EUR")
}

// Without Tor nothing is fetched where Tor is required, and the page says what
// to do; the service serves.
func TestDeadTor(t *testing.T) {
	t.Parallel()
	dead := closedPort(t)
	for _, tt := range []struct {
		name, fallback string
	}{{"required", "never"}, {"fallback", "direct-with-warning"}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.start(t, "-tor.disabled=false", "-tor.socks", dead, "-scrape.fallback", tt.fallback, "-site.every", "1s", "-scrape.retry.attempts", "1").awaitAddress()
			if tt.fallback == "never" {
				p.awaitPage(t, "egress unavailable", "start Tor", "failed")
				w.site.change(func() {
					if len(w.site.served) > 0 {
						t.Errorf("pages were fetched without Tor: %v", w.site.served)
					}
				})
				w.awaitMail(t, "failed", "egress unavailable")
			} else {
				p.awaitPage(t, "item 3", "own address", "start Tor")
				testenv.Eventually(t, func() error {
					if w.logs.holds(`"WARN"`, "own address") == 0 {
						return errors.New("no warning in the log")
					}
					return nil
				})
			}
			if status, body := p.get("/readyz"); status != http.StatusOK || !strings.Contains(body, "start Tor") {
				t.Errorf("readyz = %d %s", status, body)
			}
			if code, _ := p.terminate(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// Pages of garbage, a page of a gigabyte and one that never ends are that
// page's trouble: the others are read, the operator is told, nothing counts as
// gone.
func TestBadPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t).awaitAddress()
	p.awaitPage(t, "item 1<", "item 17")
	bad := map[int]http.HandlerFunc{}
	bad[2] = func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = rw.Write([]byte("\x00\x01\x02" + strings.Repeat("\xff\xfe<<<", 1000)))
	}
	bad[3] = func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		block := []byte(strings.Repeat("<p>lorem ipsum</p>\n", 50_000))
		for sent := 0; sent < 1<<30 && r.Context().Err() == nil; sent += len(block) {
			if _, err := rw.Write(block); err != nil {
				return
			}
		}
		t.Error("the whole gigabyte was taken")
	}
	bad[4] = func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = rw.Write([]byte(`<div itemscope itemtype="https://schema.org/Product">` + "\n" + `<a itemprop="url" href="/item/x"><b itemprop="name">x</b></a><b itemprop="price">call us</b></div>`))
	}
	w.site.change(func() { w.site.special = bad })
	testenv.Eventually(t, func() error {
		for _, part := range [][]string{
			{"page failed", "not an HTML page"},
			{"page failed", "body too large"},
			{"item not read", "/page/4:1:1", "not a price"},
		} {
			if w.logs.holds(part...) == 0 {
				return fmt.Errorf("no log line with %q", part)
			}
		}
		return nil
	})
	w.awaitMail(t, "is incomplete")
	for _, it := range p.items() {
		if it.Gone != "" {
			t.Errorf("%s counts as gone", it.Name)
		}
	}
	if peak := memory(t, p.cmd.Process.Pid); peak > 150<<20 && buildFlags == nil { // the race detector takes a multiple
		t.Errorf("the service took %d MiB", peak>>20)
	}
	w.site.change(func() { w.site.special = nil })
	w.awaitMail(t, "complete again")
	if code, _ := p.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// memory is the most that a process held at once, where the system tells.
func memory(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	return 0
}

func TestHealthCheckFlag(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t).awaitAddress()
	p.awaitPage(t, "item 3")
	addr := strings.TrimSuffix(strings.TrimPrefix(p.url, "http://"), "/")
	testenv.Eventually(t, func() error {
		if code := start(t, t.TempDir(), "-listen", addr, "-healthcheck").wait(); code != 0 {
			return fmt.Errorf("exit code %d", code)
		}
		return nil
	})
	if code, _ := p.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	check := start(t, t.TempDir(), "-listen", addr, "-healthcheck")
	if code := check.wait(); code != 1 {
		t.Errorf("exit code %d of a check on nothing", code)
	}
}
