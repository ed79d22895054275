package redact_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"html/template"
	"io/fs"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/redact"
)

func newRedactor(values ...string) *redact.Redactor {
	var secrets []secret.Secret
	for _, v := range values {
		secrets = append(secrets, secret.New(v))
	}
	return redact.New(secrets...)
}

// writings are the ways in which a secret is written, and whether a short one
// is found in them.
var writings = []struct {
	name  string
	long  bool // only from 8 bytes on
	write func(s string) string
}{
	{"plain", false, func(s string) string { return s }},
	{"query", false, url.QueryEscape},
	{"path", false, url.PathEscape},
	{"query lower case", false, func(s string) string { return lower(url.QueryEscape(s)) }},
	{"path lower case", false, func(s string) string { return lower(url.PathEscape(s)) }},
	{"userinfo", false, func(s string) string { return url.UserPassword("u", s).String() }},
	{"%q", false, strconv.Quote},
	{"%+q", false, strconv.QuoteToASCII},
	{"JSON", false, func(s string) string { return asJSON(s, true) }},
	{"JSON without HTML", false, func(s string) string { return asJSON(s, false) }},
	{"JSON in JSON", false, func(s string) string { return asJSON(asJSON(s, true), false) }},
	{"JSON in JSON in JSON", false, func(s string) string { return asJSON(asJSON(asJSON(s, false), false), false) }},
	{"%q in JSON", false, func(s string) string { return asJSON(strconv.Quote(s), true) }},
	{"address in JSON", false, func(s string) string { return asJSON("http://h/"+url.PathEscape(s), true) }},
	{"base64", false, func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }},
	{"base64 unpadded", false, func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) }},
	{"base64 URL", false, func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) }},
	{"hex", false, func(s string) string { return hex.EncodeToString([]byte(s)) }},
	{"HEX", false, func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) }},
	{"% x", false, func(s string) string { return fmt.Sprintf("% x", s) }},
	{"% X", false, func(s string) string { return fmt.Sprintf("% X", s) }},
	{"%# x", false, func(s string) string { return fmt.Sprintf("%# x", s) }},
	{"%#v of bytes", false, func(s string) string {
		return strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", []byte(s)), "[]byte{"), "}")
	}},
	{"HTML", false, html.EscapeString},
	{"html/template", false, template.HTMLEscapeString},
	{"HTML in JSON", false, func(s string) string { return asJSON(html.EscapeString(s), false) }},
	{"bytes", false, func(s string) string { return fmt.Sprint([]byte(s)) }},
	{"basic authentication", true, func(s string) string { return base64.StdEncoding.EncodeToString([]byte("user:" + s)) }},
	{"base64 after 1", true, func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("x" + s + "yz")) }},
	{"base64 after 2", true, func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte("xy" + s + "z")) }},
	{"base64 after 3", true, func(s string) string { return base64.StdEncoding.EncodeToString([]byte("xyz" + s + "abc")) }},
	{"line", false, redact.Line},
}

func lower(escaped string) string {
	b := []byte(escaped)
	for i := range b {
		if b[i] == '%' && i+2 < len(b) {
			copy(b[i+1:], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

func asJSON(s string, html bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	if err := e.Encode(s); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Every form of every length is hidden, and nothing of it is left beside the
// mask; from 4 bytes on, within base64 from 8.
func TestForms(t *testing.T) {
	t.Parallel()
	const alphabet = "7f3a\"/<é&\\ +kQ~Zw\t9xXbB0@pPü%{r\u2028!"
	for _, n := range []int{3, 4, 7, 8, 32} {
		for _, value := range []string{prefix(alphabet, n), strings.Repeat("q7Zx", 8)[:n]} {
			r := newRedactor("unrelated-secret", value)
			for _, w := range writings {
				written := w.write(value)
				text := "before " + written + " after"
				got := r.String(text)
				hidden := n >= 4 && (!w.long || n >= 8)
				switch {
				case !hidden && got != text:
					t.Errorf("%s, %d bytes: %q became %q", w.name, n, text, got)
				case hidden && !strings.Contains(got, redact.Mask):
					t.Errorf("%s, %d bytes: %q stayed %q", w.name, n, text, got)
				case hidden && !w.long && strings.Trim(strings.NewReplacer("before", "", "after", "", redact.Mask, "", "http://h/", "", "u:", "").Replace(got), "\"\\= []") != "":
					t.Errorf("%s, %d bytes: %q left %q", w.name, n, text, got)
				case r.Contains([]byte(text)) != hidden || string(r.Bytes([]byte(text))) != got || string(r.Append([]byte("x"), []byte(text))) != "x"+got:
					t.Errorf("%s, %d bytes: String, Bytes, Append and Contains differ on %q", w.name, n, text)
				}
			}
		}
	}
}

// prefix returns n bytes or up to three more, so that no letter is cut.
func prefix(s string, n int) string {
	for i := range s {
		if i >= n {
			return s[:i]
		}
	}
	return s
}

// Within base64 every letter that holds bits of the secret goes.
func TestBase64LeavesNoBits(t *testing.T) {
	t.Parallel()
	r := newRedactor("q7Zx+k9w")
	for _, tc := range []struct{ before, after string }{{"abc", "def"}, {"abcd", "efg"}, {"abcde", "fgh"}, {"abc", "d"}, {"a", ""}} {
		text := base64.StdEncoding.EncodeToString([]byte(tc.before + "q7Zx+k9w" + tc.after))
		got := r.String(text)
		start := 8 * len(tc.before) / 6
		end := (8*(len(tc.before)+8) + 5) / 6
		if want := text[:start] + redact.Mask + text[end:]; got != want {
			t.Errorf("%q: %q, want %q", tc, got, want)
		}
	}
}

func TestUnion(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		secrets    []string
		text, want string
	}{
		{[]string{"hunter2", "hunter2-production-key"}, "with hunter2-production-key.", "with [redacted]."},
		{[]string{"hunter2-production-key", "hunter2"}, "hunter2 hunter2-production-ke", "[redacted] [redacted]-production-ke"},
		{[]string{"production", "hunter2-production-key"}, "hunter2-production-key", "[redacted]"},
		{[]string{"abcdef", "defghi"}, "-abcdefghi-", "-[redacted]-"},
		{[]string{"abcdef", "ghijkl"}, "-abcdefghijkl-", "-[redacted]-"},
		{[]string{"aaaa"}, "-aaaaaaa-aaa-", "-[redacted]-aaa-"},
		{[]string{"abcd", "bcde", "cdef"}, "abcdefg", "[redacted]g"},
		{[]string{"reda", "redacted", "[redacted]"}, "abc [redacted] redacted", "abc [redacted] [redacted]"},
		{[]string{"abc", "", "xy"}, "abc xy", "abc xy"},
		{[]string{"abcd"}, "abcd", "[redacted]"},
		{[]string{"abcd"}, "abcabcdabc", "abc[redacted]abc"},
		{nil, "abcd", "abcd"},
	} {
		r := newRedactor(tc.secrets...)
		if got := r.String(tc.text); got != tc.want {
			t.Errorf("%q: %q became %q, want %q", tc.secrets, tc.text, got, tc.want)
		}
		if got := r.String(tc.want); !strings.Contains(tc.want, "redacted redacted") && got != tc.want {
			t.Errorf("%q: %q again became %q", tc.secrets, tc.want, got)
		}
	}
}

func TestZero(t *testing.T) {
	t.Parallel()
	var none *redact.Redactor
	for _, r := range []*redact.Redactor{none, {}, redact.New(), newRedactor("abc")} {
		b := []byte("text")
		if r.String("text") != "text" || &r.Bytes(b)[0] != &b[0] || string(r.Append(nil, b)) != "text" || r.Contains(b) || !r.IsZero() ||
			!r.Long().IsZero() || !same(r.Error(fs.ErrExist), fs.ErrExist) || r.Error(nil) != nil || r.Reason("text") != "text" {
			t.Errorf("%v changes what it gets", r)
		}
	}
}

func TestLong(t *testing.T) {
	t.Parallel()
	r := newRedactor("prod", "q7Zx+k9w").Long()
	if got := r.String("prod is down: q7Zx+k9w"); got != "prod is down: [redacted]" {
		t.Error(got)
	}
}

// What was cut off before an ellipsis goes too, but for a scheme and host.
func TestCutOff(t *testing.T) {
	t.Parallel()
	r := newRedactor("two  words\tand-a-long-tail", "https://hooks.example/services/T/B/x", "another-key")
	for _, tc := range []struct{ text, want string }{
		{"- two words a…\n- more", "- [redacted]…\n- more"},
		{"it goes on, two…", "it goes on, two…"},
		{"see https://hooks.example/…", "see https://hooks.example/…"},
		{"see https://hooks.example/ser…", "see [redacted]…"},
		{"anoth… and anothe…r", "[redacted]… and [redacted]…r"},
		{"another-key…", "[redacted]…"},
		{"…", "…"},
	} {
		if got := r.String(tc.text); got != tc.want {
			t.Errorf("%q became %q, want %q", tc.text, got, tc.want)
		}
	}
}

// same reports whether two errors are one value, where errors.Is would look below.
func same(a, b any) bool { return a == b }

type timeoutError struct{ text string }

func (e *timeoutError) Error() string             { return e.text }
func (e *timeoutError) Timeout() bool             { return true }
func (e *timeoutError) Temporary() bool           { return true }
func (e *timeoutError) RetryAfter() time.Duration { return time.Minute }

func TestError(t *testing.T) {
	t.Parallel()
	const value = "q7Zx+k9w"
	r := newRedactor(value)
	clean := fmt.Errorf("dial: %w", fs.ErrNotExist)
	if got := r.Error(clean); !same(got, clean) {
		t.Errorf("an error without a secret became %v", got)
	}

	inner := &timeoutError{"no answer to " + value}
	path := &fs.PathError{Op: "open", Path: "/x", Err: fs.ErrPermission}
	err := r.Error(fmt.Errorf("send: %w; %w; %w", inner, path, &url.Error{Op: "Get", URL: "http://h/?t=" + url.QueryEscape(value), Err: fs.ErrExist}))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		if got := fmt.Sprintf(verb, err); strings.Contains(got, value) || strings.Contains(got, hex.EncodeToString([]byte(value))) {
			t.Errorf("%s shows it: %s", verb, got)
		}
	}
	if want := `send: no answer to [redacted]; open /x: permission denied; Get "http://h/?t=[redacted]": file already exists`; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if !errors.Is(err, inner) || !errors.Is(err, fs.ErrPermission) || !errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrClosed) {
		t.Error("errors.Is does not find the causes")
	}

	var timeout *timeoutError
	var fromURL *url.Error
	if errors.As(err, &timeout) || errors.As(err, &fromURL) {
		t.Errorf("errors.As gave out %v, %v", timeout, fromURL)
	}
	var fromPath *fs.PathError
	if !errors.As(err, &fromPath) || fromPath != path {
		t.Error("errors.As holds back a cause without a secret")
	}
	var says interface {
		error
		Temporary() bool
		RetryAfter() time.Duration
	}
	if !errors.As(err, &says) || !says.Temporary() || says.RetryAfter() != time.Minute || strings.Contains(fmt.Sprintf("%v %+v %#v", says, says, says), value) {
		t.Errorf("the interface is answered by %v", says)
	}
	var unwraps interface{ Unwrap() []error }
	if errors.As(err, &unwraps) || errors.Unwrap(err) != nil {
		t.Error("the chain is open")
	}

	// A text that is clean does not open a chain that is not.
	hidden := r.Error(&hiding{inner})
	if errors.As(hidden, &timeout) || !errors.Is(hidden, inner) || hidden.Error() != "failed" {
		t.Errorf("got %v", hidden)
	}
	if again := r.Error(hidden); !same(again, hidden) {
		t.Errorf("a clean error was wrapped again: %v", again)
	}
	if wrapped := fmt.Errorf("again: %w", hidden); !same(r.Error(wrapped), wrapped) {
		t.Error("an error around a clean one was wrapped")
	}
}

type hiding struct{ err error }

func (h *hiding) Error() string { return "failed" }
func (h *hiding) Unwrap() error { return h.err }

func TestDump(t *testing.T) {
	t.Parallel()
	r := newRedactor("q7Zx+k9w")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, struct{ R *redact.Redactor }{r}) + fmt.Sprintf(verb, r) + fmt.Sprintf(verb, *r); strings.Contains(got, "q7Zx") {
			t.Errorf("%s: %s", verb, got)
		}
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, want string }{
		{"postgres://app:p@db:5432/name?sslmode=disable", "postgres://[redacted]@db:5432/name?[redacted]"},
		{"postgres://app:p/w@d@db/name", "postgres://[redacted]@db/name"},
		{"postgres://app:12/34@db/name", "postgres://[redacted]@db/name"},
		{"https://token@example.com/a#b", "https://[redacted]@example.com/a#[redacted]"},
		{"https://example.com/@user/x", "https://example.com/@user/x"},
		{"http://[::1]:80/@x", "http://[::1]:80/@x"},
		{"https://example.com", "https://example.com"},
		{"redis://:p@h", "redis://[redacted]@h"},
		{"mongodb://u:p@h1:1,h2:2/db", "mongodb://[redacted]@h1:1,h2:2/db"},
		{"host=h user=u password=p&x#y dbname=d", "host=h user=u password=[redacted] dbname=d"},
		{`host=h password='p w\'s' dbname=d`, "host=h password=[redacted] dbname=d"},
		{`password = p\ w dbname=d`, "password = [redacted] dbname=d"},
		{"password='open", "password=[redacted]"},
		{"Server=h;Password=a b&c;Database=d", "Server=h;Password=[redacted];Database=d"},
		{"Password=a b;Server=h", "Password=[redacted];Server=h"},
		{"DefaultEndpointsProtocol=https;AccountName=a;AccountKey=k/+==;EndpointSuffix=x", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=[redacted];EndpointSuffix=x"},
		{"Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=k=", "Endpoint=sb://h/…"},
		{"user:p@ss/w@tcp(127.0.0.1:3306)/db", "[redacted]@tcp(127.0.0.1:3306)/db"},
		{"user:p w@unix(/tmp/x.sock)/db", "[redacted]@unix(/tmp/x.sock)/db"},
		{"user:p@localhost:5432/db", "[redacted]@localhost:5432/db"},
		{"ops@example.com", "ops@example.com"},
		{"/var/log/app.log", "/var/log/app.log"},
		{"", ""},
	} {
		if got := redact.URL(tc.text); got != tc.want {
			t.Errorf("URL(%q) = %q, want %q", tc.text, got, tc.want)
		}
	}
}

// Nothing is allocated for text without a secret.
func TestMissAllocatesNothing(t *testing.T) {
	r := twenty()
	if n := testing.AllocsPerRun(100, func() {
		if r.Bytes(line)[0] != '{' || r.String(string1) != string1 {
			t.Fatal("changed")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var (
	line    = []byte(`{"time":"2026-01-02T03:04:05.123456789Z","level":"INFO","msg":"request served","component":"http","method":"GET","path":"/api/v1/orders/1234567","status":200,"elapsed":12345678,"bytes":4096,"user":"alice@example.com"}` + "\n")
	string1 = string(line)
)

// twenty is a Redactor of as many secrets, such as a service has.
func twenty() *redact.Redactor {
	var values []string
	for i := range 20 {
		values = append(values, fmt.Sprintf("%x-secret-%d", i*7919+1e6, i))
	}
	return newRedactor(values...)
}

func FuzzRedactor(f *testing.F) {
	f.Add("hunter2", "hunter2-production-key", "x", "y")
	f.Add("aaaa", "aa…a", "aaaaaaa", "…")
	f.Add("\xff\xfe\"<\\", "a b\tc%", "%", "\\")
	f.Add("[reda", "cted]", "[", "]")
	f.Fuzz(func(t *testing.T, a, b, before, after string) {
		r := newRedactor(a, b)
		if got := r.String(before); got != string(r.Bytes([]byte(before))) || got != string(r.Append(nil, []byte(before))) || (got != before) != r.Shows(before) && !strings.Contains(before, redact.Mask) {
			t.Errorf("String, Bytes, Append and Contains differ on %q", before)
		}
		for _, s := range []string{a, b} {
			if len(s) < 4 || strings.Contains(redact.Mask, s) {
				continue
			}
			for _, w := range writings {
				written := w.write(s)
				if w.long && len(s) < 8 || w.name != "plain" && !utf8.ValidString(s) || strings.Contains(redact.Mask, strings.Trim(written, `"`)) {
					continue
				}
				if w.name == "line" && len(written) < 4 || w.name == "html/template" && strings.Contains(s, "\x00") {
					continue // what is left may be too short to be looked for
				}
				text := before + written + after
				got := r.String(text)
				for part := range strings.SplitSeq(got, redact.Mask) {
					if strings.Contains(part, written) {
						t.Fatalf("secrets %q, %q, %s: %q became %q", a, b, w.name, text, got)
					}
				}
			}
		}
	})
}

func BenchmarkMiss(b *testing.B) {
	for name, r := range map[string]*redact.Redactor{"secrets=20": twenty(), "secrets=1": newRedactor("q7Zx+k9w"), "secrets=20+short": newRedactor("q7Zx", "hunter2", "2h9ksdkfh"), "secrets=0": nil} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				r.Bytes(line)
			}
		})
	}
}

// BenchmarkMissReplacer is the same by strings.Replacer, and by one search
// after the other.
func BenchmarkMissReplacer(b *testing.B) {
	var pairs, forms []string
	for i := range 20 {
		s := fmt.Sprintf("%x-secret-%d", i*7919+1e6, i)
		for _, f := range []string{s, base64.StdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)), hex.EncodeToString([]byte(s))} {
			pairs = append(pairs, f, redact.Mask)
			forms = append(forms, f)
		}
	}
	r := strings.NewReplacer(pairs...)
	b.Run("replacer", func(b *testing.B) {
		b.SetBytes(int64(len(line)))
		for b.Loop() {
			_ = r.Replace(string1)
		}
	})
	b.Run("contains", func(b *testing.B) {
		b.SetBytes(int64(len(line)))
		for b.Loop() {
			for _, f := range forms {
				_ = strings.Contains(string1, f)
			}
		}
	})
}
