package email_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// manner is a way in which a mail goes to the server.
type manner struct {
	notifytest.SMTPOptions
	second bool // mail of the connection
}

// manners are all that there are.
var manners = map[string]manner{
	"step by step":    {SMTPOptions: notifytest.SMTPOptions{NoPipelining: true}},
	"pipelined":       {},
	"pipelined, kept": {second: true},
}

// isSetUp reports whether step comes before the first mail of a connection.
func isSetUp(step notifytest.Step) bool {
	switch step {
	case notifytest.StepMAIL, notifytest.StepRCPT, notifytest.StepDATA, notifytest.StepDot:
		return false
	default:
		return true
	}
}

// A server that is silent at any step costs as long as ctx lasts.
func TestSilenceEndsWithContext(t *testing.T) {
	t.Parallel()
	for _, step := range []notifytest.Step{
		notifytest.StepGreeting, notifytest.StepEHLO, notifytest.StepSTARTTLS, notifytest.StepHandshake, notifytest.StepAUTH,
		notifytest.StepMAIL, notifytest.StepRCPT, notifytest.StepDATA, notifytest.StepDot,
	} {
		for name, smtp := range manners {
			if smtp.second && isSetUp(step) {
				continue
			}
			t.Run(fmt.Sprintf("%s %s", step, name), func(t *testing.T) {
				t.Parallel()
				smtp.Username, smtp.Password = "shop", password
				s := startServer(t, &smtp.SMTPOptions)
				o := options(s)
				login(o)
				c := newClient(t, o)
				if smtp.second {
					if err := c.Send(t.Context(), "first", "text"); err != nil {
						t.Fatal(err)
					}
				}
				s.Inject(notifytest.Fault{Step: step, Silent: true})
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				begin := time.Now()
				err := c.Send(ctx, "subject", "text")
				if took, limit := time.Since(begin), testenv.Within(700*time.Millisecond, 3*time.Second); took > limit {
					t.Errorf("took %v, want at most %v", took, limit)
				}
				errs := notify.Errors(err)
				if len(errs) != 1 || errs[0].Class != notify.ClassTimeout || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v, want a timeout that is DeadlineExceeded", err)
				}
			})
		}
	}
}

func TestFaultsThatNobodyNotices(t *testing.T) {
	t.Parallel()
	t.Run("connections dropped while idle", func(t *testing.T) {
		t.Parallel()
		s := startServer(t, nil)
		c := newClient(t, options(s))
		for range 3 {
			if err := c.Send(t.Context(), "subject", "text"); err != nil {
				t.Fatal(err)
			}
			s.Drop()
		}
		if n := len(s.Mails()); n != 3 {
			t.Errorf("%d mails, want 3", n)
		}
	})
	t.Run("connection of a check dropped while idle", func(t *testing.T) {
		t.Parallel()
		s := startServer(t, nil)
		c := newClient(t, options(s))
		if err := c.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Drop()
		if err := c.Send(t.Context(), "subject", "text"); err != nil || s.Conns() != 2 {
			t.Errorf("%v, %d connections", err, s.Conns())
		}
	})
	t.Run("421 between mails", func(t *testing.T) {
		t.Parallel()
		s := startServer(t, nil)
		s.Inject(notifytest.Fault{Step: notifytest.StepMAIL, Skip: 1, Times: 1, Reply: "421 4.4.2 idle for too long"})
		c := newClient(t, options(s))
		for range 2 {
			if err := c.Send(t.Context(), "subject", "text"); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(s.Mails()); n != 2 {
			t.Errorf("%d mails, want 2", n)
		}
	})
	t.Run("lost after the final 250", func(t *testing.T) {
		t.Parallel()
		s := startServer(t, nil)
		s.Inject(notifytest.Fault{Step: notifytest.StepDot, CloseAfter: true})
		c := newClient(t, options(s))
		for range 3 {
			if err := c.Send(t.Context(), "subject", "text"); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(s.Mails()); n != 3 {
			t.Errorf("%d mails, want 3", n)
		}
	})
}

// A server that never stops talking is cut off before it fills the memory.
func TestEndlessReplies(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{"one line": "220 " + strings.Repeat("x", 1000), "many lines": "220-" + strings.Repeat("x", 1000) + "\r\n"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		said := make(chan int, 1)
		go func() {
			n := 0
			defer func() { said <- n }()
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
			for err == nil && n < 64<<20 {
				var w int
				w, err = io.WriteString(c, line)
				n += w
			}
		}()
		c := newClient(t, &email.Options{
			Host: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port, From: "a@example.com", To: []string{"b@example.com"},
		})
		errs := notify.Errors(c.Send(t.Context(), "s", "t"))
		if len(errs) != 1 || errs[0].Op != "greeting" || errs[0].Temporary() || !strings.Contains(errs[0].Reason, "cut off") {
			t.Errorf("%s: errors %v", name, errs)
		}
		if n := <-said; n > 32<<20 {
			t.Errorf("%s: %d bytes were taken", name, n)
		}
		_ = ln.Close()
	}
}

// When the answer to a whole mail is lost, it is not sent again behind the
// caller's back, and a second try has the same Message-ID.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for name, smtp := range manners {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, &smtp.SMTPOptions)
			c := newClient(t, options(s))
			before := 0
			if smtp.second {
				if err := c.Send(t.Context(), "first", "text"); err != nil {
					t.Fatal(err)
				}
				before++
			}
			s.Inject(notifytest.Fault{Step: notifytest.StepDot, NoAnswer: true, Times: 1})
			m := notify.Message{ID: "lost-answer", Subject: "second", Text: "text"}
			err := c.Notify(t.Context(), m)
			errs := notify.Errors(err)
			if len(errs) != 1 || !errs[0].Temporary() || errs[0].MessageID != m.ID || !strings.Contains(err.Error(), "may arrive") {
				t.Fatalf("error %v, want a temporary one that tells of the doubt", err)
			}
			if n := len(s.Mails()) - before; n != 1 {
				t.Fatalf("%d mails after the lost answer, want 1", n)
			}
			if err := c.Notify(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			for _, m := range s.Mails()[before:] {
				if !bytes.Contains(m.Data, []byte("Message-ID: <lost-answer@example.com>")) {
					t.Errorf("mail without the stable Message-ID:\n%s", m.Data)
				}
			}
		})
	}
}

func TestRecipientsFailAlone(t *testing.T) {
	t.Parallel()
	for name, smtp := range manners {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, &smtp.SMTPOptions)
			s.Inject(notifytest.Fault{Step: notifytest.StepRCPT, Match: "<bad@", Reply: "550 5.1.1 unknown user"})
			s.Inject(notifytest.Fault{Step: notifytest.StepRCPT, Match: "<grey@", Times: 1, Reply: "450 4.7.1 greylisted"})
			o := options(s)
			o.To = []string{"bad@example.com", "good@example.com", "grey@example.com"}
			c := newClient(t, o)
			before := 0
			if smtp.second {
				if err := c.NotifyRecipients(t.Context(), notify.Message{Subject: "s", Text: "t"}, []string{"good@example.com"}); err != nil {
					t.Fatal(err)
				}
				before++
			}
			err := c.Notify(t.Context(), notify.Message{ID: "m1", Subject: "s", Text: "t"})
			errs := notify.Errors(err)
			if len(errs) != 2 {
				t.Fatalf("errors %v, want 2", err)
			}
			bad, grey := errs[0], errs[1]
			if bad.Recipient != "bad@example.com" || bad.Code != 550 || bad.Enhanced != "5.1.1" || bad.Temporary() || !bad.Partial {
				t.Errorf("bad: %+v", bad)
			}
			if grey.Recipient != "grey@example.com" || grey.Code != 450 || !grey.Temporary() || !grey.Partial {
				t.Errorf("grey: %+v", grey)
			}
			if err := c.NotifyRecipients(t.Context(), notify.Message{ID: "m1", Subject: "s", Text: "t"}, []string{"grey@example.com"}); err != nil {
				t.Fatal(err)
			}
			var to [][]string
			for _, m := range s.Mails()[before:] {
				to = append(to, m.To)
				if m.Conn != 1 {
					t.Errorf("connection %d, want the first one kept", m.Conn)
				}
			}
			if diff := cmp.Diff([][]string{{"good@example.com"}, {"grey@example.com"}}, to); diff != "" {
				t.Errorf("recipients (-want +got):\n%s", diff)
			}
			// Nobody: the connection is good for the next mail all the same.
			err = c.NotifyRecipients(t.Context(), notify.Message{Subject: "s", Text: "t"}, []string{"bad@example.com"})
			if errs := notify.Errors(err); len(errs) != 1 || errs[0].Partial {
				t.Errorf("error %v", err)
			}
			if err := c.NotifyRecipients(t.Context(), notify.Message{Subject: "s", Text: "t"}, []string{"good@example.com"}); err != nil {
				t.Fatal(err)
			}
			if s.Conns() != 1 {
				t.Errorf("%d connections, want 1", s.Conns())
			}
		})
	}
}
