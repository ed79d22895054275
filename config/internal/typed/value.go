package typed

import (
	"encoding"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"strconv"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"strings"
)

// PlainText is the text of a scalar value as a file would hold it. It shows
// secrets: it is for comparing and writing, never for a message.
func PlainText(rv reflect.Value, s *Shape) string {
	for s.Code == Pointer {
		if rv.IsNil() {
			return ""
		}
		rv, s = rv.Elem(), s.Elem
	}
	switch s.Code {
	case String:
		return rv.String()
	case Bool:
		return strconv.FormatBool(rv.Bool())
	case Int:
		return strconv.FormatInt(rv.Int(), 10)
	case Uint:
		return strconv.FormatUint(rv.Uint(), 10)
	case Float:
		return strconv.FormatFloat(rv.Float(), 'g', -1, rv.Type().Bits())
	case Complex:
		return strings.Trim(strconv.FormatComplex(rv.Complex(), 'g', -1, rv.Type().Bits()), "()")
	case Duration:
		return time.Duration(rv.Int()).String()
	case Time:
		return rv.Interface().(time.Time).Format(time.RFC3339Nano)
	case Secret:
		return rv.Interface().(secret.Secret).Reveal()
	case Raw:
		return string(rv.Bytes())
	case URL:
		u := rv.Interface().(url.URL)
		return u.String()
	case Text:
		if s.special != nil && s.special.Text != nil {
			return s.special.Text(rv)
		}
		return marshalText(rv)
	}
	return fmt.Sprint(rv.Interface())
}

func marshalText(rv reflect.Value) string {
	v := rv
	if rv.CanAddr() {
		v = rv.Addr()
	} else {
		v = reflect.New(rv.Type())
		v.Elem().Set(rv)
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	if st, ok := v.Interface().(fmt.Stringer); ok {
		return st.String()
	}
	return fmt.Sprint(rv.Interface())
}

// Copy copies a value so that no list, map or struct is shared; a scalar
// comes back as it is, and as addressable as it was. Pointers to what is no key
// stay as they are.
func Copy(rv reflect.Value, s *Shape) reflect.Value {
	switch s.Code {
	case Pointer, Slice, Array, Raw, Map, Struct:
	default:
		return rv // nothing in it is shared
	}
	out := reflect.New(rv.Type()).Elem()
	out.Set(rv)
	switch s.Code {
	case Pointer:
		if !rv.IsNil() && s.Elem.Code != Text {
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
		for _, f := range s.Struct.Fields {
			switch fv := out.Field(f.Index); {
			case f.Shape.Code == Struct: // in place, as an embedded one may be of an unexported type
				copyPromoted(fv, f.Shape)
			case fv.CanSet():
				fv.Set(Copy(rv.Field(f.Index), f.Shape))
			}
		}
	}
	return out
}

// copyPromoted copies what the fields of a struct share, in place.
func copyPromoted(rv reflect.Value, s *Shape) {
	for _, f := range s.Struct.Fields {
		switch fv := rv.Field(f.Index); {
		case f.Shape.Code == Struct:
			copyPromoted(fv, f.Shape)
		case fv.CanSet():
			fv.Set(Copy(fv, f.Shape))
		}
	}
}

// Equal compares two values by their keys: functions, loggers and clients in
// them do not count.
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
		if a.Len() != b.Len() || s.Code == Slice && a.IsNil() != b.IsNil() {
			return false
		}
		for i := range a.Len() {
			if !Equal(a.Index(i), b.Index(i), s.Elem) {
				return false
			}
		}
		return true
	case Map:
		if a.Len() != b.Len() || a.IsNil() != b.IsNil() {
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
	}
	if !a.CanInterface() {
		return true // of an embedded type that is not exported, and no key
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}
