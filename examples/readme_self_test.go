//go:build unix

package examples_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBlocks(t *testing.T) {
	t.Parallel()
	got, err := blocks("text\n```sh\necho a\n```\n\n<!-- run: serves fails docker says=up.* PORT=0 A=b=c -->\n```sh\necho b\n```\n" +
		"<!-- file: dir/my.yaml -->\n```yaml\na: 1\n```\n```text\nout\n```\n<!-- a remark -->\n```\nplain\n```\n")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, b := range got {
		what := []string{b.language, b.file, strings.TrimSpace(b.text)}
		for word, is := range map[string]bool{"serves": b.serves} {
			if is {
				what = append(what, word, b.says.String(), strings.Join(b.env, " "))
			}
		}
		told = append(told, strings.Join(what, "|"))
	}
	want := []string{"sh||echo a", "sh||echo b|serves|up.*|PORT=0 A=b=c", "yaml|dir/my.yaml|a: 1", "text||out", "||plain"}
	if diff := cmp.Diff(want, told); diff != "" || !got[1].fails || !got[1].docker || got[0].docker || got[1].line != 7 {
		t.Errorf("blocks (-want +got):\n%s", diff)
	}
	for text, want := range map[string]string{
		"```bash\nx\n```":                       "line 1: bash is not run",
		"```console\n$ x\n```":                  "line 1: console is not run",
		"- a\n  ```sh\n  x\n  ```":              "line 2: a block that is run begins",
		"```sh\nx":                              "line 1: the block does not end",
		"<!-- run: serves -->\n\n```sh\nx\n```": "line 1: a comment for the block below it",
		"<!-- run: twice -->\n```sh\nx\n```":    `line 1: "twice" is none of`,
		"<!-- run: says=( -->\n```sh\nx\n```":   "line 1: error parsing regexp",
		"<!-- run: serves -->\n```yaml\nx\n```": `line 1: a block of "yaml" is not run`,
		"<!-- file: ../x -->\n```yaml\nx\n```":  "is not below",
		"```text\ngo run ./x\n```":              "line 1: a command (go…) that is not run",
		"<!-- run: as=8080 -->\n```sh\nx\n```":  `line 1: "as=8080" is none of`,
		"<!-- run: in=../x -->\n```sh\nx\n```":  `line 1: "in=../x" is none of`,
		"<!-- run serves -->\n```sh\nx\n```":    "line 1: not of the form",
	} {
		if _, err := blocks(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// A README whose commands do not do what they are there for is noticed. Each
// runs in a test of its own, as it is to fail.
func TestBadReadmes(t *testing.T) {
	if bad := os.Getenv("README_UNDER_TEST"); bad != "" {
		bs, err := blocks(bad)
		if err != nil {
			t.Fatal(err)
		}
		runReadme(t, "bad", bs, false)
		return
	}
	t.Parallel()
	for name, tt := range map[string]struct{ readme, want string }{
		"good":           {"```sh\necho a > x\ntest -f x\n```\n<!-- run: fails -->\n```sh\ntest -f y\n```\n<!-- run: serves P=7 -->\n```sh\n# a remark\ntrap 'kill $!; exit 0' INT; sleep 60 & echo http://127.0.0.1:$P; wait  # up\n```\n<!-- file: z -->\n```text\nz\n```\n```sh\ngrep z z\n```\n", ""},
		"fails midway":   {"```sh\nfalse\ntrue\n```\n", "exit code 1"},
		"does not fail":  {"<!-- run: fails -->\n```sh\ntrue\n```\n", "exit code 0"},
		"unset variable": {"```sh\necho $NOT_THERE\n```\n", "exit code 2"},
		"no address":     {"<!-- run: serves -->\n```sh\necho hello\n```\n", "does not say"},
		"ends badly":     {"<!-- run: serves -->\n```sh\ntrap 'kill $!; exit 3' INT; sleep 60 & echo http://127.0.0.1:1; wait\n```\n", "exit code 3 after Ctrl-C"},
		"go run, badly":  {"<!-- run: serves -->\n```sh\ntrap 'kill $!; echo exit status 4; exit 1' INT; sleep 60 & echo http://127.0.0.1:1; wait; : go run .\n```\n", "exit code 1 after Ctrl-C"},
		"in a folder":    {"```sh\nmkdir below\n```\n<!-- run: in=below -->\n```sh\ntest $(basename $PWD) = below\n```\n", ""},
		"stays":          {"<!-- run: stays as=http://127.0.0.1:8080 P=7 -->\n```sh\ntrap 'kill $!; echo > ended; exit 0' INT; sleep 60 & echo at http://127.0.0.1:$P/x; wait\n```\n<!-- run: A=http://127.0.0.1:8080/x -->\n```sh\ntest ! -e ended\ntest http://127.0.0.1:8080/x = http://127.0.0.1:7/x\ntest $A = http://127.0.0.1:7/x\n```\n", ""},
		"stays, badly":   {"<!-- run: stays -->\n```sh\ntrap 'kill $!; exit 3' INT; sleep 60 & echo at http://127.0.0.1:7; wait\n```\n```sh\ntrue\n```\n", "exit code 3 after Ctrl-C"},
		"stays as what":  {"<!-- run: stays as=nats://127.0.0.1:4222 -->\n```sh\ntrap 'kill $!; exit 0' INT; sleep 60 & echo at http://127.0.0.1:7; wait\n```\n", "says no nats://"},
		"no command":     {"hello\n", "no command is shown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestBadReadmes$")
			cmd.Env = append(os.Environ(), "README_UNDER_TEST="+tt.readme)
			out, err := cmd.CombinedOutput()
			if (err == nil) != (tt.want == "") || !strings.Contains(string(out), tt.want) {
				t.Errorf("%v, want %q\n%s", err, tt.want, out)
			}
		})
	}
}
