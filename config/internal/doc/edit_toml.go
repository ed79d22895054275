package doc

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// tomlLayout lists the headers and keys of a TOML document in their order: a
// table is spread over them.
type tomlLayout struct {
	lines []tomlLine
}

// tomlLine is a header or a key with its value.
type tomlLine struct {
	isHeader bool
	section  *Node // the table of the header that it stands under, or is
	parent   *Node // of a key: the table that has it, by a dotted key another
	leaf     *Node
	start    int // of the first name
	end      int // after the key's value, or after the header's last name
}

// header notes a [header] or [[header]].
func (l *tomlLayout) header(r *tomlReader, e *unstable.Node, table *Node) {
	if l == nil || table == nil {
		return
	}
	start, end := tomlKeys(r, e)
	l.lines = append(l.lines, tomlLine{isHeader: true, section: table, start: start, end: end})
}

// keyValue notes a key of a section.
func (l *tomlLayout) keyValue(r *tomlReader, e *unstable.Node, section, parent, leaf *Node) {
	if l == nil || leaf == nil {
		return
	}
	start, _ := tomlKeys(r, e)
	l.lines = append(l.lines, tomlLine{section: section, parent: parent, leaf: leaf, start: start, end: leaf.End})
}

func tomlKeys(r *tomlReader, e *unstable.Node) (start, end int) {
	start = -1
	for it := e.Key(); it.Next(); {
		k := r.name(it.Node())
		if start < 0 {
			start = k.Start
		}
		end = k.End
	}
	return start, end
}

// tomlEditor changes a TOML document: tables by their lines, what is inline
// between its commas.
type tomlEditor struct {
	*editor
	layout *tomlLayout
}

// read parses the document with the layout of its tables.
func (e *tomlEditor) read() (*Node, []Mistake) {
	if root, mistakes := Parse(TOML, e.data, nil); len(mistakes) > 0 {
		return root, mistakes
	}
	e.layout = &tomlLayout{}
	data := e.data
	if trimmed := bytes.TrimPrefix(data, []byte("\ufeff")); len(trimmed) != len(data) {
		data = append([]byte("   "), trimmed...)
	}
	root, mistakes := readTOML(data, nil, e.layout)

	// Tables and arrays of tables are marked by a layout: they are no text of
	// their own.
	root.End = 0
	markTables(root)
	return root, mistakes
}

func (e *tomlEditor) whole(old, want *Node) error { return e.table(old, want, nil) }

func (e *tomlEditor) collection(old, want *Node, path []string) (done bool, err error) {
	switch {
	case old.lay != nil && old.Kind == Map:
		return true, e.table(old, want, path)
	case old.lay != nil:
		return true, e.tables(old, want, path)
	case old.Kind == Map && dottedInside(old): // holds no comment
		return true, e.replaceText(old, want, path)
	}
	return false, nil
}

func (e *tomlEditor) rebuild(old *Node, x elements, order []int, fresh *Node, path []string, mark int) error {
	return e.rebuildBrackets(old, x, order, fresh, path, mark)
}

func (e *tomlEditor) replace(old, want *Node, path []string) error {
	return e.replaceText(old, want, path)
}

func (e *tomlEditor) name(text string) string { return tomlKey(text) + " = " }

func (e *tomlEditor) comment() string { return "#" }

func (e *tomlEditor) shared([]Change) error { return nil }

func markTables(n *Node) {
	if n.End > 0 || n.Kind == Text {
		return
	}
	n.lay = &layout{}
	for _, item := range n.Items {
		markTables(item)
	}
}

// dottedInside reports an inline table with tables that dotted keys made.
func dottedInside(n *Node) bool {
	return slices.ContainsFunc(n.Items, func(item *Node) bool { return item.End == 0 })
}

// wanted takes the tables out of want that are gone with their last key: those
// that have no header of their own.
func (e *tomlEditor) wanted(old, want *Node) *Node {
	if old == want || old == nil || old.lay == nil || old.Kind != Map || want.Kind != Map {
		return want
	}
	out, find := *want, old.Finder()
	out.Names, out.Items = nil, nil

	for i, item := range want.Items {
		was := (*Node)(nil)
		if j := find(want.Names[i].Text); j >= 0 {
			was = old.Items[j]
		}
		item = e.wanted(was, item)
		emptied := was != nil && was.lay != nil && was.Kind == Map && len(was.Items) > 0 && item.Kind == Map && len(item.Items) == 0
		if emptied && !e.hasHeader(was) {
			continue
		}
		out.Names, out.Items = append(out.Names, want.Names[i]), append(out.Items, item)
	}

	return &out
}

// hasHeader reports a table with a header of its own.
func (e *tomlEditor) hasHeader(n *Node) bool {
	return slices.ContainsFunc(e.layout.lines, func(l tomlLine) bool { return l.isHeader && l.section == n })
}

// within lists the lines that make up a table, with those of tables in it.
func (e *tomlEditor) within(n *Node) (at []int) {
	nodes := map[*Node]bool{}
	n.Visit(func(n *Node) { nodes[n] = true })
	for i, l := range e.layout.lines {
		if l.isHeader && nodes[l.section] || !l.isHeader && nodes[l.leaf] {
			at = append(at, i)
		}
	}
	return at
}

// table changes the keys of a table that headers or dotted keys make.
func (e *tomlEditor) table(old, want *Node, path []string) error {
	removed, added, err := e.members(old, want, path, func(i int, value *Node, path []string) (bool, error) {
		if old.Items[i].lay == nil {
			return false, nil
		}
		return true, e.replaceTable(old, old.Names[i].Text, old.Items[i], value, path)
	})
	if err != nil {
		return err
	}

	for i := range old.Items {
		if removed[i] {
			e.remove(old.Items[i])
		}
	}

	if added == nil {
		return nil
	}

	// Single keys go first: after a header they would be another table's.
	var tables []int
	for i, k := range added.Names {
		item := added.Items[i]
		if (item.Kind == Map && len(item.Items) > 0 || sections(item)) && !e.dotted(old) {
			tables = append(tables, i)
			continue
		}
		if err := e.insertKey(old, k.Text, item, path); err != nil {
			return err
		}
	}

	for _, i := range tables {
		full := append(tomlPath(path), added.Names[i].Text)
		text, err := tomlTables(full, added.Items[i])
		if err != nil {
			return fmt.Errorf("key %s: %w", Dotted(append(path[:len(path):len(path)], added.Names[i].Text)), err)
		}
		e.insertTable(old, text)
	}
	return nil
}

// tomlPath leaves the indexes out of a path: a header names the last item.
func tomlPath(path []string) (out []string) {
	for _, part := range path {
		if !strings.HasPrefix(part, "\x00") {
			out = append(out, part)
		}
	}
	return out
}

// dotted reports a table that dotted keys made, which no header can add to.
func (e *tomlEditor) dotted(n *Node) bool {
	if e.hasHeader(n) {
		return false
	}
	for _, l := range e.layout.lines {
		if !l.isHeader && l.parent == n && l.section != n {
			return true
		}
	}
	return false
}

// remove takes out the lines of a value or table, with the comments
// directly above. Of the empty lines around a table one goes with it.
func (e *tomlEditor) remove(n *Node) {
	lines := e.within(n)
	for k := 0; k < len(lines); {
		first := k
		for k++; k < len(lines) && lines[k] == lines[k-1]+1; k++ {
		}

		from, _ := e.block(lines[first])
		_, to := e.block(lines[k-1])
		l := e.layout.lines[lines[first]]
		switch {
		case l.isHeader && to < len(e.data) && len(bytes.TrimSpace(e.data[to:nextLine(e.data, to)])) == 0:
			to = nextLine(e.data, to)
		case !l.isHeader && (lines[first] == 0 || e.layout.lines[lines[first]-1].isHeader):
			from = lineStart(e.data, l.start) // comments at the top of a table are about all of it
		}
		e.patch(from, to, "")
	}
}

// block is the range of a line with the comments directly above it.
func (e *tomlEditor) block(i int) (from, to int) {
	l := e.layout.lines[i]
	floor := 0
	if i > 0 {
		floor = nextLine(e.data, e.layout.lines[i-1].end)
	}
	return e.commentsAbove(lineStart(e.data, l.start), floor), nextLine(e.data, l.end)
}

// insertKey adds a key to a table: after its last key, beside its dotted
// siblings, under its header, at the top, or under a new header.
func (e *tomlEditor) insertKey(table *Node, name string, value *Node, path []string) error {
	text, err := tomlText(value)
	if err != nil {
		return fmt.Errorf("key %s: %w", Dotted(append(path[:len(path):len(path)], name)), err)
	}
	root := len(path) == 0

	after, dotted, header := -1, -1, -1
	for i, l := range e.layout.lines {
		switch {
		case l.isHeader && l.section == table:
			header = i
		case !l.isHeader && l.section == table:
			after = i
		case !l.isHeader && l.parent == table:
			dotted = i
		}
	}

	line := func(i int, prefix string) {
		at := e.layout.lines[i]
		first := lineStart(e.data, at.start)
		indent := e.data[first : len(e.data)-len(bytes.TrimLeft(e.data[first:], " \t"))]
		e.insertLines(nextLine(e.data, at.end), string(indent)+prefix+tomlKey(name)+" = "+text)
	}

	switch {
	case after >= 0:
		line(after, "")
	case dotted >= 0:
		names := strings.TrimRight(string(e.data[e.layout.lines[dotted].start:e.lastName(dotted)]), " \t")
		line(dotted, names)
	case header >= 0:
		line(header, "")
	case root && len(e.layout.lines) > 0:
		from, _ := e.block(0)
		e.insertLines(from, tomlKey(name)+" = "+text)
	case root:
		e.insertLines(len(e.data), tomlKey(name)+" = "+text)
	default:
		e.insertTable(table, "["+tomlKeyPath(tomlPath(path))+"]\n"+tomlKey(name)+" = "+text)
	}

	return nil
}

// lastName is where the last name of a dotted key begins.
func (e *tomlEditor) lastName(i int) int {
	l := e.layout.lines[i]
	for j, item := range l.parent.Items {
		if item == l.leaf {
			return l.parent.Names[j].Start
		}
	}
	return l.start
}

// insertTable adds the lines of a new table after the last line of the table
// around it.
func (e *tomlEditor) insertTable(around *Node, text string) {
	lines := e.within(around)
	if around.lay != nil && len(e.layout.lines) > 0 && len(lines) == 0 {
		lines = []int{len(e.layout.lines) - 1}
	}
	if len(lines) == 0 {
		if len(e.data) > 0 {
			text = "\n" + text
		}
		e.insertLines(len(e.data), text)
		return
	}
	_, to := e.block(lines[len(lines)-1])
	to = e.commentsBelow(to)
	e.insertLines(to, "\n"+text)
}

// tables changes an array of tables. Each item is the lines from its
// header to the next one that is not within it.
func (e *tomlEditor) tables(old, want *Node, path []string) error {
	order, err := e.pairs(old, want)
	if err != nil {
		return err
	}
	if !sections(want) {
		return refuse(path, "its items are tables, and what comes is not")
	}

	mark := len(e.patches)
	if err := e.changePaired(old, want, order, path); err != nil {
		return err
	}

	if inPlace(order, len(old.Items)) {
		return nil
	}
	e.noteTwins(old, order, path)

	slots, together := e.slots(old)
	text := func(i int) (string, error) {
		return tomlTables(tomlPath(path), &Node{Kind: List, Items: want.Items[i : i+1]})
	}
	if !together {
		return e.scatteredTables(slots, order, text, path)
	}

	patches := e.take(mark)
	var fresh []string
	for i, j := range order {
		if j >= 0 {
			continue
		}
		block, err := text(i)
		if err != nil {
			return fmt.Errorf("key %s: %w", Dotted(path), err)
		}
		fresh = append(fresh, block)
	}

	spaced := len(slots) < 2
	for i := 1; i < len(slots); i++ {
		spaced = spaced || slots[i].near > slots[i-1].end
	}

	out := ""
	if spaced {
		out = e.spaceTables(slots, order, patches, fresh)
	} else {
		b := &blocks{document: e.document, pieces: slots, patches: patches}
		out = b.join(order, func(i int) string { return fresh[i] })
	}

	first, last := slots[0].near, slots[len(slots)-1].end
	if last == len(e.data) && e.data[last-1] != '\n' {
		out = strings.TrimSuffix(out, e.eol)
	}
	e.patch(first, last, out)
	return nil
}

// spaceTables writes items with the empty lines between them kept.
func (e *tomlEditor) spaceTables(slots []blockPiece, order []int, patches []patch, fresh []string) string {
	var out strings.Builder
	next := 0
	floated := make([]bool, len(slots))

	float := func(i int) {
		text := string(e.data[slots[i].float:slots[i].near])
		if !floated[i] && strings.TrimSpace(text) != "" {
			floated[i] = true
			out.WriteString(text)
		}
	}

	for k, i := range order {
		block := ""
		if i < 0 {
			block = e.lines(fresh[next]) + e.eol
			next++
		} else {
			for j := 0; j <= i; j++ {
				float(j)
			}
			block = string(e.data[slots[i].near:slots[i].begin]) + e.cut(slots[i].begin, slots[i].end, patches)
			if !strings.HasSuffix(block, "\n") {
				block += e.eol
			}
		}

		if text := out.String(); k > 0 && !strings.HasSuffix(text, e.eol+e.eol) {
			out.WriteString(e.eol)
		}
		out.WriteString(block)
	}

	for i := range slots {
		float(i)
	}
	return out.String()
}

// slots are the ranges of the items of an array of tables, and whether nothing
// else stands between them.
func (e *tomlEditor) slots(list *Node) (slots []blockPiece, together bool) {
	together = true
	last := -1
	for i, item := range list.Items {
		at := e.within(item)
		from, _ := e.block(at[0])
		end := nextLine(e.data, e.layout.lines[at[len(at)-1]].end)
		s := blockPiece{near: from, begin: lineStart(e.data, e.layout.lines[at[0]].start), end: e.commentsBelow(end), float: from}

		if i > 0 {
			together = together && at[0] == last+1
			s.float = slots[i-1].end
		}
		together = together && at[len(at)-1]-at[0] == len(at)-1
		last = at[len(at)-1]
		slots = append(slots, s)
	}

	return slots, together
}

// scatteredTables changes an array of tables with other tables in between:
// items go and come, but keep their order.
func (e *tomlEditor) scatteredTables(slots []blockPiece, order []int, text func(i int) (string, error), path []string) error {
	kept, last := map[int]bool{}, -1
	for i, j := range order {
		if j >= 0 && j < last || j >= 0 && i > 0 && order[i-1] < 0 {
			return refuse(path, "other tables stand between its items")
		}
		if j >= 0 {
			kept[j], last = true, j
		}
	}

	for j, s := range slots {
		if !kept[j] {
			e.patch(s.near, s.end, "")
		}
	}

	for i, j := range order {
		if j < 0 {
			block, err := text(i)
			if err != nil {
				return fmt.Errorf("key %s: %w", Dotted(path), err)
			}
			e.insertLines(slots[len(slots)-1].end, "\n"+block)
		}
	}

	return nil
}

// replaceTable puts a value in place of a table or an array of tables.
func (e *tomlEditor) replaceTable(parent *Node, name string, old, want *Node, path []string) error {
	switch {
	case want.Kind == Map && old.Kind == Map:
		return e.table(old, want, path)
	case old.Kind == List && sections(want):
		return e.tables(old, want, path)
	}
	e.remove(old)
	return e.insertKey(parent, name, want, path[:len(path)-1])
}

// tomlTables writes a table, or an array of tables, with headers.
func tomlTables(path []string, n *Node) (string, error) {
	if n.Kind == List {
		blocks := make([]string, len(n.Items))
		for i, item := range n.Items {
			body, err := tomlBody(path, item)
			if err != nil {
				return "", err
			}
			blocks[i] = "[[" + tomlKeyPath(path) + "]]" + body
		}
		return strings.Join(blocks, "\n\n"), nil
	}

	body, err := tomlBody(path, n)
	if strings.HasPrefix(body, "\n\n") { // tables alone, which name this one
		return body[2:], err
	}
	return "[" + tomlKeyPath(path) + "]" + body, err
}

// tomlBody writes the keys of a table, each after a line break: single values
// first, tables in it after them.
func tomlBody(path []string, n *Node) (string, error) {
	var keys, tables strings.Builder
	for i, k := range n.Names {
		item := n.Items[i]
		if item.Kind == Map && len(item.Items) > 0 || sections(item) {
			text, err := tomlTables(append(slices.Clone(path), k.Text), item)
			if err != nil {
				return "", err
			}
			tables.WriteString("\n\n" + text)
			continue
		}

		text, err := tomlText(item)
		if err != nil {
			return "", err
		}
		keys.WriteString("\n" + tomlKey(k.Text) + " = " + text)
	}

	return keys.String() + tables.String(), nil
}

func tomlKeyPath(path []string) string {
	parts := make([]string, len(path))
	for i, p := range path {
		parts[i] = tomlKey(p)
	}
	return strings.Join(parts, ".")
}

// text writes a value in the style of the one that it replaces: literal
// strings and those over lines stay so where they can.
func (e *tomlEditor) text(n, old *Node, _ bool) (string, error) {
	text, err := tomlText(n)
	if err != nil || old == nil || old.Kind != Text || old.Plain || n.Kind != Text || n.Plain {
		return text, err
	}
	was := e.data[old.Start:old.End]

	literal := !strings.ContainsFunc(n.Text, func(r rune) bool { return r != '\n' && r != '\t' && unprintable(r) })
	switch {
	case bytes.HasPrefix(was, []byte("'''")):
		if literal && !strings.Contains(n.Text, "'''") && !strings.HasSuffix(n.Text, "'") {
			return e.lines("'''\n" + n.Text + "'''"), nil
		}
	case bytes.HasPrefix(was, []byte(`"""`)):
		lines := strings.Split(n.Text, "\n")
		for i, line := range lines {
			quoted := QuoteJSON(line)
			lines[i] = quoted[1 : len(quoted)-1]
		}
		return e.lines(`"""` + "\n" + strings.Join(lines, "\n") + `"""`), nil
	case was[0] == '\'':
		if literal && !strings.ContainsAny(n.Text, "'\n") {
			return "'" + n.Text + "'", nil
		}
	}

	return text, nil
}
