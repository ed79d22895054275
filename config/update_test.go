package config_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

type updatable struct {
	Mode   string `oneof:"dev|prod"`
	Scrape struct {
		RotateEvery int           `min:"1" max:"100"`
		Wait        time.Duration `max:"1h"`
		Agents      []string
		Size        config.Bytes
	}
	Labels map[string]string
	Ratio  float64
	Token  config.Secret
	Mail   *struct{ Host string }
}

const updatableYAML = `# the service
mode: dev   # or prod

scrape:
  # every so many pages
  rotate_every: 25
  wait: 90s
  agents:
    - one   # first
    - two
labels:
  a: "1"
  b: "2"
`

func readAll(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), "s.yaml", updatableYAML)
	s := load(t, updatable{}, config.File(path, config.Writable()), config.Env("APP"), config.Environ())
	var seen []string
	stop := config.OnChange(s, func(u *updatable) int { return u.Scrape.RotateEvery }, func(old, now int) { seen = append(seen, fmt.Sprint(old, now)) })
	defer stop()
	must(t, s.Update(t.Context(), func(u *updatable) error {
		u.Mode, u.Scrape.RotateEvery, u.Ratio = "prod", 50, 0.5
		u.Labels["c"] = "x"
		delete(u.Labels, "a")
		return nil
	}))
	want := strings.NewReplacer("mode: dev", "mode: prod", "every: 25", "every: 50", "  a: \"1\"\n", "").Replace(updatableYAML) + "  c: x\nratio: 0.5\n"
	if diff := cmp.Diff(want, readAll(t, path)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	if got := s.Get(); got.Scrape.RotateEvery != 50 || got.Labels["c"] != "x" || len(got.Labels) != 2 || got.Scrape.Wait != 90*time.Second {
		t.Errorf("settings %+v", got)
	}
	if diff := cmp.Diff([]string{"25 50"}, seen); diff != "" {
		t.Errorf("OnChange (-want +got):\n%s", diff)
	}
	must(t, s.Update(t.Context(), func(u *updatable) error { u.Mail = &struct{ Host string }{"mx"}; return nil }))
	if got := readAll(t, path); got != want+"mail:\n  host: mx\n" {
		t.Errorf("file:\n%s", got)
	}
}

// TestSetAfterRemoval: an optional file is made again, another one is missed.
func TestSetAfterRemoval(t *testing.T) {
	t.Parallel()
	for _, optional := range []bool{true, false} {
		path := write(t, t.TempDir(), "s.yaml", "mode: dev\n")
		opts := []config.FileOption{config.Writable()}
		if optional {
			opts = append(opts, config.Optional())
		}
		s := load(t, updatable{}, config.File(path, opts...))
		must(t, os.Remove(path))
		err := s.Set(t.Context(), "scrape.rotate_every", "7")
		var failed *config.WriteError
		switch {
		case !optional:
			if !errors.As(err, &failed) || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("error %v, want a WriteError that the file is missing", err)
			}
		case err != nil:
			t.Error(err)
		case readAll(t, path) != "scrape:\n  rotate_every: 7\n" || s.Get().Mode != "":
			t.Errorf("file %q, settings %+v", readAll(t, path), s.Get())
		}
	}
}

// TestUpdatePanics: a server's handler may recover from what its function does.
func TestUpdatePanics(t *testing.T) {
	t.Parallel()
	s := load(t, updatable{}, config.File(write(t, t.TempDir(), "s.yaml", updatableYAML), config.Writable()))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		_ = s.Update(t.Context(), func(*updatable) error { panic("mine") })
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Set(ctx, "mode", "prod") }()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(20 * time.Second):
		cancel()
		t.Errorf("the store is stuck: %v", <-done)
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ key, value, want string }{
		{"scrape.rotate_every", "50", "  rotate_every: 50\n"},
		{"scrape.rotate_every", "0x10", "  rotate_every: 16\n"},
		{"scrape.wait", "3m", "  wait: 3m\n"},
		{"scrape.size", "64MiB", "  size: 64MiB\n"},
		{"scrape.agents", "x, y z", "  agents:\n    - x   # first\n    - y z\nlabels"},
		{"scrape.agents", `["a,b"]`, "  agents:\n    - \"a,b\"   # first\nlabels"},
		{"labels.a", "no", "  a: \"no\"\n"},
		{"labels.new", "2.0", "  new: \"2.0\"\n"},
		{"labels", `{"new":"1"}`, "  new: \"1\"\n"},
		{"labels", `{"a":null}`, "labels:\n  b: \"2\"\n"},
		{"mode", "prod", "mode: prod   # or prod\n"},
		{"token", "ref+env://TOKEN", "token: ref+env://TOKEN\n"},
		{"ratio", "1e-3", "ratio: 0.001\n"},
	} {
		t.Run(tc.key+"="+tc.value, func(t *testing.T) {
			t.Parallel()
			path := write(t, t.TempDir(), "s.yaml", updatableYAML)
			s := load(t, updatable{}, config.File(path, config.Writable()), config.Environ("TOKEN=canary-value"))
			must(t, s.Set(t.Context(), tc.key, tc.value))
			if got := readAll(t, path); !strings.Contains(got, tc.want) {
				t.Errorf("file has no %q:\n%s", tc.want, got)
			}
			again := load(t, updatable{}, config.File(path), config.Environ("TOKEN=canary-value"))
			if diff := cmp.Diff(*s.Get(), *again.Get()); diff != "" {
				t.Errorf("the file says something else (-store +file):\n%s", diff)
			}
		})
	}
}

func TestUpdateRefuses(t *testing.T) {
	t.Parallel()
	type U = updatable
	for _, tc := range []struct {
		name   string
		change func(ctx context.Context, s *config.Store[U]) error
		check  func(error) bool
		text   string
	}{
		{
			"out of range", func(ctx context.Context, s *config.Store[U]) error { return s.Set(ctx, "scrape.rotate_every", "1000") },
			isReport, ":6:17: scrape.rotate_every: got 1000",
		},
		{
			"wrong type", func(ctx context.Context, s *config.Store[U]) error { return s.Set(ctx, "scrape.wait", "soon") },
			isReport, `config: set scrape.wait: scrape.wait: got "soon", want a duration`,
		},
		{
			"not one of", func(ctx context.Context, s *config.Store[U]) error {
				return s.Update(ctx, func(u *U) error { u.Mode = "x"; u.Scrape.RotateEvery = 3; return nil })
			},
			isReport, "one of dev, prod",
		},
		{
			"unknown key", func(ctx context.Context, s *config.Store[U]) error { return s.Set(ctx, "scrape.rotate_evry", "1") },
			func(err error) bool { return errors.Is(err, config.ErrUnknownKey) },
			`did you mean "scrape.rotate_every"?`,
		},
		{
			"a section", func(ctx context.Context, s *config.Store[U]) error { return s.Set(ctx, "scrape", "1") },
			func(err error) bool { return errors.Is(err, config.ErrUnknownKey) },
			"section",
		},
		{
			"a secret by name", func(ctx context.Context, s *config.Store[U]) error { return s.Set(ctx, "token", "canary-hunter2") },
			func(err error) bool { return errors.Is(err, config.ErrSecret) },
			"set token",
		},
		{
			"a secret by value", func(ctx context.Context, s *config.Store[U]) error {
				return s.Update(ctx, func(u *U) error { return u.Token.UnmarshalText([]byte("canary-hunter2")) })
			},
			func(err error) bool { return errors.Is(err, config.ErrSecret) },
			"update token",
		},
		{
			"a resolved value", func(ctx context.Context, s *config.Store[U]) error { return s.Set(ctx, "labels.ref", "x") },
			func(err error) bool { return errors.Is(err, config.ErrSecret) },
			"ref+env://REF",
		},
		{
			"the function's own error", func(ctx context.Context, s *config.Store[U]) error {
				return s.Update(ctx, func(u *U) error { u.Ratio = 9; return errToday })
			},
			func(err error) bool { return errors.Is(err, errToday) },
			"config: update: not today",
		},
		{
			"a variable above", func(ctx context.Context, s *config.Store[U]) error { return s.Set(ctx, "ratio", "3") },
			overriddenBy("ratio", config.Origin{Layer: "env", Name: "APP_RATIO"}), "APP_RATIO",
		},
		{
			"a variable above, in Update", func(ctx context.Context, s *config.Store[U]) error {
				return s.Update(ctx, func(u *U) error { u.Scrape.RotateEvery = 3; u.Ratio = 3; return nil })
			},
			overriddenBy("ratio", config.Origin{Layer: "env", Name: "APP_RATIO"}), "APP_RATIO",
		},
		{
			"an entry above", func(ctx context.Context, s *config.Store[U]) error { return s.Set(ctx, "labels.b", "3") },
			overriddenBy("labels.b", config.Origin{Layer: "env", Name: "APP_LABELS"}), "APP_LABELS",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			before := updatableYAML + "  ref: ref+env://REF\n"
			path := write(t, t.TempDir(), "s.yaml", before)
			s := load(t, U{}, config.File(path, config.Writable()), config.Env("APP"),
				config.Environ("APP_RATIO=1", `APP_LABELS={"b":"9"}`, "REF=canary-resolved"))
			was := s.Get()
			err := tc.change(t.Context(), s)
			if err == nil || !tc.check(err) || !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "canary") {
				t.Errorf("error %v, want one with %q", err, tc.text)
			}
			if got := readAll(t, path); got != before {
				t.Errorf("the file changed:\n%s", got)
			}
			if s.Get() != was {
				t.Error("the settings changed")
			}
		})
	}
}

var errToday = errors.New("not today")

func isReport(err error) bool {
	var r *config.Report
	return errors.As(err, &r)
}

func overriddenBy(key string, origin config.Origin) func(error) bool {
	return func(err error) bool {
		var o *config.OverriddenError
		return errors.As(err, &o) && o.Key == key && o.Origin == origin
	}
}

// TestResolvedReferenceStaysOut changes other keys of a file that holds
// references.
func TestResolvedReferenceStaysOut(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), "s.yaml", "token: ref+env://TOKEN\nmode: dev\nlabels: {x: ref+env://LABEL}\n")
	s := load(t, updatable{}, config.File(path, config.Writable()), config.Environ("TOKEN=canary-1", "LABEL=canary-2"))
	must(t, s.Update(t.Context(), func(u *updatable) error { u.Mode = "prod"; u.Labels["y"] = "z"; return nil }))
	if got := readAll(t, path); strings.Contains(got, "canary") || !strings.Contains(got, "labels: {x: ref+env://LABEL, \"y\": z}") {
		t.Errorf("file:\n%s", got)
	}
	if s.Get().Token.Reveal() != "canary-1" || s.Get().Labels["x"] != "canary-2" {
		t.Errorf("settings %+v", s.Get())
	}
}

func TestWriteErrors(t *testing.T) {
	t.Parallel()
	testenv.Modes(t)
	path := write(t, t.TempDir(), "s.yaml", updatableYAML)
	s := load(t, updatable{}, config.File(path))
	if err := s.Set(t.Context(), "mode", "prod"); !errors.Is(err, config.ErrNotWritable) {
		t.Errorf("without Writable: %v", err)
	}
	s = load(t, updatable{}, config.File(path, config.Writable()))
	must(t, os.Chmod(path, 0o444))
	var failed *config.WriteError
	if err := s.Set(t.Context(), "mode", "prod"); !errors.As(err, &failed) || !errors.Is(err, fs.ErrPermission) || failed.Path != path {
		t.Errorf("a read-only file: %v", err)
	}
	if readAll(t, path) != updatableYAML || s.Get().Mode != "dev" {
		t.Error("the file or the settings changed")
	}
	must(t, os.Chmod(path, 0o640))
	must(t, s.Set(t.Context(), "mode", "prod"))
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, want 0640", info.Mode().Perm())
	}
}

func TestUpdateThroughLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target := write(t, dir, "real/s.yaml", "n: 1\n")
	link := filepath.Join(dir, "s.yaml")
	testenv.Symlink(t, target, link)
	s := load(t, watched{}, config.File(link, config.Writable()))
	must(t, s.Set(t.Context(), "n", "2"))
	if readAll(t, target) != "n: 2\n" {
		t.Errorf("the linked file holds %q", readAll(t, target))
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
}

func TestUpdateCreatesOptionalFile(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"s.yaml", "s.toml", "s.json", "s.jsonc"} {
		path := filepath.Join(t.TempDir(), name)
		s := load(t, updatable{}, config.File(path, config.Optional(), config.Writable()))
		must(t, s.Set(t.Context(), "scrape.rotate_every", "7"))
		must(t, s.Set(t.Context(), "mode", "dev"))
		again := load(t, updatable{}, config.File(path))
		if again.Get().Scrape.RotateEvery != 7 || again.Get().Mode != "dev" {
			t.Errorf("%s holds %q", name, readAll(t, path))
		}
	}
}

func TestOnChangeMayUseStore(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), "s.yaml", "n: 1\n")
	s := load(t, watched{}, config.File(path, config.Writable()))
	var got []string
	stop := config.OnChange(s, func(w *watched) int { return w.N }, func(old, now int) {
		got = append(got, fmt.Sprintf("%d-%d", old, now))
		if now < 4 {
			if err := s.Set(context.Background(), "n", fmt.Sprint(now+1)); err != nil {
				t.Error(err)
			}
		}
	})
	must(t, s.Set(t.Context(), "n", "2"))
	stop()
	stop()
	must(t, s.Set(t.Context(), "n", "9"))
	if diff := cmp.Diff([]string{"1-2", "2-3", "3-4"}, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

// TestNumstat sets one scalar in commented documents of 300 lines and asks git
// how many lines differ.
func TestNumstat(t *testing.T) {
	t.Parallel()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Logf("git is not here: counting lines instead")
	}
	type settings struct {
		Parts map[string]map[string]int
	}
	documents := map[string]func(b *bytes.Buffer){
		"s.yaml": func(b *bytes.Buffer) {
			b.WriteString("# settings\nparts:\n")
			for i := range 74 {
				fmt.Fprintf(b, "  # part %d\n  p%d:\n    one: %d   # number\n    two: 0x%x\n", i, i, i, i)
			}
			b.WriteString("# end\n\n")
		},
		"s.jsonc": func(b *bytes.Buffer) {
			b.WriteString("{\n  \"parts\": {\n")
			for i := range 73 {
				fmt.Fprintf(b, "    // part %d\n    \"p%d\": {\"one\": %d, // {\n      \"two\": %d /* , */\n    },\n", i, i, i, i)
			}
			b.WriteString("  }, /* end */\n  // done\n}\n\n\n")
		},
		"s.toml": func(b *bytes.Buffer) {
			b.WriteString("# settings\n")
			for i := range 74 {
				fmt.Fprintf(b, "[parts.p%d] # part\none = %d # number\n'two' = 0x%x\n\n", i, i, i)
			}
			b.WriteString("# end\n\n\n")
		},
	}
	for name, generate := range documents {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			generate(&b)
			dir := t.TempDir()
			before, path := write(t, dir, "before", b.String()), write(t, dir, name, b.String())
			if n := strings.Count(b.String(), "\n"); n < 295 || n > 305 {
				t.Fatalf("%d lines", n)
			}
			s := load(t, settings{}, config.File(path, config.Writable()))
			must(t, s.Update(t.Context(), func(v *settings) error { v.Parts["p40"]["one"] = 4711; return nil }))
			if s.Get().Parts["p40"]["one"] != 4711 {
				t.Error("not set")
			}
			was, now := strings.Split(b.String(), "\n"), strings.Split(readAll(t, path), "\n")
			differ := 0
			for i := range min(len(was), len(now)) {
				if was[i] != now[i] {
					differ++
				}
			}
			if differ != 1 || len(was) != len(now) {
				t.Errorf("%d lines differ, of %d and %d", differ, len(was), len(now))
			}
			if git != "" {
				out, _ := exec.Command(git, "diff", "--no-index", "--numstat", before, path).Output()
				if !strings.HasPrefix(string(out), "1\t1\t") {
					t.Errorf("git diff --numstat: %s", out)
				}
			}
		})
	}
}

// TestOnChangeIgnoresFunctions follows a part that holds what is no key.
func TestOnChangeIgnoresFunctions(t *testing.T) {
	t.Parallel()
	type part struct {
		N      int
		OnDone func()
	}
	type settings struct {
		Part  part
		Other int
	}
	path := write(t, t.TempDir(), "s.yaml", "other: 1\n")
	s := load(t, settings{Part: part{OnDone: func() {}}}, config.File(path, config.Writable()))
	calls := 0
	stop := config.OnChange(s, func(v *settings) part { return v.Part }, func(_, _ part) { calls++ })
	defer stop()
	before := s.Get()
	must(t, s.Reload(t.Context()))
	if s.Get() != before {
		t.Error("a reload that changed nothing gave another snapshot")
	}
	must(t, s.Set(t.Context(), "other", "2"))
	if calls != 0 {
		t.Error("OnChange ran although the part is the same")
	}
	must(t, s.Set(t.Context(), "part.n", "2"))
	if calls != 1 || s.Get().Part.OnDone == nil {
		t.Errorf("OnChange ran %d times, want once", calls)
	}
}
