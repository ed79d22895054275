// Package extract reads items and page links from the HTML of a shop page.
//
//	page, err := extract.Parse(res.Body, extract.Source{URL: res.Request.URL, ContentType: res.Header.Get("Content-Type")}, selectors)
//
// The default selectors follow schema.org's microdata (Product, Offer), which
// most shops carry: itemprop name, price, priceCurrency, url and availability.
// A site with other markup is described by [Selectors] in the settings.
//
// One bad item never costs the page: Parse returns what it could read, and in
// Page.Problems an [Error] for each thing that it could not, with the line and
// column in the page's source, the field and the text that stood there. A page
// that is no HTML or holds no item at all gives [ErrNotHTML] or [ErrNoItems].
package extract
