package safefile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Who says who else may write a file.
type Who int

const (
	// Everybody may: mode o+w, and no sticky bit or read-only mount prevents it.
	Everybody Who = iota + 1
	// Group may: mode g+w, which is common with a umask of 002.
	Group
	// Stranger may: the owner is neither root nor the user of the process.
	Stranger
)

// A Finding is a file, link or folder that somebody else may write.
type Finding struct {
	Path  string
	Mode  fs.FileMode
	Owner int
	Who   Who
	// Above says that it is a folder further up: who may write it can replace
	// what is below.
	Above bool
}

// String says it in a line: "/etc/app (drwxrwxrwx, owner 0): everybody may
// write this folder".
func (f Finding) String() string {
	who := map[Who]string{Everybody: "everybody", Group: "its group", Stranger: "its owner, another user,"}[f.Who]
	what := "file"
	switch {
	case f.Mode.IsDir():
		what = "folder"
	case f.Mode&fs.ModeSymlink != 0:
		what = "link"
	}
	return fmt.Sprintf("%s (%s, owner %d): %s may write this %s", f.Path, f.Mode, f.Owner, who, what)
}

// maxLinks bounds the links on the way to a file, as Linux does.
const maxLinks = 40

// Writable lists who else may write what path leads to: a file of settings, a
// secret, a folder of them. It looks at the file, at each link on the way to it
// and at the folders that hold them; folders further up are Above. Links are
// followed. On systems without such owners it finds nothing.
//
// A warning or a refusal is due for Everybody that is not Above; the rest is
// for a strict check.
func Writable(path string) ([]Finding, error) {
	if os.Getuid() < 0 {
		return nil, nil
	}
	w := &walker{seen: map[string]int{}}
	if err := w.walk(path); err != nil {
		return nil, err
	}
	return w.found, nil
}

// walker follows a path step by step.
type walker struct {
	found []Finding
	seen  map[string]int // index in found + 1, or 0 for nothing, by path
}

// walk resolves path as the kernel does, and looks at each thing that it
// passes.
func (w *walker) walk(path string) error {
	dir := ""
	if !filepath.IsAbs(path) {
		wd, err := os.Getwd()
		if err != nil {
			return err
		}
		// The folder in which the process stands is on the way too.
		path = wd + string(filepath.Separator) + path
	}

	todo := split(path)
	last := min(
		// how many of todo belong to the file or to a link in its place
		len(todo), 1)
	dir = string(filepath.Separator)
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			dir = filepath.Dir(dir) // dir is free of links
			continue
		}

		at := filepath.Join(dir, name)
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		above := len(todo) >= last
		if info.Mode()&fs.ModeSymlink != 0 {
			if links++; links > maxLinks {
				return &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("more than %d links", maxLinks)}
			}
			target, err := os.Readlink(at)
			if err != nil {
				return err
			}
			w.entry(dir, at, info, above)

			steps := split(target)
			if !above {
				// All of its target is a matter of the file: a link in there is
				// as good as one in its place.
				last = len(todo) + len(steps)
			}
			todo = append(steps, todo...)
			if filepath.IsAbs(target) {
				dir = string(filepath.Separator)
			}
			continue
		}

		if len(todo) == 0 {
			w.entry(dir, at, info, false)
			return nil
		}
		w.look(at, info, true)
		dir = at
	}
	return nil
}

// split cuts a path into its names. The last one of a path is the file.
func split(path string) []string {
	var names []string
	for name := range strings.SplitSeq(path, string(filepath.Separator)) {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	return names
}

// entry looks at a file or link and at the folder that holds it.
func (w *walker) entry(dir, at string, info fs.FileInfo, above bool) {
	if info.Mode()&fs.ModeSymlink == 0 {
		w.look(at, info, above)
	} else if owner, _ := ownerOf(info); !trusted(owner) {
		w.add(Finding{Path: at, Mode: info.Mode(), Owner: owner, Who: Stranger, Above: above})
	}

	holder, err := os.Lstat(dir)
	if err != nil {
		return // it went away since; opening the file will say so
	}
	if owner, _ := ownerOf(info); holder.Mode()&fs.ModeSticky != 0 && trusted(owner) {
		return // nobody else can move it
	}
	w.look(dir, holder, above)
}

// look tells who may write what is at a path.
func (w *walker) look(at string, info fs.FileInfo, above bool) {
	owner, _ := ownerOf(info)
	f := Finding{Path: at, Mode: info.Mode(), Owner: owner, Above: above}

	sticky := info.IsDir() && info.Mode()&fs.ModeSticky != 0 && above
	switch mode := info.Mode(); {
	case mode&0o022 == 0 && trusted(owner), readOnly(at):
		return
	case mode&0o002 != 0 && !sticky:
		f.Who = Everybody
	case !trusted(owner):
		f.Who = Stranger
	case mode&0o020 != 0 && !sticky:
		f.Who = Group
	default:
		return
	}

	w.add(f)
}

// add keeps f once for each path, and the one that is not Above.
func (w *walker) add(f Finding) {
	if i := w.seen[f.Path]; i > 0 {
		w.found[i-1].Above = w.found[i-1].Above && f.Above
		return
	}
	w.found = append(w.found, f)
	w.seen[f.Path] = len(w.found)
}

func trusted(owner int) bool { return owner <= 0 || owner == os.Geteuid() }
