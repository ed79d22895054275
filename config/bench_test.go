package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/config"
)

// benchSettings has 105 keys in 15 sections.
type benchSettings struct {
	S0, S1, S2, S3, S4, S5, S6, S7, S8, S9, S10, S11, S12, S13, S14 benchSection
}

type benchSection struct {
	Name    string
	Enabled bool
	Count   int
	Ratio   float64
	Host    string
	Port    int
	Note    string
}

// benchDocument writes the 105 keys in a format.
func benchDocument(format string) string {
	var b strings.Builder
	if format == "json" {
		b.WriteString("{\n")
	}
	for i := range 15 {
		switch format {
		case "yaml":
			fmt.Fprintf(&b, "s%d:\n  name: section %d\n  enabled: true\n  count: %d\n  ratio: 0.5\n  host: host%d.example\n  port: 80%02d\n  note: \"a note\"\n", i, i, i, i, i)
		case "toml":
			fmt.Fprintf(&b, "[s%d]\nname = \"section %d\"\nenabled = true\ncount = %d\nratio = 0.5\nhost = \"host%d.example\"\nport = 80%02d\nnote = \"a note\"\n", i, i, i, i, i)
		case "json":
			comma := ","
			if i == 14 {
				comma = ""
			}
			fmt.Fprintf(&b, "  \"s%d\": {\"name\": \"section %d\", \"enabled\": true, \"count\": %d, \"ratio\": 0.5, \"host\": \"host%d.example\", \"port\": 80%02d, \"note\": \"a note\"}%s\n", i, i, i, i, i, comma)
		}
	}
	if format == "json" {
		b.WriteString("}\n")
	}
	return b.String()
}

func BenchmarkLoad(b *testing.B) {
	for _, format := range []string{"yaml", "json", "toml"} {
		b.Run("format="+format, func(b *testing.B) {
			path := write(b, b.TempDir(), "s."+format, benchDocument(format))
			b.ReportAllocs()
			for b.Loop() {
				s, err := config.Load(b.Context(), benchSettings{}, config.File(path))
				if err != nil || s.Get().S14.Port != 8014 {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := load(b, benchSettings{})
	b.ReportAllocs()
	sum := 0
	for b.Loop() {
		sum += s.Get().S7.Count
	}
	if sum != 0 {
		b.Fatal(sum)
	}
}

func TestAllocations(t *testing.T) {
	s := load(t, benchSettings{})
	if n := testing.AllocsPerRun(1000, func() { _ = s.Get().S7.Count }); n != 0 {
		t.Errorf("Get allocates %v times, want 0", n)
	}
	for format, ceiling := range map[string]float64{"yaml": 2000, "json": 900, "toml": 1200} {
		path := write(t, t.TempDir(), "s."+format, benchDocument(format))
		n := testing.AllocsPerRun(20, func() { load(t, benchSettings{}, config.File(path)) })
		if n > ceiling {
			t.Errorf("Load of 105 keys in %s allocates %v times, want at most %v", format, n, ceiling)
		}
		t.Logf("%s: %v allocations", format, n)
	}
}
