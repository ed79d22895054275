package config

import (
	"errors"
	"reflect"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/doc"
)

// encode turns a Go value into a tree that a file can hold.
func encode(rv reflect.Value, s *shape) (*doc.Node, error) {
	switch s.code {
	case codePointer:
		if rv.IsNil() {
			return &doc.Node{Kind: doc.Null}, nil
		}
		return encode(rv.Elem(), s.elem)
	case codeBool, codeInt, codeUint, codeFloat:
		return &doc.Node{Kind: doc.Text, Plain: true, Text: plainText(rv, s)}, nil
	case codeSlice, codeArray:
		n := &doc.Node{Kind: doc.List}
		for i := range rv.Len() {
			item, err := encode(rv.Index(i), s.elem)
			if err != nil {
				return nil, err
			}
			n.Items = append(n.Items, item)
		}
		return n, nil
	case codeMap:
		n := &doc.Node{Kind: doc.Map}
		keys := make(map[string]reflect.Value, rv.Len())
		for it := rv.MapRange(); it.Next(); {
			keys[plainText(it.Key(), s.key)] = it.Key()
		}
		for _, k := range sortedKeys(keys) {
			item, err := encode(rv.MapIndex(keys[k]), s.elem)
			if err != nil {
				return nil, err
			}
			n.Put(doc.Name{Text: k}, item)
		}
		return n, nil
	case codeStruct:
		n := &doc.Node{Kind: doc.Map}
		for _, k := range sortedKeys(s.str.names) {
			f := s.str.names[k]
			fv, ok := readPath(rv, f.path)
			if !ok || fv.IsZero() {
				continue
			}
			item, err := encode(fv, f.shape)
			if err != nil {
				return nil, err
			}
			n.Put(doc.Name{Text: k}, item)
		}
		return n, nil
	case codeAny:
		return encodeAny(rv)
	case codeSecret:
		return nil, errSecretInFile
	case codeText:
		if u, ok := rv.Interface().(URL); ok && u.User != nil {
			if _, has := u.User.Password(); has {
				return nil, errSecretInFile
			}
		}
	}
	return &doc.Node{Kind: doc.Text, Text: plainText(rv, s)}, nil
}

func encodeAny(rv reflect.Value) (*doc.Node, error) {
	if !rv.IsValid() || rv.Kind() == reflect.Interface && rv.IsNil() {
		return &doc.Node{Kind: doc.Null}, nil
	}
	n := fromAny(rv.Interface(), nil)
	var bad func(n *doc.Node) error
	bad = func(n *doc.Node) error {
		if n.Kind == doc.Text && strings.HasPrefix(n.Text, "0x") && n.Plain {
			return errors.New("a pointer")
		}
		for _, item := range n.Items {
			if err := bad(item); err != nil {
				return err
			}
		}
		return nil
	}
	return n, bad(n)
}
