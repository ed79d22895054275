package extract

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/PuerkitoBio/goquery"
	"github.com/andybalholm/cascadia"
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

// Parse reads a page from r. The error is non-nil if nothing could be read at
// all: an *Error that wraps [ErrNotHTML] or [ErrNoItems], or the error of r as
// it came, so that a limit on r stays visible to errors.Is. With ErrNoItems
// the page's links are returned all the same.
func Parse(r io.Reader, src Source, sel Selectors) (Page, error) {
	d, err := Open(r, src)
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok {
			e.Hint = "check the address in site.url and what the server sends there"
		}
		return Page{}, err
	}

	sel = sel.withDefaults()
	page := Page{Links: d.Links(sel.Pages)}
	at := src.URL.Redacted()

	found := d.doc.Find(sel.Item)
	if found.Length() == 0 {
		return page, &Error{
			URL: at, Text: d.doc.Find("title").First().Text(), Err: ErrNoItems,
			Hint: "the item selector " + sel.Item + " matches nothing: adapt site.selectors to the page's markup",
		}
	}

	found.Each(func(i int, s *goquery.Selection) {
		item, problems := readItem(s, sel, d.base)
		line, column := position(s.Get(0))
		for _, p := range problems {
			p.URL, p.Line, p.Column, p.Item, p.Text = at, line, column, i+1, shorten(p.Text)
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
	if s.Length() == 0 {
		return ""
	}
	return nodeText(s.Get(0))
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
