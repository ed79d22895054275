package extract_test

import (
	"errors"
	"fmt"
	"io"
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
		{"charset", "<p>", "text/html; charset=shift_jis", extract.ErrNotHTML, `charset "shift_jis" is not supported`},
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

func TestParseCharset(t *testing.T) {
	t.Parallel()
	const item = `<li itemscope itemtype="https://schema.org/Product"><a href=/1 itemprop=name>Caf%s</a><b itemprop=price>1 EUR</b></li>`
	for _, tt := range []struct{ name, e, contentType string }{
		{"utf-8", "\u00e9", "text/html; charset=UTF-8"},
		{"byte order mark", "\u00e9", "text/html"},
		{"latin1", "\xe9", "text/html; charset=ISO-8859-1"},
		{"undeclared latin1", "\xe9", "text/html"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			body := fmt.Sprintf(item, tt.e)
			if tt.name == "byte order mark" {
				body = "\xEF\xBB\xBF" + body
			}
			got, err := extract.Parse(strings.NewReader(body), source(t, "https://shop.example/", tt.contentType), extract.Selectors{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Items[0].Name != "Café" {
				t.Errorf("name = %q", got.Items[0].Name)
			}
		})
	}
}

func TestParseKeepsTheReadersError(t *testing.T) {
	t.Parallel()
	limit := errors.New("limit reached")
	r := io.MultiReader(strings.NewReader("<p>"), errReader{limit})
	if _, err := extract.Parse(r, source(t, "https://shop.example/", ""), extract.Selectors{}); !errors.Is(err, limit) {
		t.Errorf("error = %v, want the reader's", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestSelectorsValidate(t *testing.T) {
	t.Parallel()
	if err := (extract.Selectors{}).Validate(); err != nil {
		t.Errorf("zero: %v", err)
	}
	err := extract.Selectors{Item: "li[", Price: "b", Pages: ":nope("}.Validate()
	for _, want := range []string{`selector item "li["`, `selector pages ":nope("`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q in it", err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(shop), "text/html")
	f.Add([]byte("<li itemscope itemtype=schema.org/Product itemprop=price>5"), "")
	f.Add([]byte("<table><a href=x><base href='//'><plaintext>"), "text/html; charset=latin1")
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		page, err := extract.Parse(strings.NewReader(string(body)), source(t, "https://shop.example/a/", contentType), extract.Selectors{})
		if err != nil {
			if !errors.Is(err, extract.ErrNotHTML) && !errors.Is(err, extract.ErrNoItems) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if len(page.Items)+len(page.Problems) == 0 {
			t.Fatal("neither items nor problems nor an error")
		}
		for _, it := range page.Items {
			if it.Name == "" || !strings.HasPrefix(it.URL, "http") || it.Price.Cents < 0 {
				t.Fatalf("bad item %+v", it)
			}
		}
		for _, p := range page.Problems {
			if len(p.Error()) > 4000 {
				t.Fatalf("problem of %d bytes", len(p.Error()))
			}
		}
	})
}

func ExampleParse() {
	const body = `<div itemscope itemtype="https://schema.org/Product">
		<a itemprop="url" href="/kettle"><span itemprop="name">Kettle</span></a> <b itemprop="price">€ 19,90</b></div>`
	u, _ := url.Parse("https://shop.example/")
	page, err := extract.Parse(strings.NewReader(body), extract.Source{URL: u}, extract.Selectors{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, item := range page.Items {
		fmt.Println(item.Name, item.Price, item.URL)
	}
	// Output: Kettle 19.90 EUR https://shop.example/kettle
}
