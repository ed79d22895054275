// Package text reads pages as UTF-8, whatever they are written in. Parsers of
// HTML expect UTF-8 and show anything else as nonsense:
//
//	res, err := c.Get(ctx, address)
//	…
//	page, err := text.Reader(res)
//	…
//	doc, err := goquery.NewDocumentFromReader(page)
//
// It is a package of its own because the tables of all encodings are large.
package text

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/net/html/charset"
)

// Reader returns the body of an answer in UTF-8. The encoding is that of a byte
// order mark, else of the header, else of the meta element in the first 1,024
// bytes; a page that says nothing is UTF-8 if it can be, else windows-1252, as
// in browsers. A name of no known encoding counts as none. The caller still
// closes res.Body. An empty body gives an empty reader; errors are those of the
// body.
func Reader(res *http.Response) (io.Reader, error) {
	r, err := charset.NewReader(res.Body, res.Header.Get("Content-Type"))
	if errors.Is(err, io.EOF) {
		return http.NoBody, nil
	}
	if err != nil {
		return nil, fmt.Errorf("text: %w", err)
	}

	// The mark tells the encoding and is no part of the page.
	page := bufio.NewReader(r)
	if mark, _ := page.Peek(3); string(mark) == "\ufeff" {
		_, _ = page.Discard(3) // it was peeked at
	}
	return page, nil
}

// String returns the whole body of an answer in UTF-8, and closes it.
func String(res *http.Response) (string, error) {
	defer func() { _ = res.Body.Close() }() // what counts was read
	r, err := Reader(res)
	if err != nil {
		return "", err
	}
	page, err := io.ReadAll(r)
	if err != nil {
		return "", fmt.Errorf("text: %w", err)
	}
	return string(page), nil
}
