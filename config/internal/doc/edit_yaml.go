package doc

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlEditor finds the text of nodes in a YAML document. The library gives
// where a node begins; where it ends is found here.
type yamlEditor struct {
	data  []byte
	lines *lineIndex
}

// errYAMLEnd says that the end of a node was not found.
var errYAMLEnd = errNotInPlace

// spliceYAML edits YAML.
func spliceYAML(data []byte, x Edit) ([]byte, error) {
	doc, err := yamlDocument(data)
	if err != nil {
		return nil, err
	}
	e := &yamlEditor{data, newLineIndex(data)}
	if bytes.HasPrefix(data, []byte("\ufeff")) { // the library does not count it
		e.lines.starts[0] = len("\ufeff")
	}
	if doc == nil || len(doc.Content) == 0 {
		if x.Value == nil {
			return data, nil
		}
		return insertLine(data, len(data), yamlBlock(0, x.Path, x.Value)), nil
	}
	at, indent := doc.Content[0], -1
	if at.Kind == yaml.ScalarNode && isYAMLNull(at.Value) && x.Value != nil {
		if at.Value != "" {
			return nil, errNotInPlace
		}
		return insertLine(data, len(data), yamlBlock(0, x.Path, x.Value)), nil
	}
	for i, part := range x.Path {
		if at.Kind == yaml.SequenceNode {
			item, ok := itemOf(part, len(at.Content))
			if !ok {
				return nil, errNotInPlace
			}
			at = at.Content[item]
			indent = at.Column - 2
			continue
		}
		if at.Kind != yaml.MappingNode {
			return nil, errNotInPlace
		}
		j := pairIndex(at, part)
		if j < 0 {
			if x.Value == nil {
				return data, nil
			}
			return e.insert(at, indent, x.Path[i:], x.Value)
		}
		k, v := at.Content[j], at.Content[j+1]
		if i == len(x.Path)-1 {
			if x.Value == nil {
				return e.remove(at, j, indent)
			}
			return e.replaceValue(at, k, v, x.Value)
		}
		if at.Style&yaml.FlowStyle == 0 {
			indent = k.Column - 1
		}
		if v.Kind == yaml.ScalarNode && isYAMLNull(v.Value) {
			if x.Value == nil {
				return data, nil
			}
			return e.openSection(at, k, v, x.Path[i+1:], x.Value)
		}
		at = v
	}
	return nil, errNotInPlace
}

func pairIndex(m *yaml.Node, key string) int {
	for j := 0; j+1 < len(m.Content); j += 2 {
		if k := m.Content[j]; k.Kind == yaml.ScalarNode && k.Value == key && k.Tag != "!!merge" {
			return j
		}
	}
	return -1
}

// start is the offset of a node, after its anchor and tag.
func (e *yamlEditor) start(n *yaml.Node) int {
	i := e.lines.offset(n.Line, n.Column)
	for i < len(e.data) && (e.data[i] == '&' || e.data[i] == '!') {
		for i < len(e.data) && !isBlank(e.data[i]) {
			i++
		}
		for i < len(e.data) && (e.data[i] == ' ' || e.data[i] == '\t') {
			i++
		}
	}
	return i
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// colon is the offset after the colon of a key.
func (e *yamlEditor) colon(k *yaml.Node, flow bool) (int, error) {
	i, err := e.end(k, flow, -1)
	if err != nil {
		return 0, err
	}
	for i < len(e.data) && (e.data[i] == ' ' || e.data[i] == '\t') {
		i++
	}
	if i >= len(e.data) || e.data[i] != ':' {
		return 0, errYAMLEnd
	}
	return i + 1, nil
}

// isAbsent reports a value that is not written at all, as in "key:".
func isAbsent(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

// end is the offset after a node; indent is that of the node around it.
func (e *yamlEditor) end(n *yaml.Node, flow bool, indent int) (int, error) {
	i := e.start(n)
	switch n.Kind {
	case yaml.AliasNode:
		for i < len(e.data) && !isBlank(e.data[i]) && !(flow && strings.IndexByte(",]}", e.data[i]) >= 0) {
			i++
		}
		return i, nil
	case yaml.ScalarNode:
		return e.scalarEnd(n, i, flow, indent)
	case yaml.MappingNode, yaml.SequenceNode:
		if n.Style&yaml.FlowStyle != 0 {
			return e.flowEnd(n, i)
		}
		return e.blockEnd(n)
	}
	return 0, errYAMLEnd
}

func (e *yamlEditor) blockEnd(n *yaml.Node) (int, error) {
	if len(n.Content) == 0 {
		return 0, errYAMLEnd
	}
	last := n.Content[len(n.Content)-1]
	if n.Kind == yaml.MappingNode {
		k := n.Content[len(n.Content)-2]
		if isAbsent(last) {
			if last.Anchor != "" || last.Style&yaml.TaggedStyle != 0 {
				return 0, errYAMLEnd
			}
			return e.colon(k, false)
		}
		return e.end(last, false, k.Column-1)
	}
	if isAbsent(last) {
		return 0, errYAMLEnd
	}
	return e.end(last, false, n.Column-1)
}

// flowEnd finds the bracket that closes a flow collection.
func (e *yamlEditor) flowEnd(n *yaml.Node, i int) (int, error) {
	if i >= len(e.data) || e.data[i] != '{' && e.data[i] != '[' {
		return 0, errYAMLEnd
	}
	i++
	for j, item := range n.Content {
		if isAbsent(item) {
			if n.Kind == yaml.MappingNode && j%2 == 1 {
				continue // "{a, b: }": the key's end is known
			}
			return 0, errYAMLEnd
		}
		end, err := e.end(item, true, -1)
		if err != nil {
			return 0, err
		}
		i = end
	}
	for i < len(e.data) {
		switch c := e.data[i]; {
		case c == '}' || c == ']':
			return i + 1, nil
		case c == '#':
			i = nextLine(e.data, i)
		case isBlank(c) || c == ',' || c == ':':
			i++
		default:
			return 0, errYAMLEnd
		}
	}
	return 0, errYAMLEnd
}

func (e *yamlEditor) scalarEnd(n *yaml.Node, i int, flow bool, indent int) (int, error) {
	if i >= len(e.data) {
		return i, nil
	}
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		for j := i + 1; j < len(e.data); j++ {
			switch e.data[j] {
			case '\\':
				j++
			case '"':
				return j + 1, nil
			}
		}
		return 0, errYAMLEnd
	case n.Style&yaml.SingleQuotedStyle != 0:
		for j := i + 1; j < len(e.data); j++ {
			if e.data[j] != '\'' {
				continue
			}
			if j+1 < len(e.data) && e.data[j+1] == '\'' {
				j++
				continue
			}
			return j + 1, nil
		}
		return 0, errYAMLEnd
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return e.blockScalarEnd(i, indent), nil
	}
	return e.plainEnd(n.Value, i, flow)
}

// blockScalarEnd is the end of a | or > scalar: its last line that is indented
// deeper than its key, with blank lines after it only if they are kept.
func (e *yamlEditor) blockScalarEnd(i, indent int) int {
	line := nextLine(e.data, i)
	keep := bytes.IndexByte(e.data[i:line], '+') >= 0
	end := len(bytes.TrimRight(e.data[:line], "\r\n"))
	for line < len(e.data) {
		next := nextLine(e.data, line)
		text := bytes.TrimRight(e.data[line:next], "\r\n")
		trimmed := bytes.TrimLeft(text, " ")
		if len(trimmed) > 0 && len(text)-len(trimmed) <= indent {
			break
		}
		if len(trimmed) > 0 || keep {
			end = line + len(text)
		}
		line = next
	}
	return end
}

// plainEnd is the end of a plain scalar: the shortest text from i that folds
// to its value.
func (e *yamlEditor) plainEnd(value string, i int, flow bool) (int, error) {
	folded, breaks := "", 0
	for at := i; at < len(e.data); {
		next := nextLine(e.data, at)
		end := at + plainLine(e.data[at:next], flow)
		text := string(bytes.TrimSpace(e.data[at:end]))
		switch {
		case text == "":
			breaks++
		case folded == "":
			folded = text
		case breaks > 0:
			folded += strings.Repeat("\n", breaks) + text
			breaks = 0
		default:
			folded += " " + text
		}
		if folded == value {
			return at + len(bytes.TrimRight(e.data[at:end], " \t\r\n")), nil
		}
		if len(folded) > len(value) {
			break
		}
		at = next
	}
	return 0, errYAMLEnd
}

// plainLine is the length of the plain text at the start of a line.
func plainLine(line []byte, flow bool) int {
	for i, c := range line {
		switch {
		case c == '#' && i > 0 && isBlank(line[i-1]):
			return i
		case c == ':' && (i+1 == len(line) || isBlank(line[i+1]) || flow && strings.IndexByte(",]}", line[i+1]) >= 0):
			return i
		case flow && strings.IndexByte(",[]{}", c) >= 0:
			return i
		}
	}
	return len(line)
}

// quoteStyle is the quote of a scalar, to be kept.
func quoteStyle(n *yaml.Node) byte {
	switch {
	case n.Kind != yaml.ScalarNode:
		return 0
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return '"'
	case n.Style&yaml.SingleQuotedStyle != 0:
		return '\''
	}
	return 0
}

// replaceValue puts value in place of the value v of key k in mapping m.
func (e *yamlEditor) replaceValue(m, k, v *yaml.Node, value *Node) ([]byte, error) {
	flow := m.Style&yaml.FlowStyle != 0
	text := yamlText(value, quoteStyle(v), flow)
	if isAbsent(v) {
		at, err := e.colon(k, flow)
		if err != nil || v.Anchor != "" || v.Style&yaml.TaggedStyle != 0 {
			return nil, errors.Join(errNotInPlace, err)
		}
		return replace(e.data, at, at, " "+text), nil
	}
	end, err := e.end(v, flow, k.Column-1)
	if err != nil {
		return nil, err
	}
	start := e.start(v)
	if value.Kind == List && v.Kind == yaml.SequenceNode {
		old := (&yamlReader{left: maxNodes}).node(v, "", 0, false)
		if v.Style&yaml.FlowStyle == 0 {
			if out, ok := e.blockList(v, old, value); ok {
				return out, nil
			}
		} else if out, ok, err := e.flowList(v, end, old, value); ok || err != nil {
			return out, err
		}
	}
	if v.Style&yaml.FlowStyle != 0 || v.Kind == yaml.ScalarNode || v.Kind == yaml.AliasNode {
		return replace(e.data, start, end, text), nil
	}
	if v.Anchor != "" || v.Style&yaml.TaggedStyle != 0 {
		return nil, errNotInPlace
	}
	at, err := e.colon(k, flow)
	if err != nil {
		return nil, err
	}
	return replace(e.data, at, end, " "+text), nil
}

// openSection gives a key without a value the section that holds path.
func (e *yamlEditor) openSection(m, k, v *yaml.Node, path []string, value *Node) ([]byte, error) {
	flow := m.Style&yaml.FlowStyle != 0
	if v.Anchor != "" || v.Style&yaml.TaggedStyle != 0 {
		return nil, errNotInPlace
	}
	at, err := e.colon(k, flow)
	if err != nil {
		return nil, err
	}
	end := at
	if !isAbsent(v) {
		if end, err = e.end(v, flow, k.Column-1); err != nil {
			return nil, err
		}
	}
	if flow {
		return replace(e.data, at, end, " "+yamlText(nest(path, value), 0, true)), nil
	}
	out := replace(e.data, at, end, "")
	return insertLine(out, nextLine(out, at), yamlBlock(k.Column+1, path, value)), nil
}

// insert adds a key to a mapping.
func (e *yamlEditor) insert(m *yaml.Node, indent int, path []string, value *Node) ([]byte, error) {
	if m.Style&yaml.FlowStyle != 0 {
		end, err := e.end(m, true, indent)
		if err != nil {
			return nil, err
		}
		member := yamlString(path[0], 0, true) + ": " + yamlText(nest(path[1:], value), 0, true)
		closing := end - 1
		if len(m.Content) == 0 {
			return replace(e.data, e.start(m)+1, closing, member), nil
		}
		inner := bytes.TrimRight(e.data[:closing], " \t\r\n")
		if inner[len(inner)-1] == ',' {
			return replace(e.data, len(inner), len(inner), " "+member), nil
		}
		return replace(e.data, len(inner), len(inner), ", "+member), nil
	}
	if len(m.Content) == 0 {
		return nil, errNotInPlace
	}
	end, err := e.blockEnd(m)
	if err != nil {
		return nil, err
	}
	return insertLine(e.data, nextLine(e.data, end), yamlBlock(m.Content[0].Column-1, path, value)), nil
}

// remove takes a key out of a mapping.
func (e *yamlEditor) remove(m *yaml.Node, j, indent int) ([]byte, error) {
	k, v := m.Content[j], m.Content[j+1]
	flow := m.Style&yaml.FlowStyle != 0
	end, err := e.colon(k, flow)
	if err != nil {
		return nil, err
	}
	if !isAbsent(v) {
		if end, err = e.end(v, flow, k.Column-1); err != nil {
			return nil, err
		}
	}
	from := e.start(k)
	if !flow {
		first := lineStart(e.data, from)
		if len(bytes.TrimSpace(e.data[first:from])) > 0 {
			return nil, errNotInPlace
		}
		return replace(e.data, first, nextLine(e.data, end), ""), nil
	}
	rest := bytes.TrimLeft(e.data[end:], " \t\r\n")
	switch {
	case len(rest) > 0 && rest[0] == ',':
		end = len(e.data) - len(rest) + 1
		for end < len(e.data) && e.data[end] == ' ' {
			end++
		}
	case j > 0:
		before := bytes.TrimRight(e.data[:from], " \t\r\n")
		if len(before) > 0 && before[len(before)-1] == ',' {
			from = len(before) - 1
		}
	}
	return replace(e.data, from, end, ""), nil
}

// yamlBlock writes path and value as block lines, without a final line break.
func yamlBlock(indent int, path []string, value *Node) string {
	var lines []string
	for i, part := range path {
		line := strings.Repeat(" ", indent+2*i) + yamlString(part, 0, false) + ":"
		if i == len(path)-1 {
			if value.Kind == Map && len(value.Items) > 0 {
				lines = append(lines, line)
				for j, k := range value.Names {
					lines = append(lines, yamlBlock(indent+2*i+2, []string{k.Text}, value.Items[j]))
				}
				break
			}
			line += " " + yamlText(value, 0, false)
		}
		lines = append(lines, line)
	}
	return strings.Join(slices.Clip(lines), "\n")
}
