package deploy_test

import (
	"bufio"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// planted are places where people keep secrets, and what runs leave: none may
// get into the context that an engine is given.
var planted = []string{
	".env", ".env.prod", ".git/config", ".netrc", "secrets/token", "var/log/app.log",
	"examples/service/.env", "examples/service/secrets/tls_key", "examples/service/.git-credentials", "examples/service/var/outbox/dead.jsonl",
	"examples/shopwatch/.env", "examples/shopwatch/secrets/session_key", "examples/shopwatch/var/history.db", "examples/shopwatch/compose.override.yaml",
	"examples/shopwatch/config/config.local.yaml", "examples/fleet/.env", "examples/fleet/secrets/nats_token", "examples/fleet/secrets/tor_password",
	"examples/fleet/var/jetstream/meta", "examples/fleet/compose.override.yml", "examples/ml/.env", "examples/var/x", "examples/minimal/server.key",
	"examples/adopt/ca/ca.pem", "examples/logship/client.p12", "examples/shopwatch/internal/auth/.env.local",
}

// TestContextHoldsNoSecret reads .dockerignore as an engine does.
func TestContextHoldsNoSecret(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..")
	f, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(bufio.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}

	ignored := func(path string) bool {
		t.Helper()
		is, err := matcher.MatchesOrParentMatches(filepath.FromSlash(path))
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	for _, path := range planted {
		if !ignored(path) {
			t.Errorf("%s is in the context", path)
		}
	}

	// What the images are built from is there.
	for _, path := range []string{"go.mod", "go.sum", "config/load.go", "config/secret/secret.go", "examples/go.mod", "examples/service/config.yaml", "examples/shopwatch/config/config.yaml", "LICENSE"} {
		if ignored(path) {
			t.Errorf("%s is not in the context", path)
		}
	}
}
