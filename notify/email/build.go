package email

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"maps"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/svcblocks/svcblocks/notify"
)

// levelCritical is the level from which mails are marked as important.
const levelCritical = slog.LevelError + 4

// composition is a message that becomes a mail. Without smtputf8 recipients that
// need it do not stand in it.
type composition struct {
	s        *settings
	m        notify.Message
	smtputf8 bool
}

// mail renders the message with CRLF line ends.
func (c composition) mail() ([]byte, error) {
	m := c.m
	var b bytes.Buffer
	for _, h := range c.header() {
		b.WriteString(h.name + ": " + h.value + "\r\n")
	}

	text := m.Body()
	body := leaf("text/plain; charset=UTF-8", []byte(text), encodingFor(text))
	if m.HTML != "" {
		body = multi("alternative", body, leaf("text/html; charset=UTF-8", []byte(m.HTML), encodingFor(m.HTML)))
	}
	if len(m.Attachments) > 0 {
		files := []part{body}
		for i, a := range m.Attachments {
			files = append(files, file(a, i))
		}
		body = multi("mixed", files...)
	}

	body.write(&b)
	return endLine(b.Bytes(), body.encoding == quotedPrintable), nil
}

// header returns the header of a mail. An option replaces a line of ours.
func (c composition) header() []header {
	m := c.m
	lines := []header{
		{"Date", m.Time.Format(time.RFC1123Z)},
		{"From", writeAddresses(c.s.from.header)},
		{"To", "undisclosed-recipients:;"}, // RFC 5322 §3.4
		{"Subject", encodeHeader("Subject", m.Title())},
		{"Message-ID", "<" + c.messageID(m.ID) + ">"},
		{"Auto-Submitted", "auto-generated"}, // RFC 3834 §5
		{"X-Auto-Response-Suppress", "All"},
		{"MIME-Version", "1.0"},
	}

	if to := headers(c.s.to, c.smtputf8); len(to) > 0 {
		lines[2].value = writeAddresses(to...)
	}
	if c.s.reply != nil {
		lines = append(lines, header{"Reply-To", writeAddresses(c.s.reply.header)})
	}
	if m.Thread != "" && m.Thread != m.ID {
		root := "<" + c.messageID(m.Thread) + ">"
		lines = append(lines, header{"In-Reply-To", root}, header{"References", root})
	}
	if m.Level >= levelCritical {
		lines = append(lines, header{"Importance", "high"}, header{"X-Priority", "1"}, header{"X-MSMail-Priority", "High"})
	}

	for _, h := range c.s.headers {
		lines = slices.DeleteFunc(lines, func(l header) bool { return strings.EqualFold(l.name, h.name) })
		lines = append(lines, header{h.name, encodeHeader(h.name, h.value)})
	}
	return lines
}

// writeAddresses renders a list for a header, one on each line.
func writeAddresses(list ...*mail.Address) string {
	var all []string
	for _, a := range list {
		all = append(all, strings.ReplaceAll(a.String(), "?= =?", "?=\r\n =?"))
	}
	return strings.Join(all, ",\r\n ")
}

// part is a piece of a mail (RFC 2046): text, a file, or other parts.
type part struct {
	kind        string
	disposition string
	encoding    string
	data        []byte // encoded
}

// The encodings of RFC 2045 §6.
const (
	quotedPrintable = "quoted-printable"
	base64Encoding  = "base64"
	asciiLines      = "7bit"
)

// header returns the part's own header lines.
func (p part) header() textproto.MIMEHeader {
	h := textproto.MIMEHeader{"Content-Type": {p.kind}, "Content-Transfer-Encoding": {p.encoding}}
	if p.disposition != "" {
		h["Content-Disposition"] = []string{p.disposition}
	}
	return h
}

// write writes the part with its header.
func (p part) write(b *bytes.Buffer) {
	h := p.header()
	for _, name := range slices.Sorted(maps.Keys(h)) {
		b.WriteString(name + ": " + h[name][0] + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(p.data)
}

// leaf makes a part of data.
func leaf(kind string, data []byte, encoding string) part {
	var b bytes.Buffer
	switch encoding {
	case quotedPrintable:
		w := quotedprintable.NewWriter(&b)
		_, _ = w.Write(data) // a Buffer takes everything
		_ = w.Close()
	case base64Encoding:
		for line := range slices.Chunk(data, 57) { // 76 letters
			b.WriteString(base64.StdEncoding.EncodeToString(line) + "\r\n")
		}
	default:
		b.Write(data)
	}
	return part{kind: kind, encoding: encoding, data: b.Bytes()}
}

// multi makes one part of several.
func multi(kind string, parts ...part) part {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		in, _ := w.CreatePart(p.header()) // as above
		_, _ = in.Write(p.data)
	}
	_ = w.Close()
	return part{kind: "multipart/" + kind + ";\r\n boundary=" + w.Boundary(), encoding: asciiLines, data: b.Bytes()}
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
func (c composition) messageID(id string) string {
	return atom(id[:min(len(id), 200)]) + "@" + atom(c.s.from.domain()) // a Hub's are shorter
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
func encodingFor(text string) string {
	crlf := strings.Count(text, "\r\n")
	lf, cr := strings.Count(text, "\n"), strings.Count(text, "\r")
	if cr != crlf || (crlf != 0 && crlf != lf) || strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
		return base64Encoding
	}
	return quotedPrintable
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

// file makes a part of an attachment. A name beyond ASCII goes as a parameter of
// RFC 2231, not as an encoded word within quotes (RFC 2047 §5), and the type
// keeps its parameters, as the method of a calendar (RFC 6047 §2.4).
func file(a notify.Attachment, i int) part {
	name := fileName(a.Name, i)
	kind, params := contentType(a.ContentType)
	data, encoding := a.Data, base64Encoding
	if strings.HasPrefix(kind, "message/") { // RFC 2046 §5.2: neither base64 nor quoted-printable
		if lines, ok := plainLines(a.Data); ok {
			data, encoding = lines, asciiLines
		} else {
			kind, params = octetStream, map[string]string{}
		}
	}

	params["name"] = name
	p := leaf(fold(mime.FormatMediaType(kind, params)), data, encoding)
	p.disposition = fold(mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	return p
}

// fold puts each parameter of a header's value on a line of its own.
func fold(value string) string {
	return strings.ReplaceAll(value, "; ", ";\r\n ")
}

// plainLines returns data with line ends of mail if it can go as it is: ASCII in
// lines of at most 998 bytes (RFC 2045 §2.7).
func plainLines(data []byte) ([]byte, bool) {
	if !isASCII(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil, false
	}
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	if bytes.IndexByte(data, '\r') >= 0 {
		return nil, false
	}
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		if len(line) > 998 {
			return nil, false
		}
	}
	return bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")), true
}

const octetStream = "application/octet-stream"

// contentType returns a MIME type and its parameters (RFC 2045 §5.1), both safe
// in a header. A multipart type is none of a file: its parts would be the mail's.
func contentType(t string) (kind string, params map[string]string) {
	kind, params, err := mime.ParseMediaType(t)
	if err != nil || !strings.Contains(kind, "/") || len(t) > 500 || strings.HasPrefix(kind, "multipart/") || mime.FormatMediaType(kind, params) == "" {
		return octetStream, map[string]string{}
	}
	return kind, params
}
