package demo

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// SlackOptions holds the settings of a [SlackReceiver]. The zero value is
// ready to use.
type SlackOptions struct {
	Addr      string       // loopback address to listen on. Defaults to 127.0.0.1:0.
	Channel   string       // the webhook's channel, as shown. Defaults to "#alerts".
	Keep      int          // messages kept to look at. Defaults to 50.
	PerSecond float64      // messages per second before 429. Defaults to 1, as Slack documents.
	Burst     int          // messages at once before that counts. Defaults to 4.
	MaxBytes  int64        // of a request's body. Defaults to 1 MiB.
	Logger    *slog.Logger // nil means no log
}

// SlackMessage is one message as it arrived.
type SlackMessage struct {
	Number  int64 // counts from 1
	Arrived time.Time
	Channel string
	Title   string // the header block's text, else the first line of Text
	Text    string // "text", then the text of the blocks; at most 16 KiB
}

// SlackStats counts what a [SlackReceiver] got since its start.
type SlackStats struct {
	Caught  int64 // answered "ok"
	Limited int64 // answered 429
	Refused int64 // answered with another error
}

// SlackReceiver answers as an incoming webhook of Slack does: 200 and "ok" as
// text, 400 invalid_payload, no_text or invalid_blocks, 404 no_service for
// another path, and 429 with Retry-After above one message per second. All
// methods are safe for concurrent use.
type SlackReceiver struct {
	opts SlackOptions
	path string
	*server

	mu     sync.Mutex
	bucket bucket
	stats  SlackStats
	last   *ring[SlackMessage]
}

// StartSlackReceiver starts a receiver with a webhook of its own. ctx bounds
// the start only. Nil opts means all defaults.
func StartSlackReceiver(ctx context.Context, opts *SlackOptions) (*SlackReceiver, error) {
	r := &SlackReceiver{path: "/services/TDEMO/BDEMO/" + rand.Text()}
	if opts != nil {
		r.opts = *opts
	}
	o := &r.opts
	if o.Keep < 0 || o.PerSecond < 0 || o.Burst < 0 || o.MaxBytes < 0 {
		return nil, errors.New("demo: start slack receiver: Keep, PerSecond, Burst and MaxBytes must not be negative")
	}

	o.Channel = cmp.Or(o.Channel, "#alerts")
	o.Keep = cmp.Or(o.Keep, 50)
	o.PerSecond = cmp.Or(o.PerSecond, 1)
	o.Burst = cmp.Or(o.Burst, 4)
	o.MaxBytes = cmp.Or(o.MaxBytes, 1<<20)
	o.Logger = orDiscard(o.Logger)
	r.bucket = bucket{perSecond: o.PerSecond, burst: float64(o.Burst)}

	r.last = newRing[SlackMessage](o.Keep)
	var err error
	if r.server, err = startServer(ctx, "slack receiver", o.Addr, http.HandlerFunc(r.serve), o.Logger); err != nil {
		return nil, err
	}
	return r, nil
}

// Addr is the address that the receiver listens on.
func (r *SlackReceiver) Addr() string { return r.addr }

// URL is the webhook's address. As with Slack's, who knows it can post.
func (r *SlackReceiver) URL() string { return "http://" + r.addr + r.path }

// Close ends the receiver and waits for its requests for at most 2 s. It may
// be called more than once.
func (r *SlackReceiver) Close() error { return r.close() }

// Stats returns the counts.
func (r *SlackReceiver) Stats() SlackStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// Last returns the messages that arrived last, the newest first.
func (r *SlackReceiver) Last() []SlackMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last.newest()
}

func (r *SlackReceiver) serve(w http.ResponseWriter, req *http.Request) {
	status, word, wait := r.take(w, req)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, word)
}

// take handles one request and returns the answer: status, the word that Slack
// uses, and after a 429 how long to wait.
func (r *SlackReceiver) take(w http.ResponseWriter, req *http.Request) (status int, word string, wait time.Duration) {
	refuse := func(status int, word string) (int, string, time.Duration) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.stats.Refused++
		return status, word, 0
	}

	switch {
	case req.URL.Path != r.path:
		return refuse(http.StatusNotFound, "no_service")
	case req.Method != http.MethodPost:
		return refuse(http.StatusMethodNotAllowed, "method_not_allowed")
	}

	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, r.opts.MaxBytes))
	if err != nil {
		return refuse(statusOf(err), "invalid_payload")
	}
	if media, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type")); media == "application/x-www-form-urlencoded" {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return refuse(http.StatusBadRequest, "invalid_payload")
		}
		body = []byte(form.Get("payload"))
	}

	var p payload
	if err := json.Unmarshal(body, &p); err != nil {
		return refuse(http.StatusBadRequest, "invalid_payload")
	}
	if word := p.check(); word != "" {
		return refuse(http.StatusBadRequest, word)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if wait := r.bucket.take(now); wait > 0 {
		r.stats.Limited++
		return http.StatusTooManyRequests, "rate_limited", wait
	}
	r.stats.Caught++
	title, text := p.flatten()
	r.last.add(SlackMessage{
		Number: r.stats.Caught, Arrived: now, Channel: r.opts.Channel,
		Title: clip(title, 200), Text: clip(text, maxMailText),
	})
	return http.StatusOK, "ok", 0
}

// bucket is a token bucket; the zero time is when it was full.
type bucket struct {
	perSecond, burst float64
	used             float64
	at               time.Time
}

// take takes a token, or says how long to wait for one.
func (b *bucket) take(now time.Time) time.Duration {
	b.used = max(0, b.used-now.Sub(b.at).Seconds()*b.perSecond)
	b.at = now
	if b.used > b.burst-1 {
		return time.Duration((b.used - (b.burst - 1)) / b.perSecond * float64(time.Second))
	}
	b.used++
	return 0
}

// payload is what of a message matters here.
// See https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
// and https://docs.slack.dev/reference/block-kit/blocks for the limits.
type payload struct {
	Text   string  `json:"text"`
	Blocks []block `json:"blocks"`
}

type block struct {
	Type     string            `json:"type"`
	Text     *blockText        `json:"text"`
	Fields   []blockText       `json:"fields"`
	Elements []json.RawMessage `json:"elements"`
}

type blockText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

const (
	maxBlocks        = 50
	maxHeaderRunes   = 150
	maxSectionRunes  = 3000
	maxSectionFields = 10
	maxFieldRunes    = 2000
	maxContext       = 10
)

// check returns the word that Slack refuses the message with, or "".
func (p *payload) check() string {
	if p.Text == "" && len(p.Blocks) == 0 {
		return "no_text"
	}
	if len(p.Blocks) > maxBlocks {
		return "invalid_blocks"
	}
	for _, b := range p.Blocks {
		if !b.valid() {
			return "invalid_blocks"
		}
	}
	return ""
}

func (b *block) valid() bool {
	fits := func(t *blockText, limit int) bool {
		n := utf8.RuneCountInString(t.Text)
		return n > 0 && n <= limit && (t.Type == "mrkdwn" || t.Type == "plain_text")
	}
	switch b.Type {
	case "header":
		return b.Text != nil && b.Text.Type == "plain_text" && fits(b.Text, maxHeaderRunes)
	case "section":
		if b.Text == nil && len(b.Fields) == 0 || b.Text != nil && !fits(b.Text, maxSectionRunes) || len(b.Fields) > maxSectionFields {
			return false
		}
		for i := range b.Fields {
			if !fits(&b.Fields[i], maxFieldRunes) {
				return false
			}
		}
		return true
	case "context":
		return len(b.Elements) > 0 && len(b.Elements) <= maxContext
	case "":
		return false
	}

	return true // other blocks are not looked into
}

// flatten gives the message as plain text.
func (p *payload) flatten() (title, text string) {
	var lines []string
	add := func(s string) {
		if s = unescape(strings.TrimSpace(s)); s != "" {
			lines = append(lines, s)
		}
	}

	for _, b := range p.Blocks {
		if b.Type == "header" && title == "" {
			title = unescape(b.Text.Text)
			continue
		}
		if b.Text != nil {
			add(b.Text.Text)
		}
		for _, f := range b.Fields {
			add(strings.ReplaceAll(f.Text, "\n", " ")) // "*run*\n15" is one line beside others
		}
		for _, raw := range b.Elements {
			var t blockText
			if json.Unmarshal(raw, &t) == nil {
				add(t.Text)
			}
		}
	}

	if len(lines) == 0 {
		add(p.Text)
	}
	text = strings.Join(lines, "\n")
	if title == "" {
		title, _, _ = strings.Cut(unescape(cmp.Or(strings.TrimSpace(p.Text), text)), "\n")
	}
	return title, text
}

// unescape undoes the three escapes of Slack's text.
func unescape(s string) string {
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(s)
}
