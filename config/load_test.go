package config_test

import (
	"flag"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/svcblocks/svcblocks/config"
)

// optionsLike has the shape of the options structs of other packages: no tags,
// and fields that are no settings.
type optionsLike struct {
	URL          string
	MinLevel     slog.Level
	SMTPHost     string
	MaxBodyBytes int64
	Timeout      time.Duration
	Recipients   []string
	Headers      map[string]string
	Password     config.Secret
	Networks     []netip.Prefix
	Disable      bool
	Retry        struct{ Max int }
	Deep         *struct{ Name string }

	Logger    *slog.Logger
	Client    *http.Client
	Transport http.RoundTripper
	OnError   func(error)
	Done      chan struct{}
	hidden    int
}

func TestLoadOptionsStructWithoutTags(t *testing.T) {
	t.Parallel()
	type settings struct {
		Notify optionsLike
	}
	logger, client := slog.New(slog.DiscardHandler), &http.Client{Timeout: time.Minute}
	store, err := config.Load(t.Context(), settings{Notify: optionsLike{Logger: logger, Client: client, SMTPHost: "mail", hidden: 3}},
		config.File("s.yaml", config.In(fstest.MapFS{"s.yaml": {Data: []byte(`
notify:
  url: https://x.example
  min_level: warn
  max_body_bytes: 1048576
  timeout: 1m30s
  recipients: [a@x, b@x]
  headers: {X-A: "1"}
  password: hunter2hunter2
  networks: [10.0.0.0/8]
  disable: true
  retry: {max: 3}
  deep: {name: x}
`)}})),
		config.Env("APP"), config.Environ("APP_NOTIFY_MIN_LEVEL=DEBUG-2", "APP_NOTIFY_RECIPIENTS=c@x, d@x", `APP_NOTIFY_HEADERS={"X-B":"2"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := optionsLike{
		URL: "https://x.example", MinLevel: slog.LevelDebug - 2, SMTPHost: "mail", MaxBodyBytes: 1 << 20, Timeout: 90 * time.Second,
		Recipients: []string{"c@x", "d@x"}, Headers: map[string]string{"X-A": "1", "X-B": "2"}, Disable: true,
		Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}
	want.Retry.Max = 3
	got := store.Get().Notify
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(optionsLike{}, "Logger", "Client", "Password", "Deep"),
		cmpopts.IgnoreUnexported(optionsLike{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if got.Logger != logger || got.Client != client || got.hidden != 3 {
		t.Error("fields that are no keys did not keep their values")
	}
	if got.Password.Reveal() != "hunter2hunter2" || got.Deep == nil || got.Deep.Name != "x" {
		t.Errorf("password %v, deep %v", got.Password, got.Deep)
	}
	if text := store.Explain().String(); strings.Contains(text, "hunter2") || !strings.Contains(text, "env APP_NOTIFY_MIN_LEVEL") {
		t.Errorf("explanation:\n%s", text)
	}
}

func TestSnakeCase(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"URL": "url", "MinLevel": "min_level", "SMTPHost": "smtp_host", "MaxBodyBytes": "max_body_bytes", "URLs": "urls",
		"IDsAllowed": "ids_allowed", "RotateEvery": "rotate_every", "HTTP2Enabled": "http2_enabled", "A": "a", "UserID": "user_id",
		"TLSConfig": "tls_config", "ServeHTTP": "serve_http", "OAuth2Token": "o_auth2_token",
	} {
		if got := config.SnakeCase(in); got != want {
			t.Errorf("snake case of %s = %s, want %s", in, got, want)
		}
	}
}

func TestLayers(t *testing.T) {
	t.Parallel()
	type settings struct {
		Mode   string `koanf:"mode" oneof:"dev|prod"`
		Scrape struct {
			RotateEvery int           `koanf:"rotate_every" min:"1"`
			Wait        time.Duration `doc:"between pages"`
			Tor         string
		}
		Token config.Secret `required:"true"`
	}
	dir := t.TempDir()
	base := write(t, dir, "config.yaml", "mode: dev\nscrape:\n  rotate_every: 25\n  wait: 1s\n")
	write(t, dir, "config.prod.yaml", "mode: prod\nscrape:\n  wait: 2s\n")
	write(t, dir, "secrets/token", "from-a-file\n")
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	config.DefineFlags(fs, settings{})
	fs.String("other", "", "")
	if err := fs.Parse([]string{"-scrape.rotate-every=50", "-other=1"}); err != nil {
		t.Fatal(err)
	}
	var def settings
	def.Scrape.Tor = "127.0.0.1:9050"
	store, err := config.Load(t.Context(), def, config.File(base, config.Writable()), config.ProfileFromEnv("APP_PROFILE"),
		config.SecretsDir(dir+"/secrets"), config.Env("APP"), config.Flags(fs),
		config.Environ("APP_PROFILE=prod", "APP_SCRAPE_ROTATE_EVERY=30", "HOME=/x"))
	if err != nil {
		t.Fatal(err)
	}
	got := store.Get()
	if got.Mode != "prod" || got.Scrape.RotateEvery != 50 || got.Scrape.Wait != 2*time.Second || got.Scrape.Tor != def.Scrape.Tor || got.Token.Reveal() != "from-a-file" {
		t.Errorf("got %+v", got)
	}
	e, _ := store.Explain().Find("scrape.rotate_every")
	want := config.Entry{Key: "scrape.rotate_every", Value: "50", Origin: config.Origin{Layer: "flag", Name: "-scrape.rotate-every"}, Overrode: []config.Overridden{
		{Origin: config.Origin{Layer: "env", Name: "APP_SCRAPE_ROTATE_EVERY"}, Value: "30"},
		{Origin: config.Origin{Layer: "file", Name: base, Line: 3, Column: 17}, Value: "25"},
	}}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("explanation (-want +got):\n%s", diff)
	}
}
