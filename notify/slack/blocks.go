package slack

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/svcblocks/svcblocks/notify"
)

// Limits of Slack's Block Kit, counted in characters after escaping, see width.
// The one on the sum is not documented: 9,597 were taken and 11,341 refused.
const (
	maxHeader   = 150
	maxSection  = 3000
	maxField    = 2000
	maxFields   = 10
	maxBlocks   = 50
	maxContext  = 10
	maxSum      = 9000
	maxFallback = 4000
)

type text struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type block struct {
	Type     string `json:"type"`
	Text     *text  `json:"text,omitempty"`
	Fields   []text `json:"fields,omitempty"`
	Elements []text `json:"elements,omitempty"`
}

type payload struct {
	Channel     string  `json:"channel,omitempty"`
	TS          string  `json:"ts,omitempty"`
	ThreadTS    string  `json:"thread_ts,omitempty"`
	Broadcast   bool    `json:"reply_broadcast,omitempty"`
	Text        string  `json:"text"`
	Blocks      []block `json:"blocks,omitempty"`
	UnfurlLinks bool    `json:"unfurl_links"`
	UnfurlMedia bool    `json:"unfurl_media"`
}

// render makes the payload of m, within every limit.
func (s *settings) render(m notify.Message) payload {
	b := &builder{}
	mention := ""
	if s.mention != "" && m.Level >= s.mentionLevel && !m.Resolved {
		mention = s.mention
	}
	title := clean(m.Title())
	b.header(title)
	if mention != "" {
		b.section(mention)
	}
	b.body(m.Text)
	b.fields(m.Fields())
	b.context(m)
	summary := escape(title)
	if line, _, _ := strings.Cut(strings.TrimSpace(m.Text), "\n"); line != "" && clean(line) != title {
		summary += ": " + escape(line)
	}
	summary, _ = cut(summary, maxFallback-width(mention)-1)
	if mention != "" {
		summary = mention + " " + summary
	}
	if strings.TrimSpace(summary) == "" {
		summary = "(no text)"
	}
	return payload{Text: summary, Blocks: b.blocks}
}

// builder adds blocks while there is room.
type builder struct {
	blocks []block
	sum    int
}

func (b *builder) add(bl block, n int) {
	b.blocks = append(b.blocks, bl)
	b.sum += n
}

// header adds the title. Header blocks are plain text: nothing in them is
// special, but Slack counts an escaped form, so that is measured.
func (b *builder) header(title string) {
	title = strings.Join(strings.Fields(title), " ")
	if title == "" {
		return
	}
	if runes := []rune(title); len(runes) > maxHeader {
		title = string(runes[:maxHeader]) + "…"
	}
	for escapedLen(title) > maxHeader {
		_, size := utf8.DecodeLastRuneInString(strings.TrimSuffix(title, "…"))
		title = strings.TrimSuffix(title, "…")
		title = title[:len(title)-size] + "…"
	}
	b.add(block{Type: "header", Text: &text{Type: "plain_text", Text: title}}, escapedLen(title))
}

func escapedLen(s string) int {
	return width(s) + 4*strings.Count(s, "&") + 3*strings.Count(s, "<") + 3*strings.Count(s, ">")
}

func (b *builder) section(escaped string) {
	b.add(block{Type: "section", Text: &text{Type: "mrkdwn", Text: escaped}}, width(escaped))
}

// reserve is kept for fields and context.
const reserve = 2500

// body adds the text in sections, and says how much did not fit.
func (b *builder) body(body string) {
	rest := strings.TrimRight(escape(body), "\n")
	for room := maxSum - reserve - b.sum; rest != ""; room = maxSum - reserve - b.sum {
		if room < 100 {
			b.section(fmt.Sprintf("… truncated %d characters", width(rest)))
			return
		}
		part, left := cut(rest, min(maxSection, room))
		if left > 0 { // prefer the end of a line
			if i := strings.LastIndexByte(part, '\n'); i > len(part)/2 {
				part = part[:i+1]
			}
		}
		rest = rest[len(part):]
		if strings.TrimSpace(part) != "" { // Slack refuses a section of spaces
			b.section(part)
		}
	}
}

// fields adds the attributes, two to a row.
func (b *builder) fields(list []notify.Field) {
	var bl block
	n := 0
	flush := func() {
		if len(bl.Fields) > 0 {
			b.add(block{Type: "section", Fields: bl.Fields}, n)
		}
		bl.Fields, n = nil, 0
	}
	for i, f := range list {
		name, _ := cut(escape(f.Name), 100)
		room := min(maxField, maxSum-400-b.sum-n) - width(name) - 4
		if room < 20 || len(b.blocks) >= maxBlocks-3 {
			flush()
			b.section(fmt.Sprintf("… %d more attributes", len(list)-i))
			return
		}
		value, left := cut(escape(f.Value), min(room, 500))
		if left > 0 {
			value += "…"
		}
		entry := "*" + name + "*\n" + value
		bl.Fields = append(bl.Fields, text{Type: "mrkdwn", Text: entry})
		n += width(entry)
		if len(bl.Fields) == maxFields {
			flush()
		}
	}
	flush()
}

// context adds level, time, repeats and attachments in small print.
func (b *builder) context(m notify.Message) {
	parts := []string{levelName(m.Level), m.Time.UTC().Format("2006-01-02 15:04:05 UTC")}
	if m.Count > 1 {
		parts = append(parts, fmt.Sprintf("×%d since %s, last %s", m.Count, clock(m.First), clock(m.Last)))
	}
	for _, a := range m.Attachments {
		name, _ := cut(escape(a.Name), 40)
		parts = append(parts, fmt.Sprintf("attachment %s (%d bytes, not sent to Slack)", strings.ReplaceAll(name, "\n", " "), len(a.Data)))
		if len(parts) == maxContext {
			break
		}
	}
	var bl block
	n := 0
	for _, p := range parts {
		if n+width(p) > 380 {
			break
		}
		bl.Elements = append(bl.Elements, text{Type: "mrkdwn", Text: p})
		n += width(p)
	}
	b.add(block{Type: "context", Elements: bl.Elements}, n)
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func levelName(l slog.Level) string { return l.String() }

func (p payload) encode() ([]byte, error) { return json.Marshal(p) }
