package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/logging"
)

// screen is an output that is read while it is written.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// openLog opens a log with small segments.
func openLog(t *testing.T, path string) *logging.File {
	t.Helper()
	f, err := logging.OpenFile(&logging.FileOptions{Path: path, MaxSegmentBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// segments returns the sealed segments in dir, oldest first.
func segments(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "app-*.log"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// numbered returns the numbers of the events in out.
func numbered(out string) []string {
	var got []string
	for _, m := range regexp.MustCompile(`event (\d+)`).FindAllStringSubmatch(out, -1) {
		got = append(got, m[1])
	}
	return got
}

// Over 40 segments and an active file that grows, every line is shown once and
// in order, while files are sealed, and removed as a shipper removes them.
func TestTailFollows(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]int{"sealed": 1000, "sealed and removed": 2} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			f := openLog(t, filepath.Join(dir, "app.log"))
			var want []string
			write := func() {
				n := fmt.Sprint(len(want))
				want = append(want, n)
				if _, err := fmt.Fprintf(f, `{"time":%q,"level":"INFO","msg":"event %s"}`+"\n", time.Now().Format(time.RFC3339Nano), n); err != nil {
					t.Fatal(err)
				}
			}
			for len(segments(t, dir)) < 45 {
				for range 10 {
					write()
				}
			}

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var out, stderr screen
			ended := make(chan error)
			go func() { ended <- run(ctx, []string{"tail", "-f", "-dir", dir}, os.Getenv, &out, &stderr) }()
			synctest.Wait()

			for i := range 1000 {
				write()
				time.Sleep(5 * time.Millisecond) // of the bubble's clock: a segment lasts for some 250 ms
				if i%10 > 0 {
					continue
				}
				if all := segments(t, dir); len(all) > keep {
					for _, path := range all[:len(all)-keep] {
						if err := os.Remove(path); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			time.Sleep(2 * listEvery)
			synctest.Wait()
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(want, numbered(out.String())); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			if stderr.String() != "" {
				t.Errorf("%s: %s", name, stderr.String())
			}
		})
	}
}

// A file that was sealed and removed between two looks at the folder is read to
// its end, before what came after it.
func TestTailReadsWhatIsGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := openLog(t, filepath.Join(dir, "app.log"))
	log := &follower{dir: dir, name: "app.log", tell: func(file string, err error) { t.Errorf("%s: %v", file, err) }}
	defer log.Close()
	var want, got []string
	read := func() {
		log.listed = time.Time{} // it is time to look again
		for {
			line, err := log.next()
			if errors.Is(err, io.EOF) {
				return
			}
			got = append(got, string(line))
		}
	}

	for round := range 5 {
		for _, when := range []string{"seen", "not seen"} {
			text := fmt.Sprint(round, " ", when)
			want = append(want, text)
			if _, err := f.Write([]byte(text + "\n")); err != nil {
				t.Fatal(err)
			}
			if when == "seen" {
				read()
			}
		}
		if err := f.Seal(); err != nil {
			t.Fatal(err)
		}
		for _, path := range segments(t, dir) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	read()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// What is removed before it was ever open is told.
func TestTailTellsWhatItMissed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for n := range maxOpen + 2 {
		name := fmt.Sprintf("app-20260101000000%06d-000001.log", n)
		if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, "%d\n", n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var told []string
	log := &follower{dir: dir, name: "app.log", once: true, tell: func(file string, err error) { told = append(told, fmt.Sprint(file, ": ", err)) }}
	defer log.Close()
	lines := 0
	for {
		if _, err := log.next(); err != nil {
			break
		}
		if lines++; lines == 1 {
			for _, path := range segments(t, dir) {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if lines != maxOpen || len(told) != 2 || !strings.Contains(told[0], "removed before it was read") {
		t.Errorf("%d lines, want %d; told %q", lines, maxOpen, told)
	}
}

const mixed = `{"time":"2026-03-01T10:00:00Z","level":"DEBUG","msg":"begun","component":"orders.http","n":1}
{"time":"2026-03-01T10:00:20Z","level":"WARN","msg":"slow","component":"orders.db","took":{"ms":12.50,"rows":[1,"a"]},"note":"a b"}
not JSON, with a bell` + "\a" + `
{"@timestamp":"2026-03-02T10:00:00Z","log.level":"error","message":"failed","component":"mail"}
{"time":"2026-03-02T10:00:20Z","severity":"NOTICE","message":"sent \u001b[2J","ok":true}
`

func TestTailShows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"app.log": mixed, ".app.log.queue": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	day := func(n int) string { return time.Date(2026, 3, n, 10, 0, 0, 0, time.UTC).Local().Format(time.DateOnly) }
	days := strings.NewReplacer("DAY1", day(1), "DAY2", day(2))
	clock := regexp.MustCompile(`\d\d:\d\d:\d\d\.\d\d\d ?`)
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"all": {nil, "DAY1\nDEBUG orders.http: begun n=1\nWARN  orders.db: slow took.ms=12.50 took.rows=\"[1,\\\"a\\\"]\" note=\"a b\"\n" +
			"not JSON, with a bell\uFFFD\nDAY2\nERROR mail: failed\nINFO+2 sent \\x1b[2J ok=true\n"},
		"level":     {[]string{"-level", "warning"}, "DAY1\nWARN  orders.db: slow took.ms=12.50 took.rows=\"[1,\\\"a\\\"]\" note=\"a b\"\nDAY2\nERROR mail: failed\n"},
		"component": {[]string{"-component", "mail,orders.http"}, "DAY1\nDEBUG orders.http: begun n=1\nDAY2\nERROR mail: failed\n"},
		"family":    {[]string{"-component", "orders.*", "-level", "debug", "-text", "begun"}, "DAY1\nDEBUG orders.http: begun n=1\n"},
		"since":     {[]string{"-since", "2026-03-02T10:00:10Z"}, "DAY2\nINFO+2 sent \\x1b[2J ok=true\n"},
		"until":     {[]string{"-until", "2026-03-01T10:00:10Z"}, "DAY1\nDEBUG orders.http: begun n=1\n"},
		"text":      {[]string{"-text", "J(SON|AVA)"}, "not JSON, with a bell\uFFFD\n"},
		"raw":       {[]string{"-raw", "-text", "begun"}, strings.SplitAfter(mixed, "\n")[0]},
		"color":     {[]string{"-color", "always", "-text", "failed"}, "\x1b[2mDAY2\x1b[0m\n\x1b[2m\x1b[0m \x1b[31mERROR\x1b[0m \x1b[36mmail:\x1b[0m failed\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := logship(t, append([]string{"tail", "-dir", dir}, tt.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			out = clock.ReplaceAllString(out, "")
			if diff := cmp.Diff(days.Replace(tt.want), out); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What is odd in a folder is told, and the rest is shown.
func TestTailOddEntries(t *testing.T) {
	t.Parallel()
	dir := fill(t, 100)
	for name, make := range map[string]func(path string) error{
		"app-20260101000000000000-000001.log": func(p string) error { return os.Mkdir(p, 0o700) },
		"app-20260101000000000000-000002.log": func(p string) error { return os.Symlink(filepath.Join(dir, "nowhere"), p) },
		"app~7.log":                           func(p string) error { return os.Mkdir(p, 0o700) },
		"other~1.log":                         func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		if err := make(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	var out, stderr bytes.Buffer
	if err := run(t.Context(), []string{"tail", "-dir", dir}, os.Getenv, &out, &stderr); err != nil {
		t.Fatal(err)
	}
	if n := len(numbered(out.String())); n != 100 {
		t.Errorf("%d lines, want 100", n)
	}
	if n := strings.Count(stderr.String(), "no regular file"); n != 3 {
		t.Errorf("%d odd entries told, want 3:\n%s", n, &stderr)
	}
}

// Two processes write to one log, and somebody empties the file of one.
func TestTailSeveralActive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := "app.log", "app~1.log"
	log := &follower{dir: dir, name: "app.log", tell: func(file string, err error) { t.Errorf("%s: %v", file, err) }}
	defer log.Close()
	var got []string
	step := func(name, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		log.listed = time.Time{}
		for {
			line, err := log.next()
			if err != nil {
				return
			}
			got = append(got, string(line))
		}
	}
	step(two, "a\nb\n")
	step(one, "c\n")
	step(two, "half ")
	step(one, "d\n")
	step(two, "and half\n")
	if err := os.Truncate(filepath.Join(dir, "app.log"), 0); err != nil {
		t.Fatal(err)
	}
	step(one, "e\n")
	if diff := cmp.Diff([]string{"a", "b", "c", "d", "half and half", "e"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestTailMistakes(t *testing.T) {
	t.Parallel()
	empty, two := t.TempDir(), t.TempDir()
	for _, name := range []string{".app.log.queue", "app.log", ".web.log.queue", "web.log"} {
		if err := os.WriteFile(filepath.Join(two, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for want, args := range map[string][]string{
		"-dir is required":        {},
		"there is no log in":      {"-dir", empty},
		"-name: app.log, web.log": {"-dir", two},
		"is no level":             {"-dir", two, "-level", "loud"},
		"is no time":              {"-dir", two, "-since", "yesterday"},
		"missing closing":         {"-dir", two, "-text", "("},
		"none of auto":            {"-dir", two, "-name", "app.log", "-color", "blue"},
	} {
		if _, err := logship(t, append([]string{"tail"}, args...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("tail %q: %v, want %q", args, err, want)
		}
	}
}
