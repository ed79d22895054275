package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// listEvery is how often the folder is looked at for files that are new,
	// sealed or removed. What is written, sealed and removed within this time is
	// not seen.
	listEvery = 100 * time.Millisecond
	// maxOpen bounds the files that are open ahead of their turn. An open file
	// can be read to its end after it was removed.
	maxOpen = 256
)

// follower reads the files of one log as one: what was sealed by age, then the
// active files. It takes no lock, so it keeps nobody from writing or shipping.
type follower struct {
	dir, name string
	since     time.Time // segments sealed before it are left out
	once      bool      // to what is there at the first listing
	tell      func(file string, err error)

	files  []*part // in the order in which they are read
	known  map[string]bool
	open   int
	listed time.Time
}

// part is a file of the log.
type part struct {
	name   string
	info   fs.FileInfo // tells the file, whatever it is called by now
	file   *os.File    // nil before its turn
	lines  *bufio.Reader
	read   int64
	rest   []byte // of a line that is not finished
	sealed bool   // it is a segment
	final  bool   // it grows no more
}

// next returns the next line without its end. Until the next call it may be
// used. It returns io.EOF where there is none yet, and may be called again.
func (f *follower) next() ([]byte, error) {
	for {
		if f.listed.IsZero() || !f.once && time.Since(f.listed) >= listEvery {
			if err := f.list(); err != nil {
				return nil, err
			}
		}

		line, ok := f.line()
		if ok {
			return line, nil
		}
		if f.once || time.Since(f.listed) < listEvery {
			return nil, io.EOF
		}
	}
}

// line returns a line of the first file that has one. Files that have ended
// are let go.
func (f *follower) line() ([]byte, bool) {
	for i := 0; i < len(f.files); {
		p := f.files[i]
		line, err := f.lineOf(p)
		if err == nil {
			return line, true
		}
		if !errors.Is(err, io.EOF) {
			f.tell(p.name, err)
			p.final, p.rest = true, nil
		}

		if !p.final {
			i++
			continue
		}
		f.files = slices.Delete(f.files, i, i+1)
		f.close(p)
		if len(p.rest) > 0 {
			return p.rest, true
		}
	}
	return nil, false
}

// lineOf returns the next whole line of a file.
func (f *follower) lineOf(p *part) ([]byte, error) {
	if p.file == nil {
		if err := f.openPart(p); err != nil {
			return nil, err
		}
	}

	got, err := p.lines.ReadBytes('\n')
	p.read += int64(len(got))
	if len(p.rest) > 0 || err != nil {
		p.rest = append(p.rest, got...)
		got = p.rest
	}
	if err != nil {
		return nil, err
	}
	p.rest = nil
	return got[:len(got)-1], nil
}

// list looks at the folder. Active files come first and segments after them:
// what is sealed in between is then found as a segment that is open already,
// and what was sealed before an active file was opened is found before it.
func (f *follower) list() error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}

	f.listed = time.Now()
	before := slices.Clone(f.files)
	active := f.actives(entries)

	if entries, err = os.ReadDir(f.dir); err != nil {
		return err
	}
	sealed := f.sealed(entries, active)

	// What was sealed keeps its place. Behind it stands what has been sealed
	// since, by age; a file that was removed before we saw its number is older.
	kept := slices.DeleteFunc(before, func(p *part) bool { return !p.final || slices.Contains(sealed, p) })
	var gone []*part
	for _, p := range f.files {
		if !p.final && !slices.Contains(active, p) {
			p.final = true
			gone = append(gone, p)
		}
	}
	active = slices.DeleteFunc(active, func(p *part) bool { return p.final })
	f.files = slices.Concat(kept, gone, sealed, active)

	for _, p := range f.files {
		if p.file != nil || f.open >= maxOpen {
			continue
		}
		if err := f.openPart(p); err != nil {
			continue // it is told when it has its turn
		}
	}

	if f.once {
		for _, p := range f.files {
			p.final = true
		}
	}
	return nil
}

// actives returns the active files, those that are known included.
func (f *follower) actives(entries []fs.DirEntry) []*part {
	var found []*part
	for _, e := range entries {
		if logOf(e.Name()) != f.name {
			continue
		}
		info, err := os.Lstat(filepath.Join(f.dir, e.Name()))
		if err != nil {
			continue // sealed meanwhile
		}
		if !info.Mode().IsRegular() {
			f.odd(e.Name())
			continue
		}

		at := slices.IndexFunc(f.files, func(p *part) bool { return !p.sealed && os.SameFile(p.info, info) })
		if at < 0 {
			p := &part{name: e.Name(), info: info}
			if err := f.openPart(p); err != nil {
				f.tell(p.name, err)
				continue
			}
			found = append(found, p)
			continue
		}

		p := f.files[at]
		p.name = e.Name()
		if info.Size() < p.read { // somebody emptied it
			p.rewind()
		}
		found = append(found, p)
	}

	// app.log comes before app~1.log, and that before app~10.log.
	slices.SortFunc(found, func(a, b *part) int {
		if n := len(a.name) - len(b.name); n != 0 {
			return n
		}
		return strings.Compare(a.name, b.name)
	})
	return found
}

// sealed returns the segments that were not known as such, by age.
func (f *follower) sealed(entries []fs.DirEntry, active []*part) []*part {
	var found []*part
	here := map[string]bool{}
	for _, e := range entries {
		m := segment.FindStringSubmatch(e.Name())
		if m == nil || m[1]+m[3] != f.name {
			continue
		}
		here[e.Name()] = true
		if f.known[e.Name()] {
			continue
		}

		info, err := os.Lstat(filepath.Join(f.dir, e.Name()))
		if err != nil {
			f.tell(e.Name(), errMissed)
			continue
		}
		if !info.Mode().IsRegular() {
			f.odd(e.Name())
			continue
		}

		p := &part{info: info}
		for _, a := range slices.Concat(f.files, active) {
			if !a.sealed && os.SameFile(a.info, info) {
				p = a
			}
		}
		p.name, p.sealed, p.final = e.Name(), true, true

		if at, ok := sealedAt(m[2]); p.file == nil && ok && at.Before(f.since) {
			continue
		}
		found = append(found, p)
	}

	f.known = here
	slices.SortFunc(found, func(a, b *part) int { return strings.Compare(a.name, b.name) })
	return found
}

// errMissed says that lines were lost to this reader, and to it alone.
var errMissed = errors.New("removed before it was read: its lines are not shown")

// odd tells once of an entry that is no file.
func (f *follower) odd(name string) {
	if f.known == nil {
		f.tell(name, errNoFile)
	}
}

func (f *follower) openPart(p *part) error {
	file, err := os.Open(filepath.Join(f.dir, p.name))
	if errors.Is(err, fs.ErrNotExist) {
		return errMissed
	}
	if err != nil {
		return cause(err)
	}

	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNoFile
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}

	var in io.Reader = file
	if f.once {
		in = io.LimitReader(file, info.Size())
	}
	p.file, p.info, p.lines = file, info, bufio.NewReaderSize(in, 64<<10)
	f.open++
	return nil
}

// rewind reads a file from its beginning.
func (p *part) rewind() {
	if _, err := p.file.Seek(0, io.SeekStart); err == nil {
		p.lines.Reset(p.file)
		p.read, p.rest = 0, nil
	}
}

func (f *follower) close(p *part) {
	if p.file == nil {
		return
	}
	f.open--
	_ = p.file.Close() // it was read only
	p.file = nil
}

// Close closes what is open.
func (f *follower) Close() {
	for _, p := range f.files {
		f.close(p)
	}
	f.files = nil
}

// onlyLog returns the one log in dir.
func onlyLog(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}

	var found []string
	for _, e := range entries {
		name := e.Name()
		if m := segment.FindStringSubmatch(name); m != nil {
			name = m[1] + m[3]
		} else if isActive(dir, name) {
			name = logOf(name)
		} else {
			continue
		}

		if !slices.Contains(found, name) {
			found = append(found, name)
		}
	}

	switch len(found) {
	case 0:
		return "", fmt.Errorf("there is no log in %s: -name names the active file, such as app.log", dir)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("there is more than one log in %s: choose with -name: %s", dir, strings.Join(found, ", "))
}
