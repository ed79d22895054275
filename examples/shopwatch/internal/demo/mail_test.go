package demo_test

import (
	"bytes"
	"errors"
	"net/smtp"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/demo"
)

func startMail(t *testing.T, opts *demo.MailOptions) *demo.MailCatcher {
	t.Helper()
	c, err := demo.StartMailCatcher(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

func TestMailCatcher(t *testing.T) {
	t.Parallel()
	c := startMail(t, &demo.MailOptions{Keep: 3})
	for _, m := range []string{
		"Subject: falls out\n\nfirst\n",
		"From: Shop <shop@example.com>\nTo: ops@example.com\nMessage-ID: <1@example.com>\nSubject: =?utf-8?q?Price_=E2=82=AC5?=\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nnow =E2=82=AC5 <b>only</b>\n",
		"Message-ID: <1@example.com>\nSubject: two parts\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\nContent-Type: text/html\n\n<p>no</p>\n--i\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\nIHll\ncw==\n--i--\n--o\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\nAAAA\n--o--\n",
		"Subject: no text\nContent-Type: image/png\n\nxx\n",
	} {
		if err := smtp.SendMail(c.Addr(), nil, "shop@example.com", []string{"ops@example.com", "b@example.com"}, crlf(m)); err != nil {
			t.Fatal(err)
		}
	}
	both := []string{"ops@example.com", "b@example.com"}
	want := []demo.Mail{
		{Number: 4, From: "shop@example.com", Recipients: both, Subject: "no text", Text: "(no text part)"},
		{Number: 3, MessageID: "1@example.com", From: "shop@example.com", Recipients: both, Subject: "two parts", Text: " yes"},
		{
			Number: 2, MessageID: "1@example.com", From: "shop@example.com", Recipients: both,
			Header: "Shop <shop@example.com>", To: "ops@example.com", Subject: "Price €5", Text: "now €5 <b>only</b>\n",
		},
	}
	got := c.Last()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(demo.Mail{}, "Arrived", "Bytes")); diff != "" {
		t.Errorf("Last (-want +got):\n%s", diff)
	}
	for _, m := range got {
		if m.Arrived.IsZero() || m.Bytes == 0 {
			t.Errorf("mail %d: Arrived %v, Bytes %d", m.Number, m.Arrived, m.Bytes)
		}
	}
	if diff := cmp.Diff(demo.MailStats{Caught: 4, Repeats: 1}, c.Stats()); diff != "" {
		t.Errorf("Stats (-want +got):\n%s", diff)
	}
}

func TestMailCatcherRefuses(t *testing.T) {
	t.Parallel()
	c := startMail(t, &demo.MailOptions{MaxBytes: 4096, MaxRecipients: 2})
	send := func(to []string, text string) error {
		return smtp.SendMail(c.Addr(), nil, "a@example.com", to, crlf(text))
	}
	for name, tc := range map[string]struct {
		to   []string
		text string
		code int
	}{
		"too large":           {[]string{"b@example.com"}, "Subject: x\n\n" + strings.Repeat("line\n", 1000), 552},
		"too many recipients": {[]string{"b@example.com", "c@example.com", "d@example.com"}, "Subject: x\n\n", 452},
		"no header":           {[]string{"b@example.com"}, "this is\nno mail\n", 554},
		"bad content type":    {[]string{"b@example.com"}, "Content-Type: ;;\n\nx\n", 554},
		"deep parts":          {[]string{"b@example.com"}, nested(20), 554},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := send(tc.to, tc.text)
			var got *textproto.Error
			if !errors.As(err, &got) || got.Code != tc.code {
				t.Errorf("SendMail: %v, want code %d", err, tc.code)
			}
		})
	}
	t.Cleanup(func() {
		if err := send([]string{"b@example.com"}, "Subject: good\n\nstill here\n"); err != nil {
			t.Error(err)
		}
		if n := len(c.Last()); n != 1 {
			t.Errorf("%d mails kept, want the good one", n)
		}
	})
}

// TestMailCatcherEndsIdleDialogues: senders keep connections open between
// mails.
func TestMailCatcherEndsIdleDialogues(t *testing.T) {
	t.Parallel()
	c := startMail(t, nil)
	idle, err := smtp.Dial(c.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if err := idle.Noop(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("Close took %v", took)
	}
	if err := idle.Noop(); err == nil {
		t.Error("the dialogue goes on after Close")
	}
}

// nested is a mail of parts within parts.
func nested(depth int) string {
	text := "Content-Type: text/plain\n\ndeep\n"
	for i := range depth {
		b := strings.Repeat("b", i+1)
		text = "Content-Type: multipart/mixed; boundary=" + b + "\n\n--" + b + "\n" + text + "\n--" + b + "--\n"
	}
	return text
}

func FuzzParseMail(f *testing.F) {
	f.Add(crlf("Subject: x\n\ny\n"))
	f.Add(crlf(nested(2)))
	f.Add(crlf("Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n!!\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := demo.ParseMail(raw)
		if err != nil {
			return
		}
		if len(m.Text) > 17<<10 || len(m.Subject) > 600 || len(m.MessageID) > 600 {
			t.Errorf("more kept than allowed: text %d, subject %d", len(m.Text), len(m.Subject))
		}
		if !bytes.Equal([]byte(m.Text), bytes.ToValidUTF8([]byte(m.Text), nil)) {
			t.Errorf("text is not UTF-8: %q", m.Text)
		}
	})
}
