package config

import (
	"fmt"
	"io/fs"
)

// nodeKind tells what a node of a layer's tree is.
type nodeKind uint8

const (
	nullNode nodeKind = iota
	textNode
	listNode
	mapNode
)

func (k nodeKind) String() string {
	return [...]string{"null", "a single value", "a list", "a section"}[k]
}

// node is one value as a layer gives it, with the place it came from. Scalars
// keep the text that was written, whatever type the format would give it.
type node struct {
	kind  nodeKind
	plain bool // the text was written without quotes
	alias bool // reached through a YAML alias or merge key: not editable in place
	style byte // YAML only: the quote or block indicator; '{' for flow collections
	// tainted marks a value that must not be shown, whatever its key's type:
	// it came from a secret file or a reference.
	tainted bool
	failed  bool // a reference that could not be resolved

	text  string
	names []name  // of a mapNode, parallel to items
	items []*node // of a mapNode or listNode

	from  *layer
	label string // the variable, flag or secret file; "" inside a document
	ref   string // the reference that text was resolved from
	line  int    // 1-based; 0 where the layer has no lines
	col   int    // 1-based, counted in characters
	start int    // byte range of the value in the document
	end   int

	over *node // what this value overrode
}

// name is one key of a mapNode.
type name struct {
	text       string
	line, col  int
	start, end int
}

// layerKind orders nothing; it names where a layer's values come from.
type layerKind string

const (
	layerDefault layerKind = "default"
	layerFile    layerKind = "file"
	layerProfile layerKind = "profile"
	layerSecrets layerKind = "secrets"
	layerEnv     layerKind = "env"
	layerFlag    layerKind = "flag"
	layerSource  layerKind = "source"
)

// layer is one source of values, as read for one snapshot.
type layer struct {
	kind     layerKind
	name     string // path, prefix, folder or source name
	format   format
	data     []byte
	fsys     fs.FS // nil for the machine's own files
	writable bool
	missing  bool // an optional file that was not there
	flat     bool // root's names are whole dotted keys
	root     *node
}

// slab hands out nodes from chunks, as a document has hundreds of them.
type slab struct {
	chunk []node
	from  *layer
}

func (s *slab) new(k nodeKind) *node {
	if len(s.chunk) == 0 {
		s.chunk = make([]node, 64)
	}
	n := &s.chunk[0]
	s.chunk = s.chunk[1:]
	n.kind, n.from = k, s.from
	return n
}

// child returns the value of the key in a mapNode.
func (n *node) child(key string) *node {
	for i := range n.names {
		if n.names[i].text == key {
			return n.items[i]
		}
	}
	return nil
}

// put adds or replaces a key of a mapNode.
func (n *node) put(k name, v *node) {
	for i := range n.names {
		if n.names[i].text == k.text {
			n.names[i], n.items[i] = k, v
			return
		}
	}
	n.names, n.items = append(n.names, k), append(n.items, v)
}

// mergeNodes lays high over low: maps key by key, all else as a whole. A null
// in high removes the key.
func mergeNodes(low, high *node) *node {
	if low == nil || low.kind != mapNode || high.kind != mapNode {
		high.over = low
		return high
	}
	merged := *high
	merged.names = append([]name(nil), low.names...)
	merged.items = append([]*node(nil), low.items...)
	for i, k := range high.names {
		v := high.items[i]
		if below := low.child(k.text); below != nil {
			v = mergeNodes(below, v)
		}
		merged.put(k, v)
	}
	merged.over = low
	return &merged
}

// hidden reports whether n, or anything in it, must not be shown.
func (n *node) hidden() bool {
	if n == nil {
		return false
	}
	for _, item := range n.items {
		if item.hidden() {
			return true
		}
	}
	return n.tainted
}

// position formats line and column for a message.
func position(file string, line, col int) string {
	switch {
	case line > 0 && col > 0:
		return fmt.Sprintf("%s:%d:%d", file, line, col)
	case line > 0:
		return fmt.Sprintf("%s:%d", file, line)
	}
	return file
}
