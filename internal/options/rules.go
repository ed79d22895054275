package options

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/redact"
)

// Rules are what the tags of a field say.
type Rules struct {
	// Doc, Default, Min and Max are the texts of the tags, "" where there is
	// none. HasDefault tells a default of "" from none.
	Doc, Default, Min, Max string
	HasDefault             bool
	// OneOf holds the texts that are allowed, nil for any.
	OneOf []string
	// Required says that the zero value is a mistake.
	Required bool
	// ZeroIsDefault says that an explicit zero in settings is a mistake.
	ZeroIsDefault bool

	low, high *bound
	size      bool // a bound or the default is written as a size
}

// bound is a limit as a value of the field's type, or as a number of
// characters or items.
type bound struct {
	value reflect.Value
	count int
}

// hasRules reports whether a field has a tag that Fill or Check acts on.
func hasRules(sf reflect.StructField) bool {
	for _, name := range Tags() {
		if _, ok := sf.Tag.Lookup(name); ok && name != "doc" {
			return true
		}
	}
	return false
}

// ParseRules returns the rules of a field, and what is wrong with its tags.
// Rules hold the tags that are right.
func ParseRules(sf reflect.StructField) (r Rules, bad []string) {
	r.Doc = sf.Tag.Get("doc")
	if !hasRules(sf) {
		return r, nil
	}

	t := sf.Type
	for t.Kind() == reflect.Pointer && StandardOf(t) == nil {
		t = t.Elem()
	}
	wrong := func(tag, text string, err error) {
		bad = append(bad, fmt.Sprintf("tag %s:%q: %v", tag, text, err))
	}

	for _, side := range []struct {
		tag  string
		text *string
		into **bound
	}{{"min", &r.Min, &r.low}, {"max", &r.Max, &r.high}} {
		text, ok := sf.Tag.Lookup(side.tag)
		if !ok {
			continue
		}
		b, err := parseBound(t, text)
		if err != nil {
			wrong(side.tag, text, err)
			continue
		}
		*side.text, *side.into = text, b
		r.size = r.size || isSize(t, text)
	}
	if r.low != nil && r.high != nil && r.low.compare(r.high) > 0 {
		wrong("min", r.Min, fmt.Errorf("above max:%q", r.Max))
	}

	if text, ok := sf.Tag.Lookup("oneof"); ok {
		r.OneOf = strings.Split(text, "|")
	}
	if text, ok := sf.Tag.Lookup("required"); ok {
		v, err := strconv.ParseBool(text)
		if err != nil {
			wrong("required", text, errNoBool)
		}
		r.Required = v
	}

	if text, ok := sf.Tag.Lookup("default"); ok {
		if err := r.checkDefault(t, text); err != nil {
			wrong("default", text, err)
		} else {
			r.Default, r.HasDefault = text, true
			r.size = r.size || isSize(t, text)
		}
	}
	if text, ok := sf.Tag.Lookup("zero"); ok {
		r.ZeroIsDefault = text == "default"
		switch {
		case !r.ZeroIsDefault:
			wrong("zero", text, fmt.Errorf(`only "default" is known`))
		case !r.HasDefault:
			wrong("zero", text, fmt.Errorf("there is no default"))
		}
	}
	return r, bad
}

// checkDefault returns why a field cannot have that default.
func (r *Rules) checkDefault(t reflect.Type, text string) error {
	if t == reflect.TypeFor[secret.Secret]() {
		return errors.New("a secret has no default")
	}
	value, err := Parse(t, text)
	if err != nil {
		return err
	}
	if said := r.Check(value); said != "" {
		return errors.New(said)
	}
	return nil
}

// counted reports whether the bounds of a type count characters or items.
func counted(t reflect.Type) bool {
	if t == reflect.TypeFor[secret.Secret]() {
		return true
	}
	switch t.Kind() {
	case reflect.String:
		return true
	case reflect.Slice, reflect.Array, reflect.Map:
		return !readsText(t)
	}
	return false
}

func parseBound(t reflect.Type, text string) (*bound, error) {
	if counted(t) {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("not a number of characters or items")
		}
		return &bound{count: n}, nil
	}

	zero := reflect.Zero(t)
	if !zero.CanInt() && !zero.CanUint() && !zero.CanFloat() {
		return nil, fmt.Errorf("type %s has no order", t)
	}
	v, err := Parse(t, text)
	if err != nil {
		return nil, err
	}
	return &bound{value: v}, nil
}

func (b *bound) compare(other *bound) int {
	if !b.value.IsValid() {
		return cmp.Compare(b.count, other.count)
	}
	return compare(b.value, other.value)
}

// compare orders two numbers of one type.
func compare(a, b reflect.Value) int {
	switch {
	case a.CanInt():
		return cmp.Compare(a.Int(), b.Int())
	case a.CanUint():
		return cmp.Compare(a.Uint(), b.Uint())
	}
	return cmp.Compare(a.Float(), b.Float())
}

// Check returns what is wrong with a value of the field and what to do about
// it, or "" if the rules hold. A nil pointer breaks no rule but Required.
func (r *Rules) Check(v reflect.Value) string {
	if r.Required && v.IsZero() {
		return "is missing: give a value"
	}
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		if StandardOf(v.Type()) != nil {
			break
		}
		v = v.Elem()
	}
	if text := r.checkOneOf(v); text != "" {
		return text
	}
	return r.checkBounds(v)
}

func (r *Rules) checkOneOf(v reflect.Value) string {
	if len(r.OneOf) == 0 {
		return ""
	}
	if list := v.Kind() == reflect.Slice || v.Kind() == reflect.Array; list && !readsText(v.Type()) {
		for i := range v.Len() {
			if text := r.checkOneOf(v.Index(i)); text != "" {
				return text
			}
		}
		return ""
	}

	text := plain(v)
	if slices.Contains(r.OneOf, text) {
		return ""
	}
	near := nearest(text, r.OneOf)
	hint := "give one of these"
	if near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	return fmt.Sprintf("%s is none of %s: %s", r.show(v), strings.Join(r.allowed(), ", "), hint)
}

// allowed returns the texts of OneOf for people.
func (r *Rules) allowed() []string {
	var out []string
	for _, text := range r.OneOf {
		if text != "" {
			out = append(out, text)
		}
	}
	return out
}

func (r *Rules) checkBounds(v reflect.Value) string {
	if r.low == nil && r.high == nil {
		return ""
	}
	if counted(v.Type()) {
		return r.checkCount(v)
	}
	if v.CanFloat() && math.IsNaN(v.Float()) {
		return "NaN is no number: give " + r.Range()
	}

	side, limit := "", ""
	switch {
	case r.low != nil && compare(v, r.low.value) < 0:
		side, limit = "below", r.Min
	case r.high != nil && compare(v, r.high.value) > 0:
		side, limit = "above", r.Max
	default:
		return ""
	}
	return fmt.Sprintf("%s is %s %s: give %s%s", r.show(v), side, limit, r.Range(), r.orLeave())
}

func (r *Rules) checkCount(v reflect.Value) string {
	n, of := 0, "character"
	switch {
	case v.Type() == reflect.TypeFor[secret.Secret]():
		n = utf8.RuneCountInString(v.Interface().(secret.Secret).Reveal())
	case v.Kind() == reflect.String:
		n = utf8.RuneCountInString(v.String())
	default:
		n, of = v.Len(), "item"
	}
	if n != 1 {
		of += "s"
	}

	switch {
	case r.low != nil && n < r.low.count:
		return fmt.Sprintf("has %d %s, fewer than %s: give %s%s", n, of, r.Min, r.Range(), r.orLeave())
	case r.high != nil && n > r.high.count:
		return fmt.Sprintf("has %d %s, more than %s: give %s%s", n, of, r.Max, r.Range(), r.orLeave())
	}
	return ""
}

// Range returns the bounds in words: "1s to 5m", "at least 1s", "at most 5m".
func (r *Rules) Range() string {
	switch {
	case r.low != nil && r.high != nil:
		return r.Min + " to " + r.Max
	case r.low != nil:
		return "at least " + r.Min
	case r.high != nil:
		return "at most " + r.Max
	}
	return ""
}

func (r *Rules) orLeave() string {
	if !r.HasDefault {
		return ""
	}
	return ", or leave it out for " + r.Default
}

// Zero returns what is wrong with an explicit zero in settings, or "" if it is
// a value like any other.
func (r *Rules) Zero(v reflect.Value) string {
	for v.Kind() == reflect.Pointer {
		return "" // a pointer to zero is no zero
	}
	if !r.ZeroIsDefault || !v.IsZero() {
		return ""
	}
	text := fmt.Sprintf("%s would mean %s: leave it out", r.show(v), r.Default)
	if r.Min == "-1" {
		text += ", or give -1 for no limit"
	}
	return text
}

// show returns a value as a mistake shows it.
func (r *Rules) show(v reflect.Value) string {
	switch {
	case v.Type() == reflect.TypeFor[secret.Secret]():
		return secret.Redacted
	case v.Kind() == reflect.String && !readsText(v.Type()):
		return strconv.Quote(redact.URL(v.String()))
	case r.size && v.CanInt():
		return FormatSize(v.Int())
	}
	return redact.URL(plain(v))
}

// plain returns a value as a tag would hold it.
func plain(v reflect.Value) string {
	if standard := StandardOf(v.Type()); standard != nil {
		return standard.Text(v)
	}
	if v.CanInterface() {
		switch x := v.Interface().(type) {
		case time.Duration:
			return formatDuration(x)
		case encoding.TextMarshaler:
			if text, err := x.MarshalText(); err == nil {
				return string(text)
			}
		}
	}

	switch {
	case v.Kind() == reflect.String:
		return v.String()
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10)
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10)
	case v.CanFloat():
		return strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits())
	case v.Kind() == reflect.Bool:
		return strconv.FormatBool(v.Bool())
	}
	return "a " + v.Type().String()
}

// formatDuration writes 5m0s as 5m.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// nearest returns the one of all that text was likely meant to be, or "".
func nearest(text string, all []string) string {
	best, least := "", 3
	for _, other := range all {
		if other == "" {
			continue
		}
		if d := distance(strings.ToLower(text), strings.ToLower(other)); d < least && d < len(other) {
			best, least = other, d
		}
	}
	return best
}

// distance is the number of letters to change, add or remove between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}

	// One row of the table of distances between the beginnings of the words.
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
