package template_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/notifytest"
	"github.com/svcblocks/svcblocks/notify/template"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func Example() {
	t, err := template.New(&template.Options{Subject: "[{{.Level}}] {{.Subject}}", Text: "{{.Text}} on {{.Fields.host}}"})
	if err != nil {
		fmt.Println(err)
		return
	}
	var ops notifytest.Recorder
	hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops, Format: t.Format}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = hub.Close() }()
	_ = hub.Notify(context.Background(), notify.Message{
		Level: slog.LevelError, Subject: "disk full", Text: "Writes fail", Attrs: []slog.Attr{slog.String("host", "db1")},
	})
	for _, m := range ops.Messages() {
		fmt.Printf("%s: %s\n", m.Subject, m.Text)
	}
	// Output: [ERROR] disk full: Writes fail on db1
}

// The fields of Data are what a template can name.
func ExampleData() {
	data := template.Data{Subject: "disk full", Fields: map[string]string{"host": "db1"}}
	fmt.Println(data.Subject, data.Fields["host"])
	// Output: disk full db1
}

func ExampleTemplate_Format() {
	t, err := template.New(&template.Options{Subject: "{{.Subject}}{{if .Resolved}} is over{{end}}"})
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := t.Format(notify.Message{Subject: "disk full", Resolved: true})
	fmt.Println(m.Subject, err)
	// Output: disk full is over <nil>
}

func TestMistakesAreFoundEarly(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]template.Options{
		"syntax":   {Subject: "{{.Subject"},
		"field":    {Text: "{{.Host}}"},
		"function": {Text: "{{upper .Text}}"},
		"endless":  {Text: `{{range $i := 100000000}}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{{end}}`},
	} {
		if _, err := template.New(&o); err == nil || !strings.Contains(err.Error(), "template") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := template.New(&template.Options{Subject: "{{", Text: "{{"})
	if err == nil || !strings.Contains(err.Error(), "Subject") || !strings.Contains(err.Error(), "Text") {
		t.Errorf("two mistakes: %v", err)
	}
	same, err := template.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := same.Format(notify.Message{Subject: "s", Text: "t"}); err != nil || m.Subject != "s" || m.Text != "t" {
		t.Errorf("empty template: %+v, %v", m, err)
	}
	if m, err := must(t, "{{.Fields.absent}}|{{index .Fields \"a.b\"}}").Format(notify.Message{Attrs: []slog.Attr{slog.Group("a", slog.Int("b", 1))}}); err != nil || m.Text != "|1" {
		t.Errorf("fields: %q, %v", m.Text, err)
	}
}

func must(t *testing.T, text string) *template.Template {
	t.Helper()
	parsed, err := template.New(&template.Options{Text: text})
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
