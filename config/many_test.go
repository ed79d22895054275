package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/config"
)

// TestManyMistakes loads a file that was meant for another program: what is said
// of it is counted, and costs no more than the file's own tree.
func TestManyMistakes(t *testing.T) {
	type section struct {
		Password config.Secret
		Ports    []int
	}
	type settings struct{ Mail section }

	const n = 100_000
	for _, tc := range []struct {
		name, open, item, end string
		opts                  []config.Option
	}{
		{name: "unknown keys", open: "{", item: `"k%d":1,`, end: `"mail":{}}`},
		{name: "unknown keys beside a secret", open: `{"mail":{`, item: `"k%d":1,`, end: `"l":1}}`},
		{name: "wrong items", open: `{"mail":{"ports":[`, item: `"a%d",`, end: `1]}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b strings.Builder
			b.WriteString(tc.open)
			for i := range n {
				fmt.Fprintf(&b, tc.item, i)
			}
			path := filepath.Join(t.TempDir(), "s.json")
			if err := os.WriteFile(path, []byte(b.String()+tc.end), 0o600); err != nil {
				t.Fatal(err)
			}

			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := config.Load(t.Context(), settings{}, config.File(path))
			runtime.ReadMemStats(&after)

			report, ok := errors.AsType[*config.Report](err)
			if !ok || len(report.Problems) != 100 || report.More < n-100 || report.More > n-99 {
				t.Fatalf("Load = %.300v, want 100 problems and %d more", err, n-100)
			}
			if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 100 {
				t.Errorf("%d MiB were allocated for %d keys", got, n)
			}
		})
	}
}
