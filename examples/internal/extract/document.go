package extract

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/PuerkitoBio/goquery"
	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding/unicode"
)

// Source says where a page came from.
type Source struct {
	// URL is the page's address after redirects; links are resolved against it.
	URL *url.URL
	// ContentType is the response's Content-Type header; "" is taken as HTML.
	ContentType string
}

// Document is a page that knows where its elements stand in the source. It is
// not safe for concurrent use.
type Document struct {
	url, base *url.URL
	doc       *goquery.Document
}

// Open reads a page from r. The error is an *Error that wraps [ErrNotHTML], or
// the error of r as it came, so that a limit on r stays visible to errors.Is.
func Open(r io.Reader, src Source) (*Document, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	text, err := decode(raw, src.ContentType)
	if err != nil {
		return nil, &Error{URL: src.URL.Redacted(), Err: err, Hint: "check the address and what the server sends there"}
	}

	doc, err := goquery.NewDocumentFromReader(bytes.NewReader(annotate(text)))
	if err != nil {
		return nil, &Error{URL: src.URL.Redacted(), Err: fmt.Errorf("%w: %w", ErrNotHTML, err)}
	}
	base := *src.URL

	if href, ok := doc.Find("base[href]").First().Attr("href"); ok {
		if u, err := base.Parse(strings.TrimSpace(href)); err == nil {
			base = *u
		}
	}

	base.User = nil // a password is not part of a link
	return &Document{url: src.URL, base: &base, doc: doc}, nil
}

// Find returns what a CSS selector matches, for what List and Table do not
// cover.
func (d *Document) Find(selector string) *goquery.Selection { return d.doc.Find(selector) }

// Links returns where the elements that selector matches lead: absolute
// addresses on the page's own host, without fragment and without repeats.
func (d *Document) Links(selector string) []string {
	return links(d.doc, selector, d.base, d.url.Host)
}

func resolve(base *url.URL, href string) (string, error) {
	u, err := base.Parse(strings.TrimSpace(href))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", ErrLink
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String(), nil
}

func links(doc *goquery.Document, selector string, base *url.URL, host string) []string {
	var out []string
	seen := map[string]bool{}

	doc.Find(selector).Each(func(_ int, s *goquery.Selection) {
		href, ok := s.Attr("href")
		if !ok {
			return
		}

		link, err := resolve(base, href)
		if err != nil || seen[link] {
			return
		}
		if u, err := url.Parse(link); err != nil || u.Host != host {
			return
		}
		seen[link] = true
		out = append(out, link)
	})

	return out
}

// decode returns the page as UTF-8. Its charset is that of a byte order mark,
// the header, a meta element at the start, in this order (HTML §13.2.3.2), or
// UTF-8, or what is valid as nothing else: Windows-1252.
func decode(raw []byte, contentType string) ([]byte, error) {
	if contentType != "" {
		media, _, err := mime.ParseMediaType(contentType)
		if err == nil && media != "text/html" && media != "application/xhtml+xml" {
			return nil, fmt.Errorf("%w: the server says %s", ErrNotHTML, shorten(media))
		}
	}

	encoding, name, certain := charset.DetermineEncoding(raw, contentType)
	if !certain && utf8.Valid(raw) { // it looks at the start alone
		encoding, name = unicode.UTF8, "utf-8"
	}

	// Every other letter of UTF-16 is a zero, as in what is no text.
	if sniffed := http.DetectContentType(raw); len(raw) > 0 && !strings.HasPrefix(sniffed, "text/") && !strings.HasPrefix(name, "utf-16") {
		return nil, fmt.Errorf("%w: the bytes look like %s", ErrNotHTML, sniffed)
	}

	out, err := encoding.NewDecoder().Bytes(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not in its charset %s: %w", ErrNotHTML, name, err)
	}
	return bytes.TrimPrefix(out, []byte("\uFEFF")), nil
}
