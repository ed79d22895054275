package queue

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/svcblocks/svcblocks/internal/filelock"
)

// Turn is the right to ship a queue: one shipper of one process has it at a
// time. It is a lock on a file that holds the process's number and when it was
// last seen at work.
type Turn struct{ f *os.File }

// Holder is who has the turn.
type Holder struct {
	// PID is its process. 0: unknown.
	PID int
	// At is when it was last seen at work.
	At time.Time
}

// turnFormat has a fixed width, so that a full disk has room for it.
const turnFormat = "%010d %020d\n"

// TryTurn takes the turn of q, or returns nil and who has it.
func TryTurn(q Queue) (*Turn, Holder, error) {
	f, err := q.OpenFile(q.beside(".turn"), os.O_CREATE|os.O_RDWR)
	if err != nil {
		return nil, Holder{}, err
	}
	held, err := filelock.TryLock(f)
	if err != nil {
		return nil, Holder{}, errors.Join(err, f.Close())
	}
	if !held {
		return nil, holderOf(f), f.Close()
	}
	t := &Turn{f}
	t.Beat()
	return t, Holder{}, nil
}

// LastTurn returns who had the turn of q last.
func LastTurn(q Queue) Holder {
	f, err := q.OpenFile(q.beside(".turn"), os.O_RDONLY)
	if err != nil {
		return Holder{}
	}
	defer func() { _ = f.Close() }() // read only
	return holderOf(f)
}

// holderOf reads who holds the turn; one that wrote nothing is unknown.
func holderOf(f *os.File) Holder {
	var pid int
	var at int64
	text := make([]byte, 64)
	n, _ := f.ReadAt(text, 0) // short
	if _, err := fmt.Sscanf(string(text[:n]), "%d %d", &pid, &at); err != nil {
		return Holder{}
	}
	return Holder{PID: pid, At: time.Unix(0, at)}
}

// Beat notes that the holder is at work. Where that cannot be written, others
// may say that they are blocked.
func (t *Turn) Beat() {
	_, _ = t.f.WriteAt(fmt.Appendf(nil, turnFormat, os.Getpid(), time.Now().UnixNano()), 0)
}

// End gives the turn back.
func (t *Turn) End() error { return t.f.Close() }
