package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/internal/typed"
	"github.com/svcblocks/svcblocks/internal/redact"
)

// Origin is where a value comes from.
type Origin struct {
	// Layer is the kind of layer: "default", "file", "profile", "secrets",
	// "env", "flag" or "source".
	Layer string
	// Name is the file, variable, flag or source; empty for a default.
	Name string
	// Line and Column, from 1, are the place in a settings file, else 0.
	Line, Column int
	// Reference is the text that was resolved, such as "ref+env://TOKEN".
	Reference string
}

// String returns the origin on one line: "file config.yaml:3:9", "env APP_MODE".
func (o Origin) String() string {
	text := o.Layer
	if o.Name != "" {
		text += " " + position(o.Name, o.Line, o.Column)
	}
	if o.Reference != "" {
		text += " (" + o.Reference + ")"
	}
	return text
}

// Entry explains one key.
type Entry struct {
	// Key is the dotted key.
	Key string
	// Value is the value in use as text, redacted if it is a secret.
	Value string
	// Origin is the layer that won.
	Origin Origin
	// Overrode lists what it won over, the nearest first, the default last if
	// it is not zero.
	Overrode []Overridden
	// Doc is the text of the key's doc tag.
	Doc string
	// Ignored says that Key is a name which [Ignore] let be there: no key, and
	// without a value.
	Ignored bool
}

// Overridden is a value that a higher layer won over.
type Overridden struct {
	Origin Origin
	// Value as in [Entry].
	Value string
}

// Explanation lists every key, in the order of the settings' fields.
type Explanation []Entry

// String writes the explanation as a table: key, value, origin, and below each
// what it overrode.
func (x Explanation) String() string {
	width, values := 0, 0
	for _, e := range x {
		width = max(width, utf8.RuneCountInString(e.Key))
		values = max(values, min(40, utf8.RuneCountInString(oneLine(e.Value))))
	}

	var b strings.Builder
	for _, e := range x {
		value := oneLine(e.Value)
		if e.Ignored {
			value = "(ignored)"
		}
		fmt.Fprintf(&b, "%-*s  %-*s  %s\n", width, e.Key, values, value, e.Origin)
		for _, o := range e.Overrode {
			fmt.Fprintf(&b, "%-*s  %-*s  over %s\n", width, "", values, oneLine(o.Value), o.Origin)
		}
	}

	return b.String()
}

func oneLine(text string) string {
	if strings.ContainsAny(text, "\n\r\t") || text == "" {
		return fmt.Sprintf("%q", shorten(text))
	}
	return shorten(text)
}

// Find returns the entry of a key.
func (x Explanation) Find(key string) (Entry, bool) {
	i := slices.IndexFunc(x, func(e Entry) bool { return e.Key == key })
	if i < 0 {
		return Entry{}, false
	}
	return x[i], true
}

// under keeps the entries of a key, of its section or of its map.
func (x Explanation) under(key string) (out Explanation) {
	for _, e := range x {
		if e.Key == key || strings.HasPrefix(e.Key, key+".") {
			out = append(out, e)
		}
	}
	return out
}

// explain lists the keys of a snapshot.
func explain(schema *typed.Schema, snap *snapshot, defaults reflect.Value) Explanation {
	out := make(Explanation, 0, len(schema.Leaves))
	var visit func(section *typed.Entry, rv, def reflect.Value)

	visit = func(section *typed.Entry, rv, def reflect.Value) {
		for _, child := range section.Children {
			fv, dv := fieldOf(rv, child.Index), fieldOf(def, child.Index)
			if child.Section {
				visit(child, indirect(fv), indirect(dv))
				continue
			}
			out = append(out, explainLeaf(child, snap.heads[child.ID], fv, dv)...)
		}
	}

	visit(schema.Root, snap.rv.Elem(), defaults)
	return append(out, snap.ignored...)
}

func fieldOf(rv reflect.Value, i int) reflect.Value {
	if !rv.IsValid() {
		return rv
	}
	return rv.Field(i)
}

// indirect follows pointers; the zero Value stands for nil.
func indirect(rv reflect.Value) reflect.Value {
	for rv.IsValid() && rv.Kind() == reflect.Pointer {
		rv = rv.Elem()
	}
	return rv
}

func explainLeaf(e *typed.Entry, n *doc.Node, fv, dv reflect.Value) Explanation {
	if e.Shape.Code == typed.Map && fv.IsValid() && fv.Len() > 0 {
		return explainMap(e, n, fv, dv)
	}
	out := Entry{Key: e.Key, Doc: e.Field.Doc, Origin: publicOrigin(n)}
	if fv.IsValid() {
		out.Value = display(fv, e.Shape, e.Key, hidden(n))
	}
	if n != nil {
		out.Overrode = overridden(from(n).over, e.Shape, e.Key)
		if dv.IsValid() && !dv.IsZero() && out.Origin.Layer != string(layerDefault) {
			out.Overrode = append(out.Overrode, Overridden{Origin{Layer: string(layerDefault)}, display(dv, e.Shape, e.Key, false)})
		}
	}
	return Explanation{out}
}

// explainMap lists the entries of a map one by one, as layers set them so.
func explainMap(e *typed.Entry, n *doc.Node, fv, dv reflect.Value) (out Explanation) {
	keys := make(map[string]reflect.Value, fv.Len())
	for it := fv.MapRange(); it.Next(); {
		keys[typed.PlainText(it.Key(), e.Shape.Key)] = it.Key()
	}

	find := n.Finder()
	for _, k := range typed.SortedKeys(keys) {
		var item *doc.Node
		if i := find(k); i >= 0 {
			item = n.Items[i]
		}

		full := doc.JoinKey(e.Key, k)
		entry := Entry{Key: full, Doc: e.Field.Doc, Origin: publicOrigin(item)}
		entry.Value = display(fv.MapIndex(keys[k]), e.Shape.Elem, full, hidden(item))

		if item != nil {
			entry.Overrode = overridden(from(item).over, e.Shape.Elem, full)
			if dv.IsValid() && dv.MapIndex(keys[k]).IsValid() {
				entry.Overrode = append(entry.Overrode, Overridden{Origin{Layer: string(layerDefault)}, display(dv.MapIndex(keys[k]), e.Shape.Elem, full, false)})
			}
		}
		out = append(out, entry)
	}

	return out
}

// publicOrigin is the origin of a node as Explain shows it.
func publicOrigin(n *doc.Node) Origin {
	from := from(n)
	if from == noOrigin {
		return Origin{Layer: string(layerDefault)}
	}
	o := Origin{Layer: string(from.layer.kind), Name: from.label, Reference: showReference(from.ref)}
	if from.label == "" {
		o.Name, o.Line, o.Column = from.layer.name, n.Line, n.Column
	}
	return o
}

// originOf is the place of a name in a document.
func originOf(n *doc.Node, k doc.Name) Origin {
	o := publicOrigin(n)
	if o.Line > 0 {
		o.Line, o.Column = k.Line, k.Column
	}
	return o
}

func overridden(n *doc.Node, s *typed.Shape, key string) (out []Overridden) {
	for ; n != nil; n = from(n).over {
		out = append(out, Overridden{publicOrigin(n), displayNode(n, s, key)})
	}
	return out
}

// displayNode is the text of a value that was not decoded, as its type would show
// it where it can be read as one.
func displayNode(n *doc.Node, s *typed.Shape, key string) string {
	if n.Kind == doc.Null {
		return "null"
	}

	if hidden(n) || s.IsSecret() || sensitiveKey(key) {
		if n.Kind == doc.Text && n.Text == "" {
			return ""
		}
		return redact.Mask
	}

	if n.Kind == doc.Text && isReference(n.Text) {
		return showReference(n.Text)
	}
	rv := reflect.New(s.Type).Elem()
	d := newDecoder(true)
	if d.Value(rv, s, n, key) {
		return display(rv, s, key, false)
	}
	return plainNode(n, s, key)
}

func plainNode(n *doc.Node, s *typed.Shape, key string) string {
	switch n.Kind {
	case doc.Text:
		return showable(n.Text)
	case doc.List, doc.Map:
		parts := make([]string, len(n.Items))
		for i, item := range n.Items {
			parts[i] = displayNode(item, s, key)
			if n.Kind == doc.Map {
				parts[i] = n.Names[i].Text + ": " + parts[i]
			}
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return "null"
}
