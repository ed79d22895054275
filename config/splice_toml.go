package config

import (
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// spliceTOML edits TOML.
func spliceTOML(data []byte, x edit) ([]byte, error) {
	root, problems := parseTOML(data, &layer{kind: layerFile, name: "x", format: formatTOML, data: data})
	if len(problems) > 0 {
		return nil, problems[0]
	}
	parent := root
	for i, part := range x.path {
		if item, ok := itemOf(part, len(parent.items)); ok && parent.kind == listNode {
			parent = parent.items[item]
			if parent.end > 0 {
				return insertInline(data, parent, x.path[i+1:], x.value)
			}
			continue
		}
		at := slices.IndexFunc(parent.names, func(k name) bool { return k.text == part })
		if at < 0 {
			break
		}
		next := parent.items[at]
		if i == len(x.path)-1 {
			if x.value == nil {
				return removeTOML(data, x.path, next)
			}
			if next.end == 0 { // a table or array of tables: spread over lines
				return nil, errNotInPlace
			}
			if next.kind == listNode {
				l := &bracketList{data: data, start: next.start, end: next.end, items: next.items, spans: nodeSpans(next.items), comment: "#"}
				l.render = func(n, _ *node) (string, error) { return tomlText(n) }
				if out, ok, err := l.splice(x.value); ok || err != nil {
					return out, err
				}
			}
			text, err := tomlText(keepQuotes(x.value, next))
			if err != nil {
				return nil, err
			}
			if next.kind == textNode && next.start < len(data) && data[next.start] == '\'' && x.value.kind == textNode && tomlLiteral(x.value.text) {
				text = "'" + x.value.text + "'"
			}
			return replace(data, next.start, next.end, text), nil
		}
		if next.kind != mapNode && next.kind != listNode {
			return nil, errNotInPlace
		}
		if next.end > 0 && next.kind == mapNode { // an inline table
			return insertInline(data, next, x.path[i+1:], x.value)
		}
		parent = next
	}
	switch {
	case x.value == nil:
		return data, nil
	case slices.ContainsFunc(x.path, func(part string) bool { return strings.HasPrefix(part, "\x00") }): // in an array of tables
		return nil, errNotInPlace
	}
	return insertTOML(data, x)
}

func tomlLiteral(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r == '\'' || r < ' ' || r == 0x7f })
}

// insertInline changes or adds a key within an inline table.
func insertInline(data []byte, table *node, path []string, value *node) ([]byte, error) {
	if len(path) == 0 {
		return nil, errNotInPlace
	}
	if next := table.child(path[0]); next != nil {
		last := len(path) == 1
		switch {
		case last && value != nil && next.end > 0:
			text, err := tomlText(keepQuotes(value, next))
			if err != nil {
				return nil, err
			}
			return replace(data, next.start, next.end, text), nil
		case last || next.kind != mapNode || next.end == 0:
			return nil, errNotInPlace
		}
		return insertInline(data, next, path[1:], value)
	}
	if value == nil {
		return nil, errNotInPlace
	}
	text, err := tomlText(value)
	if err != nil {
		return nil, err
	}
	member := tomlPath(path) + " = " + text
	closing := table.end - 1
	inner := strings.TrimSpace(string(data[table.start+1 : closing]))
	if inner == "" {
		return replace(data, table.start+1, closing, " "+member+" "), nil
	}
	at := table.start + 1 + len(strings.TrimRight(string(data[table.start+1:closing]), " \t"))
	return replace(data, at, at, ", "+member), nil
}

func tomlPath(path []string) string {
	parts := make([]string, len(path))
	for i, p := range path {
		parts[i] = tomlKey(p)
	}
	return strings.Join(parts, ".")
}

// tomlExpression is one header or key of a document, by its full path.
type tomlExpression struct {
	kind   unstable.Kind
	prefix []string // of the header it stands under
	path   []string // full path
	start  int      // of the first name
	end    int      // of the last byte of the key or value
	list   bool     // within an array of tables
}

// tomlExpressions lists the headers and keys in the order of the document.
func tomlExpressions(data []byte) (out []tomlExpression, err error) {
	var p unstable.Parser
	p.Reset(data)
	r := &tomlReader{data: data, lines: newLineIndex(data), state: map[*node]tomlState{}, layer: &layer{}}
	var prefix []string
	list := map[string]bool{}
	inList := false
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table && e.Kind != unstable.ArrayTable && e.Kind != unstable.KeyValue {
			continue
		}
		var path []string
		x := tomlExpression{kind: e.Kind, start: -1}
		for it := e.Key(); it.Next(); {
			k := r.name(it.Node())
			path = append(path, k.text)
			if x.start < 0 {
				x.start = k.start
			}
			x.end = k.end
		}
		if e.Kind == unstable.KeyValue {
			x.prefix, x.path, x.list = prefix, append(slices.Clone(prefix), path...), inList
			v := r.value(e.Value(), "", r.valueStart(x.end), 0)
			x.end = v.end
		} else {
			prefix, x.path = path, path
			if e.Kind == unstable.ArrayTable {
				list[strings.Join(path, "\x00")] = true
			}
			inList = false
			for i := range path {
				inList = inList || list[strings.Join(path[:i+1], "\x00")]
			}
			x.list = inList
		}
		out = append(out, x)
	}
	return out, p.Error()
}

// insertTOML adds a key that the document does not have: beside its dotted
// siblings, under its header, at the top, or under a new header at the end.
func insertTOML(data []byte, x edit) ([]byte, error) {
	text, err := tomlText(x.value)
	if err != nil {
		return nil, err
	}
	expressions, err := tomlExpressions(data)
	if err != nil {
		return nil, err
	}
	table, leaf := x.path[:len(x.path)-1], x.path[len(x.path)-1]
	best, at := -1, -1 // the longest header that the key can stand under
	for i, e := range expressions {
		if e.list {
			continue
		}
		header := e.path
		if e.kind == unstable.KeyValue {
			header = e.prefix
		}
		if len(header) > len(table) || !slices.Equal(header, table[:len(header)]) {
			continue
		}
		whole := slices.Equal(header, table)
		dotted := e.kind == unstable.KeyValue && len(e.path) == len(x.path) && slices.Equal(e.path[:len(table)], table)
		if (whole || dotted) && len(header) >= best {
			best, at = len(header), i
		}
	}
	switch {
	case at >= 0:
		e := expressions[at]
		line := indentOf(data, firstOf(data, e)) + tomlPath(x.path[best:]) + " = " + text
		return insertLine(data, nextLine(data, e.end), line), nil
	case len(table) == 0: // top-level keys stand before the first header
		for _, e := range expressions {
			if e.kind != unstable.KeyValue {
				return insertLine(data, headerBlock(data, lineStart(data, e.start)), tomlKey(leaf)+" = "+text), nil
			}
		}
		return insertLine(data, len(data), tomlKey(leaf)+" = "+text), nil
	}
	block := "[" + tomlPath(table) + "]\n" + tomlKey(leaf) + " = " + text
	if len(data) > 0 {
		block = "\n" + block
	}
	return insertLine(data, len(data), block), nil
}

// firstOf is the offset of an expression's first character on its line.
func firstOf(data []byte, e tomlExpression) int {
	i := lineStart(data, e.start)
	for i < e.start && (data[i] == ' ' || data[i] == '\t') {
		i++
	}
	return i
}

// headerBlock moves up from a header's line over the comments that belong to
// it.
func headerBlock(data []byte, line int) int {
	for line > 0 {
		above := lineStart(data, line-1)
		if !strings.HasPrefix(strings.TrimSpace(string(data[above:line])), "#") {
			break
		}
		line = above
	}
	return line
}

// removeTOML takes out a key that has a line to itself.
func removeTOML(data []byte, path []string, n *node) ([]byte, error) {
	expressions, err := tomlExpressions(data)
	if err != nil {
		return nil, err
	}
	for _, e := range expressions {
		if e.kind != unstable.KeyValue || !slices.Equal(e.path, path) || e.list {
			continue
		}
		if n.end == 0 {
			return nil, errNotInPlace
		}
		return replace(data, lineStart(data, e.start), nextLine(data, e.end), ""), nil
	}
	return nil, errNotInPlace
}
