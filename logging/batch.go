package logging

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// line is one event in a batch's buffer, without its newline, and where it
// begins in the segment.
type line struct {
	from, to int
	at       int64
}

// batch is a number of lines read from a segment.
type batch struct {
	seg     queue.Segment
	file    *queue.Reader
	data    []byte
	lines   []line
	done    []bool // per line: received or set aside
	end     int64  // in the segment, of what was read
	objects bool   // all lines look like JSON objects
	row     int    // events refused one after the other
	events  []Event
}

// maxLineBytes bounds the memory for one line. What is longer counts as
// several lines.
const maxLineBytes = 64 << 20

// begin empties the batch for lines of seg, open as f.
func (b *batch) begin(f *queue.Reader, seg queue.Segment, at int64) {
	*b = batch{seg: seg, file: f, end: at, objects: true, data: b.data[:0], lines: b.lines[:0], done: b.done[:0], events: b.events[:0]}
}

// read fills the batch with the lines of f from offset at, about size bytes of
// them within the limits.
func (b *batch) read(f *queue.Reader, seg queue.Segment, at int64, size int, limits Limits) error {
	b.begin(f, seg, at)
	if limits.MaxBatchBytes > 0 {
		size = min(size, limits.MaxBatchBytes)
	}
	if cap(b.data) > 4*max(size, minBatchBytes) {
		b.data = nil // one long line is no reason to keep so much
	}

	n, err := b.fill(at, size)
	if err != nil {
		return err
	}

	atEnd := at+int64(n) >= seg.Size
	for from, used := 0, 0; from < n; {
		to := n
		if i := bytes.IndexByte(b.data[from:], '\n'); i >= 0 {
			to = from + i
		} else if !atEnd && len(b.lines) > 0 {
			break // goes on beyond the buffer
		}

		used += to - from + 1 + limits.Overhead
		if len(b.lines) > 0 && (used > size || limits.MaxBatchEvents > 0 && len(b.lines) == limits.MaxBatchEvents) {
			break
		}

		b.add(from, to, at+int64(from))
		from = to + 1
		b.end = min(at+int64(from), seg.Size)
	}
	return nil
}

// fill reads from offset at until there is a whole line, at least.
func (b *batch) fill(at int64, size int) (n int, err error) {
	for want := size; ; want *= 2 {
		want = min(want, maxLineBytes)
		if cap(b.data) < want {
			b.data = append(make([]byte, 0, want), b.data[:n]...)
		}
		b.data = b.data[:want]

		m, err := b.file.ReadAt(b.data[n:want], at+int64(n))
		n += m
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if errors.Is(err, io.EOF) || want == maxLineBytes || bytes.IndexByte(b.data[n-m:n], '\n') >= 0 {
			b.data = b.data[:n]
			return n, nil
		}
	}
}

func (b *batch) add(from, to int, at int64) {
	b.lines = append(b.lines, line{from, to, at})
	b.done = append(b.done, false)
	b.objects = b.objects && to-from >= 2 && b.data[from] == '{' && b.data[to-1] == '}'
}

// readLines fills the batch with the lines that begin at the given offsets, at
// least one and about size bytes of them within the limits, and returns how many.
func (b *batch) readLines(f *queue.Reader, seg queue.Segment, offsets []int64, size int, limits Limits) (n int, err error) {
	b.begin(f, seg, 0)
	if limits.MaxBatchBytes > 0 {
		size = min(size, limits.MaxBatchBytes)
	}

	for used := 0; n < len(offsets); n++ {
		text, err := readLine(f, seg, offsets[n])
		if err != nil {
			return n, err
		}

		used += len(text) + 1 + limits.Overhead
		if n > 0 && (used > size || n == limits.MaxBatchEvents) {
			break
		}

		from := len(b.data)
		b.data = append(b.data, text...)
		b.add(from, len(b.data), offsets[n])
	}
	b.objects = false // they are not together in the file
	return n, nil
}

// readLine returns the line of f that begins at offset at.
func readLine(f io.ReaderAt, seg queue.Segment, at int64) ([]byte, error) {
	buf := make([]byte, 4<<10)
	for n := 0; ; buf = append(buf, make([]byte, len(buf))...) {
		m, err := f.ReadAt(buf[n:], at+int64(n))
		if i := bytes.IndexByte(buf[n:n+m], '\n'); i >= 0 {
			return buf[:n+i], nil
		}
		n += m
		if err == io.EOF || len(buf) >= maxLineBytes {
			return buf[:n], nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func eventID(seq string, at int64) string { return seq + "-" + strconv.FormatInt(at, 10) }

func (b *batch) id(i int) string { return eventID(b.seg.Seq, b.lines[i].at) }

// text returns line i.
func (b *batch) text(i int) []byte {
	l := b.lines[i]
	return b.data[l.from:l.to:l.to]
}

// list returns the events at the given indices of lines.
func (b *batch) list(indices []int) []Event {
	var ids strings.Builder
	ids.Grow(len(indices) * (len(b.seg.Seq) + 12))
	ends := make([]int, 0, len(indices))
	var digits [20]byte
	for _, i := range indices {
		ids.WriteString(b.seg.Seq)
		ids.WriteByte('-')
		ids.Write(strconv.AppendInt(digits[:0], b.lines[i].at, 10))
		ends = append(ends, ids.Len())
	}

	all, from := ids.String(), 0
	b.events = b.events[:0]
	for k, i := range indices {
		b.events = append(b.events, Event{ID: all[from:ends[k]], Line: b.text(i)})
		from = ends[k]
	}
	return b.events
}

// section returns the lines at indices as a piece of the file, if they are one
// that ends with a newline.
func (b *batch) section(indices []int) *io.SectionReader {
	first, last := indices[0], indices[len(indices)-1]
	file := b.file.Plain()
	if file == nil || !b.objects || last-first != len(indices)-1 {
		return nil
	}
	from, to := b.lines[first].at, b.lines[last].at+int64(b.lines[last].to-b.lines[last].from)+1
	if to > b.seg.Size {
		return nil // the last line is unfinished
	}
	return io.NewSectionReader(file, from, to-from)
}

func (b *batch) bytes(indices []int) int {
	sum := 0
	for _, i := range indices {
		sum += b.lines[i].to - b.lines[i].from + 1
	}
	return sum
}

// open returns the indices that are not done.
func (b *batch) open(indices []int) []int {
	for k, i := range indices {
		if !b.done[i] {
			continue
		}
		left := append([]int(nil), indices[:k]...)
		for _, i := range indices[k:] {
			if !b.done[i] {
				left = append(left, i)
			}
		}
		return left
	}
	return indices
}

// finish notes that the event at an offset is done, if it is one of the batch.
func (b *batch) finish(at int64) {
	for i, l := range b.lines {
		if l.at == at {
			b.done[i] = true
		}
	}
}

// reached returns the offset up to which the batch is done, or waits as it was
// refused.
func (b *batch) reached(w *work) int64 {
	for i, l := range b.lines {
		if !b.done[i] && !w.passed(l.at) {
			return l.at
		}
	}
	return b.end
}
