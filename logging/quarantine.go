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

// quarantine is the file of the events that a receiver refused.
type quarantine struct {
	queue queue.Queue
	limit int64 // of its bytes; below 0: none
}

// quarantined is one line of it.
type quarantined struct {
	ID     string    `json:"id"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	// Line is the event as it stood in the log.
	Line string `json:"line"`
}

// add appends the events of seg at the given offsets, each with its own reason.
func (q quarantine) add(seg queue.Segment, w *work, offsets []int64) error {
	f, err := seg.Open()
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // read only

	now := time.Now().UTC()
	var data []byte
	for _, at := range offsets {
		text, err := readLine(f, seg, at)
		if err != nil {
			return err
		}
		entry, err := json.Marshal(quarantined{ID: eventID(seg.Seq, at), Time: now, Reason: w.refused[at].reason.Error(), Line: string(text)})
		if err != nil {
			return err
		}
		data = append(append(data, entry...), '\n')
	}
	return q.append(data)
}

// append appends data, whole or not at all.
func (q quarantine) append(data []byte) (err error) {
	path := q.queue.Quarantine()
	f, err := q.queue.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()

	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if q.limit > 0 && size > 0 && size+int64(len(data)) > q.limit {
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
