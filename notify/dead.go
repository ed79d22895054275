package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
	"github.com/svcblocks/svcblocks/internal/safefile"
)

const deadName = "dead.jsonl"

// deadLetters is the file of messages that were given up.
type deadLetters struct {
	conf  Outbox
	count atomic.Uint64
	mu    sync.Mutex // guards the file
}

// deadLetter is a line of dead.jsonl.
type deadLetter struct {
	Time     time.Time    `json:"time"`
	ID       string       `json:"id"`
	Service  string       `json:"service,omitempty"`
	Receiver string       `json:"receiver"`
	Errors   []string     `json:"errors"`
	Message  *wireMessage `json:"message"`
}

func (l *deadLetters) path() string { return filepath.Join(l.conf.Dir, deadName) }

// bury writes a message that was given up.
func (l *deadLetters) bury(m *Message, receiver string, errs []*Error) error {
	l.count.Add(1)
	letter := deadLetter{Time: time.Now().UTC(), ID: m.ID, Service: l.conf.Service, Receiver: receiver, Message: toWire(m)}
	for _, e := range errs {
		letter.Errors = append(letter.Errors, e.Error())
	}

	line, err := json.Marshal(letter)
	if err != nil {
		return err
	}
	return l.append(append(line, '\n'))
}

func (l *deadLetters) append(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if info, err := os.Stat(l.path()); err == nil && info.Size() > l.conf.MaxBytes {
		if err := atomicfile.Rename(l.path(), filepath.Join(l.conf.Dir, "dead.1.jsonl")); err != nil {
			return err
		}
	}

	f, err := safefile.OpenFile(l.path(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0, l.conf.policy())
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Sync(), f.Close())
}

// redrive gives load the letters to receivers that are known and returns how many
// they are. The others stay in the file.
func (l *deadLetters) redrive(ctx context.Context, known func(receiver string) bool, load func(*replay) error) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	data, err := safefile.ReadFile(l.path(), l.conf.policy())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, NewError("redrive", err)
	}

	again, rest := newReplay(), []byte(nil)
	for line := range bytes.Lines(data) {
		var d deadLetter
		whole := json.Unmarshal(line, &d) == nil && d.Message != nil && validID(d.ID)
		if !whole || !known(d.Receiver) || d.Service != l.conf.Service || ctx.Err() != nil {
			rest = append(rest, line...)
			continue
		}
		again.take(&record{Op: "put", ID: d.ID, Message: d.Message, Since: time.Now(), Targets: []wireTarget{{Receiver: d.Receiver}}})
	}

	if len(again.parcels) == 0 {
		return 0, ctx.Err()
	}

	// Stored first: a crash in between sends a message twice and loses none.
	if err := load(again); err != nil {
		return 0, NewError("redrive", err)
	}
	if err := atomicfile.Write(l.path(), rest, 0o600); err != nil {
		return len(again.parcels), NewError("redrive", err)
	}
	return len(again.parcels), nil
}
