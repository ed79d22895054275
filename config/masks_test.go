package config_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"text/template"

	"go.yaml.in/yaml/v3"

	"github.com/svcblocks/svcblocks/config"
)

// TestExplainMasks has secrets in plain strings, in the forms that are known to
// hold one: a second line of defence.
func TestExplainMasks(t *testing.T) {
	t.Parallel()
	type settings struct {
		DSN        string `koanf:"dsn"`
		SecretKey  string
		AccessKey  string `koanf:"aws_secret_access_key"`
		SMTPPass   string `koanf:"smtp_pass"`
		Pwd        string
		Encryption string `koanf:"encryption_key"`
		Signing    string `koanf:"signing_key"`
		APIKeys    []string
		AuthTokens []string
		Any        map[string]any
	}
	for _, line := range []string{
		"dsn: root:CANARY@tcp(127.0.0.1:3306)/app",
		"dsn: postgres://u:CANARY@h/db",
		"dsn: postgres://h/db?user=u&password=CANARY",
		"dsn: host=h user=u password=CANARY",
		"dsn: host=h user=u password='CANARY x'",
		"dsn: Server=h;Uid=u;Pwd=CANARY",
		"dsn: Server=h;User Id=u;Password=CANARY;",
		"dsn: DefaultEndpointsProtocol=https;AccountName=a;AccountKey=CANARY",
		"dsn: Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=CANARY",
		"dsn: https://h/c?sv=1&sig=CANARY",
		"dsn: redis://:CANARY@h:6379/0",
		"dsn: https://CANARY@sentry.io/1",
		"dsn: u:CANARY@h:5432/db",
		"dsn: mongodb://u:CANARY@a:1,b:2/db",
		"dsn: Bearer CANARY",
		"dsn: https://hooks.slack.com/services/T0/B0/CANARY",
		"dsn: https://discord.com/api/webhooks/1/CANARY",
		"secret_key: CANARY", "aws_secret_access_key: CANARY", "smtp_pass: CANARY", "pwd: CANARY", "encryption_key: CANARY",
		"signing_key: CANARY", "api_keys: [CANARY]", "auth_tokens: [CANARY]", "any: {db: {password: CANARY}}", "any: {l: [{url: 'http://u:CANARY@h'}]}",
	} {
		s := load(t, settings{}, config.File(write(t, t.TempDir(), "s.yaml", strings.ReplaceAll(line, "CANARY", canary)+"\n")))
		if shown := s.Explain().String(); strings.Contains(shown, canary) {
			t.Errorf("%s: shown as %s", line, shown)
		}
	}

	for _, plain := range []string{"dev", "host:8080", "https://h/path", "a=b", "me@example.com", "[::1]:80", "passable", "tokenizer=x"} {
		s := load(t, settings{}, config.File(write(t, t.TempDir(), "s.yaml", fmt.Sprintf("dsn: %q\n", plain))))
		if e, _ := s.Explain().Find("dsn"); e.Value != plain {
			t.Errorf("%s: shown as %s", plain, e.Value)
		}
	}
}

// TestURLPrints prints and encodes a URL with a password in every way but its
// String method.
func TestURLPrints(t *testing.T) {
	t.Parallel()
	u, err := config.ParseURL("https://u:" + canary + "@h.example/x?token=" + canary)
	must(t, err)
	nested := struct {
		URL  config.URL
		Ptr  *config.URL
		List []config.URL
		Map  map[string]config.URL
	}{u, &u, []config.URL{u}, map[string]config.URL{"k": u}}

	outs := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10.3s", "%b", "%U", "%c", "%e"} {
		outs[verb] = fmt.Sprintf(verb, u) + fmt.Sprintf(verb, &u) + fmt.Sprintf(verb, nested) + fmt.Sprintf(verb, nested.List)
	}
	data, err := json.Marshal(nested)
	must(t, err)
	outs["json"] = string(data)
	data, err = xml.Marshal(u)
	must(t, err)
	outs["xml"] = string(data)
	data, err = yaml.Marshal(nested)
	must(t, err)
	outs["yaml"] = string(data)
	var b bytes.Buffer
	must(t, gob.NewEncoder(&b).Encode(nested.List))
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "u", u, "p", &u, "n", nested)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "u", u, "p", &u, "n", nested)
	must(t, template.Must(template.New("").Parse(`{{.}} {{.URL}} {{printf "%s" .URL}}`)).Execute(&b, nested))
	outs["gob, slog, template"] = b.String()

	for how, out := range outs {
		if strings.Contains(out, canary) || strings.Contains(strings.ToLower(out), fmt.Sprintf("%x", canary)) {
			t.Errorf("%s shows it: %s", how, out)
		}
		if how == "%v" && !strings.Contains(out, "https://[redacted]@h.example/x") {
			t.Errorf("%s: %s", how, out)
		}
	}
	if got := u.String(); !strings.Contains(got, canary) {
		t.Errorf("String gives %s, want the whole address", got)
	}
}
