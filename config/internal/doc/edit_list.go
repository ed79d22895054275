package doc

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// bracketList is a list in brackets: of JSON, TOML, or YAML in flow style.
type bracketList struct {
	data    []byte
	start   int // of the opening bracket
	end     int // after the closing bracket
	items   []*Node
	spans   [][2]int // of the items
	render  func(n, old *Node) (string, error)
	comment string // that goes to the end of its line: "//", "#"
}

// Splice changes the items that differ, adds new ones at the end and takes
// surplus ones from there, so that the others keep their text and comments.
// It reports false where the list has to be written as a whole.
func (l *bracketList) splice(value *Node) ([]byte, bool, error) {
	if value.Kind != List || len(value.Items) == 0 || len(l.items) == 0 || len(l.spans) != len(l.items) {
		return nil, false, nil
	}
	out := l.data
	last := len(l.items) - 1
	switch surplus := len(value.Items) - len(l.items); {
	case surplus > 0:
		added := make([]string, surplus)
		for i := range added {
			text, err := l.render(value.Items[len(l.items)+i], nil)
			if err != nil {
				return nil, false, err
			}
			added[i] = text
		}
		out = l.add(added)
	case surplus < 0:
		last = len(value.Items) - 1
		out = l.cut(last)
	}
	for i := last; i >= 0; i-- {
		if Same(l.items[i], value.Items[i]) {
			continue
		}
		text, err := l.render(value.Items[i], l.items[i])
		if err != nil {
			return nil, false, err
		}
		out = replace(out, l.spans[i][0], l.spans[i][1], text)
	}
	return out, true, nil
}

// cut takes the items after the last one to keep out: with their lines where
// they have lines of their own, so that a comment on the last one's line stays.
func (l *bracketList) cut(last int) []byte {
	kept, end := l.spans[last][1], l.spans[len(l.spans)-1][1]
	from, to := nextLine(l.data, kept), nextLine(l.data, end)
	if from > l.spans[last+1][0] || to >= l.end || bytes.Contains(l.data[kept:from], []byte("/*")) {
		return replace(l.data, kept, end, "")
	}
	out := replace(l.data, from, to, "")
	if comma := l.comma(kept); comma >= 0 && l.comma(end) < 0 {
		out = replace(out, comma, comma+1, "")
	}
	return out
}

// add puts items after the last one: on lines of their own where it has one.
func (l *bracketList) add(added []string) []byte {
	last := l.spans[len(l.spans)-1]
	comma := l.comma(last[1])
	from := last[1]
	if comma >= 0 {
		from = comma + 1
	}
	indent := indentOf(l.data, last[0])
	first := lineStart(l.data, last[0])
	if first <= l.start || len(bytes.TrimSpace(l.data[first:last[0]])) > 0 || lineStart(l.data, last[1]) == lineStart(l.data, l.end-1) {
		text := " " + strings.Join(added, ", ")
		if comma < 0 {
			text = "," + text
		}
		return replace(l.data, from, from, text)
	}
	lines := strings.Join(added, ",\n"+indent)
	if comma >= 0 {
		lines += ","
	}
	at := from
	for at < l.end-1 && l.data[at] != '\n' { // past a comment on the item's line
		if bytes.HasPrefix(l.data[at:], []byte("/*")) {
			if i := bytes.Index(l.data[at:l.end], []byte("*/")); i >= 0 {
				at += i + 2
				continue
			}
		}
		at++
	}
	out := insertLine(l.data, nextLine(l.data, at), indent+lines)
	if comma < 0 {
		out = replace(out, last[1], last[1], ",")
	}
	return out
}

// comma is the offset of the comma after i, or -1.
func (l *bracketList) comma(i int) int {
	for i < l.end-1 {
		switch {
		case l.data[i] == ',':
			return i
		case isBlank(l.data[i]):
			i++
		case bytes.HasPrefix(l.data[i:], []byte(l.comment)):
			i = nextLine(l.data, i)
		case l.comment == "//" && bytes.HasPrefix(l.data[i:], []byte("/*")):
			end := bytes.Index(l.data[i:], []byte("*/"))
			if end < 0 {
				return -1
			}
			i += end + 2
		default:
			return -1
		}
	}
	return -1
}

// nodeSpans are the ranges of a list whose reader keeps them.
func nodeSpans(items []*Node) (spans [][2]int) {
	for _, item := range items {
		if item.End <= item.Start {
			return nil
		}
		spans = append(spans, [2]int{item.Start, item.End})
	}
	return spans
}

// flowList changes a YAML list in flow style.
func (e *yamlEditor) flowList(v *yaml.Node, end int, old, value *Node) ([]byte, bool, error) {
	l := &bracketList{data: e.data, start: e.start(v), end: end, items: old.Items, comment: "#"}
	for _, item := range v.Content {
		to, err := e.end(item, true, -1)
		if err != nil || isAbsent(item) {
			return nil, false, nil
		}
		l.spans = append(l.spans, [2]int{e.start(item), to})
	}
	l.render = func(n, old *Node) (string, error) {
		quote := byte(0)
		if old != nil && (old.Style == '"' || old.Style == '\'') {
			quote = old.Style
		}
		return yamlText(n, quote, true), nil
	}
	return l.splice(value)
}

// blockList changes a YAML list in block style, item by item.
func (e *yamlEditor) blockList(v *yaml.Node, old, value *Node) ([]byte, bool) {
	if len(old.Items) != len(v.Content) || len(value.Items) == 0 {
		return nil, false
	}
	indent := v.Column - 1
	spans := make([][2]int, len(v.Content))
	for i, item := range v.Content {
		end, err := e.end(item, false, indent)
		start := e.start(item)
		dash := bytes.TrimLeft(e.data[lineStart(e.data, start):start], " ")
		if err != nil || isAbsent(item) || len(bytes.TrimSpace(dash)) != 1 || dash[0] != '-' {
			return nil, false
		}
		spans[i] = [2]int{start, end}
	}
	out, last := e.data, len(spans)-1
	switch surplus := len(value.Items) - len(spans); {
	case surplus > 0:
		block := v.Content[last].Kind == yaml.MappingNode && v.Content[last].Style&yaml.FlowStyle == 0
		lines := make([]string, surplus)
		for i := range lines {
			lines[i] = strings.Repeat(" ", indent) + "- " + yamlItem(value.Items[len(spans)+i], indent+2, 0, block)
		}
		out = insertLine(out, nextLine(out, spans[last][1]), strings.Join(lines, "\n"))
	case surplus < 0:
		from, to := nextLine(out, spans[len(value.Items)-1][1]), nextLine(out, spans[last][1])
		out = replace(out, from, to, "")
		last = len(value.Items) - 1
	}
	for i := last; i >= 0; i-- {
		if Same(old.Items[i], value.Items[i]) {
			continue
		}
		item := v.Content[i]
		block := item.Kind == yaml.MappingNode && item.Style&yaml.FlowStyle == 0
		text := yamlItem(value.Items[i], item.Column-1, quoteStyle(item), block)
		out = replace(out, spans[i][0], spans[i][1], strings.ReplaceAll(text, "\n", lineEnd(e.data)))
	}
	return out, true
}

// yamlItem writes an item of a block list; a section in block style if the
// list has them so.
func yamlItem(n *Node, indent int, quote byte, block bool) string {
	if !block || n.Kind != Map || len(n.Items) == 0 {
		return yamlText(n, quote, false)
	}
	lines := make([]string, len(n.Items))
	for i, k := range n.Names {
		lines[i] = yamlBlock(indent, []string{k.Text}, n.Items[i])
	}
	return strings.TrimLeft(strings.Join(lines, "\n"), " ")
}
