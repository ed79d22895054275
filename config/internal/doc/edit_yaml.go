package doc

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlLayout finds where the nodes of a YAML document lie in its text. The
// library says where a node begins; where it ends is found here.
type yamlLayout struct {
	data  []byte
	lines *lineIndex
	// anchors and aliases are the keys where each name stands.
	anchors map[string][]string
	aliases map[string][][]string
}

var errNoEnd = errors.New("the end of a value was not found")

// spot is where a value stands.
type spot struct {
	after  int  // offset after the colon or dash before it, or -1
	indent int  // column of the block collection around it, -1 at the top
	flow   bool // it is within brackets
}

// place notes where a node lies: its text from Start to End, and the elements
// of a collection.
func (l *yamlLayout) place(y *yaml.Node, n *Node, at spot, path []string) {
	n.lay = &layout{spot: at, anchor: y.Anchor, tagged: y.Anchor != "" || y.Style&yaml.TaggedStyle != 0}
	if y.Anchor != "" {
		l.anchors[y.Anchor] = path
	}

	n.Start, n.End = l.start(y), -1
	if n.lay.tagged && !isAbsent(y) {
		n.Start = skipYAML(l.data, n.Start) // the value may stand below its anchor
	}

	switch y.Kind {
	case yaml.AliasNode:
		n.lay.alias = y.Value
		l.aliases[y.Value] = append(l.aliases[y.Value], path)
		i := n.Start
		for i < len(l.data) && !isBlank(l.data[i]) && !(at.flow && strings.IndexByte(",]}", l.data[i]) >= 0) {
			i++
		}
		n.End = i
	case yaml.ScalarNode:
		if n.lay.absent = isAbsent(y); n.lay.absent {
			n.End = n.Start
			return
		}
		if end, err := l.scalarEnd(y, n.Start, at.flow, at.indent); err == nil {
			n.End = end
		}
	case yaml.SequenceNode:
		l.placeList(y, n, path)
	case yaml.MappingNode:
		l.placeMap(y, n, path)
	}
}

func (l *yamlLayout) placeList(y *yaml.Node, n *Node, path []string) {
	n.lay.block = y.Style&yaml.FlowStyle == 0
	if !n.lay.block {
		for i, item := range y.Content {
			l.place(item, n.Items[i], spot{after: -1, indent: -1, flow: true}, append(path[:len(path):len(path)], IndexPart(i)))
			n.lay.begins, n.lay.owner = append(n.lay.begins, l.wholeStart(item)), append(n.lay.owner, i)
			end := n.Items[i].End
			if n.Items[i].lay.absent {
				end = -1
			}
			n.lay.ends = append(n.lay.ends, end)
		}
		n.End = l.closing(n)
		return
	}

	// The first dash is where the list begins; the others stand below it.
	at := skipYAML(l.data, n.Start)
	n.Start = at
	n.lay.column = at - lineStart(l.data, at)

	for i, item := range y.Content {
		begin := l.dash(at, n.lay.column)
		l.place(item, n.Items[i], spot{after: begin + 1, indent: n.lay.column}, append(path[:len(path):len(path)], IndexPart(i)))

		end := n.Items[i].End
		if n.Items[i].lay.absent && begin >= 0 {
			end = begin + 1
			if n.Items[i].lay.tagged {
				end = len(bytes.TrimRight(l.data[:nextLine(l.data, begin)], "\r\n"))
			}
		}
		n.lay.begins, n.lay.owner, n.lay.ends = append(n.lay.begins, begin), append(n.lay.owner, i), append(n.lay.ends, end)
		if begin < 0 || end < 0 {
			n.lay.ends[i] = -1
			return // the others cannot be found either
		}
		at = max(end, begin+1)
	}
	n.End = at
}

// dash finds the next dash in a column from offset at on.
func (l *yamlLayout) dash(at, column int) int {
	isDash := func(i int) bool {
		return i < len(l.data) && l.data[i] == '-' && (i+1 == len(l.data) || isBlank(l.data[i+1]))
	}
	if at-lineStart(l.data, at) == column && isDash(at) {
		return at
	}
	for line := nextLine(l.data, at); line < len(l.data); line = nextLine(l.data, line) {
		i := line + column
		if isDash(i) && len(bytes.Trim(l.data[line:i], " ")) == 0 {
			return i
		}
	}
	return -1
}

func (l *yamlLayout) placeMap(y *yaml.Node, n *Node, path []string) {
	n.lay.block = y.Style&yaml.FlowStyle == 0
	next := 0 // of the names that the document gives itself
	for j := 0; j+1 < len(y.Content); j += 2 {
		k, v := y.Content[j], y.Content[j+1]
		value, owner := (*Node)(nil), -1

		if k.Value == "<<" && k.Tag == "!!merge" {
			value = shadow(v)
			l.placeMerge(v, path)
		} else if next < len(n.Items) {
			owner, value = next, n.Items[next]
			next++
		}

		begin := l.wholeStart(k)
		if j == 0 && n.lay.block {
			n.lay.column = begin - lineStart(l.data, begin)
			n.Start = begin
		}
		colon := l.colon(k, !n.lay.block)
		end := colon

		at := spot{after: colon, indent: n.lay.column, flow: !n.lay.block}
		if owner >= 0 {
			name := k.Value
			if k.Alias != nil {
				name = k.Alias.Value
			}
			l.place(v, value, at, append(path[:len(path):len(path)], name))
			n.Names[owner].Start, n.Names[owner].End = begin, colon
			if !value.lay.absent {
				end = value.End
			} else if value.lay.tagged {
				end = -1
			}
		} else {
			l.place(v, value, at, nil)
			end = value.End
		}

		n.lay.begins, n.lay.ends = append(n.lay.begins, begin), append(n.lay.ends, end)
		n.lay.owner, n.lay.colons = append(n.lay.owner, owner), append(n.lay.colons, colon)
	}

	if !n.lay.block {
		n.End = l.closing(n)
		return
	}
	if last := len(n.lay.ends) - 1; last >= 0 {
		n.End = n.lay.ends[last]
	}
}

// shadow is a tree in the shape of a node for which the document's has none, as
// its keys have become another section's: to find where it ends.
func shadow(y *yaml.Node) *Node {
	n := &Node{}
	switch y.Kind {
	case yaml.SequenceNode:
		for _, item := range y.Content {
			n.Items = append(n.Items, shadow(item))
		}
	case yaml.MappingNode:
		for j := 0; j+1 < len(y.Content); j += 2 {
			if k := y.Content[j]; k.Value != "<<" || k.Tag != "!!merge" {
				n.Names, n.Items = append(n.Names, Name{Text: k.Value}), append(n.Items, shadow(y.Content[j+1]))
			}
		}
	}
	return n
}

// placeMerge notes the sections that a merge key takes keys from.
func (l *yamlLayout) placeMerge(v *yaml.Node, path []string) {
	for _, src := range append(slices.Clone(v.Content), v) {
		if src.Kind == yaml.AliasNode {
			l.aliases[src.Value] = append(l.aliases[src.Value], append(path[:len(path):len(path)], "<<"))
		}
	}
}

// wholeStart is the offset of a node with its anchor and tag.
func (l *yamlLayout) wholeStart(y *yaml.Node) int { return l.lines.offset(y.Line, y.Column) }

// colon is the offset after the colon of a key, or -1.
func (l *yamlLayout) colon(k *yaml.Node, flow bool) int {
	i := l.start(k)
	if k.Kind == yaml.AliasNode {
		for i < len(l.data) && !isBlank(l.data[i]) {
			i++
		}
	} else {
		end, err := l.scalarEnd(k, i, flow, -1)
		if err != nil {
			return -1
		}
		i = end
	}

	for i < len(l.data) && (l.data[i] == ' ' || l.data[i] == '\t') {
		i++
	}
	if i >= len(l.data) || l.data[i] != ':' {
		return -1
	}
	return i + 1
}

// closing is the offset after the bracket that closes a flow collection.
func (l *yamlLayout) closing(n *Node) int {
	i := n.Start + 1
	for _, end := range n.lay.ends {
		if end < 0 {
			return -1
		}
		i = end
	}

	for i < len(l.data) {
		switch c := l.data[i]; {
		case c == '}' || c == ']':
			return i + 1
		case c == '#':
			i = nextLine(l.data, i)
		case isBlank(c) || c == ',' || c == ':':
			i++
		default:
			return -1
		}
	}

	return -1
}

// skipYAML is the offset of the next text after white space and comments.
func skipYAML(data []byte, i int) int {
	for i < len(data) {
		switch {
		case data[i] == '#':
			i = nextLine(data, i)
		case isBlank(data[i]):
			i++
		default:
			return i
		}
	}
	return i
}

// sharedAt returns the anchor that stands at, above or below a path, and a key
// that uses it.
func (l *yamlLayout) sharedAt(path []string) (anchor, user string) {
	names := make([]string, 0, len(l.anchors))
	for name := range l.anchors {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		at := l.anchors[name]
		n := min(len(at), len(path))
		if slices.Equal(at[:n], path[:n]) && len(l.aliases[name]) > 0 {
			return name, Dotted(l.aliases[name][0])
		}
	}
	return "", ""
}

// start is the offset of a node, after its anchor and tag.
func (e *yamlLayout) start(n *yaml.Node) int {
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

// isAbsent reports a value that is not written at all, as in "key:".
func isAbsent(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

func (e *yamlLayout) scalarEnd(n *yaml.Node, i int, flow bool, indent int) (int, error) {
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
		return 0, errNoEnd
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
		return 0, errNoEnd
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return e.blockScalarEnd(i, indent), nil
	}

	return e.plainEnd(n.Value, i, flow)
}

// blockScalarEnd is the end of a | or > scalar: its last line that is indented
// deeper than its key, with blank lines after it only if they are kept.
func (e *yamlLayout) blockScalarEnd(i, indent int) int {
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
func (e *yamlLayout) plainEnd(value string, i int, flow bool) (int, error) {
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

	return 0, errNoEnd
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

// yamlEditor changes a YAML document: block collections by whole lines, those in
// brackets between their commas.
type yamlEditor struct {
	*editor
	layout *yamlLayout
}

// read parses the document with the layout of every node.
func (e *yamlEditor) read() (*Node, []Mistake) {
	if root, mistakes := Parse(YAML, e.data, nil); root == nil || len(mistakes) > 0 {
		return root, mistakes
	}
	top, err := yamlDocument(e.data)
	if err != nil || top == nil || len(top.Content) == 0 {
		return nil, nil
	}

	e.layout = &yamlLayout{
		data: e.data, lines: newLineIndex(e.data),
		anchors: map[string][]string{}, aliases: map[string][][]string{},
	}
	if bytes.HasPrefix(e.data, []byte("\ufeff")) { // the library does not count it
		e.layout.lines.starts[0] = len("\ufeff")
	}

	r := &yamlReader{left: maxNodes}
	root := r.node(top.Content[0], "", 0, false)
	e.layout.place(top.Content[0], root, spot{after: -1, indent: -1}, nil)
	return root, r.mistakes
}

func (e *yamlEditor) wanted(_, want *Node) *Node { return want }

func (e *yamlEditor) whole(old, want *Node) error {
	switch {
	case old != nil && old.Kind != Null:
		return e.change(old, want, nil)
	case old != nil && old.lay != nil && !old.lay.absent:
		return refuse(nil, "the document is null")
	}
	e.insertLines(len(e.data), yamlMembers(want, 0))
	return nil
}

func (e *yamlEditor) collection(old, _ *Node, path []string) (done bool, err error) {
	if old.Kind != Map || !old.Alias {
		return false, nil
	}
	name := ""
	if old.lay != nil {
		name = old.lay.alias
	}
	return true, refuse(path, "it is *%s; change the section that it names, %s", name, e.anchorKey(name))
}

func (e *yamlEditor) rebuild(old *Node, x elements, order []int, fresh *Node, path []string, mark int) error {
	if old.lay != nil && old.lay.block {
		return e.rebuildBlock(old, x, order, fresh, mark)
	}
	return e.rebuildBrackets(old, x, order, fresh, path, mark)
}

func (e *yamlEditor) text(n, old *Node, flow bool) (string, error) {
	return yamlText(n, quoteOf(old), flow), nil
}

func (e *yamlEditor) name(text string) string { return yamlString(text, 0, true) + ": " }

func (e *yamlEditor) comment() string { return "#" }

func (e *yamlEditor) shared(changes []Change) error {
	if e.layout == nil { // an empty document
		return nil
	}
	for _, c := range changes {
		if name, user := e.layout.sharedAt(c.Path); name != "" {
			return refuse(c.Path, "%s is also used at %s by *%s", e.anchorKey(name), user, name)
		}
	}
	return nil
}

// anchorKey is the key at which an anchor stands.
func (e *yamlEditor) anchorKey(name string) string {
	if e.layout.anchors[name] == nil {
		return "&" + name
	}
	return Dotted(e.layout.anchors[name])
}

// rebuildBlock is rebuild for a YAML collection in block style. Each element
// is whole lines: the comments directly above it, its text, and comments below
// it that are indented deeper.
func (e *yamlEditor) rebuildBlock(old *Node, x elements, order []int, fresh *Node, mark int) error {
	patches := e.take(mark)
	column := old.lay.column
	inline := len(bytes.TrimSpace(e.data[lineStart(e.data, x.begins[0]):x.begins[0]])) > 0

	pieces := make([]blockPiece, len(x.begins))
	for i, begin := range x.begins {
		p := &pieces[i]
		from := lineStart(e.data, begin)
		switch {
		case i == 0 && inline:
			p.float, p.near = begin, begin
		case i == 0:
			p.float, p.near = from, e.commentsAbove(from, 0)
			if old.Kind == Map {
				p.near = from // what stands above the first key is about all of them
			}
			p.float = p.near
		default:
			p.float = pieces[i-1].end
			p.near = max(p.float, e.commentsAbove(from, p.float))
		}

		p.begin = max(from, p.near)
		if i == 0 && inline {
			p.begin = begin
		}

		limit := len(e.data)
		if i+1 < len(x.begins) {
			limit = lineStart(e.data, x.begins[i+1])
		}
		p.end = nextLine(e.data, x.ends[i])
		for p.end < limit && e.commentColumn(p.end) > column {
			p.end = nextLine(e.data, p.end)
		}
	}

	first, last := pieces[0].near, pieces[len(pieces)-1].end
	b := &blocks{document: e.document, pieces: pieces, patches: patches, inline: inline, column: column}
	text := b.join(order, func(i int) string { return e.freshBlock(old, x, fresh, i) })
	if last == len(e.data) && (last == 0 || e.data[last-1] != '\n') {
		text = strings.TrimSuffix(text, e.eol)
	}
	e.patch(first, last, text)
	return nil
}

// freshBlock writes new element i as block lines, in the style of the others.
func (e *yamlEditor) freshBlock(old *Node, x elements, fresh *Node, i int) string {
	column := old.lay.column
	if old.Kind == Map {
		return yamlMember(fresh.Names[i].Text, fresh.Items[i], column)
	}

	gap, flow := 1, false
	for j, item := range old.Items {
		if item.Start > x.begins[j] && item.Start < nextLine(e.data, x.begins[j]) && !item.lay.absent && !item.lay.tagged {
			gap = item.Start - x.begins[j] - 1
		}
		flow = item.Kind == Map && item.lay.alias == "" && !item.lay.block
	}

	dash := strings.Repeat(" ", column) + "-" + strings.Repeat(" ", gap)
	item := fresh.Items[i]
	if item.Kind == Map && len(item.Items) > 0 && !flow {
		return dash + strings.TrimLeft(yamlMembers(item, column+1+gap), " ")
	}
	return dash + yamlValue(item, column, false)
}

// replace puts want in place of a value.
func (e *yamlEditor) replace(old, want *Node, path []string) error {
	lay := old.lay
	if lay == nil || !lay.absent && old.End < 0 {
		return refuse(path, "where it ends was not found")
	}
	if (lay.block || lay.absent) && lay.tagged {
		if users := e.layout.aliases[lay.anchor]; lay.anchor != "" && len(users) > 0 {
			return refuse(path, "it is also used at %s by *%s", Dotted(users[0]), lay.anchor)
		}
		return refuse(path, "a tag or an anchor belongs to it")
	}

	after := lay.after
	switch {
	case lay.flow:
		e.patch(old.Start, old.End, yamlText(want, quoteOf(old), true))
		if lay.absent {
			e.patches[len(e.patches)-1] = patch{after, after, " " + yamlText(want, 0, true)}
		}
		return nil
	case after < 0 && want.Kind == Map && len(old.Items) == 0: // {} alone
		e.patch(old.Start, old.End, e.lines(yamlMembers(want, 0)))
		return nil
	case after < 0 && empty(want): // a document without text is a mistake
		e.patch(old.Start, old.End, "{}")
		return nil
	case after < 0:
		return refuse(path, "its place in the document was not found")
	}

	inList := e.data[after-1] == '-'
	lines := ""
	switch {
	case want.Kind == Map && len(want.Items) > 0 && (lay.absent || old.Kind == Null):
		lines = yamlMembers(want, lay.indent+2)
	case sections(want) && (lay.absent || old.Kind == Null || old.Kind == List && len(old.Items) == 0):
		lines = yamlItems(want, lay.indent+2)
	case want.Kind == Map && len(want.Items) == 0 && lay.block && !inList: // a key without a value says the same
		e.patch(nextLine(e.data, after), nextLine(e.data, old.End), "")
		return nil
	}

	switch {
	case lines != "" && inList:
		end := max(after, old.End)
		e.patch(after, end, e.lines(" "+strings.TrimLeft(lines, " ")))
	case lines != "":
		if !lay.absent {
			e.patch(after, old.End, "")
		}
		e.insertLines(nextLine(e.data, max(after, old.End)), lines)
	case lay.absent:
		e.patch(after, after, e.lines(" "+yamlValue(want, lay.indent, false)))
	case lay.block && lineStart(e.data, old.Start) > after: // a comment beside the key stays
		e.patch(after, after, " "+yamlText(want, 0, false))
		if from, to := nextLine(e.data, after), nextLine(e.data, old.End); to > from {
			e.patch(from, to, "")
		}
	case lay.block:
		e.patch(after, old.End, " "+yamlText(want, 0, false))
	default:
		e.patch(old.Start, old.End, e.lines(e.scalar(old, want)))
	}
	return nil
}

// scalar writes want in the style of the scalar old.
func (e *yamlEditor) scalar(old, want *Node) string {
	if want.Kind == Text && !want.Plain && (old.Style == '|' || old.Style == '>') {
		indent := 0 // of the lines that stand there
		for i := nextLine(e.data, old.Start); i < old.End; i = nextLine(e.data, i) {
			line := e.data[i:nextLine(e.data, i)]
			if text := bytes.TrimLeft(line, " "); len(bytes.TrimSpace(text)) > 0 {
				indent = len(line) - len(text)
				break
			}
		}
		if text, ok := blockScalar(want.Text, old.Style, max(indent, old.lay.indent+1, 1)); ok {
			return text
		}
	}
	return yamlText(want, quoteOf(old), false)
}

// quoteOf is the quote of a scalar, to be kept.
func quoteOf(n *Node) byte {
	if n != nil && (n.Style == '"' || n.Style == '\'') {
		return n.Style
	}
	return 0
}

// sections reports a list of sections alone.
func sections(n *Node) bool {
	if n.Kind != List || len(n.Items) == 0 {
		return false
	}
	for _, item := range n.Items {
		if item.Kind != Map || len(item.Items) == 0 {
			return false
		}
	}
	return true
}
