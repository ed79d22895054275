package notifytest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/notifytest"
	"github.com/svcblocks/svcblocks/notify/slack"
)

// Our own receivers keep what they owe.
func TestEmail(t *testing.T) {
	t.Parallel()
	const password = "suite-password-1"
	s, err := notifytest.StartSMTP(&notifytest.SMTPOptions{Username: "shop", Password: password})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	notifytest.Run(t, notifytest.Harness{
		New: func() (notify.Notifier, error) {
			return email.New(&email.Options{
				Host: s.Host(), Port: s.Port(), TLSConfig: s.TLSConfig(), Username: "shop", Password: secret.New(password),
				From: "shop@example.com", To: []string{"ops@example.com"},
			})
		},
		Received: func() (texts []string) {
			for _, m := range s.Mails() {
				texts = append(texts, string(m.Data))
			}
			return texts
		},
		Stall:  func() { s.Inject(notifytest.Fault{Step: notifytest.StepMAIL, Silent: true}) },
		Busy:   func() { s.Inject(notifytest.Fault{Step: notifytest.StepRCPT, Reply: "451 4.3.0 later"}) },
		Refuse: func() { s.Inject(notifytest.Fault{Step: notifytest.StepRCPT, Reply: "550 5.1.1 no " + password}) },
		Heal:   s.Heal, Secrets: []string{password},
	})
}

func TestSlack(t *testing.T) {
	t.Parallel()
	s := notifytest.StartSlack(nil)
	defer s.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	options := &slack.Options{BaseURL: s.APIURL(), HTTPClient: &http.Client{Transport: transport}, Rate: -1}
	h := notifytest.Harness{
		Received: func() (texts []string) {
			for _, m := range s.Messages() {
				texts = append(texts, m.Text)
			}
			return texts
		},
		Stall:  func() { s.Inject(notifytest.SlackFault{Silent: true}) },
		Busy:   func() { s.Inject(notifytest.SlackFault{Status: 503, Body: "busy"}) },
		Refuse: func() { s.Inject(notifytest.SlackFault{Status: 404, Body: "no_service"}) },
		Heal:   s.Heal, Secrets: []string{s.WebhookURL(), s.Token(), "notifytestsecretpath0"},
	}
	for name, construct := range map[string]func() (notify.Notifier, error){
		"webhook": func() (notify.Notifier, error) { return slack.NewWebhook(secret.New(s.WebhookURL()), options) },
		"bot":     func() (notify.Notifier, error) { return slack.NewBot(secret.New(s.Token()), "#ops", options) },
	} {
		h.New = construct
		t.Run(name, func(t *testing.T) { notifytest.Run(t, h) })
	}
}

// A Hub is a receiver itself.
func TestHub(t *testing.T) {
	t.Parallel()
	far := &wrong{}
	notifytest.Run(t, notifytest.Harness{
		New: func() (notify.Notifier, error) {
			return notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "far", Notifier: far, Retry: notify.Retry{Attempts: -1}}}})
		},
		Received: far.received,
		Stall:    far.set("stall"), Busy: far.set("busy"), Refuse: far.set("refuse"), Heal: far.set(""),
	})
}

// wrong is a receiver that breaks one obligation.
type wrong struct {
	breaks string

	mu    sync.Mutex
	got   []string
	state string
}

func (w *wrong) Send(ctx context.Context, subject, message string) error {
	w.mu.Lock()
	state := w.state
	w.mu.Unlock()
	if w.breaks != "2" {
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	switch state {
	case "stall":
		if w.breaks == "2" {
			time.Sleep(3 * time.Second)
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	case "busy":
		if w.breaks == "4" {
			return errors.New("busy")
		}
		return &notify.Error{Class: notify.ClassServer, Reason: "busy"}
	case "refuse":
		if w.breaks == "5" {
			return errors.New("refused for token-canary")
		}
		return errors.New("refused")
	}
	if w.breaks == "1" {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.breaks == "3" && strings.Contains(subject, "concurrent") && strings.HasSuffix(subject, "7.") {
		w.got = append(w.got, subject) // twice
	}
	w.got = append(w.got, subject)
	return nil
}

func (w *wrong) Notify(ctx context.Context, m notify.Message) error {
	if w.breaks == "6" {
		return nil
	}
	return w.Send(ctx, m.Subject, m.Text)
}

func (w *wrong) set(state string) func() {
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.state = state
	}
}

func (w *wrong) received() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.got...)
}

// The suite notices each broken obligation, and none where there is none.
func TestSuiteNotices(t *testing.T) {
	t.Parallel()
	for _, breaks := range []string{"", "1", "2", "3", "4", "5", "6"} {
		t.Run("breaks "+breaks, func(t *testing.T) {
			t.Parallel()
			w := &wrong{breaks: breaks}
			err := notifytest.Check(notifytest.Harness{
				New:      func() (notify.Notifier, error) { return w, nil },
				Received: w.received,
				Stall:    w.set("stall"), Busy: w.set("busy"), Refuse: w.set("refuse"), Heal: w.set(""), Secrets: []string{"token-canary"},
			})
			if breaks == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("obligation %s:", breaks)) {
				t.Errorf("Check = %v, want obligation %s broken", err, breaks)
			}
			if breaks == "5" && strings.Contains(err.Error(), "token-canary") {
				t.Errorf("the suite shows the secret: %v", err)
			}
		})
	}
}
