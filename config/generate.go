package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/internal/typed"
	tags "github.com/svcblocks/svcblocks/internal/options"
)

// Schema returns a JSON Schema (draft 2020-12) of the settings files, for
// editors to complete and check: keys, types, ranges and the doc tags. Every
// value may be a reference too. No key is required in the file, as another
// layer may set it.
func Schema[T any](defaults T) ([]byte, error) {
	schema, rv, err := describeSettings("schema", defaults)
	if err != nil {
		return nil, err
	}

	root := object(
		"$schema", text("https://json-schema.org/draft/2020-12/schema"),
		"type", text("object"),
		"properties", jsonProperties(schema.Root, rv),
		"additionalProperties", word("false"),
	)

	line, err := doc.JSONText(root)
	if err != nil {
		return nil, fmt.Errorf("config: schema: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, []byte(line), "", "  "); err != nil {
		return nil, fmt.Errorf("config: schema: %w", err)
	}

	out.WriteByte('\n')
	return out.Bytes(), nil
}

// EnvExample returns an example .env file: the variable of each key, commented
// out, with its default and its doc tag. The prefix is that of the last [Env]
// among opts, the options given to [Load]; the others do not matter here. The
// file is safe to source; [DotEnv] reads it, and docker does, which however keeps
// the single quotes around a value that a shell would change.
func EnvExample[T any](defaults T, opts ...Option) (string, error) {
	schema, rv, err := describeSettings("env", defaults)
	if err != nil {
		return "", err
	}

	o, err := newOptions(opts)
	if err != nil {
		return "", err
	}
	prefix := o.envPrefix()

	var b strings.Builder
	eachLeaf(schema.Root, rv, func(e *typed.Entry, fv reflect.Value) {
		if e.Field.Doc != "" {
			b.WriteString("# " + strings.ReplaceAll(e.Field.Doc, "\n", "\n# ") + "\n")
		}
		b.WriteString("# " + facts(e.Shape, e.Field) + "\n")
		v := variable(prefix, e.Key)
		if e.Shape.IsSecret() {
			v += fileSuffix
		}
		b.WriteString("# " + v + "=" + envDefault(e, fv) + "\n\n")
	})
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// envDefault writes a default as a variable holds it.
func envDefault(e *typed.Entry, fv reflect.Value) string {
	if !fv.IsValid() || fv.IsZero() || e.Shape.HoldsSecret() || sensitiveKey(e.Key) {
		return ""
	}

	switch e.Shape.Code {
	case typed.Slice, typed.Array, typed.Map:
		if n, err := typed.Encode(fv, e.Shape); err == nil {
			if line, err := doc.JSONText(n); err == nil {
				out, _ := dotEnvText(showable(line))
				return out
			}
		}
		return ""
	}

	out, _ := dotEnvText(display(fv, e.Shape, e.Key, false))
	return out
}

// Doc returns a Markdown table of all keys: type and rules, default, and the
// text of the doc tags.
func Doc[T any](defaults T) (string, error) {
	schema, rv, err := describeSettings("docs", defaults)
	if err != nil {
		return "", err
	}

	var b strings.Builder
	b.WriteString("| Key | Value | Default | Meaning |\n| --- | --- | --- | --- |\n")
	cell := strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;")

	eachLeaf(schema.Root, rv, func(e *typed.Entry, fv reflect.Value) {
		value := ""
		if fv.IsValid() && !fv.IsZero() {
			value = "`" + strings.ReplaceAll(display(fv, e.Shape, e.Key, false), "`", "'") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", e.Key, cell.Replace(facts(e.Shape, e.Field)), cell.Replace(value), cell.Replace(e.Field.Doc))
		eachItemKey(e.Key, e.Shape, nil, func(key string, f *typed.Field) {
			value := ""
			if f.Tags.Default != "" {
				value = "`" + f.Tags.Default + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", key, cell.Replace(facts(f.Shape, f)), cell.Replace(value), cell.Replace(f.Doc))
		})
	})

	return b.String(), nil
}

func describeSettings[T any](op string, defaults T) (*typed.Schema, reflect.Value, error) {
	rv := reflect.ValueOf(&defaults).Elem()
	s, errs := schemaOf(rv.Type())
	if len(errs) > 0 {
		return nil, rv, errors.New("config: " + op + ": " + strings.Join(errs, "; "))
	}
	typed.Fill(rv, s.Root.Shape)
	return s, rv, nil
}

// eachLeaf visits the leaves in the order of the fields. Below a nil pointer,
// the defaults are those of the tags.
func eachLeaf(section *typed.Entry, rv reflect.Value, visit func(e *typed.Entry, fv reflect.Value)) {
	for _, child := range section.Children {
		fv := fieldOf(rv, child.Index)
		if child.Section {
			inner := indirect(fv)
			if !inner.IsValid() {
				inner = reflect.New(child.Shape.Type).Elem()
				typed.Fill(inner, child.Shape)
			}
			eachLeaf(child, inner, visit)
			continue
		}
		visit(child, fv)
	}
}

// eachItemKey visits the keys of the items of a list or map of structs: of
// receivers, receivers[].name and so on. seen keeps types that contain
// themselves from going on for ever.
func eachItemKey(key string, s *typed.Shape, seen []*typed.Shape, visit func(key string, f *typed.Field)) {
	for s.Code == typed.Pointer {
		s = s.Elem
	}

	switch s.Code {
	case typed.Slice, typed.Array:
		eachItemKey(key+"[]", s.Elem, seen, visit)
	case typed.Map:
		eachItemKey(key+".*", s.Elem, seen, visit)
	case typed.Struct:
		if slices.Contains(seen, s) {
			return
		}
		for _, name := range typed.SortedKeys(s.Struct.Names) {
			f := s.Struct.Names[name]
			inner := f.Shape
			for inner.Code == typed.Pointer {
				inner = inner.Elem
			}
			if inner.Code != typed.Struct {
				visit(key+"."+name, f)
			}
			eachItemKey(key+"."+name, f.Shape, append(seen, s), visit)
		}
	}
}

// facts says in words what a key takes.
func facts(s *typed.Shape, f *typed.Field) string {
	var parts []string
	switch {
	case s.IsSecret():
		parts = append(parts, "a secret")
	case len(f.Rules.OneOf) > 0:
		parts = append(parts, "one of "+strings.Join(f.Rules.OneOf, ", "))
	case s.Code == typed.String:
		parts = append(parts, "text")
	default:
		parts = append(parts, s.Describe())
	}

	if limits := f.Rules.Limits(s); limits != "" {
		parts = append(parts, limits)
	}
	if f.Rules.Required {
		parts = append(parts, "required")
	}
	return strings.Join(parts, ", ")
}

// object builds a mapNode from names and nodes in turn.
func object(pairs ...any) *doc.Node {
	n := &doc.Node{Kind: doc.Map}
	for i := 0; i < len(pairs); i += 2 {
		n.Put(doc.Name{Text: pairs[i].(string)}, pairs[i+1].(*doc.Node))
	}
	return n
}

func text(s string) *doc.Node { return &doc.Node{Kind: doc.Text, Text: s} }
func word(s string) *doc.Node { return &doc.Node{Kind: doc.Text, Text: s, Plain: true} }

func list(items ...*doc.Node) *doc.Node { return &doc.Node{Kind: doc.List, Items: items} }

// referenceSchema accepts a reference in place of a value.
func referenceSchema() *doc.Node {
	return object("type", text("string"), "pattern", text(`^ref\+[a-z][a-z0-9+-]*://.+`))
}

func jsonProperties(e *typed.Entry, rv reflect.Value) *doc.Node {
	out := object()
	for _, child := range e.Children {
		fv := fieldOf(rv, child.Index)
		if !child.Section {
			out.Put(doc.Name{Text: child.Field.Name}, jsonLeaf(child, fv))
			continue
		}

		inner := indirect(fv)
		if !inner.IsValid() {
			inner = reflect.New(child.Shape.Type).Elem()
			typed.Fill(inner, child.Shape)
		}

		properties := jsonProperties(child, inner)
		if child.Field.Name == "" { // embedded: its keys are the outer struct's
			for i, k := range properties.Names {
				out.Put(k, properties.Items[i])
			}
			continue
		}

		section := object("type", list(text("object"), text("null")), "properties", properties, "additionalProperties", word("false"))
		if child.Field.Doc != "" {
			section.Put(doc.Name{Text: "description"}, text(child.Field.Doc))
		}
		out.Put(doc.Name{Text: child.Field.Name}, section)
	}

	return out
}

func jsonLeaf(e *typed.Entry, fv reflect.Value) *doc.Node {
	n := jsonShape(e.Shape, e.Field.Rules, nil)
	description := e.Field.Doc
	if e.Field.Rules.Required {
		description = strings.TrimSpace(description + " (required)")
	}
	if description != "" {
		n.Put(doc.Name{Text: "description"}, text(description))
	}

	if fv.IsValid() && !fv.IsZero() && !e.Shape.HoldsSecret() && !sensitiveKey(e.Key) {
		if value, err := typed.Encode(fv, e.Shape); err == nil {
			if line, err := doc.JSONText(value); err == nil && showable(line) == line {
				n.Put(doc.Name{Text: "default"}, value)
			}
		}
	}

	return n
}

// jsonShape describes what Load accepts for a type: its values, the texts that
// are read as such, null, which leaves the default, and a reference. seen keeps
// types that contain themselves from going on for ever.
func jsonShape(s *typed.Shape, r typed.Rules, seen []*typed.Shape) *doc.Node {
	for s.Code == typed.Pointer {
		s = s.Elem
	}
	if slices.Contains(seen, s) {
		return object()
	}
	seen = append(slices.Clip(seen), s)

	limits := func(n *doc.Node, low, high string) *doc.Node {
		if r.Min != nil {
			n.Put(doc.Name{Text: low}, word(r.Min.Text))
		}
		if r.Max != nil {
			n.Put(doc.Name{Text: high}, word(r.Max.Text))
		}
		return numeric(n)
	}
	orNull := func(n ...*doc.Node) *doc.Node {
		return object("anyOf", list(append(n, object("type", text("null")))...))
	}
	either := func(n ...*doc.Node) *doc.Node { return orNull(append(n, referenceSchema())...) }
	pattern := func(p string) *doc.Node { return object("type", text("string"), "pattern", text(p)) }

	if len(r.OneOf) > 0 && s.Code != typed.Slice && s.Code != typed.Array {
		values := list()
		for _, v := range r.OneOf {
			values.Items = append(values.Items, text(v))
			if doc.IsJSONNumber(v) || v == "true" || v == "false" {
				values.Items = append(values.Items, word(v))
			}
		}
		out := []*doc.Node{object("enum", values)}
		if s.Code != typed.String { // other spellings, such as 0x1 or 60s
			out = append(out, pattern(`^\s*[-+.0-9]`))
		}
		return either(out...)
	}

	switch s.Code {
	case typed.Bool:
		return either(object("type", text("boolean")), object("enum", list(word("0"), word("1"))),
			pattern(`^\s*([tTyYfFnN01]|[oO][nN]|[oO][fF][fF]|[nN][oO]|[yY][eE][sS]|[tT][rR][uU][eE]|[fF][aA][lL][sS][eE])\s*$`))
	case typed.Int, typed.Uint:
		n := limits(object("type", text("integer")), "minimum", "maximum")
		if s.Code == typed.Uint && n.Child("minimum") == nil {
			n.Put(doc.Name{Text: "minimum"}, word("0"))
		}
		return either(n, pattern(`^\s*[-+]?[0-9]`))
	case typed.Float:
		return either(limits(object("type", text("number")), "minimum", "maximum"), pattern(`^\s*[-+]?([.0-9]|[iI][nN][fF]|[nN][aA][nN])`))
	case typed.Duration:
		n := pattern(`^\s*([+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+|[+-]?0)\s*$`)
		n.Put(doc.Name{Text: "examples"}, list(text("30s"), text("5m"), text((90*time.Minute).String())))
		return either(n, object("const", word("0")))
	case typed.Slice, typed.Array:
		n := limits(object("type", text("array"), "items", jsonShape(s.Elem, typed.Rules{OneOf: r.OneOf}, seen)), "minItems", "maxItems")
		if s.Code == typed.Array {
			length := word(fmt.Sprint(s.Type.Len()))
			n.Put(doc.Name{Text: "minItems"}, length)
			n.Put(doc.Name{Text: "maxItems"}, length)
		}
		return either(n)
	case typed.Map: // its number of entries is that of all layers
		return either(object("type", text("object"), "additionalProperties", jsonShape(s.Elem, typed.Rules{}, seen)))
	case typed.Struct:
		return orNull(jsonStruct(s, seen))
	case typed.Any:
		return object()
	case typed.String, typed.Secret:
		if r.Min == nil && r.Max == nil {
			break
		}
		return either(limits(object("type", list(text("string"), text("number"), text("boolean"))), "minLength", "maxLength"))
	}
	return object("type", list(text("string"), text("number"), text("boolean"), text("null")))
}

// jsonStruct describes an item of a list or map. What it requires has to stand
// in it, as no other layer can set it.
func jsonStruct(s *typed.Shape, seen []*typed.Shape) *doc.Node {
	properties, required := object(), list()
	for _, k := range typed.SortedKeys(s.Struct.Names) {
		f := s.Struct.Names[k]
		p := jsonShape(f.Shape, f.Rules, seen)
		if f.Doc != "" {
			p.Put(doc.Name{Text: "description"}, text(f.Doc))
		}

		if zero := reflect.New(f.Shape.Type).Elem(); f.Tags.HasDefault && !f.Shape.HoldsSecret() {
			if v, err := tags.Parse(zero.Type(), f.Tags.Default); err == nil {
				if value, err := typed.Encode(v, f.Shape); err == nil {
					p.Put(doc.Name{Text: "default"}, value)
				}
			}
		}

		if f.Rules.Required {
			required.Items = append(required.Items, text(k))
		}
		properties.Put(doc.Name{Text: k}, p)
	}

	n := object("type", text("object"), "properties", properties, "additionalProperties", word("false"))
	if len(required.Items) > 0 {
		n.Put(doc.Name{Text: "required"}, required)
	}
	return n
}

// numeric drops limits that JSON cannot write, such as hexadecimal ones.
func numeric(n *doc.Node) *doc.Node {
	for i, k := range n.Names {
		if (strings.HasPrefix(k.Text, "min") || strings.HasPrefix(k.Text, "max")) && !doc.IsJSONNumber(n.Items[i].Text) {
			n.Names, n.Items = append(n.Names[:i:i], n.Names[i+1:]...), append(n.Items[:i:i], n.Items[i+1:]...)
			return numeric(n)
		}
	}
	return n
}
