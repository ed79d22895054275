package typed

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/secret"
)

// AnyRules says how the values of Go become nodes.
type AnyRules struct {
	Mark       any  // of the nodes
	SecretMark any  // of those that hold a Secret's value
	ForFile    bool // what is written: a float keeps its point, a Secret is refused
}

// FromMap turns a map into a tree. In one that a provider gives, a dot in a key
// nests; in one for a file, it is a letter of the key.
func FromMap(values map[string]any, rules AnyRules) (*doc.Node, error) {
	n := &doc.Node{Kind: doc.Map, Mark: rules.Mark}
	for _, k := range SortedKeys(values) {
		at := n
		parts := []string{k}
		if !rules.ForFile {
			parts = strings.Split(k, ".")
		}

		for _, part := range parts[:len(parts)-1] {
			next := at.Child(part)
			if next == nil || next.Kind != doc.Map {
				next = &doc.Node{Kind: doc.Map, Mark: rules.Mark}
				at.Put(doc.Name{Text: part}, next)
			}
			at = next
		}

		v, err := FromAny(values[k], rules)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}

		last := parts[len(parts)-1]
		if have := at.Child(last); have != nil && have.Kind == doc.Map && v.Kind == doc.Map {
			for i, k := range v.Names {
				have.Put(k, v.Items[i])
			}
			v = have
		}
		at.Put(doc.Name{Text: last}, v)
	}
	return n, nil
}

// FromAny turns a Go value into a node. A type that has a text gives it, as its
// settings would: a time, a URL, an address. For a file, a whole float keeps its
// point, so that it is read as one, and a Secret is refused.
func FromAny(v any, rules AnyRules) (*doc.Node, error) {
	n := &doc.Node{Kind: doc.Text, Mark: rules.Mark}
	rv := reflect.ValueOf(v)
	if kind := rv.Kind(); v == nil || (kind == reflect.Pointer || kind == reflect.Map || kind == reflect.Slice) && rv.IsNil() {
		n.Kind = doc.Null
		return n, nil
	}

	switch v := v.(type) {
	case string:
		n.Text = v
		return n, nil
	case map[string]any:
		return FromMap(v, rules)
	case json.Number:
		n.Text, n.Plain = v.String(), true
		return n, nil
	case []byte:
		n.Text = string(v)
		return n, nil
	case time.Time:
		n.Text = v.Format(time.RFC3339Nano)
		if v.Equal(v.UTC().Truncate(24*time.Hour)) && v.Location() == time.UTC { // a date, as it was written
			n.Text = v.Format(time.DateOnly)
		}
		return n, nil
	case time.Duration:
		n.Text = v.String()
		return n, nil
	case secret.Secret:
		if rules.ForFile {
			return nil, ErrSecret
		}
		n.Text, n.Mark = v.Reveal(), rules.SecretMark
		return n, nil
	case interface { // a URL, whose other texts may be masked
		fmt.Stringer
		Redacted() string
	}:
		n.Text = v.String()
		return n, nil
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		if err != nil {
			return nil, fmt.Errorf("the text of a %T: %w", v, err)
		}
		n.Text = string(text)
		return n, nil
	case fmt.Stringer:
		n.Text = v.String()
		return n, nil
	}
	return fromKind(rv, n, rules)
}

// fromKind turns a value into a node by the kind of its type.
func fromKind(rv reflect.Value, n *doc.Node, rules AnyRules) (*doc.Node, error) {
	switch rv.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		n.Text, n.Plain = fmt.Sprint(rv.Interface()), true
		return n, nil
	case reflect.Float32, reflect.Float64:
		n.Text, n.Plain = floatText(rv.Float(), rv.Type().Bits()), true
		if rules.ForFile {
			n.Text = withPoint(n.Text)
		}
		return n, nil
	case reflect.String:
		n.Text = rv.String()
		return n, nil
	case reflect.Pointer:
		return FromAny(rv.Elem().Interface(), rules)
	case reflect.Slice, reflect.Array:
		n.Kind = doc.List
		for i := range rv.Len() {
			item, err := FromAny(rv.Index(i).Interface(), rules)
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			n.Items = append(n.Items, item)
		}
		return n, nil
	case reflect.Map:
		values := make(map[string]any, rv.Len())
		for it := rv.MapRange(); it.Next(); {
			values[fmt.Sprint(it.Key().Interface())] = it.Value().Interface()
		}
		return FromMap(values, rules)
	}

	if reflect.PointerTo(rv.Type()).Implements(textMarshalerType) || reflect.PointerTo(rv.Type()).Implements(stringerType) {
		p := reflect.New(rv.Type()) // its methods want a pointer, as those of big.Int
		p.Elem().Set(rv)
		return FromAny(p.Interface(), rules)
	}
	return nil, fmt.Errorf("a value of type %s has no text", rv.Type())
}

// withPoint gives the text of a whole float its point, so that every reader sees
// a float.
func withPoint(text string) string {
	switch text {
	case "+Inf":
		return ".inf"
	case "-Inf":
		return "-.inf"
	case "NaN":
		return ".nan"
	}
	if strings.ContainsAny(text, ".e") {
		return text
	}
	return text + ".0"
}

// floatText writes a float so that every reader sees the same number: without
// an exponent below 1e21, as encoding/json does.
func floatText(f float64, bits int) string {
	if a := math.Abs(f); a == 0 || a >= 1e-6 && a < 1e21 {
		return strconv.FormatFloat(f, 'f', -1, bits)
	}
	return strconv.FormatFloat(f, 'g', -1, bits)
}
