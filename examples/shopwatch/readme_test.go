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

// The settings of the login in the README are right.
func TestReadmeLogin(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/my.yaml"
	text := blocks(t, "yaml")[0] + blocks(t, "yaml")[1]
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := config.Load(t.Context(), settings.Defaults(), config.File(path))
	if err != nil {
		t.Fatal(err)
	}
	if a := store.Get().Auth; !a.Enabled() || a.WriteScope == a.Scope || a.PublicURL == "" || len(a.Users) != 1 {
		t.Errorf("auth = %+v", a)
	}
}
