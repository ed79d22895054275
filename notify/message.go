package notify

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Message is one message to operators. Subject or Text must be set; every
// other field may be left zero. A Message is passed by value; nobody changes
// what its slices hold.
type Message struct {
	// ID names the message for ever: a repeat after a failure or a crash has
	// the same. Letters, digits, '.', '-' and '_', at most 64. Defaults to a
	// new one that sorts by time.
	ID string
	// Level decides, by [Receiver].MinLevel, who gets the message. The zero
	// value is [slog.LevelInfo].
	Level slog.Level
	// Subject is one line. Line breaks and control characters become spaces.
	Subject string
	// Text is the body as plain text.
	Text string
	// HTML is the body for receivers that show HTML. It is sent as it is:
	// escape what you put in.
	HTML string
	// Key tells which messages are the same trouble: see [Group]. Without a
	// Key, messages of the same Level, Subject and Text are.
	Key string
	// Attrs are shown below the text. [slog.LogValuer]s are resolved. What is
	// told of repeats shows those of the first message.
	Attrs []slog.Attr
	// Attachments go to receivers that can hold files; others name them.
	Attachments []Attachment
	// Time is when it happened. Defaults to now.
	Time time.Time
	// Resolved says that the trouble named by Key is over. It goes out at once
	// and closes the group.
	Resolved bool
	// Count is the number of messages about this trouble since First, this one
	// included. Set by the Hub; never below 1 for a receiver.
	Count int
	// New is the number of those that the receiver was not told of before. Set
	// by the Hub.
	New int
	// First and Last are the times of the first and the last message about this
	// trouble. Set by the Hub.
	First, Last time.Time
	// Thread is the ID of the message that opened the trouble, and empty on that
	// message itself. Set by the Hub; receivers thread or edit by it.
	Thread string
	// Source says who speaks, as [Options].Source. Set by the Hub if it is empty.
	Source string
}

// Attachment is a file that goes with a [Message].
type Attachment struct {
	// Name is the file's name, without folders.
	Name string
	// ContentType is a MIME type. Defaults to application/octet-stream.
	ContentType string
	// Data is the file's content.
	Data []byte
}

// Title returns Subject as one line for a receiver that shows nothing else: it
// says how serious it is and who speaks, if Source is set, whether it is over, and
// how many messages this one stands for, as "[ERROR shop@web1] disk full (×98)".
func (m Message) Title() string {
	mark := ""
	switch {
	case m.Resolved:
		mark = "Resolved"
	case m.Source != "":
		mark = m.Level.String()
	}

	if mark != "" {
		mark = "[" + strings.TrimSpace(mark+" "+oneLine(m.Source)) + "] "
	}
	title := mark + m.plainTitle()
	if m.Count > 1 {
		title += fmt.Sprintf(" (×%d)", m.Count)
	}
	return title
}

// plainTitle returns Subject as one line, or the first line of Text.
func (m *Message) plainTitle() string {
	if subject := oneLine(m.Subject); subject != "" {
		return subject
	}
	text, _, _ := strings.Cut(strings.TrimSpace(m.Text), "\n")
	return oneLine(cutText(text, 120))
}

// Repeats says how many messages about this trouble there were, as
// "×98 since 2026-11-29 10:02:00 UTC, 27 since the last word", or nothing for a
// single one.
func (m Message) Repeats() string {
	if m.Count <= 1 {
		return ""
	}
	text := fmt.Sprintf("×%d since %s", m.Count, stamp(m.First))
	if m.New > 0 && m.New < m.Count {
		text += fmt.Sprintf(", %d since the last word", m.New)
	}
	return text + ", last " + stamp(m.Last)
}

// Body returns the plain text with what belongs below it: attributes, the
// number of repeats, the level and who speaks, and the names of attachments.
// Values of many lines stand below as blocks.
func (m Message) Body() string {
	parts := []string{strings.TrimRight(m.Text, "\n")}
	var details, blocks []string
	for _, f := range m.Fields() {
		if strings.Contains(f.Value, "\n") {
			blocks = append(blocks, f.Name+":\n"+f.Value)
		} else {
			details = append(details, f.Name+": "+f.Value)
		}
	}

	if text := m.Repeats(); text != "" {
		details = append(details, text)
	}
	if m.Source != "" {
		details = append(details, fmt.Sprintf("%s from %s", m.Level, oneLine(m.Source)))
	}
	for _, a := range m.Attachments {
		details = append(details, fmt.Sprintf("attachment: %s (%d bytes)", oneLine(a.Name), len(a.Data)))
	}

	parts = append(parts, strings.Join(details, "\n"))
	parts = append(parts, blocks...)
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	return strings.Join(parts, "\n\n")
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// Field is an attribute as text, for receivers that show attributes.
type Field struct {
	// Name is the key of the attribute, with the keys of the groups around it
	// in front, joined by dots.
	Name string
	// Value is the value as slog's text handler would write it. One of many
	// lines, such as a stack trace, keeps them: show it as a block.
	Value string
}

// Fields returns Attrs with groups flattened and values rendered.
func (m Message) Fields() []Field {
	var fields []Field
	for _, a := range m.Attrs {
		fields = appendField(fields, "", a, 0)
	}
	return fields
}

// resolve makes plain strings of the attributes.
func (m *Message) resolve() {
	if len(m.Attrs) == 0 {
		return
	}
	fields := m.Fields()
	m.Attrs = make([]slog.Attr, len(fields))
	for i, f := range fields {
		m.Attrs[i] = slog.String(f.Name, f.Value)
	}
}

func appendField(fields []Field, prefix string, a slog.Attr, depth int) []Field {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if depth > 8 { // a LogValuer may nest without end
			return fields
		}
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, inner := range v.Group() {
			fields = appendField(fields, prefix, inner, depth+1)
		}
		return fields
	}

	if a.Key == "" && v.Equal(slog.Value{}) {
		return fields
	}
	return append(fields, Field{Name: oneLine(prefix + a.Key), Value: valueText(v)})
}

// valueText writes a value that is resolved. One of many lines, such as a stack
// trace, keeps them.
func valueText(v slog.Value) string {
	text := v.String()
	if v.Kind() == slog.KindTime {
		text = v.Time().Format(time.RFC3339Nano)
	}
	if !strings.Contains(strings.TrimSpace(text), "\n") {
		return oneLine(text)
	}
	lines := strings.Split(strings.Trim(text, "\r\n"), "\n")
	for i, l := range lines {
		tabs := len(l) - len(strings.TrimLeft(l, "\t "))
		lines[i] = strings.ReplaceAll(l[:tabs], "\t", "    ") + oneLine(l[tabs:])
	}
	return strings.Join(lines, "\n")
}

// foreign reports whether attrs hold values that must be resolved before they
// are looked at: to do so may run code of others.
func foreign(attrs []slog.Attr) bool {
	return slices.ContainsFunc(attrs, func(a slog.Attr) bool {
		k := a.Value.Kind()
		return k == slog.KindAny || k == slog.KindGroup || k == slog.KindLogValuer
	})
}

// newID returns an ID that sorts by time and does not repeat: 48 bits of
// milliseconds and 80 random ones, as in UUIDv7.
func newID(now time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	_, _ = rand.Read(b[6:]) // documented never to fail
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}

const maxIDLen = 64

func validID(id string) bool {
	if id == "" || len(id) > maxIDLen {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.' || c == '-' || c == '_':
		default:
			return false
		}
	}
	return id[0] != '.' && id[len(id)-1] != '.' && !strings.Contains(id, "..")
}

// oneLine replaces line breaks and control characters by spaces and what is
// not UTF-8 by U+FFFD.
func oneLine(s string) string {
	clean := true
	for _, r := range s {
		if isControl(r) || r == '\uFFFD' {
			clean = false
			break
		}
	}

	if clean {
		return strings.TrimSpace(s)
	}

	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, s))
}

// isControl reports whether r ends a line or steers a terminal: C0, C1, DEL
// and the two Unicode line separators.
func isControl(r rune) bool {
	return r < 0x20 || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029'
}

// cutText returns the first n bytes of s, without a broken rune at the end, and
// lets go of the rest. The mark that it sets in its place lets a secret that
// was cut be found.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}

// NewID returns a message ID that sorts by time and does not repeat, for
// receivers that are used without a [Hub].
func NewID() string { return newID(time.Now()) }

// check refuses what cannot be a message.
func (m *Message) check() error {
	if !validID(m.ID) {
		return &Error{Op: "send", Class: ClassInvalid, Reason: fmt.Sprintf("message ID %.80q: use letters, digits, '.', '-' and '_', at most %d", m.ID, maxIDLen)}
	}
	if m.Subject == "" && m.Text == "" && m.HTML == "" {
		return &Error{Op: "send", MessageID: m.ID, Class: ClassInvalid, Reason: "message has neither Subject nor Text"}
	}
	return nil
}
