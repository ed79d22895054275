package main_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/settings"
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

// load reads a settings file as the README has it, with the password in a file
// beside it.
func load(t *testing.T, text string) *settings.Settings {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/secrets", 0o700); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{dir + "/my.yaml": text, dir + "/secrets/mail_password": "hunter2\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store, err := config.Load(t.Context(), settings.Defaults(), config.File(dir+"/my.yaml"), config.SecretsDir(dir+"/secrets"))
	if err != nil {
		t.Fatal(err)
	}
	return store.Get()
}

// The settings in the README are right, and what they leave out is fail
// closed.
func TestReadmeSettings(t *testing.T) {
	t.Parallel()
	s := load(t, blocks(t, "yaml")[0])
	if s.Site.Every != 15*time.Minute || s.UsesDemo() || s.Tor.Disabled || s.Scrape.Fallback.String() != "never" {
		t.Errorf("settings = %+v", s)
	}
}

// The settings of the login in the README are right.
func TestReadmeLogin(t *testing.T) {
	t.Parallel()
	if a := load(t, blocks(t, "yaml")[0]+blocks(t, "yaml")[1]).Auth; !a.Enabled() || a.WriteScope == a.Scope || false || len(a.Users) != 1 {
		t.Errorf("auth = %+v", a)
	}
}
