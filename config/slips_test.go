package config_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/config"
)

// slipped is what the documents of TestSyntaxSlips are settings of.
type slipped struct {
	Mail struct {
		Host     string
		Password config.Secret
		Port     int
	}
	Users  map[string]config.Secret
	Tokens []config.Secret
	Items  []struct {
		Name  string
		Token config.Secret
	}
}

// The secret, in halves so that a slip within it is searched for too.
const leftHalf, rightHalf = "hunter2LEFT", "RIGHTs3cr3t"

// slips puts each of some characters at each place around the secret of a
// document, and takes each of its own away.
func slips(document string) (out []string) {
	whole := leftHalf + rightHalf
	at := strings.Index(document, whole)
	places := []int{at - 3, at - 2, at - 1, at, at + len(leftHalf), at + len(whole), at + len(whole) + 1, 0}
	for _, char := range []string{`"`, `'`, "[", "]", "{", "}", ":", ": ", ",", " #", "&", "*", "!", "!!", "|", ">", "%", "@", "`", `\`, "\t", "\n", "=", "-", "<<: ", "\x01", "? "} {
		for _, i := range places {
			if i = min(max(i, 0), len(document)); i <= len(document) {
				out = append(out, document[:i]+char+document[i:])
			}
		}
	}
	for i := max(0, at-4); i < min(len(document), at+len(whole)+4); i++ {
		if i < at || i >= at+len(whole) {
			out = append(out, document[:i]+document[i+1:])
		}
	}
	return out
}

// TestSyntaxSlips makes hundreds of slips around a secret in each format: what
// Load says, logs and explains shows no half of it.
func TestSyntaxSlips(t *testing.T) {
	t.Parallel()
	whole := leftHalf + rightHalf
	for name, documents := range map[string][]string{
		"c.yaml": {
			"mail:\n  host: h\n  password: " + whole + "\n  port: 1\n",
			"mail:\n  password: \"" + whole + "\"\n",
			"mail: {host: h, password: '" + whole + "'}\n",
			"users:\n  bob: " + whole + "\ntokens:\n  - a\n",
			"tokens:\n  - " + whole + "\n  - b\n",
			"items:\n  - name: n\n    token: " + whole + "\n",
			"mail:\n  password: |\n    " + whole + "\n",
			"mail: " + whole + "\n", "users: " + whole + "\n", "tokens: " + whole + "\n", "items: [" + whole + "]\n",
			"mail:\n  password: {" + whole + ": x}\n", "mail:\n  password: {" + whole + ": 1, " + whole + ": 2}\n",
		},
		"c.json": {
			`{"mail": {"host": "h", "password": "` + whole + `", "port": 1}}`,
			`{"users": {"bob": "` + whole + `"}, "tokens": ["` + whole + `"]}`,
			`{"mail": {"password": ` + whole + `}}`, `{"mail": {"password": {"` + whole + `": 1, "` + whole + `": 2}}}`,
			`{"items": [{"name": "n", "token": "` + whole + `"}]}`, `{"mail": "` + whole + `"}`,
		},
		"c.jsonc": {`{"mail": {"password": "` + whole + `", /* c */ "port": 1}}`},
		"c.toml": {
			"[mail]\nhost = 'h'\npassword = \"" + whole + "\"\nport = 1\n",
			"mail.password = '" + whole + "'\n", "mail = { password = '" + whole + "' }\n",
			"[users]\nbob = '" + whole + "'\n", "tokens = ['" + whole + "']\n",
			"[[items]]\nname = 'n'\ntoken = '" + whole + "'\n", "[mail]\npassword = " + whole + "\n", "mail = '" + whole + "'\n",
			"[mail]\npassword = \"\"\"\n" + whole + "\"\"\"\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, count, failed := t.TempDir(), 0, 0
			for _, document := range documents {
				for _, slip := range append(slips(document), document) {
					count++
					path := write(t, dir, name, slip)
					var logged bytes.Buffer
					logger := slog.New(slog.NewTextHandler(&logged, nil))
					var shown string
					s, err := config.Load(t.Context(), slipped{}, config.File(path), config.Logger(logger))
					if err != nil {
						failed++
						shown = everything(err)
						wantPlace(t, err, slip)
					} else {
						shown = s.Explain().String() + everything(s.Get())
					}
					shown += logged.String()
					for _, half := range []string{leftHalf, rightHalf} {
						if i := strings.Index(shown, half); i >= 0 {
							t.Errorf("%q shows it: …%s…", slip, strings.ReplaceAll(shown[max(0, i-160):min(len(shown), i+40)], filepath.Dir(path), ""))
							break
						}
					}
				}
			}
			t.Logf("%d documents, %d of which are refused", count, failed)
		})
	}
}

// wantPlace checks that every mistake of a file has line and column.
func wantPlace(t *testing.T, err error, document string) {
	t.Helper()
	var report *config.Report
	if !asReport(err, &report) {
		return
	}
	for _, p := range report.Problems {
		lines := strings.Count(document, "\n") + 1
		if p.File != "" && (p.Line < 1 || p.Column < 1 || p.Line > lines) {
			t.Errorf("%q: no place: %s", document, fmt.Sprint(p))
		}
	}
}

func asReport(err error, into **config.Report) bool { return errors.As(err, into) }
