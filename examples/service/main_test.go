package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// start runs the service in a folder of its own, without a Tor, and returns its
// address and what ends it.
func start(t *testing.T, args ...string) (address string, stop func() string) {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	done := make(chan error, 1)
	args = append([]string{
		"-listen", "127.0.0.1:0", "-data-dir", dir, "-log.file.path", filepath.Join(dir, "log"), "-outbox.dir", filepath.Join(dir, "outbox"),
		"-log.console.format", "off", "-mail.host", "mail.invalid", "-mail.from", "a@example.com", "-mail.to", "b@example.com",
		"-tor.socks", "127.0.0.1:9", "-site.url", "https://site.invalid/",
	}, args...)
	go func() { done <- run(ctx, args, &stderr) }()
	stop = func() string {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		done <- nil
		log, err := os.ReadFile(filepath.Join(dir, "log"))
		if err != nil {
			t.Error(err)
		}
		return string(log)
	}
	t.Cleanup(func() { stop() })
	testenv.Eventually(t, func() error {
		text, err := os.ReadFile(filepath.Join(dir, "address"))
		if address = string(text); err == nil && address == "" {
			err = errors.New("the address is not written yet")
		}
		return err
	})
	if err := healthcheck(dir); err != nil {
		t.Errorf("healthcheck: %v", err)
	}
	return "http://" + address, stop
}

func ask(t *testing.T, address, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// A link that somebody planted in the place of the address is not followed.
func TestPlantedAddress(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	testenv.Symlink(t, victim, filepath.Join(dir, "address"))
	for range 2 {
		if err := writeAddress(dir, "127.0.0.1:1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(victim); err == nil {
		t.Error("a file was made where the link leads")
	}
	if text, err := os.ReadFile(filepath.Join(dir, "address")); err != nil || string(text) != "127.0.0.1:1" {
		t.Errorf("address = %q, %v", text, err)
	}
}

func TestServes(t *testing.T) {
	address, stop := start(t, "-hosts", "watch.example")
	testenv.Eventually(t, func() error {
		// The part says so, too, and may say it before the first look has ended.
		if _, body := ask(t, address+"/", ""); !strings.Contains(body, "1 looks") || !strings.Contains(body, "egress unavailable") {
			return errors.New("the page does not say that Tor is away: " + body)
		}
		return nil
	})
	for _, tc := range []struct {
		path, host string
		status     int
		body       string
	}{
		{"/", "", 200, "<h1>https://site.invalid/</h1>"},
		{"/", "watch.example:8080", 200, "https://site.invalid/"},
		{"/", "localhost", 200, "https://site.invalid/"},
		{"/", "Watch.example.", 200, "https://site.invalid/"},
		{"/", "rebind.attacker.example", 421, "hosts"},
		{"/metrics", "rebind.attacker.example", 421, "hosts"},
		{"/healthz", "10.1.2.3:8080", 200, ""},
		{"/readyz", "", 200, "log: ok\n"},
		{"/metrics", "", 200, "service_looks_total 1\n"},
		{"/other", "", 404, ""},
	} {
		if status, body := ask(t, address+tc.path, tc.host); status != tc.status || !strings.Contains(body, tc.body) {
			t.Errorf("%s as %q: %d %s, want %d and %q", tc.path, tc.host, status, body, tc.status, tc.body)
		}
	}

	var last struct{ Msg string }
	lines := strings.Split(strings.TrimSpace(stop()), "\n")
	for _, line := range lines {
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	if !strings.Contains(strings.Join(lines, "\n"), `"msg":"looked"`) {
		t.Errorf("the look is not in the log: %s", lines)
	}
}

// TestWrongCalls has command lines with a mistake, which is all that is printed.
func TestWrongCalls(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{"-site.ulr=x": "-site.ulr", "serve": "the only command is config, see -help: serve"} {
		var stderr bytes.Buffer
		if err := run(t.Context(), []string{arg, "-listen", "127.0.0.1:0"}, &stderr); err == nil || !strings.Contains(err.Error(), want) || stderr.Len() > 0 {
			t.Errorf("%s: %v\n%s", arg, err, &stderr)
		}
	}

	var stderr bytes.Buffer
	if err := run(t.Context(), []string{"-help"}, &stderr); !errors.Is(err, flag.ErrHelp) || !strings.Contains(stderr.String(), "-site.url") {
		t.Errorf("-help: %v\n%s", err, &stderr)
	}
}

// TestPageIsEscaped has values that look like the page itself.
func TestPageIsEscaped(t *testing.T) {
	t.Parallel()
	if got, want := fill("<p>{{a}} {{b}}", "a", "<script>", "b", "{{a}}"), "<p>&lt;script&gt; {{a}}"; got != want {
		t.Errorf("fill = %q, want %q", got, want)
	}
}

// TestBounds holds what the README promises: the service can be read at one sitting.
func TestBounds(t *testing.T) {
	t.Parallel()
	lines := func(name string) []string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
	for name, most := range map[string]int{"main.go": 150, "Dockerfile": 20, "compose.yaml": 40} {
		if n := len(lines(name)); n > most {
			t.Errorf("%s has %d lines, want at most %d", name, n, most)
		}
	}
	code, blank := 0, regexp.MustCompile(`^\s*(//.*)?$`)
	for _, name := range []string{"main.go", "settings.go", "watch.go", "web.go"} {
		for _, line := range lines(name) {
			if !blank.MatchString(line) {
				code++
			}
		}
	}
	if code > 400 {
		t.Errorf("%d lines of code, want at most 400", code)
	}
}

// TestQuickstartTable holds the README's table: what stands in backquotes stands
// in the line that the row links to.
func TestQuickstartTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	link, quoted := regexp.MustCompile(`\[([^]]*)\]\(([^#)]+)(?:#L([0-9]+))?\)`), regexp.MustCompile("`([^`]+)`")
	rows := 0
	for row := range strings.SplitSeq(string(text), "\n") {
		cells := strings.Split(row, "|")
		if len(cells) != 4 || strings.HasPrefix(row, "|--") || strings.HasPrefix(row, "| there ") {
			continue
		}
		rows++
		if len(link.FindAllString(cells[2], -1)) == 0 {
			t.Errorf("no file is named: %s", row)
		}

		for _, m := range link.FindAllStringSubmatch(cells[2], -1) {
			content, err := os.ReadFile(m[2])
			if err != nil {
				t.Error(err)
			}
			if m[3] == "" {
				continue // all of the file
			}
			lines := strings.Split(string(content), "\n")
			n, _ := strconv.Atoi(m[3])
			if m[1] != m[2]+":"+m[3] || n > len(lines) {
				t.Errorf("%s is no %s:%s", m[0], m[2], m[3])
				continue
			}
			// What the row says of the line is the last that it quotes before the link.
			words := quoted.FindAllStringSubmatch(cells[2][:strings.Index(cells[2], m[0])], -1)
			if len(words) == 0 {
				t.Errorf("%s: nothing says what is there: %s", m[0], row)
				continue
			}
			word := words[len(words)-1][1]
			word, _, _ = strings.Cut(word[strings.LastIndexByte(word, '.')+1:], "(")
			at := 1 + slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, word) })
			if !strings.Contains(lines[n-1], word) {
				t.Errorf("%s is in line %d of %s, not in %d: %s", word, at, m[2], n, row)
			}
		}
	}
	if rows < 15 {
		t.Errorf("the table has %d rows, want all 15 of the quickstart", rows)
	}
}

// TestReload has settings that change while the service runs, and bad ones.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("log: {level: info}\ntor: {disable_start_check: true}\nscrape: {disable_start_check: true}\n")
	address, stop := start(t, "-config", path)

	for _, tt := range []struct{ settings, ready string }{
		{"log: {level: nonsense}\n", "nonsense"},
		{"log: {level: debug}\ntor: {disable_start_check: true}\nscrape: {disable_start_check: true}\n", "settings: ok"},
	} {
		write(tt.settings)
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, func() error {
			if _, body := ask(t, address+"/readyz", ""); !strings.Contains(body, tt.ready) {
				return errors.New(body)
			}
			return nil
		})
	}
	if log := stop(); !strings.Contains(log, `"msg":"the log has new settings","component":"service","level":"debug"`) {
		t.Errorf("the level was not applied: %s", log)
	}
}
