package template

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"text/template"
	"time"

	"github.com/svcblocks/svcblocks/notify"
)

// Options are the settings of a [Template]. They can be loaded from a file.
type Options struct {
	// Subject is the template of the subject. Empty leaves the subject as it
	// is.
	Subject string
	// Text is the template of the text. Empty leaves the text as it is.
	Text string
}

// Data is what a template works with.
type Data struct {
	ID, Subject, Text, Key string
	Level                  string
	// Fields are the attributes by name; those of groups have dots in their
	// names: {{index .Fields "disk.free"}}.
	Fields            map[string]string
	Time, First, Last time.Time
	Count             int
	Resolved          bool
}

// Template words messages. Make one with [New]. It is safe for concurrent use.
type Template struct {
	subject, text *template.Template
}

// maxBytes bounds what a template may write.
const maxBytes = 4 << 20

// New parses the templates and tries them on a message. It reports every
// mistake at once.
func New(opts *Options) (*Template, error) {
	if opts == nil {
		opts = &Options{}
	}
	var t Template
	var errs []error

	parse := func(name, source string) *template.Template {
		if source == "" {
			return nil
		}
		parsed, err := template.New(name).Option("missingkey=zero").Parse(source)
		if err != nil {
			errs = append(errs, fmt.Errorf("template: %s: %w", name, err))
		}
		return parsed
	}

	t.subject, t.text = parse("Subject", opts.Subject), parse("Text", opts.Text)
	if len(errs) == 0 {
		now := time.Now()
		sample := notify.Message{
			ID: "sample", Subject: "subject", Text: "text", Key: "key", Attrs: []slog.Attr{slog.String("name", "value")},
			Time: now, First: now, Last: now, Count: 1,
		}
		if _, err := t.Format(sample); err != nil {
			errs = append(errs, err)
		}
	}

	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &t, nil
}

// Format returns m with its subject and text in the template's words, for
// [notify.Receiver].Format. On an error m is as it was.
func (t *Template) Format(m notify.Message) (notify.Message, error) {
	data := Data{
		ID: m.ID, Subject: m.Subject, Text: m.Text, Key: m.Key, Level: m.Level.String(), Fields: map[string]string{},
		Time: m.Time, First: m.First, Last: m.Last, Count: m.Count, Resolved: m.Resolved,
	}
	for _, f := range m.Fields() {
		data.Fields[f.Name] = f.Value
	}

	subject, err := execute(t.subject, data, m.Subject)
	if err != nil {
		return m, err
	}
	text, err := execute(t.text, data, m.Text)
	if err != nil {
		return m, err
	}

	m.Subject, m.Text = subject, text
	return m, nil
}

func execute(t *template.Template, data Data, unchanged string) (string, error) {
	if t == nil {
		return unchanged, nil
	}
	var out bounded
	if err := t.Execute(&out, data); err != nil {
		return "", fmt.Errorf("template: %w", err)
	}
	return out.String(), nil
}

// bounded ends a template that writes without end.
type bounded struct{ strings.Builder }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxBytes {
		return 0, fmt.Errorf("more than %d bytes", maxBytes)
	}
	return b.Builder.Write(p)
}
