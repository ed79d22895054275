package doc

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Kind tells what a node is.
type Kind uint8

const (
	Null Kind = iota // null, or nothing at all
	Text             // a single value
	List             // a list of values
	Map              // a section: names and values
)

func (k Kind) String() string {
	return [...]string{"null", "a single value", "a list", "a section"}[k]
}

// Node is one value of a document, with its place. Scalars keep the text that
// was written, whatever type the format would give it.
type Node struct {
	Kind  Kind
	Plain bool // the text was written without quotes
	Alias bool // reached through a YAML alias or merge key: not editable in place
	// Style is, of YAML, the quote or block indicator, or '{' for a flow
	// collection; of TOML 'f' for a float, as inf and nan are none elsewhere.
	Style byte

	Text  string
	Names []Name  // of a Map, parallel to items
	Items []*Node // of a Map or List

	// Pairs says, of a List that is to be written, which item of the list
	// before each item is, or -1. Without it the items are paired by PairNodes.
	Pairs []int

	lay *layout // of a document that is edited

	Mark   any // what the caller gave Parse, to know its nodes by
	Line   int // 1-based; 0 where the text has no lines
	Column int // 1-based, counted in characters
	Start  int // byte range of the value in the document
	End    int
}

// Name is one key of a Map.
type Name struct {
	Text         string
	Line, Column int
	Start, End   int
}

// slab hands out nodes from chunks, as a document has hundreds of them.
type slab struct {
	chunk []Node
	mark  any
}

func (s *slab) new(k Kind) *Node {
	if len(s.chunk) == 0 {
		s.chunk = make([]Node, 64)
	}
	n := &s.chunk[0]
	s.chunk = s.chunk[1:]
	n.Kind, n.Mark = k, s.mark
	return n
}

// Child returns the value of the key in a Map.
func (n *Node) Child(key string) *Node {
	for i := range n.Names {
		if n.Names[i].Text == key {
			return n.Items[i]
		}
	}
	return nil
}

// Finder returns a function that gives the index of a name in a Map, or -1: by an index of its own where
// the section is large.
func (n *Node) Finder() func(name string) int {
	if n == nil || len(n.Names) < 16 {
		return func(name string) int {
			if n == nil {
				return -1
			}
			return slices.IndexFunc(n.Names, func(k Name) bool { return k.Text == name })
		}
	}

	at := make(map[string]int, len(n.Names))
	for i, k := range n.Names {
		at[k.Text] = i
	}

	return func(name string) int {
		if i, ok := at[name]; ok {
			return i
		}
		return -1
	}
}

// Put adds or replaces a key of a Map.
func (n *Node) Put(k Name, v *Node) {
	for i := range n.Names {
		if n.Names[i].Text == k.Text {
			n.Names[i], n.Items[i] = k, v
			return
		}
	}
	n.Names, n.Items = append(n.Names, k), append(n.Items, v)
}

// Find is child for a node that may be none.
func (n *Node) Find(key string) *Node {
	if n == nil || n.Kind != Map {
		return nil
	}
	return n.Child(key)
}

// Visit calls f for a node and all within.
func (n *Node) Visit(f func(*Node)) {
	if n == nil {
		return
	}
	f(n)
	for _, item := range n.Items {
		item.Visit(f)
	}
}

// Any turns a tree into maps, lists and scalars, for values of type any.
func (n *Node) Any() any {
	switch n.Kind {
	case Null:
		return nil
	case List:
		out := make([]any, len(n.Items))
		for i, item := range n.Items {
			out[i] = item.Any()
		}
		return out
	case Map:
		out := make(map[string]any, len(n.Items))
		for i, k := range n.Names {
			out[k.Text] = n.Items[i].Any()
		}
		return out
	}

	if n.Plain {
		switch n.Text {
		case "true", "True", "TRUE":
			return true
		case "false", "False", "FALSE":
			return false
		}
		if !LeadingZero(n.Text) {
			if i, err := strconv.ParseInt(n.Text, 0, 64); err == nil {
				return i
			}
			if u, err := strconv.ParseUint(n.Text, 0, 64); err == nil {
				return u
			}
			if f, err := strconv.ParseFloat(GoFloat(n.Text), 64); err == nil && (n.Style == 'f' || strings.ContainsAny(n.Text, "0123456789.")) {
				return f
			}
		}
	}

	return n.Text
}

// LeadingZero reports a number such as 007, which is 7 in some formats and
// octal in others.
func LeadingZero(text string) bool {
	text = strings.TrimLeft(text, "+-")
	return len(text) > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9'
}

// underscored matches digits that are grouped by underscores.
var underscored = regexp.MustCompile(`^[+-]?[0-9]+(_[0-9]+)+(\.[0-9]+(_[0-9]+)*)?([eE][+-]?[0-9]+)?$`)

// GoFloat writes YAML's and TOML's names of the odd floats as Go's.
func GoFloat(text string) string {
	switch strings.ToLower(text) {
	case ".inf", "+.inf":
		return "inf"
	case "-.inf":
		return "-inf"
	case ".nan", "+nan", "-nan":
		return "nan"
	}
	if underscored.MatchString(text) { // which Go reads in hexadecimal only
		return strings.ReplaceAll(text, "_", "")
	}
	return text
}
