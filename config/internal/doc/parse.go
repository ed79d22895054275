package doc

import (
	"bytes"
	"fmt"
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

// maxDepth bounds the nesting of a document, and maxNodes what the aliases of
// a YAML document may expand to.
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
}

func newLineIndex(data []byte) *lineIndex {
	starts := make([]int, 1, bytes.Count(data, []byte{'\n'})+1)
	for i, c := range data {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	return &lineIndex{data, starts}
}

// at returns line and column of an offset, both from 1.
func (x *lineIndex) at(offset int) (line, col int) {
	low, high := 0, len(x.starts)
	for high-low > 1 {
		mid := (low + high) / 2
		if x.starts[mid] <= offset {
			low = mid
		} else {
			high = mid
		}
	}
	return low + 1, utf8.RuneCount(x.data[x.starts[low]:min(offset, len(x.data))]) + 1
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
