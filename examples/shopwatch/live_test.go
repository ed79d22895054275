package main_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// Settings change while the service runs; a broken file changes nothing and
// shows.
func TestSettingsFollowTheFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t, "-site.name", "flagged").awaitAddress()
	path := filepath.Join(w.dir, "config", "config.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) {
		t.Helper()
		changed := strings.Replace(string(text), old, new, 1)
		if changed == string(text) {
			t.Fatalf("nothing to change: %q", old)
		}
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.awaitPage(t, "item 3", "All parts work")

	edit("every: 300ms", "evry: 300ms")
	p.awaitPage(t, "evry", "correct the settings")
	before := len(p.runs())
	testenv.Eventually(t, func() error {
		if len(p.runs()) <= before {
			return errors.New("no run since the settings are broken")
		}
		return nil
	})

	edit("every: 300ms", "every: 1h")
	p.awaitPage(t, "All parts work")
	testenv.Eventually(t, func() error {
		if w.logs.holds(`"schedule changed"`) == 0 {
			return errors.New("the schedule has not changed")
		}
		return nil
	})
	if status, _ := p.do(http.MethodPost, "/scrape"); status != http.StatusAccepted {
		t.Errorf("POST /scrape = %d", status)
	}

	edit("shutdown_timeout: 10s", "shutdown_timeout: 10s\nlog: {level: debug}")
	testenv.Eventually(t, func() error {
		if p.do(http.MethodPost, "/scrape"); w.logs.holds(`"item seen"`) == 0 {
			return errors.New("no debug line")
		}
		return nil
	})

	edit("workers: 4", "workers: 3")
	testenv.Eventually(t, func() error {
		if w.logs.holds("at the next start") == 0 {
			return errors.New("the log does not say that a restart is needed")
		}
		return nil
	})
	if code, _ := p.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A log receiver that is down does not hold up the stop, and has every line
// after the next start.
func TestTerminateWithDeadLogReceiver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.logs.mu.Lock()
	w.logs.down = true
	w.logs.mu.Unlock()
	p := w.start(t, "-log.console.format", "json").awaitAddress()
	p.awaitPage(t, "item 3", "lines wait", "see ship.url")
	if status, body := p.get("/readyz"); status != http.StatusOK {
		t.Errorf("readyz = %d %s", status, body)
	}
	code, took := p.terminate()
	if code != 0 || took > stopBound() {
		t.Errorf("exit code %d after %v", code, took)
	}
	if n := w.logs.holds(); n != 0 {
		t.Fatalf("%d lines were confirmed by a receiver that is down", n)
	}
	stdout, _ := p.output()
	w.logs.mu.Lock()
	w.logs.down = false
	w.logs.mu.Unlock()
	w.start(t).awaitAddress()
	testenv.Eventually(t, func() error {
		if lost, total := w.logs.lost(t, stdout); len(lost) > 0 {
			return fmt.Errorf("%d of %d lines are not there, the first: %s", len(lost), total, lost[0])
		}
		return nil
	})
}

func TestConfigCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"config", "check"}, 0, "ok:"},
		{[]string{"-profile", "prod", "config", "check"}, 1, "site.url"},
		{[]string{"-profile", "prod", "-site.url", "https://shop.example/", "config", "get", "site.url"}, 0, "https://shop.example/"},
		{[]string{"config", "explain", "site.every"}, 0, "config.dev.yaml"},
	} {
		p := start(t, dir, tt.args...)
		code := p.wait()
		stdout, stderr := p.output()
		if code != tt.code || !strings.Contains(stdout+stderr, tt.want) {
			t.Errorf("%v: exit code %d, want %d, with %q:\n%s%s", tt.args, code, tt.code, tt.want, stdout, stderr)
		}
	}
}
