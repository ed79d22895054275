package email_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// said returns the verbs of what s was told from MAIL on, and LAST.
func said(s *notifytest.SMTP) string {
	var verbs []string
	for _, line := range s.Commands() {
		verb, rest, _ := strings.Cut(line, " ")
		switch {
		case verb == "EHLO" || verb == "STARTTLS":
			continue
		case strings.HasSuffix(rest, " LAST"):
			verb += "-LAST"
		case strings.HasSuffix(verb, ":"):
			verb = "header"
		}
		verbs = append(verbs, verb)
	}
	return strings.Join(verbs, " ")
}

// A mail is the same however it goes, and goes with its envelope once the
// server has proved to know BDAT.
func TestChunks(t *testing.T) {
	t.Parallel()
	const byData = "MAIL RCPT DATA MAIL RCPT DATA MAIL RCPT DATA"
	small := notify.Message{ID: "m1", Subject: "s", Text: ".\r\n..\r\n.dots\r\n\r\n.\r\n", Time: time.Unix(1e9, 0)}
	large := notify.Message{ID: "m2", Subject: "s", Text: strings.Repeat("x", 64<<10), Time: time.Unix(1e9, 0)}
	var want []string
	for _, tc := range []struct {
		name string
		smtp notifytest.SMTPOptions
		want string
	}{
		{"step by step", notifytest.SMTPOptions{NoPipelining: true}, byData},
		{"no chunks", notifytest.SMTPOptions{NoChunking: true}, byData},
		{"chunks", notifytest.SMTPOptions{}, "MAIL RCPT BDAT BDAT-LAST MAIL RCPT BDAT-LAST MAIL RCPT BDAT BDAT-LAST"},
		{"chunks, long after", notifytest.SMTPOptions{}, "MAIL RCPT BDAT BDAT-LAST MAIL RCPT BDAT BDAT-LAST MAIL RCPT BDAT BDAT-LAST"},
		{"a false promise", notifytest.SMTPOptions{FalseChunking: true}, "MAIL RCPT BDAT header " + byData},
	} {
		s := startServer(t, &tc.smtp)
		c := newClient(t, options(s))
		email.SetTrust(c, time.Hour) // however slow this machine is
		if strings.HasSuffix(tc.name, "long after") {
			email.SetTrust(c, 0)
		}
		for _, m := range []notify.Message{small, small, large} {
			if err := c.Notify(t.Context(), m); err != nil {
				t.Fatalf("%s: %v", tc.name, err)
			}
		}
		if diff := cmp.Diff(tc.want, said(s)); diff != "" {
			t.Errorf("%s: commands (-want +got):\n%s", tc.name, diff)
		}
		var got []string
		for _, m := range s.Mails() {
			got = append(got, string(m.Data))
		}
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" || len(got) != 3 {
			t.Errorf("%s: mails (-want +got):\n%s", tc.name, diff)
		}
	}
}

// What is in a mail is never taken for commands by a server that offers
// CHUNKING and does not know it.
func TestChunksDoNotSmuggle(t *testing.T) {
	t.Parallel()
	s := startServer(t, &notifytest.SMTPOptions{FalseChunking: true})
	c := newClient(t, options(s))
	evil := "\r\nRSET\r\nMAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n.\r\n"
	for range 2 {
		if err := c.Send(t.Context(), "s", evil); err != nil {
			t.Fatal(err)
		}
	}
	mails := s.Mails()
	if len(mails) != 2 {
		t.Errorf("%d mails, want 2", len(mails))
	}
	for _, line := range s.Commands() {
		if strings.Contains(line, "evil") || strings.Contains(line, "victim") {
			t.Errorf("server was told %q", line)
		}
	}
	if n := s.Conns(); n != 2 {
		t.Errorf("%d connections, want 2: one that found out and one that was kept", n)
	}
}

// A connection that ends before the server answered to anything leaves open
// whether it has the mail, if that was sent with the envelope.
func TestChunksInDoubt(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	c := newClient(t, options(s))
	email.SetTrust(c, time.Hour)
	if err := c.Send(t.Context(), "first", "text"); err != nil {
		t.Fatal(err)
	}
	s.Inject(notifytest.Fault{Step: notifytest.StepMAIL, Close: true})
	errs := notify.Errors(c.Send(t.Context(), "second", "text"))
	if len(errs) != 1 || !errs[0].Temporary() || !strings.Contains(errs[0].Reason, "may arrive") {
		t.Errorf("errors %v, want a temporary one that tells of the doubt", errs)
	}
	s.Heal()
	if err := c.Send(t.Context(), "third", "text"); err != nil {
		t.Error(err)
	}
	if got, want := said(s), "MAIL RCPT BDAT BDAT-LAST MAIL MAIL RCPT BDAT BDAT-LAST"; got != want {
		t.Errorf("server was told %q, want %q", got, want)
	}
}
