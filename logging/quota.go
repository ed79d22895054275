package logging

import (
	"fmt"
	"time"

	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// quotaShare is the part of the room that a File fills before it looks again:
// small, as other processes fill it too.
const quotaShare = 64

// quota bounds the disk space, the number and the age of a queue's segments.
type quota struct {
	queue   queue.Queue
	reports *reports
	bytes   int64 // negative: no bound
	reserve int64 // of them, for the active file
	files   int   // 0: no bound
	age     time.Duration
	tells   bool  // what is dropped was to be shipped: that is a loss
	room    int64 // bytes to be sealed before it looks again
}

// keep drops the oldest segments beyond the quota, after one more of so many
// bytes, and returns how many events were lost with them. A segment that a
// shipper holds is left to it. While there is room it does not look each time:
// in an outage there may be many segments.
func (q *quota) keep(size int64) (events int64) {
	bounded := q.files > 0 || q.age > 0
	if q.bytes < 0 && !bounded {
		return 0
	}
	if q.room -= size; q.room > 0 && !bounded {
		return 0
	}

	segments, err := q.queue.Segments()
	if err != nil {
		q.reports.Fail("quota", &Error{Op: "quota", Path: q.queue.Dir, Err: err})
		return 0
	}

	used := q.reserve
	for _, s := range segments {
		used += s.DiskBytes
	}

	dropped := 0
	now := time.Now()
	for i, s := range segments {
		tooMany := q.files > 0 && len(segments)-i > q.files
		tooOld := q.age > 0 && now.Sub(s.Sealed()) > q.age
		if (q.bytes < 0 || used <= q.bytes) && !tooMany && !tooOld {
			break
		}

		n, ok, err := s.Drop()
		if err != nil {
			q.reports.Fail("quota", &Error{Op: "quota", Path: s.Path, Err: err})
		}
		if ok {
			used -= s.DiskBytes
			dropped++
			events += n
		}
	}

	if dropped > 0 && q.tells {
		q.reports.Lost("quota", int(events), &Error{Op: "quota", Path: q.queue.Dir, Err: fmt.Errorf("%w: the oldest segments are dropped to keep %d bytes, MaxFiles and MaxAge", ErrQuota, q.bytes)})
	} else {
		q.reports.OK("quota")
	}

	q.room = (q.bytes - used) / quotaShare
	return events
}
