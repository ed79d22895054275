package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/doc"
)

// snapshot is one complete reading of the settings.
type snapshot struct {
	rv         reflect.Value // pointer to the settings
	heads      []*doc.Node   // by leaf id: the value that won, nil for the default
	layers     []*layer
	warnings   []Problem
	inputs     []input
	references map[string][]string // reference text to the keys that use it
	at         time.Time
}

// builder makes a snapshot.
type builder struct {
	*reading
	decoder
	heads      []*doc.Node
	references map[string][]string
}

// build reads all layers, resolves references, decodes and checks. With data
// for the writable file, that is taken in place of what the file holds.
func (e *engine) build(ctx context.Context, replaced []byte) (*snapshot, error) {
	b := &builder{reading: &reading{opt: e.opt, schema: e.schema, environ: e.opt.environ()}}
	b.lenient = e.opt.lenient
	b.heads = make([]*doc.Node, len(e.schema.leaves))
	b.references = map[string][]string{}
	b.replaced, b.before = replaced, e.filled()
	b.anew = replaced != nil && e.writableGone()
	b.run()
	for _, l := range b.layers {
		b.apply(l)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("config: load: %w", context.Cause(ctx))
	}
	b.defaultReferences(e.defaults)
	e.resolveAll(ctx, b)

	rv := reflect.New(e.schema.rt)
	rv.Elem().Set(deepCopy(e.defaults, e.schema.root.shape))
	b.section(e.schema.root, rv.Elem())
	problems := append(b.reading.problems, b.decoder.problems...)
	problems = append(problems, b.validateTree(rv.Elem(), e.schema.root.shape, "", problems)...)
	b.collectSecrets(rv.Elem(), e.schema.root.shape)
	warnings := append(b.reading.warnings, b.decoder.warnings...)
	b.scrub.problems(warnings)
	if len(problems) > 0 {
		b.scrub.problems(problems)
		rank := map[string]int{}
		for i, l := range b.layers {
			rank[l.describe()] = i
		}
		sortProblems(problems, rank)
		return &snapshot{inputs: sortedInputs(b.inputs), warnings: warnings}, &Report{problems}
	}
	return &snapshot{
		rv: rv, heads: b.heads, layers: b.layers, warnings: warnings,
		inputs: sortedInputs(b.inputs), references: b.references, at: time.Now(),
	}, nil
}

// writableGone reports that the writable file does not exist.
func (e *engine) writableGone() bool {
	return slices.ContainsFunc(e.opt.sources, func(s sourceSpec) bool {
		_, err := os.Stat(s.path)
		return s.writable && errors.Is(err, fs.ErrNotExist)
	})
}

// filled lists the files that held something in the current snapshot.
func (e *engine) filled() map[string]bool {
	out := map[string]bool{}
	if snap := e.snapshot(); snap != nil {
		for _, l := range snap.layers {
			if len(l.data) > 0 {
				out[l.name] = true
			}
		}
	}
	return out
}

// apply lays one layer over those before it.
func (b *builder) apply(l *layer) {
	if l.root == nil {
		return
	}
	if l.flat {
		for i, k := range l.root.Names {
			b.set(b.schema.byKey[k.Text], l.root.Items[i])
		}
		return
	}
	b.walk(b.schema.root, l.root)
}

func (b *builder) walk(section *entry, n *doc.Node) {
	for i, k := range n.Names {
		item := n.Items[i]
		e := section.names[k.Text]
		switch {
		case e == nil:
			b.decoder.unknown(item, k, section.key, b.keyHint(section, k.Text))
		case !e.section:
			b.set(e, item)
		case item.Kind == doc.Map:
			b.walk(e, item)
		case item.Kind == doc.Text && isReference(item.Text):
			b.wrongSection(item, e, "a reference stands for one value, not for a section")
		case item.Kind != doc.Null:
			b.wrongSection(item, e, "")
		}
	}
}

// wrongSection reports what stands where a section goes.
func (b *builder) wrongSection(n *doc.Node, e *entry, hint string) {
	b.decoder.wrong(n, e.shape, e.key, "a section", hint)
	last := len(b.decoder.problems) - 1
	b.reject(b.decoder.problems[last])
	b.decoder.problems = b.decoder.problems[:last]
}

// set makes n the value of a leaf.
func (b *builder) set(e *entry, n *doc.Node) {
	inner := e.shape
	for inner.code == codePointer {
		inner = inner.elem
	}
	if n.Kind == doc.Null && e.shape.code != codePointer && inner.code != codeSlice && inner.code != codeMap {
		return // a scalar without a value leaves what is below
	}
	if inner.code == codeMap {
		b.heads[e.id] = mergeNodes(b.heads[e.id], n)
		return
	}
	if below := b.heads[e.id]; below != nil {
		remark(n, func(o *origin) { o.over = below })
	}
	b.heads[e.id] = n
}

// keyHint says what an unknown key may have meant.
func (b *builder) keyHint(section *entry, key string) string {
	if e := b.schema.byKey[doc.JoinKey(section.key, key)]; e != nil && strings.Contains(key, ".") {
		return "nest it: a dot in a key does not open a section"
	}
	if hint := nearest(key, mapKeys(section.names)); hint != "" {
		return hint
	}
	for _, k := range sortedKeys(b.schema.byKey) {
		if _, last, nested := cutLast(k, "."); last == key && (nested || section.key != "") {
			return fmt.Sprintf("the key is %s", k)
		}
	}
	return ""
}

// section decodes the leaves below e into the struct rv.
func (b *builder) section(e *entry, rv reflect.Value) {
	for _, child := range e.children {
		fv := rv.Field(child.index)
		if !child.section {
			b.leaf(child, fv)
			continue
		}
		touched := false
		for _, n := range b.heads[child.id:child.end] {
			touched = touched || n != nil
		}
		if child.field.rules.required && !touched && fv.IsZero() {
			b.missing(child)
		}
		for range child.pointer {
			if fv.IsNil() {
				if !touched {
					break
				}
				fv.Set(reflect.New(fv.Type().Elem()))
			}
			fv = fv.Elem()
		}
		if fv.Kind() == reflect.Struct {
			b.section(child, fv)
		}
	}
}

func (b *builder) leaf(e *entry, fv reflect.Value) {
	n, r := b.heads[e.id], e.field.rules
	if n != nil && (from(n).failed || !b.value(fv, e.shape, n, e.key)) {
		return // reported already
	}
	if n == nil && fv.IsZero() {
		if r.required {
			b.missing(e)
		}
		return
	}
	if r.required && n != nil && n.Kind == doc.Null && fv.IsZero() {
		b.missing(e)
		return
	}
	if want := r.check(fv, e.shape); want != "" {
		if n == nil {
			n = &doc.Node{Kind: doc.Text, Mark: noOrigin}
		}
		p := problemAt(n, e.key)
		p.Value = display(fv, e.shape, e.key, hidden(n))
		if c := e.shape.code; c == codeString || c == codeText {
			p.Value = fmt.Sprintf("%q", shorten(p.Value))
		}
		p.Want = want
		b.decoder.problems = append(b.decoder.problems, p)
	}
}

// missing reports a required key that nothing sets, and how to set it.
func (b *builder) missing(e *entry) {
	if b.maybeSet(e.key) {
		return
	}
	p := Problem{Key: e.key, Message: "required, but no layer sets it"}
	var ways []string
	for _, s := range b.opt.sources {
		switch s.kind {
		case layerFile:
			ways = append(ways, "in "+s.path)
		case layerEnv:
			if !e.section {
				ways = append(ways, "by "+variable(s.path, e.key))
			}
		case layerFlag:
			if !e.section && s.flags.Lookup(flagName(e.key)) != nil {
				ways = append(ways, "by -"+flagName(e.key))
			}
		}
	}
	if len(ways) > 0 {
		p.Hint = "set it " + strings.Join(ways, " or ")
	}
	b.decoder.problems = append(b.decoder.problems, p)
}

// validateTree calls the Validate method of every struct in rv, the inner ones
// first.
func (b *builder) validateTree(rv reflect.Value, s *shape, key string, found []Problem) (problems []Problem) {
	if !s.needsValidation() {
		return nil
	}
	switch s.code {
	case codePointer:
		if !rv.IsNil() && s.elem.code != codeText {
			return b.validateTree(rv.Elem(), s.elem, key, found)
		}
	case codeSlice, codeArray:
		if s.elem.needsValidation() {
			for i := range rv.Len() {
				problems = append(problems, b.validateTree(rv.Index(i), s.elem, fmt.Sprintf("%s[%d]", key, i), found)...)
			}
		}
	case codeMap:
		if s.elem.needsValidation() {
			for it := rv.MapRange(); it.Next(); {
				item := reflect.New(s.elem.rt).Elem()
				item.Set(it.Value())
				problems = append(problems, b.validateTree(item, s.elem, doc.JoinKey(key, plainText(it.Key(), s.key)), found)...)
			}
		}
	case codeStruct:
		for _, f := range s.str.fields {
			inner := f.shape
			if f.name == "" && s.validate && inner.code == codeStruct {
				copied := *inner // its method is promoted, or replaced by the outer one
				copied.validate = false
				inner = &copied
			}
			full := key
			if f.name != "" {
				full = doc.JoinKey(key, f.name)
			}
			problems = append(problems, b.validateTree(rv.Field(f.index), inner, full, found)...)
		}
		if s.validate && rv.CanAddr() && rv.Addr().CanInterface() {
			problems = append(problems, b.callValidate(rv, key, concerns(found, key), problems)...)
		}
	}
	return problems
}

// concerns reports whether a value at or below key is not what the layers gave.
func concerns(problems []Problem, key string) bool {
	for _, p := range problems {
		if p.Message == unknownMessage || strings.HasPrefix(p.Message, duplicateMessage) || p.Key == "" && p.File == "" {
			continue
		}
		if key == "" || p.Key == key || strings.HasPrefix(p.Key, key+".") || strings.HasPrefix(p.Key, key+"[") {
			return true
		}
	}
	return false
}

// needsValidation reports whether the shape holds a Validate method.
func (s *shape) needsValidation() bool {
	return s.holds(&s.validates, func(in *shape) bool { return in.code == codeStruct && in.validate })
}

// holdsSecret reports whether a Secret is anywhere in the shape.
func (s *shape) holdsSecret() bool {
	return s.holds(&s.secrets, func(in *shape) bool { return in.code == codeSecret })
}

// answer is what was found out about a shape.
type answer uint8

const (
	unknown answer = iota
	yes
	no
)

// holds looks for a shape within s, once.
func (s *shape) holds(known *answer, is func(*shape) bool) bool {
	if *known == unknown {
		*known = no
		if s.search(map[*shape]bool{}, is) {
			*known = yes
		}
	}
	return *known == yes
}

func (s *shape) search(seen map[*shape]bool, is func(*shape) bool) bool {
	if s == nil || seen[s] {
		return false
	}
	if is(s) {
		return true
	}
	seen[s] = true
	if s.code != codeStruct {
		return s.elem.search(seen, is)
	}
	for _, f := range s.str.fields {
		if f.shape.search(seen, is) {
			return true
		}
	}
	return false
}

// callValidate calls a Validate method. What the structs within have said is
// not said again. The flag partly says that a value has a problem of its own
// and is not what the layers gave.
func (b *builder) callValidate(rv reflect.Value, key string, partly bool, inner []Problem) (problems []Problem) {
	v, ok := rv.Addr().Interface().(interface{ Validate() error })
	if !ok {
		return nil
	}
	panicked, err := validate(v)
	if err == nil || panicked && partly {
		return nil
	}
	causes := []error{err}
	if many, ok := err.(interface{ Unwrap() []error }); ok && len(many.Unwrap()) > 0 {
		causes = many.Unwrap()
	}
	for _, cause := range causes {
		if cause == nil || slices.ContainsFunc(inner, func(p Problem) bool { return strings.Contains(cause.Error(), p.Message) }) {
			continue
		}
		p := b.locate(key)
		p.Message, p.Err = cause.Error(), cause
		if partly {
			p.Hint = "checked without the values that have a mistake of their own"
		}
		problems = append(problems, p)
	}
	return problems
}

// validate keeps a panic of the method from ending a program that runs on its
// last good settings.
func validate(v interface{ Validate() error }) (panicked bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			panicked, err = true, fmt.Errorf("its Validate method panicked: %v", p)
		}
	}()
	return false, v.Validate()
}

// locate finds the place of a section: in the highest layer that names it.
func (b *builder) locate(key string) Problem {
	for i := len(b.layers) - 1; i >= 0 && key != ""; i-- {
		l := b.layers[i]
		if l.root == nil || l.flat {
			continue
		}
		at, n := doc.Name{}, l.root
		for part := range strings.SplitSeq(key, ".") {
			found := false
			for j := range n.Names {
				if n.Names[j].Text == part {
					at, n, found = n.Names[j], n.Items[j], true
					break
				}
			}
			if !found {
				n = nil
				break
			}
		}
		if n != nil {
			return Problem{Key: key, Layer: l.describe(), File: l.path(), Line: at.Line, Column: at.Column}
		}
	}
	return Problem{Key: key}
}

// collectSecrets notes the text of all secrets for the scrubber.
func (b *builder) collectSecrets(rv reflect.Value, s *shape) {
	if !s.holdsSecret() {
		return
	}
	switch s.code {
	case codeSecret:
		if v, ok := rv.Interface().(Secret); ok {
			b.scrub.add(v.Reveal())
		}
	case codePointer:
		if !rv.IsNil() {
			b.collectSecrets(rv.Elem(), s.elem)
		}
	case codeSlice, codeArray:
		for i := range rv.Len() {
			b.collectSecrets(rv.Index(i), s.elem)
		}
	case codeMap:
		for it := rv.MapRange(); it.Next(); {
			b.collectSecrets(it.Value(), s.elem)
		}
	case codeStruct:
		for _, f := range s.str.fields {
			if fv := rv.Field(f.index); fv.CanInterface() || f.shape.code == codeStruct {
				b.collectSecrets(fv, f.shape)
			}
		}
	}
}
