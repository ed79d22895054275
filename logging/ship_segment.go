package logging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/internal/filelock"
)

// line is one event in a batch's buffer.
type line struct{ from, to int } // without its newline

// batch is a run of lines read from a segment.
type batch struct {
	seg     segment
	file    *os.File
	start   int64 // offset of data in the segment
	data    []byte
	lines   []line
	done    []bool // per line: received or put aside
	first   int    // lines before it are all done
	objects bool   // all lines look like JSON objects
	moved   bool   // first grew since the last checkpoint

	taken  bool // some of it was received
	events []Event
}

// progress is how far a segment is done. It is kept from one pass to the next,
// as the checkpoint says less, and cannot be written on a full disk.
type progress struct {
	at   int64          // all before it is done
	done map[int64]bool // what is done behind it, by offset
}

// maxLineBytes bounds the memory for one line. What is longer counts as
// several lines.
const maxLineBytes = 64 << 20

// shipSegment sends what the receiver does not have of seg and removes it.
func (s *Shipper) shipSegment(ctx context.Context, seg segment, res *Result) (err error) {
	f, err := os.OpenFile(seg.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // dropped for the quota
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closed(f.Close())) }()
	if err := s.hold(ctx, f); err != nil {
		return &Error{Op: "ship", Path: seg.path, Err: err}
	}
	if !samePath(f, seg.path) {
		return nil // dropped for the quota
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	seg.size = info.Size()
	p := s.progress[seg.path]
	if p == nil {
		p = &progress{}
		s.progress[seg.path] = p
	}
	sent := seg.queue.sent(seg.seq)
	if sent > seg.size { // less is told by check
		s.trouble(&Error{Op: "ship", Path: seg.path, Err: fmt.Errorf("%w: %d bytes were sent, %d are left", ErrTruncated, sent, seg.size)})
	}
	at := min(max(p.at, sent), seg.size)
	for at < seg.size {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := s.read(f, seg, at); err != nil {
			return err
		}
		if len(s.batch.lines) == 0 {
			return &Error{Op: "ship", Path: seg.path, Err: ErrTruncated}
		}
		if err := s.sendBatch(ctx, p, res); err != nil {
			return err
		}
		at = s.batch.end(len(s.batch.lines))
	}
	if err := seg.remove(f); err != nil {
		return err
	}
	delete(s.progress, seg.path)
	res.Segments++
	s.mu.Lock()
	s.stats.Segments++
	s.mu.Unlock()
	return nil
}

// heldPatience is how long a pass waits for segments that others hold: a File
// that drops one for its quota, or rescues one, is done in much less.
const heldPatience = time.Second

// hold locks the segment open as f.
func (s *Shipper) hold(ctx context.Context, f *os.File) error {
	if held, err := filelock.TryLock(f); held || err != nil {
		return err
	}
	begin := time.Now()
	wait, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	err := filelock.Lock(wait, f)
	s.patience -= time.Since(begin)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case wait.Err() != nil:
		return ErrLocked
	}
	return err
}

// read fills the batch with the lines of f from offset at.
func (s *Shipper) read(f *os.File, seg segment, at int64) error {
	limits := s.sink.Limits()
	size := s.size
	if limits.MaxBatchBytes > 0 {
		size = min(size, limits.MaxBatchBytes)
	}
	if cap(s.buf) > 4*max(size, minBatchBytes) {
		s.buf = nil // one long line is no reason to keep so much
	}
	b := &s.batch
	*b = batch{seg: seg, file: f, start: at, lines: b.lines[:0], done: b.done[:0], events: b.events[:0]}
	n := 0
	for want := size; ; want *= 2 {
		want = min(want, maxLineBytes)
		if cap(s.buf) < want {
			s.buf = append(make([]byte, 0, want), s.buf[:n]...)
		}
		s.buf = s.buf[:want]
		m, err := f.ReadAt(s.buf[n:want], at+int64(n))
		n += m
		if err != nil && err != io.EOF {
			return err
		}
		if err == io.EOF || want == maxLineBytes || bytes.IndexByte(s.buf[n-m:n], '\n') >= 0 {
			break
		}
	}
	b.data, b.objects = s.buf[:n], true
	atEnd := at+int64(n) >= seg.size
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
		b.lines = append(b.lines, line{from, to})
		b.done = append(b.done, false)
		b.objects = b.objects && to-from >= 2 && b.data[from] == '{' && b.data[to-1] == '}'
		from = to + 1
	}
	return nil
}

// offset returns where line i begins in the segment, and end where what
// precedes it ends.
func (b *batch) offset(i int) int64 { return b.start + int64(b.lines[i].from) }

func (b *batch) end(i int) int64 {
	if i == 0 {
		return b.start
	}
	return min(b.start+int64(b.lines[i-1].to)+1, b.seg.size)
}

func (b *batch) id(i int) string {
	return b.seg.seq + "-" + strconv.FormatInt(b.offset(i), 10)
}

// list returns the events at the given indices of lines.
func (b *batch) list(indices []int) []Event {
	var ids strings.Builder
	ids.Grow(len(indices) * (len(b.seg.seq) + 12))
	ends := make([]int, 0, len(indices))
	var digits [20]byte
	for _, i := range indices {
		ids.WriteString(b.seg.seq)
		ids.WriteByte('-')
		ids.Write(strconv.AppendInt(digits[:0], b.offset(i), 10))
		ends = append(ends, ids.Len())
	}
	all, from := ids.String(), 0
	b.events = b.events[:0]
	for k, i := range indices {
		l := b.lines[i]
		b.events = append(b.events, Event{ID: all[from:ends[k]], Line: b.data[l.from:l.to:l.to]})
		from = ends[k]
	}
	return b.events
}

// sendBatch delivers the batch and writes the checkpoint. A failure leaves
// what is done in p.
func (s *Shipper) sendBatch(ctx context.Context, p *progress, res *Result) error {
	b := &s.batch
	most := s.sink.Limits().event()
	indices := make([]int, 0, len(b.lines))
	for i, l := range b.lines {
		switch size := l.to - l.from; {
		case size == 0 || p.done[b.offset(i)]:
			b.finish(i)
		case size > most:
			reason := fmt.Errorf("%d bytes exceed the receiver's %d", size, most)
			if err := s.quarantine(b, []int{i}, reason, res); err != nil {
				return err
			}
		default:
			indices = append(indices, i)
		}
	}
	err := s.deliver(ctx, indices, res)
	if cerr := s.checkpoint(p); cerr != nil {
		// Going on is what frees a full disk; until the segment is done, a crash
		// repeats what the checkpoint misses.
		s.trouble(&Error{Op: "checkpoint", Path: b.seg.path, Err: cerr})
	}
	return err
}

// finish marks line i as done.
func (b *batch) finish(i int) {
	b.done[i] = true
	for b.first < len(b.lines) && b.done[b.first] {
		b.first++
		b.moved = true
	}
}

// checkpoint notes how far the segment is done, in p and, unless that is all of
// it, on disk: it is removed next.
func (s *Shipper) checkpoint(p *progress) error {
	b := &s.batch
	done := map[int64]bool{}
	for i := b.first; i < len(b.lines); i++ {
		if b.done[i] {
			done[b.offset(i)] = true
		}
	}
	at := b.end(b.first)
	p.at, p.done = at, done
	if !b.moved || at >= b.seg.size {
		return nil
	}
	b.moved = false
	return b.seg.queue.setSent(b.seg.seq, at)
}

// deliver sends the lines at indices, in parts if need be.
func (s *Shipper) deliver(ctx context.Context, indices []int, res *Result) error {
	b := &s.batch
	if n := len(indices); n > 0 && b.done[indices[n-1]] {
		indices = indices[:n-1] // by a probe
	}
	if len(indices) == 0 {
		return nil
	}
	err := s.send(ctx, indices)
	if err == nil {
		s.received(indices, res)
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	se := asSinkError(err)
	refused := pick(indices, se.Rejected)
	switch se.Kind {
	case KindTooLarge:
		if len(indices) > 1 {
			s.size = max(minBatchBytes, min(s.size, b.bytes(indices))/2)
			return s.halves(ctx, indices, res)
		}
		return s.putAside(ctx, indices, se, res)
	case KindRejected:
		if refused == nil && len(indices) > 1 {
			return s.halves(ctx, indices, res)
		}
		if refused == nil {
			refused = indices
		}
		s.received(without(indices, refused), res)
		return s.putAside(ctx, refused, se, res)
	case KindRetry, KindConfig:
		if refused != nil {
			s.received(without(indices, refused), res)
		}
	}
	return s.failed(se)
}

// putAside quarantines what the receiver refused, unless it refuses everything.
func (s *Shipper) putAside(ctx context.Context, refused []int, se *SinkError, res *Result) error {
	if s.rejected += len(refused); s.rejected > s.opts.MaxRejected && !s.batch.taken && !s.probe(ctx, refused, res) {
		s.rejected -= len(refused)
		return s.failed(rejectsAll(se))
	}
	return s.quarantine(&s.batch, refused, se, res)
}

// probe reports whether the receiver takes the last event of the batch, if that
// is not among those it refused.
func (s *Shipper) probe(ctx context.Context, refused []int, res *Result) bool {
	last := len(s.batch.lines) - 1
	if s.batch.done[last] || slices.Contains(refused, last) || s.send(ctx, []int{last}) != nil {
		return false
	}
	s.received([]int{last}, res)
	return true
}

// rejectsAll is for a receiver that takes nothing at all: that is not poison
// but a mistake in the configuration.
func rejectsAll(se *SinkError) *SinkError {
	return &SinkError{Kind: KindConfig, RetryAfter: se.RetryAfter, Err: fmt.Errorf("the receiver rejects every event, so none is put aside any more: %w", se)}
}

func (s *Shipper) halves(ctx context.Context, indices []int, res *Result) error {
	half := len(indices) / 2
	if err := s.deliver(ctx, indices[:half], res); err != nil {
		return err
	}
	return s.deliver(ctx, indices[half:], res)
}

// send hands the lines at indices to the sink, raw if they are one piece.
func (s *Shipper) send(ctx context.Context, indices []int) error {
	b := &s.batch
	first, last := indices[0], indices[len(indices)-1]
	if s.raw != nil && b.objects && last-first == len(indices)-1 {
		from, to := b.offset(first), b.end(last+1)
		if to == b.start+int64(b.lines[last].to)+1 { // the last line is finished
			return s.raw.SendRaw(ctx, b.id(first), io.NewSectionReader(b.file, from, to-from))
		}
	}
	events := b.list(indices)
	return s.sink.Send(ctx, &Batch{ID: events[0].ID, Events: events})
}

func (b *batch) bytes(indices []int) int {
	sum := 0
	for _, i := range indices {
		sum += b.lines[i].to - b.lines[i].from + 1
	}
	return sum
}

// received notes that the receiver has the lines at indices.
func (s *Shipper) received(indices []int, res *Result) {
	if len(indices) == 0 {
		return
	}
	b := &s.batch
	b.taken = true
	events, size := int64(len(indices)), int64(b.bytes(indices))
	for _, i := range indices {
		b.finish(i)
	}
	res.Events += events
	res.Bytes += size
	s.succeeded(events, size)
}

// pick returns the elements of indices at positions, each once, nil if there
// are none that are valid.
func pick(indices, positions []int) []int {
	var out []int
	for _, p := range slices.Compact(slices.Sorted(slices.Values(positions))) {
		if p >= 0 && p < len(indices) {
			out = append(out, indices[p])
		}
	}
	return out
}

// without returns indices less those in drop.
func without(indices, drop []int) []int {
	gone := make(map[int]bool, len(drop))
	for _, i := range drop {
		gone[i] = true
	}
	var out []int
	for _, i := range indices {
		if !gone[i] {
			out = append(out, i)
		}
	}
	return out
}
