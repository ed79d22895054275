package webhook

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"

	"github.com/svcblocks/svcblocks/notify"
)

// Data is what the template of a body works with.
type Data struct {
	// ID names the message: a repeat after a failure has the same.
	ID string
	// Key names the trouble: it is the same from its first message to its end,
	// and has at most 255 bytes.
	Key string
	// Title is one line with everything that a reader needs at a glance, Body
	// the text with attributes and repeats below.
	Title, Body string
	// Subject and Text are the message's own.
	Subject, Text string
	// Level is the message's, and Severity the same in one of four words:
	// "critical", "error", "warning" or "info".
	Level    slog.Level
	Severity string
	// Resolved says that the trouble is over.
	Resolved bool
	// Source says who speaks, as notify.Options.Source.
	Source string
	// Count is the number of messages about this trouble, from First to Last, and
	// New the number of those that were not told before.
	Count, New  int
	First, Last time.Time
	// Time is when it happened.
	Time time.Time
	// Fields are the attributes by name; those of groups have dots in their
	// names: {{index .Fields "disk.free"}}.
	Fields map[string]string
}

// newData makes the template's view of a message.
func newData(m notify.Message) Data {
	d := Data{
		ID: m.ID, Key: key(m), Title: m.Title(), Body: m.Body(), Subject: m.Subject, Text: m.Text,
		Level: m.Level, Severity: severity(m.Level), Resolved: m.Resolved,
		Source: m.Source, Count: max(1, m.Count), New: m.New, First: m.First, Last: m.Last, Time: m.Time, Fields: map[string]string{},
	}
	if d.Body == "" {
		d.Body = d.Title // services refuse an empty text
	}
	for _, f := range m.Fields() {
		d.Fields[f.Name] = f.Value
	}
	return d
}

// maxKey is what PagerDuty takes, the strictest that is known.
const maxKey = 255

// key names the trouble of a message. A long one is hashed: cut off, two would
// be the same.
func key(m notify.Message) string {
	for _, k := range []string{m.Key, m.Thread, m.ID} {
		if k == "" {
			continue
		}
		if len(k) > maxKey || !utf8.ValidString(k) {
			sum := sha256.Sum256([]byte(k))
			k = hex.EncodeToString(sum[:])
		}
		return k
	}
	return ""
}

func severity(l slog.Level) string {
	switch {
	case l > slog.LevelError:
		return "critical"
	case l >= slog.LevelError:
		return "error"
	case l >= slog.LevelWarn:
		return "warning"
	}
	return "info"
}

// body renders messages.
type body struct {
	template *template.Template
	json     bool
}

// maxBytes bounds what a template may write.
const maxBytes = 4 << 20

// newBody parses the template and tries it on messages that show its mistakes.
func newBody(o *Options) (*body, error) {
	kind, _, err := mime.ParseMediaType(o.ContentType)
	b := &body{json: o.ContentType == "" || err == nil && (strings.HasSuffix(kind, "/json") || strings.HasSuffix(kind, "+json"))}

	values := o.Values
	b.template, err = template.New("Body").Option("missingkey=zero").Funcs(template.FuncMap{
		"json": toJSON, "cut": cut, "cutBytes": cutBytes,
		"secret": func(name string) (string, error) {
			if v, ok := values[name]; ok && !v.IsZero() {
				return v.Reveal(), nil
			}
			return "", fmt.Errorf("there is no %q in Values", name)
		},
	}).Parse(o.Body)
	if err != nil {
		return nil, errors.New(plainTemplateError(err))
	}

	// Text that means something in JSON must not become part of it.
	const evil = "a\"b\\c\nd\te{}[],:\u2028\x01\xff"
	now := time.Unix(1e9, 0)
	for _, m := range []notify.Message{
		{ID: "sample", Subject: "subject", Text: "text", Time: now},
		{ID: "sample", Level: slog.LevelError, Subject: evil, Text: evil, Key: evil, Count: 2, First: now, Last: now, Time: now, Attrs: []slog.Attr{slog.String(strings.Clone(evil), evil)}},
		{ID: "sample", Level: slog.LevelError + 4, Subject: evil, Key: evil, Thread: evil, Resolved: true, Time: now},
		{ID: "sample", Level: slog.LevelWarn, Text: evil, Time: now},
	} {
		if _, err := b.render(m); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// render makes the body of m.
func (b *body) render(m notify.Message) ([]byte, error) {
	var out bounded
	if err := b.template.Execute(&out, newData(m)); err != nil {
		return nil, errors.New(plainTemplateError(err))
	}
	if b.json && !json.Valid(out.Bytes()) {
		return nil, errors.New("gives no JSON for a message with quotes or line breaks: write each value by json, as {{json .Title}}, without quotes around it")
	}
	return out.Bytes(), nil
}

// plainTemplateError drops the package's prefix.
func plainTemplateError(err error) string { return strings.TrimPrefix(err.Error(), "template: ") }

// bounded ends a template that writes without end.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxBytes {
		return 0, fmt.Errorf("more than %d bytes", maxBytes)
	}
	return b.Buffer.Write(p)
}

// toJSON writes v as JSON. Signs of HTML stay as they are.
func toJSON(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// cut shortens s to n characters, with a mark at the end of what was longer.
func cut(n int, s string) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	runes := []rune(s)
	if n < 1 {
		return ""
	}
	return string(runes[:n-1]) + "…"
}

// cutBytes shortens s to n bytes, with a mark at the end of what was longer.
func cutBytes(n int, s string) string {
	if len(s) <= n {
		return s
	}
	n -= len("…")
	if n < 0 {
		return ""
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
