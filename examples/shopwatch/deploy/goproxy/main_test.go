package main

import (
	"errors"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestServesTheModuleCache has Go fetch a module that is in the cache into an
// empty one, with no other proxy to ask.
func TestServesTheModuleCache(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOFLAGS", "-modcacherw")
	cache := filepath.Join(t.TempDir(), "cache")
	err := run([]string{"env", "GOMODCACHE=" + cache, "GONOSUMDB=*", "go", "mod", "download", "go.uber.org/goleak@v1.3.0"})
	if err != nil {
		t.Error(err)
	}
	if err := run([]string{"env", "GOMODCACHE=" + cache, "GONOSUMDB=*", "go", "mod", "download", "go.uber.org/goleak@v0.0.0-none"}); err == nil {
		t.Error("a module that is nowhere was found")
	}
}

func TestExitCode(t *testing.T) {
	t.Parallel()
	if err := run(nil); err == nil {
		t.Error("no command, no error")
	}
	err := run([]string{"go", "no-such-command"})
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 {
		t.Errorf("run = %v", err)
	}
}
