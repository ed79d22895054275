package doc

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlReader turns the nodes of the YAML library into ours.
type yamlReader struct {
	nodes    slab
	mistakes []Mistake
	left     int // nodes that may still be made
}

func parseYAML(data []byte, mark any) (root *Node, mistakes []Mistake) {
	if line := crowdedYAML(data); line > 0 {
		return nil, []Mistake{tooMany(line, 1)}
	}
	doc, err := yamlDocument(data)
	if err != nil {
		return nil, []Mistake{yamlMistake(data, err)}
	}

	if doc == nil || len(doc.Content) == 0 {
		return nil, nil
	}
	r := &yamlReader{nodes: slab{mark: mark}, left: maxNodes}
	top := doc.Content[0]
	root = r.node(top, "", 0, false)
	if r.left <= 0 {
		return nil, []Mistake{syntax(top.Line, top.Column, fmt.Sprintf("aliases expand to more than %d values", maxNodes), "")}
	}

	if root.Kind != Map && root.Kind != Null {
		return nil, append(r.mistakes, syntax(top.Line, top.Column, "the document is "+root.Kind.String()+", want keys at the top", ""))
	}
	return root, r.mistakes
}

// crowdedYAML returns the line at which a document may hold more values than
// maxNodes, or 0: the library makes all of them before it can be asked. It
// counts the signs that a value needs before or behind it, and comments behind
// values, which cost as much; those in text count as well, so that it is never
// too few.
func crowdedYAML(data []byte) int {
	values, line, lead := 0, 1, true
	for i, c := range data {
		end := i+1 == len(data) || isBlank(data[i+1])
		switch c {
		case '\n':
			line, lead = line+1, true
			continue
		case ' ', '\t', '\r':
			continue
		case '-', '?':
			if lead && end { // more may follow it on the line
				values++
			} else {
				lead = false
			}
		case ':':
			if end || strings.IndexByte(",[]{}\"'", data[i+1]) >= 0 || i > 0 && (data[i-1] == '"' || data[i-1] == '\'') {
				values += 2
			}
		case ',', '[', '{':
			values++
		case '#':
			if !lead {
				values++
			}
		}

		if c != '-' && c != '?' {
			lead = false
		}
		if values > maxNodes {
			return line
		}
	}

	return 0
}

// yamlDocument returns the one document in data.
func yamlDocument(data []byte) (doc *yaml.Node, err error) {
	defer func() { // the library reports some malformed input by a panic
		if p := recover(); p != nil {
			doc, err = nil, errors.New("yaml: cannot be read")
		}
	}()

	doc = new(yaml.Node)
	if !bytes.Contains(data, []byte("---")) && !bytes.Contains(data, []byte("...")) {
		// A block mapping goes on to the end of the document; other things may
		// have more after them, which this call does not see.
		if err := yaml.Unmarshal(data, doc); err != nil || len(doc.Content) > 0 && doc.Content[0].Kind == yaml.MappingNode && doc.Content[0].Style&yaml.FlowStyle == 0 {
			return doc, err
		}
		doc = new(yaml.Node)
	}

	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, err
	}

	var next yaml.Node
	if err := dec.Decode(&next); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("yaml: line %d: more text after the end of the document; settings are one document", next.Line)
	}

	return doc, nil
}

func yamlErrorLine(err error) (line int, message string) {
	message = strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(message, "line "); ok {
		if number, text, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				return n, text
			}
		}
	}
	return 0, message
}

func yamlHint(message string) string {
	switch {
	case strings.Contains(message, "cannot start any token"):
		return "indent with spaces, and quote a value that begins with @ ` or a tab"
	case strings.Contains(message, "mapping values are not allowed"):
		return "quote a value that holds a colon followed by a space, and check the indentation"
	case strings.Contains(message, "did not find expected"):
		return "check the indentation and the quotes from this line on"
	}
	return ""
}

func (r *yamlReader) node(y *yaml.Node, key string, depth int, alias bool) *Node {
	n := r.nodes.new(Null)
	n.Line, n.Column, n.Alias = y.Line, y.Column, alias
	r.left--

	if depth > maxDepth || r.left <= 0 {
		if r.left > 0 {
			r.mistakes = note(r.mistakes, syntax(y.Line, y.Column, fmt.Sprintf("nested deeper than %d", maxDepth), ""))
		}
		return n
	}

	if y.Style&yaml.FlowStyle != 0 {
		n.Style = '{'
	}
	if !r.tag(y) {
		return n
	}

	switch y.Kind {
	case yaml.AliasNode:
		if y.Alias == nil {
			return n
		}
		out := r.node(y.Alias, key, depth+1, true)
		out.Line, out.Column = y.Line, y.Column
		return out
	case yaml.ScalarNode:
		r.scalar(n, y)
	case yaml.SequenceNode:
		n.Kind = List
		n.Items = make([]*Node, 0, len(y.Content))
		for i, item := range y.Content {
			n.Items = append(n.Items, r.node(item, key+"["+strconv.Itoa(i)+"]", depth+1, alias))
		}
	case yaml.MappingNode:
		n.Kind = Map
		r.mapping(n, y, key, depth, alias)
	}

	return n
}

// tag checks the tag that a value was given. The core ones are applied; any
// other means something that is not this text, such as a secret of that name.
func (r *yamlReader) tag(y *yaml.Node) bool {
	if y.Style&yaml.TaggedStyle == 0 {
		return true
	}
	short := y.ShortTag()

	fits := true
	switch {
	case short == "!" || short == "!!str" || short == "!!timestamp" || short == "!!binary":
		fits = y.Kind == yaml.ScalarNode
	case short == "!!null":
		fits = y.Kind == yaml.ScalarNode && isYAMLNull(y.Value)
	case short == "!!bool" || short == "!!int" || short == "!!float":
		value := (&Node{Kind: Text, Plain: true, Text: y.Value}).Any()
		_, text := value.(string)
		_, truth := value.(bool)
		_, fraction := value.(float64)
		fits = y.Kind == yaml.ScalarNode && !text && truth == (short == "!!bool") && (short == "!!float" || !fraction)
	case short == "!!map":
		fits = y.Kind == yaml.MappingNode
	case short == "!!seq":
		fits = y.Kind == yaml.SequenceNode
	case short == "!!merge":
	default:
		r.mistakes = append(r.mistakes, syntax(y.Line, y.Column, "a tag that is not known",
			"quote a value that begins with !; the tags are !!str, !!int, !!float, !!bool, !!null, !!map, !!seq, !!timestamp and !!binary"))
		return false
	}

	if !fits {
		r.mistakes = note(r.mistakes, syntax(y.Line, y.Column, "a value that is not what its tag "+short+" says", ""))
	}
	return fits
}

func (r *yamlReader) scalar(n *Node, y *yaml.Node) {
	tagged := ""
	if y.Style&yaml.TaggedStyle != 0 {
		tagged = y.ShortTag()
	}

	switch {
	case y.Style&yaml.DoubleQuotedStyle != 0:
		n.Style = '"'
	case y.Style&yaml.SingleQuotedStyle != 0:
		n.Style = '\''
	case y.Style&yaml.LiteralStyle != 0:
		n.Style = '|'
	case y.Style&yaml.FoldedStyle != 0:
		n.Style = '>'
	default:
		n.Plain = tagged != "!!str" && tagged != "!" && tagged != "!!binary"
	}

	n.Text = y.Value
	switch tagged {
	case "!!int", "!!float", "!!bool":
		n.Plain = true
	case "!!binary":
		raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(y.Value), ""))
		if err != nil {
			r.mistakes = note(r.mistakes, syntax(y.Line, y.Column, "a !!binary value that is no base64", ""))
			return
		}
		n.Text = string(raw)
	}

	if n.Plain && isYAMLNull(y.Value) {
		n.Text = ""
		return
	}
	n.Kind = Text
}

func isYAMLNull(text string) bool {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return true
	}
	return false
}

func (r *yamlReader) mapping(n *Node, y *yaml.Node, key string, depth int, alias bool) {
	n.Names = make([]Name, 0, len(y.Content)/2)
	n.Items = make([]*Node, 0, len(y.Content)/2)
	var merges []*yaml.Node
	var seen map[string]int
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		if k.Kind == yaml.AliasNode && k.Alias != nil {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			r.mistakes = note(r.mistakes, syntax(k.Line, k.Column, "a key that is not a single value", ""))
			continue
		}

		if !r.tag(k) {
			continue
		}
		if isAbsent(k) {
			r.mistakes = note(r.mistakes, syntax(k.Line, k.Column, "a key that is empty", "write the key before the colon"))
			continue
		}

		if k.Value == "<<" && k.Tag == "!!merge" {
			merges = append(merges, v)
			continue
		}

		full := "" // a single value needs none
		if v.Kind != yaml.ScalarNode {
			full = JoinKey(key, k.Value)
		}
		at := Name{Text: k.Value, Line: y.Content[i].Line, Column: y.Content[i].Column}
		item := r.node(v, full, depth+1, alias)
		if first := addKey(n, at, item, &seen); first != nil {
			r.mistakes = note(r.mistakes, duplicate(JoinKey(key, k.Value), at, *first))
		}
	}

	for _, m := range merges {
		r.merge(n, m, key, depth)
	}
}

// merge adds the keys of a merge key's mapping that n does not set itself.
func (r *yamlReader) merge(n *Node, m *yaml.Node, key string, depth int) {
	sources := []*yaml.Node{m}
	if m.Kind == yaml.SequenceNode {
		sources = m.Content
	}

	for _, src := range sources {
		line, col := src.Line, src.Column
		if src.Kind == yaml.AliasNode && src.Alias != nil {
			src = src.Alias
		}
		if src.Kind != yaml.MappingNode {
			r.mistakes = note(r.mistakes, syntax(line, col, "a merge key (<<) that does not name a section", ""))
			continue
		}

		merged, find := r.node(src, key, depth+1, true), n.Finder()
		for i, k := range merged.Names { // no name is twice in one section
			if find(k.Text) < 0 {
				n.Names, n.Items = append(n.Names, k), append(n.Items, merged.Items[i])
			}
		}
	}
}
