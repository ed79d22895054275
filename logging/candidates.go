package logging

import (
	"bytes"
	"io"
	"math/rand/v2"

	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// probeBytes is how much of a segment is looked at for an event to try.
const probeBytes = 64 << 10

// candidates are the events of a queue that may be tried by themselves.
type candidates struct {
	segments []queue.Segment
	of       func(seq string) *work
	most     int // bytes of an event that the receiver takes
}

// nth returns an event to try, as the n-th: the newest, the oldest, then one from
// anywhere and the newest by turns. Those that were refused come last.
func (c candidates) nth(n int) (seg queue.Segment, at int64, ok bool) {
	var open []queue.Segment
	for _, seg := range c.segments {
		if c.of(seg.Seq).at < seg.Size {
			open = append(open, seg)
		}
	}

	if len(open) > 0 {
		newest := func() (queue.Segment, int64, bool) {
			seg := open[len(open)-1]
			at, ok := c.in(seg, seg.Size-probeBytes, true)
			return seg, at, ok
		}

		oldest := func() (queue.Segment, int64, bool) {
			at, ok := c.in(open[0], 0, false)
			return open[0], at, ok
		}

		anywhere := func() (queue.Segment, int64, bool) {
			seg := open[rand.IntN(len(open))]
			from := c.of(seg.Seq).at
			at, ok := c.in(seg, from+rand.Int64N(seg.Size-from), false)
			return seg, at, ok
		}

		order := []func() (queue.Segment, int64, bool){newest, oldest, anywhere}
		switch {
		case n == 1:
			order = []func() (queue.Segment, int64, bool){oldest, newest, anywhere}
		case n > 1 && n%2 == 0:
			order = []func() (queue.Segment, int64, bool){anywhere, newest, oldest}
		}

		for _, from := range order {
			if seg, at, ok := from(); ok {
				return seg, at, true
			}
		}
	}

	return c.refused()
}

// in returns the first, or the last, event in the piece of the segment
// from offset from on, that was not sent yet.
func (c candidates) in(seg queue.Segment, from int64, last bool) (at int64, ok bool) {
	w := c.of(seg.Seq)
	from = max(from, w.at)
	f, err := seg.Open()
	if err != nil {
		return 0, false // the pass says so
	}
	defer func() { _ = f.Close() }() // read only

	// A piece begins within a line, but at the offset up to which all is done.
	if from > w.at {
		if from = nextLine(f, from, seg.Size); from < 0 {
			return 0, false
		}
	}

	b := new(batch)
	if err := b.read(f, seg, from, probeBytes, Limits{}); err != nil {
		return 0, false
	}

	for _, l := range b.lines {
		if size := l.to - l.from; size == 0 || size > c.most || w.passed(l.at) {
			continue
		}
		at, ok = l.at, true
		if !last {
			return at, true
		}
	}
	return at, ok
}

// nextLine returns where the first line after offset from begins, -1 if there
// is none.
func nextLine(f io.ReaderAt, from, size int64) int64 {
	buf := make([]byte, probeBytes)
	for from < size {
		n, err := f.ReadAt(buf, from)
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			if from += int64(i) + 1; from < size {
				return from
			}
			return -1
		}
		if err != nil {
			return -1
		}
		from += int64(n)
	}

	return -1
}

// refused returns one of the events that were refused.
func (c candidates) refused() (seg queue.Segment, at int64, ok bool) {
	n := 0
	for _, s := range c.segments {
		for off := range c.of(s.Seq).refused {
			if n++; rand.IntN(n) == 0 { // each with the same chance
				seg, at, ok = s, off, true
			}
		}
	}
	return seg, at, ok
}
