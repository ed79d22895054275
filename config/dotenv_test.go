package config_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

type dotted struct {
	Host  string
	Text  string
	Many  string
	N     int
	Wait  time.Duration `default:"5s" doc:"how long"`
	L     []string
	Pw    config.Secret
	Empty string
}

func TestDotEnv(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), ".env", "# a comment\nexport APP_HOST=h # not of it\nAPP_TEXT='$HOME `id` \"x\"'\nAPP_MANY=\"a\\nb\n c\" # end\n"+
		"OTHER=x\n\nAPP_L=a, b\nAPP_PW=p#w\nAPP_EMPTY=\nAPP_N=5\r\n")
	s := load(t, dotted{Empty: "e"}, config.DotEnv(path), config.Env("APP"), config.Environ("APP_N=7"))
	got := *s.Get()
	if got.Host != "h" || got.Text != "$HOME `id` \"x\"" || got.Many != "a\nb\n c" || got.N != 7 || strings.Join(got.L, "|") != "a|b" || got.Pw.Reveal() != "p#w" || got.Empty != "" {
		t.Errorf("got %+v", got)
	}
	if e, _ := s.Explain().Find("host"); e.Origin.String() != "env APP_HOST in "+path+":2" {
		t.Errorf("origin %s", e.Origin)
	}
	s = load(t, dotted{Empty: "e"}, config.DotEnv(path), config.Env("APP"), config.Environ(), config.EmptyUnset())
	if got := s.Get().Empty; got != "e" {
		t.Errorf("an empty variable gives %q", got)
	}
	load(t, dotted{}, config.DotEnv(filepath.Join(t.TempDir(), "none")), config.Env("APP"), config.Environ())

	for text, want := range map[string]string{
		"APP_HOTS=x":               `unknown variable (did you mean "APP_HOST"?)`,
		"just text":                ":1:1: a line that is no NAME=value",
		"APP_N=1\nAPP_N=2":         ":2:1: APP_N is there twice: first on line 1",
		"\nAPP_PW='" + canary:      ":2:8: a quoted value that does not end",
		"APP_PW='" + canary + "'x": ":1:8: a quoted value that does not end",
		"APP_N=x":                  `got "x", want a whole number`,
	} {
		path := write(t, t.TempDir(), ".env", text)
		_, err := config.Load(t.Context(), dotted{}, config.DotEnv(path), config.Env("APP"), config.Environ())
		wantText(t, err, want)
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%v", err)
		}
	}
}

// TestDotEnvLines reads values that go on in other lines, with the white space
// within their quotes, and goes on behind them.
func TestDotEnvLines(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"APP_TEXT=\"a  \n b\"\nAPP_HOST=h":                 "a  \n b",
		"APP_TEXT='a\r\nb' # end\r\nAPP_HOST=h\r\n":        "a\nb",
		"APP_TEXT=\"a\\\"\n\\\\\"\nAPP_HOST=h":             "a\"\n\\",
		"APP_TEXT='\n\n'\n\n# x\n  export  APP_HOST=h":     "\n\n",
		"APP_TEXT='\"\n'\nAPP_MANY='\n\"\n'\nAPP_HOST=h\n": "\"\n",
	} {
		path := write(t, t.TempDir(), ".env", text)
		s := load(t, dotted{}, config.DotEnv(path), config.Env("APP"), config.Environ())
		if got := s.Get(); got.Text != want || got.Host != "h" {
			t.Errorf("%q gives %q and %q", text, got.Text, got.Host)
		}
	}

	path := write(t, t.TempDir(), ".env", "APP_TEXT='a\nb\n'\nAPP_N=x")
	_, err := config.Load(t.Context(), dotted{}, config.DotEnv(path), config.Env("APP"), config.Environ())
	wantText(t, err, ".env:4:")
}

// TestDotEnvIsBounded reads files of megabytes that are no .env files.
func TestDotEnvIsBounded(t *testing.T) {
	const size = 4 << 20
	for _, tc := range []struct{ name, text, want string }{
		{"lines", strings.Repeat("x\n", size/2), "101 problems"},
		{"open quote", "APP_TEXT='" + strings.Repeat("\n", size), "does not end where its quote does"},
		{"one line", "APP_N=" + strings.Repeat("x", size), "want a whole number"},
		{"quotes", numbered(size/40, "OTHER%d='\n'\n"), "was not read"},
		{"variables", numbered(size/40, "APP_N%d=1\n"), "and 9901 more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, t.TempDir(), ".env", tc.text)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := config.Load(t.Context(), dotted{}, config.DotEnv(path), config.Env("APP"), config.Environ())
			runtime.ReadMemStats(&after)

			wantText(t, err, tc.want)
			if got := len(err.Error()); got > 30_000 {
				t.Errorf("an error of %d bytes", got)
			}
			if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 60 {
				t.Errorf("%d MiB were allocated", got)
			}
		})
	}
}

// numbered repeats a text with a verb for the number of the repetition.
func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// TestEnvExampleIsSafe has a real shell source the example, with every default
// that a shell could take for its own, and DotEnv read it.
func TestEnvExampleIsSafe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	def := dotted{
		Host: "p$HOME-x", Text: "`touch " + filepath.Join(dir, "ran") + "` $(touch " + filepath.Join(dir, "ran") + ") \"x\" # y", Many: "it's",
		L: []string{"x", "$HOME y"}, N: 5, Wait: time.Minute,
	}
	example, err := config.EnvExample(def, config.Env("APP"))
	must(t, err)
	lines := strings.Split(example, "\n")
	for i, line := range lines {
		if strings.Contains(line, "=") && strings.HasPrefix(line, "# APP_") && !strings.HasSuffix(line, "=") {
			lines[i] = strings.TrimPrefix(line, "# ")
		}
	}
	path := write(t, dir, ".env", strings.Join(lines, "\n"))

	want := def
	want.Many = "" // a value with a single quote has no form that all agree on
	s := load(t, dotted{}, config.DotEnv(path), config.Env("APP"), config.Environ())
	if got := *s.Get(); got.Host != want.Host || got.Text != want.Text || got.N != 5 || got.Wait != time.Minute || strings.Join(got.L, "|") != "x|$HOME y" {
		t.Errorf("DotEnv reads %+v from\n%s", got, strings.Join(lines, "\n"))
	}

	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Log("no shell here")
		return
	}
	out, err := exec.CommandContext(t.Context(), shell, "-c", `set -e; . "$1"; printf '%s|%s|%s' "$APP_HOST" "$APP_TEXT" "$APP_L"`, "sh", path).CombinedOutput()
	if err != nil || string(out) != def.Host+"|"+def.Text+`|["x", "$HOME y"]` {
		t.Errorf("the shell has %s, %v", out, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("a command of a default ran")
	}
}

func TestRefuseWritable(t *testing.T) {
	t.Parallel()
	testenv.Modes(t)
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	path := write(t, dir, "c.yaml", "n: 1\n")
	options := []config.Option{config.File(path), config.RefuseWritable()}
	s := load(t, dotted{}, options...)
	if w := s.Stats().Warnings; len(w) > 0 {
		t.Errorf("warnings of a file that nobody else may write: %v", w)
	}

	must(t, os.Chmod(path, 0o666))
	_, err := config.Load(t.Context(), dotted{}, options...)
	wantText(t, err, "everybody may write it (-rw-rw-rw-) (chmod o-w "+path+")")
	s = load(t, dotted{}, config.File(path))
	if w := s.Stats().Warnings; len(w) != 1 || w[0].Kind != config.KindInsecure {
		t.Errorf("warnings: %v", w)
	}
	must(t, os.Chmod(path, 0o664))
	load(t, dotted{}, options...)

	secrets := filepath.Join(dir, "secrets")
	write(t, secrets, "pw", "x")
	must(t, os.Chmod(secrets, 0o777))
	_, err = config.Load(t.Context(), dotted{}, config.SecretsDir(secrets), config.RefuseWritable())
	wantText(t, err, "file "+secrets+": everybody may write it (drwxrwxrwx)")
}
