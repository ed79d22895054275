package extract

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/html"
)

// Table reads one T from each row of the first table that selector matches.
// The fields of T carry the tag col, the title of a column, in whatever case;
// the other tags are those of [List]. The titles are the last row of the
// table's head, or the first row where there is no head. Cells that span rows
// or columns count in each. The foot, rows of titles within the body, and
// columns that no field names are left out.
//
// The error is an *Error with [ErrNoItems] if there is no such table, with
// [ErrColumn] if a column is not there or its title stands twice, or wraps
// [ErrFields] if T cannot be read. A table without rows gives none, and no
// error.
func Table[T any](d *Document, selector string) (Result[T], error) {
	fs, err := fields[T]("col")
	if err != nil {
		return Result[T]{}, err
	}

	var table *html.Node
	for _, n := range d.doc.Find(selector).Nodes {
		if n.Data == "table" {
			table = n
			break
		}
	}

	if table == nil {
		return Result[T]{}, d.none(selector)
	}
	titles, body := split(table)

	columns := make(map[string]int, len(fs))
	for _, f := range fs {
		if columns[f.name], err = d.column(table, titles, f.name); err != nil {
			return Result[T]{}, err
		}
	}

	var out Result[T]
	for i, r := range body {
		read(d, &out, fs, r.node, i+1, func(f *field) *html.Node {
			if c := columns[f.name]; c < len(r.cells) {
				return r.cells[c]
			}
			return nil
		})
	}

	return out, nil
}

// column returns the index of the column called title.
func (d *Document) column(table *html.Node, titles []string, title string) (int, error) {
	same := func(s string) bool { return strings.EqualFold(s, title) }
	i := slices.IndexFunc(titles, same)
	if i >= 0 && !slices.ContainsFunc(titles[i+1:], same) {
		return i, nil
	}
	e := &Error{URL: d.url.Redacted(), Field: title, Err: ErrColumn, Hint: "the table has " + shorten(strings.Join(titles, ", "))}
	if i >= 0 {
		e.Hint = "several columns have this title"
	}
	e.Line, e.Column = position(table)
	return 0, e
}

// row is a row with its cells by column; nil where there is none.
type row struct {
	node  *html.Node
	cells []*html.Node
}

// split returns the titles of a table's columns and the rows of its body.
func split(table *html.Node) (titles []string, body []row) {
	var head []row
	for section := range table.ChildNodes() {
		switch section.Data {
		case "thead":
			head = append(head, grid(section)...)
		case "tbody": // the parser makes one where the page has none
			body = append(body, grid(section)...)
		}
	}

	// A row without cells, as templates leave them, titles nothing.
	empty := func(r row) bool { return len(r.cells) == 0 }
	head, body = slices.DeleteFunc(head, empty), slices.DeleteFunc(body, empty)
	if len(head) == 0 && len(body) > 0 {
		head, body = body[:1], body[1:]
	}

	if len(head) > 0 {
		var last *html.Node
		for _, c := range head[len(head)-1].cells {
			if c == nil || c == last {
				titles = append(titles, "") // a title names its first column
				continue
			}
			last = c
			titles = append(titles, title(c))
		}
	}

	body = slices.DeleteFunc(body, func(r row) bool {
		return !slices.ContainsFunc(r.cells, func(c *html.Node) bool { return c != nil && c.Data == "td" })
	})
	return titles, body
}

// title returns the words of a column's title as they are seen: soft hyphens and
// spaces of no width, which only say where a line may end, are left out.
func title(cell *html.Node) string {
	seen := strings.NewReplacer("\u00ad", "", "\u200b", "", "\u2060", "", "\ufeff", "").Replace(nodeText(cell))
	return strings.Join(strings.Fields(seen), " ")
}

// maxColumns is the bound of colspan (HTML §4.9.11). maxSpanned bounds what the
// spans of a section add to its cells: a page of a few bytes could ask for
// billions.
const (
	maxColumns = 1000
	maxSpanned = 1_000_000
)

// hanging is a cell that reaches into the rows below it.
type hanging struct {
	cell *html.Node
	rows int // that it still covers; negative: all
}

// grid lays out the rows of a section as HTML §4.9.12 does.
func grid(section *html.Node) []row {
	var rows []row
	var above []hanging // by column
	spanned := 0
	for tr := range section.ChildNodes() {
		if tr.Data != "tr" {
			continue
		}
		r := row{node: tr}

		hang := func() bool { // takes over a cell from above
			c := len(r.cells)
			if c >= len(above) || above[c].rows == 0 || spanned >= maxSpanned {
				return false
			}
			r.cells = append(r.cells, above[c].cell)
			above[c].rows--
			spanned++
			return true
		}

		for td := range tr.ChildNodes() {
			if td.Data != "td" && td.Data != "th" {
				continue
			}
			for hang() {
			}

			down := span(td, "rowspan") - 1 // rowspan 0 is all that follow
			for i := range min(max(1, span(td, "colspan")), maxColumns) {
				if i > 0 {
					if spanned++; spanned > maxSpanned {
						break
					}
				}
				c := len(r.cells)
				r.cells = append(r.cells, td)
				for len(above) <= c {
					above = append(above, hanging{})
				}
				above[c] = hanging{td, down}
			}
		}

		for i := len(above) - 1; i >= len(r.cells); i-- {
			if above[i].rows == 0 {
				continue
			}
			for len(r.cells) <= i && spanned < maxSpanned {
				if !hang() {
					r.cells = append(r.cells, nil)
					spanned++
				}
			}
			break
		}

		rows = append(rows, r)
	}

	return rows
}

// maxSpan is the bound of rowspan (HTML §4.9.11).
const maxSpan = 65534

// span returns a colspan or rowspan attribute, 1 where there is none, by the
// rules for non-negative integers (HTML §2.3.4.2): the digits at the start count,
// whatever follows them.
func span(n *html.Node, key string) int {
	for _, a := range n.Attr {
		if a.Key != key {
			continue
		}
		digits := strings.TrimPrefix(strings.TrimLeft(a.Val, " \t\n\f\r"), "+")
		if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
			digits = digits[:end]
		}

		v, err := strconv.Atoi(digits)
		switch {
		case err == nil:
			return min(v, maxSpan)
		case digits != "": // more than an int holds
			return maxSpan
		}
	}

	return 1
}
