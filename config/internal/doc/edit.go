package doc

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Edit changes one key of a document: to value, or away if value is nil.
type Edit struct {
	Path  []string
	Value *Node
}

// Key is the path as a dotted key.
func (x Edit) Key() string { return Dotted(x.Path) }

// IndexPart is the part of a path that names an item of a list. No key begins
// so in a list.
func IndexPart(i int) string { return "\x00" + strconv.Itoa(i) }

// item returns the item of a list of n that part names.
func itemOf(part string, n int) (i int, ok bool) {
	text, ok := strings.CutPrefix(part, "\x00")
	i, err := strconv.Atoi(text)
	return i, ok && err == nil && i < n
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

// Splice applies edits to a document and changes nothing but the text of
// those keys: comments, order, quotes and line ends stay. The result is read
// back and compared, so that a document which cannot be changed in place gives
// an error and never a wrong file.
func Splice(data []byte, f Format, edits []Edit) ([]byte, error) {
	for _, x := range edits {
		out, err := spliceOne(data, f, x)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", x.Key(), err)
		}
		if err := verifySplice(data, out, f, x); err != nil {
			return nil, fmt.Errorf("key %s: %w", x.Key(), err)
		}
		data = out
	}
	return data, nil
}

func spliceOne(data []byte, f Format, x Edit) ([]byte, error) {
	switch f {
	case YAML:
		return spliceYAML(data, x)
	case JSON, JSONC:
		return spliceJSON(data, f, x)
	case TOML:
		return spliceTOML(data, x)
	}
	return nil, errors.New("unknown file type")
}

var errNotInPlace = errors.New("this document cannot be changed in place here; edit it by hand")

// verifySplice compares the documents before and after: all keys but the
// edited one must be the same.
func verifySplice(before, after []byte, f Format, x Edit) error {
	was, problems := Parse(f, before, nil)
	if len(problems) > 0 {
		return problems[0]
	}
	now, problems := Parse(f, after, nil)
	if len(problems) > 0 {
		return fmt.Errorf("%w (the result would not parse: %s)", errNotInPlace, problems[0].Message)
	}
	if was == nil {
		was = &Node{Kind: Map}
	}
	if now == nil {
		now = &Node{Kind: Map}
	}
	want := withEdit(was, x.Path, x.Value)
	if !Same(want, now) {
		return errNotInPlace
	}
	return nil
}

// withEdit returns a copy of the tree with the edit applied.
func withEdit(n *Node, path []string, value *Node) *Node {
	if len(path) == 0 {
		return value
	}
	if n != nil && n.Kind == List {
		if i, ok := itemOf(path[0], len(n.Items)); ok {
			out := &Node{Kind: List, Items: slices.Clone(n.Items)}
			out.Items[i] = withEdit(n.Items[i], path[1:], value)
			return out
		}
	}
	out := &Node{Kind: Map}
	if n != nil && n.Kind == Map {
		out.Names, out.Items = slices.Clone(n.Names), slices.Clone(n.Items)
	}
	child := withEdit(out.Child(path[0]), path[1:], value)
	if child == nil {
		for i := range out.Names {
			if out.Names[i].Text == path[0] {
				out.Names, out.Items = slices.Delete(out.Names, i, i+1), slices.Delete(out.Items, i, i+1)
				break
			}
		}
		return out
	}
	out.Put(Name{Text: path[0]}, child)
	return out
}

// Same compares what two trees say, whatever the order of keys. A section
// without keys and null say the same.
func Same(a, b *Node) bool {
	if empty(a) && empty(b) {
		return true
	}
	if a == nil || b == nil || a.Kind != b.Kind || a.Text != b.Text && !sameFloat(a, b) || len(a.Items) != len(b.Items) {
		return false
	}
	for i, item := range a.Items {
		other := b.Items[i]
		if a.Kind == Map {
			if other = b.Child(a.Names[i].Text); other == nil {
				return false
			}
		}
		if !Same(item, other) {
			return false
		}
	}
	return true
}

// sameFloat compares the names that formats have for odd floats.
func sameFloat(a, b *Node) bool {
	name := func(n *Node) string { return strings.TrimPrefix(strings.ToLower(GoFloat(n.Text)), "+") }
	switch text := name(a); text {
	case "nan", "inf", "-inf":
		return a.Plain && b.Plain && text == name(b)
	}
	return false
}

func empty(n *Node) bool {
	return n == nil || n.Kind == Null || n.Kind == Map && len(n.Items) == 0
}

// lineEnd is the line break of a document.
func lineEnd(data []byte) string {
	if i := bytes.IndexByte(data, '\n'); i > 0 && data[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// lineStart is the offset of the line that holds offset i.
func lineStart(data []byte, i int) int { return bytes.LastIndexByte(data[:i], '\n') + 1 }

// nextLine is the offset after the line that holds offset i.
func nextLine(data []byte, i int) int {
	if j := bytes.IndexByte(data[i:], '\n'); j >= 0 {
		return i + j + 1
	}
	return len(data)
}

// replace puts text in place of data[from:to].
func replace(data []byte, from, to int, text string) []byte {
	out := make([]byte, 0, len(data)+len(text)-(to-from))
	out = append(out, data[:from]...)
	out = append(out, text...)
	return append(out, data[to:]...)
}

// insertLine puts a line before offset at, which begins a line or ends the
// document. A document without a final line break keeps having none.
func insertLine(data []byte, at int, line string) []byte {
	eol := lineEnd(data)
	line = strings.ReplaceAll(line, "\n", eol)
	if at == len(data) && len(data) > 0 && data[len(data)-1] != '\n' {
		return replace(data, at, at, eol+line)
	}
	return replace(data, at, at, line+eol)
}

// indentOf is the white space before offset i on its line, or "" if there is
// more than that.
func indentOf(data []byte, i int) string {
	text := data[lineStart(data, i):i]
	if len(bytes.Trim(text, " \t")) > 0 {
		return ""
	}
	return string(text)
}

// spliceJSON edits JSON and JSONC.
func spliceJSON(data []byte, f Format, x Edit) ([]byte, error) {
	root, problems := Parse(f, data, nil)
	if len(problems) > 0 {
		return nil, problems[0]
	}
	if root == nil || root.Kind == Null {
		if x.Value == nil {
			return data, nil
		}
		text, err := JSONText(nest(x.Path, x.Value))
		if err != nil {
			return nil, err
		}
		if root != nil {
			return replace(data, root.Start, root.End, text), nil
		}
		return append(append(slices.Clone(data), text...), '\n'), nil
	}
	parent, at := root, 0
	for ; at < len(x.Path); at++ {
		if i, ok := itemOf(x.Path[at], len(parent.Items)); ok && parent.Kind == List {
			parent = parent.Items[i]
			continue
		}
		next := parent.Child(x.Path[at])
		if next == nil {
			break
		}
		if at == len(x.Path)-1 {
			if x.Value == nil {
				return removeJSON(data, parent, x.Path[at]), nil
			}
			l := &bracketList{data: data, start: next.Start, end: next.End, items: next.Items, spans: nodeSpans(next.Items), comment: "//"}
			l.render = func(n, _ *Node) (string, error) { return JSONText(n) }
			if next.Kind == List {
				if out, ok, err := l.splice(x.Value); ok || err != nil {
					return out, err
				}
			}
			text, err := JSONText(keepQuotes(x.Value, next))
			if err != nil {
				return nil, err
			}
			return replace(data, next.Start, next.End, text), nil
		}
		if next.Kind != Map && next.Kind != List {
			text, err := JSONText(nest(x.Path[at+1:], x.Value))
			if err != nil || next.Kind != Null {
				return nil, errors.Join(errNotInPlace, err)
			}
			return replace(data, next.Start, next.End, text), nil
		}
		parent = next
	}
	if x.Value == nil {
		return data, nil
	}
	if parent.Kind != Map {
		return nil, errNotInPlace
	}
	text, err := JSONText(nest(x.Path[at+1:], x.Value))
	if err != nil {
		return nil, err
	}
	return insertJSON(data, parent, QuoteJSON(x.Path[at])+": "+text), nil
}

// keepQuotes writes a number as text where the document has it as text.
func keepQuotes(n, old *Node) *Node {
	if n.Kind == Text && old.Kind == Text && n.Plain && !old.Plain {
		quoted := *n
		quoted.Plain = false
		return &quoted
	}
	return n
}

// nest puts value below the names in path.
func nest(path []string, value *Node) *Node {
	for i := len(path) - 1; i >= 0; i-- {
		outer := &Node{Kind: Map}
		outer.Put(Name{Text: path[i]}, value)
		value = outer
	}
	return value
}

// insertJSON adds a member at the end of an object.
func insertJSON(data []byte, object *Node, member string) []byte {
	closing := object.End - 1
	if len(object.Items) == 0 {
		inner := string(data[object.Start+1 : closing])
		if strings.TrimSpace(inner) == "" {
			return replace(data, object.Start+1, closing, member)
		}
		if strings.Contains(inner, "\n") { // comments alone
			from := lineStart(data, closing)
			return insertLine(data, from, indentOf(data, closing)+"  "+member)
		}
		return replace(data, object.Start+1, object.Start+1, member)
	}
	last := object.Items[len(object.Items)-1]
	firstName := object.Names[0]
	oneLine := lineStart(data, firstName.Start) == lineStart(data, object.Start)
	comma := jsonComma(data, last.End, closing)
	if oneLine || lineStart(data, last.End) == lineStart(data, closing) {
		if comma >= 0 {
			return replace(data, comma+1, comma+1, " "+member)
		}
		return replace(data, last.End, last.End, ", "+member)
	}
	indent := indentOf(data, object.Names[len(object.Names)-1].Start)
	if indent == "" {
		indent = indentOf(data, firstName.Start)
	}
	after := last.End
	if comma >= 0 {
		after = comma
		member += "," // as the last member has one
	}
	out := insertLine(data, jsonLineAfter(data, after, closing), indent+member)
	if comma >= 0 {
		return out
	}
	return replace(out, last.End, last.End, ",")
}

// jsonLineAfter is the start of the line after offset i, past a comment that
// begins on i's line.
func jsonLineAfter(data []byte, i, limit int) int {
	p := &jsonParser{data: data[:limit], at: i, comments: true}
	for p.at < limit && p.data[p.at] != '\n' {
		if p.data[p.at] == '/' && p.comment() == nil {
			continue
		}
		p.at++
	}
	return nextLine(data, min(p.at, limit))
}

// jsonComma is the offset of the comma between i and limit, or -1.
func jsonComma(data []byte, i, limit int) int {
	p := &jsonParser{data: data[:limit], at: i, comments: true}
	if p.space() == nil && p.at < limit && data[p.at] == ',' {
		return p.at
	}
	return -1
}

// removeJSON takes a member out, with its line where it has one to itself.
func removeJSON(data []byte, object *Node, key string) []byte {
	for i, k := range object.Names {
		if k.Text != key {
			continue
		}
		from, to := k.Start, object.Items[i].End
		comma := jsonComma(data, to, object.End-1)
		switch {
		case comma >= 0:
			to = comma + 1
		case i > 0: // the last one: the comma before it goes too
			before := object.Items[i-1].End
			if c := jsonComma(data, before, object.End-1); c >= 0 {
				data = replace(data, c, c+1, "")
				from, to = from-1, to-1
			}
		}
		start, next := lineStart(data, from), nextLine(data, to)
		if strings.TrimSpace(string(data[start:from])) == "" && strings.TrimSpace(string(data[to:next])) == "" {
			return replace(data, start, next, "")
		}
		for to < len(data) && data[to] == ' ' && i < len(object.Names)-1 {
			to++
		}
		return replace(data, from, to, "")
	}
	return data
}
