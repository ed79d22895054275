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
	head  string // comments and white space before it
	body  string
	tail  string // what stands on its line after it, its comma included
	comma int    // offset of the comma in tail, or -1
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
		p := piece{head: head, body: d.cut(begin, x.ends[i], patches), tail: gap[:split], comma: comma}
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

// join writes the pieces with commas between them.
func (b *brackets) join(pieces []piece, comment string) string {
	if len(pieces) == 0 {
		if strings.TrimSpace(b.open) == "" && strings.TrimSpace(b.close) == "" {
			return ""
		}
		return b.open + b.close
	}
	var out strings.Builder
	out.WriteString(b.open)
	openLine := endsInComment(b.open, comment)
	trailing := b.trailing && strings.Contains(b.close, "\n")
	for i, p := range pieces {
		head := p.head
		switch {
		case i == 0 && !p.ownLine():
			head = strings.TrimLeft(head, " \t")
			if len(b.pieces) > 0 && b.pieces[0].ownLine() {
				head = b.headLike() + head
			}
		case i > 0 && !p.ownLine() && strings.TrimLeft(head, " \t") == head:
			head = " " + head
		}
		if openLine && !strings.Contains(head, "\n") {
			head = "\n" + head
		}
		out.WriteString(head)
		out.WriteString(p.body)

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
		out.WriteString(tail)
		openLine = endsInComment(tail, comment)
	}
	if openLine && !strings.Contains(b.close, "\n") {
		out.WriteByte('\n')
	}
	out.WriteString(b.close)
	return out.String()
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
