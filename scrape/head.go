package scrape

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"strings"

	"golang.org/x/net/html"
)

// maxHead is how much of a page of HTML is read in search of the end of its
// head.
const maxHead = 64 << 10

// head is what a page says of itself to crawlers, in its header and in the head
// of its HTML.
type head struct {
	noIndex, noFollow bool
	canonical, base   string
}

// readHead reads the head of an answer; its body then begins anew. agent is the
// product token whose rules count beside those for everyone.
func readHead(res *http.Response, agent string) head {
	var h head
	for _, value := range res.Header.Values("X-Robots-Tag") {
		h.obey(value, agent)
	}
	for _, value := range res.Header.Values("Link") {
		if address, ok := canonicalLink(value); ok {
			h.canonical = address
		}
	}

	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil || kind != "text/html" && kind != "application/xhtml+xml" {
		return h
	}
	var read bytes.Buffer
	h.scan(io.TeeReader(io.LimitReader(res.Body, maxHead), &read), agent)
	res.Body = &rereadBody{Reader: io.MultiReader(&read, res.Body), Closer: res.Body}
	return h
}

// rereadBody is a body of which the beginning was read before.
type rereadBody struct {
	io.Reader
	io.Closer
}

// obey takes in the value of an X-Robots-Tag: words for everyone, or after an
// agent's name and a colon for that one.
func (h *head) obey(value, agent string) {
	applies := true
	for word := range strings.SplitSeq(value, ",") {
		if name, rest, ok := strings.Cut(word, ":"); ok {
			switch name = strings.ToLower(strings.TrimSpace(name)); name {
			case "unavailable_after", "max-snippet", "max-image-preview", "max-video-preview":
				continue // words with a value
			}
			applies, word = agent != "" && strings.EqualFold(name, agent), rest
		}
		if applies {
			h.word(word)
		}
	}
}

// word takes in one word of a site's wishes.
func (h *head) word(word string) {
	switch strings.ToLower(strings.TrimSpace(word)) {
	case "noindex":
		h.noIndex = true
	case "nofollow":
		h.noFollow = true
	case "none":
		h.noIndex, h.noFollow = true, true
	}
}

// scan reads HTML until its head ends.
func (h *head) scan(r io.Reader, agent string) {
	z := html.NewTokenizer(r)
	z.SetMaxBuf(maxHead)
	for {
		switch z.Next() {
		case html.ErrorToken:
			return // the end, or what the reader of the body will see too
		case html.EndTagToken:
			if name, _ := z.TagName(); string(name) == "head" {
				return
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			token := z.Token()
			switch token.Data {
			case "html", "head", "title", "script", "style", "noscript", "template":
			case "meta", "link", "base":
				h.element(token, agent)
			default:
				return // the body has begun
			}
		}
	}
}

// element takes in one element of a head.
func (h *head) element(token html.Token, agent string) {
	attributes := map[string]string{}
	for _, a := range token.Attr {
		if _, ok := attributes[a.Key]; !ok {
			attributes[a.Key] = strings.TrimSpace(a.Val)
		}
	}

	switch token.Data {
	case "meta":
		if name := attributes["name"]; strings.EqualFold(name, "robots") || agent != "" && strings.EqualFold(name, agent) {
			for word := range strings.SplitSeq(attributes["content"], ",") {
				h.word(word)
			}
		}
	case "link":
		for rel := range strings.FieldsSeq(attributes["rel"]) {
			if strings.EqualFold(rel, "canonical") && h.canonical == "" {
				h.canonical = attributes["href"]
			}
		}
	case "base":
		if h.base == "" {
			h.base = attributes["href"]
		}
	}
}

// canonicalLink returns the address in a Link header with rel="canonical" (RFC
// 8288 §3, RFC 6596).
func canonicalLink(value string) (string, bool) {
	for {
		_, rest, ok := strings.Cut(value, "<")
		if !ok {
			return "", false
		}
		address, rest, ok := strings.Cut(rest, ">")
		if !ok {
			return "", false
		}
		parameters, next, _ := strings.Cut(rest, "<")

		for parameter := range strings.SplitSeq(parameters, ";") {
			name, text, _ := strings.Cut(parameter, "=")
			text = strings.Trim(strings.TrimSpace(strings.TrimRight(text, ", ")), `"`)
			if strings.EqualFold(strings.TrimSpace(name), "rel") && strings.EqualFold(text, "canonical") {
				return strings.TrimSpace(address), true
			}
		}
		if next == "" {
			return "", false
		}
		value = "<" + next
	}
}
