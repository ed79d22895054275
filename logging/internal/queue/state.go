package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/svcblocks/svcblocks/internal/filelock"
)

// Condition is how the delivery of a queue is.
type Condition string

// The conditions of a delivery.
const (
	// Healthy: the receiver takes what comes.
	Healthy Condition = "healthy"
	// Away: the receiver does not answer, or not now.
	Away Condition = "away"
	// Refuses: the receiver answers and takes nothing, or nothing of what
	// waits.
	Refuses Condition = "refuses"
	// Blocked: another process holds the turn and does nothing.
	Blocked Condition = "blocked"
)

// State is the state of a delivery.
type State struct {
	Condition Condition `json:"condition"`
	// Since is when the condition began. Zero when healthy.
	Since time.Time `json:"since,omitzero"`
	// Reason is why.
	Reason string `json:"reason,omitempty"`
	// PID is the process that holds the turn of a blocked queue.
	PID int `json:"pid,omitempty"`
}

// State returns the state that was written last; a queue without one is
// healthy. It is advice: a damaged one counts as none.
func (q Queue) State() State {
	var s State
	data, err := os.ReadFile(q.beside(".state"))
	if err != nil || json.Unmarshal(data, &s) != nil || s.Condition == "" {
		return State{Condition: Healthy}
	}
	return s
}

// SetState writes the state.
func (q Queue) SetState(s State) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(q.beside(".state"), append(data, '\n'), q.Perm)
}

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

// TryTurn takes the turn, or returns nil and who has it.
func (q Queue) TryTurn() (*Turn, Holder, error) {
	f, err := os.OpenFile(q.beside(".turn"), os.O_CREATE|os.O_RDWR, q.Perm)
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

// LastTurn returns who had the turn last.
func (q Queue) LastTurn() Holder {
	f, err := os.Open(q.beside(".turn"))
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
