package notify

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// deadLetter is a line of dead.jsonl.
type deadLetter struct {
	Time     time.Time    `json:"time"`
	ID       string       `json:"id"`
	Service  string       `json:"service,omitempty"`
	Receiver string       `json:"receiver"`
	Errors   []string     `json:"errors"`
	Message  *wireMessage `json:"message"`
}

// bury writes a message that was given up to dead.jsonl.
func (o *outbox) bury(m *Message, receiver string, errs []*Error) error {
	o.mu.Lock()
	o.dead++
	o.mu.Unlock()
	letter := deadLetter{Time: time.Now().UTC(), ID: m.ID, Service: o.conf.Service, Receiver: receiver, Message: toWire(m)}
	for _, e := range errs {
		letter.Errors = append(letter.Errors, e.Error())
	}
	line, err := json.Marshal(letter)
	if err != nil {
		return err
	}
	return o.appendDead(append(line, '\n'))
}

func (o *outbox) appendDead(line []byte) error {
	o.deadFile.Lock()
	defer o.deadFile.Unlock()
	path := filepath.Join(o.conf.Dir, deadName)
	if info, err := os.Stat(path); err == nil && info.Size() > o.conf.MaxBytes {
		if err := os.Rename(path, filepath.Join(o.conf.Dir, "dead.1.jsonl")); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Sync(), f.Close())
}
