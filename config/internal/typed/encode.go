package typed

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/svcblocks/svcblocks/config/internal/doc"
)

// ErrSecret says that a value is not written to a document.
var ErrSecret = errors.New("a secret is not written to a plain file; set a reference (ref+…), or change it where it is kept")

// Encode turns a Go value into a tree that a file can hold.
func Encode(rv reflect.Value, s *Shape) (*doc.Node, error) { return encoder{}.value(rv, s) }

// Tree turns a Go value into a tree for comparing: with the text of secrets.
func Tree(rv reflect.Value, s *Shape) *doc.Node {
	n, err := encoder{reveal: true}.value(rv, s)
	if err != nil { // an odd value under an interface
		return &doc.Node{Kind: doc.Text, Text: PlainText(rv, s)}
	}
	return n
}

type encoder struct{ reveal bool }

func (e encoder) value(rv reflect.Value, s *Shape) (*doc.Node, error) {
	switch s.Code {
	case Pointer:
		if rv.IsNil() {
			return &doc.Node{Kind: doc.Null}, nil
		}
		return e.value(rv.Elem(), s.Elem)
	case Bool, Int, Uint:
		return &doc.Node{Kind: doc.Text, Plain: true, Text: PlainText(rv, s)}, nil
	case Float:
		return &doc.Node{Kind: doc.Text, Plain: true, Text: withPoint(floatText(rv.Float(), rv.Type().Bits()))}, nil
	case Slice, Array:
		n := &doc.Node{Kind: doc.List}
		for i := range rv.Len() {
			item, err := e.value(rv.Index(i), s.Elem)
			if err != nil {
				return nil, err
			}
			n.Items = append(n.Items, item)
		}
		return n, nil
	case Map:
		return e.mapping(rv, s)
	case Struct:
		return e.structure(rv, s)
	case Any:
		if !rv.IsValid() || rv.Kind() == reflect.Interface && rv.IsNil() {
			return &doc.Node{Kind: doc.Null}, nil
		}
		return FromAny(rv.Interface(), AnyRules{ForFile: !e.reveal})
	case Secret:
		if !e.reveal {
			return nil, ErrSecret
		}
	case Text:
		if !e.reveal && s.special != nil && s.special.Secret != nil && s.special.Secret(rv) {
			return nil, ErrSecret
		}
		if s.standard != nil {
			return e.standard(rv, s)
		}
	}

	return &doc.Node{Kind: doc.Text, Text: PlainText(rv, s)}, nil
}

// standard writes a value whose type cannot write itself.
func (e encoder) standard(rv reflect.Value, s *Shape) (*doc.Node, error) {
	if rv.IsZero() {
		return &doc.Node{Kind: doc.Null}, nil
	}
	text := s.standard.Text(rv)
	if text == "" && !e.reveal {
		return nil, fmt.Errorf("a %s has no text that a file could hold: want %s", s.Type, s.standard.Want)
	}
	return &doc.Node{Kind: doc.Text, Text: text}, nil
}

// mapping writes the entries in the order of their keys.
func (e encoder) mapping(rv reflect.Value, s *Shape) (*doc.Node, error) {
	n := &doc.Node{Kind: doc.Map}
	keys := make(map[string]reflect.Value, rv.Len())
	for it := rv.MapRange(); it.Next(); {
		keys[PlainText(it.Key(), s.Key)] = it.Key()
	}
	for _, k := range SortedKeys(keys) {
		item, err := e.value(rv.MapIndex(keys[k]), s.Elem)
		if err != nil {
			return nil, err
		}
		n.Names, n.Items = append(n.Names, doc.Name{Text: k}), append(n.Items, item)
	}
	return n, nil
}

// structure writes the fields that are set, in their order.
func (e encoder) structure(rv reflect.Value, s *Shape) (*doc.Node, error) {
	n := &doc.Node{Kind: doc.Map}
	for _, k := range s.Struct.Order {
		f := s.Struct.Names[k]
		fv, ok := ReadPath(rv, f.Path)
		if !ok || fv.IsZero() && !f.Tags.HasDefault { // a zero would be read as its default
			continue
		}
		item, err := e.value(fv, f.Shape)
		if err != nil {
			return nil, err
		}
		n.Put(doc.Name{Text: k}, item)
	}
	return n, nil
}
