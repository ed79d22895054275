package config

import (
	"os"
	"path/filepath"
	"runtime"

	"github.com/fsnotify/fsnotify"
)

// fileWatch waits for changes to a set of files, through folders that are
// replaced and links that are swapped. It tells of changes that may concern
// the files; the caller compares contents.
type fileWatch struct {
	fs    *fsnotify.Watcher
	armed map[string]os.FileInfo // watched paths, and what they named
	names map[string]bool        // events of these paths matter
	dirs  map[string]bool        // so do all events within these
}

// watchesAncestors says that all folders on the way to a file are watched.
// inotify tells of the names in a folder alone; kqueue opens every file in it,
// which is too much for the folders of others.
const watchesAncestors = runtime.GOOS == "linux"

func newFileWatch(without bool) *fileWatch {
	w := &fileWatch{armed: map[string]os.FileInfo{}}
	if without {
		return w
	}
	fs, err := fsnotify.NewWatcher()
	if err != nil { // out of inotify instances, or no such thing here
		return w
	}
	w.fs = fs
	return w
}

// events returns what the operating system tells; nil, which never fires,
// where it tells nothing.
func (w *fileWatch) events() <-chan fsnotify.Event {
	if w.fs == nil {
		return nil
	}
	return w.fs.Events
}

func (w *fileWatch) errors() <-chan error {
	if w.fs == nil {
		return nil
	}
	return w.fs.Errors
}

// concerns reports whether an event may change what the inputs say.
func (w *fileWatch) concerns(event fsnotify.Event) bool {
	path := filepath.Clean(event.Name)
	if event.Has(fsnotify.Remove) || event.Has(fsnotify.Rename) {
		if w.armed[path] != nil { // what stands there next may have the same inode
			_ = w.fs.Remove(path)
			delete(w.armed, path)
			return true
		}
	}
	return w.names[path] || w.armed[path] != nil || w.dirs[filepath.Dir(path)]
}

func (w *fileWatch) close() {
	if w.fs != nil {
		_ = w.fs.Close()
	}
}

// arm watches the folders and files that decide on the inputs. It reports
// false where some of them cannot be watched.
func (w *fileWatch) arm(inputs []input) bool {
	if w.fs == nil {
		return false
	}
	w.names, w.dirs = map[string]bool{}, map[string]bool{}

	want := map[string]bool{}
	for _, in := range inputs {
		for _, name := range dependencies(in.path) {
			w.names[name] = true
			if watchesAncestors {
				want[filepath.Dir(name)] = true
			}
		}
		// The file itself: a bind mount shows changes there and not in its folder.
		if abs, err := filepath.Abs(in.path); err == nil {
			want[abs], want[filepath.Dir(abs)] = true, true
			if in.dir {
				w.dirs[abs] = true
			}
		}
	}

	ok := true
	alive := map[string]bool{}
	for _, path := range w.fs.WatchList() {
		alive[path] = true
	}

	for path := range w.armed {
		if !want[path] || !alive[path] {
			_ = w.fs.Remove(path)
			delete(w.armed, path)
		}
	}

	for path := range want {
		info, err := os.Stat(path)
		if err != nil {
			if w.armed[path] != nil {
				_ = w.fs.Remove(path)
				delete(w.armed, path)
			}
			continue // missing: the folder above it is watched
		}

		if old := w.armed[path]; old != nil {
			if os.SameFile(old, info) {
				continue
			}
			_ = w.fs.Remove(path)
			delete(w.armed, path)
		}

		if err := w.fs.Add(path); err != nil {
			ok = false
			continue
		}
		w.armed[path] = info
	}

	return ok
}
