package logging

import (
	"fmt"
	"time"
)

// quotaShare is the part of the room that a File fills before it looks again:
// small, as other processes fill it too.
const quotaShare = 64

// keepQuota drops the oldest segments beyond the quota, after one more of so
// many bytes. A segment that a shipper holds is left to it. While there is room
// it does not look each time: in an outage there may be many segments.
func (f *File) keepQuota(size int64) {
	bounded := f.opts.MaxFiles > 0 || f.opts.MaxAge > 0
	if f.opts.MaxTotalBytes < 0 && !bounded {
		return
	}
	if f.room -= size; f.room > 0 && !bounded {
		return
	}
	segments, err := f.queue.Segments()
	if err != nil {
		f.reports.Fail("quota", &Error{Op: "quota", Path: f.queue.Dir, Err: err})
		return
	}

	// Room for the file that is about to grow.
	used := max(0, f.opts.MaxSegmentBytes)
	for _, s := range segments {
		used += s.Size
	}
	var dropped, events int64
	now := time.Now()
	for i, s := range segments {
		tooMany := f.opts.MaxFiles > 0 && len(segments)-i > f.opts.MaxFiles
		tooOld := f.opts.MaxAge > 0 && now.Sub(s.Sealed()) > f.opts.MaxAge
		if (f.opts.MaxTotalBytes < 0 || used <= f.opts.MaxTotalBytes) && !tooMany && !tooOld {
			break
		}
		n, ok, err := s.Drop()
		if err != nil {
			f.reports.Fail("quota", &Error{Op: "quota", Path: s.Path, Err: err})
		}
		if ok {
			used -= s.Size
			dropped++
			events += n
		}
	}

	f.stats.DroppedForQuota += events
	switch {
	case dropped > 0 && (f.ships || f.own): // else it is how old lines go
		f.reports.Lost("quota", int(events), &Error{Op: "quota", Path: f.queue.Dir, Err: fmt.Errorf("%w: the oldest segments are dropped to keep %d bytes, MaxFiles and MaxAge", ErrQuota, f.opts.MaxTotalBytes)})
	case err == nil:
		f.reports.OK("quota")
	}
	f.overfull = dropped > 0
	f.room = (f.opts.MaxTotalBytes - used) / quotaShare
}
