package typed

import (
	"errors"
	"reflect"

	"github.com/svcblocks/svcblocks/config/internal/doc"
)

// ErrSecret says that a value is not written to a document.
var ErrSecret = errors.New("a secret is not written to a plain file; set a reference (ref+…), or change it where it is kept")

// Encode turns a Go value into a tree that a file can hold.
func Encode(rv reflect.Value, s *Shape) (*doc.Node, error) {
	switch s.Code {
	case Pointer:
		if rv.IsNil() {
			return &doc.Node{Kind: doc.Null}, nil
		}
		return Encode(rv.Elem(), s.Elem)
	case Bool, Int, Uint, Float:
		return &doc.Node{Kind: doc.Text, Plain: true, Text: PlainText(rv, s)}, nil
	case Slice, Array:
		n := &doc.Node{Kind: doc.List}
		for i := range rv.Len() {
			item, err := Encode(rv.Index(i), s.Elem)
			if err != nil {
				return nil, err
			}
			n.Items = append(n.Items, item)
		}
		return n, nil
	case Map:
		n := &doc.Node{Kind: doc.Map}
		keys := make(map[string]reflect.Value, rv.Len())
		for it := rv.MapRange(); it.Next(); {
			keys[PlainText(it.Key(), s.Key)] = it.Key()
		}
		for _, k := range SortedKeys(keys) {
			item, err := Encode(rv.MapIndex(keys[k]), s.Elem)
			if err != nil {
				return nil, err
			}
			n.Put(doc.Name{Text: k}, item)
		}
		return n, nil
	case Struct:
		n := &doc.Node{Kind: doc.Map}
		for _, k := range SortedKeys(s.Struct.Names) {
			f := s.Struct.Names[k]
			fv, ok := ReadPath(rv, f.Path)
			if !ok || fv.IsZero() {
				continue
			}
			item, err := Encode(fv, f.Shape)
			if err != nil {
				return nil, err
			}
			n.Put(doc.Name{Text: k}, item)
		}
		return n, nil
	case Any:
		return encodeAny(rv)
	case Secret:
		return nil, ErrSecret
	case Text:
		if s.special != nil && s.special.Secret != nil && s.special.Secret(rv) {
			return nil, ErrSecret
		}
	}
	return &doc.Node{Kind: doc.Text, Text: PlainText(rv, s)}, nil
}

// encodeAny turns what stands under an interface into a tree that a file can
// hold, with the types that reading it back gives: a float stays one.
func encodeAny(rv reflect.Value) (*doc.Node, error) {
	if !rv.IsValid() || rv.Kind() == reflect.Interface && rv.IsNil() {
		return &doc.Node{Kind: doc.Null}, nil
	}
	return FromAny(rv.Interface(), AnyRules{ForFile: true})
}
