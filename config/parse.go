package config

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// format is the syntax of a file.
type format uint8

const (
	formatNone format = iota
	formatYAML
	formatJSON
	formatJSONC
	formatTOML
)

// maxFileBytes bounds what is read from one file: settings of this size are a
// mistake, such as a path that names a log or a device.
const maxFileBytes = 16 << 20

// maxDepth bounds the nesting of a document, and maxNodes what the aliases of
// a YAML document may expand to.
const (
	maxDepth = 200
	maxNodes = 1 << 18
)

func formatOf(path string) format {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".yaml", ".yml":
		return formatYAML
	case ".json":
		return formatJSON
	case ".jsonc":
		return formatJSONC
	case ".toml":
		return formatTOML
	}
	return formatNone
}

// parse reads l.data into a tree. The problems name what is wrong in the
// document itself; the tree holds what could be read all the same.
func parse(l *layer) (*node, []Problem) {
	data := bytes.TrimPrefix(l.data, []byte("\ufeff"))
	if len(data) != len(l.data) { // keep the offsets those of the file
		data = append([]byte("   "), data...)
		if l.format == formatYAML {
			data = l.data // the parser knows the mark, and columns matter
		}
	}
	if !utf8.Valid(data) {
		return nil, []Problem{syntaxProblem(l, invalidLine(data), 0, "the file is not UTF-8 text",
			"save it as UTF-8")}
	}
	switch l.format {
	case formatYAML:
		return parseYAML(data, l)
	case formatJSON, formatJSONC:
		return parseJSON(data, l)
	case formatTOML:
		return parseTOML(data, l)
	}
	return nil, []Problem{syntaxProblem(l, 0, 0, fmt.Sprintf("unknown file type %q", filepath.Ext(l.name)),
		"use .yaml, .yml, .json, .jsonc or .toml")}
}

func invalidLine(data []byte) int {
	line := 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == utf8.RuneError && size == 1 {
			break
		}
		if r == '\n' {
			line++
		}
		data = data[size:]
	}
	return line
}

func syntaxProblem(l *layer, line, col int, message, hint string) Problem {
	return Problem{Layer: l.describe(), File: l.path(), Line: line, Column: col, Message: message, Hint: hint}
}

func duplicateProblem(l *layer, key string, at name, first name) Problem {
	return Problem{
		Key: key, Layer: l.describe(), File: l.path(), Line: at.line, Column: at.col,
		Message: fmt.Sprintf(duplicateMessage+"first set on line %d", first.line),
		Hint:    "keep one of the two",
	}
}

// describe names the layer for people.
func (l *layer) describe() string {
	switch l.kind {
	case layerDefault:
		return "default"
	case layerEnv, layerFlag:
		return string(l.kind)
	}
	return string(l.kind) + " " + l.name
}

// path is the file the layer's lines belong to.
func (l *layer) path() string {
	if l.kind == layerFile || l.kind == layerProfile {
		return l.name
	}
	return ""
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

// joinKey appends one name to a dotted key.
func joinKey(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}
