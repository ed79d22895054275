package email_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// part is a leaf of a mail, decoded.
type part struct {
	kind, name string
	data       []byte
}

// parse reads a mail as a client does, and checks its lines on the way.
func parse(t testing.TB, data []byte) (mail.Header, []part) {
	t.Helper()
	for i, line := range bytes.Split(data, []byte("\r\n")) {
		if len(line) > 998 {
			t.Errorf("line %d has %d bytes, at most 998 are allowed", i, len(line))
		}
		if bytes.ContainsAny(line, "\r\n\x00") {
			t.Errorf("line %d has a bare CR, LF or NUL: %.100q", i, line)
		}
		for _, c := range line {
			if c >= 0x80 {
				t.Errorf("line %d is not ASCII: %.100q", i, line)
				break
			}
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return m.Header, parts(t, m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), "", m.Body)
}

func parts(t testing.TB, contentType, encoding, name string, body io.Reader) []part {
	t.Helper()
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatalf("content type %q: %v", contentType, err)
	}
	if strings.HasPrefix(kind, "multipart/") {
		var all []part
		for r := multipart.NewReader(body, params["boundary"]); ; {
			p, err := r.NextRawPart()
			if err == io.EOF {
				return all
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, parts(t, p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p.FileName(), p)...)
		}
	}
	switch encoding {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "7bit":
	default:
		t.Errorf("encoding %q", encoding)
	}
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return []part{{kind, name, data}}
}

// roundTrip sends m and returns what arrived.
func roundTrip(t testing.TB, m notify.Message) (notifytest.Mail, mail.Header, []part) {
	t.Helper()
	s, err := notifytest.StartSMTP(&notifytest.SMTPOptions{NoSTARTTLS: true, DSN: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := email.New(&email.Options{
		Host: s.Host(), Port: s.Port(), TLS: email.None, From: "Shop <shop@example.com>", DSN: true,
		To: []string{"ops@example.com"}, Bcc: []string{"hidden@example.com"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.Notify(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	mails := s.Mails()
	if len(mails) != 1 {
		t.Fatalf("%d mails, want 1", len(mails))
	}
	if got := strings.Fields(mails[0].MailArgs); len(got) != 2 || got[0] != "RET=HDRS" || !strings.HasPrefix(got[1], "ENVID=") || len(got[1]) > 106 {
		t.Errorf("envelope has %q", got)
	}
	if got := strings.Join(mails[0].To, " "); got != "ops@example.com hidden@example.com" {
		t.Errorf("envelope goes to %q", got)
	}
	header, list := parse(t, mails[0].Data)
	return mails[0], header, list
}

// sameText reports whether text came back: line ends may have become those of
// mail if they were all of one kind.
func sameText(got, want string) bool {
	return got == want || strings.ReplaceAll(got, "\r\n", "\n") == want
}

func subject(t testing.TB, h mail.Header) string {
	t.Helper()
	s, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
	if err != nil {
		t.Errorf("subject %q: %v", h.Get("Subject"), err)
	}
	return s
}

// knownHeaders are all that a mail may have.
var knownHeaders = map[string]bool{
	"Auto-Submitted": true, "Content-Transfer-Encoding": true, "Content-Type": true, "Date": true, "From": true, "Importance": true,
	"In-Reply-To": true, "Message-Id": true, "Mime-Version": true, "Priority": true, "References": true, "Subject": true, "To": true,
	"X-Auto-Response-Suppress": true, "X-Msmail-Priority": true, "X-Priority": true,
}

func checkHeaders(t testing.TB, h mail.Header) {
	t.Helper()
	if id := h.Get("Message-Id"); !strings.HasPrefix(id, "<") || !strings.HasSuffix(id, "@example.com>") || strings.ContainsAny(id[1:len(id)-1], " \t<>") {
		t.Errorf("Message-ID: %q", id)
	}
	for name, values := range h {
		if !knownHeaders[name] || len(values) != 1 {
			t.Errorf("header %s: %q", name, values)
		}
	}
	if h.Get("To") != "<ops@example.com>" && h.Get("To") != "ops@example.com" {
		t.Errorf("To: %q", h.Get("To"))
	}
}

func TestContentComesBack(t *testing.T) {
	t.Parallel()
	attachment := make([]byte, 100_000)
	for i := range attachment {
		attachment[i] = byte(i * 7)
	}
	evil := "a\r\nBcc: evil@example.com\r\n\r\n.\r\nMAIL FROM:<x@y>\x00\u202egnp <!channel> ```"
	for name, m := range map[string]notify.Message{
		"plain":        {Subject: "price changed", Text: "Tea costs 4.20 now.\nReally.\n"},
		"CRLF":         {Subject: "s", Text: "one\r\ntwo\r\n"},
		"mixed ends":   {Subject: "s", Text: "one\ntwo\r\nthree\rfour"},
		"dots":         {Subject: "s", Text: ".\n..\n.hidden\n.\n"},
		"umlauts":      {Subject: "Größe geändert ✓", Text: "Füße\n", HTML: "<b>Füße</b>\n"},
		"NUL":          {Subject: "s", Text: "a\x00b", HTML: "<i>\x00</i>"},
		"not UTF-8":    {Subject: "\xff", Text: "\xff\xfe\n"},
		"long line":    {Subject: "s", Text: strings.Repeat("x", 5000), HTML: strings.Repeat("é", 5000)},
		"megabyte":     {Subject: "s", Text: strings.Repeat("0123456789abcde\n", 1<<16)},
		"trailing":     {Subject: "s", Text: "space at the end \ntab\t\n  "},
		"equals":       {Subject: "=?UTF-8?Q?fake?= word", Text: "=3D =\n="},
		"long subject": {Subject: strings.Repeat("x", 10_000), Text: "t"},
		"long ID":      {ID: strings.Repeat("x", 2_000), Thread: strings.Repeat("y", 2_000), Subject: "s", Text: "t"},
		"long words":   {Subject: strings.Repeat("wörd ", 2_000), Text: "t"},
		"evil":         {ID: evil, Thread: evil + "1", Subject: evil, Text: evil, HTML: evil, Key: evil, Attachments: []notify.Attachment{{Name: evil, ContentType: evil, Data: []byte(evil)}}},
		"attachments":  {Subject: "s", Text: "t", HTML: "<p>h</p>", Attachments: []notify.Attachment{{Name: "all.bin", Data: attachment}, {Name: "../../etc/passwd", ContentType: "text/plain; charset=x"}, {Name: strings.Repeat("ä", 300) + ".txt"}}},
		"HTML alone":   {Subject: "s", HTML: "<p>only</p>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, header, list := roundTrip(t, m)
			checkHeaders(t, header)
			want := 1 + len(m.Attachments)
			if m.HTML != "" {
				want++
			}
			if len(list) != want {
				t.Fatalf("%d parts, want %d", len(list), want)
			}
			body := m
			body.ID, body.Count = "", 0
			if !sameText(string(list[0].data), body.Body()) || !strings.HasPrefix(list[0].kind, "text/plain") {
				t.Errorf("text (%s) came back as %.200q", list[0].kind, list[0].data)
			}
			if m.HTML != "" && (!sameText(string(list[1].data), m.HTML) || list[1].kind != "text/html") {
				t.Errorf("HTML (%s) came back as %.200q", list[1].kind, list[1].data)
			}
			for i, a := range m.Attachments {
				p := list[len(list)-len(m.Attachments)+i]
				if !bytes.Equal(p.data, a.Data) {
					t.Errorf("attachment %d is not the same", i)
				}
				if strings.ContainsAny(p.name, "/\\\r\n\x00") || p.name == "" {
					t.Errorf("attachment name %q", p.name)
				}
			}
			if got, want := subject(t, header), strings.ToValidUTF8(m.Title(), "\uFFFD"); got != want {
				t.Errorf("subject %.200q, want %.200q", got, want)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 6, 8, 49, 37, 0, time.FixedZone("", 3600))
	_, h, _ := roundTrip(t, notify.Message{ID: "m2", Thread: "m1", Level: slog.LevelError + 4, Subject: "s", Text: "t", Time: at, Count: 7, First: at, Last: at})
	for name, want := range map[string]string{
		"Message-ID": "<m2@example.com>", "In-Reply-To": "<m1@example.com>", "References": "<m1@example.com>", "Auto-Submitted": "auto-generated",
		"X-Auto-Response-Suppress": "All", "Importance": "high", "Date": "Fri, 06 Nov 2026 08:49:37 +0100", "From": `"Shop" <shop@example.com>`,
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := subject(t, h); got != "s (×7)" {
		t.Errorf("subject %q", got)
	}
	checkHeaders(t, h)
}

// Attachments keep their types with parameters, and names go as RFC 2231 has it.
func TestAttachmentHeaders(t *testing.T) {
	t.Parallel()
	const original = "From: a@example.com\r\nSubject: s\r\n\r\nText.\r\n"
	for _, tc := range []struct {
		name           string
		a              notify.Attachment
		kind, encoding string
		params         map[string]string
	}{
		{"calendar", notify.Attachment{Name: "invite.ics", ContentType: "text/calendar; method=REQUEST; charset=UTF-8"}, "text/calendar", "base64", map[string]string{"method": "REQUEST", "charset": "UTF-8", "name": "invite.ics"}},
		{"csv", notify.Attachment{Name: "Übersicht März.csv", ContentType: `text/csv; charset=utf-8; header=present`}, "text/csv", "base64", map[string]string{"charset": "utf-8", "header": "present", "name": "Übersicht März.csv"}},
		{"mail", notify.Attachment{Name: "bounce.eml", ContentType: "message/rfc822", Data: []byte(original)}, "message/rfc822", "7bit", map[string]string{"name": "bounce.eml"}},
		{"mail with short line ends", notify.Attachment{Name: "bounce.eml", ContentType: "message/rfc822", Data: []byte(strings.ReplaceAll(original, "\r", ""))}, "message/rfc822", "7bit", map[string]string{"name": "bounce.eml"}},
		{"mail beyond ASCII", notify.Attachment{Name: "b.eml", ContentType: "message/rfc822", Data: []byte(original + "\xff")}, "application/octet-stream", "base64", map[string]string{"name": "b.eml"}},
		{"mail with a long line", notify.Attachment{Name: "b.eml", ContentType: "message/rfc822", Data: []byte(strings.Repeat("x", 1000))}, "application/octet-stream", "base64", map[string]string{"name": "b.eml"}},
		{"parts", notify.Attachment{Name: "x", ContentType: "multipart/mixed; boundary=abc"}, "application/octet-stream", "base64", map[string]string{"name": "x"}},
		{"no type", notify.Attachment{Name: "x", ContentType: "text"}, "application/octet-stream", "base64", map[string]string{"name": "x"}},
		{"long name", notify.Attachment{Name: strings.Repeat("ä", 60)}, "application/octet-stream", "base64", map[string]string{"name": strings.Repeat("ä", 60)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m, h, _ := roundTrip(t, notify.Message{Subject: "s", Text: "t", Attachments: []notify.Attachment{tc.a}})
			_, params, err := mime.ParseMediaType(h.Get("Content-Type"))
			if err != nil {
				t.Fatal(err)
			}
			msg, err := mail.ReadMessage(bytes.NewReader(m.Data))
			if err != nil {
				t.Fatal(err)
			}
			r := multipart.NewReader(msg.Body, params["boundary"])
			if _, err := r.NextRawPart(); err != nil {
				t.Fatal(err)
			}
			p, err := r.NextRawPart()
			if err != nil {
				t.Fatal(err)
			}
			kind, got, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
			if diff := cmp.Diff(tc.params, got); err != nil || kind != tc.kind || diff != "" {
				t.Errorf("type %q, %v (-want +got):\n%s", kind, err, diff)
			}
			if e := p.Header.Get("Content-Transfer-Encoding"); e != tc.encoding {
				t.Errorf("encoding %q, want %q", e, tc.encoding)
			}
			if p.FileName() != tc.params["name"] || strings.Contains(p.Header.Get("Content-Disposition"), "=?") {
				t.Errorf("disposition %q", p.Header.Get("Content-Disposition"))
			}
			if tc.encoding == "7bit" {
				if data, err := io.ReadAll(p); err != nil || string(data) != original {
					t.Errorf("attached mail came as %q, %v", data, err)
				}
			}
		})
	}
}

// Headers of the options stand in the mail, and replace those of ours that name
// nobody.
func TestOwnHeaders(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	o := options(s)
	o.Headers = map[string]string{"X-PM-Message-Stream": "outbound", "list-id": "Größe <alerts.example.com>", "X-Auto-Response-Suppress": "OOF"}
	if err := newClient(t, o).Send(t.Context(), "s", "t"); err != nil {
		t.Fatal(err)
	}
	h, _ := parse(t, s.Mails()[0].Data)
	for name, want := range map[string]string{"X-Pm-Message-Stream": "outbound", "List-Id": "Größe <alerts.example.com>", "X-Auto-Response-Suppress": "OOF"} {
		got, err := new(mime.WordDecoder).DecodeHeader(h.Get(name))
		if err != nil || got != want || len(h[name]) != 1 {
			t.Errorf("%s: %q, %v", name, h[name], err)
		}
	}
	o.Headers = map[string]string{"to": "x", "Content-Type": "x", "X-A": "a\r\nBcc: evil@example.com", "X B": "x", "": "x"}
	_, err := email.New(o)
	for _, want := range []string{"to is set by", "Content-Type is set by", "value of X-A", `"X B"`, `"" is not`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q: %v", want, err)
		}
	}
}

func TestBccAlone(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	o := options(s)
	o.To, o.Bcc, o.ReplyTo, o.EnvelopeFrom = nil, []string{"hidden@example.com"}, "desk@example.com", "bounces@example.com"
	if err := newClient(t, o).Send(t.Context(), "s", "t"); err != nil {
		t.Fatal(err)
	}
	m := s.Mails()[0]
	h, _ := parse(t, m.Data)
	if m.From != "bounces@example.com" || h.Get("To") != "undisclosed-recipients:;" || h.Get("Reply-To") != "<desk@example.com>" || bytes.Contains(m.Data, []byte("hidden")) {
		t.Errorf("from %q, headers %v", m.From, h)
	}
}

// SMTPUTF8 is asked for when an address needs it, and then alone.
func TestAddressesBeyondASCII(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	o := options(s)
	o.To = []string{"jürgen@example.com"}
	if err := newClient(t, o).Send(t.Context(), "s", "t"); err != nil {
		t.Fatal(err)
	}
	if m := s.Mails()[0]; !strings.Contains(m.MailArgs, "SMTPUTF8") || m.To[0] != "jürgen@example.com" {
		t.Errorf("mail %v with %q", m.To, m.MailArgs)
	}
	// An address in the header needs it as well.
	o = options(s)
	o.From, o.EnvelopeFrom = "Shöp <shöp@bücher.example>", "bounces@example.com"
	if err := newClient(t, o).Notify(t.Context(), notify.Message{ID: "m1", Thread: "m0", Subject: "s", Text: "t"}); err != nil {
		t.Fatal(err)
	}
	m := s.Mails()[1]
	h, err := mail.ReadMessage(bytes.NewReader(m.Data))
	if err != nil {
		t.Fatal(err)
	}
	if id := h.Header.Get("Message-ID"); !strings.Contains(m.MailArgs, "SMTPUTF8") || id != "<m1@xn--bcher-kva.example>" || h.Header.Get("References") != "<m0@xn--bcher-kva.example>" {
		t.Errorf("arguments %q, headers %v", m.MailArgs, h.Header)
	}
	old := startServer(t, &notifytest.SMTPOptions{NoUTF8: true})
	o.Port, o.TLSConfig = old.Port(), old.TLSConfig()
	err = newClient(t, o).Send(t.Context(), "s", "t")
	if errs := notify.Errors(err); len(errs) != 1 || errs[0].Class != notify.ClassRejected || !strings.Contains(err.Error(), "SMTPUTF8") {
		t.Errorf("server without SMTPUTF8: %v", err)
	}
}

func TestSizeLimit(t *testing.T) {
	t.Parallel()
	s := startServer(t, &notifytest.SMTPOptions{MaxBytes: 10_000})
	c := newClient(t, options(s))
	if err := c.Send(t.Context(), "s", "t"); err != nil {
		t.Fatal(err)
	}
	if m := s.Mails()[0]; !strings.Contains(m.MailArgs, fmt.Sprintf("SIZE=%d", len(m.Data))) {
		t.Errorf("arguments %q for %d bytes", m.MailArgs, len(m.Data))
	}
	err := c.Send(t.Context(), "s", strings.Repeat("x", 20_000))
	if errs := notify.Errors(err); len(errs) != 1 || errs[0].Class != notify.ClassInvalid || !strings.Contains(err.Error(), "10000") {
		t.Errorf("big mail: %v", err)
	}
	if err := c.Send(t.Context(), "s", "t"); err != nil || s.Conns() != 1 {
		t.Errorf("after it: %v, %d connections", err, s.Conns())
	}
}

func FuzzBuild(f *testing.F) {
	f.Add("subject", "text", "<p>html</p>", "name", []byte("data"))
	f.Add("a\r\nBcc: x@y", "\x00\r\n.\r\n", "\xff", "../\"\r\n", []byte{0})
	c, err := email.New(&email.Options{Host: "h", From: "shop@example.com", To: []string{"ops@example.com"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, subj, text, html, name string, data []byte) {
		m := notify.Message{ID: "m1", Subject: subj, Text: text, HTML: html, Attachments: []notify.Attachment{{Name: name, ContentType: name, Data: data}}}
		raw, err := c.Preview(m)
		if err != nil {
			t.Fatal(err)
		}
		_, content, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
		h, list := parse(t, content)
		checkHeaders(t, h)
		if got := list[len(list)-1]; !bytes.Equal(got.data, data) {
			t.Errorf("attachment came back as %q", got.data)
		}
		if !sameText(string(list[0].data), m.Body()) {
			t.Errorf("text %q came back as %q", m.Body(), list[0].data)
		}
		if html != "" && !sameText(string(list[1].data), html) {
			t.Errorf("HTML %q came back as %q", html, list[1].data)
		}
		if got, want := subject(t, h), strings.ToValidUTF8(m.Title(), "\uFFFD"); got != want {
			t.Errorf("subject %q, want %q", got, want)
		}
	})
}
