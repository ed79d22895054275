package notify_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
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

// The canaries: if one of these shows up anywhere, a secret would.
const (
	canaryPassword = "canary+pass/word=1"
	canaryToken    = "xoxb-canary-token-2"
	canaryHook     = "notifytestsecretpath0" // of notifytest's webhook
	canaryPath     = "canary-hook-3"         // in the address of a foreign service
	canaryQuery    = "canary-query-4"
)

// canaries are all forms in which a secret could show.
func canaries() []string {
	list := []string{canaryPath, canaryQuery, canaryHook, canaryToken}
	for _, s := range []string{canaryPassword, "\x00shop\x00" + canaryPassword, canaryToken} {
		list = append(list, s, url.PathEscape(s), url.QueryEscape(s),
			strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(s)), "="), base64.RawURLEncoding.EncodeToString([]byte(s)))
	}
	return list
}

// A secret that stands in a field of a message goes nowhere.
func TestSecretsInMessages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &fake{}
	hub := newHub(t, &notify.Options{
		Receivers: []notify.Receiver{{Name: "f", Notifier: f}}, Outbox: notify.Outbox{Dir: dir}, Secrets: []secret.Secret{secret.New(canaryToken)},
	})
	s := "a " + canaryToken + " b"
	m := notify.Message{
		Subject: s, Text: s, HTML: s, Key: s, Attrs: []slog.Attr{slog.String(s, s), slog.Group(s, slog.String(s, s))},
		Attachments: []notify.Attachment{{Name: s, ContentType: s}},
	}
	for range 2 { // the second one is held
		if err := hub.Notify(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	list, err := filepath.Glob(filepath.Join(dir, "*", "journal"))
	if err != nil || len(list) != 1 {
		t.Fatalf("journals %v, %v", list, err)
	}
	journal, err := os.ReadFile(list[0])
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(journal, []byte(canaryToken)) {
		t.Errorf("journal holds it:\n%s", bytes.TrimRight(journal, "\x00"))
	}
	if err := hub.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%+v", f.messages()); len(f.messages()) != 2 || strings.Contains(got, canaryToken) {
		t.Errorf("messages hold it: %s", got)
	}
}

// What is kept of a long text for its repeats ends with no part of a secret.
func TestSecretAtTheCut(t *testing.T) {
	t.Parallel()
	f := &fake{}
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: f}}, Secrets: []secret.Secret{secret.New(canaryToken)}})
	for n := 4080; n <= 4100; n++ {
		m := notify.Message{Key: fmt.Sprint(n), Subject: "s", Text: strings.Repeat("x", n) + canaryToken + strings.Repeat("y", 1000)}
		for range 2 {
			if err := hub.Notify(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := hub.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range f.messages() {
		if strings.Contains(m.Text, canaryToken[:4]) {
			t.Errorf("text ends in %q", m.Text[len(m.Text)-30:])
		}
	}
}

// webService posts to an address with a secret in it, with net/http's errors as
// they are, as services of nikoksr/notify do.
type webService struct {
	address string
	client  *http.Client
}

func (s webService) Send(ctx context.Context, subject, message string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.address, strings.NewReader(subject+message))
	if err != nil {
		return fmt.Errorf("send to %s: %w", s.address, err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("send to %s: %w", s.address, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("send to %s: status %d", s.address, resp.StatusCode)
	}
	return nil
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Whatever fails, no secret shows in an error, a log line, the statistics, the
// journal, the dead letters or a dry run.
func TestNoSecretShows(t *testing.T) {
	t.Parallel()
	refuse := func(status int, body string) func(*notifytest.SMTP, *notifytest.Slack) {
		return func(_ *notifytest.SMTP, s *notifytest.Slack) {
			s.Inject(notifytest.SlackFault{Status: status, Body: body})
		}
	}
	smtp := func(f notifytest.Fault) func(*notifytest.SMTP, *notifytest.Slack) {
		return func(s *notifytest.SMTP, _ *notifytest.Slack) { s.Inject(f) }
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00shop\x00" + canaryPassword))
	modes := map[string]func(*notifytest.SMTP, *notifytest.Slack){
		"none":                 func(*notifytest.SMTP, *notifytest.Slack) {},
		"servers gone":         func(m *notifytest.SMTP, s *notifytest.Slack) { m.Close(); s.Close() },
		"mail silent":          smtp(notifytest.Fault{Step: notifytest.StepGreeting, Silent: true}),
		"AUTH silent":          smtp(notifytest.Fault{Step: notifytest.StepAUTH, Silent: true}),
		"AUTH closed":          smtp(notifytest.Fault{Step: notifytest.StepAUTH, Close: true}),
		"AUTH refused":         smtp(notifytest.Fault{Step: notifytest.StepAUTH, Reply: "535 5.7.8 no"}),
		"AUTH echoes":          smtp(notifytest.Fault{Step: notifytest.StepAUTH, Reply: "535 5.7.8 wrong: " + plain + " and " + canaryPassword}),
		"MAIL echoes":          smtp(notifytest.Fault{Step: notifytest.StepMAIL, Reply: "550 5.7.1 you said " + plain}),
		"RCPT refused":         smtp(notifytest.Fault{Step: notifytest.StepRCPT, Reply: "550 5.1.1 no"}),
		"dot echoes":           smtp(notifytest.Fault{Step: notifytest.StepDot, Reply: "554 5.6.0 " + canaryPassword}),
		"STARTTLS stripped":    smtp(notifytest.Fault{Step: notifytest.StepSTARTTLS, Reply: "502 5.5.1 no"}),
		"handshake broken":     smtp(notifytest.Fault{Step: notifytest.StepHandshake, Close: true}),
		"web cut":              func(_ *notifytest.SMTP, s *notifytest.Slack) { s.Inject(notifytest.SlackFault{Close: true}) },
		"web silent":           func(_ *notifytest.SMTP, s *notifytest.Slack) { s.Inject(notifytest.SlackFault{Silent: true}) },
		"web 429":              refuse(429, "rate_limited"),
		"web 404 echoes":       refuse(404, "no_service /services/T000TEST/B000TEST/"+canaryHook+"?t="+canaryToken),
		"web 500":              refuse(500, "oops"),
		"web ok false, echoes": refuse(200, `{"ok":false,"error":"`+canaryToken+`"}`),
		"web page":             refuse(200, "<html>"+canaryToken),
		"web redirect": func(_ *notifytest.SMTP, s *notifytest.Slack) {
			s.Inject(notifytest.SlackFault{Status: 307, Header: map[string]string{"Location": "http://127.0.0.1:1/" + canaryHook}})
		},
		"web not HTTP": func(_ *notifytest.SMTP, s *notifytest.Slack) {
			s.Inject(notifytest.SlackFault{Status: 999, Body: canaryHook})
		},
	}
	if len(modes) < 20 {
		t.Fatalf("%d failure modes, want 20", len(modes))
	}
	for name, arrange := range modes {
		for _, durable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s outbox=%v", name, durable), func(t *testing.T) {
				t.Parallel()
				noSecretShows(t, arrange, durable)
			})
		}
	}
}

func noSecretShows(t *testing.T, arrange func(*notifytest.SMTP, *notifytest.Slack), durable bool) {
	mailServer, err := notifytest.StartSMTP(&notifytest.SMTPOptions{Username: "shop", Password: canaryPassword})
	if err != nil {
		t.Fatal(err)
	}
	defer mailServer.Close()
	slackServer := notifytest.StartSlack(&notifytest.SlackOptions{Token: canaryToken})
	defer slackServer.Close()
	arrange(mailServer, slackServer)

	var logs lockedBuffer
	log := slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	mail, err := email.New(&email.Options{
		Host: mailServer.Host(), Port: mailServer.Port(), TLSConfig: mailServer.TLSConfig(),
		Username: "shop", Password: secret.New(canaryPassword), From: "a@example.com", To: []string{"b@example.com"}, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mail.Close() }()
	options := &slack.Options{HTTPClient: client, BaseURL: slackServer.APIURL(), Rate: -1, Logger: log}
	hook, err := slack.NewWebhook(secret.New(slackServer.WebhookURL()), options)
	if err != nil {
		t.Fatal(err)
	}
	bot, err := slack.NewBot(secret.New(canaryToken), "#ops", options)
	if err != nil {
		t.Fatal(err)
	}
	web := webService{slackServer.APIURL() + "/" + canaryPath + "?key=" + canaryQuery, client}
	const wait = 150 * time.Millisecond
	once := notify.Retry{Attempts: -1}
	dir := t.TempDir()
	opts := &notify.Options{
		Receivers: []notify.Receiver{
			{Name: "mail", Notifier: mail, Timeout: wait, Retry: once},
			{Name: "hook", Notifier: hook, Timeout: wait, Retry: once},
			{Name: "bot", Notifier: bot, Timeout: wait, Retry: once},
			{Name: "web", Notifier: web, Timeout: wait, Retry: once},
		},
		Logger: log,
	}
	if durable {
		opts.Outbox.Dir = filepath.Join(dir, "outbox")
	}
	hub, err := notify.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	show := func(what string, err error) {
		for _, e := range append([]error{err}, errorsOf(err)...) {
			encoded, _ := json.Marshal(e)
			fmt.Fprintf(&shown, "%s: %v %+v %#v %s %v\n", what, e, e, e, encoded, slog.AnyValue(e).Resolve())
		}
		if u, ok := errors.AsType[*url.Error](err); ok {
			t.Errorf("%s leads to a *url.Error: %v", what, u)
		}
		if n, ok := errors.AsType[*net.OpError](err); ok {
			t.Errorf("%s leads to a *net.OpError: %v", what, n)
		}
	}
	m := notify.Message{
		Level: slog.LevelError, Subject: "login with " + canaryPassword, Text: "token " + canaryToken + " hook " + slackServer.WebhookURL(),
		HTML: "<b>" + canaryToken + "</b>", Key: canaryToken, Attrs: []slog.Attr{slog.String("pw", canaryPassword)},
	}
	show("Notify", hub.Notify(t.Context(), m))
	show("Check", hub.Check(t.Context()))
	if durable {
		readFiles(t, dir, &shown)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := hub.Flush(ctx); err != nil && !strings.Contains(err.Error(), "wait") {
			t.Error(err)
		}
	}
	stats := hub.Stats()
	encoded, err := json.Marshal(stats)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&shown, "%+v %s\n", stats, encoded)
	show("Close", hub.Close())
	readFiles(t, dir, &shown)
	fmt.Fprintf(&shown, "%v %+v %#v %v %+v %#v %v %#v %+v\n", mail, mail, mail, hook, hook, hook, bot, bot, opts)

	opts.DryRun, opts.Outbox.Dir = &shown, ""
	dry, err := notify.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	show("dry run", dry.Notify(t.Context(), m))
	if err := dry.Close(); err != nil {
		t.Error(err)
	}
	shown.WriteString(logs.String())
	text := shown.String()
	for _, c := range canaries() {
		if i := strings.Index(text, c); i >= 0 {
			t.Errorf("%q shows: …%s…", c, text[max(0, i-200):min(len(text), i+len(c)+100)])
		}
	}
}

func errorsOf(err error) (list []error) {
	for _, e := range notify.Errors(err) {
		list = append(list, e)
		list = append(list, e.Unwrap()...)
	}
	return list
}

func readFiles(t *testing.T, dir string, to *strings.Builder) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		to.Write(data)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
