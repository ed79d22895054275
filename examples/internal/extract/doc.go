// Package extract reads typed values out of HTML, and says of each that it could
// not read where it stands.
//
// [Table] reads the rows of a table into structs whose fields are tagged with
// the columns' titles, [List] anything else that repeats, by CSS selectors:
//
//	type lot struct {
//		ID       string   `col:"Lot"`
//		Moisture *float64 `col:"Moisture" unit:"%"` // a pointer may be missing
//	}
//	page, err := extract.Open(res.Body, extract.Source{URL: res.Request.URL, ContentType: res.Header.Get("Content-Type")})
//	…
//	lots, err := extract.Table[lot](page, "table.lots")
//	next := page.Links("a[rel=next]")
//
// [Parse] reads the items of a shop with selectors from the settings. Its
// defaults follow schema.org's microdata (Product, Offer), which most shops
// carry: itemprop name, price, priceCurrency, url and availability.
//
// Several samples use it, so it promises:
//
//   - A page is read in its own charset: that of a byte order mark, the header
//     or a meta element.
//   - Tables are laid out as HTML lays them out, spans included, and the words
//     of two paragraphs do not run together.
//   - A price is right or refused: what can be read in two ways is an error, and
//     the currency is one of ISO 4217, never three letters that happen to stand
//     there.
//
// One bad item never costs the page: what could be read is returned, and for
// each thing that could not an [Error] with the line and column in the page's
// source, the field and the text that stood there. A page that is no HTML or
// holds no item at all gives [ErrNotHTML] or [ErrNoItems]. Nothing is guessed:
// "1,5" is no number, as it may be one and a half or a slip.
package extract
