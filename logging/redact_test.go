package logging_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/logging"
)

const canary = `canary"<7f3a>\ü`

// account hides its password by LogValue, or so its author thought.
type account struct{ name, password string }

func (a account) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", a.name), slog.String("password", a.password))
}

// login has a password that JSON encoding shows.
type login struct {
	User     string
	Password string `json:"password"`
	Deep     map[string]any
}

// hidden has a password that JSON does not show, and fmt does.
type hidden struct {
	Name     string
	Password string `json:"-"`
	password string
}

type panicsWith struct{ s secret.Secret }

func (p panicsWith) Error() string { panic(p.s) }

type panics struct{}

func (panics) LogValue() slog.Value { panic("lost " + canary) }

// plants log the canary in every way; those under keys need Redact, the rest
// Options.Secrets.
var plants = map[string]func(log *slog.Logger){
	"attribute":    func(log *slog.Logger) { log.Info("m", "password", canary) },
	"other case":   func(log *slog.Logger) { log.Info("m", strings.ToUpper("password"), canary) },
	"group":        func(log *slog.Logger) { log.Info("m", slog.Group("g", slog.Group("h", "password", canary))) },
	"group as key": func(log *slog.Logger) { log.Info("m", slog.Group("password", "a", canary)) },
	"With":         func(log *slog.Logger) { log.With("password", canary).Info("m") },
	"WithGroup": func(log *slog.Logger) {
		log.WithGroup("g").With("password", canary).WithGroup("h").Info("m", "password", canary)
	},
	"WithGroup as key": func(log *slog.Logger) { log.WithGroup("password").Info("m", "a", canary) },
	"LogValuer":        func(log *slog.Logger) { log.Info("m", "account", account{"n", canary}) },
	"LogValuer in With": func(log *slog.Logger) {
		log.With("account", account{"n", canary}).Info("m")
	},
	"struct": func(log *slog.Logger) { log.Info("m", "login", login{User: "n", Password: canary}) },
	"pointer": func(log *slog.Logger) {
		log.Info("m", "login", &login{Deep: map[string]any{"password": []any{canary, 1}}})
	},
	"map": func(log *slog.Logger) { log.Info("m", "headers", http.Header{"Password": {canary}}) },
	"secret": func(log *slog.Logger) {
		s := secret.New(canary)
		log.Info("m", "token", s, "pointer", &s, "in", struct{ S secret.Secret }{s})
	},
	"secrets all over": func(log *slog.Logger) {
		s := secret.New(canary)
		log.With("a", []any{s, &s}).Info("m", "b", map[string]secret.Secret{"k": s}, "c", map[secret.Secret]int{s: 1}, "d", []secret.Secret{s},
			"e", fmt.Errorf("%v %+v %#v %s %q %x %d: %w", s, s, s, s, s, s, s, errors.New(s.String())), slog.Group("f", "g", []*secret.Secret{&s}),
			"h", struct{ P *secret.Secret }{&s}, "i", panicsWith{s})
	},
	"hidden fields": func(log *slog.Logger) {
		log.Info("m", "x", hidden{"n", canary, canary}, "y", []hidden{{"n", canary, canary}}, "z", &hidden{"n", canary, canary})
	},
	"bytes key": func(log *slog.Logger) { log.Info("m", "password", []byte(canary)) },
}

var textPlants = map[string]func(log *slog.Logger){
	"message":     func(log *slog.Logger) { log.Info("opened with " + canary) },
	"error":       func(log *slog.Logger) { log.Info("m", "error", fmt.Errorf("dial: %w", errors.New(canary))) },
	"other key":   func(log *slog.Logger) { log.Info("m", "note", "it is "+canary+", really") },
	"in a struct": func(log *slog.Logger) { log.Info("m", "x", struct{ A []string }{[]string{canary}}) },
	"panic":       func(log *slog.Logger) { log.Info("m", "x", panics{}) },
	"in With":     func(log *slog.Logger) { log.With("note", canary).WithGroup("g").Info("m", "a", 1) },
	"key":         func(log *slog.Logger) { log.Info("m", canary, 1) },
	"URL": func(log *slog.Logger) {
		log.Info("m", "error", &url.Error{Op: "Get", URL: "http://x/?t=" + url.QueryEscape(canary) + "/" + url.PathEscape(canary), Err: errors.New("no")})
	},
	"quoted":     func(log *slog.Logger) { log.Info("m", "error", fmt.Errorf("cannot use %q", canary)) },
	"some bytes": func(log *slog.Logger) { log.Info("m", "x", []byte(canary), "y", struct{ B []byte }{[]byte(canary)}) },
	"JSON in a text": func(log *slog.Logger) {
		body, err := json.Marshal(map[string]string{"token": canary})
		log.Info("m", "body", string(body), "raw", json.RawMessage(body), "error", err)
	},
	"stringer": func(log *slog.Logger) { log.Info("m", "x", fmt.Stringer(bytes.NewBufferString(canary))) },
}

func TestNoSecretIsWritten(t *testing.T) {
	t.Parallel()
	all := map[string]func(*slog.Logger){}
	for name, f := range plants {
		all["by key/"+name] = f
	}
	for name, f := range textPlants {
		all["by text/"+name] = f
	}
	for name, plant := range all {
		for _, format := range []string{"text", "json"} {
			t.Run(name+"/"+format, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				var console, further buffer
				r := newReceiver(t)
				o := &logging.Options{
					Console: logging.ConsoleOptions{Format: format, Writer: &console}, Redact: []string{"Password"},
					File: logging.FileOptions{Path: filepath.Join(dir, "app.log")},
					Sink: r.sink(t), Ship: byHand, Handlers: []slog.Handler{slog.NewTextHandler(&further, nil)},
				}
				if strings.HasPrefix(name, "by text") {
					o.Secrets = []secret.Secret{secret.New("no"), secret.New(canary)}
				}
				logs := newLogs(t, o)
				plant(logs.Logger("a"))
				file := strings.Join(lines(t, dir), "")
				if _, err := logs.SendBulk(minute(t)); err != nil {
					t.Fatal(err)
				}
				for where, text := range map[string]string{"file": file, "console": console.String(), "handler": further.String(), "wire": r.raw.String()} {
					if text == "" {
						t.Errorf("nothing in %s", where)
					}
					if strings.Contains(text, "7f3a") {
						t.Errorf("the secret is in %s: %s", where, text)
					}
					if !strings.Contains(text, secret.Redacted) && !strings.Contains(name, "panic") && !strings.Contains(name, "stringer") && !strings.Contains(name, "hidden") { // not shown at all
						t.Errorf("%s does not show that something was taken out: %s", where, text)
					}
				}
				if !json.Valid([]byte(file)) {
					t.Errorf("the line is no JSON: %s", file)
				}
			})
		}
	}
}

func TestRedactionLeavesTheRest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	logs := newLogs(t, &logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log")}, Redact: []string{"password"}})
	h := logs.Logger("").Handler().WithAttrs([]slog.Attr{slog.Int("a", 1)}).WithGroup("g")
	r := record("m", "passwords", "kept", "x", map[string]any{"password": "gone", "b": []int{1, 2}, "pass": nil}, "y", 2.5)
	r.Time = r.Time.UTC()
	if err := h.Handle(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	got := lines(t, dir)[0]
	_, got, _ = strings.Cut(got, `"level"`)
	want := `:"INFO","msg":"m","a":1,"g":{"passwords":"kept","x":{"b":[1,2],"pass":null,"password":"[redacted]"},"y":2.5}}` + "\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestCyclicValues logs values that hold themselves: to print one with fmt ends
// the process.
func TestCyclicValues(t *testing.T) {
	t.Parallel()
	cyclic := map[string]any{}
	cyclic["self"] = []any{cyclic}
	for _, format := range []string{"text", "json"} {
		var out, further buffer
		logs := newLogs(t, &logging.Options{Redact: []string{"password"}, Console: logging.ConsoleOptions{Format: format, Writer: &out}, Handlers: []slog.Handler{slog.NewTextHandler(&further, nil)}})
		log := logs.Logger("a").With("x", cyclic)
		log.Info("m", "y", cyclic, slog.Group("g", "z", cyclic))
		for _, text := range []string{out.String(), further.String()} {
			if strings.Count(text, "encountered a cycle") != 3 {
				t.Errorf("%s: %s", format, text)
			}
		}
	}
}
