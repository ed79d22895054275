package slack_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/notifytest"
	"github.com/svcblocks/svcblocks/notify/slack"
)

func startSlack(t *testing.T, opts *notifytest.SlackOptions) *notifytest.Slack {
	t.Helper()
	s := notifytest.StartSlack(opts)
	t.Cleanup(s.Close)
	return s
}

// client has a transport of its own, so that no connection outlives the test.
func client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func newWebhook(t *testing.T, s *notifytest.Slack, o *slack.Options) *slack.Webhook {
	t.Helper()
	if o == nil {
		o = &slack.Options{Rate: -1}
	}
	o.HTTPClient = client(t)
	w, err := slack.NewWebhook(secret.New(s.WebhookURL()), o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func newBot(t *testing.T, s *notifytest.Slack, o *slack.Options) *slack.Bot {
	t.Helper()
	if o == nil {
		o = &slack.Options{Rate: -1}
	}
	o.HTTPClient, o.BaseURL = client(t), s.APIURL()
	b, err := slack.NewBot(secret.New(s.Token()), "#ops", o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWebhookPosts(t *testing.T) {
	t.Parallel()
	s := startSlack(t, nil)
	w := newWebhook(t, s, nil)
	err := w.Notify(t.Context(), notify.Message{
		Level: slog.LevelError, Subject: "disk full", Text: "93 % of <root> & more",
		Attrs: []slog.Attr{slog.String("host", "db1"), slog.Group("disk", slog.Int("free", 7))},
		Count: 3, First: time.Unix(0, 0), Last: time.Unix(60, 0), Attachments: []notify.Attachment{{Name: "df.txt", Data: []byte("x")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	shown := s.Messages()
	if len(shown) != 1 {
		t.Fatalf("%d messages", len(shown))
	}
	for _, want := range []string{
		"disk full (×3)", `"text":"93 % of \u003croot\u003e \u0026 more"`, `host:\ndb1`, `disk.free:\n7`, "ERROR",
		"×3 since 1970-01-01 00:00:00 UTC", "attachment df.txt", `"unfurl_links":false`,
	} {
		if !strings.Contains(shown[0].Payload, want) {
			t.Errorf("payload lacks %q:\n%s", want, shown[0].Payload)
		}
	}
}

// Answers and what they mean, for a webhook.
func TestWebhookAnswers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status    int
		body      string
		class     notify.Class
		temporary bool
		text      string
	}{
		{400, "invalid_payload", notify.ClassRejected, false, "invalid_payload"},
		{403, "action_prohibited", notify.ClassRejected, false, "action_prohibited"},
		{403, "invalid_token", notify.ClassAuth, false, "invalid_token"},
		{404, "no_service", notify.ClassRejected, false, "no_service"},
		{410, "channel_is_archived", notify.ClassRejected, false, "channel_is_archived"},
		{500, "rollup_error", notify.ClassServer, true, "rollup_error"},
		{503, "", notify.ClassServer, true, "without a text"},
		{200, `{"ok":false,"error":"channel_not_found"}`, notify.ClassRejected, false, "channel_not_found"},
		{200, "<html>sign in</html>", notify.ClassRejected, false, "web page"},
		{200, "", notify.ClassRejected, false, "not that of a webhook"},
		{429, "rate_limited", notify.ClassThrottled, true, "rate_limited"},
	} {
		t.Run(fmt.Sprint(tc.status, tc.body), func(t *testing.T) {
			t.Parallel()
			s := startSlack(t, nil)
			s.Inject(notifytest.SlackFault{Status: tc.status, Body: tc.body})
			w := newWebhook(t, s, nil)
			err := w.Send(t.Context(), "s", "m")
			errs := notify.Errors(err)
			if len(errs) != 1 {
				t.Fatalf("error %v", err)
			}
			e := errs[0]
			if e.Class != tc.class || e.Temporary() != tc.temporary || e.Code != tc.status || !strings.Contains(e.Error(), tc.text) {
				t.Errorf("got %+v", e)
			}
			if tc.status == 429 && e.Wait != 30*time.Second {
				t.Errorf("RetryAfter %v without a header", e.Wait)
			}
			if n := len(s.Requests()); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
		})
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer target.Close()
	for _, status := range []int{301, 302, 307, 308} {
		s := startSlack(t, nil)
		s.Inject(notifytest.SlackFault{Status: status, Header: map[string]string{"Location": target.URL}})
		for name, n := range map[string]notify.Notifier{"webhook": newWebhook(t, s, nil), "bot": newBot(t, s, nil)} {
			err := n.Send(t.Context(), "s", "m")
			if errs := notify.Errors(err); len(errs) != 1 || errs[0].Temporary() || errs[0].Code != status {
				t.Errorf("%s, %d: %v", name, status, err)
			}
		}
	}
	if hits.Load() != 0 {
		t.Errorf("the target got %d requests", hits.Load())
	}
}

func TestTransportErrorsHideTheAddress(t *testing.T) {
	t.Parallel()
	s := startSlack(t, nil)
	s.Inject(notifytest.SlackFault{Close: true, Times: 2})
	w := newWebhook(t, s, nil)
	err := w.Send(t.Context(), "s", "m")
	if errs := notify.Errors(err); len(errs) != 1 || !errs[0].Temporary() {
		t.Errorf("cut connection: %v", err)
	}
	noLeak(t, err, s)
	s.Heal()
	s.Inject(notifytest.SlackFault{Silent: true})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = w.Send(ctx, "s", "m")
	if errs := notify.Errors(err); len(errs) != 1 || errs[0].Class != notify.ClassTimeout || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent server: %v", err)
	}
	noLeak(t, err, s)
	s.Close()
	err = w.Send(t.Context(), "s", "m")
	if errs := notify.Errors(err); len(errs) != 1 || !errs[0].Temporary() {
		t.Errorf("nobody listens: %v", err)
	}
	noLeak(t, err, s)
	for _, text := range []string{fmt.Sprint(w), fmt.Sprintf("%+v %#v", w, w), slog.AnyValue(w).Resolve().String()} {
		if strings.Contains(text, "notifytestsecretpath") {
			t.Errorf("value shows the address: %s", text)
		}
	}
}

func noLeak(t *testing.T, err error, s *notifytest.Slack) {
	t.Helper()
	if urlErr, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && strings.Contains(urlErr.Error(), "/services/") {
		t.Errorf("error leads to %v", urlErr)
	}
	for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v %#v", err, err)} {
		if strings.Contains(text, "notifytestsecretpath") || strings.Contains(text, "B000TEST") || strings.Contains(text, s.Token()) {
			t.Errorf("error shows the secret: %s", text)
		}
	}
}

func TestBotEditsAndThreads(t *testing.T) {
	t.Parallel()
	s := startSlack(t, nil)
	b := newBot(t, s, nil)
	if err := b.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	send := func(b *slack.Bot, m notify.Message) {
		t.Helper()
		if err := b.Notify(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	send(b, notify.Message{ID: "m1", Subject: "disk full", Count: 1})
	send(b, notify.Message{ID: "m2", Subject: "disk full", Count: 9, Thread: "m1"})
	shown := s.Messages()
	if len(shown) != 1 || shown[0].Updates != 1 || !strings.Contains(shown[0].Text, "(×9)") {
		t.Fatalf("after an edit: %+v", shown)
	}
	// It gets worse: an edit would alert nobody.
	send(b, notify.Message{ID: "m2b", Subject: "disk full", Level: slog.LevelError, Count: 1, Thread: "m1"})
	shown = s.Messages()
	if len(shown) != 2 || shown[1].ThreadTS != shown[0].TS || !strings.Contains(shown[1].Payload, `"reply_broadcast":true`) {
		t.Fatalf("after a higher level: %+v", shown)
	}
	send(b, notify.Message{ID: "m2c", Subject: "disk full", Level: slog.LevelError, Count: 99, Thread: "m1"})
	if shown = s.Messages(); len(shown) != 2 || shown[0].Updates != 2 {
		t.Fatalf("after repeats of the higher level: %+v", shown)
	}
	send(b, notify.Message{ID: "m3", Subject: "disk full", Resolved: true, Thread: "m1"})
	shown = s.Messages()
	if len(shown) != 3 || shown[2].ThreadTS != shown[0].TS || !strings.Contains(shown[2].Payload, `"reply_broadcast":true`) {
		t.Fatalf("after the end: %+v", shown)
	}
	// Somebody deleted the message, or this is another process: a new one.
	s.Inject(notifytest.SlackFault{Method: "chat.update", Status: 200, Body: `{"ok":false,"error":"message_not_found"}`, Times: 1})
	send(b, notify.Message{ID: "m4", Subject: "disk full", Count: 2, Thread: "m1"})
	if n := len(s.Messages()); n != 4 {
		t.Errorf("%d messages, want 4", n)
	}
	// The end of the trouble is told even when there is no thread to tell it in.
	s.Inject(notifytest.SlackFault{Method: "chat.postMessage", Status: 200, Body: `{"ok":false,"error":"thread_not_found"}`, Times: 1})
	send(b, notify.Message{ID: "m5", Subject: "disk full", Resolved: true, Thread: "m1"})
	if shown = s.Messages(); len(shown) != 5 || shown[4].ThreadTS != "" {
		t.Errorf("without a thread: %+v", shown)
	}
	threads := newBot(t, s, &slack.Options{Rate: -1, NoEdit: true})
	send(threads, notify.Message{ID: "n1", Subject: "x"})
	send(threads, notify.Message{ID: "n2", Subject: "x", Thread: "n1"})
	shown = s.Messages()
	if last := shown[len(shown)-1]; last.ThreadTS == "" || last.ThreadTS != shown[len(shown)-2].TS {
		t.Errorf("answer is not in the thread: %+v", last)
	}
}

// The edits and answers of a trouble go on in the next process, whose hub has the
// outbox of the one before.
func TestThreadsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	s := startSlack(t, nil)
	dir := t.TempDir()
	process := func(messages ...notify.Message) []notifytest.SlackMessage {
		t.Helper()
		hub, err := notify.New(&notify.Options{
			Receivers: []notify.Receiver{{Name: "ops", Notifier: newBot(t, s, nil)}}, Outbox: notify.Outbox{Dir: dir},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			if err := hub.Notify(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(hub.Flush(t.Context()), hub.Close()); err != nil {
			t.Fatal(err)
		}
		return s.Messages()
	}

	down := notify.Message{Level: slog.LevelError, Key: "db", Subject: "db down", Text: "the first words"}
	process(down)
	down.Text = "the last words"
	shown := process(down, down)
	if len(shown) != 1 || shown[0].Updates != 1 || !strings.Contains(shown[0].Payload, "the first words") || !strings.Contains(shown[0].Payload, "the last words") {
		t.Fatalf("repeats after a start: %+v, want the first message edited", shown)
	}
	shown = process(notify.Message{Key: "db", Subject: "db up", Resolved: true})
	if len(shown) != 2 || shown[1].ThreadTS != shown[0].TS {
		t.Fatalf("the end after a start: %+v, want an answer in the thread", shown)
	}
	// The next trouble has a thread of its own.
	down.Subject = "db down again"
	if shown = process(down); len(shown) > 2 && shown[2].ThreadTS != "" {
		t.Errorf("another trouble: %+v, want no thread", shown)
	}
}

func TestBotAnswers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status    int
		body      string
		class     notify.Class
		temporary bool
	}{
		{200, `{"ok":false,"error":"channel_not_found"}`, notify.ClassRejected, false},
		{200, `{"ok":false,"error":"invalid_auth"}`, notify.ClassAuth, false},
		{200, `{"ok":false,"error":"ratelimited"}`, notify.ClassThrottled, true},
		{200, `{"ok":false,"error":"internal_error"}`, notify.ClassServer, true},
		{200, `{"ok":false}`, notify.ClassRejected, false},
		{200, `ok`, notify.ClassRejected, false},
		{502, `bad gateway`, notify.ClassServer, true},
	} {
		t.Run(fmt.Sprint(tc.status, tc.body), func(t *testing.T) {
			t.Parallel()
			s := startSlack(t, nil)
			s.Inject(notifytest.SlackFault{Status: tc.status, Body: tc.body})
			b := newBot(t, s, nil)
			err := b.Send(t.Context(), "s", "m")
			errs := notify.Errors(err)
			if len(errs) != 1 || errs[0].Class != tc.class || errs[0].Temporary() != tc.temporary {
				t.Errorf("got %v %+v", err, errs)
			}
			noLeak(t, err, s)
		})
	}
	s := startSlack(t, nil)
	b, err := slack.NewBot(secret.New("xoxb-wrong-token"), "#ops", &slack.Options{BaseURL: s.APIURL(), HTTPClient: client(t)})
	if err != nil {
		t.Fatal(err)
	}
	err = b.Check(t.Context())
	if errs := notify.Errors(err); len(errs) != 1 || errs[0].Class != notify.ClassAuth {
		t.Errorf("wrong token: %v", err)
	}
}

func TestRateIsKept(t *testing.T) {
	t.Parallel()
	s := startSlack(t, &notifytest.SlackOptions{Burst: 5}) // one more, as requests take their time
	w := newWebhook(t, s, &slack.Options{})
	for range 5 {
		if err := w.Send(t.Context(), "s", "m"); err != nil {
			t.Fatal(err)
		}
	}
	shown := s.Messages()
	if gap := shown[4].At.Sub(shown[0].At); gap < 900*time.Millisecond {
		t.Errorf("fifth message came %v after the first, want about 1s", gap)
	}
	for _, r := range s.Requests() {
		if r.Status != 200 {
			t.Errorf("Slack had to refuse: %+v", r)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	begin := time.Now()
	err := w.Send(ctx, "s", "m")
	if errs := notify.Errors(err); len(errs) != 1 || errs[0].Class != notify.ClassThrottled || errs[0].Wait < 100*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait beyond ctx: %v", err)
	}
	if ctx.Err() != nil {
		t.Errorf("a wait beyond ctx took %v to be refused", time.Since(begin))
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := slack.NewWebhook(secret.New("hooks.slack.com/services/T/B/canary"), &slack.Options{Mention: "@bob", Burst: -1, BaseURL: "ftp://x"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"webhook address", "Mention", "Burst", "BaseURL"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("error shows the address: %v", err)
	}
	if _, err := slack.NewBot(secret.Secret{}, "", nil); err == nil || !strings.Contains(err.Error(), "token") || !strings.Contains(err.Error(), "channel") {
		t.Errorf("NewBot: %v", err)
	}
}

type textObject struct {
	Type, Text string
	Emoji      *bool
	Verbatim   bool
}

// Whatever a message holds, Slack's limits are kept and nobody is mentioned.
func TestLimitsAndInjection(t *testing.T) {
	t.Parallel()
	evil := "<!channel> <@U012AB3CD> <#C1> <http://x|bank> ```code``` \x00\r\n\u202egnp & < >"
	long := strings.Repeat("&", 10_000)
	var many []slog.Attr
	for i := range 200 {
		many = append(many, slog.String(fmt.Sprint("key", i), evil))
	}
	for name, m := range map[string]notify.Message{
		"evil":          {Subject: evil, Text: evil, Attrs: []slog.Attr{slog.String(evil, evil)}, Attachments: []notify.Attachment{{Name: evil}}},
		"long subject":  {Subject: long, Text: "t"},
		"long name":     {Subject: strings.Repeat("ä", 10_000), Text: "t"},
		"emoji":         {Subject: strings.Repeat("😀", 10_000), Text: strings.Repeat("😀&", 100_000), Attrs: []slog.Attr{slog.String(strings.Repeat("😀", 300), strings.Repeat("😀", 3000))}},
		"odd emoji":     {Subject: "x" + strings.Repeat("😀", 10_000), Text: "x" + strings.Repeat("😀", 100_000)},
		"megabyte":      {Subject: "s", Text: strings.Repeat("x", 1<<20)},
		"escapes":       {Subject: "s", Text: strings.Repeat("<&>\n", 100_000)},
		"many attrs":    {Subject: "s", Text: strings.Repeat("y", 20_000), Attrs: many},
		"long attr":     {Subject: "s", Attrs: []slog.Attr{slog.String(long, long)}},
		"spaces":        {Subject: "s", Text: strings.Repeat(" ", 50_000)},
		"empty lines":   {Subject: "\n", Text: strings.Repeat("\n", 50_000)},
		"not UTF-8":     {Subject: "\xff\xfe", Text: "\xff" + strings.Repeat("\xfe", 4000)},
		"attachments":   {Subject: "s", Attachments: make([]notify.Attachment, 100)},
		"long all over": {Subject: long, Text: long, Attrs: append(many, slog.String(long, long))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSlack(t, nil)
			for _, n := range []notify.MessageNotifier{newWebhook(t, s, nil), newBot(t, s, nil)} {
				if err := n.Notify(t.Context(), m); err != nil {
					t.Fatalf("Slack refuses it: %v", err)
				}
			}
			for _, shown := range s.Messages() {
				var p struct {
					Text   string
					Blocks []struct {
						Type     string
						Text     textObject
						Fields   []textObject
						Elements []textObject
					}
				}
				if err := json.Unmarshal([]byte(shown.Payload), &p); err != nil {
					t.Fatal(err)
				}
				if strings.ContainsAny(p.Text, "<>\u202e\x00\r") {
					t.Errorf("text is active: %.200q", p.Text)
				}
				sum := 0
				for _, b := range p.Blocks {
					for _, o := range append(append(b.Fields, b.Elements...), b.Text) {
						sum += len(utf16.Encode([]rune(o.Text)))
						// No sign has a meaning in plain text.
						if o.Text != "" && (o.Type != "plain_text" || o.Emoji == nil || *o.Emoji) || strings.ContainsAny(o.Text, "\u202e\x00\r") {
							t.Errorf("text is active: %+v", o)
						}
					}
				}
				if sum > 9000 {
					t.Errorf("%d characters in blocks, want at most 9000", sum)
				}
			}
		})
	}
}

func TestMentionIsByOptionAlone(t *testing.T) {
	t.Parallel()
	s := startSlack(t, nil)
	w := newWebhook(t, s, &slack.Options{Rate: -1, Mention: "channel, U012AB3CD,S012AB3CD"})
	for _, level := range []slog.Level{slog.LevelWarn, slog.LevelError} {
		if err := w.Notify(t.Context(), notify.Message{Level: level, Subject: "s", Text: "t"}); err != nil {
			t.Fatal(err)
		}
	}
	shown := s.Messages()
	const want = "<!channel> <@U012AB3CD> <!subteam^S012AB3CD>"
	if strings.Contains(shown[0].Text, "<!") || !strings.HasPrefix(shown[1].Text, want) {
		t.Errorf("warning %q, error %q", shown[0].Text, shown[1].Text)
	}
}

// Mentions begin at Error unless the option says otherwise, Info included.
func TestMentionLevel(t *testing.T) {
	t.Parallel()
	s := startSlack(t, nil)
	for _, tc := range []struct {
		from *slog.Level
		want int
	}{{nil, 1}, {new(slog.LevelWarn), 2}, {new(slog.LevelInfo), 3}} {
		before := len(s.Messages())
		w := newWebhook(t, s, &slack.Options{Rate: -1, Mention: "here", MentionLevel: tc.from})
		for _, level := range []slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			if err := w.Notify(t.Context(), notify.Message{Level: level, Subject: "s"}); err != nil {
				t.Fatal(err)
			}
		}
		got := 0
		for _, m := range s.Messages()[before:] {
			if strings.Contains(m.Text, "<!here>") {
				got++
			}
		}
		if got != tc.want {
			t.Errorf("from %v: %d mentions in 3 levels, want %d", tc.from, got, tc.want)
		}
	}
}

// An address or token of another kind is refused, with a reason that does not
// show it.
func TestAddressesAndTokens(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		address string
		want    string // in the error; "" is good
	}{
		{"https://hooks.slack.com/services/T0/B0/canary12", ""},
		{"https://hooks.slack.com/services/T0/B0/canary12\r\n", ""}, // as a file has it
		{"https://hooks.slack-gov.com/services/T0/B0/canary12", ""},
		{"https://mattermost.example.com/hooks/canary12", ""},
		{"http://127.0.0.1:8065/hooks/canary12", ""},
		{"", "is empty"},
		{" https://hooks.slack.com/services/T0/B0/canary12", "white space"},
		{"https://hooks.slack.com/services/T0/B0/canary12\n\nhttps://b", "white space"},
		{"http://hooks.slack.com/services/T0/B0/canary12", "in clear to http://hooks.slack.com"},
		{"http://mattermost.example.com/hooks/canary12", "AllowPlainHTTP"},
		{"https://hooks.slack.com/triggers/T0/1/canary12", "workflow"},
		{"https://hooks.slack.com/workflows/T0/1/2/canary12", "workflow"},
		{"https://hooks.slack.com", "incoming webhook"},
		{"https://hooks.slack.com/services/T0/canary12", "incoming webhook"},
		{"https://hooks.slack.com/services/T0//canary12", "incoming webhook"},
		{"https://app.slack.com/client/T0/C0", "page of app.slack.com"},
		{"https://slack.com/oauth/v2/authorize?client_id=canary12", "page of slack.com"},
		{"https://mattermost.example.com", "no path"},
		{"https://user:canary12@example.com/hooks/x", "user in it"},
		{"xoxb-123-456-canary12", "NewBot"},
		{"ftp://hooks.slack.com/services/T0/B0/canary12", "not an https address"},
	} {
		_, err := slack.NewWebhook(secret.New(tc.address), nil)
		if (err == nil) != (tc.want == "") || err != nil && (!strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "slack: new webhook: webhook address: ")) {
			t.Errorf("%q: %v", tc.address, err)
		}
		if strings.Contains(fmt.Sprint(err), "canary") {
			t.Errorf("error shows the address: %v", err)
		}
	}
	if _, err := slack.NewWebhook(secret.New("http://mattermost.internal:8065/hooks/canary12"), &slack.Options{AllowPlainHTTP: true}); err != nil {
		t.Error(err)
	}

	for _, tc := range []struct{ token, want string }{
		{"xoxb-1-2-canary", ""},
		{"xoxe.xoxb-1-canary", ""},
		{"xoxb-1-2-canary\n", "line end"},
		{"https://hooks.slack.com/services/T0/B0/canary", "NewWebhook"},
		{"xapp-1-A-canary", "xoxb-"},
		{"canary-of-something", "xoxb-"},
	} {
		_, err := slack.NewBot(secret.New(tc.token), "#ops", nil)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) || strings.Contains(fmt.Sprint(err), "canary") {
			t.Errorf("%q: %v", tc.token, err)
		}
	}
	if _, err := slack.NewBot(secret.New("xoxb-1"), "#ops, #dev", nil); err == nil || !strings.Contains(err.Error(), "one ID or name") {
		t.Errorf("two channels: %v", err)
	}
}

// What Slack shows is what was said: no formatting, no mention, no emoji.
func TestTextIsShownAsItIs(t *testing.T) {
	t.Parallel()
	w, err := slack.NewWebhook(secret.New("https://hooks.slack.com/services/T0/B0/abcdefgh"), &slack.Options{Mention: "here"})
	if err != nil {
		t.Fatal(err)
	}
	const said = "rm *.tmp *.bak; a_b_c ~x~ `id` :fire: @here #general http://evil.example & <!channel>"
	got, err := w.Preview(notify.Message{Level: slog.LevelError, Subject: "s", Text: said, Attrs: []slog.Attr{slog.String("a", said)}})
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Text   string
		Blocks []struct {
			Text   textObject
			Fields []textObject
		}
	}
	if err := json.Unmarshal(got, &p); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(p.Text, "<!here> ") || strings.Count(p.Text, "<") != 1 {
		t.Errorf("text %q", p.Text)
	}
	shown := 0
	for _, b := range p.Blocks {
		for _, o := range append(b.Fields, b.Text) {
			if o.Type == "mrkdwn" && (o.Text != "<!here>" || !o.Verbatim) {
				t.Errorf("formatted: %+v", o)
			}
			if o.Type == "plain_text" && strings.Contains(o.Text, said) {
				shown++
			}
		}
	}
	if shown != 2 {
		t.Errorf("the text is shown %d times, want as text and attribute:\n%s", shown, got)
	}
}

// When the blocks are refused, the text goes out alone and has it all.
func TestBlocksRefused(t *testing.T) {
	t.Parallel()
	m := notify.Message{ID: "m1", Level: slog.LevelError, Subject: "disk full", Text: "line one\nline *two*", Attrs: []slog.Attr{slog.String("host", "db1")}}
	check := func(name string, shown notifytest.SlackMessage) {
		t.Helper()
		for _, want := range []string{"disk full", "line *two*", "host: db1"} {
			if !strings.Contains(shown.Text, want) {
				t.Errorf("%s: text lacks %q: %q", name, want, shown.Text)
			}
		}
		if strings.Contains(shown.Payload, "blocks") || !strings.Contains(shown.Payload, `"mrkdwn":false`) {
			t.Errorf("%s: %s", name, shown.Payload)
		}
	}
	for _, code := range []string{"invalid_blocks", "msg_blocks_too_long", "msg_too_long"} {
		s := startSlack(t, nil)
		s.Inject(notifytest.SlackFault{Method: "webhook", Status: 400, Body: code, Times: 1})
		s.Inject(notifytest.SlackFault{Method: "chat.postMessage", Status: 200, Body: fmt.Sprintf(`{"ok":false,"error":%q}`, code), Times: 1})
		s.Inject(notifytest.SlackFault{Method: "chat.update", Status: 200, Body: fmt.Sprintf(`{"ok":false,"error":%q}`, code), Times: 1})
		w, b := newWebhook(t, s, nil), newBot(t, s, nil)
		for _, n := range []notify.MessageNotifier{w, b} {
			if err := n.Notify(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		shown := s.Messages()
		if len(shown) != 2 {
			t.Fatalf("%s: %d messages, want 2", code, len(shown))
		}
		check(code+" webhook", shown[0])
		check(code+" bot", shown[1])

		again := m
		again.ID, again.Thread, again.Count = "m2", "m1", 9
		if err := b.Notify(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		shown = s.Messages()
		if check(code+" edit", shown[1]); len(shown) != 2 || shown[1].Updates != 1 {
			t.Errorf("%s: %+v", code, shown)
		}
	}
}

// A value of many lines keeps them, below the others.
func TestStackTrace(t *testing.T) {
	t.Parallel()
	s := startSlack(t, nil)
	w := newWebhook(t, s, nil)
	const trace = "goroutine 1 [running]:\nmain.main()\n    /src/main.go:12 +0x1d"
	attrs := []slog.Attr{slog.String("stack", trace), slog.String("host", "db1")}
	for i := range 20 {
		attrs = append(attrs, slog.String(fmt.Sprint("long", i), strings.Repeat("frame & <frame>\n", 300)))
	}
	for _, list := range [][]slog.Attr{attrs[:2], attrs} {
		if err := w.Notify(t.Context(), notify.Message{Level: slog.LevelError, Subject: "panic", Attrs: list, Source: "shop@web1"}); err != nil {
			t.Fatal(err)
		}
	}
	shown := s.Messages()
	for _, want := range []string{`"stack:\ngoroutine 1 [running]:\nmain.main()\n    /src/main.go:12 +0x1d"`, `"host:\ndb1"`, "ERROR from shop@web1"} {
		if !strings.Contains(shown[0].Payload, want) {
			t.Errorf("payload lacks %s:\n%s", want, shown[0].Payload)
		}
	}
	if p := shown[1].Payload; !strings.Contains(p, "truncated") || !strings.Contains(p, "more attributes") {
		t.Errorf("what was left out is not told:\n%.3000s", p)
	}
}

// Receivers of the same shape are read by their own answers, and get the full
// text, as they ignore blocks.
func TestOthers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		status int
		answer string
		taken  bool
		reason string
	}{
		{"Mattermost", 200, "ok", true, ""},
		{"Mattermost refuses", 400, `{"id":"web.incoming_webhook.channel.app_error","message":"Couldn't find the channel.","status_code":400}`, false, "Couldn't find the channel."},
		{"Rocket.Chat", 200, `{"success":true}`, true, ""},
		{"Rocket.Chat refuses", 400, `{"success":false,"error":"error-invalid-channel"}`, false, "error-invalid-channel"},
		{"Zulip", 200, `{"result":"success","msg":"","ok":true}`, true, ""},
		{"Zulip refuses", 400, `{"result":"error","msg":"Stream 'x' does not exist","code":"STREAM_DOES_NOT_EXIST"}`, false, "does not exist"},
		{"Rocket.Chat says no with 200", 200, `{"success":false,"error":"no room"}`, false, "no room"},
		{"a proxy", 200, "<html>sign in</html>", false, "web page"},
		{"nothing", 200, "", false, "without a text"},
		{"null", 200, "null", false, "null"},
		{"a receiver that says no content", 204, "", true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := startSlack(t, nil)
			w := newWebhook(t, s, nil)
			if err := w.Notify(t.Context(), notify.Message{Subject: "backup failed", Text: "host db1\n" + strings.Repeat("x", 10_000)}); err != nil {
				t.Fatal(err)
			}
			if text := s.Messages()[0].Text; !strings.Contains(text, "\nhost db1\n") || !strings.Contains(text, "truncated") || len(text) > 5000 {
				t.Errorf("text of %d bytes: %.100q", len(text), text)
			}

			s.Inject(notifytest.SlackFault{Status: tc.status, Body: tc.answer})
			err := w.Send(t.Context(), "s", "t")
			if (err == nil) != tc.taken || err != nil && !strings.Contains(err.Error(), tc.reason) {
				t.Errorf("got %v", err)
			}
			if errs := notify.Errors(err); err != nil && (len(errs) != 1 || errs[0].Temporary()) {
				t.Errorf("got %+v", errs)
			}
		})
	}
}

// An edit keeps the first text and has the last one below it.
func TestEditKeepsTheFirstText(t *testing.T) {
	t.Parallel()
	s := startSlack(t, nil)
	b := newBot(t, s, nil)
	for i := range 4 {
		m := notify.Message{ID: fmt.Sprint("m", i), Subject: "db down", Text: fmt.Sprintf("try %d failed", i), Count: 1 + 20*i}
		if i > 0 {
			m.Thread = "m0"
		}
		if err := b.Notify(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	shown := s.Messages()
	if len(shown) != 1 || shown[0].Updates != 3 {
		t.Fatalf("shown %+v", shown)
	}
	for want, has := range map[string]bool{"try 0 failed": true, "try 3 failed": true, "try 2 failed": false, "×61": true} {
		if strings.Contains(shown[0].Payload, want) != has {
			t.Errorf("%q: want %v in\n%s", want, has, shown[0].Payload)
		}
	}
}
