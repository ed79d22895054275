package scrape

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/svcblocks/svcblocks/internal/filelock"
)

// journal is what a crawl knows, on disk: one line for each page that was found
// and for each that is done. It is only appended to, so that the end of the
// process at any moment costs half a line at most.
type journal struct {
	mu   sync.Mutex
	file *os.File
}

// journalLine is a line: a page that was found, or the id of one that is done.
type journalLine struct {
	ID      uint64   `json:"id"`
	Request *Request `json:"found,omitempty"`
}

// openJournal opens the journal in dir, which it makes.
func openJournal(dir string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "crawl.jsonl")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}

	locked, err := filelock.TryLock(f)
	if err == nil && !locked {
		err = errors.New("another crawl uses it")
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		_ = f.Close() // only opened
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &journal{file: f}, nil
}

// replay tells of each page in the journal, and whether it is done.
func (j *journal) replay(take func(it *item, done bool)) error {
	var order []*item
	found := map[uint64]*item{}
	done := map[uint64]bool{}
	r := bufio.NewReaderSize(j.file, 64<<10)

	whole := int64(0)
	for number := 1; ; number++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // half a line, if any: it was being written when the process ended
		}
		if err != nil {
			return err
		}

		var l journalLine
		if err := json.Unmarshal(line, &l); err != nil {
			return fmt.Errorf("%s: line %d is damaged: %w; remove the folder to begin anew", j.file.Name(), number, err)
		}
		whole += int64(len(line))
		if l.Request == nil {
			done[l.ID] = true
			continue
		}

		it := &item{request: *l.Request, id: l.ID}
		found[l.ID] = it
		order = append(order, it)
	}

	if err := j.file.Truncate(whole); err != nil {
		return err
	}
	for _, it := range order {
		take(it, done[it.id])
	}
	return nil
}

// write appends what was found, then that a page is done, at once.
func (j *journal) write(done *item, found []*item) error {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for _, it := range found {
		if err := enc.Encode(journalLine{ID: it.id, Request: &it.request}); err != nil {
			return err
		}
	}

	if done != nil {
		if err := enc.Encode(journalLine{ID: done.id}); err != nil {
			return err
		}
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	_, err := j.file.Write(out.Bytes())
	return err
}

func (j *journal) close() { _ = j.file.Close() } // each line was written by itself
