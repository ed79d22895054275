package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/doc"
)

// decoder sets Go values from nodes and collects what does not fit.
type decoder struct {
	lenient  bool
	problems []Problem
	warnings []Problem
}

// wrong reports a value that does not fit its key.
func (d *decoder) wrong(n *doc.Node, s *shape, key, want, hint string) {
	p := problemAt(n, key)
	if n.Kind == doc.Text {
		p.Value = shown(n, s, key)
	} else {
		p.Value = n.Kind.String()
	}
	p.Want, p.Hint = want, hint
	d.problems = append(d.problems, p)
}

// value sets rv, of shape s, from n. It reports whether it could.
func (d *decoder) value(rv reflect.Value, s *shape, n *doc.Node, key string) bool {
	if s.code == codePointer {
		if n.Kind == doc.Null {
			rv.SetZero()
			return true
		}
		if rv.IsNil() || s.elem.code == codeText { // text types are shared between copies
			rv.Set(reflect.New(s.elem.rt))
		}
		return d.value(rv.Elem(), s.elem, n, key)
	}
	switch s.code {
	case codeSlice, codeArray, codeMap, codeAny, codeStruct:
		return d.composite(rv, s, n, key)
	}
	switch n.Kind {
	case doc.Null:
		return true // as below: the value stays
	case doc.Text:
		want, hint := setText(rv, s, n.Text, from(n).tainted || sensitiveKey(key))
		if want != "" {
			d.wrong(n, s, key, want, hint)
		}
		return want == ""
	}
	d.wrong(n, s, key, s.describe(), "")
	return false
}

func (d *decoder) composite(rv reflect.Value, s *shape, n *doc.Node, key string) bool {
	if n.Kind == doc.Text && s.code != codeAny && (from(n).label != "" || from(n).ref != "") {
		expanded, err := expandText(n, s)
		if err != nil {
			d.wrong(n, s, key, s.describe(), err.Error())
			return false
		}
		n = expanded
	}
	if n.Kind == doc.Null {
		if s.code == codeSlice || s.code == codeMap || s.code == codeAny {
			rv.SetZero()
		}
		return true
	}
	switch s.code {
	case codeSlice, codeArray:
		return d.list(rv, s, n, key)
	case codeMap:
		if n.Kind != doc.Map {
			break
		}
		return d.mapping(rv, s, n, key)
	case codeStruct:
		if n.Kind != doc.Map {
			break
		}
		return d.structure(rv, s, n, key)
	case codeAny:
		rv.Set(reflect.ValueOf(n.Any()))
		return true
	}
	d.wrong(n, s, key, s.describe(), "")
	return false
}

func (d *decoder) list(rv reflect.Value, s *shape, n *doc.Node, key string) bool {
	if n.Kind != doc.List {
		hint := ""
		if n.Kind == doc.Text {
			hint = "write a list, even of one"
		}
		d.wrong(n, s, key, s.describe(), hint)
		return false
	}
	if s.code == codeArray && len(n.Items) != rv.Len() {
		d.wrong(n, s, key, s.describe(), fmt.Sprintf("there are %d", len(n.Items)))
		return false
	}
	if s.code == codeSlice {
		rv.Set(reflect.MakeSlice(s.rt, len(n.Items), len(n.Items)))
	}
	ok := true
	for i, item := range n.Items {
		ok = d.value(rv.Index(i), s.elem, item, fmt.Sprintf("%s[%d]", key, i)) && ok
	}
	return ok
}

func (d *decoder) mapping(rv reflect.Value, s *shape, n *doc.Node, key string) bool {
	if rv.IsNil() {
		rv.Set(reflect.MakeMapWithSize(s.rt, len(n.Names)))
	}
	ok := true
	for i, k := range n.Names {
		item, full := n.Items[i], doc.JoinKey(key, k.Text)
		kv := reflect.New(s.key.rt).Elem()
		if want, hint := setText(kv, s.key, k.Text, false); want != "" {
			p := problemAt(item, full)
			p.Value, p.Want, p.Hint = strconv.Quote(shorten(k.Text)), "as a key "+want, hint
			d.problems = append(d.problems, p)
			ok = false
			continue
		}
		if item.Kind == doc.Null && s.elem.code != codePointer && s.elem.code != codeAny {
			rv.SetMapIndex(kv, reflect.Value{})
			continue
		}
		if item.Kind == doc.Null {
			rv.SetMapIndex(kv, reflect.Value{})
			continue
		}
		ev := reflect.New(s.elem.rt).Elem()
		if old := rv.MapIndex(kv); old.IsValid() {
			ev.Set(deepCopy(old, s.elem))
		}
		if d.value(ev, s.elem, item, full) {
			rv.SetMapIndex(kv, ev)
		} else {
			ok = false
		}
	}
	return ok
}

// structure sets a struct within a list or map, where keys are not static.
func (d *decoder) structure(rv reflect.Value, s *shape, n *doc.Node, key string) bool {
	before := len(d.problems)
	failed := map[string]bool{}
	for i, k := range n.Names {
		f := s.str.names[k.Text]
		if f == nil {
			d.unknown(n.Items[i], k, key, nearest(k.Text, mapKeys(s.str.names)))
			continue
		}
		fv := fieldByPath(rv, f.path)
		full := doc.JoinKey(key, k.Text)
		if n.Items[i].Kind == doc.Null && f.shape.code != codePointer && f.shape.code != codeMap && f.shape.code != codeSlice {
			continue
		}
		failed[k.Text] = !d.value(fv, f.shape, n.Items[i], full)
	}
	for _, k := range sortedKeys(s.str.names) {
		f := s.str.names[k]
		fv, reachable := readPath(rv, f.path)
		item := n.Child(k)
		full := doc.JoinKey(key, k)
		switch {
		case !reachable:
		case f.rules.required && (item == nil || item.Kind == doc.Null) && fv.IsZero():
			p := problemAt(n, full)
			p.Message = "required, but not set"
			d.problems = append(d.problems, p)
		case item == nil && fv.IsZero():
		default:
			if want := f.rules.check(fv, f.shape); want != "" && !failed[k] {
				at := item
				if at == nil {
					at = n
				}
				d.wrong(at, f.shape, full, want, "")
			}
		}
	}
	return len(d.problems) == before
}

func (d *decoder) unknown(n *doc.Node, k doc.Name, section, hint string) {
	p := problemAt(n, doc.JoinKey(section, k.Text))
	if from(n).label == "" {
		p.Line, p.Column = k.Line, k.Column
	}
	p.Message, p.Hint = unknownMessage, hint
	if d.lenient {
		d.warnings = append(d.warnings, p)
		return
	}
	d.problems = append(d.problems, p)
}

// setText sets rv from text. It returns what was wanted instead, and a hint.
func setText(rv reflect.Value, s *shape, text string, hidden bool) (want, hint string) {
	trimmed := strings.TrimSpace(text)
	switch s.code {
	case codePointer:
		if rv.IsNil() {
			rv.Set(reflect.New(s.elem.rt))
		}
		return setText(rv.Elem(), s.elem, text, hidden)
	case codeString:
		rv.SetString(text)
	case codeSecret:
		rv.Set(reflect.ValueOf(newSecret(text)))
	case codeRaw:
		rv.SetBytes([]byte(text))
	case codeBool:
		v, ok := parseBool(trimmed)
		if !ok {
			return s.describe(), ""
		}
		rv.SetBool(v)
	case codeInt:
		if doc.LeadingZero(trimmed) {
			return s.describe(), "a leading zero is ambiguous: write it without, or 0o for octal"
		}
		v, err := strconv.ParseInt(trimmed, 0, rv.Type().Bits())
		if err != nil {
			return s.describe(), intHint(trimmed)
		}
		rv.SetInt(v)
	case codeUint:
		if doc.LeadingZero(trimmed) {
			return s.describe(), "a leading zero is ambiguous: write it without, or 0o for octal"
		}
		v, err := strconv.ParseUint(strings.TrimPrefix(trimmed, "+"), 0, rv.Type().Bits())
		if err != nil {
			return s.describe(), intHint(trimmed)
		}
		rv.SetUint(v)
	case codeFloat:
		v, err := strconv.ParseFloat(doc.GoFloat(trimmed), rv.Type().Bits())
		if err != nil {
			return s.describe(), ""
		}
		rv.SetFloat(v)
	case codeComplex:
		v, err := strconv.ParseComplex(trimmed, rv.Type().Bits())
		if err != nil {
			return s.describe(), ""
		}
		rv.SetComplex(v)
	case codeDuration:
		v, err := time.ParseDuration(trimmed)
		if err != nil {
			if _, err := strconv.ParseFloat(trimmed, 64); err == nil {
				return s.describe(), "give the unit: " + trimmed + "s, " + trimmed + "ms, " + trimmed + "m"
			}
			return s.describe(), ""
		}
		rv.SetInt(int64(v))
	case codeTime:
		v, ok := parseTime(trimmed)
		if !ok {
			return s.describe(), ""
		}
		rv.Set(reflect.ValueOf(v))
	case codeURL:
		v, err := ParseURL(trimmed)
		if err != nil {
			return s.describe(), strings.TrimPrefix(err.Error(), "config: parse URL: ")
		}
		rv.Set(reflect.ValueOf(v.URL))
	case codeText:
		return setUnmarshaler(rv, s, text, hidden)
	default:
		return s.describe(), ""
	}
	return "", ""
}

// setUnmarshaler hands the text to the type. The type's own error may repeat
// the text, so it is left out where the text must not be shown.
func setUnmarshaler(rv reflect.Value, s *shape, text string, hidden bool) (want, hint string) {
	u := rv.Addr().Interface().(encoding.TextUnmarshaler)
	err := u.UnmarshalText([]byte(text))
	if err == nil {
		return "", ""
	}
	if hidden || maskSecrets(text) != text {
		return s.describe(), ""
	}
	return s.describe(), maskSecrets(strings.TrimPrefix(err.Error(), "config: "))
}

func newSecret(text string) Secret {
	var s Secret
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

// expandText reads the text of a variable, flag, secret file or reference as a
// list or a map: a list is separated by commas or JSON, a map is JSON.
func expandText(n *doc.Node, s *shape) (*doc.Node, error) {
	for s.code == codePointer {
		s = s.elem
	}
	text := strings.TrimSpace(n.Text)
	list := s.code == codeSlice || s.code == codeArray
	if s.code != codeMap && s.code != codeStruct && !list {
		return n, nil
	}
	var out *doc.Node
	switch {
	case list && text == "":
		out = &doc.Node{Kind: doc.List}
	case list && !strings.HasPrefix(text, "["):
		out = &doc.Node{Kind: doc.List}
		for part := range strings.SplitSeq(text, ",") {
			out.Items = append(out.Items, &doc.Node{Kind: doc.Text, Text: strings.TrimSpace(part), Plain: true})
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

// readPath is fieldByPath without making anything.
func readPath(rv reflect.Value, path []int) (reflect.Value, bool) {
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

func mapKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

func sortedKeys[V any](m map[string]V) []string {
	keys := mapKeys(m)
	slices.Sort(keys)
	return keys
}

// secret reports whether values of the shape must not be shown.
func (s *shape) secret() bool {
	for s.code == codePointer || s.code == codeSlice || s.code == codeArray || s.code == codeMap {
		s = s.elem
	}
	return s.code == codeSecret
}

// describe says in words what a shape reads.
func (s *shape) describe() string {
	switch s.code {
	case codeBool:
		return "true or false"
	case codeInt, codeUint:
		bits := s.rt.Bits()
		switch {
		case s.code == codeInt && bits == 64:
			return "a whole number"
		case s.code == codeUint && bits == 64:
			return "a whole number of at least 0"
		case s.code == codeInt:
			return fmt.Sprintf("a whole number from %d to %d", -(int64(1) << (bits - 1)), int64(1)<<(bits-1)-1)
		}
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<bits-1)
	case codeFloat:
		return "a number"
	case codeComplex:
		return "a complex number, such as 1+2i"
	case codeDuration:
		return "a duration, such as 30s, 5m or 1h30m"
	case codeTime:
		return "a time, such as 2006-01-02T15:04:05Z"
	case codePointer:
		return s.elem.describe()
	case codeSlice:
		return "a list"
	case codeArray:
		return fmt.Sprintf("a list of %d", s.rt.Len())
	case codeMap, codeStruct:
		return "a section"
	case codeURL:
		return "a URL, such as https://host/path"
	case codeText:
		switch s.rt {
		case reflect.TypeFor[Bytes]():
			return "a size, such as 512KiB or 64MiB"
		case reflect.TypeFor[URL]():
			return "a URL, such as https://host/path"
		}
		return "the text of a " + s.rt.String()
	}
	return "a single value"
}
