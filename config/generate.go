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
		"properties", schema.root.jsonProperties(rv),
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
// among opts, the options given to [Load]; the others do not matter here.
func EnvExample[T any](defaults T, opts ...Option) (string, error) {
	schema, rv, err := describeSettings("env", defaults)
	if err != nil {
		return "", err
	}
	o, err := newOptions(opts)
	if err != nil {
		return "", err
	}
	prefix := ""
	for _, s := range o.sources {
		if s.kind == layerEnv {
			prefix = s.path
		}
	}
	var b strings.Builder
	eachLeaf(schema.root, rv, func(e *entry, fv reflect.Value) {
		if e.field.doc != "" {
			b.WriteString("# " + strings.ReplaceAll(e.field.doc, "\n", "\n# ") + "\n")
		}
		b.WriteString("# " + e.facts() + "\n")
		v := variable(prefix, e.key)
		if e.shape.secret() {
			v += fileSuffix
		}
		b.WriteString("# " + v + "=" + envDefault(e, fv) + "\n\n")
	})
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// envDefault writes a default as a variable holds it.
func envDefault(e *entry, fv reflect.Value) string {
	if !fv.IsValid() || fv.IsZero() || e.shape.holdsSecret() || sensitiveKey(e.key) {
		return ""
	}
	switch e.shape.code {
	case codeSlice, codeArray, codeMap:
		if n, err := encode(fv, e.shape); err == nil {
			if line, err := doc.JSONText(n); err == nil {
				return maskSecrets(line)
			}
		}
		return ""
	}
	value := display(fv, e.shape, e.key, false)
	if strings.ContainsAny(value, " #\"'$\\\n") {
		return doc.QuoteJSON(value)
	}
	return value
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
	eachLeaf(schema.root, rv, func(e *entry, fv reflect.Value) {
		value := ""
		if fv.IsValid() && !fv.IsZero() {
			value = "`" + strings.ReplaceAll(display(fv, e.shape, e.key, false), "`", "'") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", e.key, cell.Replace(e.facts()), cell.Replace(value), cell.Replace(e.field.doc))
	})
	return b.String(), nil
}

func describeSettings[T any](op string, defaults T) (*schema, reflect.Value, error) {
	rv := reflect.ValueOf(&defaults).Elem()
	s, errs := newSchema(rv.Type())
	if len(errs) > 0 {
		return nil, rv, errors.New("config: " + op + ": " + strings.Join(errs, "; "))
	}
	return s, rv, nil
}

// eachLeaf visits the leaves in the order of the fields; fv is invalid below a
// nil pointer.
func eachLeaf(section *entry, rv reflect.Value, visit func(e *entry, fv reflect.Value)) {
	for _, child := range section.children {
		fv := fieldOf(rv, child.index)
		if child.section {
			eachLeaf(child, indirect(fv), visit)
			continue
		}
		visit(child, fv)
	}
}

// facts says in words what a key takes.
func (e *entry) facts() string {
	var parts []string
	switch {
	case e.shape.secret():
		parts = append(parts, "a secret")
	case len(e.field.rules.oneof) > 0:
		parts = append(parts, "one of "+strings.Join(e.field.rules.oneof, ", "))
	case e.shape.code == codeString:
		parts = append(parts, "text")
	default:
		parts = append(parts, e.shape.describe())
	}
	if limits := e.field.rules.limits(e.shape); limits != "" {
		parts = append(parts, limits)
	}
	if e.field.rules.required {
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

func (e *entry) jsonProperties(rv reflect.Value) *doc.Node {
	out := object()
	for _, child := range e.children {
		fv := fieldOf(rv, child.index)
		if !child.section {
			out.Put(doc.Name{Text: child.field.name}, child.jsonLeaf(fv))
			continue
		}
		properties := child.jsonProperties(indirect(fv))
		if child.field.name == "" { // embedded: its keys are the outer struct's
			for i, k := range properties.Names {
				out.Put(k, properties.Items[i])
			}
			continue
		}
		section := object("type", list(text("object"), text("null")), "properties", properties, "additionalProperties", word("false"))
		if child.field.doc != "" {
			section.Put(doc.Name{Text: "description"}, text(child.field.doc))
		}
		out.Put(doc.Name{Text: child.field.name}, section)
	}
	return out
}

func (e *entry) jsonLeaf(fv reflect.Value) *doc.Node {
	n := jsonShape(e.shape, e.field.rules, nil)
	description := e.field.doc
	if e.field.rules.required {
		description = strings.TrimSpace(description + " (required)")
	}
	if description != "" {
		n.Put(doc.Name{Text: "description"}, text(description))
	}
	if fv.IsValid() && !fv.IsZero() && !e.shape.holdsSecret() && !sensitiveKey(e.key) {
		if value, err := encode(fv, e.shape); err == nil {
			if line, err := doc.JSONText(value); err == nil && maskSecrets(line) == line {
				n.Put(doc.Name{Text: "default"}, value)
			}
		}
	}
	return n
}

// jsonShape describes a type; seen keeps types that contain themselves from
// going on for ever.
func jsonShape(s *shape, r rules, seen []*shape) *doc.Node {
	for s.code == codePointer {
		s = s.elem
	}
	if slices.Contains(seen, s) {
		return object()
	}
	seen = append(seen, s)
	limits := func(n *doc.Node, low, high string) *doc.Node {
		if r.min != nil {
			n.Put(doc.Name{Text: low}, word(r.min.text))
		}
		if r.max != nil {
			n.Put(doc.Name{Text: high}, word(r.max.text))
		}
		return n
	}
	either := func(n *doc.Node) *doc.Node { return object("anyOf", list(n, referenceSchema())) }
	switch s.code {
	case codeBool:
		return either(object("type", text("boolean")))
	case codeInt, codeUint:
		n := limits(object("type", text("integer")), "minimum", "maximum")
		if s.code == codeUint && n.Child("minimum") == nil {
			n.Put(doc.Name{Text: "minimum"}, word("0"))
		}
		return either(numeric(n))
	case codeFloat:
		return either(numeric(limits(object("type", text("number")), "minimum", "maximum")))
	case codeDuration:
		return either(object("type", text("string"), "pattern", text(`^[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$|^[+-]?0$`),
			"examples", list(text("30s"), text("5m"), text((90*time.Minute).String()))))
	case codeSlice, codeArray:
		n := limits(object("type", text("array"), "items", jsonShape(s.elem, rules{oneof: r.oneof}, seen)), "minItems", "maxItems")
		if s.code == codeArray {
			length := word(fmt.Sprint(s.rt.Len()))
			n.Put(doc.Name{Text: "minItems"}, length)
			n.Put(doc.Name{Text: "maxItems"}, length)
		}
		return either(n)
	case codeMap:
		item := jsonShape(s.elem, rules{}, seen)
		return either(limits(object("type", text("object"), "additionalProperties", object("anyOf", list(item, object("type", text("null"))))), "minProperties", "maxProperties"))
	case codeStruct:
		properties := object()
		for _, k := range sortedKeys(s.str.names) {
			f := s.str.names[k]
			p := jsonShape(f.shape, f.rules, seen)
			if f.doc != "" {
				p.Put(doc.Name{Text: "description"}, text(f.doc))
			}
			properties.Put(doc.Name{Text: k}, p)
		}
		return object("type", text("object"), "properties", properties, "additionalProperties", word("false"))
	case codeAny:
		return object()
	case codeText:
		if s.rt == reflect.TypeFor[Bytes]() {
			return object("type", list(text("string"), text("integer")))
		}
	}
	if len(r.oneof) > 0 {
		values := list()
		for _, v := range r.oneof {
			values.Items = append(values.Items, text(v))
		}
		return either(object("enum", values))
	}
	n := object("type", list(text("string"), text("number"), text("boolean")))
	if s.code == codeString || s.code == codeSecret {
		return limits(n, "minLength", "maxLength")
	}
	return n
}

// numeric drops limits that JSON cannot write, such as hexadecimal ones.
func numeric(n *doc.Node) *doc.Node {
	for i, k := range n.Names {
		if (k.Text == "minimum" || k.Text == "maximum") && !doc.IsJSONNumber(n.Items[i].Text) {
			n.Names, n.Items = append(n.Names[:i:i], n.Names[i+1:]...), append(n.Items[:i:i], n.Items[i+1:]...)
			return numeric(n)
		}
	}
	return n
}
