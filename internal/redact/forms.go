package redact

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// form is one way to write a secret.
type form struct {
	text string

	// left and right say that the letter beside the text holds some bits of the
	// secret too, as in the middle of base64.
	left, right bool
}

// maxNested bounds the secrets that are searched for in JSON within JSON: each
// level may double the length of every form.
const maxNested = 4096

// formsOf returns every form that is searched for. The same one may be there
// more than once.
func formsOf(value string) (forms []form) {
	add := func(texts ...string) {
		for _, t := range texts {
			if len(t) >= minBytes {
				forms = append(forms, form{text: t})
			}
		}
	}

	// As it stands in text, in one line of text, and in an address.
	plain := []string{value}
	for _, other := range []string{strings.TrimSpace(value), Line(value)} {
		if len(other) >= minBytes {
			plain = distinct(plain, other)
		}
	}
	written := plain
	for _, p := range plain {
		written = distinct(written, escaped(p)...)
		written = distinct(written, inHTML(p)...)
	}
	if lossy := string([]rune(value)); telling(lossy) { // as encoders write what is no UTF-8
		written = distinct(written, lossy)
	}
	add(written...)

	// Quoted once, and that text quoted again as JSON, twice. A file that is a
	// secret as a whole comes to be quoted, but nobody puts it in JSON in JSON.
	once := written
	for _, w := range written {
		once = distinct(once, quoted(w)...)
	}
	add(once...)
	if len(value) <= maxNested {
		for _, o := range once {
			for _, twice := range []string{jsonText(o, false), jsonText(o, true)} {
				add(twice, jsonText(twice, false))
			}
		}
	}

	for _, p := range plain {
		if len(p) >= minBytes {
			add(encoded(p)...)
		}
	}
	if len(value) >= longBytes {
		forms = append(forms, withinBase64(value)...)
	}
	return forms
}

// telling reports whether what is left of a secret by a lossy form still tells
// it: one that consists of replacement characters would be found anywhere.
func telling(s string) bool { return len(strings.ReplaceAll(s, "\uFFFD", "")) >= minBytes }

// distinct returns all with those of more that it does not hold yet, in memory
// of its own.
func distinct(all []string, more ...string) []string {
	out := all[:len(all):len(all)]
	seen := make(map[string]bool, len(all)+len(more))
	for _, s := range all {
		seen[s] = true
	}
	for _, s := range more {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// escaped returns s by the rules of each part of a URL, with upper-case and
// lower-case hex digits.
func escaped(s string) (forms []string) {
	for _, e := range []string{
		url.QueryEscape(s),
		strings.ReplaceAll(url.QueryEscape(s), "+", "%20"),
		url.PathEscape(s),
		(&url.URL{Path: "/" + s}).EscapedPath()[1:],
		url.User(s).String(),
		(&url.URL{Fragment: s}).EscapedFragment(),
	} {
		forms = append(forms, e, lowerEscapes(e))
	}
	return forms
}

// inHTML returns s as html.EscapeString, template.HTMLEscapeString and the
// templates of html/template write it.
func inHTML(s string) []string {
	s = strings.NewReplacer("&", "&amp;", "'", "&#39;", "<", "&lt;", ">", "&gt;", `"`, "&#34;").Replace(s)
	forms := []string{s}
	if marked := strings.ReplaceAll(s, "\x00", "\uFFFD"); telling(marked) {
		forms = append(forms, marked, strings.ReplaceAll(marked, "+", "&#43;"))
	}
	return forms
}

// lowerEscapes writes the hex digits behind each % in lower case.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], strings.ToLower(s[i+1:i+3]))
		}
	}
	return string(b)
}

// quoted returns s as it stands between the quotes of %q, %+q, and of JSON by
// encoders that escape HTML, slashes, or all but ASCII.
func quoted(s string) []string {
	ascii := jsonASCII(s)
	return []string{
		strip(strconv.Quote(s)), strip(strconv.QuoteToASCII(s)),
		jsonText(s, false), jsonText(s, true),
		ascii, strings.ReplaceAll(ascii, "/", `\/`), strings.ReplaceAll(jsonText(s, false), "/", `\/`),
		longControls(jsonText(s, false)), longControls(jsonText(s, true)),
	}
}

func strip(quoted string) string { return quoted[1 : len(quoted)-1] }

const hexDigits = "0123456789abcdef"

// jsonText returns s as encoding/json writes it between the quotes.
func jsonText(s string, escapeHTML bool) string {
	var b strings.Builder
	for _, r := range s { // a byte that is no UTF-8 gives U+FFFD
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20:
			if i := strings.IndexRune("\b\f\n\r\t", r); i >= 0 {
				b.WriteByte('\\')
				b.WriteByte("bfnrt"[i])
			} else {
				writeEscape(&b, r)
			}
		case r == '\u2028' || r == '\u2029', escapeHTML && (r == '<' || r == '>' || r == '&'):
			writeEscape(&b, r)
		default:
			b.WriteRune(r)
		}
	}

	return b.String()
}

// longControls writes \b and \f of a JSON text as encoders do that know no
// short form of them.
func longControls(s string) string {
	return strings.NewReplacer(`\\`, `\\`, `\b`, `\u0008`, `\f`, `\u000c`).Replace(s)
}

// jsonASCII returns s as encoders write it that escape all but ASCII.
func jsonASCII(s string) string {
	var b strings.Builder
	for _, r := range jsonText(s, false) {
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			writeEscape(&b, high)
			writeEscape(&b, low)
		default:
			writeEscape(&b, r)
		}
	}
	return b.String()
}

// writeEscape writes r as \uxxxx.
func writeEscape(b *strings.Builder, r rune) {
	b.WriteString(`\u`)
	for shift := 12; shift >= 0; shift -= 4 {
		b.WriteByte(hexDigits[r>>shift&0xf])
	}
}

// encoded returns s in base64, in hex and as a list of byte values, each whole.
func encoded(s string) []string {
	var forms []string
	for _, verb := range []string{"%x", "%X", "% x", "% X", "%# x", "%# X"} {
		forms = append(forms, fmt.Sprintf(verb, s))
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		forms = append(forms, e.EncodeToString([]byte(s)))
	}

	// As fmt's %v and %#v write bytes, and JSON an array of them.
	values, inHex := make([]string, len(s)), make([]string, len(s))
	for i := range len(s) {
		values[i] = strconv.Itoa(int(s[i]))
		inHex[i] = "0x" + strconv.FormatInt(int64(s[i]), 16)
	}
	return append(forms, strings.Join(values, " "), strings.Join(values, ","), strings.Join(inHex, ", "))
}

// withinBase64 returns the letters that s gives in a longer encoded text, for
// each place in which it may begin there. The letters at both ends depend on
// what stands beside s and are left out.
func withinBase64(s string) (forms []form) {
	for before := range 3 {
		padded := append(make([]byte, before), s...)
		first := (8*before + 5) / 6 // the first letter that holds bits of s alone
		end := 8 * len(padded) / 6
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			forms = append(forms, form{text: e.EncodeToString(padded)[first:end], left: 8*before%6 != 0, right: 8*len(padded)%6 != 0})
		}
	}
	return forms
}

func isBase64(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("+/-_", c) >= 0
}
