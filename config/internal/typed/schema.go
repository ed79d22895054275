package typed

import (
	"encoding"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
)

// Code is how a type is read.
type Code uint8

const (
	None     Code = iota // no key: func, interface, chan, opaque struct
	String               // string kinds
	Bool                 // bool kinds
	Int                  // signed integers
	Uint                 // unsigned integers
	Float                // floats
	Complex              // complex numbers
	Duration             // time.Duration
	Time                 // time.Time
	Secret               // secret.Secret
	URL                  // net/url.URL
	Text                 // encoding.TextUnmarshaler, or what options.StandardOf knows
	Raw                  // []byte
	Any                  // interface{} as an element of a map or list
	Pointer              // a pointer to what Elem says
	Slice                // a list
	Array                // a list of fixed length
	Map                  // a map from Key to Elem
	Struct               // a section with fields
)

// Shape is the reading plan of one Go type.
type Shape struct {
	Code     Code
	Type     reflect.Type
	Elem     *Shape // pointer, slice, array, map
	Key      *Shape // map
	Struct   *StructShape
	Validate bool // *T has Validate() error
	special  *Special
	standard *options.Standard

	validates, secrets, defaults answer // see NeedsValidation, HoldsSecret, Fill
}

// Special says of a type that reads text what reflection cannot see.
type Special struct {
	Want   string                     // what it reads, in words
	Text   func(reflect.Value) string // its real text, where MarshalText masks it
	Secret func(reflect.Value) bool   // whether this value holds a secret
}

// StructShape lists the keys of a struct type. Fields of embedded structs
// stand in names beside the struct's own.
type StructShape struct {
	Fields []*Field
	Names  map[string]*Field
	Order  []string // the names, in the order of the fields

	// Unreadable says of the names that would be keys why they are none.
	Unreadable map[string]string
}

// Field is one struct field that is a key, or an embedded struct.
type Field struct {
	Name   string // "" for an embedded struct
	GoName string
	Index  int
	Shape  *Shape
	Rules  Rules
	Tags   options.Rules // default and zero among them
	Doc    string
	Audit  string // what a strict check takes it for: token, listen, or - for nothing
	// path leads from the struct that lists the field in names to the field,
	// through embedded structs.
	Path []int
}

// Entry is one static key of the settings: a leaf or a section.
type Entry struct {
	Key      string
	Field    *Field
	Index    int // in the parent struct
	ID       int // leaves: index into a snapshot's values; sections: first id
	End      int // sections: one past the last id within
	Section  bool
	Pointers int // pointers between the parent's field and the section's struct
	Shape    *Shape
	Children []*Entry          // in field order; embedded structs as entries without a name
	Names    map[string]*Entry // by name, embedded ones included
}

// Schema is all that is known of the settings' type.
type Schema struct {
	Root   *Entry
	Leaves []*Entry
	ByKey  map[string]*Entry
	Type   reflect.Type

	// Unreadable says of the keys that a field would have why there is none.
	Unreadable map[string]string
}

var (
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
	textMarshalerType   = reflect.TypeFor[encoding.TextMarshaler]()
	stringerType        = reflect.TypeFor[fmt.Stringer]()
	validatorType       = reflect.TypeFor[interface{ Validate() error }]()
)

type schemaBuilder struct {
	shapes   map[reflect.Type]*Shape
	specials map[reflect.Type]Special
	errs     []string
	stack    []reflect.Type
	out      *Schema
	entries  []Entry // handed out one by one: a type has hundreds of them
}

// NewSchema reads the keys of a struct type. The schema may be shared: nothing
// changes it.
func NewSchema(rt reflect.Type, specials map[reflect.Type]Special) (*Schema, []string) {
	b := &schemaBuilder{shapes: map[reflect.Type]*Shape{}, specials: specials, out: &Schema{Type: rt, ByKey: map[string]*Entry{}, Unreadable: map[string]string{}}}
	if rt.Kind() != reflect.Struct {
		return nil, []string{fmt.Sprintf("settings are a %s, want a struct", rt)}
	}
	s := b.shape(rt)
	if s.Code != Struct {
		return nil, []string{fmt.Sprintf("settings type %s has no keys", rt)}
	}
	b.out.Root = &Entry{Section: true, Shape: s, Names: map[string]*Entry{}}
	b.section(b.out.Root, s, b.out.Root)
	b.out.Root.End = len(b.out.Leaves)
	b.answer()
	return b.out, b.errs
}

// answer asks all that a shape remembers, so that the schema does not change from
// here on and may be shared.
func (b *schemaBuilder) answer() {
	for _, s := range b.shapes {
		s.NeedsValidation()
		s.HoldsSecret()
		s.hasDefaults()
	}
}

func (b *schemaBuilder) entry() *Entry {
	if len(b.entries) == 0 {
		b.entries = make([]Entry, 32)
	}
	e := &b.entries[0]
	b.entries = b.entries[1:]
	return e
}

// ShapeOf plans the reading of one type alone.
func ShapeOf(rt reflect.Type, specials map[reflect.Type]Special) *Shape {
	return (&schemaBuilder{shapes: map[reflect.Type]*Shape{}, specials: specials}).shape(rt)
}

// section adds the entries of a struct below e; flat collects the names,
// which for an embedded struct are those of the struct around it.
func (b *schemaBuilder) section(e *Entry, s *Shape, flat *Entry) {
	if slices.Contains(b.stack, s.Type) {
		b.errs = append(b.errs, fmt.Sprintf("type %s contains itself, by key %q: use a list, a map or koanf:\"-\"", s.Type, e.Key))
		return
	}
	b.stack = append(b.stack, s.Type)
	defer func() { b.stack = b.stack[:len(b.stack)-1] }()

	e.Children = make([]*Entry, 0, len(s.Struct.Fields))
	for name, why := range s.Struct.Unreadable {
		b.out.Unreadable[doc.JoinKey(flat.Key, name)] = why
	}

	for _, f := range s.Struct.Fields {
		inner, pointers := f.Shape, 0
		for inner.Code == Pointer {
			inner, pointers = inner.Elem, pointers+1
		}

		child := b.entry()
		*child = Entry{Key: flat.Key, Field: f, Index: f.Index, Shape: f.Shape, ID: len(b.out.Leaves)}
		if f.Name != "" {
			child.Key = doc.JoinKey(flat.Key, f.Name)
		}

		if inner.Code == Struct {
			child.Section, child.Pointers, child.Shape = true, pointers, inner
			child.Names = make(map[string]*Entry, len(inner.Struct.Fields))
			into := child
			if f.Name == "" {
				into = flat
			}
			b.section(child, inner, into)
			child.End = len(b.out.Leaves)
		} else {
			child.End = child.ID + 1
			b.out.Leaves = append(b.out.Leaves, child)
		}

		e.Children = append(e.Children, child)
		if f.Name == "" {
			continue
		}
		if other := flat.Names[f.Name]; other != nil {
			b.errs = append(b.errs, fmt.Sprintf("key %q is there twice: by fields %s and %s", child.Key, other.Field.GoName, f.GoName))
			continue
		}

		flat.Names[f.Name] = child
		b.out.ByKey[child.Key] = child
	}
}

// Shape plans the reading of a type. Types that contain themselves through a
// list or a map end in the same shape.
func (b *schemaBuilder) shape(rt reflect.Type) *Shape {
	if s := b.shapes[rt]; s != nil {
		return s
	}
	s := &Shape{Type: rt}
	b.shapes[rt] = s

	switch {
	case rt == reflect.TypeFor[secret.Secret]():
		s.Code = Secret
	case rt == reflect.TypeFor[time.Duration]():
		s.Code = Duration
	case rt == reflect.TypeFor[time.Time]():
		s.Code = Time
	case rt == reflect.TypeFor[url.URL]():
		s.Code = URL
	case rt.Kind() != reflect.Pointer && rt.Kind() != reflect.Interface && readsText(rt):
		s.Code = Text
		if known, ok := b.specials[rt]; ok {
			s.special = &known
		}
	default:
		if s.standard = options.StandardOf(rt); s.standard != nil {
			s.Code = Text
			break
		}
		b.byKind(s)
	}

	s.Validate = rt.Kind() != reflect.Pointer && rt.Kind() != reflect.Interface && reflect.PointerTo(rt).Implements(validatorType)
	return s
}

func (b *schemaBuilder) byKind(s *Shape) {
	switch rt := s.Type; rt.Kind() {
	case reflect.String:
		s.Code = String
	case reflect.Bool:
		s.Code = Bool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.Code = Int
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		s.Code = Uint
	case reflect.Float32, reflect.Float64:
		s.Code = Float
	case reflect.Complex64, reflect.Complex128:
		s.Code = Complex
	case reflect.Pointer:
		s.Elem = b.shape(rt.Elem())
		if s.Elem.Code != None {
			s.Code = Pointer
		}
	case reflect.Slice:
		if rt.Elem().Kind() == reflect.Uint8 {
			if rt.PkgPath() != "net" { // whose bytes are not those of their text
				s.Code = Raw
			}
			return
		}
		s.Elem = b.element(rt.Elem())
		if s.Elem.Code != None {
			s.Code = Slice
		}
	case reflect.Array:
		s.Elem = b.element(rt.Elem())
		if s.Elem.Code != None {
			s.Code = Array
		}
	case reflect.Map:
		s.Key, s.Elem = b.shape(rt.Key()), b.element(rt.Elem())
		switch s.Key.Code {
		case String, Int, Uint, Bool, Text, Duration:
			if s.Elem.Code != None && s.Key.standard == nil {
				s.Code = Map
			}
		}
	case reflect.Struct:
		b.structShape(s)
	}
}

// element plans an element of a list or map, which may be of any type.
func (b *schemaBuilder) element(rt reflect.Type) *Shape {
	if rt.Kind() == reflect.Interface && rt.NumMethod() == 0 {
		return &Shape{Code: Any, Type: rt, validates: no, secrets: no, defaults: no}
	}
	return b.shape(rt)
}

// structShape lists the keys of a struct. Structs of the standard library
// which do not read text, such as http.Client or slog.Logger, are no keys.
func (b *schemaBuilder) structShape(s *Shape) {
	rt := s.Type
	if pkg := rt.PkgPath(); pkg != "" && pkg != "main" && rt.Name() != "" && !strings.Contains(strings.SplitN(pkg, "/", 2)[0], ".") && isStandard(pkg) {
		return
	}
	s.Code = Struct // set first: the type may contain itself
	s.Struct = &StructShape{Names: map[string]*Field{}, Unreadable: map[string]string{}}

	for i := range rt.NumField() {
		sf := rt.Field(i)
		tag, tagged := sf.Tag.Lookup("koanf")
		label, flag, _ := strings.Cut(tag, ",")

		if label == "-" || !sf.IsExported() && !sf.Anonymous {
			continue
		}

		fs := b.shape(sf.Type)
		if fs.Code == None {
			if tagged && label != "" {
				b.errs = append(b.errs, fmt.Sprintf("field %s.%s has the key %q, but its type %s cannot be read", rt, sf.Name, label, sf.Type))
			}
			s.Struct.unreadable(sf)
			continue
		}

		f := &Field{Name: label, GoName: rt.Name() + "." + sf.Name, Index: i, Shape: fs, Doc: sf.Tag.Get("doc"), Audit: sf.Tag.Get("audit")}
		if f.Audit != "" && f.Audit != "token" && f.Audit != "listen" && f.Audit != "-" {
			b.errs = append(b.errs, fmt.Sprintf("field %s: tag audit %q: want token, listen or -", f.GoName, f.Audit))
		}

		embedded := sf.Anonymous && label == "" || flag == "squash"
		inner := fs
		for inner.Code == Pointer {
			inner = inner.Elem
		}

		if embedded && inner.Code == Struct {
			if !sf.IsExported() && sf.Type.Kind() == reflect.Pointer {
				continue // reflection cannot set it
			}
			s.Struct.Fields = append(s.Struct.Fields, f)
			f.Name = ""
			for name, in := range inner.Struct.Names {
				promoted := *in
				promoted.Path = append([]int{i}, in.Path...)
				if s.Struct.Names[name] == nil {
					s.Struct.Names[name] = &promoted
				}
			}
			continue
		}

		if !sf.IsExported() {
			continue
		}
		if f.Name == "" {
			f.Name = options.SnakeCase(sf.Name)
		}
		if strings.ContainsAny(f.Name, ". \t\n") {
			b.errs = append(b.errs, fmt.Sprintf("field %s: key %q holds a dot or a space", f.GoName, f.Name))
		}

		f.Path = []int{i}
		f.Tags.Doc = f.Doc

		if ruled(string(sf.Tag)) {
			var errs []string
			f.Rules, errs = parseRules(sf.Tag, f)
			b.errs = append(b.errs, errs...)
			b.defaults(f, sf)
		}

		s.Struct.Fields = append(s.Struct.Fields, f)
		s.Struct.Order = append(s.Struct.Order, f.Name)
		s.Struct.Names[f.Name] = f
	}

	if len(s.Struct.Fields) == 0 {
		s.Code, s.Struct = None, nil
		return
	}
	if len(s.Struct.Order) == len(s.Struct.Names) {
		return
	}

	s.Struct.Order = Keys(s.Struct.Names) // with those of embedded structs
	slices.SortFunc(s.Struct.Order, func(a, b string) int {
		return slices.Compare(s.Struct.Names[a].Path, s.Struct.Names[b].Path)
	})
}

// unreadable notes a field that is no key, for the hint of one who sets it.
func (s *StructShape) unreadable(sf reflect.StructField) {
	if name, inline, ok := options.Key(sf); ok && !inline && sf.IsExported() {
		s.Unreadable[name] = fmt.Sprintf("its field %s has type %s, which cannot be read from text", sf.Name, sf.Type)
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

// NeedsValidation reports whether the shape holds a Validate method.
func (s *Shape) NeedsValidation() bool {
	return s.holds(&s.validates, func(in *Shape) bool { return in.Code == Struct && in.Validate })
}

// HoldsSecret reports whether a Secret is anywhere in the shape.
func (s *Shape) HoldsSecret() bool {
	return s.holds(&s.secrets, func(in *Shape) bool { return in.Code == Secret })
}

// hasSecret reports a struct with a Secret among its own fields, or a list or
// map of them.
func (s *Shape) hasSecret() bool {
	for _, f := range s.Struct.Fields {
		in := f.Shape
		for in.Elem != nil {
			in = in.Elem
		}
		if in.Code == Secret || f.Name == "" && in.Code == Struct && in.hasSecret() {
			return true
		}
	}
	return false
}

// IsSecret reports whether values of the shape must not be shown.
func (s *Shape) IsSecret() bool {
	for s.Code == Pointer || s.Code == Slice || s.Code == Array || s.Code == Map {
		s = s.Elem
	}
	return s.Code == Secret
}

// Nullable reports whether null is a value of the shape: none. For any other it
// leaves what is below.
func (s *Shape) Nullable() bool {
	return s.Code == Slice || s.Code == Map || s.Type.Kind() == reflect.Pointer
}

// Describe says in words what a shape reads.
func (s *Shape) Describe() string {
	switch s.Code {
	case Bool:
		return "true or false"
	case Int, Uint:
		bits := s.Type.Bits()
		switch {
		// An int has the width of the machine, which is not worth a word.
		case s.Code == Int && (bits == 64 || s.Type.Kind() == reflect.Int):
			return "a whole number"
		case s.Code == Uint && (bits == 64 || s.Type.Kind() == reflect.Uint):
			return "a whole number of at least 0"
		case s.Code == Int:
			return fmt.Sprintf("a whole number from %d to %d", -(int64(1) << (bits - 1)), int64(1)<<(bits-1)-1)
		}
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<bits-1)
	case Float:
		return "a number"
	case Complex:
		return "a complex number, such as 1+2i"
	case Duration:
		return "a duration, such as 30s, 5m or 1h30m"
	case Time:
		return "a time, such as 2006-01-02T15:04:05Z"
	case Pointer:
		return s.Elem.Describe()
	case Slice:
		return "a list"
	case Array:
		return fmt.Sprintf("a list of %d", s.Type.Len())
	case Map, Struct:
		return "a section"
	case URL:
		return "a URL, such as https://host/path"
	case Text:
		switch {
		case s.standard != nil:
			return s.standard.Want
		case s.special != nil && s.special.Want != "":
			return s.special.Want
		}
		return "the text of a " + s.Type.String()
	}

	return "a single value"
}

// hasDefaults reports whether a field in the shape has a default.
func (s *Shape) hasDefaults() bool {
	return s.holds(&s.defaults, func(in *Shape) bool {
		return in.Code == Struct && slices.ContainsFunc(in.Struct.Fields, func(f *Field) bool { return f.Tags.HasDefault })
	})
}

// answer is what was found out about a shape.
type answer uint8

const (
	unasked answer = iota
	yes
	no
)

// holds looks for a shape within s, once.
func (s *Shape) holds(known *answer, is func(*Shape) bool) bool {
	if *known == unasked {
		*known = no
		if s.search(map[*Shape]bool{}, is) {
			*known = yes
		}
	}
	return *known == yes
}

func (s *Shape) search(seen map[*Shape]bool, is func(*Shape) bool) bool {
	if s == nil || seen[s] {
		return false
	}
	if is(s) {
		return true
	}
	seen[s] = true

	if s.Code != Struct {
		return s.Elem.search(seen, is)
	}

	for _, f := range s.Struct.Fields {
		if f.Shape.search(seen, is) {
			return true
		}
	}

	return false
}

// Shown is a dotted key without what stands below a secret or an unknown key:
// names there are most likely the secret itself.
func (s *Schema) Shown(key string) string {
	if key == "" {
		return ""
	}

	shape, shown := s.Root.Shape, ""
	for part := range strings.SplitSeq(key, ".") {
		for shape != nil && shape.Code == Pointer {
			shape = shape.Elem
		}

		name, _, indexed := strings.Cut(part, "[")
		switch {
		case shape == nil:
		case shape.Code == Secret:
			return shown
		case shape.Code == Map:
			shape = shape.Elem
		case shape.Code == Struct && shape.Struct.Names[name] != nil:
			shape = shape.Struct.Names[name].Shape
		case shape.Code == Struct && s.Root.Shape.HoldsSecret():
			return doc.JoinKey(shown, "…")
		default:
			shape = nil
		}

		for indexed && shape != nil && (shape.Code == Slice || shape.Code == Array || shape.Code == Pointer) {
			shape = shape.Elem
		}
		shown = doc.JoinKey(shown, part)
	}

	return shown
}

// Word names in one word what the shape reads, for usage texts.
func (s *Shape) Word() string {
	switch s.Code {
	case Pointer:
		return s.Elem.Word()
	case Bool:
		return "true|false"
	case Int, Uint:
		return "number"
	case Float, Complex:
		return "decimal"
	case Duration:
		return "duration"
	case Time:
		return "time"
	case URL:
		return "url"
	case Slice, Array:
		return "list"
	case Map, Struct:
		return "json"
	}

	switch {
	case s.standard != nil:
		return s.standard.Word
	case s.special != nil && strings.Contains(s.special.Want, "size"):
		return "size"
	}
	return "text"
}

// ruled reports a tag that may hold more than a key and a text: to look six
// names up in each of hundreds of tags takes a tenth of a load.
func ruled(tag string) bool {
	for _, name := range [...]string{"required:", "oneof:", "min:", "max:", "default:", "zero:"} {
		if strings.Contains(tag, name) {
			return true
		}
	}
	return false
}

// defaults reads the tags of a field that say what zero means.
func (b *schemaBuilder) defaults(f *Field, sf reflect.StructField) {
	var bad []string
	f.Tags, bad = options.ParseRules(sf)
	if _, tagged := sf.Tag.Lookup("default"); tagged && f.Shape.HoldsSecret() {
		bad = append(bad, "tag default: a secret has none")
	}
	for _, text := range bad {
		if strings.HasPrefix(text, "tag default:") || strings.HasPrefix(text, "tag zero:") || strings.Contains(text, "above max") {
			b.errs = append(b.errs, fmt.Sprintf("field %s: %s", f.GoName, text))
		}
	}
}

// Fill sets the fields of a struct, and of those within, that are zero and have
// a default.
func Fill(rv reflect.Value, s *Shape) {
	if rv.CanAddr() && rv.Addr().CanInterface() && s.hasDefaults() {
		options.Fill(rv.Addr().Interface())
	}
}
