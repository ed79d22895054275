package config_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/svcblocks/svcblocks/config"
)

// TestSlowWriter has a writer that is held up for longer than files rest, in the
// middle of a file that it has open, and one that never closes it.
func TestSlowWriter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.yaml")
	must(t, os.WriteFile(path, []byte(strings.Join(pieces("a", "1"), "")), 0o600))
	s := load(t, halves{}, config.File(path, config.Writable()))
	var half atomic.Bool
	config.OnChange(s, func(h *halves) halves { return *h }, func(_, now halves) {
		if now.A.Head != now.A.Tail {
			half.Store(true)
		}
	})
	defer running(t, s)()

	text := pieces("a", "2")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	defer func() { _ = f.Close() }()
	must(t, appendText(f, text[0])())

	// Run and these have the time to take the half file.
	for name, call := range map[string]func(ctx context.Context) error{
		"Reload": s.Reload,
		"Update": func(ctx context.Context) error {
			return s.Update(ctx, func(h *halves) error { h.B.Head = "new"; return nil })
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 6*resting)
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s of a file that is being written: %v, want context.DeadlineExceeded", name, err)
		}
		cancel()
	}

	must(t, appendText(f, text[1]+text[2])())
	eventually(t, "what is held open is taken in the end", func() bool { return s.Get().A.Tail == "v2" })
	must(t, f.Close())
	must(t, s.Update(t.Context(), func(h *halves) error { h.B.Head = "new"; return nil }))
	if half.Load() {
		t.Error("half a file was taken")
	}
}
