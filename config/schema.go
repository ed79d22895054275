package config

import (
	"encoding"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/svcblocks/svcblocks/config/internal/doc"
)

// code is how a type is read.
type code uint8

const (
	codeNone code = iota // no key: func, interface, chan, opaque struct
	codeString
	codeBool
	codeInt
	codeUint
	codeFloat
	codeComplex
	codeDuration
	codeTime
	codeSecret
	codeURL // net/url.URL
	codeText
	codeRaw // []byte
	codeAny // interface{} as an element of a map or list
	codePointer
	codeSlice
	codeArray
	codeMap
	codeStruct
)

// shape is the reading plan of one Go type.
type shape struct {
	code     code
	rt       reflect.Type
	elem     *shape // pointer, slice, array, map
	key      *shape // map
	str      *structShape
	validate bool // *T has Validate() error

	validates, secrets answer // see needsValidation, holdsSecret
}

// structShape lists the keys of a struct type. Fields of embedded structs
// stand in names beside the struct's own.
type structShape struct {
	fields []*field
	names  map[string]*field
}

// field is one struct field that is a key, or an embedded struct.
type field struct {
	name   string // "" for an embedded struct
	goName string
	index  int
	shape  *shape
	rules  rules
	doc    string
	// path leads from the struct that lists the field in names to the field,
	// through embedded structs.
	path []int
}

// entry is one static key of the settings: a leaf or a section.
type entry struct {
	key      string
	field    *field
	index    int // in the parent struct
	id       int // leaves: index into a snapshot's values; sections: first id
	end      int // sections: one past the last id within
	section  bool
	pointer  int // pointers between the parent's field and the section's struct
	shape    *shape
	children []*entry          // in field order; embedded structs as entries without a name
	names    map[string]*entry // by name, embedded ones included
}

// schema is all that is known of the settings' type.
type schema struct {
	root   *entry
	leaves []*entry
	byKey  map[string]*entry
	rt     reflect.Type
}

var (
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
	validatorType       = reflect.TypeFor[interface{ Validate() error }]()
)

type schemaBuilder struct {
	shapes map[reflect.Type]*shape
	errs   []string
	stack  []reflect.Type
	out    *schema
}

// newSchema reads the keys of a struct type.
func newSchema(rt reflect.Type) (*schema, []string) {
	b := &schemaBuilder{shapes: map[reflect.Type]*shape{}, out: &schema{rt: rt, byKey: map[string]*entry{}}}
	if rt.Kind() != reflect.Struct {
		return nil, []string{fmt.Sprintf("settings are a %s, want a struct", rt)}
	}
	s := b.shape(rt)
	if s.code != codeStruct {
		return nil, []string{fmt.Sprintf("settings type %s has no keys", rt)}
	}
	b.out.root = &entry{section: true, shape: s, names: map[string]*entry{}}
	b.section(b.out.root, s, b.out.root)
	b.out.root.end = len(b.out.leaves)
	return b.out, b.errs
}

// section adds the entries of a struct below e; flat collects the names,
// which for an embedded struct are those of the struct around it.
func (b *schemaBuilder) section(e *entry, s *shape, flat *entry) {
	if slices.Contains(b.stack, s.rt) {
		b.errs = append(b.errs, fmt.Sprintf("type %s contains itself, by key %q: use a list, a map or koanf:\"-\"", s.rt, e.key))
		return
	}
	b.stack = append(b.stack, s.rt)
	defer func() { b.stack = b.stack[:len(b.stack)-1] }()
	for _, f := range s.str.fields {
		inner, pointers := f.shape, 0
		for inner.code == codePointer {
			inner, pointers = inner.elem, pointers+1
		}
		child := &entry{key: doc.JoinKey(flat.key, f.name), field: f, index: f.index, shape: f.shape, id: len(b.out.leaves)}
		if f.name == "" {
			child.key = flat.key
		}
		if inner.code == codeStruct {
			child.section, child.pointer, child.shape = true, pointers, inner
			child.names = map[string]*entry{}
			into := child
			if f.name == "" {
				into = flat
			}
			b.section(child, inner, into)
			child.end = len(b.out.leaves)
		} else {
			child.end = child.id + 1
			b.out.leaves = append(b.out.leaves, child)
		}
		e.children = append(e.children, child)
		if f.name == "" {
			continue
		}
		if other := flat.names[f.name]; other != nil {
			b.errs = append(b.errs, fmt.Sprintf("key %q is there twice: by fields %s and %s", child.key, other.field.goName, f.goName))
			continue
		}
		flat.names[f.name] = child
		b.out.byKey[child.key] = child
	}
}

// shape plans the reading of a type. Types that contain themselves through a
// list or a map end in the same shape.
func (b *schemaBuilder) shape(rt reflect.Type) *shape {
	if s := b.shapes[rt]; s != nil {
		return s
	}
	s := &shape{rt: rt}
	b.shapes[rt] = s
	switch {
	case rt == reflect.TypeFor[Secret]():
		s.code = codeSecret
	case rt == reflect.TypeFor[time.Duration]():
		s.code = codeDuration
	case rt == reflect.TypeFor[time.Time]():
		s.code = codeTime
	case rt == reflect.TypeFor[url.URL]():
		s.code = codeURL
	case rt.Kind() != reflect.Pointer && rt.Kind() != reflect.Interface && reflect.PointerTo(rt).Implements(textUnmarshalerType):
		s.code = codeText
	default:
		b.byKind(s)
	}
	s.validate = rt.Kind() != reflect.Pointer && rt.Kind() != reflect.Interface && reflect.PointerTo(rt).Implements(validatorType)
	return s
}

func (b *schemaBuilder) byKind(s *shape) {
	switch rt := s.rt; rt.Kind() {
	case reflect.String:
		s.code = codeString
	case reflect.Bool:
		s.code = codeBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.code = codeInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		s.code = codeUint
	case reflect.Float32, reflect.Float64:
		s.code = codeFloat
	case reflect.Complex64, reflect.Complex128:
		s.code = codeComplex
	case reflect.Pointer:
		s.elem = b.shape(rt.Elem())
		if s.elem.code != codeNone {
			s.code = codePointer
		}
	case reflect.Slice:
		if rt.Elem().Kind() == reflect.Uint8 {
			s.code = codeRaw
			return
		}
		s.elem = b.element(rt.Elem())
		if s.elem.code != codeNone {
			s.code = codeSlice
		}
	case reflect.Array:
		s.elem = b.element(rt.Elem())
		if s.elem.code != codeNone {
			s.code = codeArray
		}
	case reflect.Map:
		s.key, s.elem = b.shape(rt.Key()), b.element(rt.Elem())
		switch s.key.code {
		case codeString, codeInt, codeUint, codeBool, codeText, codeDuration:
			if s.elem.code != codeNone {
				s.code = codeMap
			}
		}
	case reflect.Struct:
		b.structShape(s)
	}
}

// element plans an element of a list or map, which may be of any type.
func (b *schemaBuilder) element(rt reflect.Type) *shape {
	if rt.Kind() == reflect.Interface && rt.NumMethod() == 0 {
		return &shape{code: codeAny, rt: rt}
	}
	return b.shape(rt)
}

// structShape lists the keys of a struct. Structs of the standard library
// which do not read text, such as http.Client or slog.Logger, are no keys.
func (b *schemaBuilder) structShape(s *shape) {
	rt := s.rt
	if pkg := rt.PkgPath(); pkg != "" && pkg != "main" && rt.Name() != "" && !strings.Contains(strings.SplitN(pkg, "/", 2)[0], ".") && isStandard(pkg) {
		return
	}
	s.code = codeStruct // set first: the type may contain itself
	s.str = &structShape{names: map[string]*field{}}
	for i := range rt.NumField() {
		sf := rt.Field(i)
		tag, tagged := sf.Tag.Lookup("koanf")
		label, options, _ := strings.Cut(tag, ",")
		if label == "-" || !sf.IsExported() && !sf.Anonymous {
			continue
		}
		fs := b.shape(sf.Type)
		if fs.code == codeNone {
			if tagged && label != "" {
				b.errs = append(b.errs, fmt.Sprintf("field %s.%s has the key %q, but its type %s cannot be read", rt, sf.Name, label, sf.Type))
			}
			continue
		}
		f := &field{name: label, goName: rt.Name() + "." + sf.Name, index: i, shape: fs, doc: sf.Tag.Get("doc")}
		embedded := sf.Anonymous && label == "" || options == "squash"
		inner := fs
		for inner.code == codePointer {
			inner = inner.elem
		}
		if embedded && inner.code == codeStruct {
			if !sf.IsExported() && sf.Type.Kind() == reflect.Pointer {
				continue // reflection cannot set it
			}
			s.str.fields = append(s.str.fields, f)
			f.name = ""
			for name, in := range inner.str.names {
				promoted := *in
				promoted.path = append([]int{i}, in.path...)
				if s.str.names[name] == nil {
					s.str.names[name] = &promoted
				}
			}
			continue
		}
		if !sf.IsExported() {
			continue
		}
		if f.name == "" {
			f.name = snakeCase(sf.Name)
		}
		if strings.ContainsAny(f.name, ". \t\n") {
			b.errs = append(b.errs, fmt.Sprintf("field %s: key %q holds a dot or a space", f.goName, f.name))
		}
		f.path = []int{i}
		var errs []string
		f.rules, errs = parseRules(sf.Tag, f)
		b.errs = append(b.errs, errs...)
		s.str.fields = append(s.str.fields, f)
		s.str.names[f.name] = f
	}
	if len(s.str.fields) == 0 {
		s.code, s.str = codeNone, nil
	}
}

// isStandard reports whether a package path without a domain belongs to the
// standard library rather than to a module with a short name.
func isStandard(pkg string) bool {
	first, _, _ := strings.Cut(pkg, "/")
	switch first {
	case "archive", "bufio", "bytes", "container", "context", "crypto", "database", "debug", "embed", "encoding",
		"errors", "expvar", "flag", "fmt", "go", "hash", "html", "image", "index", "io", "iter", "log", "maps", "math",
		"mime", "net", "os", "path", "plugin", "reflect", "regexp", "runtime", "slices", "sort", "strconv", "strings",
		"sync", "syscall", "testing", "text", "time", "unicode", "unique", "unsafe", "weak":
		return true
	}
	return false
}

// snakeCase writes a field's name as a key: URL is url, SMTPHost smtp_host,
// MaxBodyBytes max_body_bytes.
func snakeCase(goName string) string {
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
