package options

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

var errNoBool = errors.New("not true or false")

// Parse returns text as a value of type t: what UnmarshalText of the type
// reads, else a bool, a number, a duration such as "5s", a size such as
// "64MiB" for an integer, a text, a URL, what StandardOf knows, or a list of these
// parted by commas.
// A pointer is one to such a value. The error does not repeat the text.
func Parse(t reflect.Type, text string) (reflect.Value, error) {
	v := reflect.New(t).Elem()
	return v, parse(v, text)
}

func parse(v reflect.Value, text string) error {
	t := v.Type()
	if readsText(t) {
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
			return fmt.Errorf("not a %s", t)
		}
		return nil
	}
	if standard := StandardOf(t); standard != nil {
		value, err := standard.Parse(text)
		if err == nil {
			v.Set(value)
		}
		return err
	}

	switch t {
	case reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("not a duration, such as 5s")
		}
		v.SetInt(int64(d))
		return nil
	case reflect.TypeFor[url.URL]():
		u, err := url.Parse(text)
		if err != nil {
			return errors.New("not a URL")
		}
		v.Set(reflect.ValueOf(*u))
		return nil
	}

	switch t.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		return parse(v.Elem(), text)
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errNoBool
		}
		v.SetBool(b)
	case reflect.Slice:
		return parseList(v, text)
	default:
		return parseNumber(v, text)
	}
	return nil
}

func parseNumber(v reflect.Value, text string) error {
	switch {
	case v.CanInt():
		n, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			if n, err = ParseSize(text); err != nil {
				return errors.New("not a whole number or size")
			}
		}
		if v.OverflowInt(n) {
			return fmt.Errorf("out of the range of %s", v.Type())
		}
		v.SetInt(n)

	case v.CanUint():
		n, err := strconv.ParseUint(text, 0, 64)
		if err != nil {
			size, err := ParseSize(text)
			if err != nil {
				return errors.New("not a whole number or size")
			}
			n = uint64(size)
		}
		if v.OverflowUint(n) {
			return fmt.Errorf("out of the range of %s", v.Type())
		}
		v.SetUint(n)

	case v.CanFloat():
		f, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil {
			return errors.New("not a number")
		}
		v.SetFloat(f)

	default:
		return fmt.Errorf("type %s cannot be read from text", v.Type())
	}
	return nil
}

// parseList reads "a, b"; "" is an empty list.
func parseList(v reflect.Value, text string) error {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		v.SetBytes([]byte(text))
		return nil
	}

	v.Set(reflect.MakeSlice(v.Type(), 0, 1))
	if strings.TrimSpace(text) == "" {
		return nil
	}

	for part := range strings.SplitSeq(text, ",") {
		item, err := Parse(v.Type().Elem(), strings.TrimSpace(part))
		if err != nil {
			return fmt.Errorf("item %d: %w", v.Len(), err)
		}
		v.Set(reflect.Append(v, item))
	}
	return nil
}

var units = []struct {
	name string
	size int64
}{
	{"PiB", 1 << 50},
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"PB", 1e15},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"KB", 1e3},
	{"kB", 1e3},
	{"B", 1},
}

// ParseSize reads a number of bytes: a whole or decimal number with a unit, B,
// KB, MB, GB, TB, PB (powers of 1000) or KiB, MiB, GiB, TiB, PiB (powers of
// 1024). Without a unit it counts bytes. Sizes are not negative.
func ParseSize(text string) (int64, error) {
	number, unit := strings.TrimSpace(text), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	if number == "" || strings.Trim(number, "0123456789.") != "" {
		return 0, errors.New("want a number and a unit, such as 64MiB")
	}

	if whole, err := strconv.ParseInt(number, 10, 64); err == nil {
		if whole > math.MaxInt64/unit {
			return 0, fmt.Errorf("more than %d bytes", int64(math.MaxInt64))
		}
		return whole * unit, nil
	}

	part, err := strconv.ParseFloat(number, 64)
	size := part * float64(unit)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, errors.New("want a number and a unit, such as 64MiB")
	case size >= math.MaxInt64:
		return 0, fmt.Errorf("more than %d bytes", int64(math.MaxInt64))
	case size != math.Trunc(size):
		return 0, errors.New("not a whole number of bytes")
	}
	return int64(size), nil
}

// FormatSize writes a size with the largest unit that divides it, such as
// "64MiB"; ParseSize reads it back. Numbers below 1 have no unit.
func FormatSize(n int64) string {
	if n < 1 {
		return strconv.FormatInt(n, 10)
	}
	best, name := int64(1), "B"
	for _, u := range units {
		if u.size > best && n%u.size == 0 {
			best, name = u.size, u.name
		}
	}
	return strconv.FormatInt(n/best, 10) + name
}

// isSize reports whether the text of an integer has a unit.
func isSize(t reflect.Type, text string) bool {
	zero := reflect.Zero(t)
	return (zero.CanInt() || zero.CanUint()) && t != reflect.TypeFor[time.Duration]() && strings.HasSuffix(text, "B")
}
