package typed

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/doc"
)

// FromMap turns a provider's map into a tree. A dot in a key nests.
func FromMap(values map[string]any, mark any) *doc.Node {
	n := &doc.Node{Kind: doc.Map, Mark: mark}
	for _, k := range SortedKeys(values) {
		at := n
		parts := strings.Split(k, ".")
		for _, part := range parts[:len(parts)-1] {
			next := at.Child(part)
			if next == nil || next.Kind != doc.Map {
				next = &doc.Node{Kind: doc.Map, Mark: mark}
				at.Put(doc.Name{Text: part}, next)
			}
			at = next
		}
		last, v := parts[len(parts)-1], FromAny(values[k], mark)
		if have := at.Child(last); have != nil && have.Kind == doc.Map && v.Kind == doc.Map {
			for i, k := range v.Names {
				have.Put(k, v.Items[i])
			}
			v = have
		}
		at.Put(doc.Name{Text: last}, v)
	}
	return n
}

// FromAny turns any value into a tree whose nodes carry mark.
func FromAny(v, mark any) *doc.Node {
	n := &doc.Node{Kind: doc.Text, Mark: mark}
	switch v := v.(type) {
	case nil:
		n.Kind = doc.Null
		return n
	case string:
		n.Text = v
		return n
	case map[string]any:
		return FromMap(v, mark)
	case json.Number:
		n.Text, n.Plain = v.String(), true
		return n
	case float64:
		n.Text, n.Plain = strconv.FormatFloat(v, 'f', -1, 64), true
		return n
	case []byte:
		n.Text = string(v)
		return n
	}
	rv := reflect.ValueOf(v)
	switch rv.Kind() {
	case reflect.Pointer, reflect.Interface:
		if rv.IsNil() {
			n.Kind = doc.Null
			return n
		}
		return FromAny(rv.Elem().Interface(), mark)
	case reflect.Slice, reflect.Array:
		n.Kind = doc.List
		for i := range rv.Len() {
			n.Items = append(n.Items, FromAny(rv.Index(i).Interface(), mark))
		}
		return n
	case reflect.Map:
		values := make(map[string]any, rv.Len())
		for it := rv.MapRange(); it.Next(); {
			values[fmt.Sprint(it.Key().Interface())] = it.Value().Interface()
		}
		return FromMap(values, mark)
	}
	n.Text, n.Plain = fmt.Sprint(v), true
	return n
}
