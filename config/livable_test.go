package config_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config"
)

type livable struct {
	Mail struct {
		Password config.Secret
		Port     int `default:"25"`
	}
	API struct{ Token config.Secret }
	ID  string // too short for a name to be near it
	M   map[string]int
	X   []struct{ Name string }
}

var everydaySecrets = []string{
	"redis_password", "admin_password", "pg_password", "ldap_password", "main_password", "smtp_password", "db_password", "tls_password",
	"app_token", "jwt_token", "ci_token", "hf_token", "aws_token", "git_token", "gh_token", "npm_token", "vapid_token", "mailpit_password",
	"email_password", "tls_key", "cert.pem", "ca.crt", "id_ed25519", "kubeconfig", "dockerconfigjson", "postgres_user", "session_secret",
	"cookie_secret", "s3_access_key", "s3_secret_key", "slack_webhook", "sentry_dsn", "grafana_password", "htpasswd", "license.key",
	"signing.key", "age.key", "sops.yaml", "token", "password", "ip",
}

func everydayVariables() (out []string) {
	for _, name := range []string{"HOME", "VERSION", "ENV", "NAME", "USER", "DIR", "ROOT", "COMMIT", "BUILD", "DEBUG", "REGION", "ZONE", "HOST_IP", "POD", "IMAGE"} {
		for _, suffix := range []string{"", "_ID", "_PATH", "_TAG"} {
			out = append(out, "APP_"+name+suffix+"=x")
		}
	}
	return out
}

// TestStrictInAContainer loads strictly among 40 everyday secret files and 60
// everyday variables, and still finds one typo among them.
func TestStrictInAContainer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range append([]string{"mail_password", "api_token"}, everydaySecrets...) {
		write(t, dir, name, "x")
	}
	ignore := []string{"x-*"}
	for _, pair := range everydayVariables() {
		name, _, _ := strings.Cut(pair, "=")
		ignore = append(ignore, name)
	}
	file := write(t, t.TempDir(), "c.yaml", "x-base: &b {port: 26}\nmail:\n  <<: *b\n")
	options := func(extra ...string) []config.Option {
		return []config.Option{
			config.File(file), config.SecretsDir(dir), config.Env("APP"), config.Environ(append(everydayVariables(), extra...)...), config.Ignore(ignore...),
		}
	}
	s := load(t, livable{}, options()...)
	if got := s.Get().Mail.Port; got != 26 {
		t.Errorf("port %d, want that of the anchor", got)
	}
	shown := s.Explain().String()
	for _, want := range []string{"APP_HOME", "x-base"} {
		if e, ok := s.Explain().Find(want); !ok || !e.Ignored || e.Value != "" {
			t.Errorf("Explain does not list what was ignored, %s:\n%s", want, shown)
		}
	}

	_, err := config.Load(t.Context(), livable{}, options("APP_MAIL_PROT=1")...)
	wantText(t, err, `env APP_MAIL_PROT: unknown variable (did you mean "APP_MAIL_PORT"?)`)
	must(t, os.Rename(filepath.Join(dir, "mail_password"), filepath.Join(dir, "mail_pasword")))
	_, err = config.Load(t.Context(), livable{}, options()...)
	wantText(t, err, `mail_pasword: the file is no key (did you mean "mail_password"?)`)
}

func wantText(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v\nwant one with %q", err, want)
	}
}

func TestIgnoreHidesNoKey(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"*": "hides api", "mail.*": "hides mail.password", "*.password": "hides m", "APP_MAIL_*": "hides mail",
		"mail_password": "hides mail.password", "m.*": "hides m", "APP_M": "hides m", "mail": "hides mail",
	} {
		_, err := config.Load(t.Context(), livable{}, config.Env("APP"), config.Environ(), config.SecretsDir(t.TempDir()), config.Ignore(pattern))
		wantText(t, err, want)
	}
	for _, pattern := range []string{"x-*", "APP_HOME", "mail.x*", "tls_*"} {
		load(t, livable{}, config.Env("APP"), config.Environ(), config.SecretsDir(t.TempDir()), config.Ignore(pattern))
	}
	file := write(t, t.TempDir(), "c.yaml", "a.b: 1\nx-a: {b: 1}\nmail: {port: 1, x-a: 1}\n")
	_, err := config.Load(t.Context(), livable{}, config.File(file), config.Ignore("x-*"))
	wantText(t, err, "mail.x-a: unknown key") // a star stays within one part
}

func TestRequiredRefusesEmpty(t *testing.T) {
	t.Parallel()
	type settings struct {
		Token config.Secret     `required:"true"`
		Host  string            `required:"true"`
		L     []string          `required:"true"`
		M     map[string]string `required:"true"`
		N     int               `required:"true"`
		B     bool              `required:"true"`
		Items []struct {
			Name string `required:"true"`
		}
	}
	dir := t.TempDir()
	write(t, dir, "token", "")
	env := config.Environ("APP_HOST=", "APP_L=", "APP_M={}", "APP_N=0", "APP_B=false", `APP_ITEMS=[{"name":""}]`)
	_, err := config.Load(t.Context(), settings{}, config.SecretsDir(dir), config.Env("APP"), env)
	for _, want := range []string{"token: required, but empty", "host: required, but empty", "l: required, but empty", "m: required, but empty", "items[0].name: required, but empty"} {
		wantText(t, err, want)
	}
	if strings.Contains(err.Error(), " n: ") || strings.Contains(err.Error(), " b: ") {
		t.Errorf("0 and false are values: %v", err)
	}

	_, err = config.Load(t.Context(), settings{}, config.SecretsDir(dir), config.Env("APP"), env, config.EmptyUnset())
	wantText(t, err, "host: required, but no layer sets it")
}

func TestEmptyUnset(t *testing.T) {
	t.Parallel()
	type settings struct{ Host, Name string }
	file := write(t, t.TempDir(), "c.yaml", "host: h\nname: ''\n")
	opts := []config.Option{config.File(file), config.Env("APP"), config.Environ("APP_HOST=", "APP_OTHER=")}
	_, err := config.Load(t.Context(), settings{Name: "n"}, opts...)
	wantText(t, err, "APP_OTHER: unknown variable")
	s := load(t, settings{Name: "n"}, append(opts, config.EmptyUnset())...)
	if got := *s.Get(); got != (settings{"h", ""}) {
		t.Errorf("got %+v: an empty variable is not set, an empty text in a file is a value", got)
	}
}

func TestFlagsSayWhatTheyTake(t *testing.T) {
	t.Parallel()
	type settings struct {
		Mode    string        `oneof:"dev|prod" doc:"what it runs as"`
		Port    int           `min:"1" max:"65535"`
		Wait    time.Duration `doc:"how long"`
		Size    config.Bytes
		Pw      config.Secret
		Secrets map[string]config.Secret
	}
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	var usage strings.Builder
	fs.SetOutput(&usage)
	config.DefineFlags(fs, settings{Mode: "dev", Port: 80, Wait: time.Minute})
	fs.PrintDefaults()
	for _, want := range []string{"-mode dev|prod", "what it runs as", "(default dev)", "-port number", "from 1 to 65535", "(default 80)", "-wait duration", "(default 1m0s)", "-size size"} {
		if !strings.Contains(usage.String(), want) {
			t.Errorf("no %q in\n%s", want, usage.String())
		}
	}
	if fs.Lookup("pw") != nil || fs.Lookup("secrets") != nil {
		t.Error("secrets are never flags")
	}

	must(t, fs.Parse([]string{"-port", "81"}))
	if got := *load(t, settings{Mode: "prod"}, config.Flags(fs)).Get(); got.Port != 81 || got.Mode != "prod" || got.Wait != 0 {
		t.Errorf("got %+v: a flag that is not set sets nothing", got)
	}
	own := flag.NewFlagSet("x", flag.ContinueOnError)
	own.String("pw", "", "")
	must(t, own.Parse([]string{"-pw", canary}))
	_, err := config.Load(t.Context(), settings{}, config.Flags(own))
	wantText(t, err, "a secret on the command line")
	if strings.Contains(everything(err), canary) {
		t.Errorf("%v", err)
	}
}

func TestOnlyOwnLeftoversAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := write(t, dir, "config.yaml", "n: 1\n")
	theirs := []string{".config.yaml.tmpl", ".config.yaml.tmp-keep", ".config.yaml.tmp.bak", ".config.yaml.tmp", ".config.yaml.tmp1x"}
	for _, name := range append(theirs, ".config.yaml.tmp123456") {
		write(t, dir, name, "of the user")
	}
	s := load(t, struct{ N int }{}, config.File(path, config.Writable()))
	must(t, s.Set(t.Context(), "n", "2"))
	for _, name := range theirs {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("Set removed %s", name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, ".config.yaml.tmp123456")); err == nil {
		t.Error("what a killed writer left is still there")
	}
}

func TestVariableOfAnItemHints(t *testing.T) {
	t.Parallel()
	for variable, want := range map[string]string{
		"APP_M_FOO=1":    "m is one value: write all of it as JSON in APP_M",
		"APP_X_0_NAME=1": "x is one value: write all of it as JSON in APP_X",
	} {
		_, err := config.Load(t.Context(), livable{}, config.Env("APP"), config.Environ(variable))
		wantText(t, err, want)
	}
}

// rotating is a resolver without leases whose value changes.
type rotating struct{ version, calls atomic.Int64 }

func (r *rotating) Resolve(context.Context, string, string) (string, time.Duration, error) {
	r.calls.Add(1)
	return fmt.Sprintf("password-%d", r.version.Load()), 0, nil
}

// TestRefreshEvery sees a secret that changes where it is kept, without a
// lease, a restart or a call.
func TestRefreshEvery(t *testing.T) {
	t.Parallel()
	file := write(t, t.TempDir(), "c.yaml", "mail: {password: ref+kv://mail#password}\n")
	var r rotating
	s := load(t, livable{}, config.File(file), config.Resolve("kv", &r), config.RefreshEvery(time.Second))
	changed := make(chan string, 10)
	config.OnChange(s, func(v *livable) config.Secret { return v.Mail.Password }, func(_, now config.Secret) { changed <- now.Reveal() })
	running(t, s)
	r.version.Store(1)
	select {
	case got := <-changed:
		if got != "password-1" {
			t.Errorf("got %q", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("a rotated secret was not seen")
	}

	var off rotating
	s = load(t, livable{}, config.File(file), config.Resolve("kv", &off), config.RefreshEvery(-1), config.Poll(10*time.Millisecond))
	running(t, s)
	must(t, s.Reload(t.Context()))
	if n := off.calls.Load(); n != 1 {
		t.Errorf("%d calls with RefreshEvery off, want 1", n)
	}
}

func TestReferenceToAReference(t *testing.T) {
	t.Parallel()
	file := write(t, t.TempDir(), "c.yaml", "mail: {password: ref+env://PW}\n")
	_, err := config.Load(t.Context(), livable{}, config.File(file), config.Environ("PW=ref+vault://secret/db#"+canary))
	wantText(t, err, "the value there is a reference itself")
	if strings.Contains(err.Error(), canary) {
		t.Errorf("%v", err)
	}
}

func TestListOfBracketedAddresses(t *testing.T) {
	t.Parallel()
	type settings struct{ Listen []string }
	s := load(t, settings{}, config.Env("APP"), config.Environ("APP_LISTEN=[::1]:80,[::]:90"))
	if got := s.Get().Listen; len(got) != 2 || got[0] != "[::1]:80" {
		t.Errorf("got %q", got)
	}
	_, err := config.Load(t.Context(), settings{}, config.Env("APP"), config.Environ("APP_LISTEN=[a, b]"))
	wantText(t, err, "invalid JSON")
}

// TestListsByCommas reads what stands between the commas of a variable.
func TestListsByCommas(t *testing.T) {
	t.Parallel()
	type settings struct {
		L []string
		N []int
	}
	for text, want := range map[string][]string{
		"":               {},
		"a":              {"a"},
		"a, b":           {"a", "b"},
		"a,b,":           {"a", "b"}, // the comma after the last item
		"a,,b":           {"a", "", "b"},
		`it's,"x"`:       {"it's", `"x"`},
		`["a,b","c"]`:    {"a,b", "c"},
		"[::1]:80,[::]:": {"[::1]:80", "[::]:"},
	} {
		s := load(t, settings{}, config.Env("APP"), config.Environ("APP_L="+text))
		if got := s.Get().L; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	if s := load(t, settings{}, config.Env("APP"), config.Environ("APP_N=1,2,")); !slices.Equal(s.Get().N, []int{1, 2}) {
		t.Errorf("numbers: %d", s.Get().N)
	}
	for _, text := range []string{`"a,b",c`, `'a,b'`, `x,"`} {
		_, err := config.Load(t.Context(), settings{}, config.Env("APP"), config.Environ("APP_L="+text))
		wantText(t, err, `text with a comma in it is written as JSON: ["a,b","c"]`)
	}
}

func TestUnset(t *testing.T) {
	t.Parallel()
	type settings struct {
		N, O int
		Name string
		M    map[string]int
		L    []string
	}
	base := "n: 1 # about n\nname: x\nm:\n  a: 1 # about a\n  b: 2\nl:\n  - x\n"
	for key, want := range map[string]string{
		"n":    "name: x\nm:\n  a: 1 # about a\n  b: 2\nl:\n  - x\n",
		"name": "n: 1 # about n\nm:\n  a: 1 # about a\n  b: 2\nl:\n  - x\n",
		"m.a":  "n: 1 # about n\nname: x\nm:\n  b: 2\nl:\n  - x\n",
		"m":    "n: 1 # about n\nname: x\nl:\n  - x\n",
		"l":    "n: 1 # about n\nname: x\nm:\n  a: 1 # about a\n  b: 2\n",
		"o":    base,
		"m.c":  base,
	} {
		path := write(t, t.TempDir(), "c.yaml", base)
		s := load(t, settings{N: 9}, config.File(path, config.Writable()))
		must(t, s.Unset(t.Context(), key))
		if got := readText(t, path); got != want {
			t.Errorf("unset %s:\n%s\nwant\n%s", key, got, want)
		}
		if got := s.Get().N; key == "n" && got != 9 {
			t.Errorf("n is %d, want the default", got)
		}
	}

	path := write(t, t.TempDir(), "c.yaml", base)
	s := load(t, settings{}, config.File(path, config.Writable()), config.Env("APP"), config.Environ("APP_N=5"))
	wantText(t, s.Unset(t.Context(), "n"), "overridden by env APP_N")
	wantText(t, s.Unset(t.Context(), "nam"), `unknown key (did you mean "name"?)`)
}
