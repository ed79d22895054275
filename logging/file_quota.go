package logging

import "fmt"

// quotaShare is the part of the room that a File fills before it looks again:
// small, as other processes fill it too.
const quotaShare = 64

// keepQuota drops the oldest segments beyond the quota, after one more of so
// many bytes. A segment that a shipper holds is left to it. While there is room
// it does not look each time: in an outage there may be many segments.
func (f *File) keepQuota(size int64) {
	if f.opts.MaxTotalBytes < 0 {
		return
	}
	if f.room -= size; f.room > 0 {
		return
	}
	segments, err := f.queue.Segments()
	if err != nil {
		f.fail("quota", err)
		return
	}

	// Room for the file that is about to grow.
	used := max(0, f.opts.MaxSegmentBytes)
	for _, s := range segments {
		used += s.Size
	}
	var dropped, events int64
	for _, s := range segments {
		if used <= f.opts.MaxTotalBytes {
			break
		}
		n, ok, err := s.Drop()
		if err != nil {
			f.fail("quota", err)
		}
		if ok {
			used -= s.Size
			dropped++
			events += n
		}
	}

	f.stats.DroppedForQuota += events
	if dropped > 0 && !f.overfull {
		f.fail("quota", fmt.Errorf("%w: %d segments with %d events dropped to keep %d bytes", ErrQuota, dropped, events, f.opts.MaxTotalBytes))
	}
	f.overfull = dropped > 0
	f.room = (f.opts.MaxTotalBytes - used) / quotaShare
}
