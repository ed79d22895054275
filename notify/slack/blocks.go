package slack

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/svcblocks/svcblocks/notify"
)

// Limits of Slack's Block Kit, counted as width does. The one on the sum is not
// documented: 9,597 were taken and 11,341 refused.
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

// What a message without blocks may have: Slack cuts at 40,000, and Rocket.Chat
// refuses more than 5,000.
const (
	maxAlone = 30_000
	maxOther = 4_900
)

type text struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Emoji    *bool  `json:"emoji,omitempty"`
	Verbatim bool   `json:"verbatim,omitempty"`
}

// plain is text that is shown as it is: no sign in it is formatting, a mention
// or the name of an emoji.
func plain(s string) text { return text{Type: "plain_text", Text: s, Emoji: new(false)} }

type block struct {
	Type     string `json:"type"`
	Text     *text  `json:"text,omitempty"`
	Fields   []text `json:"fields,omitempty"`
	Elements []text `json:"elements,omitempty"`
}

type payload struct {
	Channel   string `json:"channel,omitempty"`
	TS        string `json:"ts,omitempty"`
	ThreadTS  string `json:"thread_ts,omitempty"`
	Broadcast bool   `json:"reply_broadcast,omitempty"`
	Text      string `json:"text"`
	// Markdown is false where the text is what people see.
	Markdown    *bool   `json:"mrkdwn,omitempty"`
	Blocks      []block `json:"blocks,omitempty"`
	UnfurlLinks bool    `json:"unfurl_links"`
	UnfurlMedia bool    `json:"unfurl_media"`

	alone string // the text if there are no blocks
}

func (p payload) encode() ([]byte, error) { return json.Marshal(p) }

// withoutBlocks returns p as text alone, for a receiver that refuses the blocks.
func (p payload) withoutBlocks() payload {
	p.Text, p.Blocks, p.Markdown = p.alone, nil, new(false)
	return p
}

// blockCodes are the answers that complain about blocks.
var blockCodes = []string{"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long", "block_mismatch", "invalid_attachments"}

// refusesBlocks reports whether the message may be taken without its blocks:
// not all limits of Slack are documented, and an alert is not lost over its form.
func refusesBlocks(e *notify.Error) bool {
	return e != nil && slices.ContainsFunc(blockCodes, func(code string) bool { return strings.HasPrefix(e.Enhanced, code) })
}

// render makes the payload of m, within every limit. Where others than Slack
// read it, who ignore blocks, the text has it all.
func (s *settings) render(m notify.Message, slack bool) payload {
	mention := ""
	if s.mention != "" && m.Level >= s.mentionLevel && !m.Resolved {
		mention = s.mention
	}
	title := clean(m.Title())

	b := &builder{}
	b.header(title)
	if mention != "" {
		b.add(block{Type: "section", Text: &text{Type: "mrkdwn", Text: mention, Verbatim: true}}, width(mention))
	}
	b.body(clean(m.Text))
	b.fields(m.Fields())
	b.context(m)

	summary := title
	if line, _, _ := strings.Cut(strings.TrimSpace(m.Text), "\n"); line != "" && clean(line) != title {
		summary += ": " + clean(line)
	}
	full := strings.TrimSpace(title + "\n" + clean(m.Body()))
	p := payload{Text: say(mention, summary, maxFallback), Blocks: b.blocks, alone: say(mention, full, maxAlone)}
	if !slack {
		p.alone = say(mention, full, maxOther)
		p.Text = p.alone
	}
	return p
}

// say returns text within the limit, escaped, behind the mention.
func say(mention, s string, limit int) string {
	s, left := cut(s, limit-width(mention)-40)
	if left > 0 {
		s += fmt.Sprintf("\n… truncated %d characters", left)
	}
	s = strings.TrimSpace(strings.TrimSpace(mention) + " " + escape(s))
	if s == "" {
		s = "(no text)"
	}
	return s
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

// header adds the title.
func (b *builder) header(title string) {
	title = strings.Join(strings.Fields(title), " ")
	if title == "" {
		return
	}
	if width(title) > maxHeader {
		kept, _ := cut(title, maxHeader-1)
		title = kept + "…"
	}
	t := plain(title)
	b.add(block{Type: "header", Text: &t}, width(title))
}

func (b *builder) section(s string) {
	t := plain(s)
	b.add(block{Type: "section", Text: &t}, width(s))
}

// reserve is kept for fields and context.
const reserve = 2500

// body adds the text in sections, and says how much did not fit.
func (b *builder) body(body string) {
	rest := strings.TrimRight(body, "\n")
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

// fields adds the attributes, two to a row. A value of many lines, such as a
// stack trace, is a section of its own below them.
func (b *builder) fields(list []notify.Field) {
	var bl block
	n := 0
	flush := func() {
		if len(bl.Fields) > 0 {
			b.add(block{Type: "section", Fields: bl.Fields}, n)
		}
		bl.Fields, n = nil, 0
	}

	var long []notify.Field
	for i, f := range list {
		if strings.Contains(f.Value, "\n") {
			long = append(long, f)
			continue
		}

		name, _ := cut(clean(f.Name), 100)
		room := min(maxField, maxSum-400-b.sum-n) - width(name) - 4
		if room < 20 || len(b.blocks) >= maxBlocks-5 {
			flush()
			b.section(fmt.Sprintf("… %d more attributes", len(list)-i))
			return
		}

		value, left := cut(clean(f.Value), min(room, 500))
		if left > 0 {
			value += "…"
		}

		entry := name + ":\n" + value
		bl.Fields = append(bl.Fields, plain(entry))
		n += width(entry)
		if len(bl.Fields) == maxFields {
			flush()
		}
	}
	flush()
	b.traces(long)
}

// traces adds values of many lines as far as there is room.
func (b *builder) traces(list []notify.Field) {
	for i, f := range list {
		name, _ := cut(clean(f.Name), 100)
		room := min(maxSection, maxSum-450-b.sum) - width(name) - 2
		if room < 100 || len(b.blocks) >= maxBlocks-3 {
			b.section(fmt.Sprintf("… %d more attributes", len(list)-i))
			return
		}
		value, left := cut(clean(f.Value), room-40)
		if left > 0 {
			value += fmt.Sprintf("\n… truncated %d characters", left)
		}
		b.section(name + ":\n" + value)
	}
}

// context adds level, time, repeats and attachments in small print.
func (b *builder) context(m notify.Message) {
	level := m.Level.String()
	if source, _ := cut(strings.Join(strings.Fields(clean(m.Source)), " "), 100); source != "" {
		level += " from " + source
	}

	parts := []string{level, m.Time.UTC().Format("2006-01-02 15:04:05 UTC")}
	if text := m.Repeats(); text != "" {
		parts = append(parts, text)
	}

	for _, a := range m.Attachments {
		name, _ := cut(strings.ReplaceAll(clean(a.Name), "\n", " "), 40)
		parts = append(parts, fmt.Sprintf("attachment %s (%d bytes, not sent to Slack)", name, len(a.Data)))
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
		bl.Elements = append(bl.Elements, plain(p))
		n += width(p)
	}
	b.add(block{Type: "context", Elements: bl.Elements}, n)
}
