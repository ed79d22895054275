package typed

import (
	"encoding"
	"math"
	"reflect"

	"github.com/svcblocks/svcblocks/config/internal/doc"
)

// Copy copies a value so that nothing in it is shared which a program may
// change: no list, map, struct, nor what stands under an interface or a pointer
// to a type that reads text. A scalar comes back as it is, and as addressable as
// it was. Pointers to what is no key stay as they are, and those to what only its
// own package can copy.
func Copy(rv reflect.Value, s *Shape) reflect.Value {
	switch s.Code {
	case Pointer, Slice, Array, Raw, Map, Struct:
	case Any:
		return copier{}.any(rv, 0)
	case Text:
		if s.standard != nil {
			return s.standard.Copy(rv)
		}
		return copier{}.text(rv, 0)
	default:
		return rv // nothing in it is shared
	}

	out := reflect.New(rv.Type()).Elem()
	out.Set(rv)

	switch s.Code {
	case Pointer:
		if !rv.IsNil() {
			p := reflect.New(rv.Type().Elem())
			p.Elem().Set(Copy(rv.Elem(), s.Elem))
			out.Set(p)
		}
	case Slice:
		if !rv.IsNil() {
			out.Set(reflect.MakeSlice(rv.Type(), rv.Len(), rv.Len()))
			for i := range rv.Len() {
				out.Index(i).Set(Copy(rv.Index(i), s.Elem))
			}
		}
	case Array:
		for i := range rv.Len() {
			out.Index(i).Set(Copy(rv.Index(i), s.Elem))
		}
	case Raw:
		if !rv.IsNil() {
			out.Set(reflect.MakeSlice(rv.Type(), rv.Len(), rv.Len()))
			reflect.Copy(out, rv)
		}
	case Map:
		if !rv.IsNil() {
			out.Set(reflect.MakeMapWithSize(rv.Type(), rv.Len()))
			for it := rv.MapRange(); it.Next(); {
				out.SetMapIndex(it.Key(), Copy(it.Value(), s.Elem))
			}
		}
	case Struct:
		copyFields(out, s)
	}
	return out
}

// copyFields copies what the fields of a struct share, in place: an embedded
// struct may be of an unexported type, which reflection cannot set as a whole.
func copyFields(rv reflect.Value, s *Shape) {
	for _, f := range s.Struct.Fields {
		switch fv := rv.Field(f.Index); {
		case f.Shape.Code == Struct:
			copyFields(fv, f.Shape)
		case fv.CanSet():
			fv.Set(Copy(fv, f.Shape))
		}
	}
}

// sharesMemory reports whether a plain copy of a value shares something with it
// that could change.
func sharesMemory(rt reflect.Type, depth int) bool {
	switch rt.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.UnsafePointer:
		return true
	case reflect.Array:
		return sharesMemory(rt.Elem(), depth+1)
	case reflect.Struct:
		for field := range rt.Fields() {
			if sharesMemory(field.Type, depth+1) {
				return true
			}
		}
	}
	return false
}

// maxAnyDepth bounds the nesting of a value under an interface: a map that holds
// itself has no end.
const maxAnyDepth = 1000

// copier copies what no key describes, each thing that is pointed to once: lists of
// nodes lead back to where they began.
type copier map[pointer]reflect.Value

// pointer is one, and what it leads to: a struct and its first field have one
// address.
type pointer struct {
	to reflect.Type
	at uintptr
}

// any copies what stands under an interface: the maps and lists that files give,
// and whatever else a program has put there.
func (c copier) any(rv reflect.Value, depth int) reflect.Value {
	switch {
	case depth > maxAnyDepth:
		return rv
	case rv.Kind() != reflect.Interface && rv.Kind() != reflect.Pointer && readsText(rv.Type()):
		return c.text(rv, depth)
	}
	return c.parts(rv, depth)
}

// text copies a value whose type reads text. Its fields are its own, so that it is
// made anew from its text where it shares memory. A type whose text does not say
// all, such as one that masks itself, is copied part by part; what its own fields
// share stays shared.
func (c copier) text(rv reflect.Value, depth int) reflect.Value {
	if !rv.CanInterface() || !sharesMemory(rv.Type(), 0) {
		return rv
	}
	out := reflect.New(rv.Type())
	err := out.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(marshalText(rv)))
	if err != nil || !reflect.DeepEqual(out.Elem().Interface(), rv.Interface()) {
		return c.parts(rv, depth)
	}
	return out.Elem()
}

// parts copies the items, entries, exported fields and what a pointer leads to.
func (c copier) parts(rv reflect.Value, depth int) reflect.Value {
	out := reflect.New(rv.Type()).Elem()
	out.Set(rv)

	switch rv.Kind() {
	case reflect.Interface:
		if !rv.IsNil() {
			out.Set(c.any(rv.Elem(), depth+1))
		}
	case reflect.Pointer:
		if !rv.IsNil() && !isClosed(rv.Type().Elem()) {
			out.Set(c.pointed(rv, depth))
		}
	case reflect.Slice:
		if !rv.IsNil() {
			out.Set(reflect.MakeSlice(rv.Type(), rv.Len(), rv.Len()))
			for i := range rv.Len() {
				out.Index(i).Set(c.any(rv.Index(i), depth+1))
			}
		}
	case reflect.Array:
		for i := range rv.Len() {
			out.Index(i).Set(c.any(rv.Index(i), depth+1))
		}
	case reflect.Map:
		if !rv.IsNil() {
			out.Set(reflect.MakeMapWithSize(rv.Type(), rv.Len()))
			for it := rv.MapRange(); it.Next(); {
				out.SetMapIndex(it.Key(), c.any(it.Value(), depth+1))
			}
		}
	case reflect.Struct:
		for i := range rv.NumField() {
			if fv := out.Field(i); fv.CanSet() {
				fv.Set(c.any(fv, depth+1))
			}
		}
	}
	return out
}

// pointed copies what a pointer leads to.
func (c copier) pointed(rv reflect.Value, depth int) reflect.Value {
	key := pointer{rv.Type().Elem(), rv.Pointer()}
	if p, ok := c[key]; ok {
		return p
	}

	p := reflect.New(key.to)
	c[key] = p
	p.Elem().Set(c.any(rv.Elem(), depth+1))
	return p
}

// isClosed reports a struct with fields that are not exported. Where it is pointed
// to, a copy of its bytes is another thing: a *time.Location counts by its address,
// a lock by who holds it.
func isClosed(rt reflect.Type) bool {
	if rt.Kind() != reflect.Struct || readsText(rt) {
		return false
	}
	for field := range rt.Fields() {
		if !field.IsExported() {
			return true
		}
	}
	return false
}

func readsText(rt reflect.Type) bool { return reflect.PointerTo(rt).Implements(textUnmarshalerType) }

// Equal compares two values by their keys: functions, loggers and clients in
// them do not count. An empty list or map equals none, as files that give one or
// the other mean the same.
func Equal(a, b reflect.Value, s *Shape) bool {
	switch s.Code {
	case Pointer:
		if a.IsNil() || b.IsNil() || a.Pointer() == b.Pointer() {
			return a.IsNil() == b.IsNil()
		}
		return Equal(a.Elem(), b.Elem(), s.Elem)
	case Struct:
		for _, f := range s.Struct.Fields {
			if !Equal(a.Field(f.Index), b.Field(f.Index), f.Shape) {
				return false
			}
		}
		return true
	case Slice, Array:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !Equal(a.Index(i), b.Index(i), s.Elem) {
				return false
			}
		}
		return true
	case Map:
		if a.Len() != b.Len() {
			return false
		}
		for it := a.MapRange(); it.Next(); {
			if other := b.MapIndex(it.Key()); !other.IsValid() || !Equal(it.Value(), other, s.Elem) {
				return false
			}
		}
		return true
	case Float: // one that is no number is the same as another one
		return a.Float() == b.Float() || math.IsNaN(a.Float()) && math.IsNaN(b.Float())
	case Text:
		if s.standard != nil {
			return equalStandard(a, b, s)
		}
	case Any: // an int and the int64 that a file gives are one value
		return equalAny(a, b)
	}

	if !a.CanInterface() {
		return true // of an embedded type that is not exported, and no key
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// equalStandard compares two values by their texts: one zone that was read twice
// is another pointer, and an address may have two forms.
func equalStandard(a, b reflect.Value, s *Shape) bool {
	x, y := s.standard.Text(a), s.standard.Text(b)
	if x == "" && y == "" {
		return reflect.DeepEqual(a.Interface(), b.Interface())
	}
	return x == y
}

// equalAny compares what a file would hold for two values under an interface.
func equalAny(a, b reflect.Value) bool {
	if reflect.DeepEqual(a.Interface(), b.Interface()) {
		return true
	}
	x, errX := Encode(a, &Shape{Code: Any})
	y, errY := Encode(b, &Shape{Code: Any})
	return errX == nil && errY == nil && sameValue(x, y)
}

// sameValue reports whether two trees hold the same keys and values, of the
// same types.
func sameValue(x, y *doc.Node) bool {
	if x.Kind != y.Kind || x.Text != y.Text || x.Plain != y.Plain || len(x.Items) != len(y.Items) {
		return false
	}
	for i, item := range x.Items {
		other := y.Items[i]
		if x.Kind == doc.Map {
			other = y.Child(x.Names[i].Text)
		}
		if other == nil || !sameValue(item, other) {
			return false
		}
	}
	return true
}

// ChangedNoKey names a field that is no key and differs: nothing could be
// written for it.
func ChangedNoKey(a, b reflect.Value, s *Shape) (name string) {
	switch s.Code {
	case Pointer:
		if a.IsNil() || b.IsNil() {
			return ""
		}
		return ChangedNoKey(a.Elem(), b.Elem(), s.Elem)
	case Struct:
	default:
		return ""
	}

	byIndex := map[int]*Field{}
	for _, f := range s.Struct.Fields {
		byIndex[f.Index] = f
	}

	for i := range a.NumField() {
		x, y := a.Field(i), b.Field(i)
		if f := byIndex[i]; f != nil {
			if name := ChangedNoKey(x, y, f.Shape); name != "" {
				return name
			}
			continue
		}
		if !sameField(x, y) {
			return s.Type.String() + "." + s.Type.Field(i).Name
		}
	}
	return ""
}

// sameField compares fields that are no keys, which copies of the settings
// share.
func sameField(x, y reflect.Value) bool {
	switch x.Kind() {
	case reflect.Func, reflect.Map:
		return x.Pointer() == y.Pointer()
	case reflect.Slice:
		return x.Pointer() == y.Pointer() && x.Len() == y.Len()
	case reflect.Interface:
		if x.IsNil() || y.IsNil() {
			return x.IsNil() == y.IsNil()
		}
		return x.Elem().Type() == y.Elem().Type() && sameField(x.Elem(), y.Elem())
	}
	return !x.Comparable() || !y.Comparable() || x.Equal(y)
}
