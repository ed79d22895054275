package doc

import (
	"bytes"
	"fmt"
	"sort"
	"unicode/utf8"
)

// Format is the syntax of a file.
type Format uint8

const (
	Unknown Format = iota // no format
	YAML                  // YAML 1.1 and 1.2, as far as they agree
	JSON                  // RFC 8259
	JSONC                 // JSON with comments and trailing commas
	TOML                  // TOML 1.0
)

// maxMistakes bounds what is said of one document.
const maxMistakes = 100

// note adds a mistake; of those after the bound only the number is kept.
func note(mistakes []Mistake, m Mistake) []Mistake {
	if len(mistakes) < maxMistakes {
		return append(mistakes, m)
	}
	if len(mistakes) == maxMistakes {
		mistakes = append(mistakes, m)
	}
	last := &mistakes[maxMistakes]
	last.Key, last.Hint, last.more = "", "", last.more+1
	last.Message = fmt.Sprintf("and %d more mistakes from here on", last.more)
	return mistakes
}

func tooMany(line, col int) Mistake {
	return syntax(line, col, fmt.Sprintf("more than %d values", maxNodes), "settings of this size are a mistake; keep data in a file of its own")
}

// maxDepth bounds the nesting of a document, and maxNodes its values, those
// that aliases of YAML expand to included: settings are read in a moment, and
// in little memory, whatever stands in their file.
const (
	maxDepth = 200
	maxNodes = 1 << 18
)

// Mistake is something wrong in a document itself.
type Mistake struct {
	Key           string // of a duplicate key, else ""
	Duplicate     bool   // every value is read all the same
	Line, Column  int    // 0 where unknown
	Message, Hint string

	more int // mistakes that this one stands for
}

// Error returns place and message.
func (m Mistake) Error() string { return fmt.Sprintf("%d:%d: %s", m.Line, m.Column, m.Message) }

// Parse reads a document into a tree, whose nodes carry mark. The mistakes name
// what is wrong; the tree holds what could be read all the same, and is nil for
// a document that cannot be read or is empty.
func Parse(f Format, data []byte, mark any) (*Node, []Mistake) {
	trimmed := bytes.TrimPrefix(data, []byte("\ufeff"))
	if len(trimmed) != len(data) && f != YAML { // that parser knows the mark
		root, mistakes := Parse(f, append([]byte(spacesForMark), trimmed...), mark) // keeps the offsets
		withoutMark(root, mistakes)
		return root, mistakes
	}

	if !utf8.Valid(data) {
		line, col := invalidPlace(data)
		return nil, []Mistake{syntax(line, col, "the file is not UTF-8 text", "save it as UTF-8")}
	}

	switch f {
	case YAML:
		return parseYAML(data, mark)
	case JSON, JSONC:
		return parseJSON(data, f == JSONC, mark)
	case TOML:
		return parseTOML(data, mark)
	}

	return nil, []Mistake{syntax(0, 0, "unknown format", "")}
}

// spacesForMark stand in place of a byte order mark, which has three bytes.
const spacesForMark = "   "

// withoutMark takes the spaces in place of the mark out of the columns.
func withoutMark(root *Node, mistakes []Mistake) {
	root.Visit(func(n *Node) {
		if n.Line == 1 {
			n.Column = max(1, n.Column-len(spacesForMark))
		}
		for i := range n.Names {
			if n.Names[i].Line == 1 {
				n.Names[i].Column = max(1, n.Names[i].Column-len(spacesForMark))
			}
		}
	})

	for i := range mistakes {
		if mistakes[i].Line == 1 {
			mistakes[i].Column = max(1, mistakes[i].Column-len(spacesForMark))
		}
	}
}

// invalidPlace is where the first byte stands that is no UTF-8.
func invalidPlace(data []byte) (line, col int) {
	line, col = 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == utf8.RuneError && size == 1 {
			break
		}
		col++
		if r == '\n' {
			line, col = line+1, 1
		}
		data = data[size:]
	}
	return line, col
}

func syntax(line, col int, message, hint string) Mistake {
	return Mistake{Line: line, Column: col, Message: message, Hint: hint}
}

func duplicate(key string, at, first Name) Mistake {
	return Mistake{
		Key: key, Duplicate: true, Line: at.Line, Column: at.Column,
		Message: fmt.Sprintf("duplicate key: first set on line %d", first.Line), Hint: "keep one of the two",
	}
}

// lineIndex finds positions by byte offset.
type lineIndex struct {
	data   []byte
	starts []int
	// The place that was asked for last: what is read in order is counted once,
	// however long its line.
	last, line, col int
}

func newLineIndex(data []byte) *lineIndex {
	starts := make([]int, 1, bytes.Count(data, []byte{'\n'})+1)
	for i := 0; ; {
		next := bytes.IndexByte(data[i:], '\n')
		if next < 0 {
			break
		}
		i += next + 1
		starts = append(starts, i)
	}
	return &lineIndex{data: data, starts: starts, line: 1, col: 1}
}

// at returns line and column of an offset, both from 1.
func (x *lineIndex) at(offset int) (line, col int) {
	offset = min(offset, len(x.data))
	line = x.line
	if offset < x.last || line < len(x.starts) && offset >= x.starts[line] {
		line = x.lineOf(offset)
	}

	from, col := x.starts[line-1], 1
	if line == x.line && offset >= x.last {
		from, col = x.last, x.col
	}
	col += utf8.RuneCount(x.data[from:offset])
	x.last, x.line, x.col = offset, line, col
	return line, col
}

// lineOf looks near the last line first, as most questions come in order.
func (x *lineIndex) lineOf(offset int) int {
	for line := x.line; line <= len(x.starts) && line < x.line+4; line++ {
		if offset >= x.starts[line-1] && (line == len(x.starts) || offset < x.starts[line]) {
			return line
		}
	}
	return sort.Search(len(x.starts), func(i int) bool { return x.starts[i] > offset })
}

// offset returns the byte offset of a line and a column.
func (x *lineIndex) offset(line, col int) int {
	if line < 1 || line > len(x.starts) {
		return len(x.data)
	}
	i := x.starts[line-1]
	for ; col > 1 && i < len(x.data); col-- {
		_, size := utf8.DecodeRune(x.data[i:])
		i += size
	}
	return i
}

// JoinKey appends one name to a dotted key.
func JoinKey(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}
