package main

import (
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// One file, 60 lines, four blocks, and nothing of ours that others cannot
// import.
func TestSize(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines > 60 {
		t.Errorf("main.go has %d lines", lines)
	}
	f, err := parser.ParseFile(token.NewFileSet(), "main.go", text, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{"config": true, "logging": true, "notify": true, "scrape": true}
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if name, ok := strings.CutPrefix(path, "github.com/svcblocks/svcblocks/"); ok && !left[name] {
			t.Errorf("it imports %s", path)
		} else {
			delete(left, name)
		}
	}
	if len(left) > 0 {
		t.Errorf("without %v", left)
	}
}

// It works by itself, does what the settings say, and says what is wrong with
// them.
func TestRun(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "minimal")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, tt := range []struct {
		name, file string
		env        []string
		fails      bool
		want       []string
	}{
		{name: "alone", want: []string{"message: [INFO minimal@", "] page fetched: 200 OK, 5 bytes\n", "INFO  main: page fetched status=200 bytes=5"}},
		{name: "file", file: "log:\n  level: error\n", want: []string{"message: [INFO minimal@", "] page fetched: 200 OK, 5 bytes\n"}},
		{name: "no page", env: []string{"MINIMAL_URL=http://10.0.0.1/"}, fails: true, want: []string{"forbidden address"}},
		{name: "mistakes", file: "log:\n  levle: error\n", env: []string{"MINIMAL_URI=x"}, fails: true, want: []string{"minimal.yaml:2", "MINIMAL_URI"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if tt.file != "" {
				if err := os.WriteFile(filepath.Join(dir, "minimal.yaml"), []byte(tt.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(program)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), tt.env...)
			out, err := cmd.CombinedOutput()
			if (err != nil) != tt.fails {
				t.Errorf("%v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("without %q:\n%s", want, out)
				}
			}
			if tt.name == "file" && strings.Contains(string(out), "INFO  main: ") {
				t.Errorf("the level is not heeded:\n%s", out)
			}
		})
	}
}
