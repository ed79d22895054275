package config_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/config"
)

type reported struct {
	Mode   string `required:"true" oneof:"dev|prod"`
	Listen string
	Scrape struct {
		RotateEvery int           `min:"1" max:"100"`
		Timeout     time.Duration `max:"5m"`
		Enabled     bool
		Retries     uint8
	}
	Mail struct {
		Host     string
		Password config.Secret
		Token    config.Secret
	}
	Size  config.Bytes
	Owner string `required:"true"`
}

func (r *reported) Validate() error {
	if r.Listen == "nowhere" {
		return errors.New("listen must be an address")
	}
	return nil
}

type failing struct{ err error }

func (f failing) Resolve(context.Context, string, string) (string, time.Duration, error) {
	return "", 0, f.err
}

// TestReportNamesAllMistakes plants mistakes in every kind of layer.
func TestReportNamesAllMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := write(t, dir, "config.yaml", `# settings
mode: staging
listn: ":8080"
scrape:
  rotate_every: 500
  timeout: 30
  enabled: perhaps
  retries: 300
  rotate_every: 5
mail:
  token: ref+vault://secret/data/mail#token
size: 64 miles
`)
	write(t, dir, "config.prod.yaml", "mail:\n  hots: mx\n")
	loop := filepath.Join(dir, "secrets", "mail.password")
	must(t, os.MkdirAll(loop, 0o755)) // a folder where a file should be
	down := errors.New("connection refused")
	_, err := config.Load(t.Context(), reported{},
		config.File(file), config.Profile("prod"), config.Env("APP"),
		config.Resolve("vault", failing{down}),
		config.Environ("APP_SCRAPE_ROTATE_EVRY=3", "APP_MAIL_PASSWORD_FILE="+loop))
	var report *config.Report
	if !errors.As(err, &report) {
		t.Fatalf("error %v, want a report", err)
	}
	if !errors.Is(err, down) {
		t.Error("the resolver's error is not in the chain")
	}
	got := make([]string, len(report.Problems))
	for i, p := range report.Problems {
		got[i] = strings.ReplaceAll(p.Error(), dir+string(filepath.Separator), "")
	}
	want := []string{
		`config.yaml:2:7: mode: got "staging", want one of dev, prod`,
		`config.yaml:3:1: listn: unknown key (did you mean "listen"?)`,
		`config.yaml:5:17: scrape.rotate_every: got 500, want from 1 to 100`,
		`config.yaml:6:12: scrape.timeout: got "30", want a duration, such as 30s, 5m or 1h30m (give the unit: 30s, 30ms, 30m)`,
		`config.yaml:7:12: scrape.enabled: got "perhaps", want true or false`,
		`config.yaml:8:12: scrape.retries: got "300", want a whole number from 0 to 255`,
		`config.yaml:9:3: scrape.rotate_every: duplicate key: first set on line 5 (keep one of the two)`,
		`config.yaml:11:10: mail.token: cannot resolve ref+vault://secret/data/mail#token: connection refused`,
		`config.yaml:12:7: size: got "64 miles", want a size, such as 512KiB or 64MiB (parse size "64 miles": want a number and a unit, such as 64MiB)`,
		`config.prod.yaml:2:3: mail.hots: unknown key (did you mean "host"?)`,
		filepath.Join("secrets", "mail.password") + `: mail.password: cannot read the file: it is a folder (APP_MAIL_PASSWORD_FILE names it)`,
		`env APP_SCRAPE_ROTATE_EVRY: unknown variable (did you mean "APP_SCRAPE_ROTATE_EVERY"?)`,
		`owner: required, but no layer sets it (set it in config.yaml or by APP_OWNER)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(err.Error(), "config: load: 13 problems:\n  ") {
		t.Errorf("report begins %q", err.Error()[:40])
	}
}

func TestReportFiles(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, file, content, want string }{
		{"yaml syntax", "s.yaml", "mode: dev\nlisten: a: b\n", "s.yaml:2:10: invalid YAML: mapping values are not allowed in this context"},
		{"yaml tab", "s.yaml", "scrape:\n\tretries: 1\n", "s.yaml:2:1: invalid YAML: found character that cannot start any token (indent with spaces"},
		{"no guess about required keys", "s.yaml", "owner: \"x\nmode: dev\n", "config: load: s.yaml:"},
		{"yaml list", "s.yaml", "- mode\n", "s.yaml:1:1: the document is a list, want keys at the top"},
		{"yaml two documents", "s.yaml", "mode: dev\n---\nmode: prod\n", "more text after the end of the document"},
		{"yaml text after a flow map", "s.yaml", "{mode: dev} x: 1\n", "invalid YAML"},
		{"yaml unknown anchor", "s.yaml", "mode: *x\n", "s.yaml:1:7: invalid YAML: an alias that names no anchor"},
		{"json comment", "s.json", "{\n  // x\n}", "s.json:2:3: invalid JSON: a comment (plain JSON has none; name the file .jsonc)"},
		{"json comma", "s.json", "{\"mode\": \"dev\",\n}", "s.json:1:15: invalid JSON: a comma after the last item"},
		{"json cut", "s.json", "{\"mode\": \"dev\"", "s.json:1:15: invalid JSON: an object that does not end"},
		{"json duplicate", "s.json", "{\"mode\": \"dev\",\n \"mode\": \"prod\"}", "s.json:2:2: mode: duplicate key: first set on line 1"},
		{"json word", "s.json", "{\"mode\": dev}", "s.json:1:10: invalid JSON: want a value"},
		{"jsonc end", "s.jsonc", "{} /*", "s.jsonc:1:4: invalid JSON: a comment that does not end"},
		{"toml syntax", "s.toml", "mode = \"dev\"\nlisten = \n", "s.toml:2:10: invalid TOML"},
		{"toml duplicate", "s.toml", "mode = \"dev\"\nmode = \"prod\"\n", "s.toml:2:1: mode: duplicate key: first set on line 1"},
		{"toml duplicate table", "s.toml", "[mail]\nhost = \"a\"\n[mail]\ntoken = \"b\"\n", "s.toml:3:2: mail: duplicate key: first set on line 1"},
		{"toml cut", "s.toml", "mode = \"dev", "s.toml:1:"},
		{"section is a value", "s.yaml", "mail: x\n", `s.yaml:1:7: mail: got [redacted], want a section`},
		{"value is a section", "s.yaml", "mode: {a: 1}\n", "s.yaml:1:7: mode: got a section, want a single value"},
		{"not UTF-8", "s.yaml", "mode: dev\nlisten: \xff\n", "s.yaml:2:9: the file is not UTF-8 text"},
		{"dot in a key", "s.yaml", "mail.host: x\n", "nest it: a dot in a key does not open a section"},
		{"key of a section", "s.yaml", "host: x\n", "the key is mail.host"},
		{"bad reference", "s.yaml", "mode: ref+file://\n", "cannot resolve ref+file://: the path is empty"},
		{"unknown scheme", "s.yaml", "mode: ref+valt://x#y\n", `no resolver for "valt"; there are env, file`},
		{"leading zero", "s.yaml", "scrape: {retries: 010}\n", "a leading zero is ambiguous"},
		{"float for int", "s.yaml", "scrape: {retries: 2.0}\n", "(write 2)"},
		{"validate", "s.yaml", "mode: dev\nowner: x\nlisten: nowhere\n", "listen must be an address"},
		{"yaml tag", "s.yaml", "mode: !env MODE\n", "s.yaml:1:7: a tag that is not known (quote a value that begins with !"},
		{"yaml tag of a key", "s.yaml", "!x mode: dev\n", "s.yaml:1:1: a tag that is not known"},
		{"yaml tag that does not fit", "s.yaml", "scrape: {retries: !!int x}\n", "s.yaml:1:19: a value that is not what its tag !!int says"},
		{"yaml set", "s.yaml", "scrape: !!set {a, b}\n", "s.yaml:1:9: a tag that is not known"},
		{"yaml quote", "s.yaml", "mode: dev\nlisten: 'a\n", "s.yaml:2:9: invalid YAML: found unexpected end of stream"},
		{"yaml flow list", "s.yaml", "mode: dev\nlisten: [1\n", "s.yaml:2:1: invalid YAML: did not find expected ',' or ']'"},
		{"yaml control character", "s.yaml", "mode: dev\nlisten: a\x01b\n", "s.yaml:2:10: invalid YAML: a control character"},
		{"yaml key", "s.yaml", "mode: dev\nscrape:\n  retries: 1\n bad: 2\n", "s.yaml:4:2: invalid YAML: did not find expected key"},
		{"toml bare word", "s.toml", "mode = dev\n", "(strings stand in quotes"},
		{"toml line break", "s.toml", "scrape = {\nretries = 1", "s.toml:2:"},
		{"byte order mark", "s.toml", "\ufeffscrape.retries = 'x'\n", "s.toml:1:18: scrape.retries"},
		{"secret in place", "s.yaml", "mail: {password: [canary-x]}\n", "s.yaml:1:18: mail.password: got a list"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			_, err := config.Load(t.Context(), reported{}, config.File(write(t, dir, tc.file, tc.content)), config.Environ())
			if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), ""), tc.want) {
				t.Errorf("error %v\nwant one with %q", err, tc.want)
			}
		})
	}
}

func TestLoadOptions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := write(t, dir, "s.yaml", "")
	missing := filepath.Join(dir, "none.yaml")
	for _, tc := range []struct {
		name string
		opts []config.Option
		want string
	}{
		{"missing file", []config.Option{config.File(missing)}, "none.yaml: the file is missing (create it, or add config.Optional())"},
		{"missing profile", []config.Option{config.File(file), config.Profile("prod")}, "s.prod.yaml: the file is missing (create it, or choose another profile)"},
		{"profile path", []config.Option{config.File(file), config.Profile("../x")}, "a profile is a name, not a path"},
		{"profile first", []config.Option{config.Profile("x")}, "Profile: there is no File before it"},
		{"unknown type", []config.Option{config.File("s.ini")}, "File s.ini: unknown file type"},
		{"no path", []config.Option{config.File("")}, "File: the path is empty"},
		{"prefix", []config.Option{config.Env("my-app")}, `Env "my-app": a prefix is upper-case letters, digits and underscores, such as "MY_APP"`},
		{"two writable", []config.Option{config.File(file, config.Writable()), config.File(file, config.Writable())}, "a second writable file"},
		{"scheme", []config.Option{config.Resolve("My Vault", failing{})}, `Resolve "My Vault"`},
		{"folder", []config.Option{config.File(filepath.Dir(write(t, dir, "d.yaml/x", "")))}, "it is a folder"},
		{"variable and file", []config.Option{config.Env("APP"), config.Environ("APP_MODE=dev", "APP_MODE_FILE=x")}, "set together with APP_MODE_FILE"},
		{"section variable", []config.Option{config.Env("APP"), config.Environ("APP_MAIL={}")}, "mail is a section: set its keys one by one"},
		{"secret file, nearly", []config.Option{config.SecretsDir(filepath.Dir(write(t, dir, "secrets/mail_pasword", "canary-y")))}, `did you mean "mail_password"?`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(t.Context(), reported{Mode: "dev", Owner: "x"}, append([]config.Option{config.Environ()}, tc.opts...)...)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "config: load: ") {
				t.Errorf("error %v\nwant one with %q", err, tc.want)
			}
		})
	}
	s := load(t, reported{Mode: "dev", Owner: "x"}, config.File(missing, config.Optional()), config.Profile(""), config.ProfileFromEnv("NONE"),
		config.SecretsDir(filepath.Join(dir, "nothing")), config.Environ())
	if s.Get().Mode != "dev" {
		t.Error("defaults are gone")
	}
	var pathErr *fs.PathError
	if _, err := config.Load(t.Context(), reported{}, config.File(missing)); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &pathErr) {
		t.Errorf("a missing file gives %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := config.Load(cancelled, reported{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context gives %v", err)
	}
}

func TestSettingsTypeMistakes(t *testing.T) {
	t.Parallel()
	type loop struct {
		Name string
		Next *loop
	}
	for name, call := range map[string]func() error{
		"no struct": func() error { _, err := config.Load(t.Context(), 3); return err },
		"no keys":   func() error { _, err := config.Load(t.Context(), struct{ F func() }{}); return err },
		"same key": func() error {
			_, err := config.Load(t.Context(), struct {
				A string `koanf:"x"`
				B string `koanf:"x"`
			}{})
			return err
		},
		"bad min": func() error {
			_, err := config.Load(t.Context(), struct {
				A int `min:"x"`
			}{})
			return err
		},
		"bad type": func() error {
			_, err := config.Load(t.Context(), struct {
				A chan int `koanf:"a"`
			}{})
			return err
		},
		"itself": func() error { _, err := config.Load(t.Context(), loop{}); return err },
	} {
		if err := call(); err == nil || !strings.HasPrefix(err.Error(), "config: load: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLenient(t *testing.T) {
	t.Parallel()
	file := write(t, t.TempDir(), "s.yaml", "mode: dev\nowner: x\nlistn: y\n")
	s := load(t, reported{}, config.File(file), config.Env("APP"), config.Lenient(), config.Environ("APP_X=1"))
	w := s.Stats().Warnings
	if len(w) != 2 || w[0].Key == "" && w[1].Key == "" {
		t.Errorf("warnings %v, want one for listn and one for APP_X", w)
	}
}

// TestKubernetesServiceLinks has the environment of a pod in a namespace with
// 20 services, one of them called as the program is.
func TestKubernetesServiceLinks(t *testing.T) {
	t.Parallel()
	var env []string
	for i := range 20 {
		stem := fmt.Sprintf("APP_SVC%d", i)
		if i == 0 {
			stem = "APP"
		}
		if i == 1 {
			stem = "KUBERNETES"
		}
		ip := fmt.Sprintf("10.0.0.%d", i+1)
		env = append(env, stem+"_SERVICE_HOST="+ip, stem+"_SERVICE_PORT=80", stem+"_SERVICE_PORT_HTTP=80", stem+"_SERVICE_PORT_METRICS_WEB=9090",
			stem+"_PORT=tcp://"+ip+":80", stem+"_PORT_80_TCP=tcp://"+ip+":80", stem+"_PORT_80_TCP_PROTO=tcp", stem+"_PORT_80_TCP_PORT=80",
			stem+"_PORT_80_TCP_ADDR="+ip, stem+"_PORT_53_UDP=udp://"+ip+":53", stem+"_PORT_53_UDP_ADDR="+ip)
	}
	s := load(t, reported{}, config.Env("APP"), config.Environ(append(env, "APP_MODE=prod", "APP_OWNER=x")...))
	if s.Get().Mode != "prod" {
		t.Errorf("mode %q", s.Get().Mode)
	}
	type collides struct {
		Port string
		Mode string
	}
	_, err := config.Load(t.Context(), collides{}, config.Env("APP"), config.Environ(env...))
	if err == nil || !strings.Contains(err.Error(), "env APP_PORT: port: set by Kubernetes for its service \"app\"") || !strings.Contains(err.Error(), "enableServiceLinks: false") {
		t.Errorf("a link that collides with a key gives %v", err)
	}
	// Without its service host, a variable of that form is the user's own.
	own := load(t, collides{}, config.Env("APP"), config.Environ("APP_PORT=tcp://0.0.0.0:80"))
	if own.Get().Port != "tcp://0.0.0.0:80" {
		t.Errorf("port %q", own.Get().Port)
	}
	// A number cannot mean it, though.
	type numbered struct{ Port int }
	_, err = config.Load(t.Context(), numbered{}, config.Env("APP"), config.Environ("APP_PORT=tcp://10.0.0.1:80"))
	if err == nil || !strings.Contains(err.Error(), "enableServiceLinks: false") {
		t.Errorf("a lonely link that collides with a number gives %v", err)
	}
	load(t, numbered{}, config.Env("APP"), config.Environ("APP_DB_PORT=tcp://10.0.0.1:80", "APP_QUEUE_SERVICE_HOST=fd00::1",
		"APP_QUEUE_SERVICE_PORT_HTTP=80", "APP_WEB_PORT_80_TCP=x", "APP_WEB_PORT_80_TCP_ADDR=10.0.0.1", "APP_WEB_PORT_80_TCP_PORT=80"))
	for _, typo := range []string{"APP_PROT=80", "APP_SERVICE_HOST=host", "APP_SERVICE_PORT=80", "APP_DB_PORT=80", "APP_WEB_PORT_HTTP=80"} {
		if _, err := config.Load(t.Context(), numbered{}, config.Env("APP"), config.Environ(typo)); err == nil {
			t.Errorf("%s is taken for a service link", typo)
		}
	}
}

type inner struct {
	Host string `required:"true"`
	Port int    `min:"1" max:"65535"`
	List []int  `required:"true"`
}

func (in *inner) Validate() error {
	if in.Host == "bad" {
		return errors.New("host is bad")
	}
	return nil
}

type outer struct {
	Mail  inner
	Items []inner
	Name  string
	Limit *int
	Token config.Secret `required:"true"`
}

func (o *outer) Validate() error {
	err := o.Mail.Validate()
	switch o.Name {
	case "":
		return err
	case "panic":
		panic("on " + o.Token.Reveal())
	case "limit":
		if *o.Limit < 0 {
			return errors.New("limit is low")
		}
		return nil
	}
	if err != nil {
		err = fmt.Errorf("mail: %w", err)
	}
	return errors.Join(err, errors.New("name is taken"))
}

// TestReportSaysEachMistakeOnce: none hides another, and none is told twice.
func TestReportSaysEachMistakeOnce(t *testing.T) {
	t.Parallel()
	const good = "token: canary-token\nmail: {host: h, port: 1, list: [1]}\n"
	for _, tc := range []struct {
		name, file string
		env        []string
		want       []string
	}{
		{"unparsed file", "token: x\n list: [1\nhost: y\n", nil, []string{"s.yaml:2:2: invalid YAML"}},
		{"unparsed file that does not have the key", "mail:\n host: x\n  list: [1]\n", nil, []string{"s.yaml:3:3: invalid YAML", "token: required, but no layer sets it"}},
		{
			"secret file that is not there", "mail: {host: h, port: 1, list: [1]}\n",
			[]string{"APP_TOKEN_FILE=/nonexistent"},
			[]string{"/nonexistent: token: the file is missing (APP_TOKEN_FILE names it)"},
		},
		{
			"list that cannot be read", "token: x\nmail: {host: h, port: 1}\n",
			[]string{"APP_MAIL_LIST=[1"},
			[]string{"env APP_MAIL_LIST: mail.list: got"},
		},
		{"value for a section", "token: x\nmail: hello\n", nil, []string{`s.yaml:2:7: mail: got "hello", want a section`}},
		{"duplicate section", "token: x\nmail: {port: 1, list: [1]}\nmail: {}\n", nil, []string{"mail: duplicate key", "mail.host: required"}},
		{
			"items", good + "items:\n  - {port: 0, prot: 1, list: [x]}\n", nil,
			[]string{"items[0].host: required", "items[0].port: got", "items[0].prot: unknown key", "items[0].list[0]: got"},
		},
		{
			"Validate of both", "token: x\nname: n\nmail: {host: bad, port: 1, list: [1]}\n", nil,
			[]string{"s.yaml:3:1: mail: host is bad", "name is taken"},
		},
		{"Validate beside an unknown key", good + "name: n\nnmae: x\n", nil, []string{"nmae: unknown key", "name is taken"}},
		{
			"Validate beside a wrong value", good + "name: n\nlimit: x\n", nil,
			[]string{"limit: got", "name is taken (checked without the values that have a mistake of their own)"},
		},
		{"Validate panics", good + "name: panic\n", nil, []string{"its Validate method panicked: on [redacted]"}},
		{"Validate panics for a wrong value", good + "name: limit\nlimit: x\n", nil, []string{"limit: got"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			_, err := config.Load(t.Context(), outer{}, config.File(write(t, dir, "s.yaml", tc.file)), config.Env("APP"), config.Environ(tc.env...))
			var report *config.Report
			if !errors.As(err, &report) {
				t.Fatalf("error %v, want a report", err)
			}
			if len(report.Problems) != len(tc.want) {
				t.Errorf("%d problems, want %d", len(report.Problems), len(tc.want))
			}
			for _, want := range tc.want {
				if !strings.Contains(strings.ReplaceAll(err.Error(), dir+"/", ""), want) {
					t.Errorf("the report has no %q", want)
				}
			}
			if t.Failed() {
				t.Log(err)
			}
		})
	}
}

// TestReportIsBounded loads the file of another program: the report lists the
// first mistakes and counts the others.
func TestReportIsBounded(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{"s.yaml": "k%d: 1\n", "s.toml": "k%d = 1\n", "d.yaml": "- a%d: 1\n"} {
		var text strings.Builder
		if name == "d.yaml" {
			text.WriteString("list:\n")
		}
		for i := range 5000 {
			fmt.Fprintf(&text, line, i)
		}
		_, err := config.Load(t.Context(), struct {
			A    int
			List []struct{ B int }
		}{}, config.File(write(t, t.TempDir(), name, text.String())))
		var r *config.Report
		if !errors.As(err, &r) {
			t.Fatalf("%s: error %v", name, err)
		}
		if len(r.Problems) != 100 || r.More != 4900 || len(err.Error()) > 20_000 {
			t.Errorf("%s: %d problems, %d more, a text of %d bytes", name, len(r.Problems), r.More, len(err.Error()))
		}
		if !strings.Contains(err.Error(), "5000 problems") || !strings.HasSuffix(err.Error(), "and 4900 more") {
			t.Errorf("%s: the text ends with %q", name, err.Error()[max(0, len(err.Error())-60):])
		}
	}
}
