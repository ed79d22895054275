package extract_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
)

func source(t testing.TB, address, contentType string) extract.Source {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return extract.Source{URL: u, ContentType: contentType}
}

const shop = `<!doctype html>
<html><head><title>Shop</title></head><body>
<ul>
<li itemscope itemtype="https://schema.org/Product">
  <a itemprop="url" href="/item/1#top"><span itemprop="name">Blue
     kettle</span></a>
  <span itemprop="offers" itemscope itemtype="https://schema.org/Offer">
    <meta itemprop="price" content="19.90"><meta itemprop="priceCurrency" content="EUR">
    <link itemprop="availability" href="https://schema.org/InStock">
  </span>
  <meta itemprop="category" content="Kitchen">
</li>
<li itemscope itemtype="http://schema.org/Product">
  <a href="item/2"><b itemprop="name">Mug &amp; saucer</b></a>
  <b itemprop="price">€ 1.299,00</b> <i itemprop="availability">Sold out</i>
</li>
</ul>
<nav class="pages"><a href="?page=1">1</a> <a href="?page=2">2</a> <a rel="next" href="?page=2#x">next</a>
<a href="https://elsewhere.example/?page=3">ad</a> <a href="mailto:a@b.example">mail</a> <a>none</a></nav>
</body></html>`

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := extract.Parse(strings.NewReader(shop), source(t, "https://shop.example/list/", "text/html; charset=utf-8"), extract.Selectors{})
	if err != nil {
		t.Fatal(err)
	}
	want := extract.Page{
		Items: []extract.Item{
			{
				Name: "Blue kettle", URL: "https://shop.example/item/1",
				Price: extract.Price{Cents: 1990, Currency: "EUR"}, Availability: extract.InStock, Category: "Kitchen",
			},
			{
				Name: "Mug & saucer", URL: "https://shop.example/list/item/2",
				Price: extract.Price{Cents: 129900, Currency: "EUR"}, Availability: extract.OutOfStock,
			},
		},
		Links: []string{"https://shop.example/list/?page=1", "https://shop.example/list/?page=2"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

func TestParseCustomSelectorsAndBase(t *testing.T) {
	t.Parallel()
	const page = `<base href="https://cdn.shop.example/a/"><article class=p><h3><a href=x>X</a></h3><p class=price>$5</p></article><a class=more href="/p2">more</a>`
	got, err := extract.Parse(strings.NewReader(page), source(t, "https://shop.example/", ""), extract.Selectors{
		Item: "article.p", Name: "h3", Price: ".price", Pages: "a.more",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := extract.Page{Items: []extract.Item{{
		Name: "X", URL: "https://cdn.shop.example/a/x",
		Price: extract.Price{Cents: 500, Currency: "USD"}, Availability: extract.Unknown,
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

func TestParseProblemsKeepTheRest(t *testing.T) {
	t.Parallel()
	const page = "<ul>\n" +
		`  <li itemscope itemtype="https://schema.org/Product"><a href=/1 itemprop=name>One</a> <b itemprop=price>call us</b></li>` + "\n" +
		`  <li itemscope itemtype="https://schema.org/Product"><a href=/2 itemprop=name>Two</a> <b itemprop=price>2 EUR</b></li>` + "\n" +
		`<li itemscope itemtype="https://schema.org/Product"><a href="javascript:x" itemprop=name></a></li>` + "\n" +
		`<li itemscope itemtype="https://schema.org/Product"><a href=/4 itemprop=name>Four</a> <b itemprop=price>4</b></li>` + "\n</ul>"
	got, err := extract.Parse(strings.NewReader(page), source(t, "https://shop.example/", "text/html"), extract.Selectors{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Items) != 1 || got.Items[0].Name != "Two" {
		t.Errorf("items = %+v, want Two alone", got.Items)
	}
	var texts []string
	for _, p := range got.Problems {
		if _, ok := errors.AsType[*extract.Error](p); !ok {
			t.Errorf("problem %v is no *extract.Error", p)
		}
		texts = append(texts, p.Error())
	}
	want := []string{
		`extract: https://shop.example/:2:3: item 1: price "call us": not a price: no digits`,
		`extract: https://shop.example/:4:1: item 3: name: missing`,
		`extract: https://shop.example/:4:1: item 3: price: missing`,
		`extract: https://shop.example/:4:1: item 3: url "javascript:x": not a link to an http or https page`,
		`extract: https://shop.example/:5:1: item 4: currency "4": no known currency`,
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestParseGarbage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body, contentType string
		err                     error
		text                    string
	}{
		{"empty", "", "text/html", extract.ErrNoItems, "matches nothing"},
		{"no items", "<title>Maintenance</title><p>back soon", "text/html", extract.ErrNoItems, `"Maintenance"`},
		{"json", `{"a":1}`, "application/json", extract.ErrNotHTML, "the server says application/json"},
		{"png", "\x89PNG\r\n\x1a\n\x00\x00", "", extract.ErrNotHTML, "image/png"},
		{"binary called html", "\x00\x01\x02\xff\xfe" + strings.Repeat("\x00", 600), "text/html", extract.ErrNotHTML, "octet-stream"},
		{"too deep", strings.Repeat("<div>", 10_000), "text/html", extract.ErrNotHTML, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := extract.Parse(strings.NewReader(tt.body), source(t, "https://shop.example/", tt.contentType), extract.Selectors{})
			if !errors.Is(err, tt.err) || !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Errorf("error = %v, want %v with %q", err, tt.err, tt.text)
			}
			if _, ok := errors.AsType[*extract.Error](err); !ok {
				t.Errorf("error is a %T, want *extract.Error", err)
			}
		})
	}
}

// The charset is that of a byte order mark, the header, a meta element, or what
// the bytes are.
func TestCharset(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, contentType, body, want string }{
		{"header", "text/html; charset=UTF-8", "<p>Caf\u00e9", "Café"},
		{"quoted", `text/html; charset="utf-8"`, "<p>Caf\u00e9", "Café"},
		{"byte order mark", "text/html", "\xEF\xBB\xBF<p>Caf\u00e9", "Café"},
		{"latin1 is Windows-1252", "text/html; charset=ISO-8859-1", "<p>Caf\xe9 \x80", "Café €"},
		{"nothing, latin1", "text/html", "<p>Caf\xe9", "Café"},
		{"nothing, UTF-8 far behind", "text/html", "<p>" + strings.Repeat(" ", 5000) + "Caf\u00e9", "Café"},
		{"an unknown name", "text/html; charset=x-none", "<p>Caf\u00e9", "Café"},
		{"shift_jis", "text/html; charset=shift_jis", "<p>\x82\xa0", "あ"},
		{"gbk", "text/html; charset=gbk", "<p>\xc4\xe3", "你"},
		{"8859-15", "text/html; charset=iso-8859-15", "<p>\xa4", "€"},
		{"1251", "text/html; charset=windows-1251", "<p>\xcf\xf0\xe8", "При"},
		{"meta", "text/html", "<meta charset=windows-1251><p>\xcf\xf0\xe8", "При"},
		{"meta of the old form", "", `<meta http-equiv=Content-Type content="text/html; charset=shift_jis"><p>` + "\x82\xa0", "あ"},
		{"the header before meta", "text/html; charset=utf-8", "<meta charset=windows-1251><p>Caf\u00e9", "Café"},
		{"a byte order mark before the header", "text/html; charset=windows-1251", "\xEF\xBB\xBF<p>Caf\u00e9", "Café"},
		{"utf-16", "text/html; charset=utf-16", "\xff\xfe<\x00p\x00>\x00\xe9\x00", "é"},
		{"utf-16 by its mark", "text/html", "\xfe\xff\x00<\x00p\x00>\x00\xe9", "é"},
		{"broken", "text/html; charset=utf-8", "<p>Caf\xe9", "Caf\uFFFD"},
		{"a mark for each broken byte", "text/html; charset=utf-8", "<p>Caf\xe9\xf6", "Caf\uFFFD\uFFFD"},
		{"empty", "text/html; charset=utf-8", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := extract.Open(strings.NewReader(tt.body), source(t, "https://shop.example/", tt.contentType))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(d.Find("body").Text()); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
