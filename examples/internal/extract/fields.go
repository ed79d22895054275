package extract

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/PuerkitoBio/goquery"
	"github.com/andybalholm/cascadia"
	"golang.org/x/net/html"
)

// Result is what was read from one page.
type Result[T any] struct {
	// Items are those that could be read as a whole, in the order of the page.
	Items []T
	// Problems are what could not be read; each is an *Error.
	Problems []error
}

// field is how one field of a struct is read.
type field struct {
	index  []int
	name   string          // the column's title, or the selector
	match  goquery.Matcher // nil: the element itself, or a table's cell
	attr   string          // "": the text
	layout string          // of a time
	unit   string          // cut off before the value is read
	typ    reflect.Type    // without the pointer
	opt    bool            // a pointer: may be missing
}

var (
	timeType = reflect.TypeFor[time.Time]()
	unmarsh  = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// fields returns how the fields of T that carry the tag are read.
func fields[T any](tag string) ([]field, error) {
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("extract: %v: %w: it is no struct", t, ErrFields)
	}

	var out []field
	for _, sf := range reflect.VisibleFields(t) {
		name, ok := sf.Tag.Lookup(tag)
		if !ok {
			continue
		}
		f := field{
			index: sf.Index, name: name, typ: sf.Type,
			attr: sf.Tag.Get("attr"), layout: sf.Tag.Get("layout"), unit: sf.Tag.Get("unit"),
		}

		fail := func(why string) error {
			return fmt.Errorf("extract: %v.%s: %w: %s", t, sf.Name, ErrFields, why)
		}
		if !sf.IsExported() {
			return nil, fail("the field is not exported")
		}
		if f.opt = f.typ.Kind() == reflect.Pointer; f.opt {
			f.typ = f.typ.Elem()
		}

		switch {
		case f.typ == timeType && f.layout == "":
			return nil, fail(`a time needs a layout, such as layout:"2006-01-02"`)
		case f.typ != timeType && !reflect.PointerTo(f.typ).Implements(unmarsh) && !readable(f.typ.Kind()):
			return nil, fail("its type cannot be read from text; give it an UnmarshalText method")
		}

		if tag == "css" && name != "." {
			m, err := cascadia.Compile(name)
			if err != nil {
				return nil, fail(err.Error())
			}
			f.match = m
		}

		out = append(out, f)
	}

	if len(out) == 0 {
		return nil, fmt.Errorf("extract: %v: %w: no field has the tag %s", t, ErrFields, tag)
	}
	return out, nil
}

func readable(k reflect.Kind) bool {
	switch k {
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	default:
		return false
	}
}

// text returns what the field's element n says, and whether it is there at
// all.
func (d *Document) text(f *field, n *html.Node) (string, bool) {
	if f.attr == "" {
		return missing(nodeText(n))
	}
	for m := range withDescendants(n) {
		for _, a := range m.Attr {
			if a.Key == f.attr && a.Namespace == "" {
				return missing(a.Val)
			}
		}
	}
	return "", false
}

// withDescendants yields n and the elements in it.
func withDescendants(n *html.Node) func(yield func(*html.Node) bool) {
	return func(yield func(*html.Node) bool) {
		if !yield(n) {
			return
		}
		for m := range n.Descendants() {
			if m.Type == html.ElementNode && !yield(m) {
				return
			}
		}
	}
}

// missing returns s without the space around it, and false if it stands for
// nothing.
func missing(s string) (string, bool) {
	s = strings.Join(strings.Fields(s), " ")
	switch strings.ToLower(s) {
	case "", "-", "–", "—", "n/a", "na":
		return "", false
	}
	return s, true
}

// blocks are elements that begin and end a line: the words of two of them never
// run together.
var blocks = map[string]bool{
	"address": true, "article": true, "aside": true, "blockquote": true, "br": true, "caption": true, "dd": true, "details": true,
	"div": true, "dl": true, "dt": true, "fieldset": true, "figcaption": true, "figure": true, "footer": true, "form": true,
	"h1": true, "h2": true, "h3": true, "h4": true, "h5": true, "h6": true, "header": true, "hr": true, "legend": true, "li": true,
	"main": true, "nav": true, "ol": true, "option": true, "p": true, "pre": true, "section": true, "summary": true, "table": true,
	"tbody": true, "td": true, "tfoot": true, "th": true, "thead": true, "tr": true, "ul": true,
}

// nodeText returns the text in n, without scripts and styles, with a space
// between blocks.
func nodeText(n *html.Node) string {
	var b strings.Builder
	var walk func(*html.Node)

	walk = func(n *html.Node) {
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			switch {
			case c.Type == html.TextNode:
				b.WriteString(c.Data)
			case c.Type != html.ElementNode || c.Data == "script" || c.Data == "style" || c.Data == "template":
			case blocks[c.Data]:
				b.WriteByte(' ')
				walk(c)
				b.WriteByte(' ')
			default:
				walk(c)
			}
		}
	}

	walk(n)
	return b.String()
}

// set reads text into the field of item.
func (d *Document) set(item reflect.Value, f *field, text string) *Error {
	v := reflect.New(f.typ).Elem()
	if err := d.parse(v, f, text); err != nil {
		err.Text, err.Field = text, f.name
		return err
	}
	at := item.FieldByIndex(f.index)
	if f.opt {
		at.Set(v.Addr())
	} else {
		at.Set(v)
	}
	return nil
}

func (d *Document) parse(v reflect.Value, f *field, text string) *Error {
	if f.unit != "" {
		bare, ok := cutUnit(text, f.unit)
		if !ok {
			return &Error{Err: fmt.Errorf("%w: the unit is not %s", ErrValue, f.unit)}
		}
		text = bare
	}

	if f.typ == timeType {
		at, err := time.Parse(f.layout, text)
		if err != nil {
			return &Error{Err: fmt.Errorf("%w: not a time of the form %s", ErrValue, f.layout)}
		}
		v.Set(reflect.ValueOf(at))
		return nil
	}

	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(text)); err != nil {
			return &Error{Err: fmt.Errorf("%w: %w", ErrValue, err)}
		}
		return nil
	}

	switch k := v.Kind(); k {
	case reflect.String:
		if f.attr == "href" || f.attr == "src" {
			link, err := resolve(d.base, text)
			if err != nil {
				return &Error{Err: err}
			}
			text = link
		}
		v.SetString(text)
	case reflect.Bool:
		switch strings.ToLower(text) {
		case "yes", "true", "1", "✓", "✔":
			v.SetBool(true)
		case "no", "false", "0", "✗", "✘":
		default:
			return &Error{Err: fmt.Errorf("%w: neither yes nor no", ErrValue)}
		}
	case reflect.Float32, reflect.Float64:
		n, err := strconv.ParseFloat(number(text), v.Type().Bits())
		if err != nil {
			return &Error{Err: fmt.Errorf("%w: not a number", ErrValue), Hint: decimalHint(text)}
		}
		v.SetFloat(n)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(number(text), 10, v.Type().Bits())
		if err != nil {
			return &Error{Err: fmt.Errorf("%w: not a whole number of %d bits", ErrValue, v.Type().Bits())}
		}
		v.SetInt(n)
	default: // readable has no other
		n, err := strconv.ParseUint(number(text), 10, v.Type().Bits())
		if err != nil {
			return &Error{Err: fmt.Errorf("%w: not a whole number of %d bits, 0 or more", ErrValue, v.Type().Bits())}
		}
		v.SetUint(n)
	}

	return nil
}

// cutUnit removes unit before or behind the value.
func cutUnit(text, unit string) (string, bool) {
	for _, cut := range []func(string, string) (string, bool){strings.CutSuffix, strings.CutPrefix} {
		if bare, ok := cut(text, unit); ok {
			return strings.TrimSpace(bare), true
		}
	}
	return text, false
}

var (
	plain   = regexp.MustCompile(`^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$`)
	grouped = regexp.MustCompile(`^[+-]?[0-9]{1,3}([ ,'’\x{a0}\x{202f}][0-9]{3})+(\.[0-9]+)?$`)
	groups  = strings.NewReplacer(" ", "", ",", "", "'", "", "’", "", "\u00a0", "", "\u202f", "")
	minuses = strings.NewReplacer("−", "-")
)

// number returns text as strconv reads it, and "" where it is no number for
// sure: "1,5" may be one and a half or a slip, so it is an error and no guess.
func number(text string) string {
	text = minuses.Replace(text)
	switch {
	case plain.MatchString(text):
		return text
	case grouped.MatchString(text):
		return groups.Replace(text)
	default:
		return ""
	}
}

func decimalHint(text string) string {
	if strings.Contains(text, ",") {
		return "a decimal point is expected, with groups of three digits before it"
	}
	return ""
}
