package email_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// A server that takes longer than the caller has the mail once: the next try
// waits for the answer to the first one, or finds it.
func TestSlowConfirmation(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]bool{"the answer comes to the second try": false, "it came before": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &script{ehlo: []string{"script.test", "PIPELINING"}, got: make(chan string, 8), confirm: make(chan struct{}, 8)}
			c := newClient(t, &email.Options{
				Host: "127.0.0.1", Port: s.start(t), TLS: email.None, From: "a@example.com", To: []string{"b@example.com", "c@example.com"},
				Timeout: 200 * time.Millisecond, MaxConns: 1, // Timeout is no bound of the answer
			})
			m := notify.Message{ID: "slow", Subject: "s", Text: "t"}
			ctx, cancel := context.WithCancel(t.Context())
			first := make(chan error, 1)
			go func() { first <- c.Notify(ctx, m) }()
			<-s.got
			cancel()
			err := <-first
			if errs := notify.Errors(err); len(errs) != 1 || !strings.Contains(err.Error(), "not confirmed") || !errors.Is(err, context.Canceled) {
				t.Fatalf("first try: %v", err)
			}

			if late {
				s.confirm <- struct{}{}
				if err := c.Check(t.Context()); err != nil { // waits for the only connection
					t.Fatal(err)
				}
			}
			second := make(chan error, 1)
			go func() { second <- c.Notify(t.Context(), m) }()
			if !late {
				s.confirm <- struct{}{}
			}
			if err := <-second; err != nil {
				t.Errorf("second try: %v", err)
			}
			if n := len(s.taken()); n != 1 {
				t.Errorf("%d mails, want 1", n)
			}

			// Another message, and the same one once more, are mails of their own.
			s.confirm <- struct{}{}
			s.confirm <- struct{}{}
			for _, id := range []string{"other", "slow"} {
				if err := c.Notify(t.Context(), notify.Message{ID: id, Subject: "s", Text: "t"}); err != nil {
					t.Error(err)
				}
			}
			if n := len(s.taken()); n != 3 {
				t.Errorf("%d mails, want 3", n)
			}
		})
	}
}

// A try for other recipients does not wait for the answer to the first one.
func TestOtherRecipientsDoNotWait(t *testing.T) {
	t.Parallel()
	s := &script{got: make(chan string, 8), confirm: make(chan struct{}, 8)}
	c := newClient(t, &email.Options{Host: "127.0.0.1", Port: s.start(t), TLS: email.None, From: "a@example.com", To: []string{"b@example.com", "c@example.com"}})
	m := notify.Message{ID: "slow", Subject: "s", Text: "t"}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _ = c.NotifyRecipients(ctx, m, []string{"b@example.com"}) }()
	<-s.got
	cancel()
	s.confirm <- struct{}{} // for whichever comes first
	s.confirm <- struct{}{}
	if err := c.NotifyRecipients(t.Context(), m, []string{"c@example.com"}); err != nil {
		t.Error(err)
	}
	if n := len(s.taken()); n != 2 {
		t.Errorf("%d mails, want 2", n)
	}
}

// A mail whose fate stays unknown is sent three times, not without end.
func TestDoubtIsBounded(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	s.Inject(notifytest.Fault{Step: notifytest.StepDot, NoAnswer: true})
	c := newClient(t, options(s))
	m := notify.Message{ID: "doubt", Subject: "s", Text: "t"}
	for i := range 6 {
		err := c.Notify(t.Context(), m)
		errs := notify.Errors(err)
		if len(errs) != 1 || errs[0].Temporary() != (i < 3) {
			t.Fatalf("try %d: %v", i+1, err)
		}
	}
	if n := len(s.Mails()); n != 3 {
		t.Errorf("%d mails, want 3", n)
	}
	s.Heal()
	if err := c.Notify(t.Context(), notify.Message{ID: "other", Subject: "s", Text: "t"}); err != nil {
		t.Errorf("another message: %v", err)
	}
}

// What is remembered is bounded, and a mail that waits is never forgotten for
// those that do not.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	s.Inject(notifytest.Fault{Step: notifytest.StepDot, NoAnswer: true, Times: 1100})
	c := newClient(t, options(s))
	for i := range 1100 {
		if err := c.Notify(t.Context(), notify.Message{ID: fmt.Sprint("m", i), Subject: "s", Text: "t"}); err == nil {
			t.Fatal("no error")
		}
	}
	if n := email.Remembered(c); n != 1000 {
		t.Errorf("%d messages are remembered, want 1000", n)
	}
}

// Close gives up an answer that nobody waits for.
func TestCloseGivesUp(t *testing.T) {
	t.Parallel()
	s := &script{got: make(chan string, 1), confirm: make(chan struct{})}
	c := newClient(t, &email.Options{Host: "127.0.0.1", Port: s.start(t), TLS: email.None, From: "a@example.com", To: []string{"b@example.com"}, MaxConns: 1})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- c.Notify(ctx, notify.Message{ID: "slow", Subject: "s"}) }()
	<-s.got
	cancel()
	<-first
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	// The only connection is free again, which only its end can do.
	if err := c.Send(t.Context(), "s", "t"); !errors.Is(err, notify.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	close(s.confirm)
}
