package config

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/internal/typed"
)

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
	format   doc.Format
	data     []byte
	fsys     fs.FS // nil for the machine's own files
	writable bool
	dotEnv   string         // the .env file of the variables; "" for the environment
	lines    map[string]int // of the variables of a .env file
	missing  bool           // an optional file that was not there
	flat     bool           // root's names are whole dotted keys
	root     *doc.Node
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

// variable names a variable of the layer for people.
func (l *layer) variable(name string) string {
	if l.dotEnv != "" {
		return fmt.Sprintf("%s in %s:%d", name, l.dotEnv, l.lines[name])
	}
	return name
}

// parse reads the layer's document. The problems name what is wrong in it; the
// root holds what could be read all the same.
func (l *layer) parse() (problems []Problem) {
	if l.format == doc.Unknown {
		return []Problem{{
			Kind: KindSyntax, Layer: l.describe(), File: l.path(), Message: fmt.Sprintf("unknown file type %q", filepath.Ext(l.name)),
			Hint: "use .yaml, .yml, .json, .jsonc or .toml",
		}}
	}

	root, mistakes := doc.Parse(l.format, l.data, &origin{layer: l})
	l.root = root

	for _, m := range mistakes {
		kind := KindSyntax
		if m.Duplicate {
			kind = KindDuplicate
		}
		problems = append(problems, Problem{
			Kind: kind, Key: m.Key, Layer: l.describe(), File: l.path(),
			Line: m.Line, Column: m.Column, Message: m.Message, Hint: m.Hint,
		})
	}

	return problems
}

// origin is where a node comes from. The nodes of one document share one; it
// is the mark that their trees carry.
type origin struct {
	layer *layer
	label string // the variable, flag or secret file; "" inside a document
	ref   string // the reference that the text was resolved from
	// tainted marks a value that must not be shown, whatever its key's type:
	// it came from a secret file or a reference.
	tainted bool
	failed  bool      // a reference that could not be resolved
	over    *doc.Node // what this value overrode
}

var noOrigin = &origin{layer: &layer{kind: layerDefault}}

// from returns the origin of a node; nil, and nodes made here, come from the
// defaults.
func from(n *doc.Node) *origin {
	if n != nil {
		if o, ok := n.Mark.(*origin); ok {
			return o
		}
	}
	return noOrigin
}

// remark gives one node an origin of its own, changed by change.
func remark(n *doc.Node, change func(*origin)) {
	o := *from(n)
	change(&o)
	n.Mark = &o
}

// writable reports a value that stands in the file that Update changes.
func (o *origin) writable() bool { return o.layer.writable && o.label == "" }

// problemAt starts a Problem at the place of n.
func problemAt(n *doc.Node, key string) Problem {
	o := from(n)
	if o.label != "" {
		return Problem{Key: key, Layer: string(o.layer.kind) + " " + o.label, File: o.layer.path()}
	}
	return Problem{Key: key, Layer: o.layer.describe(), File: o.layer.path(), Line: n.Line, Column: n.Column}
}

// shown is the text of n for a message.
func shown(n *doc.Node, s *typed.Shape, key string) string {
	if mustHide(n, s, key) {
		return masked(n.Text)
	}
	return strconv.Quote(shorten(showable(n.Text)))
}

// mustHide reports text that may be a secret: of its origin, its key, or
// because a secret is what stands there.
func mustHide(n *doc.Node, s *typed.Shape, key string) bool {
	return from(n).tainted || s.HoldsSecret() || sensitiveKey(key)
}

// newDecoder makes a decoder that expands the texts of variables, flags,
// secret files and references into lists and maps.
func newDecoder(lenient bool) *typed.Decoder {
	return &typed.Decoder{Lenient: lenient, FromText: func(n *doc.Node) bool { o := from(n); return o.label != "" || o.ref != "" }}
}

// problemsOf says where the faults are and shows what may be shown.
func problemsOf(faults []typed.Mistake) (problems []Problem) {
	for _, f := range faults {
		problems = append(problems, problemOf(f))
	}
	return problems
}

func problemOf(f typed.Mistake) Problem {
	p := problemAt(f.Node, f.Key)
	switch f.Kind {
	case typed.Unknown:
		if from(f.Node).label == "" {
			p.Line, p.Column = f.Name.Line, f.Name.Column
		}
		p.Kind, p.Message, p.Hint = KindUnknown, "unknown key", f.Hint
		return p
	case typed.Missing:
		p.Kind, p.Message = KindMissing, "required, but not set"
		if f.Want != "" {
			p.Message = "required, but " + f.Want
		}
		return p
	case typed.OutOfRange:
		p.Kind = KindOutOfRange
	default:
		p.Kind = KindWrongType
	}

	p.Want, p.Hint = f.Want, f.Hint
	switch {
	case f.Got != "":
		p.Value = strconv.Quote(shorten(f.Got))
		return p
	case f.Node.Kind != doc.Text:
		p.Value = f.Node.Kind.String()
		return p
	}

	// Hints and a type's own words may repeat the text.
	text := f.Node.Text
	hide := mustHide(f.Node, f.Shape, f.Key)
	p.Value = shown(f.Node, f.Shape, f.Key)
	switch {
	case hide && text != "" && strings.Contains(p.Hint, text):
		p.Hint = ""
	case f.Cause != nil && !hide && showable(text) == text:
		p.Hint = showable(strings.TrimPrefix(f.Cause.Error(), "config: "))
	}
	return p
}

// mergeNodes lays high over low: maps key by key, all else as a whole. A null
// in high removes the key.
func mergeNodes(low, high *doc.Node) *doc.Node {
	if low == nil || low.Kind != doc.Map || high.Kind != doc.Map {
		if low != nil {
			remark(high, func(o *origin) { o.over = low })
		}
		return high
	}

	merged := *high
	merged.Names = append([]doc.Name(nil), low.Names...)
	merged.Items = append([]*doc.Node(nil), low.Items...)
	at := make(map[string]int, len(merged.Names))
	for i, k := range merged.Names {
		at[k.Text] = i
	}

	for i, k := range high.Names {
		j, below := at[k.Text]
		if !below {
			at[k.Text] = len(merged.Names)
			merged.Names, merged.Items = append(merged.Names, k), append(merged.Items, high.Items[i])
			continue
		}
		merged.Names[j], merged.Items[j] = k, mergeNodes(merged.Items[j], high.Items[i])
	}

	remark(&merged, func(o *origin) { o.over = low })
	return &merged
}

// hidden reports whether n, or anything in it, must not be shown.
func hidden(n *doc.Node) bool {
	if n == nil {
		return false
	}
	if slices.ContainsFunc(n.Items, hidden) {
		return true
	}
	return from(n).tainted
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

// formatOf is the syntax that a file's name says.
func formatOf(path string) doc.Format {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".yaml", ".yml":
		return doc.YAML
	case ".json":
		return doc.JSON
	case ".jsonc":
		return doc.JSONC
	case ".toml":
		return doc.TOML
	}
	return doc.Unknown
}

// maxFileBytes bounds what is read from one file: settings of this size are a
// mistake, such as a path that names a log or a device.
const maxFileBytes = 16 << 20
