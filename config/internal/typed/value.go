package typed

import (
	"encoding"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
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
		return floatText(rv.Float(), rv.Type().Bits())
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
		switch {
		case s.standard != nil:
			return s.standard.Text(rv)
		case s.special != nil && s.special.Text != nil:
			return s.special.Text(rv)
		}
		return marshalText(rv)
	}

	return fmt.Sprint(rv.Interface())
}

// marshalText is what a type says of a value: nothing where its method panics, as
// that of an embedded pointer does which is nil.
func marshalText(rv reflect.Value) (text string) {
	defer func() {
		if recover() != nil {
			text = ""
		}
	}()

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

// IsEmpty reports an empty text, list or map. A number, a false or a null is
// none: it says something.
func IsEmpty(rv reflect.Value, s *Shape) bool {
	for s.Code == Pointer {
		if rv.IsNil() {
			return false
		}
		rv, s = rv.Elem(), s.Elem
	}

	switch s.Code {
	case String, Raw, Slice, Map:
		return rv.Len() == 0
	case Secret, URL:
		return rv.IsZero()
	case Text: // a zero that has a name, such as a level, says something
		return rv.IsZero() && PlainText(rv, s) == ""
	}

	return false
}
