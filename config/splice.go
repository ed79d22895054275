package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// edit changes one key of a document: to value, or away if value is nil.
type edit struct {
	path  []string
	value *node
}

func (x edit) key() string { return dotted(x.path) }

// indexPart is the part of a path that names an item of a list. No key begins
// so in a list.
func indexPart(i int) string { return "\x00" + strconv.Itoa(i) }

// item returns the item of a list of n that part names.
func itemOf(part string, n int) (i int, ok bool) {
	text, ok := strings.CutPrefix(part, "\x00")
	i, err := strconv.Atoi(text)
	return i, ok && err == nil && i < n
}

// dotted writes a path as a key: s[0].port.
func dotted(path []string) string {
	key := ""
	for _, part := range path {
		if i, ok := strings.CutPrefix(part, "\x00"); ok {
			key += "[" + i + "]"
			continue
		}
		key = joinKey(key, part)
	}
	return key
}

// splice applies edits to a document and changes nothing but the text of
// those keys: comments, order, quotes and line ends stay. The result is read
// back and compared, so that a document which cannot be changed in place gives
// an error and never a wrong file.
func splice(data []byte, f format, edits []edit) ([]byte, error) {
	for _, x := range edits {
		out, err := spliceOne(data, f, x)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", x.key(), err)
		}
		if err := verifySplice(data, out, f, x); err != nil {
			return nil, fmt.Errorf("key %s: %w", x.key(), err)
		}
		data = out
	}
	return data, nil
}

func spliceOne(data []byte, f format, x edit) ([]byte, error) {
	switch f {
	case formatYAML:
		return spliceYAML(data, x)
	case formatJSON, formatJSONC:
		return spliceJSON(data, f, x)
	case formatTOML:
		return spliceTOML(data, x)
	}
	return nil, errors.New("unknown file type")
}

var errNotInPlace = errors.New("this document cannot be changed in place here; edit it by hand")

// verifySplice compares the documents before and after: all keys but the
// edited one must be the same.
func verifySplice(before, after []byte, f format, x edit) error {
	was, problems := parse(&layer{kind: layerFile, name: "x", format: f, data: before})
	if len(problems) > 0 {
		return problems[0]
	}
	now, problems := parse(&layer{kind: layerFile, name: "x", format: f, data: after})
	if len(problems) > 0 {
		return fmt.Errorf("%w (the result would not parse: %s)", errNotInPlace, problems[0].what())
	}
	if was == nil {
		was = &node{kind: mapNode}
	}
	if now == nil {
		now = &node{kind: mapNode}
	}
	want := withEdit(was, x.path, x.value)
	if !sameTree(want, now) {
		return errNotInPlace
	}
	return nil
}

// withEdit returns a copy of the tree with the edit applied.
func withEdit(n *node, path []string, value *node) *node {
	if len(path) == 0 {
		return value
	}
	if n != nil && n.kind == listNode {
		if i, ok := itemOf(path[0], len(n.items)); ok {
			out := &node{kind: listNode, items: slices.Clone(n.items)}
			out.items[i] = withEdit(n.items[i], path[1:], value)
			return out
		}
	}
	out := &node{kind: mapNode}
	if n != nil && n.kind == mapNode {
		out.names, out.items = slices.Clone(n.names), slices.Clone(n.items)
	}
	child := withEdit(out.child(path[0]), path[1:], value)
	if child == nil {
		for i := range out.names {
			if out.names[i].text == path[0] {
				out.names, out.items = slices.Delete(out.names, i, i+1), slices.Delete(out.items, i, i+1)
				break
			}
		}
		return out
	}
	out.put(name{text: path[0]}, child)
	return out
}

// sameTree compares what two trees say, whatever the order of keys. A section
// without keys and null say the same.
func sameTree(a, b *node) bool {
	if empty(a) && empty(b) {
		return true
	}
	if a == nil || b == nil || a.kind != b.kind || a.text != b.text && !sameFloat(a, b) || len(a.items) != len(b.items) {
		return false
	}
	for i, item := range a.items {
		other := b.items[i]
		if a.kind == mapNode {
			if other = b.child(a.names[i].text); other == nil {
				return false
			}
		}
		if !sameTree(item, other) {
			return false
		}
	}
	return true
}

// sameFloat compares the names that formats have for odd floats.
func sameFloat(a, b *node) bool {
	name := func(n *node) string { return strings.TrimPrefix(strings.ToLower(yamlFloat(n.text)), "+") }
	switch text := name(a); text {
	case "nan", "inf", "-inf":
		return a.plain && b.plain && text == name(b)
	}
	return false
}

func empty(n *node) bool {
	return n == nil || n.kind == nullNode || n.kind == mapNode && len(n.items) == 0
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
func spliceJSON(data []byte, f format, x edit) ([]byte, error) {
	l := &layer{kind: layerFile, name: "x", format: f, data: data}
	root, problems := parse(l)
	if len(problems) > 0 {
		return nil, problems[0]
	}
	if root == nil || root.kind == nullNode {
		if x.value == nil {
			return data, nil
		}
		text, err := jsonText(nest(x.path, x.value))
		if err != nil {
			return nil, err
		}
		if root != nil {
			return replace(data, root.start, root.end, text), nil
		}
		return append(append(slices.Clone(data), text...), '\n'), nil
	}
	parent, at := root, 0
	for ; at < len(x.path); at++ {
		if i, ok := itemOf(x.path[at], len(parent.items)); ok && parent.kind == listNode {
			parent = parent.items[i]
			continue
		}
		next := parent.child(x.path[at])
		if next == nil {
			break
		}
		if at == len(x.path)-1 {
			if x.value == nil {
				return removeJSON(data, parent, x.path[at]), nil
			}
			l := &bracketList{data: data, start: next.start, end: next.end, items: next.items, spans: nodeSpans(next.items), comment: "//"}
			l.render = func(n, _ *node) (string, error) { return jsonText(n) }
			if next.kind == listNode {
				if out, ok, err := l.splice(x.value); ok || err != nil {
					return out, err
				}
			}
			text, err := jsonText(keepQuotes(x.value, next))
			if err != nil {
				return nil, err
			}
			return replace(data, next.start, next.end, text), nil
		}
		if next.kind != mapNode && next.kind != listNode {
			text, err := jsonText(nest(x.path[at+1:], x.value))
			if err != nil || next.kind != nullNode {
				return nil, errors.Join(errNotInPlace, err)
			}
			return replace(data, next.start, next.end, text), nil
		}
		parent = next
	}
	if x.value == nil {
		return data, nil
	}
	if parent.kind != mapNode {
		return nil, errNotInPlace
	}
	text, err := jsonText(nest(x.path[at+1:], x.value))
	if err != nil {
		return nil, err
	}
	return insertJSON(data, parent, quoteJSON(x.path[at])+": "+text), nil
}

// keepQuotes writes a number as text where the document has it as text.
func keepQuotes(n, old *node) *node {
	if n.kind == textNode && old.kind == textNode && n.plain && !old.plain {
		quoted := *n
		quoted.plain = false
		return &quoted
	}
	return n
}

// nest puts value below the names in path.
func nest(path []string, value *node) *node {
	for i := len(path) - 1; i >= 0; i-- {
		outer := &node{kind: mapNode}
		outer.put(name{text: path[i]}, value)
		value = outer
	}
	return value
}

// insertJSON adds a member at the end of an object.
func insertJSON(data []byte, object *node, member string) []byte {
	closing := object.end - 1
	if len(object.items) == 0 {
		inner := string(data[object.start+1 : closing])
		if strings.TrimSpace(inner) == "" {
			return replace(data, object.start+1, closing, member)
		}
		if strings.Contains(inner, "\n") { // comments alone
			from := lineStart(data, closing)
			return insertLine(data, from, indentOf(data, closing)+"  "+member)
		}
		return replace(data, object.start+1, object.start+1, member)
	}
	last := object.items[len(object.items)-1]
	firstName := object.names[0]
	oneLine := lineStart(data, firstName.start) == lineStart(data, object.start)
	comma := jsonComma(data, last.end, closing)
	if oneLine || lineStart(data, last.end) == lineStart(data, closing) {
		if comma >= 0 {
			return replace(data, comma+1, comma+1, " "+member)
		}
		return replace(data, last.end, last.end, ", "+member)
	}
	indent := indentOf(data, object.names[len(object.names)-1].start)
	if indent == "" {
		indent = indentOf(data, firstName.start)
	}
	after := last.end
	if comma >= 0 {
		after = comma
		member += "," // as the last member has one
	}
	out := insertLine(data, jsonLineAfter(data, after, closing), indent+member)
	if comma >= 0 {
		return out
	}
	return replace(out, last.end, last.end, ",")
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
func removeJSON(data []byte, object *node, key string) []byte {
	for i, k := range object.names {
		if k.text != key {
			continue
		}
		from, to := k.start, object.items[i].end
		comma := jsonComma(data, to, object.end-1)
		switch {
		case comma >= 0:
			to = comma + 1
		case i > 0: // the last one: the comma before it goes too
			before := object.items[i-1].end
			if c := jsonComma(data, before, object.end-1); c >= 0 {
				data = replace(data, c, c+1, "")
				from, to = from-1, to-1
			}
		}
		start, next := lineStart(data, from), nextLine(data, to)
		if strings.TrimSpace(string(data[start:from])) == "" && strings.TrimSpace(string(data[to:next])) == "" {
			return replace(data, start, next, "")
		}
		for to < len(data) && data[to] == ' ' && i < len(object.names)-1 {
			to++
		}
		return replace(data, from, to, "")
	}
	return data
}
