package doc

import (
	"bytes"
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
	mistakes []Mistake
	root     *Node
	state    map[*Node]tomlState
	index    map[*Node]map[string]int // of large tables
	layout   *tomlLayout              // of a document that is edited
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

func parseTOML(data []byte, mark any) (root *Node, mistakes []Mistake) {
	return readTOML(data, mark, nil)
}

func readTOML(data []byte, mark any, layout *tomlLayout) (root *Node, mistakes []Mistake) {
	if m := crowdedTOML(data); m != nil {
		return nil, []Mistake{*m}
	}

	r := &tomlReader{layout: layout, data: data, lines: newLineIndex(data), nodes: slab{mark: mark}, state: map[*Node]tomlState{}, index: map[*Node]map[string]int{}}
	r.root = r.nodes.new(Map)
	r.root.Line, r.root.Column, r.root.End = 1, 1, len(data)
	r.parser.Reset(data)

	table, tableKey := r.root, ""
	for r.parser.NextExpression() {
		switch e := r.parser.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table, tableKey = r.header(e)
			r.layout.header(r, e, table)
		case unstable.KeyValue:
			if table != nil {
				parent, leaf := r.keyValue(table, tableKey, e, 0)
				r.layout.keyValue(r, e, table, parent, leaf)
			}
		}
	}

	if err := r.parser.Error(); err != nil {
		line, col := 0, 0
		var at *unstable.ParserError
		if errors.As(err, &at) {
			line, col = r.errorPosition(at)
		}
		message, hint := tomlMistake(err.Error())
		return nil, append(r.mistakes, syntax(line, col, "invalid TOML: "+message, hint))
	}

	return r.root, r.mistakes
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

func (r *tomlReader) name(k *unstable.Node) Name {
	n := Name{Text: string(k.Data), Start: int(k.Raw.Offset), End: int(k.Raw.Offset + k.Raw.Length)}
	n.Line, n.Column = r.lines.at(n.Start)
	return n
}

// find looks a key up; tables that are large have an index.
func (r *tomlReader) find(n *Node, key string) (int, *Node) {
	if at, ok := r.index[n]; ok {
		if i, ok := at[key]; ok {
			return i, n.Items[i]
		}
		return -1, nil
	}
	for i := range n.Names {
		if n.Names[i].Text == key {
			return i, n.Items[i]
		}
	}
	return -1, nil
}

func (r *tomlReader) add(n *Node, k Name, v *Node) {
	const large = 40
	n.Names, n.Items = append(n.Names, k), append(n.Items, v)
	switch at := r.index[n]; {
	case at != nil:
		at[k.Text] = len(n.Names) - 1
	case len(n.Names) == large:
		at = make(map[string]int, 2*large)
		for i := range n.Names {
			at[n.Names[i].Text] = i
		}
		r.index[n] = at
	}
}

// header finds or makes the table of a [header] or [[header]]. It returns nil,
// and reports, where the document contradicts itself.
func (r *tomlReader) header(e *unstable.Node) (*Node, string) {
	table, key := r.root, ""
	for it := e.Key(); it.Next(); {
		k := r.name(it.Node())
		key = JoinKey(key, k.Text)
		at, have := r.find(table, k.Text)

		last := it.IsLast()
		switch {
		case last && e.Kind == unstable.ArrayTable:
			if have == nil {
				have = r.nodes.new(List)
				have.Line, have.Column = k.Line, k.Column
				r.state[have] = tomlArray
				r.add(table, k, have)
			} else if have.Kind != List || r.state[have] != tomlArray {
				r.mistakes = note(r.mistakes, duplicate(key, k, table.Names[at]))
				return nil, key
			}
			item := r.nodes.new(Map)
			item.Line, item.Column = k.Line, k.Column
			r.state[item] = tomlHeader
			have.Items = append(have.Items, item)
			return item, fmt.Sprintf("%s[%d]", key, len(have.Items)-1)
		case have == nil:
			have = r.nodes.new(Map)
			have.Line, have.Column = k.Line, k.Column
			if last {
				r.state[have] = tomlHeader
			}
			r.add(table, k, have)
		case have.Kind == List && r.state[have] == tomlArray && !last:
			have = have.Items[len(have.Items)-1]
		case have.Kind != Map || r.state[have] == tomlInline || last && r.state[have] != tomlImplicit:
			r.mistakes = note(r.mistakes, duplicate(key, k, table.Names[at]))
			return nil, key
		case last:
			r.state[have] = tomlHeader
		}

		table = have
	}

	return table, key
}

// keyValue adds key = value, where the key may be dotted, to table. It returns
// the value and the table that has it.
func (r *tomlReader) keyValue(table *Node, key string, e *unstable.Node, depth int) (parent, leaf *Node) {
	it := e.Key()
	for it.Next() {
		k := r.name(it.Node())
		key = JoinKey(key, k.Text)
		at, have := r.find(table, k.Text)

		if it.IsLast() {
			if have != nil {
				r.mistakes = note(r.mistakes, duplicate(key, k, table.Names[at]))
				return nil, nil
			}
			v := r.value(e.Value(), key, r.valueStart(k.End), depth)
			r.add(table, k, v)
			return table, v
		}

		switch {
		case have == nil:
			have = r.nodes.new(Map)
			have.Line, have.Column = k.Line, k.Column
			r.state[have] = tomlDotted
			r.add(table, k, have)
		case have.Kind != Map || r.state[have] == tomlInline || r.state[have] == tomlHeader:
			r.mistakes = note(r.mistakes, duplicate(key, k, table.Names[at]))
			return nil, nil
		}

		table = have
	}

	return nil, nil
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

func (r *tomlReader) value(v *unstable.Node, key string, start, depth int) *Node {
	n := r.nodes.new(Text)
	n.Start = start
	n.Line, n.Column = r.lines.at(start)
	if depth > maxDepth {
		r.mistakes = note(r.mistakes, syntax(n.Line, n.Column, fmt.Sprintf("nested deeper than %d", maxDepth), ""))
		return n
	}

	switch v.Kind {
	case unstable.Array:
		n.Kind = List
		at := start + 1
		for it := v.Children(); it.Next(); {
			item := it.Node()
			if item.Kind == unstable.Comment {
				continue
			}
			at = skipTOML(r.data, at)
			child := r.value(item, fmt.Sprintf("%s[%d]", key, len(n.Items)), at, depth+1)
			at = child.End
			n.Items = append(n.Items, child)
		}
		n.End = skipTOML(r.data, at) + 1
	case unstable.InlineTable:
		n.Kind = Map
		at := start + 1
		for it := v.Children(); it.Next(); {
			if _, leaf := r.keyValue(n, key, it.Node(), depth+1); leaf != nil {
				at = max(at, leaf.End)
			}
		}
		r.close(n)
		n.End = skipTOML(r.data, at) + 1
	case unstable.String:
		n.Text, n.End = string(v.Data), int(v.Raw.Offset+v.Raw.Length)
	default:
		n.Plain, n.Text, n.End = true, string(v.Data), start+len(v.Data)
		if v.Kind == unstable.Float {
			n.Style = 'f' // inf and nan are no words here
		}
	}

	return n
}

// close marks an inline table, and those its dotted keys made, as complete.
func (r *tomlReader) close(n *Node) {
	if n.Kind == Map {
		r.state[n] = tomlInline
		for _, item := range n.Items {
			r.close(item)
		}
	}
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

// crowdedTOML finds where a document is nested deeper than maxDepth, by brackets
// or by dots, or has more values than maxNodes, before the library makes them.
func crowdedTOML(data []byte) *Mistake {
	values, depth, dots := 0, 0, 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '"', '\'':
			i = skipString(data, i) - 1
		case '#':
			i = max(i, nextLine(data, i)-2) // to the line's break, or the end
		case '[', '{':
			depth, dots, values = depth+1, 0, values+1
		case ']', '}':
			depth, dots = max(0, depth-1), 0
		case '.':
			dots, values = dots+1, values+1
		case '=', ',':
			dots, values = 0, values+1
		case '\n':
			dots = 0
		}

		if depth <= maxDepth && dots <= maxDepth && values <= maxNodes {
			continue
		}
		line, col := newLineIndex(data).at(i)
		m := tooMany(line, col)
		if values <= maxNodes {
			m = syntax(line, col, fmt.Sprintf("nested deeper than %d", maxDepth), "")
		}
		return &m
	}

	return nil
}

// skipString is the offset after the string that begins at i.
func skipString(data []byte, i int) int {
	quote := data[i : i+1]
	if long := bytes.Repeat(quote, 3); bytes.HasPrefix(data[i:], long) {
		quote = long
	}

	for i += len(quote); i < len(data); i++ {
		switch {
		case data[i] == '\\' && quote[0] == '"':
			i++
		case data[i] == '\n' && len(quote) == 1: // not closed: the library says so
			return i
		case bytes.HasPrefix(data[i:], quote):
			return i + len(quote)
		}
	}

	return len(data)
}
