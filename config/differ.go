package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/internal/typed"
)

// differ collects the changes below one leaf.
type differ struct {
	*engine
	base *snapshot
	leaf *typed.Entry
	out  []doc.Change

	resolved map[string]bool // texts of the leaf that are held elsewhere
}

// leafValues compares the two values of the leaf.
func (d *differ) leafValues(ov, nv reflect.Value) error {
	if !ov.IsValid() && nv.IsZero() && !d.leaf.Field.Tags.HasDefault {
		return nil // a section that is made has it so
	}
	if d.leaf.Shape.Code == typed.Map && !ov.IsValid() {
		ov = reflect.Zero(d.leaf.Shape.Type)
	}
	return d.value(d.leaf.Shape, d.base.heads[d.leaf.ID], ov, nv, strings.Split(d.leaf.Key, "."))
}

// mapEdits edits the entries of a map one by one, and within an entry the keys
// that differ.
func (d *differ) mapEdits(s *typed.Shape, n *doc.Node, ov, nv reflect.Value, path []string) error {
	keys := map[string][2]reflect.Value{}
	for i, rv := range []reflect.Value{ov, nv} {
		if !rv.IsValid() {
			continue
		}
		for it := rv.MapRange(); it.Next(); {
			k := typed.PlainText(it.Key(), s.Key)
			pair := keys[k]
			pair[i] = it.Value()
			keys[k] = pair
		}
	}

	find := n.Finder()
	for _, k := range typed.SortedKeys(keys) {
		if nv := keys[k][1]; nv.IsValid() && (nv.Kind() == reflect.Interface || nv.Kind() == reflect.Pointer) && nv.IsNil() {
			return fmt.Errorf("config: update %s: null is no entry of a map; delete the key to remove it", doc.Dotted(append(slices.Clone(path), k)))
		}
		var item *doc.Node
		if i := find(k); i >= 0 {
			item = n.Items[i]
		}
		if err := d.value(s.Elem, item, keys[k][0], keys[k][1], append(slices.Clone(path), k)); err != nil {
			return err
		}
	}

	return nil
}

// value compares one value, whose node in the layers is n; an invalid
// reflect.Value stands for an entry that is not there.
func (d *differ) value(s *typed.Shape, n *doc.Node, ov, nv reflect.Value, path []string) error {
	key := doc.Dotted(path)
	if ov.IsValid() && nv.IsValid() {
		if typed.Equal(ov, nv, s) {
			return nil
		}

		for s.Code == typed.Pointer && !ov.IsNil() && !nv.IsNil() {
			s, ov, nv = s.Elem, ov.Elem(), nv.Elem()
		}

		switch {
		case s.Code == typed.Map:
			return d.mapEdits(s, n, ov, nv, path)
		case s.Code == typed.Struct:
			for _, k := range typed.SortedKeys(s.Struct.Names) {
				f := s.Struct.Names[k]
				of, ok := typed.ReadPath(ov, f.Path)
				nf, also := typed.ReadPath(nv, f.Path)
				if !ok || !also {
					continue
				}
				if err := d.value(f.Shape, n.Find(k), of, nf, append(slices.Clone(path), k)); err != nil {
					return err
				}
			}
			return nil
		}
	}

	if err := d.base.mayWrite(key, n); err != nil {
		return err
	}

	x := doc.Change{Path: path}
	switch {
	case nv.IsValid():
		var err error
		if x.Value, err = d.encode(s, n, ov, nv, key); err != nil {
			return err
		}
		if d.holdsResolved(x.Value, true) {
			return refuse(ErrSecret, "update %s: a value in it is held elsewhere", key)
		}
	case n == nil || from(n).over != nil || !from(n).layer.writable || d.defaultHas(path[len(path)-1]):
		x.Value = &doc.Node{Kind: doc.Null} // set below the file: take it away there
	}

	d.out = append(d.out, x)
	return nil
}

// defaultHas reports whether the default of a map has the entry.
func (d *differ) defaultHas(k string) bool {
	copied := typed.Copy(d.defaults, d.schema.Root.Shape)
	m := d.leafValue(copied, d.leaf)
	if m.Kind() != reflect.Map {
		return false
	}
	for it := m.MapRange(); it.Next(); {
		if typed.PlainText(it.Key(), d.leaf.Shape.Key) == k {
			return true
		}
	}
	return false
}

// encode makes the node to write for a value. What did not change keeps the
// text that the file has: a reference is written, never what it stands for.
func (d *differ) encode(s *typed.Shape, n *doc.Node, ov, nv reflect.Value, key string) (*doc.Node, error) {
	if n != nil && n.Kind != doc.Null && ov.IsValid() && typed.Equal(ov, nv, s) && (from(n).layer.writable || holdsReference(n)) {
		return raw(n), nil
	}

	if s.Code == typed.Pointer && !nv.IsNil() {
		if ov.IsValid() {
			ov = ov.Elem() // invalid for nil
		}
		return d.encode(s.Elem, n, ov, nv.Elem(), key)
	}

	if ref := from(n).ref; ref != "" {
		return nil, refuse(ErrSecret, "update %s: its value is held at %s", key, showReference(ref))
	}

	switch s.Code {
	case typed.Slice, typed.Array:
		return d.list(s, n, ov, nv, key)
	case typed.Struct:
		return d.structure(s, n, ov, nv, key)
	}

	text, err := typed.Encode(nv, s)
	if err != nil {
		return nil, encodeError("update", key, err)
	}
	return asQuoted(n, text, s), nil
}

// asQuoted writes a number or a word as text where the file has it as text, and
// the key's type reads it so.
func asQuoted(n, value *doc.Node, s *typed.Shape) *doc.Node {
	for s.Code == typed.Pointer {
		s = s.Elem
	}
	if s.Code == typed.Any || n == nil || n.Kind != doc.Text || n.Plain || value == nil || !value.Plain || !from(n).writable() {
		return value
	}
	quoted := *value
	quoted.Plain = false
	return &quoted
}

// list encodes a list. Each item is paired with what it was, so that it keeps
// its text, and the file's list is changed item by item.
func (d *differ) list(s *typed.Shape, n *doc.Node, ov, nv reflect.Value, key string) (*doc.Node, error) {
	out := &doc.Node{Kind: doc.List}
	var pairs []int
	if n != nil && n.Kind == doc.List && ov.IsValid() && len(n.Items) == ov.Len() {
		pairs = doc.PairNodes(typed.Tree(ov, s).Items, typed.Tree(nv, s).Items)
		if from(n).writable() {
			out.Pairs = pairs
		}
	}

	for i := range nv.Len() {
		var item *doc.Node
		var old reflect.Value
		if j := d.textOf(s, pairs, ov, nv, i); j >= 0 {
			item, old = n.Items[j], ov.Index(j)
		}

		v, err := d.encode(s.Elem, item, old, nv.Index(i), fmt.Sprintf("%s[%d]", key, i))
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, v)
	}
	return out, nil
}

// textOf is the old item whose text new item i may keep: an equal one, be it a
// copy, or the one that it is paired with. It is -1 for none.
func (d *differ) textOf(s *typed.Shape, pairs []int, ov, nv reflect.Value, i int) int {
	if pairs == nil {
		return -1
	}
	if j := pairs[i]; j >= 0 && typed.Equal(ov.Index(j), nv.Index(i), s.Elem) {
		return j
	}
	for j := range ov.Len() {
		if typed.Equal(ov.Index(j), nv.Index(i), s.Elem) {
			return j
		}
	}
	return pairs[i]
}

// structure encodes a struct in a list or map: what it was keeps its text, and
// keys of the file that no field has stay.
func (d *differ) structure(s *typed.Shape, n *doc.Node, ov, nv reflect.Value, key string) (*doc.Node, error) {
	out := &doc.Node{Kind: doc.Map}
	for _, k := range s.Struct.Order {
		f := s.Struct.Names[k]
		nf, ok := typed.ReadPath(nv, f.Path)
		item := n.Find(k)
		if !ok || nf.IsZero() && item == nil && !f.Tags.HasDefault {
			continue
		}
		if isNone(nf) && !f.Tags.HasDefault {
			continue // without its key it is none
		}

		var of reflect.Value
		if ov.IsValid() {
			if at, ok := typed.ReadPath(ov, f.Path); ok {
				of = at
			}
		}

		v, err := d.encode(f.Shape, item, of, nf, doc.JoinKey(key, k))
		if err != nil {
			return nil, err
		}
		out.Put(doc.Name{Text: k}, v)
	}

	if n != nil && n.Kind == doc.Map && from(n).writable() {
		for i, k := range n.Names {
			if s.Struct.Names[k.Text] == nil {
				out.Put(k, raw(n.Items[i]))
			}
		}
	}

	return out, nil
}

// isNone reports a list or map that is none at all.
func isNone(rv reflect.Value) bool {
	return (rv.Kind() == reflect.Slice || rv.Kind() == reflect.Map) && rv.IsNil()
}

// holdsResolved reports a text that a reference or a secret file of the leaf
// gave: it is not written, wherever the change has put it.
func (d *differ) holdsResolved(n *doc.Node, top bool) bool {
	if n == nil {
		return false
	}

	if top && d.resolved == nil {
		d.resolved = map[string]bool{}
		d.base.heads[d.leaf.ID].Visit(func(n *doc.Node) {
			if n.Kind == doc.Text && (from(n).ref != "" || from(n).tainted) && n.Text != "" {
				d.resolved[n.Text] = true
			}
		})
	}

	if n.Kind == doc.Text && d.resolved[n.Text] {
		return true
	}
	return slices.ContainsFunc(n.Items, func(item *doc.Node) bool { return d.holdsResolved(item, false) })
}

// holdsReference reports whether a reference was resolved in n.
func holdsReference(n *doc.Node) (found bool) {
	n.Visit(func(n *doc.Node) { found = found || from(n).ref != "" })
	return found
}

// raw is the tree of n as the file has it, with references in place of values.
func raw(n *doc.Node) *doc.Node {
	if ref := from(n).ref; ref != "" {
		return &doc.Node{Kind: doc.Text, Text: ref}
	}
	out := &doc.Node{Kind: n.Kind, Text: n.Text, Plain: n.Plain, Names: n.Names}
	for _, item := range n.Items {
		out.Items = append(out.Items, raw(item))
	}
	return out
}
