package doc

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// jsonParser reads JSON (RFC 8259) and, where comments is set, JSONC: with
// comments and trailing commas. It keeps the text of numbers and the place of
// everything, which encoding/json does not.
type jsonParser struct {
	data     []byte
	at       int
	comments bool
	lines    *lineIndex
	nodes    slab
	places   bool // the text has lines of its own
	count    int  // of values
	mistakes []Mistake
	path     []string // of the object that is read
}

// jsonError stops the parse; offset is where.
type jsonError struct {
	offset        int
	message, hint string
}

func parseJSON(data []byte, comments bool, mark any) (root *Node, mistakes []Mistake) {
	p := &jsonParser{data: data, comments: comments, lines: newLineIndex(data), nodes: slab{mark: mark}, places: true}
	if err := p.space(); err == nil && p.at == len(data) {
		return nil, nil // an empty file sets nothing
	}
	root, err := p.document()
	if err != nil {
		line, col := p.lines.at(err.offset)
		return nil, append(p.mistakes, syntax(line, col, "invalid JSON: "+err.message, err.hint))
	}
	if root.Kind != Map && root.Kind != Null {
		return nil, append(p.mistakes, syntax(root.Line, root.Column, "the document is "+root.Kind.String()+", want an object at the top", ""))
	}
	return root, p.mistakes
}

// ParseValue reads one JSON value from text that has no place of its own, such
// as a variable's.
func ParseValue(text string) (*Node, error) {
	p := &jsonParser{data: []byte(text), lines: newLineIndex(nil)}
	n, err := p.document()
	if err != nil {
		return nil, fmt.Errorf("invalid JSON at character %d: %s", err.offset+1, err.message)
	}
	if len(p.mistakes) > 0 {
		return nil, fmt.Errorf("invalid JSON: key %q is there twice", p.mistakes[0].Key)
	}
	return n, nil
}

func (p *jsonParser) document() (*Node, *jsonError) {
	n, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if err := p.space(); err != nil {
		return nil, err
	}
	if p.at < len(p.data) {
		return nil, p.fail("more text after the end of the document", "")
	}
	return n, nil
}

func (p *jsonParser) fail(message, hint string) *jsonError {
	return &jsonError{p.at, message, hint}
}

// space skips white space and comments.
func (p *jsonParser) space() *jsonError {
	for p.at < len(p.data) {
		switch c := p.data[p.at]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			p.at++
		case c == '/':
			if !p.comments {
				return p.fail("a comment", "plain JSON has none; name the file .jsonc")
			}
			if err := p.comment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}

	return nil
}

func (p *jsonParser) comment() *jsonError {
	if p.at+1 >= len(p.data) {
		return p.fail("a single slash", "comments begin with // or /*")
	}

	switch p.data[p.at+1] {
	case '/':
		for p.at < len(p.data) && p.data[p.at] != '\n' {
			p.at++
		}
		return nil
	case '*':
		for i := p.at + 2; i+1 < len(p.data); i++ {
			if p.data[i] == '*' && p.data[i+1] == '/' {
				p.at = i + 2
				return nil
			}
		}
		return p.fail("a comment that does not end", "close it with */")
	}

	return p.fail("a single slash", "comments begin with // or /*")
}

func (p *jsonParser) value(depth int) (*Node, *jsonError) {
	if err := p.space(); err != nil {
		return nil, err
	}
	if p.at == len(p.data) {
		return nil, p.fail("the document ends where a value should be", "")
	}
	if depth > maxDepth {
		return nil, p.fail(fmt.Sprintf("nested deeper than %d", maxDepth), "")
	}

	if p.count++; p.count > maxNodes {
		m := tooMany(0, 0)
		return nil, p.fail(m.Message, m.Hint)
	}
	n := p.nodes.new(Null)
	n.Start = p.at
	if p.places {
		n.Line, n.Column = p.lines.at(p.at)
	}

	var err *jsonError
	switch c := p.data[p.at]; {
	case c == '{':
		n.Kind = Map
		err = p.object(n, depth)
	case c == '[':
		n.Kind = List
		err = p.array(n, depth)
	case c == '"':
		n.Kind = Text
		n.Text, err = p.str()
	case c == '-' || c >= '0' && c <= '9':
		n.Kind, n.Plain = Text, true
		err = p.number()
		n.Text = string(p.data[n.Start:p.at])
	default:
		err = p.word(n)
	}

	n.End = p.at
	return n, err
}

func (p *jsonParser) word(n *Node) *jsonError {
	for _, w := range []string{"true", "false", "null"} {
		if len(p.data)-p.at >= len(w) && string(p.data[p.at:p.at+len(w)]) == w {
			if w != "null" {
				n.Kind, n.Plain, n.Text = Text, true, w
			}
			p.at += len(w)
			return nil
		}
	}
	return p.fail("want a value", `strings stand in double quotes, and the words are true, false, null`)
}

func (p *jsonParser) number() *jsonError {
	digits := func() bool {
		from := p.at
		for p.at < len(p.data) && p.data[p.at] >= '0' && p.data[p.at] <= '9' {
			p.at++
		}
		return p.at > from
	}

	peek := func() byte {
		if p.at < len(p.data) {
			return p.data[p.at]
		}
		return 0
	}
	if peek() == '-' {
		p.at++
	}

	if peek() == '0' {
		p.at++
		if c := peek(); c >= '0' && c <= '9' || c == 'x' {
			return p.fail("a number with a leading zero", "write it in decimal, or in quotes if it is text")
		}
	} else if !digits() {
		return p.fail("an incomplete number", "")
	}

	if peek() == '.' {
		p.at++
		if !digits() {
			return p.fail("an incomplete number", "")
		}
	}

	if c := peek(); c == 'e' || c == 'E' {
		p.at++
		if c := peek(); c == '+' || c == '-' {
			p.at++
		}
		if !digits() {
			return p.fail("an incomplete number", "")
		}
	}

	return nil
}

// str reads a string whose opening quote is at p.at.
func (p *jsonParser) str() (string, *jsonError) {
	from := p.at
	escaped := false
	for i := p.at + 1; i < len(p.data); i++ {
		switch c := p.data[i]; {
		case c == '"':
			p.at = i + 1
			if !escaped {
				return string(p.data[from+1 : i]), nil
			}
			var s string
			if err := json.Unmarshal(p.data[from:i+1], &s); err != nil {
				p.at = from
				return "", p.fail("a string with an invalid escape", `a backslash is written \\`)
			}
			return s, nil
		case c == '\\':
			escaped = true
			i++
		case c < ' ':
			p.at = i
			return "", p.fail("a string that is not closed on its line", `close it with a quote; a line break is written \n`)
		case c >= utf8.RuneSelf:
		}
	}

	return "", p.fail("a string that does not end", "close it with a quote")
}

func (p *jsonParser) object(n *Node, depth int) *jsonError {
	p.at++
	var seen map[string]int // of large objects
	for first := true; ; first = false {
		if err := p.space(); err != nil {
			return err
		}
		if p.at == len(p.data) {
			return p.fail("an object that does not end", "close it with }")
		}
		if p.data[p.at] == '}' {
			p.at++
			return nil
		}

		if !first {
			if done, err := p.comma('}'); done || err != nil {
				return err
			}
		}

		if p.data[p.at] != '"' {
			return p.fail("want a key", "keys stand in double quotes")
		}
		k := Name{Start: p.at}
		if p.places {
			k.Line, k.Column = p.lines.at(p.at)
		}

		var err *jsonError
		if k.Text, err = p.str(); err != nil {
			return err
		}
		k.End = p.at
		if err := p.space(); err != nil {
			return err
		}

		if p.at == len(p.data) || p.data[p.at] != ':' {
			return p.fail("want a colon after the key", "")
		}
		p.at++
		p.path = append(p.path, k.Text)
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}

		if first := addKey(n, k, v, &seen); first != nil {
			p.mistakes = note(p.mistakes, duplicate(strings.Join(p.path, "."), k, *first))
		}
		p.path = p.path[:len(p.path)-1]
	}
}

// comma reads the comma between items, and the closing character after one
// where the format allows that.
func (p *jsonParser) comma(closing byte) (done bool, err *jsonError) {
	if p.data[p.at] != ',' {
		return false, p.fail("want a comma", "")
	}
	comma := p.at
	p.at++
	if err := p.space(); err != nil {
		return false, err
	}

	if p.at == len(p.data) {
		return false, p.fail("the document ends after a comma", "")
	}

	if p.data[p.at] == closing {
		if !p.comments {
			p.at = comma
			return false, p.fail("a comma after the last item", "remove it, or name the file .jsonc")
		}
		p.at++
		return true, nil
	}

	return false, nil
}

func (p *jsonParser) array(n *Node, depth int) *jsonError {
	p.at++
	for first := true; ; first = false {
		if err := p.space(); err != nil {
			return err
		}
		if p.at == len(p.data) {
			return p.fail("a list that does not end", "close it with ]")
		}
		if p.data[p.at] == ']' {
			p.at++
			return nil
		}

		if !first {
			if done, err := p.comma(']'); done || err != nil {
				return err
			}
		}

		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.Items = append(n.Items, v)
	}
}

// addKey appends a key to a Map. If the key is there it returns its place
// and appends nothing. seen indexes the names of large nodes.
func addKey(n *Node, k Name, v *Node, seen *map[string]int) (first *Name) {
	// An index of fewer names costs more than it saves.
	const large = 40
	switch {
	case *seen != nil:
		if i, ok := (*seen)[k.Text]; ok {
			return &n.Names[i]
		}
		(*seen)[k.Text] = len(n.Names)
	default:
		for i := range n.Names {
			if n.Names[i].Text == k.Text {
				return &n.Names[i]
			}
		}
	}

	if n.Names == nil {
		n.Names, n.Items = make([]Name, 0, 8), make([]*Node, 0, 8)
	}
	n.Names, n.Items = append(n.Names, k), append(n.Items, v)

	if *seen == nil && len(n.Names) == large {
		*seen = make(map[string]int, 2*large)
		for i := range n.Names {
			(*seen)[n.Names[i].Text] = i
		}
	}

	return nil
}
