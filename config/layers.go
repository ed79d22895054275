package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/doc"
)

// reading is one pass over all layers.
type reading struct {
	opt      *options
	schema   *schema
	environ  []string
	layers   []*layer
	problems []Problem
	warnings []Problem
	inputs   []input         // files and folders that the result depends on
	replaced []byte          // stands for the content of the writable file, if not nil
	anew     bool            // the writable file is gone, and is made again
	before   map[string]bool // files that had content when last read well
	unparsed [][]byte        // documents that could not be parsed
	emptied  bool            // a file that had content is empty
	rejected map[string]bool // keys that a layer gives, in a way that cannot be used
	scrub    scrubber
}

func (r *reading) run() {
	for i := range r.opt.sources {
		s := &r.opt.sources[i]
		switch s.kind {
		case layerFile:
			r.file(s.kind, s.path, s)
		case layerProfile:
			r.profiles(s)
		case layerSecrets:
			r.secretsDir(s)
		case layerEnv:
			r.env(s)
		case layerFlag:
			r.flags(s)
		case layerSource:
			r.source(s)
		}
	}
}

func (r *reading) fail(p Problem) { r.problems = append(r.problems, p) }

// reject reports a key that a layer gives in a way that cannot be used.
func (r *reading) reject(p Problem) {
	if r.rejected == nil {
		r.rejected = map[string]bool{}
	}
	r.rejected[p.Key] = true
	r.fail(p)
}

// maybeSet reports whether a layer with a mistake may have set the key: saying
// that it is missing would be a second report of that mistake.
func (r *reading) maybeSet(key string) bool {
	if r.emptied {
		return true
	}
	_, last, _ := cutLast(key, ".")
	for _, data := range r.unparsed {
		if bytes.Contains(data, []byte(last)) {
			return true
		}
	}
	for at := key; at != ""; at, _, _ = cutLast(at, ".") {
		if r.rejected[at] {
			return true
		}
	}
	return false
}

// file reads one settings file.
func (r *reading) file(kind layerKind, name string, s *sourceSpec) {
	l := &layer{kind: kind, name: name, format: formatOf(name), fsys: s.fsys, writable: s.writable && kind == layerFile}
	r.layers = append(r.layers, l)
	data, err := []byte(nil), error(nil)
	if l.writable && r.replaced != nil {
		data = r.replaced
	} else {
		data, err = readFile(s.fsys, name)
	}
	if s.fsys == nil {
		r.inputs = append(r.inputs, newInput(name, false, sumFile(data, err)))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.optional && kind == layerFile:
		l.missing = true
		return
	case err != nil:
		p := Problem{Layer: l.describe(), File: name, Message: "cannot read the file: " + cause(err), Err: err}
		if errors.Is(err, fs.ErrNotExist) {
			p.Message = "the file is missing"
			p.Hint = "create it, or add config.Optional()"
			if kind == layerProfile {
				p.Hint = "create it, or choose another profile"
			}
		}
		r.fail(p)
		return
	}
	if len(data) == 0 && r.before[name] && !(l.writable && r.anew) {
		r.emptied = true
		r.fail(Problem{
			Layer: l.describe(), File: name, Message: "the file is empty, and was not before",
			Hint: "to set nothing, leave a comment or {} in it",
		})
		return
	}
	l.data = data
	problems := l.parse()
	if l.root == nil && len(problems) > 0 {
		r.unparsed = append(r.unparsed, data)
	}
	r.problems = append(r.problems, problems...)
}

// cause is the text of an error without the path that the message has anyway.
func cause(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}

// readFile reads a regular file of at most maxFileBytes.
func readFile(fsys fs.FS, name string) ([]byte, error) {
	var f fs.File
	if fsys != nil {
		file, err := fsys.Open(path.Clean(filepath.ToSlash(name)))
		if err != nil {
			return nil, err
		}
		f = file
	} else {
		// Opening a pipe would wait for its other end.
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, &fs.PathError{Op: "read", Path: name, Err: notRegular(info)}
		}
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		f = file
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("larger than %s", Bytes(maxFileBytes))}
	}
	return data, err
}

func notRegular(info fs.FileInfo) error {
	if info.IsDir() {
		return errors.New("it is a folder")
	}
	return errors.New("it is not a regular file")
}

func (r *reading) profiles(s *sourceSpec) {
	base := &r.opt.sources[s.base]
	for name := range strings.SplitSeq(s.profile(r.environ), ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		if strings.ContainsAny(name, `/\`) || name == ".." || name == "." {
			layer := "profile " + strconv.Quote(shorten(name))
			r.fail(Problem{Layer: layer, Message: "a profile is a name, not a path", Hint: "such as dev or prod"})
			continue
		}
		ext := filepath.Ext(base.path)
		r.file(layerProfile, strings.TrimSuffix(base.path, ext)+"."+name+ext, base)
	}
}

// secretFileKey gives the spelling under which the names of secret files and
// keys are compared.
func secretFileKey(name string) string {
	return strings.ToLower(strings.NewReplacer(".", "_", "-", "_").Replace(name))
}

func (r *reading) secretsDir(s *sourceSpec) {
	l := &layer{kind: layerSecrets, name: s.path, flat: true}
	r.layers = append(r.layers, l)
	entries, err := os.ReadDir(s.path)
	r.inputs = append(r.inputs, newInput(s.path, true, sumDir(entries, err)))
	if errors.Is(err, fs.ErrNotExist) {
		l.missing = true
		return
	}
	if err != nil {
		r.fail(Problem{Layer: l.describe(), Message: "cannot read the folder: " + cause(err), Err: err})
		return
	}
	byName := map[string]*entry{}
	for _, e := range r.schema.leaves {
		byName[secretFileKey(e.key)] = e
	}
	l.root = &doc.Node{Kind: doc.Map}
	for _, file := range entries {
		full := filepath.Join(s.path, file.Name())
		if strings.HasPrefix(file.Name(), ".") || file.IsDir() {
			continue
		}
		e := byName[secretFileKey(file.Name())]
		if e == nil {
			r.strangeSecret(l, full, file.Name(), byName)
			continue
		}
		n, ok := r.textFile(l, e, full, full)
		if !ok {
			continue
		}
		if other := l.root.Child(e.key); other != nil {
			r.fail(Problem{Key: e.key, Layer: "secrets " + full, Message: "a second file for the key, besides " + from(other).label, Hint: "keep one of the two"})
			continue
		}
		l.root.Put(doc.Name{Text: e.key}, n)
	}
}

// strangeSecret reports a file which is no key: as a mistake if a key is near.
func (r *reading) strangeSecret(l *layer, full, name string, byName map[string]*entry) {
	p := Problem{Layer: l.describe() + "/" + name, Message: "the file is no key"}
	if info, err := os.Stat(full); err != nil || !info.Mode().IsRegular() {
		return
	}
	p.Hint = nearest(secretFileKey(name), mapKeys(byName))
	if p.Hint == "" || r.opt.lenient {
		r.warnings = append(r.warnings, p)
		return
	}
	r.fail(p)
}

// textFile reads a file that holds one value.
func (r *reading) textFile(l *layer, e *entry, path, label string) (*doc.Node, bool) {
	data, err := readFile(nil, path)
	r.inputs = append(r.inputs, newInput(path, false, sumFile(data, err)))
	if err != nil {
		p := Problem{Key: e.key, Layer: string(l.kind) + " " + label, File: path, Message: "cannot read the file: " + cause(err), Err: err}
		if errors.Is(err, fs.ErrNotExist) {
			p.Message = "the file is missing"
		}
		if label != path {
			p.Hint = label + " names it"
		}
		r.reject(p)
		return nil, false
	}
	return r.textNode(l, e, trimNewline(string(data)), label, true)
}

// trimNewline drops the one line break that editors and echo add.
func trimNewline(text string) string {
	if rest, ok := strings.CutSuffix(text, "\n"); ok {
		return strings.TrimSuffix(rest, "\r")
	}
	return text
}

// textNode makes the node of a value that came as one text.
func (r *reading) textNode(l *layer, e *entry, text, label string, tainted bool) (*doc.Node, bool) {
	n := &doc.Node{Kind: doc.Text, Text: text, Mark: &origin{layer: l, label: label, tainted: tainted}}
	if tainted {
		r.scrub.add(text)
	}
	if isReference(text) {
		return n, true // expanded once it is resolved
	}
	expanded, err := expandText(n, e.shape)
	if err != nil {
		p := problemAt(n, e.key)
		p.Value, p.Want, p.Hint = shown(n, e.shape, e.key), e.shape.describe(), err.Error()
		r.reject(p)
		return nil, false
	}
	return expanded, true
}

// flagName is the flag of a key.
func flagName(key string) string { return strings.ReplaceAll(key, "_", "-") }

func (r *reading) flags(s *sourceSpec) {
	l := &layer{kind: layerFlag, name: "command line", flat: true, root: &doc.Node{Kind: doc.Map}}
	r.layers = append(r.layers, l)
	if !s.flags.Parsed() {
		r.fail(Problem{Layer: "flag", Message: "the FlagSet is not parsed yet", Hint: "call its Parse before config.Load"})
		return
	}
	byName := make(map[string]*entry, len(r.schema.leaves))
	for _, e := range r.schema.leaves {
		byName[flagName(e.key)] = e
	}
	s.flags.Visit(func(f *flag.Flag) {
		if e := byName[f.Name]; e != nil {
			if n, ok := r.textNode(l, e, f.Value.String(), "-"+f.Name, false); ok {
				l.root.Put(doc.Name{Text: e.key}, n)
			}
		}
	})
}

// source reads a koanf provider.
func (r *reading) source(s *sourceSpec) {
	l := &layer{kind: layerSource, name: s.path}
	r.layers = append(r.layers, l)
	values, err := readProvider(s)
	if err != nil {
		r.fail(Problem{Layer: l.describe(), Message: "cannot be read: " + maskSecrets(err.Error()), Err: err})
		return
	}
	l.root = fromMap(values, &origin{layer: l, label: l.name})
}

func readProvider(s *sourceSpec) (values map[string]any, err error) {
	defer func() { // a provider of someone else's may panic on an outage
		if p := recover(); p != nil {
			values, err = nil, fmt.Errorf("the provider panicked: %v", p)
		}
	}()
	if s.parser == nil {
		return s.provider.Read()
	}
	data, err := s.provider.ReadBytes()
	if err != nil {
		return nil, err
	}
	return s.parser.Unmarshal(data)
}

// fromMap turns a provider's map into a tree. A dot in a key nests.
func fromMap(values map[string]any, mark any) *doc.Node {
	n := &doc.Node{Kind: doc.Map, Mark: mark}
	for _, k := range sortedKeys(values) {
		at := n
		parts := strings.Split(k, ".")
		for _, part := range parts[:len(parts)-1] {
			next := at.Child(part)
			if next == nil || next.Kind != doc.Map {
				next = &doc.Node{Kind: doc.Map, Mark: mark}
				at.Put(doc.Name{Text: part}, next)
			}
			at = next
		}
		last, v := parts[len(parts)-1], fromAny(values[k], mark)
		if have := at.Child(last); have != nil && have.Kind == doc.Map && v.Kind == doc.Map {
			for i, k := range v.Names {
				have.Put(k, v.Items[i])
			}
			v = have
		}
		at.Put(doc.Name{Text: last}, v)
	}
	return n
}

func fromAny(v, mark any) *doc.Node {
	n := &doc.Node{Kind: doc.Text, Mark: mark}
	switch v := v.(type) {
	case nil:
		n.Kind = doc.Null
		return n
	case string:
		n.Text = v
		return n
	case map[string]any:
		return fromMap(v, mark)
	case json.Number:
		n.Text, n.Plain = v.String(), true
		return n
	case float64:
		n.Text, n.Plain = strconv.FormatFloat(v, 'f', -1, 64), true
		return n
	case []byte:
		n.Text = string(v)
		return n
	}
	rv := reflect.ValueOf(v)
	switch rv.Kind() {
	case reflect.Pointer, reflect.Interface:
		if rv.IsNil() {
			n.Kind = doc.Null
			return n
		}
		return fromAny(rv.Elem().Interface(), mark)
	case reflect.Slice, reflect.Array:
		n.Kind = doc.List
		for i := range rv.Len() {
			n.Items = append(n.Items, fromAny(rv.Index(i).Interface(), mark))
		}
		return n
	case reflect.Map:
		values := make(map[string]any, rv.Len())
		for it := rv.MapRange(); it.Next(); {
			values[fmt.Sprint(it.Key().Interface())] = it.Value().Interface()
		}
		return fromMap(values, mark)
	}
	n.Text, n.Plain = fmt.Sprint(v), true
	return n
}
