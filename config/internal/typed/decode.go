package typed

import (
	"encoding"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
)

// Kind says what is wrong with a value.
type Kind uint8

const (
	WrongType  Kind = iota // the type cannot hold it
	OutOfRange             // min, max or oneof excludes it
	Unknown                // no field has the key
	Missing                // required and not there
)

// Mistake is a value that does not fit its key.
type Mistake struct {
	Kind  Kind
	Key   string
	Node  *doc.Node // what does not fit, or what holds it
	Name  doc.Name  // its name, of an unknown key
	Shape *Shape    // what is read there; nil for an unknown key
	// got is what was read, quoted, where it is not the node's text.
	Got        string
	Want, Hint string
	Cause      error // what the type itself said, which may repeat the text
}

// Decoder sets Go values from nodes and collects what does not fit.
type Decoder struct {
	// lenient makes warnings of unknown keys.
	Lenient bool
	// fromText reports a node whose text may stand for a list or a map.
	FromText func(*doc.Node) bool

	// Mistakes and Warnings are those that are kept, of each at most maxKept with
	// unknown keys and as many others.
	Mistakes, Warnings []Mistake
	// MoreMistakes and MoreWarnings count the rest.
	MoreMistakes, MoreWarnings int

	unknown, others int // that are kept

	section *doc.Node // whose names were last looked at, and what that said
	known   bool
}

// maxKept bounds what is kept of one kind: a file of another program may hold
// hundreds of thousands of keys, and nobody reads on after the first hundred.
const maxKept = 1000

// note keeps a mistake, or counts it.
func (d *Decoder) note(m Mistake) {
	if d.others >= maxKept {
		d.MoreMistakes++
		return
	}
	d.others++
	d.Mistakes = append(d.Mistakes, m)
}

// mistakes counts all of them.
func (d *Decoder) mistakes() int { return len(d.Mistakes) + d.MoreMistakes }

// Wrong reports a value that does not fit its key.
func (d *Decoder) Wrong(n *doc.Node, s *Shape, key, want, hint string) {
	d.note(Mistake{Node: n, Shape: s, Key: key, Want: want, Hint: hint})
}

// Value sets rv, of shape s, from n. It reports whether it could.
func (d *Decoder) Value(rv reflect.Value, s *Shape, n *doc.Node, key string) bool {
	if s.Code == Pointer {
		if n.Kind == doc.Null {
			rv.SetZero()
			return true
		}
		if rv.IsNil() || s.Elem.Code == Text { // text types are shared between copies
			rv.Set(reflect.New(s.Elem.Type))
		}
		return d.Value(rv.Elem(), s.Elem, n, key)
	}

	switch s.Code {
	case Slice, Array, Map, Any, Struct:
		return d.composite(rv, s, n, key)
	}

	switch n.Kind {
	case doc.Null:
		if s.Nullable() {
			rv.SetZero()
		}
		return true // else the value stays, as below
	case doc.Text:
		want, hint, cause := setText(rv, s, n.Text)
		if want != "" {
			d.note(Mistake{Node: n, Shape: s, Key: key, Want: want, Hint: hint, Cause: cause})
		}
		return want == ""
	}

	d.Wrong(n, s, key, s.Describe(), "")
	return false
}

func (d *Decoder) composite(rv reflect.Value, s *Shape, n *doc.Node, key string) bool {
	if n.Kind == doc.Text && s.Code != Any && d.FromText != nil && d.FromText(n) {
		expanded, err := Expand(n, s)
		if err != nil {
			d.Wrong(n, s, key, s.Describe(), err.Error())
			return false
		}
		n = expanded
	}

	if n.Kind == doc.Null {
		if s.Code == Slice || s.Code == Map || s.Code == Any {
			rv.SetZero()
		}
		return true
	}

	switch s.Code {
	case Slice, Array:
		return d.list(rv, s, n, key)
	case Map:
		if n.Kind != doc.Map {
			break
		}
		return d.mapping(rv, s, n, key)
	case Struct:
		if n.Kind != doc.Map {
			break
		}
		return d.structure(rv, s, n, key)
	case Any:
		rv.Set(reflect.ValueOf(n.Any()))
		return true
	}

	d.Wrong(n, s, key, s.Describe(), "")
	return false
}

func (d *Decoder) list(rv reflect.Value, s *Shape, n *doc.Node, key string) bool {
	if n.Kind != doc.List {
		hint := ""
		if n.Kind == doc.Text {
			hint = "write a list, even of one"
		}
		d.Wrong(n, s, key, s.Describe(), hint)
		return false
	}

	if s.Code == Array && len(n.Items) != rv.Len() {
		d.Wrong(n, s, key, s.Describe(), fmt.Sprintf("there are %d", len(n.Items)))
		return false
	}
	if s.Code == Slice {
		rv.Set(reflect.MakeSlice(s.Type, len(n.Items), len(n.Items)))
	}

	ok := true
	for i, item := range n.Items {
		ok = d.Value(rv.Index(i), s.Elem, item, key+"["+strconv.Itoa(i)+"]") && ok
	}
	return ok
}

func (d *Decoder) mapping(rv reflect.Value, s *Shape, n *doc.Node, key string) bool {
	if rv.IsNil() {
		rv.Set(reflect.MakeMapWithSize(s.Type, len(n.Names)))
	}
	ok := true

	spelled := make(map[any]*doc.Node, len(n.Names))
	for i, k := range n.Names {
		item, full := n.Items[i], doc.JoinKey(key, k.Text)
		kv := reflect.New(s.Key.Type).Elem()
		if want, hint, _ := setText(kv, s.Key, k.Text); want != "" {
			d.note(Mistake{Node: item, Name: k, Key: full, Got: k.Text, Want: "as a key " + want, Hint: hint})
			ok = false
			continue
		}

		if first, twice := spelled[kv.Interface()]; twice && first.Mark == item.Mark {
			d.note(Mistake{Node: item, Name: k, Key: full, Got: k.Text, Want: "each key once", Hint: "it is another spelling of a key above"})
			ok = false
			continue
		}

		spelled[kv.Interface()] = item
		if item.Kind == doc.Null {
			rv.SetMapIndex(kv, reflect.Value{})
			continue
		}
		ev := reflect.New(s.Elem.Type).Elem()
		if old := rv.MapIndex(kv); old.IsValid() {
			ev.Set(Copy(old, s.Elem))
		}

		if d.Value(ev, s.Elem, item, full) {
			rv.SetMapIndex(kv, ev)
		} else {
			ok = false
		}
	}

	return ok
}

// structure sets a struct within a list or map, where keys are not static.
func (d *Decoder) structure(rv reflect.Value, s *Shape, n *doc.Node, key string) bool {
	before := d.mistakes()
	failed := map[string]bool{}
	Fill(rv, s)

	for i, k := range n.Names {
		f := s.Struct.Names[k.Text]
		if f == nil {
			hint := s.Struct.Unreadable[k.Text]
			if hint == "" {
				hint = Nearest(k.Text, Keys(s.Struct.Names))
			}
			d.Unknown(n, i, s, key, hint)
			continue
		}

		fv := fieldByPath(rv, f.Path)
		full := doc.JoinKey(key, k.Text)
		if n.Items[i].Kind == doc.Null && !f.Shape.Nullable() {
			continue
		}
		failed[k.Text] = !d.Value(fv, f.Shape, n.Items[i], full)
	}

	for _, k := range SortedKeys(s.Struct.Names) {
		f := s.Struct.Names[k]
		fv, reachable := ReadPath(rv, f.Path)
		item := n.Child(k)

		full := doc.JoinKey(key, k)
		switch {
		case !reachable:
		case f.Rules.Required && (item == nil || item.Kind == doc.Null) && fv.IsZero():
			d.note(Mistake{Kind: Missing, Node: n, Shape: f.Shape, Key: full})
		case f.Rules.Required && !failed[k] && item != nil && IsEmpty(fv, f.Shape):
			d.note(Mistake{Kind: Missing, Node: item, Shape: f.Shape, Key: full, Want: "empty"})
		case item == nil && fv.IsZero():
		case item != nil && item.Kind != doc.Null && f.Tags.ZeroIsDefault && fv.IsZero() && !failed[k]:
			d.note(Mistake{Kind: OutOfRange, Node: item, Shape: f.Shape, Key: full, Want: ZeroMeans(f, fv)})
		default:
			if want := f.Rules.Check(fv, f.Shape); want != "" && !failed[k] {
				at := item
				if at == nil {
					at = n
				}
				d.note(Mistake{Kind: OutOfRange, Node: at, Shape: f.Shape, Key: full, Want: want})
			}
		}
	}

	return d.mistakes() == before
}

// ZeroMeans says what to write in place of an explicit zero that would mean the
// default.
func ZeroMeans(f *Field, zero reflect.Value) string {
	return "another value, or none: " + f.Tags.Zero(zero)
}

// Unknown reports name i of a section, n, which no field of the shape has. Where
// secrets stand in the section, the name may be one by a slip: it is shown as
// far as it looks like a key, has a value, and a key stands beside it or near. At
// the top it needs none beside it: no slip makes a name there of a value.
func (d *Decoder) Unknown(n *doc.Node, i int, s *Shape, section, hint string) {
	if d.unknown >= maxKept {
		if d.Lenient {
			d.MoreWarnings++
		} else {
			d.MoreMistakes++
		}
		return
	}
	d.unknown++

	k, item := n.Names[i], n.Items[i]
	shown := k.Text
	if s.hasSecret() {
		shown, _, _ = strings.Cut(plainName.FindString(k.Text)+"…", "…")
		beside := section == "" || d.knowsAny(n, s)
		switch {
		case hint == "" && (!beside || item.Kind == doc.Null):
			shown = "…"
		case shown != k.Text:
			shown += "…"
		}
	}

	f := Mistake{Kind: Unknown, Node: item, Name: k, Key: doc.JoinKey(section, shown), Hint: hint}
	if d.Lenient {
		d.Warnings = append(d.Warnings, f)
		return
	}
	d.Mistakes = append(d.Mistakes, f)
}

// knowsAny reports whether a field of s has one of the names in n. It remembers
// the answer, as it is asked for each name of n that no field has.
func (d *Decoder) knowsAny(n *doc.Node, s *Shape) bool {
	if d.section != n {
		d.section = n
		d.known = slices.ContainsFunc(n.Names, func(other doc.Name) bool { return s.Struct.Names[other.Text] != nil })
	}
	return d.known
}

// Set sets what a path that [Within] gave leads to in rv, and makes what is
// missing on the way: pointers, entries, and the item after the last one. An
// entry keeps the keys that n does not name, an item is made anew.
func (d *Decoder) Set(rv reflect.Value, s *Shape, path []string, n *doc.Node, key string) bool {
	if len(path) == 0 {
		if s.Code == Map || s.Code == Struct {
			return d.Value(rv, s, n, key)
		}
		fresh := reflect.New(s.Type).Elem()
		ok := d.Value(fresh, s, n, key)
		rv.Set(fresh)
		return ok
	}

	full := doc.Dotted(append([]string{key}, path[0]))
	switch s.Code {
	case Pointer:
		if rv.IsNil() {
			rv.Set(reflect.New(s.Elem.Type))
			if s.Elem.Code == Struct {
				Fill(rv.Elem(), s.Elem)
			}
		}
		return d.Set(rv.Elem(), s.Elem, path, n, key)
	case Struct:
		f := s.Struct.Names[path[0]]
		return d.Set(fieldByPath(rv, f.Path), f.Shape, path[1:], n, full)
	case Map:
		return d.setEntry(rv, s, path, n, full)
	}
	return d.setItem(rv, s, path, n, key)
}

func (d *Decoder) setEntry(rv reflect.Value, s *Shape, path []string, n *doc.Node, key string) bool {
	kv := reflect.New(s.Key.Type).Elem()
	if want, hint, _ := setText(kv, s.Key, path[0]); want != "" {
		d.note(Mistake{Node: n, Key: key, Got: path[0], Want: "as a key " + want, Hint: hint})
		return false
	}

	if rv.IsNil() {
		rv.Set(reflect.MakeMap(s.Type))
	}
	if len(path) == 1 && n.Kind == doc.Null {
		rv.SetMapIndex(kv, reflect.Value{})
		return true
	}

	ev := reflect.New(s.Elem.Type).Elem()
	if old := rv.MapIndex(kv); old.IsValid() {
		ev.Set(Copy(old, s.Elem))
	} else if s.Elem.Code == Struct {
		Fill(ev, s.Elem)
	}

	ok := d.Set(ev, s.Elem, path[1:], n, key)
	rv.SetMapIndex(kv, ev)
	return ok
}

func (d *Decoder) setItem(rv reflect.Value, s *Shape, path []string, n *doc.Node, key string) bool {
	i, _ := doc.ItemOf(path[0])
	full := fmt.Sprintf("%s[%d]", key, i)
	switch {
	case i > rv.Len() || i == rv.Len() && s.Code == Array:
		d.note(Mistake{
			Node: n, Key: full, Got: fmt.Sprintf("item %d", i), Want: fmt.Sprintf("one of the %d items", rv.Len()),
			Hint: fmt.Sprintf("the item after the last is %s[%d]", key, rv.Len()),
		})
		return false
	case i == rv.Len() || len(path) == 1:
		fresh := reflect.New(s.Elem.Type).Elem()
		if s.Elem.Code == Struct {
			Fill(fresh, s.Elem)
		}
		ok := d.Set(fresh, s.Elem, path[1:], n, full)
		if i == rv.Len() {
			rv.Set(reflect.Append(rv, fresh))
		} else {
			rv.Index(i).Set(fresh)
		}
		return ok
	}
	return d.Set(rv.Index(i), s.Elem, path[1:], n, full)
}

// bracketed matches an IPv6 address in brackets, with which no JSON begins.
var bracketed = regexp.MustCompile(`^\[[0-9A-Fa-f.%]*:[0-9A-Fa-f:.%]*\]`)

// plainName matches what the name of a key looks like.
var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*`)

// parseInt reads a number, or a size with its unit.
func parseInt(text string, bits int) (int64, error) {
	v, err := strconv.ParseInt(text, 0, bits)
	if err == nil || !strings.HasSuffix(text, "B") {
		return v, err
	}

	size, sizeErr := options.ParseSize(text)
	if sizeErr != nil || size>>(bits-1) != 0 {
		return 0, err
	}
	return size, nil
}

// parseUint reads a number that is not negative, or a size with its unit.
func parseUint(text string, bits int) (uint64, error) {
	v, err := strconv.ParseUint(strings.TrimPrefix(text, "+"), 0, bits)
	if err == nil || !strings.HasSuffix(text, "B") {
		return v, err
	}

	size, sizeErr := options.ParseSize(text)
	if sizeErr != nil || uint64(size)>>bits != 0 {
		return 0, err
	}
	return uint64(size), nil
}

// setText sets rv from text. It returns what was wanted instead, a
// hint, and what the type itself said.
func setText(rv reflect.Value, s *Shape, text string) (want, hint string, cause error) {
	trimmed := strings.TrimSpace(text)
	switch s.Code {
	case Pointer:
		if rv.IsNil() {
			rv.Set(reflect.New(s.Elem.Type))
		}
		return setText(rv.Elem(), s.Elem, text)
	case String:
		rv.SetString(text)
	case Secret:
		rv.Set(reflect.ValueOf(newSecret(text)))
	case Raw:
		rv.SetBytes([]byte(text))
	case Bool:
		v, ok := parseBool(trimmed)
		if !ok {
			return s.Describe(), "", nil
		}
		rv.SetBool(v)
	case Int:
		if doc.LeadingZero(trimmed) {
			return s.Describe(), "a leading zero is ambiguous: write it without, or 0o for octal", nil
		}
		v, err := parseInt(trimmed, rv.Type().Bits())
		if err != nil {
			return s.Describe(), intHint(trimmed), nil
		}
		rv.SetInt(v)
	case Uint:
		if doc.LeadingZero(trimmed) {
			return s.Describe(), "a leading zero is ambiguous: write it without, or 0o for octal", nil
		}
		v, err := parseUint(trimmed, rv.Type().Bits())
		if err != nil {
			return s.Describe(), intHint(trimmed), nil
		}
		rv.SetUint(v)
	case Float:
		v, err := strconv.ParseFloat(doc.GoFloat(trimmed), rv.Type().Bits())
		if err != nil {
			return s.Describe(), "", nil
		}
		rv.SetFloat(v)
	case Complex:
		v, err := strconv.ParseComplex(trimmed, rv.Type().Bits())
		if err != nil {
			return s.Describe(), "", nil
		}
		rv.SetComplex(v)
	case Duration:
		v, err := time.ParseDuration(trimmed)
		if err != nil {
			if _, err := strconv.ParseFloat(trimmed, 64); err == nil {
				return s.Describe(), "give the unit: " + trimmed + "s, " + trimmed + "ms, " + trimmed + "m", nil
			}
			return s.Describe(), "", nil
		}
		rv.SetInt(int64(v))
	case Time:
		v, ok := parseTime(trimmed)
		if !ok {
			return s.Describe(), "", nil
		}
		rv.Set(reflect.ValueOf(v))
	case URL:
		v, err := ParseURL(trimmed)
		if err != nil {
			return s.Describe(), err.Error(), nil
		}
		rv.Set(reflect.ValueOf(*v))
	case Text:
		if s.standard != nil {
			v, err := s.standard.Parse(trimmed)
			if err != nil {
				return s.Describe(), err.Error(), nil
			}
			rv.Set(v)
			break
		}
		if err := rv.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
			return s.Describe(), "", err
		}
	default:
		return s.Describe(), "", nil
	}

	return "", "", nil
}

func newSecret(text string) secret.Secret {
	var s secret.Secret
	_ = s.UnmarshalText([]byte(text)) // never fails
	return s
}

func parseBool(text string) (v, ok bool) {
	switch strings.ToLower(text) {
	case "true", "t", "yes", "y", "on", "1":
		return true, true
	case "false", "f", "no", "n", "off", "0":
		return false, true
	}
	return false, false
}

func intHint(text string) string {
	if f, err := strconv.ParseFloat(text, 64); err == nil && strings.ContainsAny(text, ".eE") && f == float64(int64(f)) {
		return fmt.Sprintf("write %d", int64(f))
	}
	return ""
}

func parseTime(text string) (time.Time, bool) {
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999",
		"2006-01-02 15:04:05.999999999", time.DateOnly,
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// Expand reads the text of a variable, flag, secret file or reference as a
// list or a map: a list is separated by commas, of which one may follow the last
// item, or JSON, a map is JSON.
func Expand(n *doc.Node, s *Shape) (*doc.Node, error) {
	for s.Code == Pointer {
		s = s.Elem
	}
	text := strings.TrimSpace(n.Text)
	list := s.Code == Slice || s.Code == Array
	if s.Code != Map && s.Code != Struct && !list {
		return n, nil
	}

	var out *doc.Node
	switch {
	case list && text == "":
		out = &doc.Node{Kind: doc.List}
	case list && (!strings.HasPrefix(text, "[") || bracketed.MatchString(text)):
		out = &doc.Node{Kind: doc.List}
		for part := range strings.SplitSeq(strings.TrimSuffix(text, ","), ",") {
			part = strings.TrimSpace(part)
			if openQuote(part) {
				return nil, errors.New(`text with a comma in it is written as JSON: ["a,b","c"]`)
			}
			out.Items = append(out.Items, &doc.Node{Kind: doc.Text, Text: part, Plain: true})
		}
	default:
		v, err := doc.ParseValue(text)
		if err != nil {
			if !list && !strings.HasPrefix(text, "{") {
				return nil, fmt.Errorf(`a map is written as JSON: {"key":"value"}`)
			}
			return nil, err
		}
		out = v
	}

	stamp(out, n)
	return out, nil
}

// openQuote reports an item of a list that begins with a quote and does not end
// with it: it was cut at a comma within the quotes.
func openQuote(part string) bool {
	if part == "" || part[0] != '"' && part[0] != '\'' {
		return false
	}
	return len(part) == 1 || part[len(part)-1] != part[0]
}

// stamp gives a tree the mark and the place of the node it was read from.
func stamp(n, of *doc.Node) {
	n.Mark, n.Line, n.Column = of.Mark, of.Line, of.Column
	for _, item := range n.Items {
		stamp(item, of)
	}
}

// fieldByPath walks to a field through embedded structs and makes those that
// are nil.
func fieldByPath(rv reflect.Value, path []int) reflect.Value {
	for _, i := range path {
		for rv.Kind() == reflect.Pointer {
			if rv.IsNil() {
				rv.Set(reflect.New(rv.Type().Elem()))
			}
			rv = rv.Elem()
		}
		rv = rv.Field(i)
	}
	return rv
}

// ReadPath is fieldByPath without making anything.
func ReadPath(rv reflect.Value, path []int) (reflect.Value, bool) {
	for _, i := range path {
		for rv.Kind() == reflect.Pointer {
			if rv.IsNil() {
				return rv, false
			}
			rv = rv.Elem()
		}
		rv = rv.Field(i)
	}
	return rv, true
}

// Keys lists the keys of a map in any order.
func Keys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

// SortedKeys lists the keys of a map in order.
func SortedKeys[V any](m map[string]V) []string {
	keys := Keys(m)
	slices.Sort(keys)
	return keys
}

// ParseURL reads an absolute URL. Its error does not repeat the text, which may
// hold a password.
func ParseURL(text string) (*url.URL, error) {
	if text == "" {
		return &url.URL{}, nil
	}

	u, err := url.Parse(text)
	if err != nil {
		var detail *url.Error
		if errors.As(err, &detail) {
			err = detail.Err
		}
		var escape url.EscapeError
		var host url.InvalidHostError
		if errors.As(err, &escape) || errors.As(err, &host) || strings.Contains(err.Error(), `"`) {
			err = errors.New("an invalid escape, host or port")
		}
		return nil, err
	}

	if u.Scheme == "" || u.Host == "" && u.Opaque == "" && u.Path == "" {
		return nil, errors.New("not absolute; want scheme://host/path")
	}
	return u, nil
}
