package config

import (
	"errors"
	"fmt"

	"github.com/pelletier/go-toml/v2/unstable"
)

// tomlReader builds a tree from the expressions of a TOML document. The
// library's parser checks the syntax; what may be defined twice is checked
// here.
type tomlReader struct {
	parser   unstable.Parser
	data     []byte
	lines    *lineIndex
	nodes    slab
	layer    *layer
	problems []Problem
	root     *node
	state    map[*node]tomlState
}

// tomlState says how a table came to be, which decides what may add to it.
type tomlState uint8

const (
	tomlImplicit tomlState = iota // named on the way to another table
	tomlHeader                    // by its own [header]
	tomlDotted                    // by a dotted key
	tomlInline                    // closed
	tomlArray                     // by [[header]]
)

func parseTOML(data []byte, l *layer) (root *node, problems []Problem) {
	r := &tomlReader{data: data, lines: newLineIndex(data), nodes: slab{from: l}, layer: l, state: map[*node]tomlState{}}
	r.root = r.nodes.new(mapNode)
	r.root.line, r.root.col, r.root.end = 1, 1, len(data)
	r.parser.Reset(data)
	table, tableKey := r.root, ""
	for r.parser.NextExpression() {
		switch e := r.parser.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table, tableKey = r.header(e)
		case unstable.KeyValue:
			if table != nil {
				r.keyValue(table, tableKey, e, 0)
			}
		}
	}
	if err := r.parser.Error(); err != nil {
		line, col := 0, 0
		var at *unstable.ParserError
		if errors.As(err, &at) {
			line, col = r.errorPosition(at)
		}
		return nil, append(r.problems, syntaxProblem(l, line, col, "invalid TOML: "+err.Error(), ""))
	}
	return r.root, r.problems
}

// errorPosition finds where the library stopped. It panics for a highlight
// that is no part of the document, which happens at the very end of one.
func (r *tomlReader) errorPosition(at *unstable.ParserError) (line, col int) {
	defer func() {
		if recover() != nil {
			line, col = r.lines.at(len(r.data))
		}
	}()
	return r.lines.at(int(r.parser.Range(at.Highlight).Offset))
}

func (r *tomlReader) name(k *unstable.Node) name {
	n := name{text: string(k.Data), start: int(k.Raw.Offset), end: int(k.Raw.Offset + k.Raw.Length)}
	n.line, n.col = r.lines.at(n.start)
	return n
}

func (r *tomlReader) find(n *node, key string) (int, *node) {
	for i := range n.names {
		if n.names[i].text == key {
			return i, n.items[i]
		}
	}
	return -1, nil
}

func (r *tomlReader) problem(key string, at name, message string) {
	r.problems = append(r.problems, Problem{
		Key: key, Layer: r.layer.describe(), File: r.layer.path(),
		Line: at.line, Column: at.col, Message: message,
	})
}

// header finds or makes the table of a [header] or [[header]]. It returns nil,
// and reports, where the document contradicts itself.
func (r *tomlReader) header(e *unstable.Node) (*node, string) {
	table, key := r.root, ""
	for it := e.Key(); it.Next(); {
		k := r.name(it.Node())
		key = joinKey(key, k.text)
		at, have := r.find(table, k.text)
		last := it.IsLast()
		switch {
		case last && e.Kind == unstable.ArrayTable:
			if have == nil {
				have = r.nodes.new(listNode)
				have.line, have.col = k.line, k.col
				r.state[have] = tomlArray
				table.names, table.items = append(table.names, k), append(table.items, have)
			} else if have.kind != listNode || r.state[have] != tomlArray {
				r.problems = append(r.problems, duplicateProblem(r.layer, key, k, table.names[at]))
				return nil, key
			}
			item := r.nodes.new(mapNode)
			item.line, item.col = k.line, k.col
			r.state[item] = tomlHeader
			have.items = append(have.items, item)
			return item, fmt.Sprintf("%s[%d]", key, len(have.items)-1)
		case have == nil:
			have = r.nodes.new(mapNode)
			have.line, have.col = k.line, k.col
			if last {
				r.state[have] = tomlHeader
			}
			table.names, table.items = append(table.names, k), append(table.items, have)
		case have.kind == listNode && r.state[have] == tomlArray && !last:
			have = have.items[len(have.items)-1]
		case have.kind != mapNode || r.state[have] == tomlInline || last && r.state[have] != tomlImplicit:
			r.problems = append(r.problems, duplicateProblem(r.layer, key, k, table.names[at]))
			return nil, key
		case last:
			r.state[have] = tomlHeader
		}
		table = have
	}
	return table, key
}

// keyValue adds key = value, where the key may be dotted, to table.
func (r *tomlReader) keyValue(table *node, key string, e *unstable.Node, depth int) {
	it := e.Key()
	for it.Next() {
		k := r.name(it.Node())
		key = joinKey(key, k.text)
		at, have := r.find(table, k.text)
		if it.IsLast() {
			if have != nil {
				r.problems = append(r.problems, duplicateProblem(r.layer, key, k, table.names[at]))
				return
			}
			v := r.value(e.Value(), key, r.valueStart(k.end), depth)
			table.names, table.items = append(table.names, k), append(table.items, v)
			return
		}
		switch {
		case have == nil:
			have = r.nodes.new(mapNode)
			have.line, have.col = k.line, k.col
			r.state[have] = tomlDotted
			table.names, table.items = append(table.names, k), append(table.items, have)
		case have.kind != mapNode || r.state[have] == tomlInline || r.state[have] == tomlHeader:
			r.problems = append(r.problems, duplicateProblem(r.layer, key, k, table.names[at]))
			return
		}
		table = have
	}
}

// valueStart returns the offset of the value after the key that ends at i.
func (r *tomlReader) valueStart(i int) int {
	for i < len(r.data) && (r.data[i] == ' ' || r.data[i] == '\t') {
		i++
	}
	if i < len(r.data) && r.data[i] == '=' {
		i++
	}
	for i < len(r.data) && (r.data[i] == ' ' || r.data[i] == '\t') {
		i++
	}
	return i
}

func (r *tomlReader) value(v *unstable.Node, key string, start, depth int) *node {
	n := r.nodes.new(textNode)
	n.start = start
	n.line, n.col = r.lines.at(start)
	if depth > maxDepth {
		r.problem(key, name{line: n.line, col: n.col}, fmt.Sprintf("nested deeper than %d", maxDepth))
		return n
	}
	switch v.Kind {
	case unstable.Array:
		n.kind = listNode
		at := start + 1
		for it := v.Children(); it.Next(); {
			item := it.Node()
			if item.Kind == unstable.Comment {
				continue
			}
			at = skipTOML(r.data, at)
			child := r.value(item, fmt.Sprintf("%s[%d]", key, len(n.items)), at, depth+1)
			at = child.end
			n.items = append(n.items, child)
		}
		n.end = skipTOML(r.data, at) + 1
	case unstable.InlineTable:
		n.kind = mapNode
		at := start + 1
		for it := v.Children(); it.Next(); {
			r.keyValue(n, key, it.Node(), depth+1)
			at = max(at, lastEnd(n))
		}
		r.close(n)
		n.end = skipTOML(r.data, at) + 1
	case unstable.String:
		n.text, n.end = string(v.Data), int(v.Raw.Offset+v.Raw.Length)
	default:
		n.plain, n.text, n.end = true, string(v.Data), start+len(v.Data)
	}
	return n
}

// close marks an inline table, and those its dotted keys made, as complete.
func (r *tomlReader) close(n *node) {
	if n.kind == mapNode {
		r.state[n] = tomlInline
		for _, item := range n.items {
			r.close(item)
		}
	}
}

// lastEnd is the offset after the last value in the tree.
func lastEnd(n *node) int {
	end := n.end
	for _, item := range n.items {
		end = max(end, lastEnd(item))
	}
	return end
}

// skipTOML returns the offset of the next token within an array or inline
// table: past white space, commas and comments.
func skipTOML(data []byte, i int) int {
	for i < len(data) {
		switch data[i] {
		case ' ', '\t', '\r', '\n', ',':
			i++
		case '#':
			for i < len(data) && data[i] != '\n' {
				i++
			}
		default:
			return i
		}
	}
	return i
}
