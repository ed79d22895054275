package typed

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
)

// Rules are what the tags of a field ask of its value.
type Rules struct {
	Required bool
	OneOf    []string
	Min, Max *Bound
}

// Bound is a limit from a min or max tag.
type Bound struct {
	Text string
	i    int64 // integers, durations, sizes, lengths
	u    uint64
	f    float64
}

func parseRules(tag reflect.StructTag, f *Field) (r Rules, errs []string) {
	if text, ok := tag.Lookup("required"); ok {
		v, err := strconv.ParseBool(text)
		if err != nil {
			errs = append(errs, fmt.Sprintf("field %s: tag required:%q is not true or false", f.GoName, text))
		}
		r.Required = v
	}

	if text, ok := tag.Lookup("oneof"); ok {
		r.OneOf = strings.Split(text, "|")
	}

	for _, side := range []struct {
		name string
		into **Bound
	}{{"min", &r.Min}, {"max", &r.Max}} {
		text, ok := tag.Lookup(side.name)
		if !ok {
			continue
		}

		b, err := parseBound(text, f.Shape)
		if err != nil {
			errs = append(errs, fmt.Sprintf("field %s: tag %s:%q: %v", f.GoName, side.name, text, err))
			continue
		}
		*side.into = b
	}

	return r, errs
}

func parseBound(text string, s *Shape) (b *Bound, err error) {
	for s.Code == Pointer {
		s = s.Elem
	}

	b = &Bound{Text: text}
	switch {
	case s.Code == Duration:
		var d time.Duration
		d, err = time.ParseDuration(text)
		b.i = int64(d)
	case s.Code == Text && s.Type.Kind() == reflect.Int64: // a size
		v := reflect.New(s.Type)
		err = v.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
		b.i = v.Elem().Int()
	case s.Code == Int:
		if b.i, err = strconv.ParseInt(text, 0, 64); err != nil {
			b.i, err = options.ParseSize(text)
		}
	case s.Code == Uint:
		if b.u, err = strconv.ParseUint(text, 0, 64); err != nil {
			var size int64
			size, err = options.ParseSize(text)
			b.u = uint64(size)
		}
	case s.Code == Float:
		b.f, err = strconv.ParseFloat(text, 64)
	case s.Code == String || s.Code == Secret || s.Code == Raw || s.Code == Slice || s.Code == Map || s.Code == Array:
		b.i, err = strconv.ParseInt(text, 10, 64)
	default:
		return nil, fmt.Errorf("type %s has no order", s.Type)
	}

	if err != nil {
		return nil, fmt.Errorf("not a limit for type %s", s.Type)
	}
	return b, nil
}

// Check returns what the rules want of rv, or "" if it holds.
func (r Rules) Check(rv reflect.Value, s *Shape) (want string) {
	for s.Code == Pointer {
		if rv.IsNil() {
			return ""
		}
		rv, s = rv.Elem(), s.Elem
	}

	if len(r.OneOf) > 0 {
		texts := []string{PlainText(rv, s)}
		if s.Code == Slice || s.Code == Array {
			texts = texts[:0]
			for i := range rv.Len() {
				texts = append(texts, PlainText(rv.Index(i), s.Elem))
			}
		}
		for _, text := range texts {
			if !slices.Contains(r.OneOf, text) {
				return "one of " + strings.Join(r.OneOf, ", ")
			}
		}
	}

	low := r.Min != nil && compare(rv, s, r.Min) < 0
	high := r.Max != nil && compare(rv, s, r.Max) > 0
	if rv.CanFloat() && math.IsNaN(rv.Float()) { // in no range
		low = r.Min != nil || r.Max != nil
	}
	if !low && !high {
		return ""
	}
	return r.Limits(s)
}

// Limits puts min and max into words.
func (r Rules) Limits(s *Shape) string {
	for s.Code == Pointer {
		s = s.Elem
	}

	unit := ""
	switch s.Code {
	case String, Secret:
		unit = "a length of "
	case Raw:
		unit = "a length in bytes of "
	case Slice, Map, Array:
		unit = "a number of items of "
	}

	switch {
	case r.Min != nil && r.Max != nil:
		unit = strings.TrimSuffix(unit, "of ")
		return fmt.Sprintf("%sfrom %s to %s", unit, r.Min.Text, r.Max.Text)
	case r.Min != nil:
		return fmt.Sprintf("%sat least %s", unit, r.Min.Text)
	case r.Max != nil:
		return fmt.Sprintf("%sat most %s", unit, r.Max.Text)
	}

	return ""
}

func compare(rv reflect.Value, s *Shape, b *Bound) int {
	cmp := func(v, limit int64) int {
		switch {
		case v < limit:
			return -1
		case v > limit:
			return 1
		}
		return 0
	}

	switch {
	case rv.CanInt():
		return cmp(rv.Int(), b.i)
	case rv.CanUint():
		switch v := rv.Uint(); {
		case v < b.u:
			return -1
		case v > b.u:
			return 1
		}
		return 0
	case rv.CanFloat():
		switch v := rv.Float(); {
		case v < b.f:
			return -1
		case v > b.f:
			return 1
		}
		return 0
	case s.Code == Secret:
		return cmp(int64(utf8.RuneCountInString(rv.Interface().(secret.Secret).Reveal())), b.i)
	case s.Code == String:
		return cmp(int64(utf8.RuneCountInString(rv.String())), b.i)
	}

	return cmp(int64(rv.Len()), b.i)
}
