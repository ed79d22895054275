package logging

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/svcblocks/svcblocks/internal/filelock"
)

// rescue copies the records of an active file that somebody else renamed or
// removed into a segment: they are still ours to read.
func (f *File) rescue(j *journal) (err error) {
	path, err := f.queue.nextSegment(&f.seqs)
	if err != nil {
		return err
	}
	target, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, f.opts.Perm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	// Locked, so that no shipper takes a part for the whole.
	if _, err := filelock.TryLock(target); err != nil {
		return err
	}
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, io.NewSectionReader(f.file, 0, info.Size())); err != nil {
		return errors.Join(err, os.Remove(target.Name()))
	}
	copied, err := target.Stat()
	if err != nil {
		return err
	}
	j.noteSealed(filepath.Base(target.Name()), copied)
	return nil
}

// quotaShare is the part of the room that a File fills before it looks again:
// small, as other processes fill it too.
const quotaShare = 64

// keepQuota drops the oldest segments beyond the quota, after one more of so
// many bytes. A segment that a shipper holds is left to it. While there is room
// it does not look each time: in an outage there may be many segments.
func (f *File) keepQuota(size int64) {
	if f.opts.QuotaBytes < 0 {
		return
	}
	if f.room -= size; f.room > 0 {
		return
	}
	segments, err := f.queue.segments()
	if err != nil {
		f.fail("quota", err)
		return
	}
	// Room for the file that is about to grow.
	used := max(0, f.opts.SegmentBytes)
	for _, s := range segments {
		used += s.size
	}
	var dropped, events int64
	for _, s := range segments {
		if used <= f.opts.QuotaBytes {
			break
		}
		n, ok, err := s.drop()
		if err != nil {
			f.fail("quota", err)
		}
		if ok {
			used -= s.size
			dropped++
			events += n
		}
	}
	f.stats.DroppedForQuota += events
	if dropped > 0 && !f.overfull {
		f.fail("quota", fmt.Errorf("%w: %d segments with %d events dropped to keep %d bytes", ErrQuota, dropped, events, f.opts.QuotaBytes))
	}
	f.overfull = dropped > 0
	f.room = (f.opts.QuotaBytes - used) / quotaShare
}

// drop removes the segment and returns how many events were lost with it.
func (s segment) drop() (events int64, ok bool, err error) {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, true, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, closed(f.Close())) }()
	held, err := filelock.TryLock(f)
	if err != nil || !held || !samePath(f, s.path) {
		return 0, false, err
	}
	events, err = countLines(f, s.queue.sent(s.seq), s.size)
	if err != nil {
		return 0, false, err
	}
	if err := s.remove(f); err != nil {
		return 0, false, err
	}
	return events, true, nil
}

// remove removes the segment, open as f.
func (s segment) remove(f *os.File) error {
	return s.queue.journaled(defaultPerm, func(j *journal) error {
		j.noteGone(filepath.Base(s.path))
		return release(f, func() error { return os.Remove(s.path) })
	})
}

// countLines counts the lines in f[from:to], an unfinished last one included.
func countLines(f io.ReaderAt, from, to int64) (int64, error) {
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
