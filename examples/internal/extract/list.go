package extract

import (
	"reflect"

	"golang.org/x/net/html"
)

// List reads one T from each element that selector matches. The fields of T
// carry the tag css, a selector within the element whose first match is read,
// or "." for the element itself; and may carry
//
//	attr:"href"          read this attribute of the match, or of the first element
//	                     in it that has it; href and src become absolute
//	unit:"kg"            must stand before or behind the value
//	layout:"2006-01-02"  for a time.Time
//
// Strings, booleans (yes, no), numbers, time.Time and whatever has an
// UnmarshalText method can be read. An element that is absent, empty, a dash or
// "n/a" makes a pointer nil, and is [ErrMissing] for everything else.
//
// The error is an *Error with [ErrNoItems] if nothing matches, or wraps
// [ErrFields] if T cannot be read.
func List[T any](d *Document, selector string) (Result[T], error) {
	fs, err := fields[T]("css")
	if err != nil {
		return Result[T]{}, err
	}
	found := d.doc.Find(selector)
	if found.Length() == 0 {
		return Result[T]{}, d.none(selector)
	}

	var out Result[T]
	for i, n := range found.Nodes {
		read(d, &out, fs, n, i+1, func(f *field) *html.Node {
			if f.match == nil {
				return n
			}
			if at := found.Eq(i).FindMatcher(f.match); at.Length() > 0 {
				return at.Get(0)
			}
			return nil
		})
	}

	return out, nil
}

// none says that nothing matches selector.
func (d *Document) none(selector string) error {
	return &Error{
		URL: d.url.Redacted(), Text: shorten(d.doc.Find("title").First().Text()), Err: ErrNoItems,
		Hint: "the selector " + selector + " matches nothing: adapt it to the page's markup",
	}
}

// read reads one item, whose element is at n, and the field's element is what
// find returns.
func read[T any](d *Document, out *Result[T], fs []field, n *html.Node, number int, find func(*field) *html.Node) {
	var item T
	v := reflect.ValueOf(&item).Elem()

	ok := true
	for i := range fs {
		f := &fs[i]
		at, text, there := find(f), "", false
		if at != nil {
			text, there = d.text(f, at)
		}

		var e *Error
		switch {
		case there:
			e = d.set(v, f, text)
		case !f.opt:
			e = &Error{Field: f.name, Err: ErrMissing}
		}
		if e == nil {
			continue
		}

		ok = false
		if at == nil {
			at = n
		}
		e.URL, e.Item, e.Text = d.url.Redacted(), number, shorten(e.Text)
		e.Line, e.Column = position(at)
		out.Problems = append(out.Problems, e)
	}

	if ok {
		out.Items = append(out.Items, item)
	}
}
