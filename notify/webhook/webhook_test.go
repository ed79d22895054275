package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/notifytest"
	"github.com/svcblocks/svcblocks/notify/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const simple = `{"text": {{json .Title}}}`

// httpClient has a transport of its own, so that no connection outlives the test.
func httpClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func newClient(t *testing.T, o *webhook.Options) *webhook.Client {
	t.Helper()
	o.HTTPClient = httpClient(t)
	c, err := webhook.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The bodies of the examples stay within the documented limits, whatever a
// message holds.
func TestServicesTakeAnything(t *testing.T) {
	t.Parallel()
	long, evil := strings.Repeat("ä\"\\😀\n", 40_000), "\"},\"event_action\":\"resolve\",{\x00\xff\u202e{{.}} <!channel>"
	for name, s := range map[string]struct {
		*service
		o webhook.Options
	}{
		"PagerDuty": {startPagerDuty(), webhook.Options{Body: pagerDuty, Values: map[string]secret.Secret{"routing_key": secret.New(routingKey)}}},
		"ntfy":      {startNtfy(), webhook.Options{Body: ntfy, Headers: map[string]secret.Secret{"Authorization": secret.New("Bearer " + ntfyToken)}}},
		"Gotify":    {startGotify(), webhook.Options{Body: gotify, Headers: map[string]secret.Secret{"x-gotify-key": secret.New(gotifyToken)}}},
		"workflow":  {startWorkflow(), webhook.Options{Body: workflow, Expect: `"ok":true`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Cleanup(s.Close)
			path := map[string]string{"PagerDuty": "/v2/enqueue", "Gotify": "/message", "workflow": "/triggers/T000TEST/123/workflowcanary"}[name]
			o := s.o
			o.URL = secret.New(s.URL + path)
			c := newClient(t, &o)
			messages := []notify.Message{
				{Subject: "s"},
				{Text: "t"},
				{Subject: long, Text: long, Key: long},
				{Subject: evil, Text: evil, Key: evil, Attrs: []slog.Attr{slog.String(evil, evil)}},
				{Subject: "s", Level: slog.LevelError + 4},
				{Subject: "s", Level: slog.LevelDebug},
				{Subject: "s", Key: "k", Resolved: true},
				{Subject: "s", Count: 99, First: time.Unix(1, 0), Last: time.Unix(2, 0), Thread: "m1"},
			}
			for i, m := range messages {
				if err := c.Notify(t.Context(), m); err != nil {
					t.Errorf("message %d: %v", i, err)
				}
			}
			events := s.events()
			if len(events) != len(messages) {
				t.Errorf("%d events, want %d", len(events), len(messages))
			}
			if name == "PagerDuty" && (events[3]["event_action"] != "trigger" || events[2]["dedup_key"] == "" || events[7]["dedup_key"] != "m1") {
				t.Errorf("events %v", events[3:])
			}
		})
	}
}

// The Client keeps what a Notifier promises.
func TestConformance(t *testing.T) {
	t.Parallel()
	var mode atomic.Int32 // the status of answers; -1 is silence
	var mu sync.Mutex
	var got []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		switch status := mode.Load(); status {
		case 0:
			mu.Lock()
			defer mu.Unlock()
			got = append(got, string(body))
		case -1:
			<-r.Context().Done()
		default:
			w.WriteHeader(int(status))
		}
	}))
	t.Cleanup(s.Close)
	const path = "/hook/conformance-canary"
	notifytest.Run(t, notifytest.Harness{
		New: func() (notify.Notifier, error) {
			return webhook.New(&webhook.Options{URL: secret.New(s.URL + path), Body: simple, HTTPClient: httpClient(t)})
		},
		Received: func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(got) },
		Stall:    func() { mode.Store(-1) },
		Busy:     func() { mode.Store(http.StatusServiceUnavailable) },
		Refuse:   func() { mode.Store(http.StatusBadRequest) },
		Heal:     func() { mode.Store(0) },
		Secrets:  []string{"conformance-canary"},
	})
}

// Each answer has its class.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status    int
		header    string // Retry-After
		body      string
		class     notify.Class
		after     time.Duration
		temporary bool
	}{
		{status: 200, body: `{"ok":false}`, class: notify.ClassRejected},
		{status: 302, class: notify.ClassInvalid},
		{status: 400, body: `{"status":"invalid event"}`, class: notify.ClassRejected},
		{status: 401, class: notify.ClassAuth},
		{status: 403, class: notify.ClassAuth},
		{status: 404, class: notify.ClassRejected},
		{status: 408, class: notify.ClassServer, temporary: true},
		{status: 410, class: notify.ClassRejected},
		{status: 413, class: notify.ClassRejected},
		{status: 429, class: notify.ClassThrottled, after: 30 * time.Second, temporary: true},
		{status: 429, header: "7", class: notify.ClassThrottled, after: 7 * time.Second, temporary: true},
		{status: 500, class: notify.ClassServer, temporary: true},
		{status: 503, header: "120", class: notify.ClassServer, after: 2 * time.Minute, temporary: true},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if tc.header != "" {
				w.Header().Set("Retry-After", tc.header)
			}
			w.Header().Set("Location", "https://elsewhere.example/")
			w.WriteHeader(tc.status)
			_, _ = io.WriteString(w, tc.body+" canary-in-the-path canary-in-the-header")
		}))
		c := newClient(t, &webhook.Options{
			URL: secret.New(s.URL + "/hook/canary-in-the-path"), Body: simple, Expect: `"ok":true`,
			Headers: map[string]secret.Secret{"Authorization": secret.New("Bearer canary-in-the-header")},
		})
		err := c.Notify(t.Context(), notify.Message{ID: "m1", Subject: "s"})
		errs := notify.Errors(err)
		if len(errs) != 1 || errs[0].Class != tc.class || errs[0].Temporary() != tc.temporary || errs[0].Wait != tc.after || errs[0].Code != tc.status || errs[0].MessageID != "m1" {
			t.Errorf("%d: %+v", tc.status, errs)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "canary") {
			t.Errorf("%d: error shows a secret: %v", tc.status, err)
		}
		s.Close()
		err = c.Notify(t.Context(), notify.Message{Subject: "s"})
		if errs := notify.Errors(err); len(errs) != 1 || errs[0].Class != notify.ClassTransport || strings.Contains(err.Error(), "canary") {
			t.Errorf("nobody listens: %v", err)
		}
	}
}

// A template that works for a good message alone is refused when it is made.
func TestBodyIsTried(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ body, want string }{
		{`{"text": "{{.Title}}"}`, "by json"},
		{`{"text": {{.Title}}}`, "by json"},
		{`{"text": {{json .Title}}`, "by json"},
		{`{"text": {{json .Titel}}}`, "Titel"},
		{`{"text": {{json .Title`, "unclosed action"},
		{`{"key": {{json (secret "none")}}}`, `no "none" in Values`},
		{`{{range $i := 99999999}}xxxxxxxxxxxxxxxx{{end}}`, "more than"},
		{`{"p": {{if .Resolved}}{{else}}1{{end}}}`, "by json"},
		{"", "is empty"},
	} {
		_, err := webhook.New(&webhook.Options{URL: secret.New("https://example.com/hook"), Body: tc.body})
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "webhook: new: Body: ") {
			t.Errorf("%s: %v, want %q", tc.body, err, tc.want)
		}
	}
	c := newClient(t, &webhook.Options{URL: secret.New("https://example.com/hook"), ContentType: "text/plain", Body: `{{cut 5 .Title}}|{{cutBytes 7 .Text}}|{{index .Fields "disk.free"}}|{{.Count}}`})
	got, err := c.Preview(notify.Message{Subject: "Größe der Platte", Text: "Füße und mehr", Attrs: []slog.Attr{slog.Group("disk", slog.Int("free", 7))}})
	if want := "Größ…|Fü…|7|1"; err != nil || string(got) != want {
		t.Errorf("Preview %q, %v, want %q", got, err, want)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := webhook.New(&webhook.Options{
		URL: secret.New("http://example.com/canary"), Body: "x", Method: "GET", Rate: -1, Burst: -1,
		Headers: map[string]secret.Secret{"A B": secret.New("x"), "Content-Type": secret.New("x"), "X-Key": secret.New("canary\n")},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"URL: ", "AllowPlainHTTP", "Method", "Rate", "Burst", `"A B"`, "ContentType", "X-Key", "Body"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("error shows a secret: %v", err)
	}
	if _, err := webhook.New(nil); err == nil || !strings.Contains(err.Error(), "URL") || !strings.Contains(err.Error(), "Body") {
		t.Errorf("New(nil): %v", err)
	}
	if err := (webhook.Options{}).Validate(); err != nil {
		t.Errorf("options that are not used: %v", err)
	}
	c := newClient(t, &webhook.Options{URL: secret.New("https://example.com/canary"), Body: simple, Values: map[string]secret.Secret{"a": secret.New("canary")}})
	text, err := json.Marshal(c)
	if err != nil || strings.Contains(fmt.Sprintf("%v %+v %#v %s", c, c, c, text), "canary") {
		t.Errorf("printed %v %#v %s, %v", c, c, text, err)
	}
}

// The rate is kept, and a wait that is too long for the caller is told at once.
func TestRate(t *testing.T) {
	t.Parallel()
	s := startWorkflow()
	t.Cleanup(s.Close)
	c := newClient(t, &webhook.Options{URL: secret.New(s.URL + "/triggers/T000TEST/123/workflowcanary"), Body: workflow, Rate: time.Hour, Burst: 2})
	for range 2 {
		if err := c.Send(t.Context(), "s", "t"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := c.Send(ctx, "s", "t")
	if errs := notify.Errors(err); len(errs) != 1 || errs[0].Class != notify.ClassThrottled || errs[0].Wait < 59*time.Minute || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("third message: %v", err)
	}
}
