package options

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// Key returns the name that a field has in settings: that of its koanf tag,
// else its own in snake case. It reports whether the keys of an embedded struct
// stand beside those of the struct that it is in, and false for a field that
// settings cannot hold, by the tag koanf:"-".
func Key(sf reflect.StructField) (name string, inline, ok bool) {
	name, options, _ := strings.Cut(sf.Tag.Get("koanf"), ",")
	if name == "-" {
		return "", false, false
	}
	inline = sf.Anonymous && name == "" || options == "squash"
	if name == "" && !inline {
		name = SnakeCase(sf.Name)
	}
	return name, inline, true
}

// KeyOf returns the key in settings of the field of struct type t that a path
// leads to, such as "File.MaxBytes" or `Hosts["a"].Rate`, and "" if it leads to
// none or to one that settings cannot hold.
func KeyOf(t reflect.Type, path string) string {
	key := ""
	for path != "" {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if path[0] == '[' {
			end := strings.IndexByte(path, ']')
			if strings.HasPrefix(path, `["`) {
				end = strings.Index(path, `"]`) + 1
			}
			if end <= 0 || t.Kind() != reflect.Slice && t.Kind() != reflect.Array && t.Kind() != reflect.Map {
				return ""
			}
			if t.Kind() == reflect.Map && end > 1 {
				key = join(key, strings.Trim(path[1:end], `"`))
			} else {
				key += path[:end+1]
			}
			t, path = t.Elem(), strings.TrimPrefix(path[end+1:], ".")
			continue
		}

		name := path
		if end := strings.IndexAny(path, ".["); end >= 0 {
			name = path[:end]
		}
		if t.Kind() != reflect.Struct {
			return ""
		}
		sf, found := t.FieldByName(name)
		own, inline, ok := Key(sf)
		if !found || !ok {
			return ""
		}
		if !inline {
			key = join(key, own)
		}
		t, path = sf.Type, strings.TrimPrefix(path[len(name):], ".")
	}
	return key
}

// structField is a field that may be set from outside.
type structField struct {
	reflect.StructField
	index int
}

func fieldsOf(t reflect.Type) (fields []structField) {
	for i := range t.NumField() {
		if sf := t.Field(i); sf.IsExported() || sf.Anonymous {
			fields = append(fields, structField{sf, i})
		}
	}
	return fields
}

// below returns the path of the field in a struct that has that path. The
// fields of an embedded struct are named as if they were the outer one's.
func (f structField) below(path string) string {
	if _, inline, _ := Key(f.StructField); inline && f.Anonymous {
		return path
	}
	return join(path, f.Name)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// mapKey is a key of a map and its text.
type mapKey struct {
	text  string
	value reflect.Value
}

// sortedKeys returns pointers, as their sort is linked once for all types.
func sortedKeys(m reflect.Value) (keys []*mapKey) {
	for _, k := range m.MapKeys() {
		keys = append(keys, &mapKey{plain(k), k})
	}
	slices.SortFunc(keys, func(a, b *mapKey) int { return cmp.Compare(a.text, b.text) })
	return keys
}

// SnakeCase writes a field's name as a key: URL is url, SMTPHost smtp_host,
// MaxBodyBytes max_body_bytes.
func SnakeCase(goName string) string {
	runes := []rune(goName)
	var out strings.Builder
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 {
			before := runes[i-1]
			next := i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if unicode.IsLower(before) || unicode.IsDigit(before) || unicode.IsUpper(before) && next && !pluralEnd(runes, i+1) {
				out.WriteByte('_')
			}
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}

// pluralEnd reports whether the name from i on is the s of an acronym's
// plural, as in URLs or IDsAllowed.
func pluralEnd(runes []rune, i int) bool {
	return runes[i] == 's' && (i+1 == len(runes) || unicode.IsUpper(runes[i+1]))
}
