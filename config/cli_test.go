package config_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/config"
)

var update = flag.Bool("update", false, "write the golden files")

type documented struct {
	Mode   string `required:"true" oneof:"dev|prod" doc:"what the service runs as"`
	Listen string `doc:"address to listen on"`
	Scrape struct {
		RotateEvery int           `min:"1" max:"100" doc:"requests | before a new identity"`
		Timeout     time.Duration `min:"1s"`
		Agents      []string      `max:"3"`
		Ratio       *float64
		Big         uint64 `min:"0x10"`
	} `doc:"how pages are fetched"`
	Mail *struct {
		Password config.Secret `doc:"of the mailbox"`
		Level    map[string]int
	}
	Size config.Bytes
	Hook func()
}

func documentedDefaults() documented {
	d := documented{Mode: "dev", Listen: ":8080", Size: 64 << 20}
	d.Scrape.RotateEvery, d.Scrape.Agents = 25, []string{"a", "b c"}
	return d
}

func TestGenerate(t *testing.T) {
	t.Parallel()
	def := documentedDefaults()
	schema, err := config.Schema(def)
	must(t, err)
	env, err := config.EnvExample(def, config.Env("APP"))
	must(t, err)
	doc, err := config.Doc(def)
	must(t, err)
	for name, got := range map[string]string{"schema.json": string(schema), "example.env": env, "keys.md": doc} {
		path := filepath.Join("testdata", name)
		if *update {
			must(t, os.MkdirAll("testdata", 0o755))
			must(t, os.WriteFile(path, []byte(got), 0o644))
		}
		if diff := cmp.Diff(readAll(t, path), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if !json.Valid(schema) {
		t.Error("the schema is no JSON")
	}
	if _, err := config.Schema(3); err == nil {
		t.Error("a schema of a number")
	}
	// The example, with its comment signs taken away, loads.
	var pairs []string
	for line := range strings.Lines(env) {
		line = strings.TrimSpace(strings.TrimPrefix(line, "# "))
		if strings.HasPrefix(line, "APP_") && !strings.HasSuffix(line, "=") {
			pairs = append(pairs, line)
		}
	}
	example := write(t, t.TempDir(), ".env", strings.Join(pairs, "\n"))
	s := load(t, documented{}, config.DotEnv(example), config.Env("APP"), config.Environ())
	if diff := cmp.Diff(def, *s.Get(), cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Hook" }, cmp.Ignore())); diff != "" {
		t.Errorf("the example loads as (-want +got):\n%s", diff)
	}
}

func TestMainCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := write(t, dir, "s.yaml", "mode: prod # live\nmail: {password: canary-pw, level: {a: 1}}\n")
	broken := write(t, dir, "broken.yaml", "mode: live\nlistn: x\n")
	readOnly := write(t, dir, "ro.yaml", "mode: dev\n")
	must(t, os.Chmod(readOnly, 0o444))
	def := documentedDefaults()
	for _, tc := range []struct {
		name, file, args string
		code             int
		stdout, stderr   string
	}{
		{"check", file, "check", config.ExitOK, "ok: 10 keys\n", ""},
		{"check, broken", broken, "check", config.ExitInvalid, "", "config: load: 2 problems:\n  " + broken + ":1:7: mode"},
		{"explain", file, "explain", config.ExitOK, "file " + file + ":1:7", ""},
		{"explain one", file, "explain scrape", config.ExitOK, "scrape.rotate_every", ""},
		{"explain json", file, "explain -json mode", config.ExitOK, `"Overrode": [`, ""},
		{"get", file, "get mode", config.ExitOK, "prod\n", ""},
		{"get a variable's", file, "get listen", config.ExitOK, ":9090\n", ""},
		{"get section", file, "get mail", config.ExitOK, "mail.password: [redacted]\nmail.level.a: 1\n", ""},
		{"get nothing", file, "get mod", config.ExitUsage, "", "did you mean \"mode\"?"},
		{"set", file, "set scrape.rotate_every 30", config.ExitOK, "", ""},
		{"set wrong", file, "set scrape.rotate_every 3000", config.ExitInvalid, "", "from 1 to 100"},
		{"set unknown", file, "set nothing 1", config.ExitUsage, "", "unknown key"},
		{"set secret", file, "set mail.password x", config.ExitRefused, "", "a secret is not written"},
		{"set overridden", file, "set listen x", config.ExitRefused, "", "overridden by env APP_LISTEN"},
		{"set read-only", readOnly, "set mode prod", config.ExitWrite, "", "read-only"},
		{"schema", broken, "schema", config.ExitOK, `"$schema"`, ""},
		{"env", broken, "env", config.ExitOK, "APP_SCRAPE_ROTATE_EVERY=25", ""},
		{"docs", broken, "docs", config.ExitOK, "| `mode` |", ""},
		{"help", file, "help", config.ExitOK, "Usage:", ""},
		{"nothing", file, "", config.ExitUsage, "", "Usage:"},
		{"unknown command", file, "dance", config.ExitUsage, "", "config: unknown command \"dance\"\n\nUsage:"},
		{"too many", file, "check it", config.ExitUsage, "", "config: check: 1 arguments after it, want 0\n\nUsage:"},
		{"unknown flag", file, "check -x", config.ExitUsage, "", "Usage:"},
	} {
		t.Run(tc.name, func(t *testing.T) { // one after the other: they share the file
			var stdout, stderr bytes.Buffer
			code := config.Command(t.Context(), def, strings.Fields(tc.args), &stdout, &stderr,
				config.File(tc.file, config.Writable()), config.Env("APP"), config.Environ("APP_LISTEN=:9090"))
			if code != tc.code || !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) {
				t.Errorf("exit %d, want %d\nstdout: %s\nstderr: %s", code, tc.code, stdout.String(), stderr.String())
			}
			if strings.Contains(stdout.String()+stderr.String(), "canary") {
				t.Error("the secret is shown")
			}
		})
	}
	if got := readAll(t, file); !strings.HasSuffix(got, "scrape:\n  rotate_every: 30\n") || !strings.HasPrefix(got, "mode: prod # live\n") {
		t.Errorf("file:\n%s", got)
	}
}
