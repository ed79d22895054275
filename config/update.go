package config

import (
	"bytes"
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
	ErrSecret = errors.New("config: a secret is not written to a plain file; set a reference (ref+…), or change it where it is kept")
	// ErrUnknownKey is wrapped by Set and Unset for a key that the settings do
	// not have.
	ErrUnknownKey = errors.New("config: unknown key")
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

// refusal is why a change was not made: its text names the package once, and it
// matches the sentinel it is about.
type refusal struct {
	text string
	is   error
}

func (r *refusal) Error() string { return r.text }

// Unwrap returns the sentinel.
func (r *refusal) Unwrap() error { return r.is }

// refuse says of a change what it is about and the sentinel's own words.
func refuse(is error, format string, args ...any) error {
	text := fmt.Sprintf(format, args...) + ": " + strings.TrimPrefix(is.Error(), "config: ")
	return &refusal{"config: " + text, is}
}

// changeFunc changes the settings in rv, a copy of those in base. It may give
// the changes of the document as well, which then take nothing from rv.
type changeFunc func(base *snapshot, rv reflect.Value) ([]doc.Change, error)

// changeError says which operation a change of the caller's failed in.
func changeError(err error) error {
	var own *Report
	if err == nil || errors.As(err, &own) || strings.HasPrefix(err.Error(), "config: ") {
		return err
	}
	return fmt.Errorf("config: update: %w", err)
}

// updater makes one change of the writable file.
type updater struct {
	*engine
	op     string // for messages
	change changeFunc
	source *sourceSpec // of the file
	path   string      // the file itself, behind its links
}

// locked takes the file's lock, so that no writer of ours comes between.
func (u *updater) locked(ctx context.Context) (err error) {
	i := slices.IndexFunc(u.opt.sources, func(s sourceSpec) bool { return s.writable })
	if i < 0 {
		return ErrNotWritable
	}

	u.source = &u.opt.sources[i]
	u.path, err = filepath.EvalSymlinks(u.source.path) // a link stays one
	if errors.Is(err, fs.ErrNotExist) {
		u.path, err = u.source.path, nil
	}
	if err != nil {
		return writeError(u.path, err)
	}

	lock, err := lockFor(ctx, u.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	removeLeftovers(u.path)

	for begun := time.Now(); ; {
		again, err := u.try(ctx, begun)
		if !again {
			return err
		}
	}
}

// try makes the change from what the file holds now. It is to be tried again
// where the file was not at rest, or changed meanwhile.
func (u *updater) try(ctx context.Context, begun time.Time) (again bool, err error) {
	at := time.Now()
	data, readErr := readFile(nil, u.path)
	missing := errors.Is(readErr, fs.ErrNotExist)
	if missing && u.source.optional {
		data, readErr = []byte{}, nil
	}
	if readErr != nil {
		return false, writeError(u.path, readErr)
	}

	base, err := u.build(ctx, data)
	if base != nil {
		wait, written := restless(at, u.snapshot().inputs, u.inPlace(base.inputs))
		if wait > 0 {
			err := awaitRest(ctx, begun, wait, written)
			return err == nil, err
		}
	}
	if err != nil {
		return false, fmt.Errorf("config: %s: the settings as they are: %w", u.op, within(err))
	}

	p, err := u.plan(ctx, base, data)
	if err != nil || p == nil {
		return false, err
	}
	now, readErr := readFile(nil, u.path)
	if changed := readErr == nil && (missing || !bytes.Equal(now, data)); changed {
		return true, nil // someone writes without the lock: begin again from theirs
	}

	if err := writeFile(u.path, p.next, missing); err != nil {
		return false, err
	}
	for _, n := range p.notes {
		u.opt.logger.Info("settings changed", "note", n.Message, "key", n.Key, "place", position(u.path, n.Line, 0))
	}
	u.install(p.snap)
	return false, nil
}

// inPlace leaves the writable file out where another file has taken its place
// since it was read last: so do the writers that take our lock, and theirs are
// whole. An editor that writes into the file itself is waited for.
func (u *updater) inPlace(inputs []input) []input {
	known := u.snapshot().inputs
	return slices.DeleteFunc(slices.Clone(inputs), func(in input) bool {
		i := slices.IndexFunc(known, func(k input) bool { return k.path == in.path })
		return in.path == u.source.path && (i < 0 || in.info == nil || known[i].info == nil || !os.SameFile(in.info, known[i].info))
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
func (u *updater) plan(ctx context.Context, base *snapshot, data []byte) (*planned, error) {
	rv := reflect.New(u.schema.Type)
	rv.Elem().Set(typed.Copy(base.rv.Elem(), u.schema.Root.Shape))
	edits, err := u.change(base, rv)
	if err != nil {
		return nil, err
	}

	byValue := len(edits) == 0
	if byValue {
		if name := typed.ChangedNoKey(base.rv.Elem(), rv.Elem(), u.schema.Root.Shape); name != "" {
			return nil, fmt.Errorf("config: %s: field %s was changed, but it is no key: no file can hold it", u.op, name)
		}
		edits, err = u.differences(base, rv)
	}
	if err != nil || len(edits) == 0 {
		return nil, err
	}

	next, notes, err := doc.Edit(formatOf(u.source.path), data, edits)
	if err != nil {
		return nil, fmt.Errorf("config: %s: %w", u.op, err)
	}
	if bytes.Equal(next, data) {
		return nil, nil
	}

	snap, err := u.build(ctx, next)
	if err != nil {
		return nil, fmt.Errorf("config: %s: %w", u.op, within(err))
	}
	if byValue {
		if left, err := u.differences(snap, rv); err != nil || len(left) > 0 {
			return nil, errors.Join(fmt.Errorf("config: %s: key %s: the file cannot express the value", u.op, append(left, edits...)[0].Key()), err)
		}
	}

	return &planned{next, snap, notes}, nil
}

// differences lists what differs between the base and the settings in rv.
func (u *updater) differences(base *snapshot, rv reflect.Value) (out []doc.Change, err error) {
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

			d := &differ{engine: u.engine, base: base, leaf: child}
			if err := d.leafValues(ov, nv); err != nil {
				return err
			}
			out = append(out, d.out...)
		}

		return nil
	}

	return out, visit(u.schema.Root, base.rv.Elem(), rv.Elem())
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
