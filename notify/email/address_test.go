package email_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// Addresses go into the envelope as RFC 5321 writes them.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ address, want string }{
		{"ops@example.com", "<ops@example.com>"},
		{"Ops Team <ops@example.com>", "<ops@example.com>"},
		{`"a@b"@example.com`, `<"a@b"@example.com>`},
		{`"taro..x."@docomo.example`, `<"taro..x."@docomo.example>`},
		{`"john doe"@example.com`, `<"john doe"@example.com>`},
		{`"a\"b\\c"@example.com`, `<"a\"b\\c"@example.com>`},
		{`"plain"@example.com`, `<plain@example.com>`},
		{"d@bücher.example", "<d@xn--bcher-kva.example>"},
		{"jürgen@bücher.example", "<jürgen@xn--bcher-kva.example>"},
	} {
		c := newClient(t, &email.Options{Host: "h", From: tc.address, To: []string{tc.address}})
		preview, err := c.Preview(notify.Message{Subject: "s"})
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(preview), "\r\n\r\n")
		if diff := cmp.Diff("MAIL FROM:"+tc.want+"\r\nRCPT TO:"+tc.want, head); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.address, diff)
		}
	}
	for _, bad := range []string{"taro..x.@docomo.example", "ops@", "a b@example.com", "\"a\r\nb\"@example.com", `"a>b"@example.com`, "x@b\u00fccher_.example"} {
		if _, err := email.New(&email.Options{Host: "h", From: "a@example.com", To: []string{bad}}); err == nil || !strings.Contains(err.Error(), "To[0]") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// An address that the server cannot take costs nobody else the mail, and does
// not stand in it.
func TestBadAddressFailsAlone(t *testing.T) {
	t.Parallel()
	for name, smtp := range manners {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			smtp.NoUTF8 = true
			s := startServer(t, &smtp.SMTPOptions)
			s.Inject(notifytest.Fault{Step: notifytest.StepRCPT, Match: `<"odd one"@`, Reply: "501 5.1.3 Bad recipient address syntax"})
			o := options(s)
			o.To = []string{"a@example.com", "d@bücher.example", "jürgen@example.com", `"odd one"@example.com`, "z@example.com"}
			c := newClient(t, o)
			err := c.Notify(t.Context(), notify.Message{ID: "m1", Subject: "s", Text: "t"})
			errs := notify.Errors(err)
			if len(errs) != 2 || errs[0].Recipient != "jürgen@example.com" || errs[1].Recipient != "odd one@example.com" {
				t.Fatalf("errors %v", err)
			}
			for _, e := range errs {
				if e.Class != notify.ClassRejected || !e.Partial {
					t.Errorf("%+v", e)
				}
			}
			mails := s.Mails()
			if len(mails) != 1 {
				t.Fatalf("%d mails, want 1", len(mails))
			}
			if diff := cmp.Diff([]string{"a@example.com", "d@xn--bcher-kva.example", "z@example.com"}, mails[0].To); diff != "" {
				t.Errorf("recipients (-want +got):\n%s", diff)
			}
			if bytes.Contains(mails[0].Data, []byte("jürgen")) || mails[0].MailArgs != "" {
				t.Errorf("arguments %q, mail\n%s", mails[0].MailArgs, mails[0].Data)
			}
			if errs := notify.Errors(c.NotifyRecipients(t.Context(), notify.Message{Subject: "s"}, []string{"jürgen@example.com"})); len(errs) != 1 || errs[0].Partial {
				t.Errorf("alone: %v", errs)
			}
		})
	}
}

// A server that closes after too many refusals loses nobody's mail and no
// refusal: those who are left get it over another connection.
func TestRefusedThenClosed(t *testing.T) {
	t.Parallel()
	for _, ehlo := range [][]string{{"script.test"}, {"script.test", "PIPELINING"}} {
		refused := false
		s := &script{ehlo: ehlo}
		s.reply = func(line string) string {
			switch {
			case strings.HasPrefix(line, "EHLO"):
				refused = false
				return ""
			case refused:
				return "421 4.7.0 too many errors"
			case strings.Contains(line, "RCPT TO:<gone"):
				refused = true
				return "550 5.1.1 no such user"
			}
			return ""
		}
		c := newClient(t, &email.Options{
			Host: "127.0.0.1", Port: s.start(t), TLS: email.None, From: "a@example.com",
			To: []string{"a@example.com", "gone1@example.com", "gone2@example.com", "z@example.com"},
		})
		err := c.Notify(t.Context(), notify.Message{ID: "m1", Subject: "s"})
		errs := notify.Errors(err)
		if len(errs) != 2 || errs[0].Recipient != "gone1@example.com" || errs[1].Recipient != "gone2@example.com" || errs[0].Temporary() || !errs[1].Partial {
			t.Errorf("%v: errors %v", ehlo, err)
		}
		if n := len(s.taken()); n != 1 {
			t.Errorf("%v: %d mails, want 1\n%q", ehlo, n, s.lines())
		}
		var to []string
		for _, line := range s.lines() {
			if path, ok := strings.CutPrefix(line, "RCPT TO:"); ok {
				to = append(to, path)
			}
		}
		if got := strings.Join(to[len(to)-2:], " "); got != "<a@example.com> <z@example.com>" {
			t.Errorf("%v: the mail went to %s", ehlo, got)
		}
	}
}

// A server that offers PIPELINING and falls silent gets one command at a time
// from then on.
func TestPipeliningThatIsNone(t *testing.T) {
	t.Parallel()
	s := &lossy{script: script{ehlo: []string{"script.test", "PIPELINING"}}}
	c := newClient(t, &email.Options{
		Host: "127.0.0.1", Port: s.start(t), TLS: email.None, From: "a@example.com", To: []string{"b@example.com"},
		DialContext: s.dial, Timeout: testTimeout,
	})
	m := notify.Message{ID: "m1", Subject: "s"}
	errs := notify.Errors(c.Notify(t.Context(), m))
	if len(errs) != 1 || !errs[0].Temporary() {
		t.Fatalf("first try: %v", errs)
	}
	if err := c.Notify(t.Context(), m); err != nil {
		t.Errorf("second try: %v", err)
	}
	if n := len(s.taken()); n != 1 {
		t.Errorf("%d mails, want 1", n)
	}
}
