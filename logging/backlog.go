package logging

import (
	"sync"

	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// backlog counts the events that wait, each segment once. Its methods are safe
// for concurrent use.
type backlog struct {
	mu    sync.Mutex
	lines map[string]lineCount // by path of segment
}

// lineCount is the number of lines in a segment after an offset.
type lineCount struct{ from, lines int64 }

// waiting is what is sealed and not received.
type waiting struct {
	segments      int
	bytes, events int64
}

// count returns what waits in the queues. One that cannot be read counts as
// empty.
func (b *backlog) count(queues []queue.Queue) (w waiting) {
	b.mu.Lock()
	defer b.mu.Unlock()

	counts := map[string]lineCount{}
	for _, q := range queues {
		segments, err := q.Segments()
		if err != nil {
			continue
		}
		done, _ := q.Checkpoint().Read() // the pass reports a damaged one
		for _, seg := range segments {
			p := done[seg.Seq]
			if p.At > seg.Size {
				p = queue.Progress{}
			}
			c := b.linesOf(seg, p.At)
			counts[seg.Path] = c
			w.segments++
			w.bytes += max(0, seg.Size-c.from)
			w.events += c.lines + int64(len(p.Held))
		}
	}

	b.lines = counts // without those that are gone
	return w
}

func (b *backlog) linesOf(seg queue.Segment, from int64) lineCount {
	c, ok := b.lines[seg.Path]
	if ok && c.from == from {
		return c
	}
	c = lineCount{from: from}
	f, err := seg.Open()
	if err != nil {
		return c // received meanwhile
	}
	defer func() { _ = f.Close() }() // read only
	c.lines, _ = queue.CountLines(f, from, seg.Size)
	return c
}
