package notify_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// A dry run prints what would go out, to the byte.
func TestDryRunIsExact(t *testing.T) {
	t.Parallel()
	mails, err := notifytest.StartSMTP(&notifytest.SMTPOptions{NoSTARTTLS: true})
	if err != nil {
		t.Fatal(err)
	}
	defer mails.Close()
	chat := notifytest.StartSlack(nil)
	defer chat.Close()
	mail, err := email.New(&email.Options{Host: mails.Host(), Port: mails.Port(), TLS: email.None, From: "a@example.com", To: []string{"b@example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mail.Close() }()
	var out bytes.Buffer
	opts := &notify.Options{Receivers: []notify.Receiver{{Name: "mail", Notifier: mail}, {Name: "slack", Notifier: webhook(t, chat)}}}
	m := notify.Message{ID: "m1", Subject: "Größe", Text: "line\n.\n", Time: time.Unix(1e9, 0), Attrs: []slog.Attr{slog.Int("n", 1)}}
	if err := newHub(t, opts).Notify(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	opts.DryRun = &out
	if err := newHub(t, opts).Notify(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if len(mails.Mails()) != 1 || len(chat.Messages()) != 1 {
		t.Fatalf("%d mails, %d Slack messages", len(mails.Mails()), len(chat.Messages()))
	}
	for what, sent := range map[string]string{"mail": string(mails.Mails()[0].Data), "Slack": chat.Messages()[0].Payload, "envelope": "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n"} {
		if !strings.Contains(out.String(), sent) {
			t.Errorf("%s: sent\n%q\ndry run\n%q", what, sent, out.String())
		}
	}
}

func TestDryRunSendsNothing(t *testing.T) {
	t.Parallel()
	f := &fake{}
	var out bytes.Buffer
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: f}}, DryRun: &out})
	if err := hub.Send(t.Context(), "subject", "text"); err != nil {
		t.Fatal(err)
	}
	if len(f.messages()) != 0 {
		t.Error("dry run sent something")
	}
	if got := out.String(); !strings.Contains(got, "to f, id ") || !strings.Contains(got, "subject\n\ntext\n") {
		t.Errorf("dry run printed:\n%s", got)
	}
}
