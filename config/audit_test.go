package config_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/config"
)

type audited struct {
	Listen  string
	Metrics string   `audit:"-"`
	Nodes   []string `audit:"listen"`
	SMTP    string
	Vault   struct {
		Address string
		Token   config.Secret
	}
	Page   struct{ Site string }
	API    string `audit:"token"`
	Hook   config.URL
	Hooks  map[string]config.URL
	DBPass string `koanf:"db_password"`
	Token  config.Secret
	Other  config.Secret
}

func findings(problems []config.Problem) []string {
	out := make([]string, len(problems))
	for i, p := range problems {
		out[i] = p.Error()
		if p.Kind != config.KindInsecure {
			out[i] = fmt.Sprint("kind ", p.Kind, ": ", out[i])
		}
	}
	return out
}

// TestAudit: each way in is told once, with its key and place, and nothing is
// told of what is safe.
func TestAudit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	secrets := filepath.Join(dir, "secrets")
	must(t, os.Mkdir(secrets, 0o755))
	write(t, secrets, "other", "canary-o")
	base := "nodes: ['10.1.2.3:7', '127.0.0.1:7', 'node.example:7']\n"
	for name, tc := range map[string]struct {
		text, env string
		want      []string
	}{
		"safe":       {text: "listen: 127.0.0.1:80\nmetrics: :9\nsmtp: mx.example:25\npage: {site: http://site.example}\nvault: {address: 'http://[::1]:8200', token: ref+file://" + filepath.Join(secrets, "other") + "}\n"},
		"listen":     {text: "listen: ':80'\n", want: []string{`c.yaml:1:9: listen: ":80" is reached by whoever reaches any address of this machine`}},
		"unspecific": {text: "smtp: '[::]:80'\n", want: []string{`c.yaml:1:7: smtp: "[::]:80" is reached by`}},
		"default":    {text: "{}\n", env: "", want: nil},
		"nodes":      {text: base, want: []string{`c.yaml:1:9: nodes[0]: "10.1.2.3:7" is reached by whoever is in its private network`, `nodes[2]: "node.example:7" is reached by whoever reaches node.example`}},
		"clear": {
			text: "vault: {address: 'http://vault:8200'}\napi: ws://u:canary-w@api.example/x\nhook: http://h.example/x\nhooks: {a: 'http://h.example', b: 'https://h.example'}\n",
			want: []string{"c.yaml:1:18: vault.address: got \"http://vault:8200\", want https", "api: got \"ws://[redacted]@api.example/x\", want https", "hook: got", "hooks.a: got"},
		},
		"environment": {
			text: "token: ref+env://APP_X\n", env: "APP_DB_PASSWORD=canary-d APP_TOKEN=canary-t APP_X=canary-x APP_VAULT_TOKEN_FILE=" + filepath.Join(secrets, "other"),
			want: []string{"env APP_DB_PASSWORD: db_password: a secret in the environment (APP_DB_PASSWORD)", "env APP_TOKEN: token: a secret in the environment (APP_TOKEN)"},
		},
		"reference": {
			text: "token: ref+env://X\n", env: "X=canary-x", want: []string{"c.yaml:1:8: token: a secret in the environment (X)"},
		},
	} {
		path := write(t, t.TempDir(), "c.yaml", tc.text)
		must(t, os.Chmod(filepath.Dir(path), 0o755))
		must(t, os.Chmod(path, 0o644))
		s := load(t, audited{}, config.File(path), config.SecretsDir(secrets), config.Env("APP"), config.Ignore("APP_X"), config.Environ(strings.Fields(tc.env)...))
		got := findings(s.Audit())
		for i := range max(len(got), len(tc.want)) {
			if i >= len(got) || i >= len(tc.want) || !strings.Contains(got[i], tc.want[i]) {
				t.Errorf("%s: (-want +got):\n%s", name, cmp.Diff(tc.want, got))
				break
			}
		}
		if all := strings.Join(got, "\n"); strings.Contains(all, "canary") {
			t.Errorf("%s: a secret is shown:\n%s", name, all)
		}
	}
}

// TestAuditFiles: who else may write the settings, the secrets and what leads to
// them.
func TestAuditFiles(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		return // it has no such modes, and nothing is found
	}
	dir := t.TempDir()
	sub := filepath.Join(dir, "conf")
	must(t, os.Mkdir(sub, 0o755))
	secrets := filepath.Join(dir, "secrets")
	must(t, os.Mkdir(secrets, 0o755))
	path, token := write(t, sub, "c.yaml", "{}\n"), write(t, secrets, "token", "canary-t")
	s := load(t, audited{}, config.File(path), config.SecretsDir(secrets))
	for _, f := range []struct {
		path string
		mode os.FileMode
		want string
	}{
		{path, 0o666, "everybody may write it (-rw-rw-rw-) (chmod o-w " + path + ")"},
		{path, 0o664, "its group may write it (-rw-rw-r--) (chmod g-w " + path + ")"},
		{token, 0o660, "its group may write it"},
		{secrets, 0o777, "everybody may write it"},
		{sub, 0o775, "its group may write it"},
		{dir, 0o777, "everybody may replace what is below it"},
	} {
		info, err := os.Stat(f.path)
		must(t, err)
		must(t, os.Chmod(f.path, f.mode))
		got := findings(s.Audit())
		must(t, os.Chmod(f.path, info.Mode().Perm()))
		if len(got) != 1 || !strings.Contains(got[0], "file "+f.path+": "+f.want) {
			t.Errorf("%s with mode %s: %q, want %q", f.path, f.mode, got, f.want)
		}
	}
	if got := findings(s.Audit()); len(got) != 0 {
		t.Errorf("with the modes of before: %q", got)
	}
}

func TestCheckStrict(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), "c.yaml", "listen: ':80'\n")
	must(t, os.Chmod(filepath.Dir(path), 0o755))
	run := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := config.Command(t.Context(), audited{}, args, &out, &errs, config.File(path))
		return code, out.String() + errs.String()
	}
	if code, out := run("check"); code != config.ExitOK {
		t.Errorf("check: exit code %d:\n%s", code, out)
	}
	if code, out := run("check", "-strict"); code != config.ExitInvalid || !strings.Contains(out, `listen: ":80" is reached by`) {
		t.Errorf("check -strict: exit code %d:\n%s", code, out)
	}
	must(t, os.WriteFile(path, []byte("listen: 127.0.0.1:80\n"), 0o600))
	if code, out := run("check", "-strict"); code != config.ExitOK || !strings.HasPrefix(out, "ok: ") {
		t.Errorf("check -strict of what is safe: exit code %d:\n%s", code, out)
	}

	type typo struct {
		Listen string `audit:"lsiten"`
	}
	_, err := config.Load(t.Context(), typo{})
	wantText(t, err, `field typo.Listen: tag audit "lsiten": want token, listen or -`)
}
