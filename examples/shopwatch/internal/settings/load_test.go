package settings_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func load(t *testing.T, args ...string) (*config.Store[settings.Settings], error) {
	t.Helper()
	flags, opts := settings.Flags()
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return settings.Load(t.Context(), flags, opts, os.DirFS("../.."))
}

func TestShippedProfiles(t *testing.T) {
	t.Parallel()
	dev, err := load(t)
	if err != nil {
		t.Fatal(err)
	}
	if s := dev.Get(); !s.UsesDemo() || s.Site.Every != 10*time.Second || s.Mail.Host != settings.Demo {
		t.Errorf("dev = %+v", s.Site)
	}
	if _, err := load(t, "-profile", "nonsense"); err == nil || !strings.Contains(err.Error(), "config.nonsense.yaml") {
		t.Errorf("unknown profile: %v", err)
	}
	prod, err := load(t, "-profile", "prod", "-site.url", "https://shop.example/")
	if err != nil {
		t.Fatal(err)
	}
	if s := prod.Get(); s.UsesDemo() || s.Log.Console.Format != "json" || s.Site.URL != "https://shop.example/" {
		t.Errorf("prod = %+v", s)
	}
	if e, ok := prod.Explain().Find("listen"); !ok || e.Origin.Name != "config/config.prod.yaml" {
		t.Errorf("origin of listen = %v", e.Origin)
	}
}

func TestOwnFileNeedsNoProfile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "my.yaml")
	if err := os.WriteFile(path, []byte("site: {url: 'https://shop.example/', every: 1h}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := load(t, "-config", path)
	if err != nil {
		t.Fatal(err)
	}
	if s := store.Get(); s.UsesDemo() || s.Site.Every != time.Hour {
		t.Errorf("site = %+v", s.Site)
	}
	if err := os.WriteFile(strings.TrimSuffix(path, ".yaml")+".dev.yaml", []byte("site: {every: 2h}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if store, err = load(t, "-config", path); err != nil || store.Get().Site.Every != 2*time.Hour {
		t.Errorf("with a dev profile beside it: %v", err)
	}
	if _, err = load(t, "-config", path, "-profile", "prod"); err == nil || !strings.Contains(err.Error(), "my.prod.yaml") {
		t.Errorf("a profile that was asked for: %v", err)
	}
}

func TestSettingsFileErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	broken := write("broken.yaml", "site:\n  url: ftp://shop.example\n  evry: 10s\n  workers: 0\nshutdown_timeout: never\nmail:\n  tls: maybe\n")
	write("broken.dev.yaml", "")
	syntax := write("syntax.yaml", "site: [\n")
	write("syntax.dev.yaml", "")
	for _, tt := range []struct {
		name, path string
		want       []string
	}{
		{"missing", filepath.Join(dir, "none.yaml"), []string{"none.yaml"}},
		{"syntax", syntax, []string{"syntax.yaml:"}},
		{"mistakes", broken, []string{
			"broken.yaml:3:3", "evry", "every", "broken.yaml:4:", "workers", "broken.yaml:5:", "shutdown_timeout",
			"broken.yaml:7:", "mandatory, implicit or none",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, "-config", tt.path)
			if _, ok := errors.AsType[*config.Report](err); !ok {
				t.Fatalf("error = %v, want a *config.Report", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error lacks %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	secrets := filepath.Join(t.TempDir(), "secrets.yaml") // they are no flags
	if err := os.WriteFile(secrets, []byte("telegram: {token: '1:hunter2'}\ndiscord: {webhook: hunter2}\nteams: {webhook: 'http://x.example/hunter2'}\nship: {url: 'http://logs.example/in', token: hunter2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{[]string{"-site.url", "https://user:hunter2@shop.example/", "-ship.url", "x"}, []string{"site.url", "user name", "ship.url", "http://"}},
		{[]string{"-listen", "8080", "-data-dir", ""}, []string{"listen", "host:port", "data_dir"}},
		{[]string{"-site.selectors.item", "li["}, []string{"selector item"}},
		{[]string{"-profile", "prod"}, []string{"site.url"}},
		{[]string{"-mail.port", "99999"}, []string{"mail"}},
		{[]string{"-profiling.listen", "0.0.0.0:6060"}, []string{"profiling.listen", "127.0.0.1"}},
		{[]string{"-site.url", "https://shop.example/", "-site.trace"}, []string{"site.trace", "tor.disabled"}},
		{[]string{"-auth.issuer", "http://id.example", "-auth.client-id", "x"}, []string{"auth.issuer", "https"}},
		{[]string{"-auth.client-id", "x"}, []string{"auth.issuer is empty"}},
		{[]string{"-config", secrets}, []string{"telegram.chat", "discord.webhook", "teams.webhook", "ship.url", "in clear", "ship.allow_plain_http"}},
		{[]string{"-listen", "127.0.0.1:0", "-server.hosts", "*.example"}, []string{"server.hosts", "*.example"}},
	} {
		_, err := load(t, tt.args...)
		if err == nil {
			t.Errorf("%v: no error", tt.args)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: error lacks %q:\n%v", tt.args, want, err)
			}
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password shows:\n%v", err)
		}
	}
}

func TestListensLocally(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]bool{"127.0.0.1:8080": true, "localhost:1": true, "[::1]:1": true, "0.0.0.0:1": false, ":1": false, "192.0.2.1:1": false} {
		if got := (settings.Settings{Listen: listen}).ListensLocally(); got != want {
			t.Errorf("%s: %t, want %t", listen, got, want)
		}
	}
}

func TestFlagsHelp(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	flags, _ := settings.Flags()
	if err := flags.Parse([]string{"-help"}); !errors.Is(err, flag.ErrHelp) || out.Len() > 0 {
		t.Fatal(err)
	}
	flags.SetOutput(&out)
	flags.PrintDefaults()
	for _, want := range []string{"-config", "-profile", "-healthcheck", "-site.url", "-mail.host"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help lacks %s", want)
		}
	}
}

// Not parallel: the environment is the process's.
func TestProfileFromEnvironment(t *testing.T) {
	t.Setenv("SVC_PROFILE", "prod")
	store, err := load(t, "-site.url", "https://shop.example/")
	if err != nil || store.Get().UsesDemo() {
		t.Errorf("SVC_PROFILE=prod: %v", err)
	}
	store, err = load(t, "-profile", "dev")
	if err != nil || !store.Get().UsesDemo() {
		t.Errorf("-profile dev over SVC_PROFILE=prod: %v", err)
	}
}
