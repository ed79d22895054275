package config_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/davecgh/go-spew/spew"
	"go.yaml.in/yaml/v3"

	"github.com/svcblocks/svcblocks/config"
)

const canary = "canary-7f3a-hunter2"

type confidential struct {
	Password  config.Secret `min:"100"`
	Plain     string        `koanf:"api_token" oneof:"a|b"`
	N         int
	Wait      time.Duration
	Level     slog.Level
	Hosts     []int
	Secrets   map[string]config.Secret
	List      []config.Secret
	URL       config.URL
	DSN       string `oneof:"x"`
	Any       map[string]any
	Reckless  reckless
	Numbers   map[string]int
	Shy       shy
	Listen    string
	DSNList   []string
	Long      config.Secret
	Validated config.Secret
}

// reckless puts its secret into an error.
type reckless struct{ Key config.Secret }

func (r reckless) Validate() error {
	if !r.Key.IsZero() {
		return errors.Join(fmt.Errorf("key %s is weak", r.Key.Reveal()), fmt.Errorf("again %w", &ownError{r.Key.Reveal()}))
	}
	return nil
}

type ownError struct{ text string }

func (e *ownError) Error() string { return "own: " + e.text }

// shy repeats its text in its error.
type shy string

func (s *shy) UnmarshalText(text []byte) error { return fmt.Errorf("no shy %q", text) }

// everything prints an error, or anything else, in many ways.
func everything(v any) string {
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	if err, ok := v.(error); ok {
		b.WriteString(err.Error())
		var report *config.Report
		if errors.As(err, &report) {
			for _, p := range report.Problems {
				fmt.Fprintf(&b, "%+v %#v %v\n", p, p, p.Err)
				b.WriteString(spew.Sdump(p.Key, p.Value, p.Want, p.Hint, p.Message, p.Layer))
			}
		}
		var logged bytes.Buffer
		slog.New(slog.NewJSONHandler(&logged, nil)).Error("x", "error", err)
		b.Write(logged.Bytes())
	}
	data, _ := json.Marshal(v)
	b.Write(data)
	return b.String()
}

func TestCanaryInErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secretFile := write(t, dir, "value", canary+"\n")
	flags := func(args ...string) config.Option {
		fs := flag.NewFlagSet("x", flag.ContinueOnError)
		config.DefineFlags(fs, confidential{})
		must(t, fs.Parse(args))
		return config.Flags(fs)
	}
	file := func(name, content string) config.Option {
		return config.File(write(t, t.TempDir(), name, strings.ReplaceAll(content, "CANARY", canary)))
	}
	env := func(pairs ...string) []config.Option {
		for i := range pairs {
			pairs[i] = strings.ReplaceAll(pairs[i], "CANARY", canary)
		}
		return []config.Option{config.Env("APP"), config.Environ(append(pairs, "VALUE="+canary)...)}
	}
	for name, opts := range map[string][]config.Option{
		"yaml: a list":                {file("s.yaml", "password: [CANARY]")},
		"yaml: a section":             {file("s.yaml", "password: {CANARY: CANARY}")},
		"yaml: too short":             {file("s.yaml", "password: CANARY")},
		"yaml: by its key's name":     {file("s.yaml", "api_token: CANARY")},
		"yaml: duplicate":             {file("s.yaml", "long: CANARY\nlong: CANARY")},
		"yaml: unknown key":           {file("s.yaml", "pasword: CANARY")},
		"yaml: not closed":            {file("s.yaml", "password: \"CANARY\nn: 1")},
		"yaml: colon":                 {file("s.yaml", "password: x: CANARY")},
		"yaml: escape":                {file("s.yaml", `password: "\cCANARY"`)},
		"yaml: at sign":               {file("s.yaml", "password: @CANARY")},
		"yaml: map entry":             {file("s.yaml", "secrets: {a: [CANARY]}")},
		"yaml: list entry":            {file("s.yaml", "list: [{a: CANARY}]")},
		"yaml: url":                   {file("s.yaml", "url: \"http://u:CANARY@h:99999999/%zz\"")},
		"yaml: url in a string":       {file("s.yaml", "dsn: postgres://u:CANARY@h/db")},
		"yaml: query of a url":        {file("s.yaml", "dsn: [postgres://h/db?sslmode=x&password=CANARY]")},
		"yaml: connection string":     {file("s.yaml", "n: host=h user=u Password=CANARY sslmode=x")},
		"yaml: odd url in a string":   {file("s.yaml", "dsn: postgres://u:CAN/ARY#CANARY@h/db?x=y")},
		"yaml: a validator's words":   {file("s.yaml", "reckless: {key: CANARY}")},
		"yaml: scalar for a section":  {file("s.yaml", "reckless: ref+env://VALUE")},
		"yaml: url as a number":       {file("s.yaml", "n: http://u:CANARY@h")},
		"json: escape":                {file("s.json", `{"password": "\qCANARY"}`)},
		"json: not closed":            {file("s.json", `{"password": "CANARY`)},
		"json: bare":                  {file("s.json", `{"password": CANARY}`)},
		"json: newline":               {file("s.json", "{\"password\": \"CANARY\n\"}")},
		"toml: escape":                {file("s.toml", `password = "\qCANARY"`)},
		"toml: not closed":            {file("s.toml", `password = "CANARY`)},
		"toml: bare":                  {file("s.toml", `password = CANARY`)},
		"toml: duplicate":             {file("s.toml", "long = 'CANARY'\nlong = 'CANARY'")},
		"env: number":                 env("APP_N_FILE=" + secretFile),
		"env: duration":               env("APP_WAIT_FILE=" + secretFile),
		"env: level":                  env("APP_LEVEL_FILE=" + secretFile),
		"env: list":                   env("APP_HOSTS_FILE=" + secretFile),
		"env: map of secrets":         env(`APP_SECRETS=CANARY`),
		"env: broken map of secrets":  env(`APP_SECRETS={"a":"CANARY`),
		"env: too short":              env("APP_PASSWORD=CANARY"),
		"env: unknown":                env("APP_PASWORD=CANARY"),
		"env: both":                   env("APP_PASSWORD=CANARY", "APP_PASSWORD_FILE="+secretFile),
		"env: reference in a number":  env("APP_N=ref+env://VALUE"),
		"env: reference in a level":   env("APP_LEVEL=ref+env://VALUE"),
		"env: reference in a type":    env("APP_SHY=ref+env://VALUE"),
		"env: reference in a map":     env(`APP_NUMBERS={"a":"ref+env://VALUE"}`),
		"env: reference in a list":    env("APP_HOSTS=ref+env://VALUE"),
		"env: reference with a limit": env("APP_DSN=ref+env://VALUE"),
		"secrets: number":             {config.SecretsDir(func() string { d := t.TempDir(); write(t, d, "n", canary); return d }())},
		"secrets: type":               {config.SecretsDir(func() string { d := t.TempDir(); write(t, d, "shy", canary); return d }())},
		"secrets: url":                {config.SecretsDir(func() string { d := t.TempDir(); write(t, d, "url", "http://"+canary+":%%"); return d }())},
		"flag: by its key's name":     {flags("-api-token=" + canary)},
		"resolver":                    {file("s.yaml", "long: CANARY\nn: ref+vault://x"), config.Resolve("vault", failing{errors.New("token " + canary + " is not valid")})},
		"source": {config.Source("m", mapProvider(func() map[string]any {
			return map[string]any{"password": []string{canary}, "secrets": map[string]any{"a": []any{canary}}}
		}), nil)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(t.Context(), confidential{}, opts...)
			if err == nil {
				t.Fatal("no error: the case tests nothing")
			}
			if text := everything(err); strings.Contains(text, canary) || strings.Contains(text, "hunter2") {
				t.Errorf("the secret is shown:\n%s", text)
			}
		})
	}
}

// TestCanaryInStore looks for the secret in what a store with valid settings
// shows of itself.
func TestCanaryInStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := write(t, dir, "s.yaml", strings.ReplaceAll(`
long: CANARY
secrets: {a: CANARY, b: ref+env://X}
list: [CANARY]
url: https://u:CANARY@h/x
listen: ref+env://X
dsn_list: [a, ref+env://X]
any: {password: CANARY, deep: {db_token: CANARY, urls: ["http://u:CANARY@h"]}}
`, "CANARY", canary))
	var logged lockedBuffer
	var fail error
	s := load(t, confidential{}, config.File(path, config.Writable()), config.Env("APP"), config.Environ("X="+canary, "APP_LONG="+canary+"2"),
		config.Resolve("flaky", resolverFunc(func() (string, error) { return canary, fail })),
		config.Logger(slog.New(slog.NewJSONHandler(&logged, nil))))
	must(t, s.Set(t.Context(), "validated", "ref+flaky://x"))
	fail = fmt.Errorf("the value %s is gone", canary)
	var shown strings.Builder
	show := func(v any) { shown.WriteString(everything(v)) }
	show(s.Refresh(t.Context()))
	for _, err := range []error{
		s.Set(t.Context(), "long", canary), s.Set(t.Context(), "secrets.a", canary), s.Set(t.Context(), "list", canary), s.Set(t.Context(), "secrets", `{"a":"`+canary+`"}`),
		s.Set(t.Context(), "api_token", canary), s.Set(t.Context(), "url", "https://u:"+canary+"@h"), s.Set(t.Context(), "listen", "plain"),
		s.Update(t.Context(), func(c *confidential) error { c.List = append(c.List, c.Long); return nil }),
		s.Update(t.Context(), func(c *confidential) error { c.Reckless.Key = c.Long; return nil }),
		s.Update(t.Context(), func(c *confidential) error { c.Secrets["new"] = c.Long; return nil }),
	} {
		if err == nil {
			t.Error("a change that must be refused was made")
			continue
		}
		show(err)
	}
	show(s.Explain())
	shown.WriteString(s.Explain().String())
	show(s.Stats())
	shown.WriteString(spew.Sdump(s.Explain(), s.Stats().References))
	show(struct {
		A config.Secret
		B map[string]config.Secret
		C []config.Secret
		D config.URL
	}{s.Get().Long, s.Get().Secrets, s.Get().List, s.Get().URL})
	data, err := yaml.Marshal(s.Get().Secrets)
	must(t, err)
	shown.Write(data)
	shown.WriteString(logged.String())
	for line := range strings.Lines(shown.String()) {
		if strings.Contains(line, "hunter2") {
			t.Errorf("the secret is shown: %s", line)
		}
	}
}

type resolverFunc func() (string, error)

func (f resolverFunc) Resolve(context.Context, string, string) (string, time.Duration, error) {
	v, err := f()
	return v, 0, err
}
