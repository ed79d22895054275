package config

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/internal/typed"
	tags "github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/internal/redact"
)

// builder makes a snapshot.
type builder struct {
	*reading
	typed.Decoder
	engine     *engine
	found      []Problem // of the values that won
	heads      []*doc.Node
	references map[string][]string
}

func newBuilder(e *engine, replaced []byte) *builder {
	return &builder{
		engine: e,
		reading: &reading{
			opt: e.opt, schema: e.schema, environ: e.opt.environ(), before: e.filled(),
			replaced: replaced, anew: replaced != nil && e.writableGone(),
		},
		Decoder:    *newDecoder(e.opt.lenient),
		heads:      make([]*doc.Node, len(e.schema.Leaves)),
		references: map[string][]string{},
	}
}

// build reads all layers, resolves references, decodes and checks.
func (b *builder) build(ctx context.Context) (*snapshot, error) {
	b.run()
	for _, l := range b.layers {
		b.apply(l)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("config: load: %w", context.Cause(ctx))
	}

	b.defaultReferences()
	b.resolveAll(ctx)
	checkWritable(b.reading)

	rv := reflect.New(b.schema.Type)
	rv.Elem().Set(typed.Copy(b.engine.defaults, b.schema.Root.Shape))
	b.section(b.schema.Root, rv.Elem())

	problems := slices.Concat(b.problems, problemsOf(b.Mistakes), b.found)
	problems = append(problems, b.validateTree(rv.Elem(), b.schema.Root.Shape, "", problems)...)
	b.collectSecrets(rv.Elem(), b.schema.Root.Shape)

	warnings := append(b.reading.warnings, problemsOf(b.Decoder.Warnings)...)
	if more := len(warnings) - maxProblems; more > 0 {
		more += b.MoreWarnings
		warnings = append(warnings[:maxProblems:maxProblems], Problem{Message: fmt.Sprintf("and %d more warnings", more)})
	}
	b.scrub.problems(warnings)

	if len(problems) > 0 {
		return &snapshot{inputs: sortedInputs(b.inputs), warnings: warnings}, b.report(problems)
	}
	return &snapshot{
		rv: rv, heads: b.heads, layers: b.layers, warnings: warnings,
		inputs: sortedInputs(b.inputs), references: b.references, ignored: b.ignored, at: time.Now(),
	}, nil
}

// report orders problems by layer and place, bounds their number and takes
// secrets out.
func (b *builder) report(problems []Problem) *Report {
	rank := map[string]int{}
	for i, l := range b.layers {
		rank[l.describe()] = i
	}
	sortProblems(problems, rank)

	r := &Report{Problems: problems}
	if r.More = max(0, len(problems)-maxProblems); r.More > 0 {
		r.Problems = problems[:maxProblems:maxProblems]
		r.More += b.MoreMistakes
	}
	b.scrub.problems(r.Problems)
	return r
}

// apply lays one layer over those before it.
func (b *builder) apply(l *layer) {
	if l.root == nil {
		return
	}
	if l.flat {
		for i, k := range l.root.Names {
			b.set(b.schema.ByKey[k.Text], l.root.Items[i])
		}
		return
	}
	b.walk(b.schema.Root, l.root)
}

func (b *builder) walk(section *typed.Entry, n *doc.Node) {
	for i, k := range n.Names {
		item := n.Items[i]
		e := section.Names[k.Text]
		switch {
		case e == nil && b.ignores(doc.JoinKey(section.Key, k.Text), originOf(item, k)):
		case e == nil:
			b.Decoder.Unknown(n, i, section.Shape, section.Key, b.keyHint(section, k.Text))
		case !e.Section:
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
func (b *builder) wrongSection(n *doc.Node, e *typed.Entry, hint string) {
	b.reject(problemOf(typed.Mistake{Node: n, Shape: e.Shape, Key: e.Key, Want: "a section", Hint: hint}))
}

// set makes n the value of a leaf.
func (b *builder) set(e *typed.Entry, n *doc.Node) {
	inner := e.Shape
	for inner.Code == typed.Pointer {
		inner = inner.Elem
	}
	if n.Kind == doc.Null && !e.Shape.Nullable() && !inner.Nullable() {
		return // a scalar without a value leaves what is below
	}

	if inner.Code == typed.Map {
		b.heads[e.ID] = mergeNodes(b.heads[e.ID], n)
		return
	}
	if below := b.heads[e.ID]; below != nil {
		remark(n, func(o *origin) { o.over = below })
	}

	b.heads[e.ID] = n
}

// keyHint says what an unknown key may have meant.
func (b *builder) keyHint(section *typed.Entry, key string) string {
	if why := b.schema.Unreadable[doc.JoinKey(section.Key, key)]; why != "" {
		return why
	}

	if e := b.schema.ByKey[doc.JoinKey(section.Key, key)]; e != nil && strings.Contains(key, ".") {
		return "nest it: a dot in a key does not open a section"
	}
	if len(b.Mistakes)+len(b.Warnings) > maxProblems {
		return "" // it will not be shown
	}
	if hint := typed.Nearest(key, typed.Keys(section.Names)); hint != "" {
		return hint
	}

	for _, k := range typed.SortedKeys(b.schema.ByKey) {
		if _, last, nested := cutLast(k, "."); last == key && (nested || section.Key != "") {
			return fmt.Sprintf("the key is %s", k)
		}
	}

	return ""
}

// defaultReferences gives defaults that are references a node of their own.
func (b *builder) defaultReferences() {
	var visit func(e *typed.Entry, rv reflect.Value)
	visit = func(e *typed.Entry, rv reflect.Value) {
		for _, child := range e.Children {
			fv := rv.Field(child.Index)
			for fv.Kind() == reflect.Pointer && !fv.IsNil() {
				fv = fv.Elem()
			}

			switch {
			case fv.Kind() == reflect.Pointer:
			case child.Section:
				visit(child, fv)
			case b.heads[child.ID] == nil && (child.Shape.Code == typed.String || child.Shape.Code == typed.Secret):
				if text := typed.PlainText(fv, child.Shape); isReference(text) {
					b.heads[child.ID] = &doc.Node{Kind: doc.Text, Text: text, Mark: noOrigin}
				}
			}
		}
	}

	visit(b.schema.Root, b.engine.defaults)
}

// resolveAll replaces the references of the values that won. Values that are
// known are taken from before, so that an outage does not stop a reload.
func (b *builder) resolveAll(ctx context.Context) {
	type use struct {
		n   *doc.Node
		key string
		s   *typed.Shape
	}

	uses := map[string][]use{}
	var order []string
	var find func(n *doc.Node, key string, s *typed.Shape)

	find = func(n *doc.Node, key string, s *typed.Shape) {
		if !mayRefer(n) {
			return // most values do not, and need no key
		}
		if n.Kind == doc.Text && isReference(n.Text) {
			if uses[n.Text] == nil {
				order = append(order, n.Text)
			}
			uses[n.Text] = append(uses[n.Text], use{n, key, s})
			return
		}

		for i, item := range n.Items {
			full := fmt.Sprintf("%s[%d]", key, i)
			if n.Kind == doc.Map {
				full = doc.JoinKey(key, n.Names[i].Text)
			}
			find(item, full, s)
		}
	}

	for i, n := range b.heads {
		find(n, b.schema.Leaves[i].Key, b.schema.Leaves[i].Shape)
	}
	if len(order) == 0 {
		return
	}

	for _, text := range order {
		if r, err := parseReference(text); err == nil && isLocal(b.opt.resolvers[r.scheme]) && r.scheme == "file" {
			b.inputs = append(b.inputs, currentInput(r.path, false)) // before it is resolved
		}
	}

	results := b.engine.refs.get(ctx, b.opt.resolvers, order)
	for i, text := range order {
		for _, u := range uses[text] {
			b.references[text] = append(b.references[text], u.key)
			if results[i].err != nil {
				p := problemAt(u.n, u.key)
				p.Kind = KindUnresolved
				p.Message = fmt.Sprintf("cannot resolve %s: %s", showReference(text), redact.Reason(results[i].err.Error()))
				p.Err = results[i].err
				b.fail(p)
				skip(u.n)
				continue
			}

			b.scrub.add(results[i].value)
			u.n.Text, u.n.Plain = results[i].value, false
			remark(u.n, func(o *origin) { o.ref, o.tainted = text, true })
		}
	}
}

// section decodes the leaves below e into the struct rv.
func (b *builder) section(e *typed.Entry, rv reflect.Value) {
	for _, child := range e.Children {
		fv := rv.Field(child.Index)
		if !child.Section {
			b.leaf(child, fv)
			continue
		}
		touched := false
		for _, n := range b.heads[child.ID:child.End] {
			touched = touched || n != nil
		}

		if child.Field.Rules.Required && !touched && fv.IsZero() {
			b.missing(child)
		}

		for range child.Pointers {
			if fv.IsNil() {
				if !touched {
					break
				}
				fv.Set(reflect.New(fv.Type().Elem()))
				typed.Fill(fv.Elem(), child.Shape)
			}
			fv = fv.Elem()
		}

		if fv.Kind() == reflect.Struct {
			b.section(child, fv)
		}
	}
}

func (b *builder) leaf(e *typed.Entry, fv reflect.Value) {
	n, r := b.heads[e.ID], e.Field.Rules
	if n != nil && (from(n).failed || !b.Value(fv, e.Shape, n, e.Key)) {
		return // reported already
	}

	if n == nil && fv.IsZero() {
		if r.Required {
			b.missing(e)
		}
		return
	}

	if r.Required && n != nil && n.Kind == doc.Null && fv.IsZero() {
		b.missing(e)
		return
	}

	if r.Required && n != nil && typed.IsEmpty(fv, e.Shape) {
		p := problemAt(n, e.Key)
		p.Kind, p.Message = KindMissing, "required, but empty"
		b.found = append(b.found, p)
		return
	}

	want := r.Check(fv, e.Shape)
	if n != nil && n.Kind != doc.Null && e.Field.Tags.ZeroIsDefault && fv.IsZero() {
		want = typed.ZeroMeans(e.Field, fv)
	}

	if want != "" {
		if n == nil {
			n = &doc.Node{Kind: doc.Text, Mark: noOrigin}
		}
		p := problemAt(n, e.Key)
		p.Kind = KindOutOfRange
		p.Value = display(fv, e.Shape, e.Key, hidden(n))
		if c := e.Shape.Code; c == typed.String || c == typed.Text {
			p.Value = fmt.Sprintf("%q", shorten(p.Value))
		}
		p.Want = want
		b.found = append(b.found, p)
	}
}

// missing reports a required key that nothing sets, and how to set it.
func (b *builder) missing(e *typed.Entry) {
	if b.maybeSet(e.Key) {
		return
	}
	p := Problem{Kind: KindMissing, Key: e.Key, Message: "required, but no layer sets it"}

	var ways []string
	for _, s := range b.opt.sources {
		switch s.kind {
		case layerFile:
			ways = append(ways, "in "+s.path)
		case layerEnv:
			if !e.Section && s.dotEnv == "" {
				ways = append(ways, "by "+variable(s.path, e.Key))
			}
		case layerFlag:
			if !e.Section && s.flags.Lookup(flagName(e.Key)) != nil {
				ways = append(ways, "by -"+flagName(e.Key))
			}
		}
	}

	if len(ways) > 0 {
		p.Hint = "set it " + strings.Join(ways, " or ")
	}
	b.found = append(b.found, p)
}

// validateTree calls the Validate method of every struct in rv, the inner ones
// first.
func (b *builder) validateTree(rv reflect.Value, s *typed.Shape, key string, found []Problem) (problems []Problem) {
	if !s.NeedsValidation() {
		return nil
	}

	switch s.Code {
	case typed.Pointer:
		if !rv.IsNil() && s.Elem.Code != typed.Text {
			return b.validateTree(rv.Elem(), s.Elem, key, found)
		}
	case typed.Slice, typed.Array:
		if s.Elem.NeedsValidation() {
			for i := range rv.Len() {
				problems = append(problems, b.validateTree(rv.Index(i), s.Elem, fmt.Sprintf("%s[%d]", key, i), found)...)
			}
		}
	case typed.Map:
		if s.Elem.NeedsValidation() {
			for it := rv.MapRange(); it.Next(); {
				item := reflect.New(s.Elem.Type).Elem()
				item.Set(it.Value())
				problems = append(problems, b.validateTree(item, s.Elem, doc.JoinKey(key, typed.PlainText(it.Key(), s.Key)), found)...)
			}
		}
	case typed.Struct:
		for _, f := range s.Struct.Fields {
			inner := f.Shape
			if f.Name == "" && s.Validate && inner.Code == typed.Struct {
				copied := *inner // its method is promoted, or replaced by the outer one
				copied.Validate = false
				inner = &copied
			}

			full := key
			if f.Name != "" {
				full = doc.JoinKey(key, f.Name)
			}
			problems = append(problems, b.validateTree(rv.Field(f.Index), inner, full, found)...)
		}

		if s.Validate && rv.CanAddr() && rv.Addr().CanInterface() {
			problems = append(problems, b.callValidate(rv, key, concerns(found, key), problems)...)
		}
	}

	return problems
}

// concerns reports whether a value at or below key is not what the layers gave.
func concerns(problems []Problem, key string) bool {
	for _, p := range problems {
		if p.Kind == KindUnknown || p.Kind == KindDuplicate || p.Key == "" && p.File == "" {
			continue
		}
		if key == "" || p.Key == key || strings.HasPrefix(p.Key, key+".") || strings.HasPrefix(p.Key, key+"[") {
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
	if many := tags.Mistakes(nil); errors.As(err, &many) {
		return b.ofOptions(many, rv.Type(), key, inner)
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
		p.Kind, p.Message, p.Err = KindInvalid, cause.Error(), cause
		if partly {
			p.Hint = "checked without the values that have a mistake of their own"
		}
		problems = append(problems, p)
	}
	return problems
}

// ofOptions tells the mistakes of options by their keys and places, and leaves
// out what is known already: the same tags were read here.
func (b *builder) ofOptions(many tags.Mistakes, rt reflect.Type, key string, inner []Problem) (problems []Problem) {
	for _, m := range many {
		at := m.Key
		if at == "" {
			at = tags.KeyOf(rt, m.Field)
		}
		p := b.placeOf(key, at)
		p.Kind, p.Message = KindInvalid, m.Text
		if at == "" && m.Field != "" { // of a field that settings cannot hold
			p.Message = m.Field + ": " + m.Text
		}

		known := func(p2 Problem) bool {
			return p2.Key == p.Key && p2.Message != "required, but no layer sets it" || p2.Error() == p.Error()
		}
		if !slices.ContainsFunc(slices.Concat(inner, b.found, b.problems, problemsOf(b.Mistakes)), known) {
			problems = append(problems, p)
		}
	}

	return problems
}

// placeOf finds where the value of a key stands, also of one in a list or map.
func (b *builder) placeOf(section, key string) Problem {
	if key == "" {
		return b.locate(section)
	}
	if section != "" {
		key = section + "." + key
	}
	if n := nodeAt(b.schema, b.heads, key); n != nil {
		return problemAt(n, key)
	}
	p := b.locate(section)
	p.Key = key
	return p
}

// nodeAt finds what the layers give for a key, or the item that lacks it; nil
// for a default.
func nodeAt(schema *typed.Schema, heads []*doc.Node, key string) *doc.Node {
	for _, e := range schema.Leaves {
		rest, ok := strings.CutPrefix(key, e.Key)
		n := heads[e.ID]
		if !ok || n == nil || rest != "" && rest[0] != '.' && rest[0] != '[' {
			continue
		}

		for part := range strings.FieldsFuncSeq(rest, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
			next := n.Find(strings.Trim(part, `"`))
			if i, err := strconv.Atoi(part); n.Kind == doc.List && err == nil && i < len(n.Items) {
				next = n.Items[i]
			}
			if next == nil {
				break // the item that lacks it
			}
			n = next
		}
		return n
	}
	return nil
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
			i := slices.IndexFunc(n.Names, func(k doc.Name) bool { return k.Text == part })
			if i < 0 {
				n = nil
				break
			}
			at, n = n.Names[i], n.Items[i]
		}

		if n != nil {
			return Problem{Key: key, Layer: l.describe(), File: l.path(), Line: at.Line, Column: at.Column}
		}
	}

	return Problem{Key: key}
}

// collectSecrets notes the text of all secrets for the scrubber.
func (b *builder) collectSecrets(rv reflect.Value, s *typed.Shape) {
	if !s.HoldsSecret() {
		return
	}

	switch s.Code {
	case typed.Secret:
		if v, ok := rv.Interface().(Secret); ok {
			b.scrub.add(v.Reveal())
		}
	case typed.Pointer:
		if !rv.IsNil() {
			b.collectSecrets(rv.Elem(), s.Elem)
		}
	case typed.Slice, typed.Array:
		for i := range rv.Len() {
			b.collectSecrets(rv.Index(i), s.Elem)
		}
	case typed.Map:
		for it := rv.MapRange(); it.Next(); {
			b.collectSecrets(it.Value(), s.Elem)
		}
	case typed.Struct:
		for _, f := range s.Struct.Fields {
			if fv := rv.Field(f.Index); fv.CanInterface() || f.Shape.Code == typed.Struct {
				b.collectSecrets(fv, f.Shape)
			}
		}
	}
}
