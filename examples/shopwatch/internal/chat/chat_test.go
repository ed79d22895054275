package chat_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/chat"
	"github.com/svcblocks/svcblocks/notify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "s3cr3t-canary"

// platform stands in for one of the platforms.
type platform struct {
	*httptest.Server

	status int
	header http.Header
	answer string

	mu    sync.Mutex
	paths []string
	texts []string // as a reader of the channel would see them, raw
	raw   []string
}

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	p.paths, p.raw = append(p.paths, r.URL.Path), append(p.raw, string(body))
	p.texts = append(p.texts, textOf(string(body)))
	p.mu.Unlock()
	maps.Copy(w.Header(), p.header)
	w.WriteHeader(p.status)
	_, _ = io.WriteString(w, p.answer)
}

// textOf is the text of a message in any of the three forms.
func textOf(body string) string {
	var m struct {
		Text        string `json:"text"`
		Content     string `json:"content"`
		Attachments []struct {
			Content struct {
				Body []struct {
					Text string `json:"text"`
				} `json:"body"`
			} `json:"content"`
		} `json:"attachments"`
	}
	_ = json.Unmarshal([]byte(body), &m)
	var text strings.Builder
	text.WriteString(m.Text + m.Content)
	for _, a := range m.Attachments {
		for _, b := range a.Content.Body {
			text.WriteString(b.Text + "\n")
		}
	}
	return text.String()
}

// redirected sends each request to another host.
type redirected struct {
	to   *url.URL
	next http.RoundTripper
}

func (r redirected) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host = r.to.Scheme, r.to.Host
	return r.next.RoundTrip(req)
}

func (r redirected) CloseIdleConnections() {
	if c, ok := r.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// receivers are the three, each with a platform of its own.
func receivers(t *testing.T, status int, header http.Header, answers map[string]string) (map[string]*chat.Receiver, map[string]*platform) {
	t.Helper()
	out, platforms := map[string]*chat.Receiver{}, map[string]*platform{}
	for _, name := range []string{"telegram", "discord", "teams"} {
		p := &platform{status: status, header: header, answer: answers[name]}
		p.Server = httptest.NewServer(p)
		t.Cleanup(p.Close)
		to, err := url.Parse(p.URL)
		if err != nil {
			t.Fatal(err)
		}
		opts := &chat.Options{Transport: redirected{to, p.Client().Transport}, Timeout: 5 * time.Second}
		var r *chat.Receiver
		switch name {
		case "telegram":
			r, err = chat.Telegram{Token: secret.New("110201543:" + canary), Chat: 42}.New(opts)
		case "discord":
			r, err = chat.Discord{Webhook: secret.New("https://discord.example/api/webhooks/1/" + canary)}.New(opts)
		case "teams":
			r, err = chat.Teams{Webhook: secret.New("https://teams.example/workflows/" + canary)}.New(opts)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		out[name], platforms[name] = r, p
	}
	return out, platforms
}

var accepted = map[string]string{
	"telegram": `{"ok":true,"result":{"message_id":7,"date":1,"chat":{"id":42,"type":"group"}}}`, "discord": "", "teams": "1",
}

func TestSend(t *testing.T) {
	t.Parallel()
	rs, ps := receivers(t, http.StatusOK, nil, accepted)
	var wg sync.WaitGroup
	for _, r := range rs {
		for range 3 { // also at the same time
			wg.Go(func() {
				if err := r.Send(t.Context(), "price changed", "Tea <b>costs</b> [4.20](https://evil.example) & @everyone"); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for name, want := range map[string]string{
		"telegram": "<b>price changed</b>\nTea &lt;b&gt;costs&lt;/b&gt; [4.20](https://evil.example) &amp; @everyone",
		"discord":  "**price changed**\nTea \\<b>costs\\</b> \\[4.20\\](https://evil.example) & @everyone",
		"teams":    "price changed\nTea \\<b>costs\\</b> \\[4.20\\](https://evil.example) & @everyone\n",
	} {
		if got := ps[name].texts; len(got) != 3 || got[0] != want {
			t.Errorf("%s got %q, want 3 × %q", name, got, want)
		}
	}
	if path := ps["telegram"].paths[0]; path != "/bot110201543:"+canary+"/sendMessage" {
		t.Errorf("telegram was asked for %s first", path)
	}
	if raw := ps["telegram"].raw[0]; !strings.Contains(raw, `"chat_id":42,"parse_mode":"HTML"`) {
		t.Errorf("telegram was asked for %s", raw)
	}
	if raw := ps["discord"].raw[0]; !strings.Contains(raw, `"allowed_mentions":{"parse":[]}`) {
		t.Errorf("discord may mention: %s", raw)
	}
}

// Whatever a message holds, the platforms' limits are kept.
func TestLimits(t *testing.T) {
	t.Parallel()
	rs, ps := receivers(t, http.StatusOK, nil, accepted)
	texts := []string{"", strings.Repeat("a", 100_000), strings.Repeat("𝕏", 50_000), strings.Repeat("[", 50_000), "\xff\xfe", strings.Repeat("&", 50_000)}
	for _, text := range texts {
		for name, r := range rs {
			if err := r.Send(t.Context(), text, text); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for name, limit := range map[string]int{"discord": 2000, "teams": 20_000} {
		for i, text := range ps[name].texts {
			if n := len(utf16.Encode([]rune(text))); n > limit {
				t.Errorf("%s: %d units of text %d, more than %d", name, n, i, limit)
			}
		}
		for i, raw := range ps[name].raw {
			if len(raw) > 28_000 {
				t.Errorf("%s: %d bytes of text %d", name, len(raw), i)
			}
		}
	}
	tags := strings.NewReplacer("<b>", "", "</b>", "", "&amp;", "&")
	for i, text := range ps["telegram"].texts { // counts what is left of the HTML
		if n := len(utf16.Encode([]rune(tags.Replace(text)))); n > 4096 {
			t.Errorf("telegram: %d units of text %d", n, i)
		}
	}
}

// An answer that refuses says whether to try again, and never the secret.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		status  int
		header  http.Header
		answer  string
		class   notify.Class
		after   time.Duration
		wording string
	}{
		{"throttled, Telegram", 429, nil, `{"ok":false,"error_code":429,"description":"Too Many Requests","parameters":{"retry_after":7}}`, notify.ClassThrottled, 7 * time.Second, "Too Many"},
		{"throttled, Discord", 429, http.Header{"Retry-After": {"2"}}, `{"message":"You are being rate limited.","retry_after":2.5}`, notify.ClassThrottled, 2500 * time.Millisecond, "rate limited"},
		{"throttled for ever", 429, http.Header{"Retry-After": {"1e300"}}, ``, notify.ClassThrottled, time.Hour, "429"},
		{"throttled, nonsense", 429, http.Header{"Retry-After": {"NaN"}}, ``, notify.ClassThrottled, 0, "429"},
		{"down", 503, nil, `<html>`, notify.ClassServer, 0, "503"},
		{"no such bot", 401, nil, `{"ok":false,"description":"Unauthorized"}`, notify.ClassAuth, 0, "Unauthorized"},
		{"no such webhook", 404, nil, `{"message":"Unknown Webhook"}`, notify.ClassAuth, 0, "Unknown Webhook"},
		{"bad message", 400, nil, `{"message":"Cannot send an empty message"}`, notify.ClassRejected, 0, "empty"},
		{"sent elsewhere", 307, http.Header{"Location": {"https://evil.example/"}}, ``, notify.ClassRejected, 0, "307"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			answers := map[string]string{"telegram": tt.answer, "discord": tt.answer, "teams": tt.answer}
			rs, ps := receivers(t, tt.status, tt.header, answers)
			for name, r := range rs {
				hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: name, Notifier: r, Retry: notify.Retry{Attempts: -1}}}})
				if err != nil {
					t.Fatal(err)
				}
				err = hub.Send(t.Context(), "subject", "text")
				if cerr := hub.Close(); cerr != nil {
					t.Error(cerr)
				}
				all := notify.Errors(err)
				if len(all) != 1 {
					t.Errorf("%s: errors = %v", name, err)
					continue
				}
				e := all[0]
				if e.Class != tt.class || e.Code != tt.status || e.Wait != tt.after || !strings.Contains(e.Reason, tt.wording) {
					t.Errorf("%s: %s %d after %v: %s", name, e.Class, e.Code, e.Wait, e.Reason)
				}
				if strings.Contains(err.Error(), canary) {
					t.Errorf("%s: the secret shows: %v", name, err)
				}
				if n := len(ps[name].paths); n != 1 {
					t.Errorf("%s was asked %d times", name, n)
				}
			}
		})
	}
}

// A platform that cannot be reached is a passing trouble.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	rs, ps := receivers(t, http.StatusOK, nil, accepted)
	for name, r := range rs {
		ps[name].Close()
		hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: name, Notifier: r, Retry: notify.Retry{Attempts: -1}}}})
		if err != nil {
			t.Fatal(err)
		}
		err = hub.Send(t.Context(), "subject", "text")
		if cerr := hub.Close(); cerr != nil {
			t.Error(cerr)
		}
		all := notify.Errors(err)
		if len(all) != 1 || !all[0].Temporary() || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: error = %v", name, err)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		in   interface{ Validate() error }
		want string
	}{
		{"none", chat.Telegram{}, ""},
		{"no chat", chat.Telegram{Token: secret.New(canary)}, "telegram.chat"},
		{"no token", chat.Telegram{Token: secret.New("x/" + canary), Chat: 1}, "telegram.token"},
		{"no discord", chat.Discord{}, ""},
		{"no teams", chat.Teams{}, ""},
		{"http", chat.Discord{Webhook: secret.New("http://discord.example/" + canary)}, "discord.webhook"},
		{"no address", chat.Teams{Webhook: secret.New(canary)}, "teams.webhook"},
		{"this machine", chat.Teams{Webhook: secret.New("http://127.0.0.1:1/" + canary)}, ""},
	} {
		err := tt.in.Validate()
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), canary)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
