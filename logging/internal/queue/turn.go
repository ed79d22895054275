package queue

import (
	"errors"
	"os"

	"github.com/svcblocks/svcblocks/internal/filelock"
)

// Turn is the right to ship a queue: one shipper of one process has it at a
// time. It is a lock on a file that holds the process's number and when it was
// last seen at work.
type Turn struct{ f *os.File }

// TryTurn takes the turn of q, or returns nil and who has it.
func TryTurn(q Queue) (*Turn, filelock.Holder, error) {
	f, err := q.OpenFile(q.beside(".turn"), os.O_CREATE|os.O_RDWR)
	if err != nil {
		return nil, filelock.Holder{}, err
	}
	held, err := filelock.TryLock(f)
	if err != nil {
		return nil, filelock.Holder{}, errors.Join(err, f.Close())
	}
	if !held {
		return nil, filelock.HolderOf(f), f.Close()
	}
	t := &Turn{f}
	t.Beat()
	return t, filelock.Holder{}, nil
}

// LastTurn returns who had the turn of q last.
func LastTurn(q Queue) filelock.Holder {
	f, err := q.OpenFile(q.beside(".turn"), os.O_RDONLY)
	if err != nil {
		return filelock.Holder{}
	}
	defer func() { _ = f.Close() }() // read only
	return filelock.HolderOf(f)
}

// Beat notes that the holder is at work. Where that cannot be written, others
// may say that they are blocked.
func (t *Turn) Beat() { filelock.Beat(t.f, 0) }

// End gives the turn back.
func (t *Turn) End() error { return t.f.Close() }
