package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv("CONFIG_TEST_CHILD"); mode != "" {
		if mode == "mounts" || mode == "noinotify" {
			os.Exit(childNamespace(mode, os.Getenv("CONFIG_TEST_FILE")))
		}
		os.Exit(child(mode, os.Getenv("CONFIG_TEST_FILE")))
	}
	goleak.VerifyTestMain(m)
}

// write makes a file in a folder of the test and returns its path.
func write(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
