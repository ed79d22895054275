package safefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// A Dir is a folder of ours. Names are relative to it and cannot leave it, also
// when it is moved. Its methods are safe for concurrent use.
type Dir struct {
	path   string
	root   *os.Root
	policy Policy
}

// OpenDir opens the folder path, and makes it and what is missing above it with
// p.DirPerm. It refuses, with an [*Error], a folder that others may write or
// that belongs to a stranger.
func OpenDir(path string, p Policy) (*Dir, error) {
	p = p.withDefaults()
	if err := os.MkdirAll(path, p.DirPerm); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}

	d := &Dir{path: path, root: root, policy: p}
	if err := d.check(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return d, nil
}

// Sub opens the folder name below d, which is made if it is missing.
func (d *Dir) Sub(name string) (*Dir, error) {
	if err := d.root.MkdirAll(name, d.policy.DirPerm); err != nil {
		return nil, err
	}
	root, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}

	sub := &Dir{path: filepath.Join(d.path, name), root: root, policy: d.policy}
	if err := sub.check(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return sub, nil
}

// check looks at the folder that is open. A link may stand for it, as operators
// like to do, if it is not a stranger's.
func (d *Dir) check() error {
	info, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	if err := d.policy.checkDir(d.path, info); err != nil {
		return err
	}

	name, err := os.Lstat(d.path)
	if err != nil || name.Mode()&fs.ModeSymlink == 0 || d.policy.Shared {
		return nil //nolint:nilerr // it was moved since; the open folder is what counts
	}
	owner, _ := ownerOf(name)
	dirOwner, _ := ownerOf(info)
	if owner > 0 && owner != os.Geteuid() && owner != dirOwner {
		return d.policy.refuse(d.path, name, "it is another user's link to this folder", "remove the link, or name the folder itself")
	}
	return nil
}

// Path returns the path that the folder was opened by.
func (d *Dir) Path() string { return d.path }

// Close closes the folder; files that were opened stay open.
func (d *Dir) Close() error { return d.root.Close() }

// OpenFile opens the file name below the folder, as [OpenFile] does. perm is
// the mode of a new file; 0 is Policy.Perm.
func (d *Dir) OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return d.policy.open(d.at(name), flag, perm)
}

func (d *Dir) at(name string) target {
	return target{
		path:   filepath.Join(d.path, name),
		open:   func(flag int, perm fs.FileMode) (*os.File, error) { return d.root.OpenFile(name, flag|nonBlock, perm) },
		lstat:  func() (fs.FileInfo, error) { return d.root.Lstat(name) },
		folder: func() (fs.FileInfo, error) { return d.root.Stat(filepath.Dir(name)) },
	}
}

// Create makes the file name, or empties it, and opens it for writing.
func (d *Dir) Create(name string) (*os.File, error) {
	return d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0)
}

// CreateTemp makes a new file whose name is pattern with a random string in
// place of its last "*", or behind it, and opens it for reading and writing.
// The base name of what it returns is the name within the folder.
func (d *Dir) CreateTemp(pattern string) (*os.File, error) {
	prefix, suffix := pattern, ""
	if i := strings.LastIndexByte(pattern, '*'); i >= 0 {
		prefix, suffix = pattern[:i], pattern[i+1:]
	}
	for range 1000 {
		name := fmt.Sprintf("%s%08x%s", prefix, rand.Uint32(), suffix) //nolint:gosec // O_EXCL is what protects
		f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		return f, err
	}
	return nil, &fs.PathError{Op: "createtemp", Path: filepath.Join(d.path, pattern), Err: fs.ErrExist}
}

// ReadFile returns what is in the file name.
func (d *Dir) ReadFile(name string) ([]byte, error) {
	f, err := d.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return readAll(f)
}

// WriteFile replaces the file name as a whole: whoever opens it sees the old
// content or the new, also after a crash. On an error it is as before. A
// process that is killed midway leaves at most one file "<name>.tmp<random>".
func (d *Dir) WriteFile(name string, data []byte) (err error) {
	tmp, err := d.CreateTemp(name + ".tmp*")
	if err != nil {
		return err
	}
	tmpName := filepath.Join(filepath.Dir(name), filepath.Base(tmp.Name()))
	defer func() {
		if err != nil {
			_ = tmp.Close()
			err = errors.Join(err, d.root.Remove(tmpName))
		}
	}()

	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := d.root.Rename(tmpName, name); err != nil {
		return err
	}

	// It is replaced by now; what may fail is that it stays so after a crash.
	if syncErr := d.Sync(); syncErr != nil {
		return fmt.Errorf("replace %s: written, but not yet durable: %w", filepath.Join(d.path, name), syncErr)
	}
	return nil
}

// Rename gives a file another name within the folder, in place of what has it.
// A link is replaced, not followed.
func (d *Dir) Rename(from, to string) error { return d.root.Rename(from, to) }

// Remove removes a file or an empty folder. Of a link, the link goes.
func (d *Dir) Remove(name string) error { return d.root.Remove(name) }

// Lstat describes a file without following a link.
func (d *Dir) Lstat(name string) (fs.FileInfo, error) { return d.root.Lstat(name) }

// ReadDir lists the folder, sorted by name.
func (d *Dir) ReadDir() ([]fs.DirEntry, error) { return fs.ReadDir(d.root.FS(), ".") }

// Sync makes the names in the folder durable. Windows has no such call; there
// it does nothing.
func (d *Dir) Sync() error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Moved reports whether Path no longer leads to the folder that is open: it was
// removed, or replaced. What is written since is lost with it.
func (d *Dir) Moved() bool {
	open, err := d.root.Stat(".")
	if err != nil {
		return true
	}
	now, err := os.Stat(d.path)
	return err != nil || !os.SameFile(open, now)
}

func readAll(f *os.File) ([]byte, error) {
	data, err := io.ReadAll(f)
	return data, errors.Join(err, f.Close())
}
