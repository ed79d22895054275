package doc

import (
	"bytes"
	"slices"
	"sort"
	"strings"
)

// document is a text that is changed by patches.
type document struct {
	data    []byte
	eol     string
	patches []patch
}

func newDocument(data []byte) *document { return &document{data: data, eol: lineEnd(data)} }

// patch puts text in place of a range of the document.
type patch struct {
	from, to int
	text     string
}

// patch notes a change of the text.
func (d *document) patch(from, to int, text string) {
	d.patches = append(d.patches, patch{from, to, text})
}

// take removes the patches from mark on and returns them in order.
func (d *document) take(mark int) []patch {
	out := slices.Clone(d.patches[mark:])
	d.patches = d.patches[:mark]
	sort.SliceStable(out, func(i, j int) bool { // what is put in stands before what goes
		if out[i].from != out[j].from {
			return out[i].from < out[j].from
		}
		return out[i].to < out[j].to
	})
	return out
}

// cut is the text of a range with the patches in it applied.
func (d *document) cut(from, to int, patches []patch) string {
	if len(patches) == 0 {
		return string(d.data[from:to])
	}

	var b strings.Builder
	i := sort.Search(len(patches), func(i int) bool { return patches[i].from >= from })

	at := from
	for ; i < len(patches) && patches[i].to <= to && patches[i].from <= to; i++ {
		p := patches[i]
		if p.to == from && from > 0 {
			continue // it was put in at the end of what stands before
		}
		if p.from < at {
			b.WriteString(p.text) // put in where something goes
			continue
		}
		b.Write(d.data[at:p.from])
		b.WriteString(p.text)
		at = p.to
	}

	b.Write(d.data[at:to])
	return b.String()
}

// lines puts the document's own line breaks into text.
func (d *document) lines(text string) string {
	if d.eol == "\n" {
		return text
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", d.eol)
}

// insertLines puts lines before offset at, which begins a line or ends the
// document. A document without a final line break keeps having none.
func (d *document) insertLines(at int, text string) {
	text = d.lines(text)
	if at == len(d.data) && len(d.data) > 0 && d.data[len(d.data)-1] != '\n' {
		d.patch(at, at, d.eol+text)
		return
	}
	d.patch(at, at, text+d.eol)
}

// commentsAbove moves up from a line over the comments directly above it.
func (d *document) commentsAbove(line, floor int) int {
	for line > floor {
		above := lineStart(d.data, line-1)
		if above < floor || d.commentColumn(above) < 0 {
			break
		}
		line = above
	}
	return line
}

// commentColumn is the column of the comment that has the line at offset i to
// itself, or -1.
func (d *document) commentColumn(i int) int {
	text := bytes.TrimLeft(d.data[i:nextLine(d.data, i)], " \t")
	if len(text) == 0 || text[0] != '#' {
		return -1
	}
	return nextLine(d.data, i) - i - len(text)
}

// commentsBelow moves down over the comments directly below a line.
func (d *document) commentsBelow(line int) int {
	at := line
	for at < len(d.data) && d.commentColumn(at) >= 0 {
		at = nextLine(d.data, at)
	}
	if at < len(d.data) && len(bytes.TrimSpace(d.data[at:nextLine(d.data, at)])) > 0 {
		return line // they belong to what follows
	}
	return at
}

// lineEnd is the line break of a document.
func lineEnd(data []byte) string {
	if i := bytes.IndexByte(data, '\n'); i > 0 && data[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// nextLine is the offset after the line that holds offset i.
func nextLine(data []byte, i int) int {
	if j := bytes.IndexByte(data[i:], '\n'); j >= 0 {
		return i + j + 1
	}
	return len(data)
}

// lineStart is the offset of the line that holds offset i.
func lineStart(data []byte, i int) int { return bytes.LastIndexByte(data[:i], '\n') + 1 }

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
