package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
	"github.com/svcblocks/svcblocks/internal/safefile"
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

// Redrive gives what is in dead.jsonl and is for a receiver of this hub another
// try, and returns how many messages that are. They are stored before they leave
// the file; the others stay in it.
func (h *Hub) Redrive(ctx context.Context) (n int, err error) {
	h.health.Used()
	if h.isClosed() {
		return 0, NewError("redrive", ErrClosed)
	}
	if !h.durable() {
		return 0, NewError("redrive", errors.New("there is no outbox that can be used"))
	}
	o := h.out
	o.deadFile.Lock()
	defer o.deadFile.Unlock()
	path := filepath.Join(o.conf.Dir, deadName)
	data, err := safefile.ReadFile(path, safefile.Policy{})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, NewError("redrive", err)
	}

	again, rest := newReplay(), []byte(nil)
	for line := range bytes.Lines(data) {
		var d deadLetter
		known := json.Unmarshal(line, &d) == nil && d.Message != nil && validID(d.ID) && h.byName[d.Receiver] != nil
		if !known || d.Service != o.conf.Service || ctx.Err() != nil {
			rest = append(rest, line...)
			continue
		}
		again.take(&record{Op: "put", ID: d.ID, Message: d.Message, Since: time.Now(), Targets: []wireTarget{{Receiver: d.Receiver}}})
	}
	if n = len(again.parcels); n == 0 {
		return 0, ctx.Err()
	}

	// Stored first: a crash in between sends a message twice and loses none.
	if err := h.load(again); err != nil {
		return 0, NewError("redrive", err)
	}
	if err := atomicfile.Write(path, rest, 0o600); err != nil {
		return n, NewError("redrive", err)
	}
	return n, nil
}
