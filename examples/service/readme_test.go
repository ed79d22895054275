package main_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/examples/service/internal/settings"
)

// blocks returns the README's code blocks in a language.
func blocks(t *testing.T, language string) (out []string) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, part := range strings.Split(string(text), "```") {
		if body, ok := strings.CutPrefix(part, language+"\n"); ok && i%2 == 1 {
			out = append(out, body)
		}
	}
	return out
}

// Each command of the README does what it is there for: those that start the
// service print its address and end at a signal, the others end with 0.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"my.yaml": blocks(t, "yaml")[0], "password.txt": "hunter2\n"} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	commands := 0
	for line := range strings.Lines(strings.Join(blocks(t, "sh"), "")) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "  #")
		env, command, ok := strings.Cut(line, "go run ./service")
		if !ok {
			t.Errorf("no command of the service: %q", line)
			continue
		}
		commands++
		args := strings.Fields(command)
		// A port of the test's own, and no look outside.
		serves := !slices.Contains(args, "config") && !slices.Contains(args, "-version")
		if serves {
			args = append(args, "-listen", "127.0.0.1:0", "-tor.socks", "127.0.0.1:1")
		}
		if slices.Contains(args, "-config") {
			args = append(args, "-mail.host", "127.0.0.1", "-mail.port", "1")
		}
		p := startEnv(t, dir, strings.Fields(env), args...)
		if !serves {
			if code := p.wait(); code != 0 {
				_, stderr := p.output()
				t.Errorf("%s: exit code %d\n%s", line, code, stderr)
			}
			continue
		}
		p.awaitAddress()
		if code, _ := p.terminate(); code != 0 {
			t.Errorf("%s: exit code %d", line, code)
		}
	}
	if commands < 8 {
		t.Errorf("%d commands were found", commands)
	}
}

// The settings in the README are right, and what they leave out is fail
// closed.
func TestReadmeSettings(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/my.yaml"
	if err := os.WriteFile(path, []byte(blocks(t, "yaml")[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := config.Load(t.Context(), settings.Defaults(), config.File(path))
	if err != nil {
		t.Fatal(err)
	}
	s := store.Get()
	if s.Site.Every != 15*time.Minute || s.UsesDemo() || s.Tor.Disabled || s.Scrape.Fallback.String() != "never" {
		t.Errorf("settings = %+v", s)
	}
}
