package logging

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// quarantined is one line of a quarantine file.
type quarantined struct {
	ID     string    `json:"id"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	// Line is the event as it stood in the log.
	Line string `json:"line"`
}

// setAside writes the events of seg at the given offsets, which were refused, to
// the quarantine, each with its own reason, and counts them as done.
func (d *delivery) setAside(seg queue.Segment, offsets []int64, res *Result) error {
	entries, err := d.entries(seg, offsets)
	if err != nil {
		return err
	}
	if err := d.quarantine(entries); err != nil {
		return err
	}

	w := d.of(seg.Seq)
	id, why := "", error(nil)
	for _, at := range offsets {
		reason := w.refused[at].reason
		d.finish(seg, at)
		d.aside++
		id, why = eventID(seg.Seq, at), reason
		if res.reason == nil {
			res.reason = reason
		}
	}
	n := int64(len(offsets))
	res.Quarantined += n
	d.s.count(func(st *ShipStats) { st.Quarantined += n })
	d.s.reports.event("refused", &Error{Op: "ship", Path: d.queue.Quarantine(), Err: fmt.Errorf("%w: %d were set aside, the last is %s: %w", ErrRefused, d.aside, id, why)})
	return nil
}

// entries returns the lines for the quarantine.
func (d *delivery) entries(seg queue.Segment, offsets []int64) (data []byte, err error) {
	f, err := os.Open(seg.Path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only

	now := time.Now().UTC()
	w := d.of(seg.Seq)
	for _, at := range offsets {
		text, err := readLine(f, seg, at)
		if err != nil {
			return nil, err
		}
		entry, err := json.Marshal(quarantined{ID: eventID(seg.Seq, at), Time: now, Reason: w.refused[at].reason.Error(), Line: string(text)})
		if err != nil {
			return nil, err
		}
		data = append(append(data, entry...), '\n')
	}
	return data, nil
}

// quarantine appends data to the quarantine, whole or not at all.
func (d *delivery) quarantine(data []byte) (err error) {
	path := d.queue.Quarantine()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, d.queue.Perm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if limit := d.s.opts.MaxQuarantineBytes; limit > 0 && size > 0 && size+int64(len(data)) > limit {
		return fmt.Errorf("%s is full with %d bytes, so that refused events stay in the queue: look at it and move it away, or raise MaxQuarantineBytes", path, size)
	}

	if n, err := f.Write(data); err != nil {
		if n > 0 {
			err = errors.Join(err, f.Truncate(size))
		}
		return err
	}
	return nil
}
