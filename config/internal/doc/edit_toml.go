package doc

import (
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// spliceTOML edits TOML.
func spliceTOML(data []byte, x Edit) ([]byte, error) {
	root, problems := parseTOML(data, nil)
	if len(problems) > 0 {
		return nil, problems[0]
	}
	parent := root
	for i, part := range x.Path {
		if item, ok := itemOf(part, len(parent.Items)); ok && parent.Kind == List {
			parent = parent.Items[item]
			if parent.End > 0 {
				return insertInline(data, parent, x.Path[i+1:], x.Value)
			}
			continue
		}
		at := slices.IndexFunc(parent.Names, func(k Name) bool { return k.Text == part })
		if at < 0 {
			break
		}
		next := parent.Items[at]
		if i == len(x.Path)-1 {
			if x.Value == nil {
				return removeTOML(data, x.Path, next)
			}
			if next.End == 0 { // a table or array of tables: spread over lines
				return nil, errNotInPlace
			}
			if next.Kind == List {
				l := &bracketList{data: data, start: next.Start, end: next.End, items: next.Items, spans: nodeSpans(next.Items), comment: "#"}
				l.render = func(n, _ *Node) (string, error) { return tomlText(n) }
				if out, ok, err := l.splice(x.Value); ok || err != nil {
					return out, err
				}
			}
			text, err := tomlText(keepQuotes(x.Value, next))
			if err != nil {
				return nil, err
			}
			if next.Kind == Text && next.Start < len(data) && data[next.Start] == '\'' && x.Value.Kind == Text && tomlLiteral(x.Value.Text) {
				text = "'" + x.Value.Text + "'"
			}
			return replace(data, next.Start, next.End, text), nil
		}
		if next.Kind != Map && next.Kind != List {
			return nil, errNotInPlace
		}
		if next.End > 0 && next.Kind == Map { // an inline table
			return insertInline(data, next, x.Path[i+1:], x.Value)
		}
		parent = next
	}
	switch {
	case x.Value == nil:
		return data, nil
	case slices.ContainsFunc(x.Path, func(part string) bool { return strings.HasPrefix(part, "\x00") }): // in an array of tables
		return nil, errNotInPlace
	}
	return insertTOML(data, x)
}

func tomlLiteral(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r == '\'' || r < ' ' || r == 0x7f })
}

// insertInline changes or adds a key within an inline table.
func insertInline(data []byte, table *Node, path []string, value *Node) ([]byte, error) {
	if len(path) == 0 {
		return nil, errNotInPlace
	}
	if next := table.Child(path[0]); next != nil {
		last := len(path) == 1
		switch {
		case last && value != nil && next.End > 0:
			text, err := tomlText(keepQuotes(value, next))
			if err != nil {
				return nil, err
			}
			return replace(data, next.Start, next.End, text), nil
		case last || next.Kind != Map || next.End == 0:
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
	closing := table.End - 1
	inner := strings.TrimSpace(string(data[table.Start+1 : closing]))
	if inner == "" {
		return replace(data, table.Start+1, closing, " "+member+" "), nil
	}
	at := table.Start + 1 + len(strings.TrimRight(string(data[table.Start+1:closing]), " \t"))
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
	r := &tomlReader{data: data, lines: newLineIndex(data), state: map[*Node]tomlState{}}
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
			path = append(path, k.Text)
			if x.start < 0 {
				x.start = k.Start
			}
			x.end = k.End
		}
		if e.Kind == unstable.KeyValue {
			x.prefix, x.path, x.list = prefix, append(slices.Clone(prefix), path...), inList
			v := r.value(e.Value(), "", r.valueStart(x.end), 0)
			x.end = v.End
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
func insertTOML(data []byte, x Edit) ([]byte, error) {
	text, err := tomlText(x.Value)
	if err != nil {
		return nil, err
	}
	expressions, err := tomlExpressions(data)
	if err != nil {
		return nil, err
	}
	table, leaf := x.Path[:len(x.Path)-1], x.Path[len(x.Path)-1]
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
		dotted := e.kind == unstable.KeyValue && len(e.path) == len(x.Path) && slices.Equal(e.path[:len(table)], table)
		if (whole || dotted) && len(header) >= best {
			best, at = len(header), i
		}
	}
	switch {
	case at >= 0:
		e := expressions[at]
		line := indentOf(data, firstOf(data, e)) + tomlPath(x.Path[best:]) + " = " + text
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
func removeTOML(data []byte, path []string, n *Node) ([]byte, error) {
	expressions, err := tomlExpressions(data)
	if err != nil {
		return nil, err
	}
	for _, e := range expressions {
		if e.kind != unstable.KeyValue || !slices.Equal(e.path, path) || e.list {
			continue
		}
		if n.End == 0 {
			return nil, errNotInPlace
		}
		return replace(data, lineStart(data, e.start), nextLine(data, e.end), ""), nil
	}
	return nil, errNotInPlace
}
