package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
	"github.com/svcblocks/svcblocks/internal/filelock"
)

// Segment is a sealed file.
type Segment struct {
	Queue Queue
	Path  string
	// Seq is the segment's number: it sorts by age.
	Seq string
	// Size is that of its lines, and DiskBytes what the file takes.
	Size, DiskBytes int64
	// Packed says that the file is compressed.
	Packed bool
}

// Sealed returns when the segment was sealed, by its number; a number that no
// clock made gives the present.
func (s Segment) Sealed() time.Time {
	if t, err := time.Parse(stampLayout, s.Seq[:14]+"."+s.Seq[14:20]); err == nil {
		return t
	}
	return time.Now()
}

// Open opens the segment without locking it. It returns fs.ErrNotExist for one
// that is gone.
func (s Segment) Open() (*Reader, error) {
	f, err := s.Queue.OpenFile(s.Path, os.O_RDWR)
	if err != nil || !s.Packed {
		return &Reader{File: f}, err
	}
	text, err := newUnpacker(f)
	if err == nil && text.size != s.Size {
		err = errPacked
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: s.Path, Err: err}, f.Close())
	}
	return &Reader{File: f, text: text}, nil
}

// Pack compresses the segment, open and locked as f. The compressed file gets its
// name when it is complete on the disk; until the plain one is removed both are
// there, and [Queue.Segments] returns the compressed one alone.
func (s Segment) Pack(f *Reader) (err error) {
	q := s.Queue
	temporary := q.unfinished()
	out, err := q.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_TRUNC)
	if err != nil {
		return err
	}

	if err = pack(out, io.NewSectionReader(f, 0, s.Size)); err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}

	path := fmt.Sprintf("%s.%d%s", s.Path, s.Size, packedSuffix)
	if err := atomicfile.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := atomicfile.SyncDir(q.Dir); err != nil {
		return err
	}

	if info, err := os.Lstat(path); err == nil {
		q.Journal().Sealed(filepath.Base(path), info.Size())
	}
	return s.Remove(f.File)
}

// Here reports whether f is still the segment's file: a writer drops segments
// for its quota.
func (s Segment) Here(f *os.File) bool { return SameFile(f, s.Path) }

// Remove removes the segment, open and locked as f, which it closes: some file
// systems of Windows keep the name of a file until then.
func (s Segment) Remove(f *os.File) error {
	// A note that the file is gone comes first: killed in between, a process
	// leaves a file that is not expected, and not one that is missed.
	s.Queue.Journal().Gone(filepath.Base(s.Path))
	if s.Packed { // the plain one may be there too, after a kill
		plain, _, _ := unpackedName(s.Path)
		s.Queue.Journal().Gone(filepath.Base(plain))
		if err := os.Remove(plain); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	err := errors.Join(os.Remove(s.Path), Closed(f.Close()))
	s.Queue.Journal().CatchUp()
	return err
}

// Drop removes the segment and returns how many events were lost with it. It
// reports false for one that a shipper holds, which is left.
func (s Segment) Drop() (events int64, ok bool, err error) {
	f, err := s.Open()
	if errors.Is(err, fs.ErrNotExist) {
		return 0, true, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, Closed(f.Close())) }()

	held, err := filelock.TryLock(f.File)
	if err != nil || !held || !s.Here(f.File) {
		return 0, false, err
	}

	done, _ := s.Queue.Checkpoint().Read() // damaged: all of it counts as lost
	p := done[s.Seq]
	if events, err = CountLines(f, p.At, s.Size); err != nil {
		return 0, false, err
	}
	if err := s.Remove(f.File); err != nil {
		return 0, false, err
	}
	return events + int64(len(p.Held)), true, nil
}

// CountLines counts the lines in f[from:to], an unfinished last one included.
func CountLines(f io.ReaderAt, from, to int64) (int64, error) {
	r := io.NewSectionReader(f, from, max(0, to-from))
	buf := make([]byte, 64<<10)
	var lines int64
	last := byte('\n')
	for {
		n, err := r.Read(buf)
		if n > 0 {
			lines += int64(bytes.Count(buf[:n], []byte{'\n'}))
			last = buf[n-1]
		}

		if err == io.EOF {
			if last != '\n' {
				lines++
			}
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
	}
}

// Closed returns err, but nil where it says that the file was closed before.
func Closed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
