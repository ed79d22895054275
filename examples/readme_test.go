//go:build unix

package examples_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Each README is a test: its blocks of the language sh are run in order, by
// `sh -eu` in this folder, in a copy of the repository that the README has for
// itself. A block must end with exit code 0. A comment on the line above a block
// says what differs:
//
//	<!-- run: serves NAME=value -->
//
// serves: each line is started by itself, says the address that it serves, gets
// SIGINT as Ctrl-C sends it, and must then end with exit code 0. With
// says=REGEXP it is started once that is in its output.
// stays: as serves, but it ends after the last block. With as=URL, where URL
// stands in the blocks below is what it said instead, of the same scheme: a
// README tells the usual port, and the test takes a free one.
// fails: the block must end with another exit code than 0.
// docker: the block needs a Docker engine, and runs under the tag docker alone.
// in=FOLDER: the block runs in that folder below this one.
// NAME=value: is in the environment of this block, for what the reader does not
// care about, such as a free port.
//
//	<!-- file: my.yaml -->
//
// above a block of any language writes it to that file, for the blocks below.

// block is a fenced block of a README.
type block struct {
	line                  int // of the fence
	language, text        string
	file                  string // to be written to
	serves, fails, docker bool
	stays                 bool
	says                  *regexp.Regexp
	as                    string
	in                    string // the folder below examples
	env                   []string
}

var (
	address   = regexp.MustCompile(`https?://(127\.0\.0\.1|localhost|\[::1\]):[0-9]+`)
	directive = regexp.MustCompile(`^<!-- (run|file): *(.*?) *-->$`)
	fence     = regexp.MustCompile("^(\\s*)```+(.*)$")
	variable  = regexp.MustCompile(`^[A-Z][A-Z0-9_]*=`)
)

// commands are how lines begin that belong into a block which is run.
var commands = regexp.MustCompile(`(?m)^(\$ |sudo |cd |go |make |curl |docker|kubectl |git |export |logship )`)

// shells are languages in which a command would be shown that nobody runs.
var shells = []string{"bash", "shell", "zsh", "console", "shell-session", "sh-session", "powershell", "bat"}

// blocks parses a README.
func blocks(text string) ([]block, error) {
	var out []block
	var open *block
	var said []string
	for i, line := range strings.Split(text, "\n") {
		n := i + 1
		switch m := fence.FindStringSubmatch(line); {
		case open != nil && m != nil && strings.TrimSpace(m[2]) == "":
			if cmd := commands.FindString(open.text); cmd != "" && open.language != "sh" && open.file == "" {
				return nil, fmt.Errorf("line %d: a command (%s…) that is not run: put it into a block of sh", open.line, strings.TrimSpace(cmd))
			}
			out, open = append(out, *open), nil
		case open != nil:
			open.text += line + "\n"
		case m != nil:
			words := strings.Fields(m[2])
			open = &block{line: n}
			if len(words) > 0 {
				open.language = words[0]
			}
			switch {
			case m[1] != "" && open.language == "sh":
				return nil, fmt.Errorf("line %d: a block that is run begins in the first column", n)
			case slices.Contains(shells, open.language):
				return nil, fmt.Errorf("line %d: %s is not run: write sh, or text for what a program prints", n, open.language)
			}
			if said != nil {
				if err := open.direct(said[1], said[2]); err != nil {
					return nil, fmt.Errorf("line %d: %w", n-1, err)
				}
			}
			said = nil
		default:
			if said != nil {
				return nil, fmt.Errorf("line %d: a comment for the block below it, and there is none", n-1)
			}
			said = directive.FindStringSubmatch(line)
			if said == nil && strings.HasPrefix(line, "<!-- run") {
				return nil, fmt.Errorf("line %d: not of the form <!-- run: … -->", n)
			}
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the block does not end", open.line)
	}
	return out, nil
}

// direct takes in what the comment above a block says.
func (b *block) direct(kind, words string) error {
	if kind == "file" {
		b.file = words
		if !filepath.IsLocal(words) {
			return fmt.Errorf("file %q is not below the folder", words)
		}
		return nil
	}
	if b.language != "sh" {
		return fmt.Errorf("a block of %q is not run", b.language)
	}
	for word := range strings.FieldsSeq(words) {
		says, isSays := strings.CutPrefix(word, "says=")
		as, isAs := strings.CutPrefix(word, "as=")
		in, isIn := strings.CutPrefix(word, "in=")
		switch {
		case word == "serves":
			b.serves = true
		case word == "stays":
			b.stays = true
		case isAs && strings.Contains(as, "://"):
			b.as = as
		case isIn && filepath.IsLocal(in):
			b.in = in
		case word == "fails":
			b.fails = true
		case word == "docker":
			b.docker = true
		case isSays:
			re, err := regexp.Compile(says)
			if err != nil {
				return err
			}
			b.says = re
		case variable.MatchString(word):
			b.env = append(b.env, word)
		default:
			return fmt.Errorf("%q is none of serves, stays, fails, docker, says=…, as=URL, in=FOLDER and NAME=…", word)
		}
	}
	return nil
}

// readmes returns the blocks of every sample, by its folder.
func readmes(t *testing.T) map[string][]block {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]block{}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == "internal" || e.Name() == "var" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(e.Name(), "README.md"))
		if err != nil {
			t.Errorf("%s: each sample has a README: %v", e.Name(), err)
			continue
		}
		bs, err := blocks(string(text))
		if err != nil {
			t.Errorf("%s/README.md: %v", e.Name(), err)
			continue
		}
		out[e.Name()] = bs
	}
	if len(out) < 3 {
		t.Fatalf("only %d READMEs found", len(out))
	}
	return out
}

// commandBound is how long a command may take, which builds its program first: on
// a busy machine that takes minutes.
const commandBound = 15 * time.Minute

// Every command of every README does what it is there for.
func TestReadmes(t *testing.T) {
	t.Parallel()
	for name, bs := range readmes(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runReadme(t, name, bs, false)
		})
	}
}

// runReadme runs the blocks that need Docker, or those that do not.
func runReadme(t *testing.T, name string, bs []block, docker bool) {
	t.Helper()
	if !slices.ContainsFunc(bs, func(b block) bool { return b.language == "sh" && b.docker == docker }) {
		if !docker {
			t.Error("no command is shown")
		}
		return
	}
	root := filepath.Join(copyRepository(t), "examples")
	var usual []string // old and new, as strings.NewReplacer takes them
	for _, b := range bs {
		at := fmt.Sprintf("%s/README.md:%d", name, b.line)
		dir := filepath.Join(root, b.in)
		addresses := strings.NewReplacer(usual...)
		b.text = addresses.Replace(b.text)
		for i, kv := range b.env {
			b.env[i] = addresses.Replace(kv)
		}
		switch {
		case b.file != "":
			if err := os.WriteFile(filepath.Join(dir, b.file), []byte(b.text), 0o644); err != nil {
				t.Fatal(err)
			}
		case b.language != "sh" || b.docker != docker:
		case b.stays:
			line := strings.TrimSpace(b.text)
			c := serve(t, at, dir, line, b)
			defer end(t, at, line, c)
			if scheme, _, ok := strings.Cut(b.as, "://"); ok {
				said := regexp.MustCompile(regexp.QuoteMeta(scheme) + `://[^\s,;")/]+`).FindString(c.output())
				if said == "" {
					t.Fatalf("%s: says no %s://…\n%s", at, scheme, c.output())
				}
				usual = append(usual, b.as, said)
			}
		case b.serves:
			for line := range strings.Lines(b.text) {
				line, _, _ = strings.Cut(strings.TrimSpace(line), "  #")
				if line != "" && !strings.HasPrefix(line, "#") {
					end(t, at, line, serve(t, at, dir, line, b))
				}
			}
		default:
			script := b.text
			if docker {
				b.env = append(b.env, "README_SCRIPT="+script)
				script = inContainers
			}
			c := command(t, dir, script, b.env)
			if code := c.wait(commandBound); (code != 0) != b.fails {
				t.Fatalf("%s: exit code %d\n%s%s", at, code, b.text, c.output())
			}
		}
		if t.Failed() {
			return
		}
	}
}

// inContainers runs a block with base images that were made on this machine and
// a module proxy on loopback, as no registry and no network can be counted on,
// and with whichever Compose there is.
const inContainers = `
command -v docker-compose >/dev/null || {
  mkdir -p ../bin
  printf '#!/bin/sh\nexec docker compose "$@"\n' > ../bin/docker-compose
  chmod +x ../bin/docker-compose
  PATH=$PWD/../bin:$PATH
}
cd shopwatch/deploy
exec ../../../.ci/bases.sh go run ./goproxy sh -c 'cd ../.. && exec sh -eu -c "$README_SCRIPT"'
`

// serve starts a line and waits until it serves.
func serve(t *testing.T, at, dir, line string, b block) *running {
	t.Helper()
	// The shell waits for the program, whose exit code is its own.
	c := command(t, dir, "trap : INT\nset +e\n"+line+"\nexit $?\n", b.env)
	says := b.says
	if says == nil {
		says = address
	}
	if !c.await(says, commandBound) {
		t.Fatalf("%s: %s: does not say %s\n%s", at, line, says, c.output())
	}
	return c
}

// end ends what serve started.
func end(t *testing.T, at, line string, c *running) {
	t.Helper()
	if err := syscall.Kill(-c.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatalf("%s: %s: %v\n%s", at, line, err, c.output())
	}
	code := c.wait(time.Minute)
	switch {
	case code == 130 && strings.Contains(line, "make "):
		code = 0 // what make makes of a Ctrl-C
	case code == 1 && strings.Contains(line, "go run ") && !strings.Contains(c.output(), "exit status"):
		code = 0 // what go run makes of it, where the program ended with 0
	}
	if code != 0 {
		t.Errorf("%s: %s: exit code %d after Ctrl-C\n%s", at, line, code, c.output())
	}
}

// running is a shell in a process group of its own.
type running struct {
	t     *testing.T
	cmd   *exec.Cmd
	ended chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and replaced when text grows
}

// Write takes the output of both streams.
func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.more)
	r.more = make(chan struct{})
	return r.text.Write(p)
}

func (r *running) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func command(t *testing.T, dir, script string, env []string) *running {
	t.Helper()
	r := &running{t: t, ended: make(chan struct{}), more: make(chan struct{})}
	r.cmd = exec.Command("sh", "-eu", "-c", script)
	r.cmd.Dir = dir
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "SVC_") && !strings.HasPrefix(kv, "GOFLAGS=") {
			r.cmd.Env = append(r.cmd.Env, kv)
		}
	}
	// With -trimpath what was built for one copy of the repository serves all.
	r.cmd.Env = append(r.cmd.Env, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -trimpath"), "GOWORK=off")
	r.cmd.Env = append(r.cmd.Env, env...)
	r.cmd.Stdout, r.cmd.Stderr = r, r
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.WaitDelay = 10 * time.Second
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		_ = r.cmd.Wait() // the state says it
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) // most have ended
		<-r.ended
	})
	return r
}

// await reports whether re is in the output before the end of the process or
// of the time.
func (r *running) await(re *regexp.Regexp, bound time.Duration) bool {
	end := time.After(bound)
	for {
		r.mu.Lock()
		found, more := re.Match(r.text.Bytes()), r.more
		r.mu.Unlock()
		if found {
			return true
		}
		select {
		case <-more:
		case <-r.ended:
			return re.MatchString(r.output())
		case <-end:
			return false
		}
	}
}

// wait returns the exit code.
func (r *running) wait(bound time.Duration) int {
	r.t.Helper()
	select {
	case <-r.ended:
		return r.cmd.ProcessState.ExitCode()
	case <-time.After(bound):
		r.t.Fatalf("not ended after %v\n%s", bound, r.output())
		return -1
	}
}

// copyRepository copies what a fresh clone would have: the commands write into
// it, and must not find what others left.
func copyRepository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{".git": true}
	for line := range strings.Lines(string(ignored)) {
		left[strings.Trim(line, "/\n")] = true
	}
	dir := t.TempDir()
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // another test's, and gone
			}
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if left[filepath.ToSlash(rel)] {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(dir, rel), 0o755)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, rel), text, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
