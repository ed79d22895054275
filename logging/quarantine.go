package logging

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// quarantined is one line of a quarantine file.
type quarantined struct {
	ID     string    `json:"id"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	// Line is the event as it stood in the log.
	Line string `json:"line"`
}

// quarantine puts the lines at indices aside and counts them as done.
func (s *Shipper) quarantine(b *batch, indices []int, reason error, res *Result) (err error) {
	var data []byte
	now := time.Now().UTC()
	for _, i := range indices {
		l := b.lines[i]
		entry, err := json.Marshal(quarantined{ID: b.id(i), Time: now, Reason: reason.Error(), Line: string(b.data[l.from:l.to])})
		if err != nil {
			return err
		}
		data = append(append(data, entry...), '\n')
	}
	path := b.seg.queue.quarantine()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if limit := s.opts.QuarantineBytes; limit > 0 && info.Size() > 0 && info.Size()+int64(len(data)) > limit {
		return s.failed(&SinkError{Kind: KindConfig, Err: fmt.Errorf("%s is full with %d bytes: look at it and move it away, or raise QuarantineBytes; last reason: %w", path, info.Size(), reason)})
	}
	if n, err := f.Write(data); err != nil {
		if n > 0 {
			err = errors.Join(err, f.Truncate(info.Size()))
		}
		return fmt.Errorf("quarantine: %w", err)
	}
	for _, i := range indices {
		b.finish(i)
	}
	n := int64(len(indices))
	res.Quarantined += n
	s.mu.Lock()
	s.stats.Quarantined += n
	s.mu.Unlock()
	s.aside.n, s.aside.path, s.aside.id, s.aside.reason = s.aside.n+n, path, b.id(indices[0]), reason
	s.tellAside(false)
	return nil
}

// aside is what was put aside and not told yet.
type aside struct {
	n        int64
	path, id string // id of the last
	reason   error  // for that
	told     time.Time
}

// tellAside tells of the events that were put aside: of the first at once, of
// more after a while, or now.
func (s *Shipper) tellAside(now bool) {
	a := &s.aside
	if a.n == 0 || !now && time.Since(a.told) < quietAfter {
		return
	}
	s.trouble(&Error{Op: "ship", Path: a.path, Err: fmt.Errorf("%w: %d, the last is %s: %w", ErrQuarantined, a.n, a.id, a.reason)})
	*a = aside{told: time.Now()}
}
