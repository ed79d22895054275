package queue

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/svcblocks/svcblocks/internal/filelock"
)

// Segment is a sealed file.
type Segment struct {
	Queue Queue
	Path  string
	// Seq is the segment's number: it sorts by age.
	Seq  string
	Size int64
}

// Sealed returns when the segment was sealed, by its number; a number that no
// clock made gives the present.
func (s Segment) Sealed() time.Time {
	if t, err := time.Parse(stampLayout, s.Seq[:14]+"."+s.Seq[14:20]); err == nil {
		return t
	}
	return time.Now()
}

// Open opens the segment for reading without locking it. It returns
// fs.ErrNotExist for one that is gone.
func (s Segment) Open() (*os.File, error) { return s.Queue.OpenFile(s.Path, os.O_RDWR) }

// Here reports whether f is still the segment's file: a writer drops segments
// for its quota.
func (s Segment) Here(f *os.File) bool { return SameFile(f, s.Path) }

// Remove removes the segment, open and locked as f.
func (s Segment) Remove(f *os.File) error {
	// A note that the file is gone comes first: killed in between, a process
	// leaves a file that is not expected, and not one that is missed.
	s.Queue.Journal().Gone(filepath.Base(s.Path))
	return release(f, func() error { return os.Remove(s.Path) })
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

	held, err := filelock.TryLock(f)
	if err != nil || !held || !s.Here(f) {
		return 0, false, err
	}

	done, _ := s.Queue.Checkpoint().Read() // damaged: all of it counts as lost
	p := done[s.Seq]
	if events, err = CountLines(f, p.At, s.Size); err != nil {
		return 0, false, err
	}
	if err := s.Remove(f); err != nil {
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

// SameFile reports whether path still names f: its owner may have sealed or
// removed it between our open and our lock.
func SameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// Closed returns err, but nil where it says that the file was closed before.
func Closed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
