//go:build docker

package deploy_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// TestDockerContextHoldsNoSecret has an engine build an image of all that it is
// given, with a secret in each place where people keep one.
func TestDockerContextHoldsNoSecret(t *testing.T) {
	engine := testenv.Require(t, "docker")
	const canary = "canary-5b1e-of-the-context"
	dir := t.TempDir()
	files := map[string]string{"Dockerfile": "FROM scratch\nCOPY . .\n", "kept.txt": "kept"}
	for _, path := range planted {
		files[path] = canary
	}
	rules, err := os.ReadFile(filepath.Join("..", "..", "..", ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	files[".dockerignore"] = string(rules)
	for path, text := range files {
		path = filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	const image = "svcblocks-context-test"
	docker(t, "build", "--quiet", "--tag", image, dir)
	t.Cleanup(func() { docker(t, "rmi", "--force", image) })
	if history := docker(t, "history", "--no-trunc", image); strings.Contains(history, canary) {
		t.Errorf("the history shows a secret:\n%s", history)
	}
	id := docker(t, "create", "--network", "none", image, "/none")
	t.Cleanup(func() { remove(t, id) })
	out, err := engine.Command("export", id).Output()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out, []byte(canary)) {
		t.Error("a secret is in the image")
	}
	if !bytes.Contains(out, []byte("kept.txt")) {
		t.Error("nothing is in the image: the test says nothing")
	}
}
