package queue

import (
	"encoding/json"
	"errors"
	"os"
	"time"
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

// ReadState returns the state of q that was written last; a queue without one is
// healthy. It is advice: a damaged one counts as none.
func ReadState(q Queue) State {
	var s State
	data, err := q.read(q.beside(".state"))
	if err != nil || json.Unmarshal(data, &s) != nil || s.Condition == "" {
		return State{Condition: Healthy}
	}
	return s
}

// Save writes the state beside the log of q.
func (s State) Save(q Queue) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}

	f, err := q.OpenFile(q.beside(".state"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	return errors.Join(err, f.Close())
}
