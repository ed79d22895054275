package queue

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/svcblocks/svcblocks/internal/filelock"
)

// Writer makes the segments of a queue: it opens active files, seals them, and
// seals those that killed processes left. It may be used by one goroutine at a
// time.
type Writer struct {
	q    Queue
	seqs sequence
}

// NewWriter returns a writer of q.
func NewWriter(q Queue) *Writer { return &Writer{q: q} }

// Open opens and locks the first active file that no other process holds. A
// file that is there is appended to, behind a line break if its last line is
// unfinished; torn says that the break could not be written.
func (w *Writer) Open() (f *os.File, size int64, torn bool, err error) {
	for n := 0; n < maxActive; {
		path := w.q.Active(n)
		f, err := w.q.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE)
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
		w.q.Journal().Opened(filepath.Base(path))
		return f, size, err != nil, nil
	}
	return nil, 0, false, fmt.Errorf("%d processes write to it already", maxActive)
}

// Seal makes the active file at path, open and locked as f, a segment, and
// returns the next active file. The next one is made before anything is
// renamed: where that fails, for want of inodes, descriptors or permission, f
// is still the active file. A nil next with a nil error means that f was sealed
// and that [Writer.Open] is to find the next.
func (w *Writer) Seal(f *os.File, path string) (next *os.File, err error) {
	pending := w.q.Path("." + filepath.Base(path) + ".next")
	// One that is there was left by a process that was killed while it sealed,
	// and may be the active file by another name: it is not written to. Only who
	// holds the active file gets here.
	if err := os.Remove(pending); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}

	next, err = w.q.OpenFile(pending, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}

	held, err := filelock.TryLock(next)
	if err == nil && !held {
		err = fmt.Errorf("%s is locked by another process", pending)
	}
	if err == nil {
		err = w.Finish(f, path)
	}

	if err != nil {
		return nil, errors.Join(err, next.Close(), os.Remove(pending))
	}

	if err := place(pending, path); err != nil {
		_ = next.Close() // empty
		return nil, nil
	}
	w.q.Journal().Opened(filepath.Base(path))
	return next, nil
}

// Finish gives the active file at path, open and locked as f, the name of a
// segment.
func (w *Writer) Finish(f *os.File, path string) error {
	target, err := w.next()
	if err != nil {
		return err
	}
	return w.finish(f, path, target)
}

func (w *Writer) finish(f *os.File, path, target string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}

	// Where another program has the log open and does not share it, this fails at
	// once, and the log goes on in the file that it has.
	j := w.q.Journal()
	j.Gone(filepath.Base(path))
	if err := os.Rename(path, target); err != nil {
		j.Opened(filepath.Base(path))
		return err
	}
	j.Sealed(filepath.Base(target), info.Size())
	return nil
}

// Discard removes the empty active file at path, open and locked as f, and
// closes it, as [Segment.Remove] does.
func (w *Writer) Discard(f *os.File, path string) error {
	w.q.Journal().Gone(filepath.Base(path))
	if !SameFile(f, path) {
		return Closed(f.Close())
	}
	return errors.Join(os.Remove(path), Closed(f.Close()))
}

// next returns the path of a segment to come. It is younger than those that are
// there, also where the clock was set back: then, and at first, it looks.
func (w *Writer) next() (string, error) {
	if time.Now().Before(w.seqs.last) || w.seqs.last.IsZero() {
		entries, err := os.ReadDir(w.q.Dir)
		if err != nil {
			return "", err
		}
		newest := ""
		for _, e := range entries {
			if seq, ok := w.q.segmentOf(e.Name()); ok {
				newest = max(newest, seq)
			}
		}
		w.seqs.after(newest)
	}

	for {
		path := w.q.Path(w.q.stem + "-" + w.seqs.next() + w.q.ext)
		if _, err := os.Lstat(path); err != nil {
			return path, nil // os.Rename would replace one that is there
		}
	}
}

// Rescue copies the records of an active file that somebody else renamed or
// removed into a segment: they are still ours to read.
func (w *Writer) Rescue(f *os.File, path string) (err error) {
	out, err := w.lockedSegment()
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

	j := w.q.Journal()
	j.Gone(filepath.Base(path))
	j.Sealed(filepath.Base(target), n)
	return nil
}

// lockedSegment makes an empty segment and locks it, so that no shipper takes a
// part for the whole. A shipper that finds it before it is locked takes it for
// an empty one and removes it: then another is made.
func (w *Writer) lockedSegment() (*os.File, error) {
	const tries = 100
	for range tries {
		path, err := w.next()
		if err != nil {
			return nil, err
		}
		f, err := w.q.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR)
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
	return nil, fmt.Errorf("%d new segments in %s were removed at once: find out who does it", tries, w.q.Dir)
}

// Adopt seals the active files which no process holds, left by one that ended,
// and returns how many it sealed.
func (w *Writer) Adopt() (sealed int, err error) {
	entries, err := os.ReadDir(w.q.Dir)
	if err != nil {
		return 0, err
	}

	var problems []error
	for _, e := range entries {
		if !w.q.isActive(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		ok, err := w.adopt(w.q.Path(e.Name()))
		if err != nil {
			problems = append(problems, err)
		}
		if ok {
			sealed++
		}
	}
	return sealed, errors.Join(problems...)
}

func (w *Writer) adopt(path string) (sealed bool, err error) {
	f, err := w.q.OpenFile(path, os.O_RDWR|os.O_APPEND)
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

	target, err := w.left(f)
	if err != nil {
		return false, err
	}

	// A line that could not be terminated, on a full disk, ends where the
	// segment ends.
	size, err := terminate(f)
	if err != nil && size == 0 {
		return false, err
	}

	if size == 0 {
		return false, w.Discard(f, path)
	}
	return true, w.finish(f, path, target)
}

// left returns the path of the segment that the active file f becomes, which its
// process left. Its number is made of when the file was last written and of what
// its end holds, so that a copy of the folder gives its events the same IDs.
func (w *Writer) left(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	written := info.ModTime().UTC()
	if written.After(time.Now()) || written.Year() < firstYear {
		return w.next()
	}

	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, io.NewSectionReader(f, max(0, info.Size()-4<<10), 4<<10)); err != nil {
		return "", err
	}
	path := w.q.Path(w.q.stem + "-" + number(written, int(sum.Sum32()%numbers)) + w.q.ext)
	if _, err := os.Lstat(path); err == nil {
		return w.next()
	}
	return path, nil
}

// terminate ends an unfinished last line, which a write cut short by a crash
// leaves, so that the next record does not run into it, and cuts off the zeros
// that a power cut leaves where data had not reached the disk. It returns the
// size; with an error and a size the line could not be terminated.
func terminate(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}

	size := info.Size()
	last := byte(0)
	for piece := make([]byte, 4096); size > 0; {
		n := min(size, int64(len(piece)))
		if _, err := f.ReadAt(piece[:n], size-n); err != nil {
			return size, err
		}
		written := bytes.TrimRight(piece[:n], "\x00")
		size -= n - int64(len(written))
		if len(written) > 0 {
			last = written[len(written)-1]
			break
		}
	}

	if size < info.Size() {
		if err := f.Truncate(size); err != nil {
			return info.Size(), err
		}
	}

	if size == 0 || last == '\n' {
		return size, nil
	}
	if _, err := f.Write([]byte{'\n'}); err != nil {
		return size, err
	}
	return size + 1, nil
}
