package doc

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Change sets one key of a document to Value, or takes it away if Value is nil.
type Change struct {
	// Path leads to the key from the top; an item of a list is named by
	// IndexPart, and the index after the last one adds an item.
	Path  []string
	Value *Node
}

// Key is the path as a dotted key.
func (c Change) Key() string { return Dotted(c.Path) }

// Note is something that an edit did and that its caller should know.
type Note struct {
	Key     string
	Line    int // of the document before
	Message string
}

// ErrNotInPlace is wrapped where a document cannot be changed without harm to
// the rest of it. The reason stands before it.
var ErrNotInPlace = errors.New("edit the file by hand")

// refuse says why a key is not changed.
func refuse(path []string, format string, args ...any) error {
	return fmt.Errorf("key %s: cannot be changed in place: %s; %w", Dotted(path), fmt.Sprintf(format, args...), ErrNotInPlace)
}

// IndexPart is the part of a path that names an item of a list. No key begins
// so in a list.
func IndexPart(i int) string { return "\x00" + strconv.Itoa(i) }

// ItemOf returns the index that a part of a path names.
func ItemOf(part string) (i int, ok bool) {
	text, ok := strings.CutPrefix(part, "\x00")
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(text)
	return i, err == nil && i >= 0
}

// Dotted writes a path as a key: s[0].port.
func Dotted(path []string) string {
	key := ""
	for _, part := range path {
		if i, ok := strings.CutPrefix(part, "\x00"); ok {
			key += "[" + i + "]"
			continue
		}
		key = JoinKey(key, part)
	}
	return key
}

// Edit applies changes to a document and touches nothing but the text of those
// keys: comments, order, quotes and line ends stay. A list is changed item by
// item, as Pair pairs them or Pairs of the new list says: an item that stays
// keeps its text and its comments, wherever it goes. The result is read back
// and compared, so that a document which cannot be changed in place gives an
// error and never a wrong document.
func Edit(f Format, data []byte, changes []Change) ([]byte, []Note, error) {
	e := newEditor(f, data)
	old, mistakes := e.dialect.read()
	if len(mistakes) > 0 {
		return nil, nil, mistakes[0]
	}

	// What is wanted shares the nodes of what does not change.
	was := old
	if was == nil {
		was = &Node{Kind: Map}
	}
	want := was
	for _, c := range changes {
		next, err := withChange(want, c.Path, c.Path, c.Value)
		if err != nil {
			return nil, nil, err
		}
		if next == nil {
			return nil, nil, errors.New("the document itself cannot be taken away")
		}
		want = next
	}

	want = e.dialect.wanted(was, want)
	if Same(was, want) {
		return data, nil, nil
	}

	if err := e.dialect.whole(old, want); err != nil {
		return nil, nil, err
	}
	out := e.cut(0, len(data), e.take(0))
	if f == TOML && strings.TrimSpace(out) == "" { // an empty file looks like one that is being written
		out = "# nothing is set here" + e.eol
	}

	now, mistakes := Parse(f, []byte(out), nil)
	if now == nil {
		now = &Node{Kind: Map}
	}
	if len(mistakes) > 0 || !Same(want, now) {
		return nil, nil, e.whyNot(old, want, now, changes, mistakes)
	}
	return []byte(out), e.notes, nil
}

// withChange returns a copy of the tree with the change applied. rest is the
// part of the path that is left.
func withChange(n *Node, path, rest []string, value *Node) (*Node, error) {
	if len(rest) == 0 {
		return value, nil
	}

	at := path[:len(path)-len(rest)]
	if n != nil && n.Kind == List {
		i, ok := ItemOf(rest[0])
		if !ok || i > len(n.Items) || i == len(n.Items) && value == nil {
			return nil, fmt.Errorf("key %s: the list %s has %d items", Dotted(path), Dotted(at), len(n.Items))
		}
		return withItem(n, i, path, rest, value)
	}
	if strings.HasPrefix(rest[0], "\x00") || n != nil && n.Kind == Text {
		return nil, refuse(path, "%s is %s", Dotted(at), kindOf(n))
	}

	out := &Node{Kind: Map}
	if n != nil {
		*out = *n
		out.Kind = Map
		out.Names, out.Items = slices.Clone(n.Names), slices.Clone(n.Items)
	}

	i := slices.IndexFunc(out.Names, func(k Name) bool { return k.Text == rest[0] })
	var have *Node
	if i >= 0 {
		have = out.Items[i]
	}
	child, err := withChange(have, path, rest[1:], value)
	switch {
	case err != nil:
		return nil, err
	case child == nil && i >= 0:
		out.Names, out.Items = slices.Delete(out.Names, i, i+1), slices.Delete(out.Items, i, i+1)
	case child == nil:
	case i >= 0:
		out.Items[i] = child
	default:
		out.Names, out.Items = append(out.Names, Name{Text: rest[0]}), append(out.Items, child)
	}
	return out, nil
}

// withItem is withChange for an item of a list, whose other items are paired
// with themselves.
func withItem(n *Node, i int, path, rest []string, value *Node) (*Node, error) {
	out := *n
	out.Items = slices.Clone(n.Items)
	out.Pairs = slices.Clone(n.Pairs)
	if out.Pairs == nil {
		for j := range n.Items {
			out.Pairs = append(out.Pairs, j)
		}
	}

	var have *Node
	if i < len(n.Items) {
		have = n.Items[i]
	}
	child, err := withChange(have, path, rest[1:], value)
	switch {
	case err != nil:
		return nil, err
	case child == nil:
		out.Items, out.Pairs = slices.Delete(out.Items, i, i+1), slices.Delete(out.Pairs, i, i+1)
	case i < len(n.Items):
		out.Items[i] = child
	default:
		out.Items, out.Pairs = append(out.Items, child), append(out.Pairs, -1)
	}
	return &out, nil
}

func kindOf(n *Node) string {
	if n == nil {
		return "not there"
	}
	return n.Kind.String()
}

// Same compares what two trees say, types included and whatever the order of
// keys. A section without keys and null say the same.
func Same(a, b *Node) bool {
	if a == b || empty(a) && empty(b) {
		return true
	}
	if a == nil || b == nil || a.Kind != b.Kind || len(a.Items) != len(b.Items) {
		return false
	}

	switch {
	case a.Kind == Text:
		return sameText(a, b)
	case a.Kind == List, slices.EqualFunc(a.Names, b.Names, func(x, y Name) bool { return x.Text == y.Text }):
		return slices.EqualFunc(a.Items, b.Items, Same)
	}

	find := b.Finder()
	for i, k := range a.Names {
		other := find(k.Text)
		if other < 0 || !Same(a.Items[i], b.Items[other]) {
			return false
		}
	}
	return true
}

// sameText compares two scalars by type and value: 5 and 5.0 differ, and so do
// 5 and "5", but .inf and inf do not.
func sameText(a, b *Node) bool {
	if a.Text == b.Text && a.Plain == b.Plain {
		return true
	}
	x, y := a.Any(), b.Any()
	if f, ok := x.(float64); ok && f != f {
		g, ok := y.(float64)
		return ok && g != g
	}
	return x == y
}

func empty(n *Node) bool {
	return n == nil || n.Kind == Null || n.Kind == Map && len(n.Items) == 0
}

// dialect is what an editor does in a way of its own for each format.
type dialect interface {
	// read parses the document with the place of every part of it.
	read() (*Node, []Mistake)
	// wanted is the tree that the text can say in place of want.
	wanted(old, want *Node) *Node
	// whole changes the whole document. old is nil where it has no text.
	whole(old, want *Node) error
	// collection changes a section or a list that the format spreads over the
	// text, or refuses to; done is false for one that is changed as all are.
	collection(old, want *Node, path []string) (done bool, err error)
	// rebuild writes the elements of a collection in a new order.
	rebuild(old *Node, x elements, order []int, fresh *Node, path []string, mark int) error
	// replace puts want in place of a value.
	replace(old, want *Node, path []string) error
	// text writes a value on one line, in the style of old if there is one.
	text(n, old *Node, flow bool) (string, error)
	// name writes the name of a member in brackets, up to its value.
	name(text string) string
	// comment begins a comment that goes to the end of its line.
	comment() string
	// shared says why a change is not made whose text others use too, or nil.
	shared(changes []Change) error
}

// editor changes one document.
type editor struct {
	*document
	dialect dialect
	notes   []Note
}

func newEditor(f Format, data []byte) *editor {
	e := &editor{document: newDocument(data)}
	switch f {
	case YAML:
		e.dialect = &yamlEditor{editor: e}
	case TOML:
		e.dialect = &tomlEditor{editor: e}
	default:
		e.dialect = &jsonEditor{editor: e, format: f}
	}
	return e
}

// change makes the text of old say what want says.
func (e *editor) change(old, want *Node, path []string) error {
	switch {
	case Same(old, want):
		return nil
	case old.Kind == Map && want.Kind == Map && len(want.Items) > 0 && len(old.Items) > 0:
		return e.section(old, want, path)
	case old.Kind == List && want.Kind == List && len(want.Items) > 0 && len(old.Items) > 0 && !old.Alias:
		return e.list(old, want, path)
	}
	return e.dialect.replace(old, want, path)
}

// section changes the keys of a Map one by one.
func (e *editor) section(old, want *Node, path []string) error {
	if done, err := e.dialect.collection(old, want, path); done {
		return err
	}
	mark := len(e.patches)
	removed, added, err := e.members(old, want, path, nil)
	if err != nil || len(removed) == 0 && added == nil {
		return err
	}
	return e.rebuild(old, keepMembers(old, removed), added, path, mark)
}

// members changes the values of the keys that stay, and lists those that go
// and come. table, if not nil, changes a value that is no text of its own.
func (e *editor) members(old, want *Node, path []string, table func(i int, value *Node, path []string) (bool, error)) (removed map[int]bool, added *Node, err error) {
	wanted, have := want.Finder(), old.Finder()
	for i, k := range old.Names {
		item := old.Items[i]
		full := append(path[:len(path):len(path)], k.Text)
		j := wanted(k.Text)

		merged := item.Alias && old.lay != nil && !slices.Contains(old.lay.owner, i)
		switch {
		case j >= 0 && Same(item, want.Items[j]):
		case j < 0 && merged:
			return nil, nil, refuse(full, "it comes from a merge key (<<)")
		case j < 0:
			if removed == nil {
				removed = map[int]bool{}
			}
			removed[i] = true
		case merged: // a key of its own wins over the merged one
			added = adding(added, k, want.Items[j])
		default:
			done := false
			if table != nil {
				done, err = table(i, want.Items[j], full)
			}
			if err == nil && !done {
				err = e.change(item, want.Items[j], full)
			}
			if err != nil {
				return nil, nil, err
			}
		}
	}

	for j, k := range want.Names {
		if have(k.Text) < 0 {
			added = adding(added, k, want.Items[j])
		}
	}

	return removed, added, nil
}

func adding(n *Node, k Name, v *Node) *Node {
	if n == nil {
		n = &Node{Kind: Map}
	}
	n.Names, n.Items = append(n.Names, Name{Text: k.Text}), append(n.Items, v)
	return n
}

// list pairs the items of a list and rebuilds it where their order changes.
func (e *editor) list(old, want *Node, path []string) error {
	if done, err := e.dialect.collection(old, want, path); done {
		return err
	}
	order, err := e.pairs(old, want)
	if err != nil {
		return err
	}

	mark := len(e.patches)
	if err := e.changePaired(old, want, order, path); err != nil {
		return err
	}
	if inPlace(order, len(old.Items)) {
		return nil
	}

	e.noteTwins(old, order, path)
	fresh := &Node{Kind: List}
	for i, j := range order {
		if j < 0 {
			fresh.Items = append(fresh.Items, want.Items[i])
		}
	}

	return e.rebuild(old, order, fresh, path, mark)
}

// pairs lists for each wanted item the old one that it is, or -1.
func (e *editor) pairs(old, want *Node) ([]int, error) {
	if want.Pairs == nil {
		return PairNodes(old.Items, want.Items), nil
	}
	seen := map[int]bool{}
	for _, j := range want.Pairs {
		if j >= len(old.Items) || j >= 0 && seen[j] {
			return nil, errors.New("the list's pairs do not fit the document")
		}
		seen[j] = true
	}
	if len(want.Pairs) != len(want.Items) {
		return nil, errors.New("the list's pairs do not fit the document")
	}
	return want.Pairs, nil
}

func (e *editor) changePaired(old, want *Node, order []int, path []string) error {
	for i, j := range order {
		if j < 0 {
			continue
		}
		if err := e.change(old.Items[j], want.Items[i], append(path[:len(path):len(path)], IndexPart(j))); err != nil {
			return err
		}
	}
	return nil
}

// inPlace reports that every item stays where it is.
func inPlace(order []int, n int) bool {
	if len(order) != n {
		return false
	}
	for i, j := range order {
		if i != j {
			return false
		}
	}
	return true
}

// noteTwins says which of several equal items was taken away, where their
// comments tell them apart.
func (e *editor) noteTwins(old *Node, order []int, path []string) {
	kept := make([]bool, len(old.Items))
	for _, j := range order {
		if j >= 0 {
			kept[j] = true
		}
	}

	for j, item := range old.Items {
		if kept[j] {
			continue
		}
		twin := slices.IndexFunc(old.Items, func(other *Node) bool { return Same(other, item) })
		if twin < 0 || twin == j || !kept[twin] || e.itemText(old, twin) == e.itemText(old, j) {
			continue
		}
		e.notes = append(e.notes, Note{
			Key: Dotted(append(path[:len(path):len(path)], IndexPart(j))), Line: item.Line,
			Message: fmt.Sprintf("of equal items the last one was taken away; the one on line %d stays", old.Items[twin].Line),
		})
	}
}

// PairNodes decides which old item each new one is, or -1 for none: equal ones
// first, in order, then sections by their name, id or key where that is unique
// in both lists, then what is left in its old place.
func PairNodes(old, want []*Node) []int {
	order, used := make([]int, len(want)), make([]bool, len(old))
	prints := map[string][]int{} // of the old items, in order
	for j, item := range old {
		p := fingerprint(item)
		prints[p] = append(prints[p], j)
	}

	for i, item := range want {
		order[i] = -1
		p := fingerprint(item)
		if at := prints[p]; len(at) > 0 {
			order[i], used[at[0]], prints[p] = at[0], true, at[1:]
		}
	}

	for _, key := range []string{"name", "id", "key"} {
		was, is := byKey(old, key), byKey(want, key)
		if was == nil || is == nil {
			continue
		}
		for text, i := range is {
			if j, ok := was[text]; ok && order[i] < 0 && !used[j] {
				order[i], used[j] = j, true
			}
		}
		break
	}

	for i := range order {
		if order[i] < 0 && i < len(old) && !used[i] {
			order[i], used[i] = i, true
		}
	}
	return order
}

// byKey finds items by the value of a key, or returns nil where the items are
// not all sections with a value of their own.
func byKey(items []*Node, key string) map[string]int {
	out := make(map[string]int, len(items))
	for i, item := range items {
		n := item.Find(key)
		if n == nil || n.Kind != Text {
			return nil
		}
		if _, twice := out[n.Text]; twice {
			return nil
		}
		out[n.Text] = i
	}
	return out
}

// fingerprint is equal for trees that are the same.
func fingerprint(n *Node) string {
	var b strings.Builder
	var write func(n *Node)

	write = func(n *Node) {
		switch {
		case empty(n):
			b.WriteByte('-')
		case n.Kind == Text:
			if text, ok := n.Any().(string); ok {
				fmt.Fprintf(&b, "%d:%s", len(text), text)
				return
			}
			fmt.Fprintf(&b, "%T:%v", n.Any(), n.Any())
		case n.Kind == List:
			b.WriteByte('[')
			for _, item := range n.Items {
				write(item)
				b.WriteByte(',')
			}
			b.WriteByte(']')
		default:
			order := make([]int, len(n.Names))
			for i := range order {
				order[i] = i
			}
			sort.Slice(order, func(i, j int) bool { return n.Names[order[i]].Text < n.Names[order[j]].Text })
			b.WriteByte('{')
			for _, i := range order {
				fmt.Fprintf(&b, "%d:%s=", len(n.Names[i].Text), n.Names[i].Text)
				write(n.Items[i])
				b.WriteByte(',')
			}
			b.WriteByte('}')
		}
	}

	write(n)
	return b.String()
}

// replaceText puts the text of want in place of a value's.
func (e *editor) replaceText(old, want *Node, path []string) error {
	if old.End <= old.Start {
		return refuse(path, "its place in the document was not found")
	}
	text, err := e.dialect.text(want, old, true)
	if err != nil {
		return fmt.Errorf("key %s: %w", Dotted(path), err)
	}
	e.patch(old.Start, old.End, text)
	return nil
}

// rebuild writes the elements of a collection in a new order; -1 stands for
// the next of the fresh ones, and fresh members that order does not name
// follow at the end. mark is where the patches of the elements begin.
func (e *editor) rebuild(old *Node, order []int, fresh *Node, path []string, mark int) error {
	if fresh != nil && old.Kind == Map {
		for range fresh.Items {
			order = append(order, -1)
		}
	}

	x, ok := elementsOf(old)
	if !ok {
		return refuse(path, "where its parts end was not found")
	}
	return e.dialect.rebuild(old, x, order, fresh, path, mark)
}

// rebuildBrackets is rebuild for a list or map in brackets.
func (e *editor) rebuildBrackets(old *Node, x elements, order []int, fresh *Node, path []string, mark int) error {
	if old.End < 0 {
		return refuse(path, "where its parts end was not found")
	}
	was := takeApart(e.document, e.dialect.comment(), old, x, e.take(mark))
	pieces := make([]piece, 0, len(order))

	next := 0
	for _, i := range order {
		if i >= 0 {
			pieces = append(pieces, was.pieces[i])
			continue
		}
		text, err := e.inline(fresh, next)
		if err != nil {
			return err
		}
		next++
		pieces = append(pieces, piece{head: was.headLike(), body: text, comma: -1, at: -1})
	}

	e.patch(old.Start+1, old.End-1, e.lines(was.join(pieces, e.dialect.comment())))
	return nil
}

// inline writes one element of n for a collection in brackets.
func (e *editor) inline(n *Node, i int) (string, error) {
	text, err := e.dialect.text(n.Items[i], nil, true)
	if err != nil || n.Kind == List {
		return text, err
	}
	return e.dialect.name(n.Names[i].Text) + text, nil
}

// itemText is the text of a list's item with its comments.
func (e *editor) itemText(list *Node, i int) string {
	x, ok := elementsOf(list)
	if !ok || i >= len(x.begins) {
		return ""
	}
	begin, end := x.begins[i], x.ends[i]
	if list.lay != nil && list.lay.block {
		return string(e.data[e.commentsAbove(lineStart(e.data, begin), 0):lineStart(e.data, begin)]) + string(e.data[end:nextLine(e.data, end)])
	}
	return string(e.data[end:nextLine(e.data, end)])
}

// whyNot explains why the result of an edit is not what was wanted.
func (e *editor) whyNot(old, want, now *Node, changes []Change, mistakes []Mistake) error {
	path := changes[0].Path
	if differs := difference(want, now, nil); len(mistakes) == 0 && differs != nil {
		path = differs
	}

	if err := e.dialect.shared(changes); err != nil {
		return err
	}
	if len(mistakes) > 0 {
		return refuse(path, "the result would not be readable")
	}
	return refuse(path, "its place in the document was not found")
}

// difference is the path of the first key that two trees differ in.
func difference(a, b *Node, path []string) []string {
	if Same(a, b) {
		return nil
	}
	if a != nil && b != nil && a.Kind == Map && b.Kind == Map {
		for i, k := range a.Names {
			if d := difference(a.Items[i], b.Child(k.Text), append(path[:len(path):len(path)], k.Text)); d != nil {
				return d
			}
		}
	}
	return path
}
