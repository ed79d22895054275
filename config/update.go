package config

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/doc"
	"github.com/svcblocks/svcblocks/config/internal/typed"
	"github.com/svcblocks/svcblocks/internal/atomicfile"
	"github.com/svcblocks/svcblocks/internal/filelock"
)

// Errors of [Store.Set] and [Store.Update].
var (
	// ErrNotWritable is returned where no File option has Writable.
	ErrNotWritable = errors.New("config: update: no file is writable; add config.Writable() to one")
	// ErrSecret is wrapped where a change would write a secret into a plain
	// file. A reference, such as ref+vault://…, may be written in its place.
	ErrSecret = typed.ErrSecret
	// ErrUnknownKey is wrapped by Set for a key that the settings do not have.
	ErrUnknownKey = errors.New("unknown key")
)

// OverriddenError says that a change was not made because a higher layer gives
// the key its value: the change would have no effect.
type OverriddenError struct {
	// Key is the dotted key.
	Key string
	// Origin is the layer that wins, such as env APP_MODE.
	Origin Origin
}

// Error names the key and the layer.
func (e *OverriddenError) Error() string {
	return fmt.Sprintf("config: update %s: overridden by %s; change it there", e.Key, e.Origin)
}

// WriteError says that the file could not be replaced. The old file is whole.
type WriteError struct {
	// Path is the file.
	Path string
	// Hint says what to do. May be empty.
	Hint string
	// Err is the cause, such as syscall.EBUSY, fs.ErrPermission or
	// syscall.ENOSPC.
	Err error
}

// Error returns path, cause and hint.
func (e *WriteError) Error() string {
	text := fmt.Sprintf("config: write %s: %s", e.Path, e.Err)
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Unwrap returns Err.
func (e *WriteError) Unwrap() error { return e.Err }

// Set changes one key, by name, to what the text means for the key's type: a
// list is separated by commas or JSON, a map is JSON and replaces the map's
// entries that it names. The key of a map's entry is written map.entry. The
// rest is as for [Store.Update].
func (s *Store[T]) Set(ctx context.Context, key, value string) error {
	return s.engine.update(ctx, "set "+key, func(rv reflect.Value) (map[string]*doc.Node, error) {
		return s.engine.setText(rv.Elem(), key, value)
	})
}

// Unset takes one key out of the [Writable] file, so that the layer below gives
// its value again, in the end the default. The key of a map's entry is written
// map.entry. A key that the file does not set stays as it is. The rest is as for
// [Store.Update].
func (s *Store[T]) Unset(ctx context.Context, key string) error {
	return s.engine.update(ctx, "unset "+key, func(reflect.Value) (map[string]*doc.Node, error) {
		return s.engine.unsetKey(key)
	})
}

// Update changes several keys at once. It reads all layers, runs change on a
// copy of the settings, checks the whole, and writes the keys that differ to
// the [Writable] file, whose other lines stay as they are; then the new
// snapshot becomes current. It holds an advisory lock meanwhile, so that
// concurrent writers of all processes lose nothing. All or nothing: on an error
// the file and the settings are as before.
//
// The errors are what change returns, a [*Report] if the result is not valid,
// an [*OverriddenError], a [*WriteError], [ErrNotWritable], or one that wraps
// [ErrSecret].
func (s *Store[T]) Update(ctx context.Context, change func(*T) error) error {
	return s.engine.update(ctx, "update", func(rv reflect.Value) (map[string]*doc.Node, error) {
		return nil, change(rv.Interface().(*T))
	})
}

// changeFunc changes the settings in rv; it may give the nodes to write for
// some keys, in place of those made from the values.
type changeFunc func(rv reflect.Value) (map[string]*doc.Node, error)

func (e *engine) update(ctx context.Context, op string, change changeFunc) error {
	return e.exclusive(ctx, op, func() error { return e.updateLocked(ctx, op, change) })
}

func (e *engine) updateLocked(ctx context.Context, op string, change changeFunc) (err error) {
	i := slices.IndexFunc(e.opt.sources, func(s sourceSpec) bool { return s.writable })
	if i < 0 {
		return ErrNotWritable
	}
	path, err := filepath.EvalSymlinks(e.opt.sources[i].path) // a link stays one
	if errors.Is(err, fs.ErrNotExist) {
		path, err = e.opt.sources[i].path, nil
	}
	if err != nil {
		return writeError(path, err)
	}
	lock, err := lockFor(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	removeLeftovers(path)

	for begun := time.Now(); ; {
		at := time.Now()
		data, readErr := readFile(nil, path)
		missing := errors.Is(readErr, fs.ErrNotExist)
		if missing && e.opt.sources[i].optional {
			data, readErr = []byte{}, nil
		}
		if readErr != nil {
			return writeError(path, readErr)
		}
		base, err := e.build(ctx, data)
		if base != nil {
			wait, written := restless(at, e.snapshot().inputs, e.inPlace(base.inputs, e.opt.sources[i].path))
			if wait > 0 {
				if err := awaitRest(ctx, begun, wait, written); err != nil {
					return err
				}
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("config: %s: the settings as they are: %w", op, within(err))
		}

		p, err := e.plan(ctx, op, base, data, formatOf(e.opt.sources[i].path), change)
		if err != nil || p == nil {
			return err
		}
		now, readErr := readFile(nil, path)
		if changed := readErr == nil && (missing || !bytes.Equal(now, data)); changed {
			continue // someone writes without the lock: begin again from theirs
		}
		if err := writeFile(path, p.next, missing); err != nil {
			return err
		}
		for _, n := range p.notes {
			e.opt.logger.Info("settings changed", "note", n.Message, "key", n.Key, "place", position(path, n.Line, 0))
		}
		e.install(p.snap)
		return nil
	}
}

// inPlace leaves the writable file out where another file has taken its place
// since it was read last: so do the writers that take our lock, and theirs are
// whole. An editor that writes into the file itself is waited for.
func (e *engine) inPlace(inputs []input, writable string) []input {
	known := e.snapshot().inputs
	return slices.DeleteFunc(slices.Clone(inputs), func(in input) bool {
		i := slices.IndexFunc(known, func(k input) bool { return k.path == in.path })
		return in.path == writable && (i < 0 || in.info == nil || known[i].info == nil || !os.SameFile(in.info, known[i].info))
	})
}

// planned is a change that can be made.
type planned struct {
	next  []byte // the file's content
	snap  *snapshot
	notes []doc.Note
}

// plan makes the file's next content and the snapshot it gives; nil if nothing
// changes. data is what the file holds in base.
func (e *engine) plan(ctx context.Context, op string, base *snapshot, data []byte, f doc.Format, change changeFunc) (*planned, error) {
	rv := reflect.New(e.schema.Type)
	rv.Elem().Set(typed.Copy(base.rv.Elem(), e.schema.Root.Shape))

	texts, err := change(rv)
	if err != nil {
		var own *Report
		if errors.As(err, &own) || strings.HasPrefix(err.Error(), "config: ") {
			return nil, err
		}
		return nil, fmt.Errorf("config: %s: %w", op, err)
	}

	if name := typed.ChangedNoKey(base.rv.Elem(), rv.Elem(), e.schema.Root.Shape); name != "" {
		return nil, fmt.Errorf("config: %s: field %s was changed, but it is no key: no file can hold it", op, name)
	}
	edits, err := e.edits(base, rv, texts)
	if err != nil || len(edits) == 0 {
		return nil, err
	}

	next, notes, err := doc.Edit(f, data, edits)
	if err != nil {
		return nil, fmt.Errorf("config: %s: %w", op, err)
	}
	if bytes.Equal(next, data) {
		return nil, nil
	}

	snap, err := e.build(ctx, next)
	if err != nil {
		return nil, fmt.Errorf("config: %s: %w", op, within(err))
	}

	if len(texts) == 0 {
		if left, err := e.edits(snap, rv, nil); err != nil || len(left) > 0 {
			return nil, errors.Join(fmt.Errorf("config: %s: key %s: the file cannot express the value", op, append(left, edits...)[0].Key()), err)
		}
	}

	return &planned{next, snap, notes}, nil
}

// edits lists what differs between the base and the settings in rv.
func (e *engine) edits(base *snapshot, rv reflect.Value, texts map[string]*doc.Node) (out []doc.Change, err error) {
	var visit func(section *typed.Entry, old, now reflect.Value) error
	visit = func(section *typed.Entry, old, now reflect.Value) error {
		for _, child := range section.Children {
			ov, nv := fieldOf(old, child.Index), fieldOf(now, child.Index)
			if child.Section {
				o, n := indirect(ov), indirect(nv)
				if o.IsValid() && !n.IsValid() {
					return fmt.Errorf("config: update %s: a section cannot be removed; change its keys", child.Key)
				}
				if !n.IsValid() {
					continue
				}
				if err := visit(child, o, n); err != nil {
					return err
				}
				continue
			}

			more, err := e.leafEdits(base, child, ov, nv, texts)
			if err != nil {
				return err
			}
			out = append(out, more...)
		}

		return nil
	}

	return out, visit(e.schema.Root, base.rv.Elem(), rv.Elem())
}

// unsetKey names the key to take away.
func (e *engine) unsetKey(key string) (map[string]*doc.Node, error) {
	leaf := e.schema.ByKey[key]
	for _, l := range e.schema.Leaves { // an entry of a map?
		if strings.HasPrefix(key, l.Key+".") && l.Shape.Code == typed.Map {
			leaf = l
		}
	}
	switch {
	case leaf == nil:
		hint := typed.Nearest(key, typed.Keys(e.schema.ByKey))
		return nil, fmt.Errorf("config: unset %s: %w (%s)", key, ErrUnknownKey, cmp.Or(hint, "explain lists the keys"))
	case leaf.Section:
		return nil, fmt.Errorf("config: unset %s: %w (it is a section: unset its keys one by one)", key, ErrUnknownKey)
	}
	return map[string]*doc.Node{key: nil}, nil
}

// setText reads value as text for the key.
func (e *engine) setText(rv reflect.Value, key, value string) (map[string]*doc.Node, error) {
	leaf, entryKey := e.schema.ByKey[key], ""
	if leaf == nil { // an entry of a map?
		for _, l := range e.schema.Leaves {
			if rest, ok := strings.CutPrefix(key, l.Key+"."); ok && l.Shape.Code == typed.Map {
				leaf, entryKey = l, rest
			}
		}
	}

	if leaf == nil || leaf.Section {
		hint := typed.Nearest(key, typed.Keys(e.schema.ByKey))
		if leaf != nil {
			hint = "it is a section: set its keys one by one"
		}
		if hint != "" {
			hint = " (" + hint + ")"
		}
		return nil, fmt.Errorf("config: set %s: %w%s", key, ErrUnknownKey, hint)
	}

	s := leaf.Shape
	if entryKey != "" {
		s = s.Elem
	}
	n := &doc.Node{Kind: doc.Text, Text: value, Mark: &origin{layer: &layer{kind: layerSource, name: "set"}, label: "value"}}
	if isReference(value) {
		return map[string]*doc.Node{key: {Kind: doc.Text, Text: value}}, nil
	}

	if s.IsSecret() {
		return nil, fmt.Errorf("config: set %s: %w", key, ErrSecret)
	}
	expanded, err := typed.Expand(n, s)
	d := newDecoder(false)
	target := reflect.New(leaf.Shape.Type).Elem()
	field := e.leafValue(rv, leaf)

	before := reflect.New(field.Type()).Elem()
	before.Set(typed.Copy(field, leaf.Shape))

	if err == nil && entryKey == "" {
		if leaf.Shape.Code == typed.Map {
			target.Set(typed.Copy(field, leaf.Shape))
		}
		if d.Value(target, leaf.Shape, expanded, key) {
			field.Set(target)
		}
	}

	if err == nil && entryKey != "" {
		outer := &doc.Node{Kind: doc.Map, Mark: n.Mark}
		outer.Put(doc.Name{Text: entryKey}, expanded)
		target.Set(typed.Copy(field, leaf.Shape))
		if d.Value(target, leaf.Shape, outer, leaf.Key) {
			field.Set(target)
		}
	}

	problems := problemsOf(d.Mistakes)
	if err != nil {
		problems = []Problem{{Kind: KindWrongType, Key: key, Value: shown(n, s, key), Want: s.Describe(), Hint: err.Error()}}
	}
	for i := range problems {
		problems[i].Layer = ""
	}

	if len(problems) > 0 {
		return nil, fmt.Errorf("config: set %s: %w", key, reportOf{&Report{Problems: problems}})
	}
	if typed.Equal(before, field, leaf.Shape) {
		return nil, nil // it has the value already
	}
	return e.keptText(leaf, s, key, value, expanded), nil
}

// keptText keeps the text that was given for types whose canonical text is
// another: 90s stays 90s and does not become 1m30s.
func (e *engine) keptText(leaf *typed.Entry, s *typed.Shape, key, value string, n *doc.Node) map[string]*doc.Node {
	for s.Code == typed.Pointer {
		s = s.Elem
	}
	switch s.Code {
	case typed.Duration, typed.Text, typed.Time, typed.URL:
		if n.Kind == doc.Text && leaf.Key == key && (s.Type != reflect.TypeFor[URL]() || showable(value) == value) {
			return map[string]*doc.Node{key: {Kind: doc.Text, Text: strings.TrimSpace(value)}}
		}
	}
	return nil
}

// leafValue finds the field of a leaf and makes the sections on the way.
func (e *engine) leafValue(rv reflect.Value, leaf *typed.Entry) reflect.Value {
	var find func(section *typed.Entry, rv reflect.Value) (reflect.Value, bool)
	find = func(section *typed.Entry, rv reflect.Value) (reflect.Value, bool) {
		for _, child := range section.Children {
			if child == leaf {
				return rv.Field(child.Index), true
			}
			if child.Section && child.ID <= leaf.ID && leaf.ID < child.End {
				fv := rv.Field(child.Index)
				for fv.Kind() == reflect.Pointer {
					if fv.IsNil() {
						fv.Set(reflect.New(fv.Type().Elem()))
					}
					fv = fv.Elem()
				}
				return find(child, fv)
			}
		}
		return reflect.Value{}, false
	}

	out, _ := find(e.schema.Root, rv)
	return out
}

// lockFor takes the advisory lock of a file. It is held on the folder where
// the system can lock folders, so that no lock file lies about.
func lockFor(ctx context.Context, path string) (*os.File, error) {
	f, err := openLock(path)
	if err != nil {
		return nil, writeError(path, err)
	}
	if err := filelock.Lock(ctx, f); err != nil {
		return nil, errors.Join(writeError(path, err), f.Close())
	}
	return f, nil
}

// removeLeftovers removes what a killed writer left; the caller has the lock.
func removeLeftovers(path string) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), "."+base+".tmp")
		if ours && rest != "" && strings.Trim(rest, "0123456789") == "" { // as internal/atomicfile names them
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

func writeFile(path string, data []byte, missing bool) error {
	perm := os.FileMode(0o644)
	if !missing {
		info, err := os.Stat(path)
		if err != nil {
			return writeError(path, err)
		}
		perm = info.Mode().Perm()
		if perm&0o222 == 0 {
			return &WriteError{Path: path, Err: fs.ErrPermission, Hint: "the file is read-only"}
		}
	}

	if err := atomicfile.Write(path, data, perm); err != nil {
		return writeError(path, err)
	}
	return nil
}
