package email

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"mime"
	"path"
	"strings"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"

	"github.com/svcblocks/svcblocks/notify"
)

// levelCritical is the level from which mails are marked as important.
const levelCritical = slog.LevelError + 4

// build renders m as a mail with CRLF line ends.
func (c *Client) build(m notify.Message) ([]byte, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(c.s.from)
	if len(c.s.to) > 0 {
		msg.ToMailAddress(c.s.to...)
	} else {
		msg.SetGenHeaderPreformatted("To", "undisclosed-recipients:;") // RFC 5322 §3.4
	}
	if c.s.reply != nil {
		msg.ReplyToMailAddress(c.s.reply)
	}
	msg.SetGenHeaderPreformatted(gomail.HeaderSubject, encodeHeader("Subject", m.Title()))
	msg.SetMessageIDWithValue(c.messageID(m.ID))
	msg.SetDateWithValue(m.Time)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834 §5
	msg.SetGenHeader("X-Auto-Response-Suppress", "All")
	if m.Thread != "" && m.Thread != m.ID {
		root := "<" + c.messageID(m.Thread) + ">"
		msg.SetGenHeader(gomail.HeaderInReplyTo, root)
		msg.SetGenHeader(gomail.HeaderReferences, root)
	}
	if m.Level >= levelCritical {
		msg.SetImportance(gomail.ImportanceHigh)
	}
	text := m.Body()
	msg.SetBodyString(gomail.TypeTextPlain, text, gomail.WithPartEncoding(encodingFor(text)))
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML, gomail.WithPartEncoding(encodingFor(m.HTML)))
	}
	for i, a := range m.Attachments {
		msg.AttachReadSeeker(fileName(a.Name, i), bytes.NewReader(a.Data), gomail.WithFileContentType(contentType(a.ContentType)))
	}
	var b bytes.Buffer
	if _, err := msg.WriteTo(&b); err != nil {
		return nil, &notify.Error{Op: "build", Class: notify.ClassInvalid, Reason: fmt.Sprintf("mail cannot be built: %v", err)}
	}
	return endLine(b.Bytes(), m.HTML == "" && len(m.Attachments) == 0 && encodingFor(text) == gomail.EncodingQP), nil
}

// endLine makes the mail end in CRLF, as the transport would. In a body of
// quoted-printable alone that CRLF would be one more of the text's: a soft line
// break keeps it out.
func endLine(mail []byte, soft bool) []byte {
	switch {
	case bytes.HasSuffix(mail, []byte("\r\n")):
		return mail
	case soft:
		return append(mail, "=\r\n"...)
	default:
		return append(mail, "\r\n"...)
	}
}

// messageID makes the Message-ID of a message: the same each time it is sent.
func (c *Client) messageID(id string) string {
	_, domain, _ := cutLast(c.s.from.Address, "@")
	return atom(id[:min(len(id), 200)]) + "@" + atom(domain) // a Hub's are shorter
}

// atom replaces what cannot stand in a Message-ID.
func atom(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`<>()[]\,;:@"`, c) >= 0 {
			b[i] = '-'
		}
	}
	return string(b)
}

// encodingFor returns quoted-printable for text whose line ends are all of one
// common kind, which keeps it readable on the wire; lines then end in CRLF, as
// mail demands. Anything else goes as base64, byte for byte.
func encodingFor(text string) gomail.Encoding {
	crlf := strings.Count(text, "\r\n")
	lf, cr := strings.Count(text, "\n"), strings.Count(text, "\r")
	if cr != crlf || (crlf != 0 && crlf != lf) || strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
		return gomail.EncodingB64
	}
	return gomail.EncodingQP
}

// encodeHeader renders an unstructured header value: as it is when plain and
// short words allow to fold it, else as encoded words (RFC 2047), which may be
// split anywhere. It cannot end the header.
func encodeHeader(name, value string) string {
	const limit = 76
	plain := true
	for word := range strings.SplitSeq(value, " ") {
		if len(word) > limit-2 {
			plain = false
		}
	}
	for _, r := range value {
		if r < ' ' || r > '~' {
			plain = false
		}
	}
	if strings.Contains(value, "=?") || strings.Contains(value, "  ") {
		plain = false
	}
	var b strings.Builder
	column := len(name) + 2
	if plain {
		for i, word := range strings.Split(value, " ") {
			switch {
			case i > 0 && column+1+len(word) > limit:
				b.WriteString("\r\n " + word)
				column = 1 + len(word)
				continue
			case i > 0:
				b.WriteByte(' ')
				column++
			}
			b.WriteString(word)
			column += len(word)
		}
		return b.String()
	}
	const perWord = 42 // 42 bytes are 56 in base64; with =?UTF-8?B?…?= 68
	for first := true; value != ""; first = false {
		n := min(perWord, len(value))
		for n < len(value) && n > perWord-utf8.UTFMax && !utf8.RuneStart(value[n]) {
			n--
		}
		if !first {
			b.WriteString("\r\n ")
		}
		b.WriteString("=?UTF-8?B?" + base64.StdEncoding.EncodeToString([]byte(strings.ToValidUTF8(value[:n], "\uFFFD"))) + "?=")
		value = value[n:]
	}
	return b.String()
}

// fileName makes a name that is no path, short, and without control characters.
func fileName(name string, i int) string {
	name = path.Base(strings.ReplaceAll(name, `\`, "/"))
	name = strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) || strings.ContainsRune(`"<>:|?*;`, r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
	if len(name) > 120 {
		ext := path.Ext(name)
		if len(ext) > 20 {
			ext = ""
		}
		n := 120 - len(ext)
		for n > 0 && !utf8.RuneStart(name[n]) {
			n--
		}
		name = name[:n] + ext
	}
	if name == "" || name == "." || name == "/" {
		name = fmt.Sprintf("attachment-%d", i+1)
	}
	return name
}

// contentType returns a MIME type that is safe in a header.
func contentType(t string) gomail.ContentType {
	kind, _, err := mime.ParseMediaType(t)
	if err != nil || !strings.Contains(kind, "/") || len(kind) > 100 || strings.HasPrefix(kind, "multipart/") {
		return gomail.TypeAppOctetStream
	}
	return gomail.ContentType(kind)
}
