package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/svcblocks/svcblocks/internal/filelock"
)

// Open opens and locks the first active file that no other process holds. A
// file that is there is appended to, behind a line break if its last line is
// unfinished; torn says that the break could not be written.
func (q Queue) Open() (f *os.File, size int64, torn bool, err error) {
	for n := 0; n < maxActive; {
		path := q.Active(n)
		if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
			return nil, 0, false, fmt.Errorf("%s is no regular file: name one that is none else's, without symbolic links in place of it", path)
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, q.Perm)
		if err != nil {
			return nil, 0, false, err
		}

		held, err := filelock.TryLock(f)
		if err != nil {
			return nil, 0, false, errors.Join(err, f.Close())
		}
		// Where the path names another file by now, this one was sealed between
		// our open and our lock.
		if !held || !SameFile(f, path) {
			if err := f.Close(); err != nil {
				return nil, 0, false, err
			}
			if !held {
				n++
			}
			continue
		}

		size, err := terminate(f)
		q.Journal().Opened(filepath.Base(path))
		return f, size, err != nil, nil
	}
	return nil, 0, false, fmt.Errorf("%d processes write to it already", maxActive)
}

// Seal makes the active file at path, open and locked as f, a segment, and
// returns the next active file. The next one is made before anything is
// renamed: where that fails, for want of inodes, descriptors or permission, f
// is still the active file. A nil next with a nil error means that f was sealed
// and that [Queue.Open] is to find the next.
func (q Queue) Seal(f *os.File, path string, seqs *Sequence) (next *os.File, err error) {
	if !renamesOpen {
		return nil, q.Finish(f, path, seqs)
	}
	pending := q.Path("." + filepath.Base(path) + ".next")
	// One that is there was left by a process that was killed while it sealed,
	// and may be the active file by another name: it is not written to. Only who
	// holds the active file gets here.
	if err := os.Remove(pending); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	next, err = os.OpenFile(pending, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, q.Perm)
	if err != nil {
		return nil, err
	}
	held, err := filelock.TryLock(next)
	if err == nil && !held {
		err = fmt.Errorf("%s is locked by another process", pending)
	}
	if err == nil {
		err = q.Finish(f, path, seqs)
	}
	if err != nil {
		return nil, errors.Join(err, next.Close(), os.Remove(pending))
	}

	// Link, other than rename, replaces no file: another process may have made
	// one in between, and then holds the name.
	err = os.Link(pending, path)
	if _, gone := os.Lstat(path); err != nil && errors.Is(gone, fs.ErrNotExist) {
		err = os.Rename(pending, path) // a file system without hard links
	} else {
		_ = os.Remove(pending) // at worst an empty file beside the log
	}
	if err != nil {
		_ = next.Close() // empty
		return nil, nil
	}
	q.Journal().Opened(filepath.Base(path))
	return next, nil
}

// Finish gives the active file at path, open and locked as f, the name of a
// segment.
func (q Queue) Finish(f *os.File, path string, seqs *Sequence) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	target, err := q.NextSegment(seqs)
	if err != nil {
		return err
	}

	j := q.Journal()
	j.Gone(filepath.Base(path))
	if err := release(f, func() error { return os.Rename(path, target) }); err != nil {
		j.Opened(filepath.Base(path))
		return err
	}
	j.Sealed(filepath.Base(target), info.Size())
	return nil
}

// Discard removes the empty active file at path, open and locked as f.
func (q Queue) Discard(f *os.File, path string) error {
	q.Journal().Gone(filepath.Base(path))
	if !SameFile(f, path) {
		return nil
	}
	return release(f, func() error { return os.Remove(path) })
}

// Rescue copies the records of an active file that somebody else renamed or
// removed into a segment: they are still ours to read.
func (q Queue) Rescue(f *os.File, path string, seqs *Sequence) (err error) {
	out, err := q.lockedSegment(seqs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	target := out.Name()

	info, err := f.Stat()
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.NewSectionReader(f, 0, info.Size()))
	if err != nil {
		return errors.Join(err, os.Remove(target))
	}

	j := q.Journal()
	j.Gone(filepath.Base(path))
	j.Sealed(filepath.Base(target), n)
	return nil
}

// lockedSegment makes an empty segment and locks it, so that no shipper takes a
// part for the whole. A shipper that finds it before it is locked takes it for
// an empty one and removes it: then another is made.
func (q Queue) lockedSegment(seqs *Sequence) (*os.File, error) {
	const tries = 100
	for range tries {
		path, err := q.NextSegment(seqs)
		if err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, q.Perm)
		if err != nil {
			return nil, err
		}

		held, err := filelock.TryLock(f)
		if err != nil {
			return nil, errors.Join(err, f.Close(), os.Remove(path))
		}
		if held && SameFile(f, path) {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%d new segments in %s were removed at once: find out who does it", tries, q.Dir)
}

// Adopt seals the active files which no process holds, left by one that ended,
// and returns how many it sealed.
func (q Queue) Adopt(seqs *Sequence) (sealed int, err error) {
	entries, err := os.ReadDir(q.Dir)
	if err != nil {
		return 0, err
	}

	var problems []error
	for _, e := range entries {
		if !q.isActive(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		ok, err := q.adopt(q.Path(e.Name()), seqs)
		if err != nil {
			problems = append(problems, err)
		}
		if ok {
			sealed++
		}
	}
	return sealed, errors.Join(problems...)
}

// Written reports whether a process holds an active file of the log.
func (q Queue) Written() bool {
	entries, err := os.ReadDir(q.Dir)
	if err != nil {
		return false
	}

	for _, e := range entries {
		if !q.isActive(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		f, err := os.OpenFile(q.Path(e.Name()), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		held, err := filelock.TryLock(f)
		if cerr := f.Close(); err == nil && cerr == nil && !held {
			return true
		}
	}

	return false
}

func (q Queue) adopt(path string, seqs *Sequence) (sealed bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, Closed(f.Close())) }()

	held, err := filelock.TryLock(f)
	if err != nil || !held || !SameFile(f, path) {
		return false, err
	}
	// A line that could not be terminated, on a full disk, ends where the
	// segment ends.
	size, err := terminate(f)
	if err != nil && size == 0 {
		return false, err
	}
	if size == 0 {
		return false, q.Discard(f, path)
	}
	return true, q.Finish(f, path, seqs)
}

// terminate ends an unfinished last line, which a write cut short by a crash
// leaves, so that the next record does not run into it. It returns the size;
// with an error and a size the line could not be terminated.
func terminate(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size()
	if size == 0 {
		return 0, nil
	}

	var last [1]byte
	if _, err := f.ReadAt(last[:], size-1); err != nil {
		return size, err
	}
	if last[0] == '\n' {
		return size, nil
	}
	if _, err := f.Write([]byte{'\n'}); err != nil {
		return size, err
	}
	return size + 1, nil
}
