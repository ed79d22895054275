// Package rows writes structs to CSV and JSON Lines, and reads them back.
//
// The columns are the exported fields of a struct in their order, called as
// their json tags say. Fields are strings, booleans, numbers, times and
// whatever else is a text by encoding.TextMarshaler; a nil pointer is an empty
// cell in CSV and null in JSON.
//
// What is written is read back equal, or it is not written: a value that CSV or
// JSON cannot hold is an error that wraps [ErrLossy]. A text in CSV that a
// spreadsheet would take for a formula has an apostrophe in front, which reading
// takes away again.
package rows

import (
	"bufio"
	"encoding"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error is what could not be read, and where.
type Error struct {
	Line   int    // from 1; 0: the file as a whole
	Column string // the column's name; "": the line as a whole
	Text   string // what stood there
	Err    error
}

// Error returns line, column, text and cause on one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("rows: ")
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Column != "" {
		b.WriteString(e.Column + ": ")
	}
	if e.Text != "" {
		fmt.Fprintf(&b, "%.80q: ", e.Text)
	}
	return b.String() + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

var (
	// ErrColumns says that the columns of a file are not those of the struct.
	ErrColumns = errors.New("the columns are not those expected")
	// ErrLossy says that a value would not come back as it is.
	ErrLossy = errors.New("would not be read back as it is")
	// ErrFormat says that a file's name ends neither in .csv nor in .jsonl.
	ErrFormat = errors.New("neither .csv nor .jsonl")
)

// column is a field of a struct.
type column struct {
	name  string
	index []int
}

// columns returns the columns of T, which is a struct.
func columns[T any]() []column {
	var out []column
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && !f.Anonymous && name != "-" {
			if name == "" {
				name = f.Name
			}
			out = append(out, column{name, f.Index})
		}
	}
	return out
}

// WriteCSV writes a line with the columns' names and one for each item
// (RFC 4180).
func WriteCSV[T any](w io.Writer, items []T) error {
	cols, err := unique(columns[T]())
	if err != nil {
		return err
	}

	out := csv.NewWriter(w)
	record := make([]string, len(cols))
	for i, c := range cols {
		record[i] = c.name
	}
	if err := out.Write(record); err != nil {
		return err
	}

	for n := range items {
		v := reflect.ValueOf(&items[n]).Elem()
		for i, c := range cols {
			if record[i], err = cell(v, c); err != nil {
				return fmt.Errorf("rows: item %d: %s: %w", n+1, c.name, err)
			}
		}

		if len(record) == 1 && record[0] == "" {
			// A line without anything would be no row.
			out.Flush()
			if _, err := io.WriteString(w, "\"\"\n"); err != nil {
				return err
			}
			continue
		}
		if err := out.Write(record); err != nil {
			return err
		}
	}

	out.Flush()
	return out.Error()
}

// unique returns cols, or an error if two have one name.
func unique(cols []column) ([]column, error) {
	for i, c := range cols {
		if slices.ContainsFunc(cols[:i], func(b column) bool { return b.name == c.name }) {
			return nil, fmt.Errorf("rows: two columns are called %s: %w", c.name, ErrLossy)
		}
	}
	return cols, nil
}

// cell returns what stands in the column of an item, as it is read back.
func cell(item reflect.Value, c column) (string, error) {
	v, err := item.FieldByIndexErr(c.index)
	if err != nil {
		return "", err
	}

	text, err := format(v)
	switch {
	case err != nil:
		return "", err
	case v.Kind() == reflect.Pointer && !v.IsNil() && text == "":
		return "", fmt.Errorf("a pointer to an empty text is that of nothing: %w", ErrLossy)
	case strings.Contains(text, "\r\n"):
		return "", fmt.Errorf("a line end of CR and LF becomes LF: %w", ErrLossy)
	case isText(v.Type()):
		text = guard(text)
	}

	return text, nil
}

// isText reports whether values of a type are written as they are: a number
// such as -5 is no formula.
func isText(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.String || t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler)
}

var marshaler = reflect.TypeFor[encoding.TextMarshaler]()

// formula has the signs that make a formula of a cell, also in their wide forms.
const formula = "=+-@\t\r\n＝＋－＠"

// guard puts an apostrophe before a text that a spreadsheet would calculate.
func guard(text string) string {
	if r, _ := utf8.DecodeRuneInString(text); text != "" && strings.ContainsRune(formula+"'", r) {
		return "'" + text
	}
	return text
}

// unguard takes away what guard put there, and no other apostrophe.
func unguard(text string) string {
	bare, ok := strings.CutPrefix(text, "'")
	if r, _ := utf8.DecodeRuneInString(bare); ok && bare != "" && strings.ContainsRune(formula+"'", r) {
		return bare
	}
	return text
}

// WriteJSONLines writes one JSON object for each item, each on a line.
func WriteJSONLines[T any](w io.Writer, items []T) error {
	cols, err := unique(columns[T]())
	if err != nil {
		return err
	}

	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)

	for n := range items {
		v := reflect.ValueOf(&items[n]).Elem()
		for _, c := range cols {
			field, err := v.FieldByIndexErr(c.index)
			if err == nil && field.Kind() == reflect.Pointer {
				field = field.Elem()
			}
			if err == nil && field.Kind() == reflect.String && !utf8.ValidString(field.String()) {
				return fmt.Errorf("rows: item %d: %s: it is not UTF-8, as JSON must be: %w", n+1, c.name, ErrLossy)
			}
		}
		if err := enc.Encode(&items[n]); err != nil {
			return fmt.Errorf("rows: item %d: %w", n+1, err)
		}
	}

	return b.Flush()
}

// ReadFile reads a file by the end of its name, .csv or .jsonl.
func ReadFile[T any](path string) ([]T, error) {
	read := ReadCSV[T]
	switch filepath.Ext(path) {
	case ".csv":
	case ".jsonl":
		read = ReadJSONLines[T]
	default:
		return nil, fmt.Errorf("%s: %w", path, ErrFormat)
	}

	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	items, err := read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return items, nil
}

// ReadCSV reads what WriteCSV writes. The columns may come in any order, but
// must be those of T. Errors are *Error, the first one ends the reading.
func ReadCSV[T any](r io.Reader) ([]T, error) {
	in := csv.NewReader(r)
	in.ReuseRecord = true
	head, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, &Error{Err: fmt.Errorf("%w: the file is empty", ErrColumns)}
	}
	if err != nil {
		return nil, &Error{Line: 1, Err: err}
	}

	order, err := match(columns[T](), head)
	if err != nil {
		return nil, err
	}

	var items []T
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			return items, nil
		}

		if err != nil {
			line := 0
			if e, ok := errors.AsType[*csv.ParseError](err); ok {
				line, err = e.Line, e.Err
			}
			return nil, &Error{Line: line, Err: err}
		}

		var item T
		v := reflect.ValueOf(&item).Elem()
		for i, c := range order {
			field, err := v.FieldByIndexErr(c.index)
			if err != nil {
				return nil, &Error{Column: c.name, Err: err}
			}
			if isText(field.Type()) {
				record[i] = unguard(record[i])
			}
			if err := parse(field, record[i]); err != nil {
				line, _ := in.FieldPos(i)
				return nil, &Error{Line: line, Column: c.name, Text: record[i], Err: err}
			}
		}

		items = append(items, item)
	}
}

// match returns cols in the order of the names in head.
func match(cols []column, head []string) ([]column, error) {
	left := slices.Clone(cols)
	var order []column
	head[0] = strings.TrimPrefix(head[0], "\uFEFF") // spreadsheets put one there

	for _, name := range head {
		i := slices.IndexFunc(left, func(c column) bool { return c.name == name })
		if i < 0 {
			return nil, &Error{Line: 1, Column: name, Err: fmt.Errorf("%w: unknown, or there twice; known are %s", ErrColumns, names(cols))}
		}
		order = append(order, left[i])
		left = slices.Delete(left, i, i+1)
	}

	if len(left) > 0 {
		return nil, &Error{Line: 1, Err: fmt.Errorf("%w: without %s", ErrColumns, names(left))}
	}
	return order, nil
}

func names(cols []column) string {
	var out []string
	for _, c := range cols {
		out = append(out, c.name)
	}
	return strings.Join(out, ", ")
}

// ReadJSONLines reads what WriteJSONLines writes. Empty lines are left out,
// unknown keys are errors. Errors are *Error, the first one ends the reading.
func ReadJSONLines[T any](r io.Reader) ([]T, error) {
	var items []T
	in := bufio.NewReader(r)
	for line := 1; ; line++ {
		text, err := in.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, &Error{Line: line, Err: err}
		}

		if text = strings.TrimSpace(text); text != "" {
			var item T
			dec := json.NewDecoder(strings.NewReader(text))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&item); err != nil {
				return nil, &Error{Line: line, Text: text, Err: err}
			}
			if dec.More() {
				return nil, &Error{Line: line, Text: text, Err: errors.New("more than one value on the line")}
			}
			items = append(items, item)
		}

		if err != nil {
			return items, nil
		}
	}
}

// format returns v as the text of a cell.
func format(v reflect.Value) (string, error) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "", nil
		}
		v = v.Elem()
	}

	if m, ok := v.Addr().Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		return string(text), err
	}

	switch v.Kind() {
	case reflect.String:
		return v.String(), nil
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), nil
	case reflect.Float32, reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10), nil
	default:
		return "", fmt.Errorf("a %v is no cell: give it MarshalText and UnmarshalText", v.Type())
	}
}

// parse sets v from the text of a cell.
func parse(v reflect.Value, text string) error {
	if v.Kind() == reflect.Pointer {
		if text == "" {
			return nil
		}
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}

	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}

	var err error
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(text)
		v.SetBool(b)
	case reflect.Float32, reflect.Float64:
		var f float64
		f, err = strconv.ParseFloat(text, v.Type().Bits())
		v.SetFloat(f)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var n int64
		n, err = strconv.ParseInt(text, 10, v.Type().Bits())
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		var n uint64
		n, err = strconv.ParseUint(text, 10, v.Type().Bits())
		v.SetUint(n)
	default:
		return fmt.Errorf("a %v is no cell: give it MarshalText and UnmarshalText", v.Type())
	}

	if e, ok := errors.AsType[*strconv.NumError](err); ok {
		return fmt.Errorf("not a %v: %w", v.Type(), e.Err)
	}
	return err
}
