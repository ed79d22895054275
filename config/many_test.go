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
	type settings struct {
		Mail  section
		Rules []struct{ Name string }
	}

	const n = 100_000
	for _, tc := range []struct {
		name, open, item, end string
		most                  uint64 // MiB that may be allocated
	}{
		{name: "unknown keys", most: 100, open: "{", item: `"k%d":1,`, end: `"mail":{}}`},
		{name: "unknown keys beside a secret", most: 100, open: `{"mail":{`, item: `"k%d":1,`, end: `"l":1}}`},
		{name: "unknown keys in items", most: 130, open: `{"mail":{},"rules":[`, item: `{"k%d":1},`, end: `{"l":1}]}`},
		{name: "wrong items", most: 100, open: `{"mail":{"ports":[`, item: `"a%d",`, end: `1]}}`},
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
			if !ok || len(report.Problems) != 100 || report.More < n-100 || report.More > n-98 {
				t.Fatalf("Load = %.300v, want 100 problems and %d more", err, n-100)
			}
			if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > tc.most {
				t.Errorf("%d MiB were allocated for %d keys", got, n)
			}
		})
	}
}

// TestLongTexts loads documents of one long key, text or comment: what is said
// of them is short, and costs a few times the document.
func TestLongTexts(t *testing.T) {
	type settings struct {
		Name  string
		Ports []int
	}

	const size = 4 << 20
	long := strings.Repeat("x", size)
	for _, tc := range []struct{ name, ext, text string }{
		{"key", "json", `{"` + long + `":1}`},
		{"key", "yaml", "? " + long + "\n: 1\n"},
		{"key", "toml", long + " = 1\n"},
		{"table", "toml", "[" + long + "]\n"},
		{"value", "json", `{"ports":["` + long + `"]}`},
		{"value", "yaml", "ports: [" + long + "]\n"},
		{"open text of many lines", "yaml", `name: "` + strings.Repeat("\n", size)},
		{"open list of many lines", "yaml", "name: [" + strings.Repeat("\n", size)},
		{"mistake behind many items", "yaml", "ports:\n" + strings.Repeat("- 1 # x\n", 120_000) + "- [\n"},
	} {
		t.Run(tc.ext+" "+tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s."+tc.ext)
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}

			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := config.Load(t.Context(), settings{}, config.File(path))
			runtime.ReadMemStats(&after)

			if err == nil || len(err.Error()) > 1000 {
				t.Errorf("Load = an error of %d bytes: %.200v", len(fmt.Sprint(err)), err)
			}
			if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 150 {
				t.Errorf("%d MiB were allocated for %d MiB of text", got, len(tc.text)>>20)
			} else {
				t.Logf("%d MiB", got)
			}
		})
	}
}
