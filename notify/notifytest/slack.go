package notifytest

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
)

// SlackOptions are the settings of a [Slack].
type SlackOptions struct {
	// Token is what a bot must show. Defaults to "xoxb-notifytest-token".
	Token string
	// Channels are those that the bot is in, by name or ID. Defaults to "#ops".
	Channels []string
	// Burst, if not zero, limits each channel to that many messages at once and
	// one per second on top, as Slack does.
	Burst int
}

// SlackFault is an answer that is not the proper one. The zero fields are not
// used: Silent, Close and Status are tried in this order.
type SlackFault struct {
	// Method restricts it to "webhook" or a method of the Web API, as
	// "chat.postMessage". Empty means all.
	Method string
	// Skip lets that many requests pass first.
	Skip int
	// Times is how often it happens. Zero means always.
	Times int
	// Silent never answers.
	Silent bool
	// Close cuts the connection.
	Close bool
	// Status and Body are the answer. Header is added to it.
	Status int
	Body   string
	Header map[string]string
}

// SlackMessage is a message that a [Slack] shows.
type SlackMessage struct {
	// Channel and TS name the message; a webhook has no TS to give away.
	Channel, TS string
	// ThreadTS is the message whose thread it is in.
	ThreadTS string
	// Text is the fallback text.
	Text string
	// Payload is the JSON as it was sent the last time.
	Payload string
	// Updates counts how often it was edited.
	Updates int
	// At is when it came.
	At time.Time
}

// SlackRequest is a request that a [Slack] got, whatever came of it.
type SlackRequest struct {
	// Method is "webhook" or a method of the Web API.
	Method string
	// Status is the answer's.
	Status int
	// At is when it came.
	At time.Time
}

// Slack is a server that follows Slack's documented protocol for incoming
// webhooks and for chat.postMessage, chat.update and auth.test. It refuses what
// breaks the limits of blocks, a wrong token, and too many messages. Start one
// with [StartSlack]. All methods are safe for concurrent use.
type Slack struct {
	opts SlackOptions
	srv  *httptest.Server
	quit chan struct{}
	once sync.Once

	mu       sync.Mutex
	faults   []*SlackFault
	shown    []SlackMessage
	requests []SlackRequest
	ts       int
	full     map[string]time.Time // when a channel's bucket is full again
}

// webhookPath has the shape of a real one.
const webhookPath = "/services/T000TEST/B000TEST/notifytestsecretpath0"

// StartSlack starts a server on a port of 127.0.0.1. opts may be nil. Close it
// when done.
func StartSlack(opts *SlackOptions) *Slack {
	s := &Slack{quit: make(chan struct{}), full: map[string]time.Time{}}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.Token == "" {
		s.opts.Token = "xoxb-notifytest-token"
	}
	if s.opts.Channels == nil {
		s.opts.Channels = []string{"#ops"}
	}
	s.srv = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// WebhookURL returns the address of an incoming webhook, which is a secret.
func (s *Slack) WebhookURL() string { return s.srv.URL + webhookPath }

// APIURL returns the base of the Web API.
func (s *Slack) APIURL() string { return s.srv.URL + "/api" }

// Token returns the token that a bot must show.
func (s *Slack) Token() string { return s.opts.Token }

// Inject adds a fault. Faults are tried in the order in which they were added.
func (s *Slack) Inject(f SlackFault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Heal removes all faults.
func (s *Slack) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Messages returns what is shown, in the order in which it came.
func (s *Slack) Messages() []SlackMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.shown)
}

// Requests returns every request so far.
func (s *Slack) Requests() []SlackRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Close ends the server.
func (s *Slack) Close() {
	s.once.Do(func() {
		close(s.quit)
		s.srv.CloseClientConnections()
		s.srv.Close()
	})
}

func (s *Slack) fault(method string) *SlackFault {
	s.mu.Lock()
	defer s.mu.Unlock()

	for i, f := range s.faults {
		if f.Method != "" && f.Method != method {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}

		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = slices.Delete(s.faults, i, i+1)
			}
		}

		c := *f
		return &c
	}

	return nil
}

func (s *Slack) serve(w http.ResponseWriter, r *http.Request) {
	method := strings.TrimPrefix(r.URL.Path, "/api/")
	if strings.HasPrefix(r.URL.Path, "/services/") {
		method = "webhook"
	}

	at := time.Now()
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		return
	}

	rec := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
	defer func() {
		s.mu.Lock()
		s.requests = append(s.requests, SlackRequest{Method: method, Status: rec.status, At: at})
		s.mu.Unlock()
	}()

	if f := s.fault(method); f != nil {
		switch {
		case f.Silent:
			select {
			case <-s.quit:
			case <-r.Context().Done():
			}
			return
		case f.Close:
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_ = c.Close()
			}
			return
		case f.Status != 0:
			for k, v := range f.Header {
				rec.Header().Set(k, v)
			}
			rec.WriteHeader(f.Status)
			_, _ = io.WriteString(rec, f.Body)
			return
		}
	}

	if method == "webhook" {
		s.webhook(rec, r, body)
		return
	}
	s.api(rec, r, method, body)
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (w *statusRecorder) WriteHeader(code int) {
	w.status = code
	w.ResponseWriter.WriteHeader(code)
}

func (s *Slack) webhook(w http.ResponseWriter, r *http.Request, body []byte) {
	refuse := func(status int, text string) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}

	if r.URL.Path != webhookPath {
		refuse(http.StatusNotFound, "no_service")
		return
	}
	if r.Method != http.MethodPost {
		refuse(http.StatusBadRequest, "invalid_payload")
		return
	}

	p, problem := parsePayload(body)
	switch problem {
	case "":
	case "invalid_json":
		refuse(http.StatusBadRequest, "invalid_payload")
		return
	default:
		refuse(http.StatusBadRequest, problem)
		return
	}

	if wait := s.throttle("webhook"); wait > 0 {
		w.Header().Set("Retry-After", seconds(wait))
		refuse(http.StatusTooManyRequests, "rate_limited")
		return
	}

	s.show("webhook", p, body)
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "ok")
}

func (s *Slack) api(w http.ResponseWriter, r *http.Request, method string, body []byte) {
	answer := func(status int, fields map[string]any) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(fields)
	}
	refuse := func(code string) { answer(http.StatusOK, map[string]any{"ok": false, "error": code}) }

	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok:
		refuse("not_authed")
		return
	case token != s.opts.Token:
		refuse("invalid_auth")
		return
	case method == "auth.test":
		answer(http.StatusOK, map[string]any{"ok": true, "team": "notifytest", "user": "bot"})
		return
	case method != "chat.postMessage" && method != "chat.update":
		refuse("unknown_method")
		return
	case !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json"):
		refuse("invalid_form_data")
		return
	}

	p, problem := parsePayload(body)
	if problem != "" {
		refuse(problem)
		return
	}

	if !slices.Contains(s.opts.Channels, p.Channel) && !strings.HasPrefix(p.Channel, "C0TEST") {
		refuse("channel_not_found")
		return
	}

	if wait := s.throttle(p.Channel); wait > 0 {
		w.Header().Set("Retry-After", seconds(wait))
		answer(http.StatusTooManyRequests, map[string]any{"ok": false, "error": "ratelimited"})
		return
	}

	if method == "chat.update" {
		if !s.update(p, body) {
			refuse("message_not_found")
			return
		}
		answer(http.StatusOK, map[string]any{"ok": true, "channel": p.Channel, "ts": p.TS})
		return
	}

	m := s.show(channelID(p.Channel), p, body)
	answer(http.StatusOK, map[string]any{"ok": true, "channel": m.Channel, "ts": m.TS})
}

func channelID(name string) string {
	if strings.HasPrefix(name, "#") {
		return "C0TEST" + strings.ToUpper(strings.Trim(name, "#"))
	}
	return name
}

func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }

// throttle returns how long a channel is closed to more messages.
func (s *Slack) throttle(channel string) time.Duration {
	if s.opts.Burst <= 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	full := s.full[channel]
	if full.Before(now) {
		full = now
	}

	if wait := full.Add(-time.Duration(s.opts.Burst-1) * time.Second).Sub(now); wait > 0 {
		return wait
	}
	s.full[channel] = full.Add(time.Second)
	return 0
}

func (s *Slack) show(channel string, p slackPayload, body []byte) SlackMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ts++
	m := SlackMessage{
		Channel: channel, TS: fmt.Sprintf("1700000000.%06d", s.ts), ThreadTS: p.ThreadTS, Text: p.Text,
		Payload: string(body), At: time.Now(),
	}
	s.shown = append(s.shown, m)
	return m
}

func (s *Slack) update(p slackPayload, body []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.shown {
		if m := &s.shown[i]; m.TS == p.TS && m.Channel == p.Channel {
			m.Text, m.Payload = p.Text, string(body)
			m.Updates++
			return true
		}
	}
	return false
}

// slackPayload is what is read of a message.
type slackPayload struct {
	Channel  string       `json:"channel"`
	TS       string       `json:"ts"`
	ThreadTS string       `json:"thread_ts"`
	Text     string       `json:"text"`
	Blocks   []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type     string      `json:"type"`
	Text     *slackText  `json:"text"`
	Fields   []slackText `json:"fields"`
	Elements []slackText `json:"elements"`
}

type slackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// parsePayload checks a message against the limits of Block Kit and returns
// Slack's error code.
func parsePayload(body []byte) (slackPayload, string) {
	var p slackPayload
	if err := json.Unmarshal(body, &p); err != nil {
		return p, "invalid_json"
	}
	if p.Text == "" && len(p.Blocks) == 0 {
		return p, "no_text"
	}

	if len(p.Blocks) > 50 {
		return p, "invalid_blocks"
	}

	sum := 0
	for _, b := range p.Blocks {
		n, ok := b.valid()
		if !ok {
			return p, "invalid_blocks"
		}
		sum += n
	}

	if sum > 10_000 {
		return p, "msg_blocks_too_long"
	}
	return p, ""
}

// valid checks one block and returns the characters in it.
func (b slackBlock) valid() (n int, ok bool) {
	check := func(t slackText, limit int, kinds ...string) bool {
		// Slack counts what is special in its escaped form, whoever escapes it.
		// How it counts beyond 16 bits it does not say; this is the most.
		size := len(utf16.Encode([]rune(t.Text)))
		if t.Type == "plain_text" {
			size += 4*strings.Count(t.Text, "&") + 3*strings.Count(t.Text, "<") + 3*strings.Count(t.Text, ">")
		}
		n += size
		return slices.Contains(kinds, t.Type) && size >= 1 && size <= limit && strings.TrimSpace(t.Text) != ""
	}

	switch b.Type {
	case "header":
		good := b.Text != nil && check(*b.Text, 150, "plain_text")
		return n, good
	case "section":
		if b.Text == nil && len(b.Fields) == 0 || len(b.Fields) > 10 {
			return n, false
		}
		good := b.Text == nil || check(*b.Text, 3000, "plain_text", "mrkdwn")
		for _, f := range b.Fields {
			good = check(f, 2000, "plain_text", "mrkdwn") && good
		}
		return n, good
	case "context":
		good := len(b.Elements) >= 1 && len(b.Elements) <= 10
		for _, e := range b.Elements {
			good = check(e, 2000, "plain_text", "mrkdwn") && good
		}
		return n, good
	case "divider":
		return 0, true
	default:
		return 0, false
	}
}
