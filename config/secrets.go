package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/internal/typed"
)

// secretFileKey gives the spelling under which the names of secret files and
// keys are compared.
func secretFileKey(name string) string {
	return strings.ToLower(strings.NewReplacer(".", "_", "-", "_").Replace(name))
}

// secretsFolder reads a folder with one file per key.
type secretsFolder struct {
	*reading
	layer  *layer
	byName map[string]*typed.Entry // by secretFileKey of the keys
}

func newSecretsFolder(r *reading, path string) *secretsFolder {
	f := &secretsFolder{reading: r, layer: &layer{kind: layerSecrets, name: path, flat: true}, byName: map[string]*typed.Entry{}}
	for _, e := range r.schema.Leaves {
		f.byName[secretFileKey(e.Key)] = e
	}
	return f
}

func (f *secretsFolder) read() {
	l := f.layer
	f.layers = append(f.layers, l)

	entries, err := os.ReadDir(l.name)
	f.inputs = append(f.inputs, newInput(l.name, true, sumDir(entries, err)))
	if errors.Is(err, fs.ErrNotExist) {
		l.missing = true
		return
	}
	if err != nil {
		f.fail(Problem{Kind: KindUnreadable, Layer: l.describe(), Message: "cannot read the folder: " + cause(err), Err: err})
		return
	}

	l.root = &doc.Node{Kind: doc.Map}
	var strange []string
	for _, file := range entries {
		if strings.HasPrefix(file.Name(), ".") {
			continue
		}
		e := f.byName[secretFileKey(file.Name())]
		if e == nil {
			strange = append(strange, file.Name())
			continue
		}
		f.value(e, filepath.Join(l.name, file.Name()))
	}

	for _, name := range strange { // last, when all files of keys are known
		f.strange(name)
	}
}

// value reads the file of a key.
func (f *secretsFolder) value(e *typed.Entry, path string) {
	root := f.layer.root
	n, ok := f.textFile(f.layer, e, path, path)
	if !ok {
		return
	}
	if other := root.Child(e.Key); other != nil {
		f.fail(Problem{Kind: KindConflict, Key: e.Key, Layer: "secrets " + path, Message: "a second file for the key, besides " + from(other).label, Hint: "keep one of the two"})
		return
	}
	root.Put(doc.Name{Text: e.Key}, n)
}

// strange reports a file which is no key. It is a mistake if it is as good
// as one: one or two edits away from a key that has no file of its own. The
// folder holds other programs' files too.
func (f *secretsFolder) strange(name string) {
	l := f.layer
	full := filepath.Join(l.name, name)
	if f.ignores(name, Origin{Layer: string(layerSecrets), Name: full}) {
		return
	}

	p := Problem{Kind: KindUnknown, Layer: l.describe() + "/" + name, Message: "the file is no key"}
	info, err := os.Stat(full)
	if err != nil {
		return
	}
	if info.IsDir() {
		p.Message, p.Hint = "a folder, which is not read", "the file of key mail.password is mail_password, in this folder itself"
		for _, key := range typed.SortedKeys(f.schema.ByKey) {
			if e := f.schema.ByKey[key]; e.Section && secretFileKey(key) == secretFileKey(name) {
				f.warnings = append(f.warnings, p)
			}
		}
		return
	}
	if !info.Mode().IsRegular() {
		return
	}

	var free []string
	for file, e := range f.byName {
		if l.root.Child(e.Key) == nil {
			free = append(free, file)
		}
	}
	p.Hint = typed.NearMiss(secretFileKey(name), free)

	for _, key := range typed.SortedKeys(f.schema.Unreadable) {
		if secretFileKey(key) == secretFileKey(name) {
			p.Hint = f.schema.Unreadable[key]
		}
	}

	if p.Hint == "" || f.opt.lenient {
		f.warnings = append(f.warnings, p)
		return
	}
	f.fail(p)
}
