package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/internal/typed"
)

// named is one value of the settings, found by the name that reports and Explain
// give it: port, m.a.port, items[0].port.
type named struct {
	*engine
	op   string // set, unset or get
	key  string
	base *snapshot

	leaf  *typed.Entry
	field reflect.Value // of the leaf, in the copy that is changed
	path  []string      // from the leaf's value to the one that is meant
	shape *typed.Shape  // of that one
}

// findNamed finds the value that a key names in base. rv is a copy of the
// settings in it.
func findNamed(e *engine, op, key string, base *snapshot, rv reflect.Value) (*named, error) {
	x := &named{engine: e, op: op, key: key, base: base, leaf: e.schema.ByKey[key]}
	if x.leaf != nil && x.leaf.Section {
		return nil, unknownName(op, key, "it is a section: "+op+" its keys one by one")
	}

	rest := ""
	for _, l := range e.schema.Leaves {
		if after, ok := strings.CutPrefix(key, l.Key); x.leaf == nil && ok && after != "" && (after[0] == '.' || after[0] == '[') {
			x.leaf, rest = l, after
		}
	}

	if x.leaf == nil {
		name, _, _ := strings.Cut(key, "[")
		hint := cmp.Or(e.schema.Unreadable[key], typed.Nearest(name, typed.Keys(e.schema.ByKey)), "explain lists the keys")
		return nil, unknownName(op, key, hint)
	}

	found := false
	x.field = e.leafValue(rv, x.leaf)
	if x.path, x.shape, found = typed.Within(x.leaf.Shape, x.field, rest); !found {
		hint := x.leaf.Key + " is one value"
		switch x.leaf.Shape.Word() {
		case "list":
			hint = "the items of " + x.leaf.Key + " are " + x.leaf.Key + "[0], " + x.leaf.Key + "[1] and so on"
		case "json":
			hint = "the entries of " + x.leaf.Key + " have no such key"
		}
		return nil, unknownName(op, key, hint)
	}
	return x, nil
}

// unknownName says that the settings have no such key, and what they have.
func unknownName(op, key, hint string) error {
	return &refusal{"config: " + op + " " + key + ": unknown key (" + hint + ")", ErrUnknownKey}
}

// explainNamed explains one value within a list or map, by the name that reports
// give it.
func (e *engine) explainNamed(key string) (Entry, error) {
	base := e.snapshot()
	rv := reflect.New(e.schema.Type).Elem()
	rv.Set(typed.Copy(base.rv.Elem(), e.schema.Root.Shape)) // as sections on the way are made

	x, err := findNamed(e, "get", key, base, rv)
	if err != nil {
		return Entry{}, err
	}

	at, shape := typed.At(x.field, x.leaf.Shape, x.path)
	if !at.IsValid() {
		return Entry{}, unknownName("get", key, "it is not there")
	}

	n := base.heads[x.leaf.ID]
	for _, part := range x.path {
		i, item := doc.ItemOf(part)
		switch {
		case n == nil || n.Kind == doc.Text: // of one text, such as a variable's
		case !item:
			n = n.Find(part)
		default:
			n = n.Items[i]
		}
	}
	return Entry{Key: key, Value: display(at, shape, key, hidden(n)), Origin: publicOrigin(n), Doc: x.leaf.Field.Doc}, nil
}

// unset takes the key out of the file. One that stands in a list of another
// layer is not in the file.
func (x *named) unset() ([]doc.Change, error) {
	if n, inFile, err := x.node(); err != nil || n == nil || !inFile {
		return nil, err
	}
	return []doc.Change{{Path: x.full()}}, nil
}

// set reads text as what the key holds. It gives the change where the text
// itself is written, or the place is within a list of the file, which is changed
// there; else the value is compared with what was there.
func (x *named) set(text string) ([]doc.Change, error) {
	n, inFile, err := x.node()
	if err != nil {
		return nil, err
	}

	if isReference(text) {
		if !inFile {
			return nil, fmt.Errorf("config: set %s: the file does not hold the list %s: set all of it", x.key, x.leaf.Key)
		}
		return []doc.Change{{Path: x.full(), Value: &doc.Node{Kind: doc.Text, Text: text}}}, nil
	}
	if x.shape.IsSecret() {
		return nil, refuse(ErrSecret, "set %s", x.key)
	}

	before := reflect.New(x.field.Type()).Elem()
	before.Set(typed.Copy(x.field, x.leaf.Shape))
	given, err := x.decode(text)
	if err != nil || typed.Equal(before, x.field, x.leaf.Shape) {
		return nil, err // or it has the value already
	}

	value := x.keptText(given)
	inList := slices.ContainsFunc(x.path, func(part string) bool { _, ok := doc.ItemOf(part); return ok })
	if !inFile || value == nil && !inList {
		return nil, nil
	}

	if ref := from(n).ref; ref != "" {
		return nil, refuse(ErrSecret, "set %s: its value is held at %s", x.key, showReference(ref))
	}
	if value == nil {
		if value, err = x.encode(given); err != nil {
			return nil, err
		}
	}
	return []doc.Change{{Path: x.full(), Value: asQuoted(n, value, x.shape)}}, nil
}

// full is the path from the top of the document.
func (x *named) full() []string { return append(strings.Split(x.leaf.Key, "."), x.path...) }

// node is what the layers give at the place, if anything, and whether a change
// can be made there in the file: a list comes from one layer as a whole.
func (x *named) node() (n *doc.Node, inFile bool, err error) {
	n = x.base.heads[x.leaf.ID]
	for i, part := range x.path {
		at, item := doc.ItemOf(part)
		switch {
		case !item:
			n = n.Find(part)
		case n == nil || n.Kind != doc.List || !from(n).writable():
			list := doc.Dotted(append([]string{x.leaf.Key}, x.path[:i]...))
			return nil, false, x.base.mayWrite(list, n)
		case at < len(n.Items):
			n = n.Items[at]
		default:
			n = nil
		}
	}
	return n, true, x.base.mayWrite(x.key, n)
}

// decode sets the value in the copy of the settings, and returns it as given.
func (x *named) decode(text string) (*doc.Node, error) {
	given := &doc.Node{Kind: doc.Text, Text: text, Mark: &origin{layer: &layer{kind: layerSource, name: "set"}, label: "value"}}
	expanded, err := typed.Expand(given, x.shape)
	if err != nil {
		return nil, x.wrong(Problem{
			Kind: KindWrongType, Key: x.key, Value: shown(given, x.shape, x.key), Want: x.shape.Describe(), Hint: err.Error(),
		})
	}
	d := newDecoder(false)
	if !d.Set(x.field, x.leaf.Shape, x.path, expanded, x.leaf.Key) {
		return nil, x.wrong(problemsOf(d.Mistakes)...)
	}
	return expanded, nil
}

// wrong reports what does not fit. It came from no layer.
func (x *named) wrong(problems ...Problem) error {
	for i := range problems {
		problems[i].Layer = ""
	}
	return fmt.Errorf("config: set %s: %w", x.key, reportOf{&Report{Problems: problems}})
}

// encode is the value as the file is to hold it: a section as it was given, with
// what is zero in it.
func (x *named) encode(given *doc.Node) (*doc.Node, error) {
	if given.Kind == doc.Map {
		return given, nil
	}
	rv, s := typed.At(x.field, x.leaf.Shape, x.path)
	n, err := typed.Encode(rv, s)
	if err != nil {
		return nil, encodeError("set", x.key, err)
	}
	return n, nil
}

// keptText keeps the text that was given for types whose canonical text is
// another: 90s stays 90s and does not become 1m30s.
func (x *named) keptText(given *doc.Node) *doc.Node {
	if given.Kind != doc.Text {
		return nil
	}
	switch x.shape.Code {
	case typed.Duration, typed.Text, typed.Time, typed.URL:
		if x.shape.Type != reflect.TypeFor[URL]() || showable(given.Text) == given.Text {
			return &doc.Node{Kind: doc.Text, Text: strings.TrimSpace(given.Text)}
		}
	}
	return nil
}

// encodeError says why a value cannot be written.
func encodeError(op, key string, err error) error {
	if errors.Is(err, typed.ErrSecret) {
		return refuse(ErrSecret, "%s %s", op, key)
	}
	return fmt.Errorf("config: %s %s: %w", op, key, err)
}
