package config

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/internal/typed"
	"github.com/svcblocks/svcblocks/internal/atomicfile"
	"github.com/svcblocks/svcblocks/internal/redact"
)

// reading is one pass over all layers.
type reading struct {
	opt      *options
	schema   *typed.Schema
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
	ignored  []Entry         // names that Ignore let be there
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
			newSecretsFolder(r, s.path).read()
		case layerEnv:
			newVariables(r, s).read()
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

// ignores reports a name that is left alone, and notes it for Explain.
func (r *reading) ignores(name string, where Origin) bool {
	for _, p := range r.opt.ignore {
		if matchName(p, name) {
			r.ignored = append(r.ignored, Entry{Key: name, Origin: where, Ignored: true})
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
		p := Problem{Kind: KindUnreadable, Layer: l.describe(), File: name, Message: "cannot read the file: " + cause(err), Err: err}
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
			Kind: KindUnreadable, Layer: l.describe(), File: name, Message: "the file is empty, and was not before",
			Hint: "to set nothing, leave a comment or {} in it",
		})
		return
	}

	l.data = data
	problems := l.parse()
	for i := range problems {
		problems[i].Key = r.schema.Shown(problems[i].Key)
	}
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
		file, err := atomicfile.Open(name)
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
			r.fail(Problem{Kind: KindWrongType, Layer: layer, Message: "a profile is a name, not a path", Hint: "such as dev or prod"})
			continue
		}
		ext := filepath.Ext(base.path)
		r.file(layerProfile, strings.TrimSuffix(base.path, ext)+"."+name+ext, base)
	}
}

// textFile reads a file that holds one value.
func (r *reading) textFile(l *layer, e *typed.Entry, path, label string) (*doc.Node, bool) {
	data, err := readFile(nil, path)
	r.inputs = append(r.inputs, newInput(path, false, sumFile(data, err)))
	if err != nil {
		p := Problem{Kind: KindUnreadable, Key: e.Key, Layer: string(l.kind) + " " + label, File: path, Message: "cannot read the file: " + cause(err), Err: err}
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
func (r *reading) textNode(l *layer, e *typed.Entry, text, label string, tainted bool) (*doc.Node, bool) {
	n := &doc.Node{Kind: doc.Text, Text: text, Mark: &origin{layer: l, label: label, tainted: tainted}}
	if tainted {
		r.scrub.add(text)
	}
	if isReference(text) {
		return n, true // expanded once it is resolved
	}

	expanded, err := typed.Expand(n, e.Shape)
	if err != nil {
		p := problemAt(n, e.Key)
		p.Kind = KindWrongType
		p.Value, p.Want, p.Hint = shown(n, e.Shape, e.Key), e.Shape.Describe(), err.Error()
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

	byName := make(map[string]*typed.Entry, len(r.schema.Leaves))
	for _, e := range r.schema.Leaves {
		byName[flagName(e.Key)] = e
	}

	s.flags.Visit(func(f *flag.Flag) {
		if e := byName[f.Name]; e != nil {
			if e.Shape.HoldsSecret() {
				r.reject(Problem{
					Kind: KindInvalid, Key: e.Key, Layer: "flag -" + f.Name, Message: "a secret on the command line, where every user of the machine sees it",
					Hint: "give it in a file of SecretsDir, or name one in its variable that ends in " + fileSuffix,
				})
				return
			}
			if n, ok := r.textNode(l, e, f.Value.String(), "-"+f.Name, false); ok {
				l.root.Put(doc.Name{Text: e.Key}, n)
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
		r.fail(Problem{Kind: KindUnreadable, Layer: l.describe(), Message: "cannot be read: " + redact.Reason(err.Error()), Err: err})
		return
	}

	root, err := typed.FromMap(values, typed.AnyRules{
		Mark: &origin{layer: l, label: l.name}, SecretMark: &origin{layer: l, label: l.name, tainted: true},
	})
	if err != nil {
		r.fail(Problem{Kind: KindUnreadable, Layer: l.describe(), Message: "cannot be read: " + err.Error(), Err: err})
		return
	}

	l.root = root
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
