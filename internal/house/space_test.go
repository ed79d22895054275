//go:build unix

package house_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// A clone may lie below a folder with a space in its name. The targets run here
// with a go that notes each of its arguments on a line, and writes a program
// where it is told to build one.
func TestMakeBelowASpace(t *testing.T) {
	testenv.Require(t, "make")
	dir := filepath.Join(t.TempDir(), "with space")
	bin := filepath.Join(dir, "bin")
	args := filepath.Join(dir, "args")
	for _, folder := range []string{bin, filepath.Join(dir, "examples"), filepath.Join(dir, ".ci")} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}

	const program = "#!/bin/sh\necho started\n"
	fake := `#!/bin/bash
printf '%s\n' "$@" >>"$NOTED"
while [ $# -gt 0 ]; do
  if [ "$1" = -o ]; then printf '` + strings.ReplaceAll(program, "\n", `\n`) + `' >"$2"; chmod 700 "$2"; fi
  if [ "$1" = list ] && [ "$2" = -f ]; then printf "%s\n" "$PWD/a_test.go"; fi
  shift
done
`
	files := map[string]string{
		filepath.Join(bin, "go"):        fake,
		filepath.Join(dir, "go.mod"):    "module space\n",
		filepath.Join(dir, "a_test.go"): "package space\n\nfunc FuzzNothing(f *testing.F) {}\n",
	}
	for _, name := range []string{"Makefile", ".ci/quick.sh", ".ci/fuzz.sh", ".ci/timed.sh"} {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Join(dir, name)] = string(text)
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}

	for _, commands := range []string{"make run", "make fmt lint deadcode fuzz", "git init -q . && git add a_test.go && git -c user.name=a -c user.email=a@example.com commit -qm a && printf '\\n' >>a_test.go && .ci/quick.sh"} {
		cmd := exec.Command("sh", "-eu", "-c", commands)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "NOTED="+args)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(commands, "run") && !strings.Contains(string(out), "started") {
			t.Errorf("%s: %v\n%s", commands, err, out)
		}
	}

	noted, err := os.ReadFile(args)
	if err != nil {
		t.Fatal(err)
	}
	for arg := range strings.Lines(string(noted)) {
		if arg = strings.TrimSpace(arg); strings.HasPrefix(arg, "space/") || strings.HasSuffix(arg, "/with") {
			t.Errorf("an argument was cut at the space: %q", arg)
		}
	}
}
