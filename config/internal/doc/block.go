package doc

import (
	"strings"
)

// blockPiece is one element of a block: offsets of what floats above it, of the
// comments that belong to it, of its text, and of what follows.
type blockPiece struct{ float, near, begin, end int }

// blocks are the elements of a collection that are whole lines.
type blocks struct {
	*document
	pieces  []blockPiece
	patches []patch // of the elements, in order
	inline  bool    // the first stands behind the dash or key around them
	column  int
}

// join writes the pieces in order. What floats between two elements, such
// as empty lines and comments apart from both, keeps its place.
func (b *blocks) join(order []int, fresh func(i int) string) string {
	pieces := b.pieces
	spaced := len(pieces) > 1
	for _, p := range pieces[1:] {
		spaced = spaced && p.float < p.near
	}
	var out strings.Builder
	floated := make([]bool, len(pieces))

	float := func(i int, blank bool) {
		p := pieces[i]
		text := string(b.data[p.float:p.near])
		if floated[i] || p.float == p.near || strings.TrimSpace(text) == "" && (!blank || out.Len() == 0) {
			return
		}
		floated[i] = true
		out.WriteString(text)
	}

	if len(order) > 0 && order[0] < 0 && len(pieces) > 0 {
		float(0, false) // at the top it is the list's
	}

	next := 0
	for _, i := range order {
		if i < 0 {
			if spaced && out.Len() > 0 {
				out.WriteString(b.eol)
			}
			out.WriteString(b.lines(fresh(next)) + b.eol)
			next++
			continue
		}

		for j := range i {
			float(j, false)
		}
		float(i, true)
		p := pieces[i]
		text := string(b.data[p.near:p.begin]) + b.cut(p.begin, p.end, b.patches)
		if i == 0 && b.inline {
			text = strings.Repeat(" ", b.column) + text
		}

		if !strings.HasSuffix(text, "\n") {
			text += b.eol
		}
		out.WriteString(text)
	}

	for j := range pieces {
		float(j, false)
	}
	if b.inline { // what comes first stands behind the dash or key around it
		return strings.TrimLeft(out.String(), " \t\r\n")
	}
	return out.String()
}
