package doc

import (
	"strings"
)

// layout is where the parts of a collection lie in its text. JSON, and what is
// inline in TOML, need none: the nodes' own ranges say it.
type layout struct {
	spot
	block  bool // YAML: block style
	absent bool // YAML: nothing is written
	column int  // of the dashes or keys of a block, in bytes from 0
	begins []int
	ends   []int // of the elements; -1 where unknown
	owner  []int // index into Items of each element, -1 for a merge key
	colons []int // of a map: offset after the colon of each element
	tagged bool  // a tag or an anchor stands before the value
	anchor string
	alias  string // the value is written as *alias
}

// elements are the ranges of a collection's members or items.
type elements struct {
	begins, ends []int
}

// elementsOf finds the elements of a collection, or reports that it cannot.
func elementsOf(n *Node) (x elements, ok bool) {
	if n.lay != nil {
		for _, end := range n.lay.ends {
			ok = ok || end < 0
		}
		return elements{n.lay.begins, n.lay.ends}, !ok
	}

	for i, item := range n.Items {
		begin := item.Start
		if n.Kind == Map {
			begin = n.Names[i].Start
		}
		if item.End <= begin {
			return x, false // a table that dotted keys made
		}
		x.begins, x.ends = append(x.begins, begin), append(x.ends, item.End)
	}

	return x, true
}

// keepMembers is the order of a map's elements without those that go.
func keepMembers(n *Node, removed map[int]bool) (order []int) {
	if n.lay != nil {
		for j, i := range n.lay.owner {
			if i < 0 || !removed[i] {
				order = append(order, j)
			}
		}
		return order
	}
	for i := range n.Items {
		if !removed[i] {
			order = append(order, i)
		}
	}
	return order
}

// piece is one element of a collection in brackets, with what stands around it.
type piece struct {
	float string // what ends in an empty line, apart from it and from the one before
	head  string // comments and white space before it
	body  string
	tail  string // what stands on its line after it, its comma included
	comma int    // offset of the comma in tail, or -1
	at    int    // its place in the document, or -1 for a new one
	line  int    // the place of the one that begins its line
}

func (p piece) ownLine() bool { return strings.Contains(p.head, "\n") }

// brackets is a collection in brackets, taken apart.
type brackets struct {
	open     string // after the opening bracket, on its line
	pieces   []piece
	close    string // before the closing bracket
	trailing bool   // a comma stands after the last element
}

// takeApart splits the text between the brackets, with patches applied.
func takeApart(d *document, mark string, n *Node, x elements, patches []patch) brackets {
	var out brackets
	inner, closing := n.Start+1, n.End-1
	if len(x.begins) == 0 {
		out.open = string(d.data[inner:closing])
		if i := strings.LastIndexByte(out.open, '\n'); i >= 0 { // comments alone
			out.open, out.close = strings.TrimRight(out.open[:i], "\r"), out.open[i:]
		}
		return out
	}

	first := string(d.data[inner:x.begins[0]])
	split := strings.IndexByte(first, '\n')
	if split < 0 {
		split = len(first) - len(strings.TrimLeft(first, " \t"))
	} else if split > 0 && first[split-1] == '\r' {
		split--
	}
	out.open = first[:split]

	head := first[split:]
	for i, begin := range x.begins {
		end := closing
		if i+1 < len(x.begins) {
			end = x.begins[i+1]
		}

		gap := string(d.data[x.ends[i]:end])
		comma, split := splitGap(gap, mark)
		p := piece{body: d.cut(begin, x.ends[i], patches), tail: gap[:split], comma: comma, at: i, line: i}
		p.float, p.head = splitHead(head, mark)
		if i > 0 && !p.ownLine() {
			p.line = out.pieces[i-1].line
		}

		if comma >= split {
			p.comma = -1 // the comma begins a later line
			gap = gap[:comma] + gap[comma+1:]
		}

		out.pieces = append(out.pieces, p)
		head = gap[split:]
		if i+1 == len(x.begins) {
			out.close, out.trailing = head, comma >= 0
		}
	}
	return out
}

// splitGap finds the comma in the text after an element, and where what
// belongs to the element ends: at its line's end, or after the comma where the
// next one stands on the same line.
func splitGap(gap, mark string) (comma, split int) {
	comma, line := -1, -1
	for i := 0; i < len(gap); i++ {
		switch c := gap[i]; {
		case c == '\n' && line < 0:
			line = i
			if i > 0 && gap[i-1] == '\r' {
				line--
			}
		case c == ',' && comma < 0:
			comma = i
		case strings.HasPrefix(gap[i:], mark):
			if end := strings.IndexByte(gap[i:], '\n'); end >= 0 {
				i += end - 1
			} else {
				i = len(gap)
			}
		case mark == "//" && strings.HasPrefix(gap[i:], "/*"):
			if end := strings.Index(gap[i:], "*/"); end >= 0 {
				i += end + 1
			}
		}
	}

	switch {
	case line >= 0:
		return comma, line
	case comma >= 0:
		return comma, comma + 1
	}

	return comma, len(strings.TrimRight(gap, " \t"))
}

// splitHead takes what floats off the head of an element: all up to the last
// empty line that is in no comment.
func splitHead(head, mark string) (float, near string) {
	line, split := -1, 0
	for i := 0; i < len(head); i++ {
		switch {
		case head[i] == '\n':
			if line >= 0 && strings.TrimSpace(head[line:i]) == "" {
				split = len(strings.TrimSuffix(head[:i], "\r"))
			}
			line = i
		case strings.HasPrefix(head[i:], mark):
			if end := strings.IndexByte(head[i:], '\n'); end >= 0 {
				i += end - 1
			} else {
				i = len(head)
			}
		case mark == "//" && strings.HasPrefix(head[i:], "/*"):
			if end := strings.Index(head[i+2:], "*/"); end >= 0 {
				line, i = -1, i+2+end+1
			}
		}
	}
	return head[:split], head[split:]
}

// headLike is what stands before a new element, in the style of the others.
func (b *brackets) headLike() string {
	for i := len(b.pieces) - 1; i >= 0; i-- {
		if p := b.pieces[i]; p.ownLine() {
			return "\n" + p.head[strings.LastIndexByte(p.head, '\n')+1:]
		}
	}
	if len(b.pieces) == 0 && strings.Contains(b.close, "\n") {
		return b.close + "  "
	}
	return ""
}

// join writes the pieces with commas between them. What floats between two of
// them keeps its place.
func (b *brackets) join(pieces []piece, comment string) string {
	if len(pieces) == 0 {
		if strings.TrimSpace(b.open) == "" && strings.TrimSpace(b.close) == "" {
			return ""
		}
		return b.open + b.close
	}

	j := joiner{brackets: b, there: make([]bool, len(b.pieces)), floated: make([]bool, len(b.pieces))}
	for _, p := range pieces {
		if p.at >= 0 {
			j.there[p.at] = true
		}
	}
	j.out.WriteString(b.open)
	openLine := endsInComment(b.open, comment)
	trailing := b.trailing && strings.Contains(b.close, "\n")

	for i, p := range pieces {
		before := j.out.Len()
		head := j.head(pieces, i)
		if openLine && j.out.Len() == before && !strings.Contains(head, "\n") {
			head = "\n" + head
		}
		j.out.WriteString(head)
		j.out.WriteString(p.body)

		// A comma keeps its place; a new one stands right after the element.
		tail, wanted := p.tail, i+1 < len(pieces) || trailing
		switch {
		case wanted && p.comma < 0 && endsInComment(tail, comment):
			tail = "," + tail
		case wanted && p.comma < 0:
			tail += ","
		case !wanted && p.comma >= 0:
			tail = tail[:p.comma] + tail[p.comma+1:]
			if i+1 == len(pieces) && !strings.Contains(b.close, "\n") {
				tail = strings.TrimRight(tail, " \t")
			}
		}
		j.out.WriteString(tail)
		openLine = endsInComment(tail, comment)
	}

	before := j.out.Len()
	j.floatBefore(len(b.pieces))
	if openLine && j.out.Len() == before && !strings.Contains(b.close, "\n") {
		j.out.WriteByte('\n')
	}
	j.out.WriteString(b.close)
	return j.out.String()
}

// joiner writes the pieces of a collection in brackets anew.
type joiner struct {
	*brackets
	out     strings.Builder
	there   []bool // the old elements that stay
	floated []bool // of the old elements: what floats before them is written
}

// float writes what floats before an old element; empty lines alone go with it.
func (j *joiner) float(i int, own bool) {
	text := j.pieces[i].float
	if j.floated[i] || !own && strings.TrimSpace(text) == "" {
		return
	}
	j.floated[i] = true
	j.out.WriteString(text)
}

func (j *joiner) floatBefore(n int) {
	for i := range n {
		j.float(i, false)
	}
}

// head writes what floats before the i-th of the pieces and returns the head
// that it has now.
func (j *joiner) head(pieces []piece, i int) string {
	p := pieces[i]
	if p.at < 0 {
		switch {
		case i == 0 && len(j.pieces) > 0:
			j.float(0, false) // at the top it is the list's
		case i > 0 && j.spaced():
			j.out.WriteByte('\n')
		}
		return j.besides(i, p.head)
	}

	j.floatBefore(p.at)
	if p.ownLine() {
		j.float(p.at, i > 0 || p.at == 0)
		return p.head
	}

	// The element that began its line went elsewhere, and left the line to it.
	first := j.pieces[p.line]
	same := i > 0 && pieces[i-1].at >= 0 && j.pieces[pieces[i-1].at].line == p.line
	if !first.ownLine() || same {
		return j.besides(i, p.head)
	}
	if j.there[p.line] {
		return "\n" + first.head[strings.LastIndexByte(first.head, '\n')+1:]
	}
	j.there[p.line] = true
	j.float(p.line, i > 0 || p.line == 0)
	return first.head
}

// besides is the head of an element that stands on the line of another.
func (j *joiner) besides(i int, head string) string {
	switch {
	case strings.Contains(head, "\n"):
	case i == 0:
		head = strings.TrimLeft(head, " \t")
		if len(j.pieces) > 0 && j.pieces[0].ownLine() {
			head = j.headLike() + head
		}
	case strings.TrimLeft(head, " \t") == head:
		head = " " + head
	}
	return head
}

// spaced reports elements that all have an empty line between them.
func (b *brackets) spaced() bool {
	spaced := len(b.pieces) > 1
	for _, p := range b.pieces[min(1, len(b.pieces)):] {
		spaced = spaced && p.float != ""
	}
	return spaced
}

// endsInComment reports text whose last line holds a comment to its end.
func endsInComment(text, mark string) bool {
	text = text[strings.LastIndexByte(text, '\n')+1:]
	if mark == "//" {
		for {
			i := strings.Index(text, "/*")
			line := strings.Index(text, mark)
			if i < 0 || line >= 0 && line < i {
				return line >= 0
			}
			end := strings.Index(text[i:], "*/")
			if end < 0 {
				return false
			}
			text = text[i+end+2:]
		}
	}

	return strings.Contains(text, mark)
}
