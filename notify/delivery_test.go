package notify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/notifytest"
	"github.com/svcblocks/svcblocks/notify/slack"
)

func webhook(t *testing.T, s *notifytest.Slack) *slack.Webhook {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	w, err := slack.NewWebhook(secret.New(s.WebhookURL()), &slack.Options{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// After a 429 the next try is when Slack wants it, and the other receivers do
// not wait.
func TestSlackThrottles(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("outbox=%v", durable), func(t *testing.T) {
			t.Parallel()
			s := notifytest.StartSlack(nil)
			t.Cleanup(s.Close)
			s.Inject(notifytest.SlackFault{Status: 429, Body: "rate_limited", Header: map[string]string{"Retry-After": "2"}, Times: 1})
			var other notifytest.Recorder
			quick := notify.Retry{Base: time.Millisecond, Max: 10 * time.Millisecond}
			opts := &notify.Options{Receivers: []notify.Receiver{{Name: "slack", Notifier: webhook(t, s), Retry: quick}, {Name: "other", Notifier: &other}}}
			if durable {
				opts.Outbox.Dir = t.TempDir()
			}
			hub := newHub(t, opts)
			begin := time.Now()
			sent := make(chan error, 1)
			go func() {
				err := hub.Send(context.Background(), "s", "m")
				if durable {
					err = errors.Join(err, hub.Flush(context.Background()))
				}
				sent <- err
			}()
			if _, err := other.Wait(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); took > time.Second {
				t.Errorf("the other receiver waited %v", took)
			}
			// The receiver as a whole pauses, not the one message.
			for hub.Stats().Receivers[0].PausedUntil.IsZero() {
				if time.Since(begin) > 10*time.Second {
					t.Fatal("the receiver does not pause")
				}
				runtime.Gosched()
			}
			second := hub.Notify(t.Context(), notify.Message{Subject: "second"})
			if err := errors.Join(second, <-sent); err != nil {
				t.Fatal(err)
			}
			if durable {
				if err := hub.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			requests := s.Requests()
			if len(requests) != 3 || len(s.Messages()) != 2 {
				t.Fatalf("%d requests, %d messages; want 3 and 2", len(requests), len(s.Messages()))
			}
			if gap := requests[1].At.Sub(requests[0].At); gap < 2*time.Second || gap > testenv.Within(2600*time.Millisecond, 6*time.Second) {
				t.Errorf("next try after %v, want 2.0s to 2.6s", gap)
			}
		})
	}
}

func TestSlackRecovers(t *testing.T) {
	t.Parallel()
	s := notifytest.StartSlack(nil)
	defer s.Close()
	s.Inject(notifytest.SlackFault{Status: 500, Body: "rollup_error", Times: 2})
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "slack", Notifier: webhook(t, s), Retry: notify.Retry{Base: time.Millisecond}}}})
	if err := hub.Send(t.Context(), "s", "m"); err != nil {
		t.Error(err)
	}
	if len(s.Requests()) != 3 || len(s.Messages()) != 1 {
		t.Errorf("%d requests, %d messages; want 3 and 1", len(s.Requests()), len(s.Messages()))
	}
	s.Inject(notifytest.SlackFault{Status: 403, Body: "action_prohibited"})
	err := hub.Send(t.Context(), "s2", "m")
	if errs := notify.Errors(err); len(errs) != 1 || errs[0].Receiver != "slack" || errs[0].Attempts != 1 || !strings.Contains(err.Error(), "action_prohibited") {
		t.Errorf("refusal: %v", err)
	}
	if n := len(s.Requests()); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}

// Of several recipients the refused one is reported, the greylisted one is
// tried again alone, and the good one gets the mail once.
func TestMailRecipients(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("outbox=%v", durable), func(t *testing.T) {
			t.Parallel()
			s, err := notifytest.StartSMTP(nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			s.Inject(notifytest.Fault{Step: notifytest.StepRCPT, Match: "<bad@", Reply: "550 5.1.1 unknown"})
			s.Inject(notifytest.Fault{Step: notifytest.StepRCPT, Match: "<grey@", Reply: "450 4.7.1 greylisted", Times: 1})
			s.Inject(notifytest.Fault{Step: notifytest.StepMAIL, Reply: "454 4.7.0 throttled", Times: 1})
			mail, err := email.New(&email.Options{
				Host: s.Host(), Port: s.Port(), TLSConfig: s.TLSConfig(), From: "a@example.com",
				To: []string{"bad@example.com", "good@example.com", "grey@example.com"},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = mail.Close() })
			opts := &notify.Options{Receivers: []notify.Receiver{{Name: "mail", Notifier: mail, Retry: notify.Retry{Base: time.Millisecond}}}}
			if durable {
				opts.Outbox.Dir = t.TempDir()
			}
			hub := newHub(t, opts)
			err = hub.Notify(t.Context(), notify.Message{ID: "m1", Subject: "s"})
			if durable {
				if err := hub.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			} else if errs := notify.Errors(err); len(errs) != 1 || errs[0].Recipient != "bad@example.com" || errs[0].Receiver != "mail" {
				t.Errorf("errors %v", err)
			}
			var to []string
			for _, m := range s.Mails() {
				to = append(to, m.To...)
				if !strings.Contains(string(m.Data), "<m1@example.com>") {
					t.Error("another Message-ID")
				}
			}
			if got := fmt.Sprint(to); got != "[good@example.com grey@example.com]" {
				t.Errorf("delivered to %v", got)
			}
		})
	}
}

// A receiver that refuses the credentials rests; its fallback takes over.
func TestAuthStopsReceiver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		var backup notifytest.Recorder
		locked := true
		var mu sync.Mutex
		mail := sendFunc(func(context.Context, string, string) error {
			mu.Lock()
			defer mu.Unlock()
			tries++
			if locked {
				return &notify.Error{Class: notify.ClassAuth, Code: 535, Reason: "wrong password"}
			}
			return nil
		})
		hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{
			{Name: "mail", Notifier: mail, Fallback: "chat"},
			{Name: "chat", Notifier: &backup, MinLevel: 100},
			{Name: "alone", Notifier: mail, MinLevel: 50},
		}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := hub.Send(t.Context(), fmt.Sprint("s", i), ""); err != nil {
				t.Errorf("fallback did not help: %v", err)
			}
		}
		if tries != 1 || len(backup.Messages()) != 3 {
			t.Errorf("%d tries, %d messages to the fallback; want 1 and 3", tries, len(backup.Messages()))
		}
		if s := hub.Stats().Receivers[0]; s.PausedUntil.IsZero() || s.Failed != 3 || !strings.Contains(s.LastError, "mail") {
			t.Errorf("stats %+v", s)
		}
		err = hub.Notify(t.Context(), notify.Message{Level: 60, Subject: "no fallback"})
		if errs := notify.Errors(err); len(errs) != 1 || errs[0].Receiver != "alone" || errs[0].Class != notify.ClassAuth {
			t.Errorf("without fallback: %v", err)
		}
		mu.Lock()
		locked = false
		mu.Unlock()
		time.Sleep(5*time.Minute + time.Second)
		if err := hub.Send(t.Context(), "later", ""); err != nil || tries != 3 {
			t.Errorf("after the rest: %v, %d tries", err, tries)
		}
		_ = hub.Close()
	})
}

// With an outbox nothing is given up before its time: then it goes to the dead
// letters.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		down := sendFunc(func(context.Context, string, string) error {
			tries++
			return &notify.Error{Class: notify.ClassTransport, Reason: "connection refused"}
		})
		hub, err := notify.New(&notify.Options{
			Receivers: []notify.Receiver{{Name: "down", Notifier: down}}, Outbox: notify.Outbox{Dir: dir, MaxAge: 6 * time.Hour},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- hub.Run(ctx) }()
		if err := hub.Notify(t.Context(), notify.Message{ID: "m1", Subject: "subject", Text: "text"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Hour)
		if s := hub.Stats(); s.Stored != 1 || s.Dead != 0 || s.Receivers[0].Waiting != 1 {
			t.Errorf("after 5 h: %+v", s)
		}
		time.Sleep(70 * time.Minute)
		if s := hub.Stats(); s.Stored != 0 || s.Dead != 1 || s.Receivers[0].Waiting != 0 || s.Receivers[0].Failed != 1 {
			t.Errorf("after MaxAge: %+v", s)
		}
		if tries < 50 || tries > 1000 { // about every 150 s
			t.Errorf("%d tries in 6 h", tries)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
	data, err := os.ReadFile(filepath.Join(dir, "dead.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var letter struct {
		ID, Receiver string
		Errors       []string
		Message      struct{ Subject, Text string }
	}
	if err := json.Unmarshal(data, &letter); err != nil {
		t.Fatal(err)
	}
	if letter.ID != "m1" || letter.Receiver != "down" || letter.Message.Text != "text" || len(letter.Errors) != 1 || !strings.Contains(letter.Errors[0], "connection refused") {
		t.Errorf("dead letter %s", data)
	}
}

// Beyond Rate a receiver gets one summary in each period, the most serious
// first; ends and higher levels pass on credit.
func TestRateOfReceiver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ops notifytest.Recorder
		hub, err := notify.New(&notify.Options{
			Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops, Rate: notify.Rate{Per: 10 * time.Second, Burst: 3}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		send := func(level slog.Level, subject string) {
			t.Helper()
			if err := hub.Notify(t.Context(), notify.Message{Level: level, Subject: subject, Text: "text of " + subject}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 6 {
			send(slog.LevelWarn, fmt.Sprint("s", i))
		}
		if n := len(ops.Messages()); n != 3 {
			t.Errorf("%d messages at once, want 3", n)
		}
		send(slog.LevelError, "disk full")
		if n := len(ops.Messages()); n != 4 {
			t.Errorf("%d messages: a higher level does not wait", n)
		}
		send(slog.LevelError, "disk full on db2")
		time.Sleep(25 * time.Second) // one for the credit
		got := ops.Messages()
		if len(got) != 5 || got[4].Level != slog.LevelError || got[4].New != 4 {
			t.Fatalf("%d messages, the last %+v", len(got), got[len(got)-1])
		}
		text := got[4].Text
		if !strings.HasPrefix(got[4].Subject, "disk full on db2") || !strings.Contains(text, "text of disk full on db2") || strings.Index(text, "db2") > strings.Index(text, "s3") || !strings.Contains(text, "s4") {
			t.Errorf("summary %q:\n%s", got[4].Subject, text)
		}
		time.Sleep(time.Minute)
		if n := len(ops.Messages()); n != 5 {
			t.Errorf("%d messages, want no more", n)
		}
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A caller who gives up is let go at once, with typed errors.
func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	var ops notifytest.Recorder
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{
		{Name: "slow", Notifier: sendFunc(func(ctx context.Context, _, _ string) error { <-ctx.Done(); return ctx.Err() })},
		{Name: "limited", Notifier: &ops, Rate: notify.Rate{Per: time.Hour, Burst: 1}},
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_ = hub.Notify(ctx, notify.Message{Subject: "takes the token"})
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	err := hub.Notify(ctx, notify.Message{Subject: "second"})
	if took := time.Since(begin); took > time.Second {
		t.Errorf("took %v", took)
	}
	errs := notify.Errors(err)
	if len(errs) != 1 || !errors.Is(err, context.DeadlineExceeded) { // what Rate holds is not waited for
		t.Fatalf("error %v", err)
	}
	for _, e := range errs {
		if e.Class != notify.ClassTimeout || e.Receiver == "" {
			t.Errorf("%+v", e)
		}
	}
}

// Calls that hang for ever are bounded, and the receiver works again once they
// return.
func TestHangingCallsAreBounded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var mu sync.Mutex
	calls := 0
	hub := newHub(t, &notify.Options{
		Receivers: []notify.Receiver{{Name: "hangs", Timeout: 5 * time.Millisecond, Notifier: sendFunc(func(context.Context, string, string) error {
			mu.Lock()
			calls++
			mu.Unlock()
			<-release
			return nil
		})}},
		Group: notify.Group{Interval: -1},
	})
	for range 20 {
		err := hub.Send(t.Context(), "s", "m")
		if !errors.Is(err, notify.ErrUnresponsive) {
			t.Fatalf("error %v", err)
		}
	}
	mu.Lock()
	if calls != 8 {
		t.Errorf("%d calls hang, want 8", calls)
	}
	mu.Unlock()
	close(release)
	deadline := time.Now().Add(10 * time.Second)
	for hub.Send(t.Context(), "s", "m") != nil {
		if time.Now().After(deadline) {
			t.Fatal("receiver is not used again")
		}
	}
}

// Close tells what is held and says how much it had to drop.
func TestCloseSaysWhatIsLost(t *testing.T) {
	t.Parallel()
	down := sendFunc(func(context.Context, string, string) error {
		return &notify.Error{Class: notify.ClassTransport, Reason: "down"}
	})
	hub, err := notify.New(&notify.Options{
		Receivers: []notify.Receiver{{Name: "down", Notifier: down, Retry: notify.Retry{Base: time.Hour, Max: time.Hour, MaxElapsed: -1}}}, CloseTimeout: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	slog.New(notify.NewHandler(hub, nil, nil)).Error("nobody hears this")
	err = hub.Close()
	if err == nil || !strings.Contains(err.Error(), "1 messages") {
		t.Errorf("Close = %v", err)
	}
	if again := hub.Close(); fmt.Sprint(again) != fmt.Sprint(err) {
		t.Errorf("second Close = %v", again)
	}
	ctx := t.Context()
	for name, err := range map[string]error{"Notify": hub.Notify(ctx, notify.Message{Subject: "s"}), "Flush": hub.Flush(ctx), "Run": hub.Run(ctx), "Check": hub.Check(ctx)} {
		if !errors.Is(err, notify.ErrClosed) {
			t.Errorf("%s after Close = %v", name, err)
		}
	}
}

func TestBadMessagesAreRefused(t *testing.T) {
	t.Parallel()
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: &fake{}}}})
	for name, m := range map[string]notify.Message{
		"empty":        {},
		"ID with CRLF": {ID: "a\r\nBcc: x@y", Subject: "s"},
		"long ID":      {ID: strings.Repeat("x", 65), Subject: "s"},
		"ID of dots":   {ID: "a..b", Subject: "s"},
	} {
		err := hub.Notify(t.Context(), m)
		if errs := notify.Errors(err); len(errs) != 1 || errs[0].Class != notify.ClassInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type checked struct {
	fake
	err error
}

func (c *checked) Check(context.Context) error { return c.err }

func TestCheckNamesReceivers(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	hub := newHub(t, &notify.Options{
		Receivers: []notify.Receiver{
			{Name: "good", Notifier: &checked{}},
			{Name: "plain", Notifier: sendFunc(nil)},
			{Name: "bad", Notifier: &checked{err: &notify.Error{Class: notify.ClassAuth, Code: 535, Reason: "no"}}},
			{Name: "hangs", Notifier: hanging{release}, Timeout: 20 * time.Millisecond},
		},
		Outbox: notify.Outbox{Dir: t.TempDir()},
	})
	errs := notify.Errors(hub.Check(t.Context()))
	if len(errs) != 2 || errs[0].Receiver != "bad" || errs[0].Op != "check" || errs[1].Receiver != "hangs" {
		t.Errorf("Check = %v", errs)
	}
}

type hanging struct{ release chan struct{} }

func (h hanging) Send(context.Context, string, string) error { return nil }
func (h hanging) Check(context.Context) error                { <-h.release; return nil }

// An alert is not lost over its wording.
func TestFormat(t *testing.T) {
	t.Parallel()
	var good, bad, worse notifytest.Recorder
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{
		{Name: "good", Notifier: &good, Format: func(m notify.Message) (notify.Message, error) { m.Text = "worded"; m.ID = "x"; return m, nil }},
		{Name: "bad", Notifier: &bad, Format: func(m notify.Message) (notify.Message, error) { m.Text = ""; return m, errors.New("no") }},
		{Name: "worse", Notifier: &worse, Format: func(notify.Message) (notify.Message, error) { panic("no") }},
	}})
	if err := hub.Notify(t.Context(), notify.Message{ID: "m1", Subject: "s", Text: "text"}); err != nil {
		t.Fatal(err)
	}
	for want, r := range map[string]*notifytest.Recorder{"worded": &good, "text": &bad} {
		if got := r.Messages(); len(got) != 1 || got[0].Text != want || got[0].ID != "m1" {
			t.Errorf("got %+v, want %q", got, want)
		}
	}
	if got := worse.Messages(); len(got) != 1 || got[0].Text != "text" {
		t.Errorf("got %+v", got)
	}
}

// A hub behind a hub keeps the counts.
func TestHubIsANotifier(t *testing.T) {
	t.Parallel()
	var ops notifytest.Recorder
	inner := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}})
	outer := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "inner", Notifier: inner}}})
	for range 10 {
		if err := outer.Send(t.Context(), "s", "m"); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(outer.Close(), inner.Close()); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, m := range ops.Messages() {
		total += m.New
	}
	if total != 10 {
		t.Errorf("%d messages counted, want 10", total)
	}
}

// Foreign functions that panic cost nothing but themselves.
func TestFunctionsThatPanic(t *testing.T) {
	t.Parallel()
	var ops notifytest.Recorder
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops, Match: func(notify.Message) bool { panic("match") }}}})
	defer hub.Silence(func(notify.Message) bool { panic("silence") }, time.Hour)()
	slog.New(notify.NewHandler(hub, nil, &notify.HandlerOptions{Key: func(context.Context, slog.Record) string { panic("key") }})).Error("alert")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := ops.Wait(ctx, 1); err != nil {
		t.Error(err)
	}
}

// broken is an error that cannot be read.
type broken struct{ text *string }

func (b *broken) Error() string { return *b.text }

// A receiver whose errors are no good is contained like one that panics.
func TestErrorsThatPanic(t *testing.T) {
	t.Parallel()
	var none *notify.Error
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{
		{Name: "nil", Notifier: sendFunc(func(context.Context, string, string) error { return none })},
		{Name: "wrapped", Notifier: sendFunc(func(context.Context, string, string) error { return fmt.Errorf("w: %w", errors.Join(none)) })},
		{Name: "broken", Notifier: sendFunc(func(context.Context, string, string) error { return (*broken)(nil) })},
		{Name: "check", Notifier: checkFunc(func(context.Context) error { return (*broken)(nil) })},
	}})
	errs := notify.Errors(hub.Send(t.Context(), "s", "m"))
	for _, e := range errs {
		if e.Class == notify.ClassPanic && !strings.Contains(e.Reason, "delivery_test.go:") {
			t.Errorf("reason %q does not tell the place", e.Reason)
		}
	}
	if len(errs) != 3 || errs[2].Class != notify.ClassPanic && errs[1].Class != notify.ClassPanic && errs[0].Class != notify.ClassPanic {
		t.Errorf("errors %v, want 3", errs)
	}
	if errs := notify.Errors(hub.Check(t.Context())); len(errs) != 1 || errs[0].Receiver != "check" || errs[0].Class != notify.ClassPanic {
		t.Errorf("check: %v", errs)
	}
}

// checkFunc is a receiver that can be checked.
type checkFunc func(context.Context) error

func (checkFunc) Send(context.Context, string, string) error { return nil }

func (f checkFunc) Check(ctx context.Context) error { return f(ctx) }

// TestRetriesAreToldOnce has a receiver that is away for an hour: the log says
// at Warn that a delivery is tried again, once, and the tries after it at Debug.
func TestRetriesAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		back := time.Now().Add(time.Hour)
		ops := notifytest.Recorder{Fail: func(context.Context, notify.Message) error {
			if time.Now().Before(back) {
				return &notify.Error{Op: "post", Class: notify.ClassServer, Code: 502}
			}
			return nil
		}}
		hub := newHub(t, &notify.Options{
			Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops}}, Outbox: notify.Outbox{Dir: t.TempDir()},
			Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		if err := hub.Send(t.Context(), "disk full", "db1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()

		if err := hub.Close(); err != nil {
			t.Error(err)
		}
		const said = ` msg="delivery failed and is tried again"`
		warned, more := strings.Count(log.String(), "level=WARN"+said), strings.Count(log.String(), "level=DEBUG"+said)
		if warned != 1 || more < 5 {
			t.Errorf("%d records at WARN and %d at DEBUG, want 1 and the others:\n%s", warned, more, &log)
		}
	})
}
