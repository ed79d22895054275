package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// rules are what the tags of a field ask of its value.
type rules struct {
	required bool
	oneof    []string
	min, max *bound
}

// bound is a limit from a min or max tag.
type bound struct {
	text string
	i    int64 // integers, durations, sizes, lengths
	u    uint64
	f    float64
}

func parseRules(tag reflect.StructTag, f *field) (r rules, errs []string) {
	if text, ok := tag.Lookup("required"); ok {
		v, err := strconv.ParseBool(text)
		if err != nil {
			errs = append(errs, fmt.Sprintf("field %s: tag required:%q is not true or false", f.goName, text))
		}
		r.required = v
	}
	if text, ok := tag.Lookup("oneof"); ok {
		r.oneof = strings.Split(text, "|")
	}
	for _, side := range []struct {
		name string
		into **bound
	}{{"min", &r.min}, {"max", &r.max}} {
		text, ok := tag.Lookup(side.name)
		if !ok {
			continue
		}
		b, err := parseBound(text, f.shape)
		if err != nil {
			errs = append(errs, fmt.Sprintf("field %s: tag %s:%q: %v", f.goName, side.name, text, err))
			continue
		}
		*side.into = b
	}
	return r, errs
}

func parseBound(text string, s *shape) (b *bound, err error) {
	for s.code == codePointer {
		s = s.elem
	}
	b = &bound{text: text}
	switch {
	case s.code == codeDuration:
		var d time.Duration
		d, err = time.ParseDuration(text)
		b.i = int64(d)
	case s.rt == reflect.TypeFor[Bytes]():
		var size Bytes
		size, err = ParseBytes(text)
		b.i = int64(size)
	case s.code == codeInt:
		b.i, err = strconv.ParseInt(text, 0, 64)
	case s.code == codeUint:
		b.u, err = strconv.ParseUint(text, 0, 64)
	case s.code == codeFloat:
		b.f, err = strconv.ParseFloat(text, 64)
	case s.code == codeString || s.code == codeSecret || s.code == codeRaw || s.code == codeSlice || s.code == codeMap || s.code == codeArray:
		b.i, err = strconv.ParseInt(text, 10, 64)
	default:
		return nil, fmt.Errorf("type %s has no order", s.rt)
	}
	if err != nil {
		return nil, fmt.Errorf("not a limit for type %s", s.rt)
	}
	return b, nil
}

// check returns what the rules want of rv, or "" if it holds.
func (r rules) check(rv reflect.Value, s *shape) (want string) {
	for s.code == codePointer {
		if rv.IsNil() {
			return ""
		}
		rv, s = rv.Elem(), s.elem
	}
	if len(r.oneof) > 0 {
		texts := []string{plainText(rv, s)}
		if s.code == codeSlice || s.code == codeArray {
			texts = texts[:0]
			for i := range rv.Len() {
				texts = append(texts, plainText(rv.Index(i), s.elem))
			}
		}
		for _, text := range texts {
			if !slices.Contains(r.oneof, text) {
				return "one of " + strings.Join(r.oneof, ", ")
			}
		}
	}
	low := r.min != nil && compare(rv, s, r.min) < 0
	high := r.max != nil && compare(rv, s, r.max) > 0
	if rv.CanFloat() && math.IsNaN(rv.Float()) { // in no range
		low = r.min != nil || r.max != nil
	}
	if !low && !high {
		return ""
	}
	return r.limits(s)
}

// limits puts min and max into words.
func (r rules) limits(s *shape) string {
	for s.code == codePointer {
		s = s.elem
	}
	unit := ""
	switch s.code {
	case codeString, codeSecret:
		unit = "a length of "
	case codeRaw:
		unit = "a length in bytes of "
	case codeSlice, codeMap, codeArray:
		unit = "a number of items of "
	}
	switch {
	case r.min != nil && r.max != nil:
		unit = strings.TrimSuffix(unit, "of ")
		return fmt.Sprintf("%sfrom %s to %s", unit, r.min.text, r.max.text)
	case r.min != nil:
		return fmt.Sprintf("%sat least %s", unit, r.min.text)
	case r.max != nil:
		return fmt.Sprintf("%sat most %s", unit, r.max.text)
	}
	return ""
}

func compare(rv reflect.Value, s *shape, b *bound) int {
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
	case s.code == codeSecret:
		return cmp(int64(utf8.RuneCountInString(rv.Interface().(Secret).Reveal())), b.i)
	case s.code == codeString:
		return cmp(int64(utf8.RuneCountInString(rv.String())), b.i)
	}
	return cmp(int64(rv.Len()), b.i)
}
