package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const measured = `peers: - Date: 2026-03-01
peers: - Command: go run ./peers
goos: linux
pkg: example.com/bench/config
BenchmarkGet/round=1/impl=ours-2         	1000	1.0 cpu-ns/op	0 B/op	0 allocs/op
BenchmarkGet/round=1/impl=koanf-2        	1000	50.0 cpu-ns/op	16 B/op	1 allocs/op
BenchmarkGet/round=2/impl=koanf-2        	1000	40.0 cpu-ns/op	16 B/op	1 allocs/op
BenchmarkGet/round=2/impl=ours-2         	1000	2.0 cpu-ns/op	0 B/op	0 allocs/op
PASS
pkg: example.com/bench/notify
BenchmarkMail/over=starttls/round=1/impl=ours-2         	1	8.000 conns/op	800 mails/s
BenchmarkMail/over=starttls/round=1/impl=raw-pipelined-4-2	1	4.000 conns/op	1600 mails/s
BenchmarkDurableSend/writers=16/round=1/impl=append-fsync-2	1	100 messages/s
BenchmarkDurableSend/writers=16/round=1/impl=ours-2	1	700 messages/s
`

func TestParse(t *testing.T) {
	t.Parallel()
	all, about, err := parse(strings.NewReader(measured))
	if err != nil {
		t.Fatal(err)
	}
	if want := "- Date: 2026-03-01\n- Command: go run ./peers\n"; about != want {
		t.Errorf("about %q, want %q", about, want)
	}
	get := all.find("config", "Get")
	if get == nil {
		t.Fatal("Get was not found")
	}
	if diff := cmp.Diff([]string{"ours", "koanf"}, get.impls); diff != "" {
		t.Errorf("implementations (-want +got):\n%s", diff)
	}
	s, ok := ratio(get.values["ours"]["cpu-ns/op"], get.values["koanf"]["cpu-ns/op"])
	want := spread{median: (1.0/50 + 2.0/40) / 2, least: 1.0 / 50, most: 2.0 / 40}
	if !ok || s != want {
		t.Errorf("ratio %v, %t; want %v", s, ok, want)
	}
	if mail := all.find("notify", "Mail/over=starttls"); mail == nil || mail.values["raw-pipelined-4"]["mails/s"] == nil {
		t.Error("a name that ends in a number was cut")
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"BenchmarkGet/round=1/impl=ours-2 1000 1.0",
		"BenchmarkGet/round=1/impl=ours-2 1000 fast ns/op",
	} {
		if _, _, err := parse(strings.NewReader(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestBars(t *testing.T) {
	t.Parallel()
	all, _, err := parse(strings.NewReader(measured))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, b := range bars {
		if s, ok := b.measure(all); ok {
			got[b.what+" "+b.peer+" "+s.String()] = b.met(s)
		}
	}
	want := map[string]bool{
		"reading a setting, ns  1.50 (1–2)":                   true,
		"reading a setting, allocations  0":                   true,
		"connections for 500 mails  8":                        true,
		"mails over STARTTLS, rate raw-pipelined-4 0.50":      false,
		"durable messages of 16 callers, rate append-fsync 7": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bars (-want +got):\n%s", diff)
	}
}

// TestBarsNameBenchmarks keeps a bar from missing what it is about, if that
// is renamed.
func TestBarsNameBenchmarks(t *testing.T) {
	t.Parallel()
	source := map[string]string{}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			source[folder] += string(text)
		}
	}
	for _, b := range bars {
		name, _, _ := strings.Cut(b.name, "/")
		text := source[b.folder]
		if !strings.Contains(text, "func Benchmark"+name+"(") {
			t.Errorf("%s: there is no Benchmark%s in %s", b.what, name, b.folder)
		}
		for _, impl := range []string{b.ours, b.peer} {
			if !strings.Contains(text, `"`+impl+`"`) {
				t.Errorf("%s: nothing in %s is called %q", b.what, b.folder, impl)
			}
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "results.txt")
	if err := os.WriteFile(file, []byte(measured), 0o600); err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(t.TempDir(), "page.md")
	var out, complaints strings.Builder
	if err := run(t.Context(), []string{"-in", file, "-write", page}, &out, &complaints); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != out.String() {
		t.Error("the page is not what was printed")
	}
	for _, want := range []string{
		"\n- Date: 2026-03-01\n- Command: go run ./peers\n\n",
		"| config | reading a setting, ns | – | ≤ 2 | 1.50 (1–2) | met |\n",
		"| notify | mails over STARTTLS, rate | raw-pipelined-4 | ≥ 0.60 | 0.50 | **missed** |\n",
		"| koanf | 0.035 (0.020–0.050) | 0, 1 |\n",
		"| raw-pipelined-4 | 8, 4 | 0.50 |\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-rounds", "0"}, {"-write", "page.md", "config"}, {"-write", "page.md", "-bench", "Get"}, {"-in", filepath.Join(t.TempDir(), "absent")}, {"-colour"}} {
		var out, complaints strings.Builder
		if err := run(t.Context(), args, &out, &complaints); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
