package config

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// decoder sets Go values from nodes and collects what does not fit.
type decoder struct {
	lenient  bool
	problems []Problem
	warnings []Problem
}

// wrong reports a value that does not fit its key.
func (d *decoder) wrong(n *node, s *shape, key, want, hint string) {
	p := n.problem(key)
	if n.kind == textNode {
		p.Value = n.shown(s, key)
	} else {
		p.Value = n.kind.String()
	}
	p.Want, p.Hint = want, hint
	d.problems = append(d.problems, p)
}

// problem starts a Problem at the place of n.
func (n *node) problem(key string) Problem {
	p := Problem{Key: key, Line: n.line, Column: n.col}
	if n.from != nil {
		p.Layer, p.File = n.from.describe(), n.from.path()
	}
	if n.label != "" {
		p.Layer = string(n.from.kind) + " " + n.label
		p.Line, p.Column = 0, 0
	}
	return p
}

// shown is the text of n for a message.
func (n *node) shown(s *shape, key string) string {
	if n.tainted || s.secret() || sensitiveKey(key) {
		return redact(n.text)
	}
	return strconv.Quote(shorten(maskSecrets(n.text)))
}

// value sets rv, of shape s, from n. It reports whether it could.
func (d *decoder) value(rv reflect.Value, s *shape, n *node, key string) bool {
	if s.code == codePointer {
		if n.kind == nullNode {
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
	switch n.kind {
	case nullNode:
		return true // as below: the value stays
	case textNode:
		want, hint := setText(rv, s, n.text, n.tainted || sensitiveKey(key))
		if want != "" {
			d.wrong(n, s, key, want, hint)
		}
		return want == ""
	}
	d.wrong(n, s, key, s.describe(), "")
	return false
}

func (d *decoder) composite(rv reflect.Value, s *shape, n *node, key string) bool {
	if n.kind == textNode && s.code != codeAny && (n.label != "" || n.ref != "") {
		expanded, err := expandText(n, s)
		if err != nil {
			d.wrong(n, s, key, s.describe(), err.Error())
			return false
		}
		n = expanded
	}
	if n.kind == nullNode {
		if s.code == codeSlice || s.code == codeMap || s.code == codeAny {
			rv.SetZero()
		}
		return true
	}
	switch s.code {
	case codeSlice, codeArray:
		return d.list(rv, s, n, key)
	case codeMap:
		if n.kind != mapNode {
			break
		}
		return d.mapping(rv, s, n, key)
	case codeStruct:
		if n.kind != mapNode {
			break
		}
		return d.structure(rv, s, n, key)
	case codeAny:
		rv.Set(reflect.ValueOf(n.any()))
		return true
	}
	d.wrong(n, s, key, s.describe(), "")
	return false
}

func (d *decoder) list(rv reflect.Value, s *shape, n *node, key string) bool {
	if n.kind != listNode {
		hint := ""
		if n.kind == textNode {
			hint = "write a list, even of one"
		}
		d.wrong(n, s, key, s.describe(), hint)
		return false
	}
	if s.code == codeArray && len(n.items) != rv.Len() {
		d.wrong(n, s, key, s.describe(), fmt.Sprintf("there are %d", len(n.items)))
		return false
	}
	if s.code == codeSlice {
		rv.Set(reflect.MakeSlice(s.rt, len(n.items), len(n.items)))
	}
	ok := true
	for i, item := range n.items {
		ok = d.value(rv.Index(i), s.elem, item, fmt.Sprintf("%s[%d]", key, i)) && ok
	}
	return ok
}

func (d *decoder) mapping(rv reflect.Value, s *shape, n *node, key string) bool {
	if rv.IsNil() {
		rv.Set(reflect.MakeMapWithSize(s.rt, len(n.names)))
	}
	ok := true
	for i, k := range n.names {
		item, full := n.items[i], joinKey(key, k.text)
		kv := reflect.New(s.key.rt).Elem()
		if want, hint := setText(kv, s.key, k.text, false); want != "" {
			p := item.problem(full)
			p.Value, p.Want, p.Hint = strconv.Quote(shorten(k.text)), "as a key "+want, hint
			d.problems = append(d.problems, p)
			ok = false
			continue
		}
		if item.kind == nullNode && s.elem.code != codePointer && s.elem.code != codeAny {
			rv.SetMapIndex(kv, reflect.Value{})
			continue
		}
		if item.kind == nullNode {
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
func (d *decoder) structure(rv reflect.Value, s *shape, n *node, key string) bool {
	before := len(d.problems)
	failed := map[string]bool{}
	for i, k := range n.names {
		f := s.str.names[k.text]
		if f == nil {
			d.unknown(n.items[i], k, key, nearest(k.text, mapKeys(s.str.names)))
			continue
		}
		fv := fieldByPath(rv, f.path)
		full := joinKey(key, k.text)
		if n.items[i].kind == nullNode && f.shape.code != codePointer && f.shape.code != codeMap && f.shape.code != codeSlice {
			continue
		}
		failed[k.text] = !d.value(fv, f.shape, n.items[i], full)
	}
	for _, k := range sortedKeys(s.str.names) {
		f := s.str.names[k]
		fv, reachable := readPath(rv, f.path)
		item := n.child(k)
		full := joinKey(key, k)
		switch {
		case !reachable:
		case f.rules.required && (item == nil || item.kind == nullNode) && fv.IsZero():
			p := n.problem(full)
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

func (d *decoder) unknown(n *node, k name, section, hint string) {
	p := n.problem(joinKey(section, k.text))
	if n.label == "" {
		p.Line, p.Column = k.line, k.col
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
		if leadingZero(trimmed) {
			return s.describe(), "a leading zero is ambiguous: write it without, or 0o for octal"
		}
		v, err := strconv.ParseInt(trimmed, 0, rv.Type().Bits())
		if err != nil {
			return s.describe(), intHint(trimmed)
		}
		rv.SetInt(v)
	case codeUint:
		if leadingZero(trimmed) {
			return s.describe(), "a leading zero is ambiguous: write it without, or 0o for octal"
		}
		v, err := strconv.ParseUint(strings.TrimPrefix(trimmed, "+"), 0, rv.Type().Bits())
		if err != nil {
			return s.describe(), intHint(trimmed)
		}
		rv.SetUint(v)
	case codeFloat:
		v, err := strconv.ParseFloat(yamlFloat(trimmed), rv.Type().Bits())
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

// leadingZero reports a number such as 007, which is 7 in some formats and
// octal in others.
func leadingZero(text string) bool {
	text = strings.TrimLeft(text, "+-")
	return len(text) > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9'
}

func intHint(text string) string {
	if f, err := strconv.ParseFloat(text, 64); err == nil && strings.ContainsAny(text, ".eE") && f == float64(int64(f)) {
		return fmt.Sprintf("write %d", int64(f))
	}
	return ""
}

// underscored matches digits that are grouped by underscores.
var underscored = regexp.MustCompile(`^[+-]?[0-9]+(_[0-9]+)+(\.[0-9]+(_[0-9]+)*)?([eE][+-]?[0-9]+)?$`)

// yamlFloat writes YAML's and TOML's names of the odd floats as Go's.
func yamlFloat(text string) string {
	switch strings.ToLower(text) {
	case ".inf", "+.inf":
		return "inf"
	case "-.inf":
		return "-inf"
	case ".nan", "+nan", "-nan":
		return "nan"
	}
	if underscored.MatchString(text) { // which Go reads in hexadecimal only
		return strings.ReplaceAll(text, "_", "")
	}
	return text
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

// any turns a tree into maps, lists and scalars, for values of type any.
func (n *node) any() any {
	switch n.kind {
	case nullNode:
		return nil
	case listNode:
		out := make([]any, len(n.items))
		for i, item := range n.items {
			out[i] = item.any()
		}
		return out
	case mapNode:
		out := make(map[string]any, len(n.items))
		for i, k := range n.names {
			out[k.text] = n.items[i].any()
		}
		return out
	}
	if n.plain {
		switch n.text {
		case "true", "True", "TRUE":
			return true
		case "false", "False", "FALSE":
			return false
		}
		if !leadingZero(n.text) {
			if i, err := strconv.ParseInt(n.text, 0, 64); err == nil {
				return i
			}
			if u, err := strconv.ParseUint(n.text, 0, 64); err == nil {
				return u
			}
			if f, err := strconv.ParseFloat(yamlFloat(n.text), 64); err == nil && strings.ContainsAny(n.text, "0123456789.") {
				return f
			}
		}
	}
	return n.text
}

// expandText reads the text of a variable, flag, secret file or reference as a
// list or a map: a list is separated by commas or JSON, a map is JSON.
func expandText(n *node, s *shape) (*node, error) {
	for s.code == codePointer {
		s = s.elem
	}
	text := strings.TrimSpace(n.text)
	list := s.code == codeSlice || s.code == codeArray
	if s.code != codeMap && s.code != codeStruct && !list {
		return n, nil
	}
	var out *node
	switch {
	case list && text == "":
		out = &node{kind: listNode}
	case list && !strings.HasPrefix(text, "["):
		out = &node{kind: listNode}
		for part := range strings.SplitSeq(text, ",") {
			out.items = append(out.items, &node{kind: textNode, text: strings.TrimSpace(part), plain: true})
		}
	default:
		v, err := jsonValue(text)
		if err != nil {
			if !list && !strings.HasPrefix(text, "{") {
				return nil, fmt.Errorf(`a map is written as JSON: {"key":"value"}`)
			}
			return nil, err
		}
		out = v
	}
	out.stamp(n)
	return out, nil
}

// stamp gives a tree the origin of the node it was read from.
func (n *node) stamp(of *node) {
	n.from, n.label, n.tainted, n.line, n.col, n.ref = of.from, of.label, of.tainted, of.line, of.col, of.ref
	for _, item := range n.items {
		item.stamp(of)
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
