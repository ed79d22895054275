// Package options fills and checks option structs from the tags of their
// fields.
//
//	type Options struct {
//		Timeout time.Duration `doc:"bound of a request" default:"30s" min:"1s" max:"10m" zero:"default"`
//		Format  string        `doc:"how lines look" default:"text" oneof:"text|json" zero:"default"`
//	}
//
//	func New(opts *Options) (*Client, error) {
//		var o Options
//		if opts != nil {
//			o = *opts
//		}
//		options.Fill(&o)
//		if err := o.Validate(); err != nil { … }
//
//	func (o Options) Validate() error {
//		wrong := options.Check(o)
//		if o.Sink == nil {
//			wrong.Add("Sink", "is missing: give one, such as …")
//		}
//		return wrong.Err("client: new")
//	}
//
// The tags are:
//
//   - default: the value that zero stands for
//   - min, max: bounds of a number, a duration, a size, the characters of a text
//     or secret, the items of a list or map
//   - oneof: the texts that are allowed, parted by "|"; those of the items of a list
//   - required: "true" if the zero value is a mistake
//   - zero: "default" if an explicit zero in a file would be a mistake, because
//     it would mean the default
//   - doc: what the field is for, for readers
//
// Tags are written as text is in a file: "5s", "64MiB" for integers too, "a,b"
// for a list, and what UnmarshalText of the field's type reads. Nested structs,
// pointers to structs, and structs in lists and maps are walked.
package options

import (
	"encoding"
	"reflect"
	"strconv"
)

// Tags returns the names of the tags that this package reads.
func Tags() []string { return []string{"default", "min", "max", "oneof", "required", "zero", "doc"} }

// maxDepth bounds the walk: values that hold themselves by a pointer end there.
const maxDepth = 32

// Fill sets each field of the struct that opts points to which is zero and has
// a default. Lists, maps and pointers in which something is to be set are
// copied first, so that a caller's own stay as they are. A default that cannot
// be one, as its type or another tag does not allow it, is left to Check.
func Fill(opts any) { fill(reflect.ValueOf(opts).Elem(), 0) }

// fill fills v, which can be set, and reports whether it changed anything.
func fill(v reflect.Value, depth int) (changed bool) {
	if depth > maxDepth || !tagged(v.Type()) {
		return false
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			sf, f := v.Type().Field(i), v.Field(i)
			if !f.CanSet() && !sf.Anonymous {
				continue
			}
			rules, _ := ParseRules(sf)
			if !rules.HasDefault || !f.CanSet() || !f.IsZero() {
				changed = fill(f, depth+1) || changed
				continue
			}
			if value, err := Parse(f.Type(), rules.Default); err == nil {
				f.Set(value)
				changed = true
			}
		}

	case reflect.Pointer:
		if v.IsNil() || !v.CanSet() {
			return false
		}
		c := reflect.New(v.Type().Elem())
		c.Elem().Set(v.Elem())
		if changed = fill(c.Elem(), depth+1); changed {
			v.Set(c)
		}

	case reflect.Slice:
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(c, v)
		for i := range c.Len() {
			changed = fill(c.Index(i), depth+1) || changed
		}
		if changed {
			v.Set(c)
		}

	case reflect.Array:
		for i := range v.Len() {
			changed = fill(v.Index(i), depth+1) || changed
		}

	case reflect.Map:
		c := reflect.MakeMapWithSize(v.Type(), v.Len())
		for it := v.MapRange(); it.Next(); {
			item := reflect.New(v.Type().Elem()).Elem()
			item.Set(it.Value())
			changed = fill(item, depth+1) || changed
			c.SetMapIndex(it.Key(), item)
		}
		if changed {
			v.Set(c)
		}
	}
	return changed
}

// Check returns what the tags say against opts, a struct or a pointer to one:
// values that break a rule, each by its field and key, and tags that cannot
// hold, also of fields in lists and maps that are empty. A zero value breaks no
// rule but required: it means the default, or that the field is not used.
func Check(opts any) Mistakes {
	v := reflect.ValueOf(opts)
	c := &checker{types: map[reflect.Type]bool{}}
	c.tags(v.Type(), "")
	c.value(v, "", 0)
	for i := range c.wrong {
		c.wrong[i].Key = KeyOf(v.Type(), c.wrong[i].Field)
	}
	return c.wrong
}

type checker struct {
	wrong Mistakes
	types map[reflect.Type]bool // whose tags were looked at
}

// tags looks for tags that cannot hold.
func (c *checker) tags(t reflect.Type, field string) {
	if c.types[t] || !tagged(t) {
		return
	}
	c.types[t] = true

	switch t.Kind() {
	case reflect.Pointer:
		c.tags(t.Elem(), field)
	case reflect.Slice, reflect.Array, reflect.Map:
		c.tags(t.Elem(), field+"[]")
	case reflect.Struct:
		for _, f := range fieldsOf(t) {
			name := f.below(field)
			_, bad := ParseRules(f.StructField)
			for _, text := range bad {
				c.wrong.Add(name, "%s", text)
			}
			c.tags(f.Type, name)
		}
	}
}

// value checks v and what is in it.
func (c *checker) value(v reflect.Value, field string, depth int) {
	if depth > maxDepth || !v.IsValid() || !tagged(v.Type()) {
		return
	}

	switch v.Kind() {
	case reflect.Pointer:
		c.value(v.Elem(), field, depth+1)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			c.value(v.Index(i), field+"["+strconv.Itoa(i)+"]", depth+1)
		}
	case reflect.Map:
		for _, k := range sortedKeys(v) {
			c.value(v.MapIndex(k.value), field+"["+strconv.Quote(k.text)+"]", depth+1)
		}
	case reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			name, fv := f.below(field), v.Field(f.index)
			if rules, _ := ParseRules(f.StructField); !fv.IsZero() || rules.Required {
				if text := rules.Check(fv); text != "" {
					c.wrong.Add(name, "%s", text)
				}
			}
			c.value(fv, name, depth+1)
		}
	}
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// readsText reports whether a variable of type t reads itself from text.
func readsText(t reflect.Type) bool {
	return t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(textUnmarshaler)
}

// tagged reports whether a type or one within it has fields with rules: others,
// such as http.Client, are not walked.
func tagged(t reflect.Type) bool { return taggedIn(t, map[reflect.Type]bool{}) }

func taggedIn(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] || readsText(t) {
		return false
	}
	seen[t] = true

	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return taggedIn(t.Elem(), seen)
	case reflect.Struct:
		for sf := range t.Fields() {
			if !sf.IsExported() && !sf.Anonymous {
				continue
			}
			if hasRules(sf) || taggedIn(sf.Type, seen) {
				return true
			}
		}
	}
	return false
}
