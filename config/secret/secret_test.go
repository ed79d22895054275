package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"log"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"text/template"
	"unsafe"

	"github.com/davecgh/go-spew/spew"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pelletier/go-toml/v2"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

const canary = "canary-7f3a-hunter2"

func TestMain(m *testing.M) {
	if os.Getenv("SECRET_TEST_PANIC") == "1" {
		panic(holder{Open: secret.New(canary), closed: secret.New(canary)})
	}
	if os.Getenv("SECRET_TEST_PANIC") == "2" {
		panic(fmt.Errorf("login failed: %v", secret.New(canary)))
	}
	goleak.VerifyTestMain(m)
}

// holder has a secret in fields that printers may and may not call methods on.
type holder struct {
	Open   secret.Secret
	closed secret.Secret
	List   []secret.Secret
	Map    map[string]secret.Secret
	Ptr    *secret.Secret
	Any    any
}

// leaks lists ways to print. Each gives the text it printed.
func leaks() map[string]func(s secret.Secret) string {
	all := func(s secret.Secret) holder {
		return holder{s, s, []secret.Secret{s}, map[string]secret.Secret{"k": s}, &s, s}
	}
	out := map[string]func(s secret.Secret) string{
		"String":         func(s secret.Secret) string { return s.String() },
		"GoString":       func(s secret.Secret) string { return s.GoString() },
		"fmt.Sprint":     func(s secret.Secret) string { return fmt.Sprint(s, &s, all(s)) },
		"fmt.Errorf":     func(s secret.Secret) string { return fmt.Errorf("x %s %v: %w", s, s, errors.New("y")).Error() },
		"fmt of reflect": func(s secret.Secret) string { return fmt.Sprint(reflect.ValueOf(s), reflect.ValueOf(all(s))) },
		"text": func(s secret.Secret) string {
			b, err := s.MarshalText()
			return string(b) + fmt.Sprint(err)
		},
		"json": func(s secret.Secret) string {
			return marshal(json.Marshal(map[string]any{"v": s, "p": &s, "h": all(s)}))
		},
		"json key":    func(s secret.Secret) string { return marshal(json.Marshal(map[secret.Secret]int{s: 1})) },
		"json indent": func(s secret.Secret) string { return marshal(json.MarshalIndent(all(s), "", " ")) },
		"xml":         func(s secret.Secret) string { return marshal(xml.Marshal(struct{ S secret.Secret }{s})) },
		"xml attribute": func(s secret.Secret) string {
			return marshal(xml.Marshal(struct {
				S secret.Secret `xml:"s,attr"`
			}{s}))
		},
		"yaml": func(s secret.Secret) string { return marshal(yaml.Marshal(map[string]any{"v": s, "h": all(s)})) },
		"toml": func(s secret.Secret) string { return marshal(toml.Marshal(map[string]any{"v": s})) },
		"gob": func(s secret.Secret) string {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(all(s))
			return b.String() + fmt.Sprint(err)
		},
		"slog text": func(s secret.Secret) string { return logged(s, all(s), false) },
		"slog json": func(s secret.Secret) string { return logged(s, all(s), true) },
		"log": func(s secret.Secret) string {
			var b bytes.Buffer
			l := log.New(&b, "", 0)
			l.Print(s, all(s))
			l.Printf("%v %+v", s, all(s))
			return b.String()
		},
		"text/template": func(s secret.Secret) string {
			var b strings.Builder
			err := template.Must(template.New("").Parse(`{{.}} {{.Open}} {{printf "%q" .Open}} {{range .List}}{{.}}{{end}}`)).Execute(&b, all(s))
			return b.String() + fmt.Sprint(err)
		},
		"html/template": func(s secret.Secret) string {
			var b strings.Builder
			err := htmltemplate.Must(htmltemplate.New("").Parse(`<a href="{{.Open}}">{{.Open}}</a><script>x = {{.}}</script>`)).Execute(&b, all(s))
			return b.String() + fmt.Sprint(err)
		},
		"cmp.Diff of two":     func(s secret.Secret) string { return cmp.Diff(s, secret.New(canary+canary)) },
		"cmp.Diff of structs": func(s secret.Secret) string { return cmp.Diff(all(s), holder{}, cmp.AllowUnexported(holder{})) },
		"cmp.Diff of pointers": func(s secret.Secret) string {
			other := secret.New("another " + canary)
			return cmp.Diff(map[string]*secret.Secret{"a": &s}, map[string]*secret.Secret{"a": &other})
		},
		"cmp.Diff without methods": func(s secret.Secret) string {
			return cmp.Diff(all(s), holder{}, cmp.AllowUnexported(holder{}, secret.Secret{}))
		},
		"cmp.Diff ignoring": func(s secret.Secret) string {
			return cmp.Diff(all(s), holder{}, cmpopts.IgnoreUnexported(holder{}))
		},
		"spew":                 func(s secret.Secret) string { return spew.Sdump(s, &s, all(s)) + spew.Sprintf("%#+v %v", all(s), s) },
		"spew without methods": func(s secret.Secret) string { return dumper().Sdump(s, &s, all(s)) + dumper().Sprintf("%#+v", all(s)) },
		"reflection": func(s secret.Secret) string {
			var b strings.Builder
			walk(&b, reflect.ValueOf(all(s)))
			return b.String()
		},
		"recovered panic": func(s secret.Secret) (text string) {
			defer func() { text = fmt.Sprint(recover()) }()
			panic(s)
		},
		"uncaught panic":           func(secret.Secret) string { return rerun("1") },
		"uncaught panic, of error": func(secret.Secret) string { return rerun("2") },
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%20s", "%.3s", "%U", "%c", "%e", "%p", "%!", "%w"} {
		out["fmt "+verb] = func(s secret.Secret) string {
			return fmt.Sprintf(verb, s) + fmt.Sprintf(verb, &s) + fmt.Sprintf(verb, all(s)) + fmt.Sprintf(verb, []any{s})
		}
	}
	return out
}

func marshal(data []byte, err error) string { return string(data) + fmt.Sprint(err) }

func logged(s secret.Secret, all holder, asJSON bool) string {
	var b bytes.Buffer
	var h slog.Handler = slog.NewTextHandler(&b, nil)
	if asJSON {
		h = slog.NewJSONHandler(&b, nil)
	}
	l := slog.New(h)
	l.With("a", s).WithGroup("g").Info("m", "b", &s, "c", all, "d", []secret.Secret{s}, "e", map[string]any{"f": s})
	return b.String()
}

func dumper() *spew.ConfigState {
	return &spew.ConfigState{DisableMethods: true, DisablePointerMethods: true, Indent: " "}
}

// walk prints every string and byte that reflection can reach.
func walk(b *strings.Builder, rv reflect.Value) {
	switch rv.Kind() {
	case reflect.String:
		b.WriteString(rv.String() + "\n")
	case reflect.Struct:
		for _, field := range rv.Fields() {
			walk(b, field)
		}
	case reflect.Slice, reflect.Array:
		for i := range rv.Len() {
			walk(b, rv.Index(i))
		}
	case reflect.Map:
		for it := rv.MapRange(); it.Next(); {
			walk(b, it.Value())
		}
	case reflect.Pointer, reflect.Interface:
		if !rv.IsNil() {
			walk(b, rv.Elem())
		}
	}
}

// rerun lets this binary panic for good.
func rerun(how string) string {
	cmd := testenv.Self("-test.run=^$")
	cmd.Env = append(os.Environ(), "SECRET_TEST_PANIC="+how)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: ") {
		return canary + ": no panic"
	}
	return string(out)
}

func TestCanaryIsNeverShown(t *testing.T) {
	t.Parallel()
	paths := leaks()
	if len(paths) < 25 {
		t.Fatalf("%d printing paths, want at least 25", len(paths))
	}
	for name, show := range paths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := show(secret.New(canary))
			for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), "hunter2", "canary"} {
				if strings.Contains(text, form) {
					t.Errorf("shows %q in:\n%s", form, text)
				}
			}
			if text == "" {
				t.Error("printed nothing: the path was not taken")
			}
		})
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "x", canary, strings.Repeat("long ", 100), "\x00\xff"} {
		s := secret.New(value)
		if s.Reveal() != value || s.IsZero() != (value == "") {
			t.Errorf("%q: Reveal %q, IsZero %v", value, s.Reveal(), s.IsZero())
		}
		if want := secret.Redacted; value != "" && (s.String() != want || fmt.Sprint(s) != want) {
			t.Errorf("%q prints %q", value, s)
		}
		if value != "" && unsafeText(s) == value {
			t.Errorf("%q lies in memory as it is", value)
		}
		again := secret.New(value)
		if !s.Equal(again) || s != again || !reflect.DeepEqual(s, again) || !cmp.Equal(s, again) || s.Equal(secret.New(value+"x")) {
			t.Errorf("%q: equality does not hold", value)
		}
		var read secret.Secret
		if err := read.UnmarshalText([]byte(value)); err != nil || read != s {
			t.Errorf("%q: UnmarshalText gives %v, %v", value, read, err)
		}
		var decoded struct{ S secret.Secret }
		data, _ := json.Marshal(map[string]string{"S": strings.ToValidUTF8(value, "?")})
		if err := json.Unmarshal(data, &decoded); err != nil || decoded.S.Reveal() != strings.ToValidUTF8(value, "?") {
			t.Errorf("%q: JSON gives %v, %v", value, decoded, err)
		}
	}
}

// unsafeText is the string that a Secret holds, as a core dump shows it.
func unsafeText(s secret.Secret) string { return *(*string)(unsafe.Pointer(&s)) }
