package extract

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/PuerkitoBio/goquery"
	"github.com/andybalholm/cascadia"
	"golang.org/x/text/encoding/charmap"
)

// Availability says whether an item can be bought.
type Availability string

// The availabilities that pages are mapped to.
const (
	InStock    Availability = "in_stock"
	OutOfStock Availability = "out_of_stock"
	PreOrder   Availability = "preorder"
	Unknown    Availability = "unknown"
)

// Item is one item of a shop.
type Item struct {
	Name         string       `json:"name"`
	URL          string       `json:"url"` // absolute, without fragment
	Price        Price        `json:"price"`
	Availability Availability `json:"availability"`
	Category     string       `json:"category,omitempty"` // may be empty
}

// Key is the item's identity: its address, without scheme and host where these
// are the page's own. A site that moves to another host keeps its history.
func (it Item) Key(page *url.URL) string {
	u, err := url.Parse(it.URL)
	if err != nil || u.Host != page.Host {
		return it.URL
	}
	return u.RequestURI()
}

// Page is what was read from one page.
type Page struct {
	// Items in the order of the page.
	Items []Item
	// Links are the further pages of the listing on the same host, absolute,
	// without fragment and without repeats.
	Links []string
	// Problems are what could not be read; each is an *Error.
	Problems []error
}

// Selectors are CSS selectors that describe a site's markup. An empty field is
// its default.
type Selectors struct {
	Item         string `koanf:"item" doc:"element of one item; default: schema.org Product"`
	Name         string `koanf:"name" doc:"name, inside the item"`
	Price        string `koanf:"price" doc:"price, inside the item: its content attribute, else its text"`
	Currency     string `koanf:"currency" doc:"currency, inside the item; else it is read from the price"`
	URL          string `koanf:"url" doc:"link to the item, inside the item"`
	Availability string `koanf:"availability" doc:"availability, inside the item"`
	Category     string `koanf:"category" doc:"category, inside the item; may be absent"`
	Pages        string `koanf:"pages" doc:"links to further pages of the listing"`
}

// defaults are the selectors for schema.org's microdata.
var defaults = Selectors{
	Item:         `[itemscope][itemtype$="schema.org/Product"]`,
	Name:         `[itemprop="name"]`,
	Price:        `[itemprop="price"]`,
	Currency:     `[itemprop="priceCurrency"]`,
	URL:          `a[itemprop="url"], link[itemprop="url"], a[href]`,
	Availability: `[itemprop="availability"]`,
	Category:     `[itemprop="category"]`,
	Pages:        `a[rel~="next"], link[rel~="next"], nav.pages a, .pagination a`,
}

func (s Selectors) withDefaults() Selectors {
	for _, f := range []struct {
		field *string
		value string
	}{
		{&s.Item, defaults.Item},
		{&s.Name, defaults.Name},
		{&s.Price, defaults.Price},
		{&s.Currency, defaults.Currency},
		{&s.URL, defaults.URL},
		{&s.Availability, defaults.Availability},
		{&s.Category, defaults.Category},
		{&s.Pages, defaults.Pages},
	} {
		if *f.field == "" {
			*f.field = f.value
		}
	}
	return s
}

// Validate reports every selector that is not valid CSS.
func (s Selectors) Validate() error {
	var errs []error
	for _, f := range []struct{ key, value string }{
		{"item", s.Item},
		{"name", s.Name},
		{"price", s.Price},
		{"currency", s.Currency},
		{"url", s.URL},
		{"availability", s.Availability},
		{"category", s.Category},
		{"pages", s.Pages},
	} {
		if f.value == "" {
			continue
		}
		if _, err := cascadia.ParseGroup(f.value); err != nil {
			errs = append(errs, fmt.Errorf("extract: selector %s %q: %w", f.key, f.value, err))
		}
	}
	return errors.Join(errs...)
}

// Source says where a page came from.
type Source struct {
	// URL is the page's address after redirects; links are resolved against it.
	URL *url.URL
	// ContentType is the response's Content-Type header; "" is taken as HTML.
	ContentType string
}

// Parse reads a page from r. The error is non-nil if nothing could be read at
// all: an *Error that wraps [ErrNotHTML] or [ErrNoItems], or the error of r as
// it came, so that a limit on r stays visible to errors.Is. With ErrNoItems
// the page's links are returned all the same.
func Parse(r io.Reader, src Source, sel Selectors) (Page, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return Page{}, err
	}
	text, err := decode(raw, src.ContentType)
	if err != nil {
		return Page{}, &Error{URL: src.URL.String(), Err: err, Hint: "check the address in site.url and what the server sends there"}
	}
	doc, err := goquery.NewDocumentFromReader(bytes.NewReader(annotate(text)))
	if err != nil {
		return Page{}, &Error{URL: src.URL.String(), Err: fmt.Errorf("%w: %w", ErrNotHTML, err)}
	}
	sel = sel.withDefaults()
	base := src.URL
	if href, ok := doc.Find("base[href]").First().Attr("href"); ok {
		if u, err := src.URL.Parse(strings.TrimSpace(href)); err == nil {
			base = u
		}
	}
	page := Page{Links: links(doc, sel.Pages, base, src.URL.Host)}
	found := doc.Find(sel.Item)
	if found.Length() == 0 {
		return page, &Error{
			URL: src.URL.String(), Text: doc.Find("title").First().Text(), Err: ErrNoItems,
			Hint: "the item selector " + sel.Item + " matches nothing: adapt site.selectors to the page's markup",
		}
	}
	found.Each(func(i int, s *goquery.Selection) {
		item, problems := readItem(s, sel, base)
		line, column := position(s)
		for _, p := range problems {
			p.URL, p.Line, p.Column, p.Item, p.Text = src.URL.String(), line, column, i+1, shorten(p.Text)
			page.Problems = append(page.Problems, p)
		}
		if len(problems) == 0 {
			page.Items = append(page.Items, item)
		}
	})
	return page, nil
}

// readItem reads one item, or says everything that is wrong with it.
func readItem(s *goquery.Selection, sel Selectors, base *url.URL) (Item, []*Error) {
	var problems []*Error
	item := Item{Name: strings.Join(strings.Fields(value(s.Find(sel.Name))), " ")}
	if item.Name == "" {
		problems = append(problems, &Error{Field: "name", Err: ErrMissing})
	}
	price := value(s.Find(sel.Price))
	var err error
	switch item.Price, err = ParsePrice(price, strings.TrimSpace(value(s.Find(sel.Currency)))); {
	case strings.TrimSpace(price) == "":
		problems = append(problems, &Error{Field: "price", Err: ErrMissing})
	case errors.Is(err, ErrCurrency):
		problems = append(problems, &Error{Field: "currency", Text: price, Err: err})
	case err != nil:
		problems = append(problems, &Error{Field: "price", Text: price, Err: err})
	}
	href, ok := s.Find(sel.URL).First().Attr("href")
	if !ok {
		problems = append(problems, &Error{Field: "url", Err: ErrMissing})
	} else if item.URL, err = resolve(base, href); err != nil {
		problems = append(problems, &Error{Field: "url", Text: href, Err: err})
	}
	item.Availability = availability(value(s.Find(sel.Availability)))
	item.Category = strings.Join(strings.Fields(value(s.Find(sel.Category))), " ")
	return item, problems
}

// value returns a field's machine-readable form where the page has one.
func value(s *goquery.Selection) string {
	s = s.First()
	if v, ok := s.Attr("content"); ok {
		return v
	}
	if goquery.NodeName(s) == "link" || goquery.NodeName(s) == "data" {
		return s.AttrOr("href", s.AttrOr("value", ""))
	}
	return s.Text()
}

// availability maps schema.org's ItemAvailability and common words.
func availability(text string) Availability {
	text = strings.ToLower(strings.TrimSpace(text[strings.LastIndexByte(text, '/')+1:]))
	text = strings.NewReplacer(" ", "", "-", "", "_", "").Replace(text)
	switch text {
	case "instock", "instoreonly", "onlineonly", "limitedavailability", "available", "madetoorder":
		return InStock
	case "outofstock", "soldout", "discontinued", "unavailable", "notavailable":
		return OutOfStock
	case "preorder", "presale", "backorder":
		return PreOrder
	default:
		return Unknown
	}
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

// decode returns the page as UTF-8. Windows-1252 stands for ISO-8859-1 too, as
// browsers read it (WHATWG Encoding §4.2).
func decode(raw []byte, contentType string) ([]byte, error) {
	charset := ""
	if contentType != "" {
		media, params, err := mime.ParseMediaType(contentType)
		if err == nil && media != "text/html" && media != "application/xhtml+xml" {
			return nil, fmt.Errorf("%w: the server says %s", ErrNotHTML, shorten(media))
		}
		charset = strings.ToLower(params["charset"])
	}
	if sniffed := http.DetectContentType(raw); len(raw) > 0 && !strings.HasPrefix(sniffed, "text/") {
		return nil, fmt.Errorf("%w: the bytes look like %s", ErrNotHTML, sniffed)
	}
	switch charset {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		raw = bytes.TrimPrefix(raw, []byte("\xEF\xBB\xBF"))
		if utf8.Valid(raw) {
			return raw, nil
		}
		if charset != "" {
			return bytes.ToValidUTF8(raw, []byte("\uFFFD")), nil
		}
		fallthrough
	case "iso-8859-1", "latin1", "windows-1252", "cp1252":
		out, err := charmap.Windows1252.NewDecoder().Bytes(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotHTML, err)
		}
		return out, nil
	default:
		return nil, fmt.Errorf("%w: charset %q is not supported", ErrNotHTML, shorten(charset))
	}
}
