package extract

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrNotHTML says that a page is something else: an image, JSON, or bytes
	// in an encoding that is not supported.
	ErrNotHTML = errors.New("not an HTML page")
	// ErrNoItems says that a page is HTML, but nothing in it matches the
	// selector of the items, or of the table.
	ErrNoItems = errors.New("no item on the page")
	// ErrMissing says that a field of an item is absent or empty.
	ErrMissing = errors.New("missing")
	// ErrColumn says that a table has no column of a title, or several.
	ErrColumn = errors.New("no such column")
	// ErrValue says that a text is no value of the field's type.
	ErrValue = errors.New("not a value of this kind")
	// ErrFields says that a struct cannot be read from a page as it is tagged:
	// a mistake in the program.
	ErrFields = errors.New("the struct cannot be read from HTML")
	// ErrPrice says that a text is no price.
	ErrPrice = errors.New("not a price")
	// ErrCurrency says that the currency of a price is absent or unknown.
	ErrCurrency = errors.New("no known currency")
	// ErrLink says that a link is no absolute http or https address once
	// resolved.
	ErrLink = errors.New("not a link to an http or https page")
)

// Error is one thing that could not be read, and where.
type Error struct {
	// URL is the page.
	URL string
	// Line and Column, from 1, are where the element begins in the page's
	// source: the item for Parse, the field's own element for List and Table,
	// or the item where that is missing. Zero if the whole page is meant.
	Line, Column int
	// Item is the number of the item on the page, or of the row in the table,
	// from 1; 0 if the page is meant.
	Item int
	// Field is the name of the field: name, price, currency or url for Parse,
	// the selector for List, the column's title for Table. It is empty if the
	// item or page as a whole is meant.
	Field string
	// Text is what stood there, cut to 80 bytes.
	Text string
	// Hint says what to do.
	Hint string
	// Err is the reason; ErrPrice and its neighbours, for errors.Is.
	Err error
}

// Error returns the problem in one line: page, position, field, text, reason
// and hint.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("extract: " + e.URL)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	if e.Item > 0 {
		fmt.Fprintf(&b, ": item %d", e.Item)
	}

	if e.Field != "" {
		b.WriteString(": " + e.Field)
	}
	if e.Text != "" {
		fmt.Fprintf(&b, " %q", e.Text)
	}
	b.WriteString(": " + e.Err.Error())

	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// maxText bounds what of a page's text is repeated in an error.
const maxText = 80

// shorten cuts s to maxText bytes at a rune's border and joins its lines.
func shorten(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " ")
	if len(s) <= maxText {
		return s
	}
	cut := maxText
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}
