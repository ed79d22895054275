package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/svcblocks/svcblocks/internal/filelock"
	"github.com/svcblocks/svcblocks/internal/safefile"
)

// journalName is the file, beside the results, of a run that is not done.
const journalName = ".retrieve.journal"

// journal keeps the pages that were read, a line each, so that a run that was
// stopped, or killed, goes on where it was. Its first line names the site.
type journal struct {
	f     *os.File
	pages []page
}

// openJournal opens the journal in dir and reads what is there. Only one
// process at a time may have it.
func openJournal(dir, site string, fresh bool) (j *journal, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := safefile.OpenFile(filepath.Join(dir, journalName), os.O_RDWR|os.O_CREATE, 0o644, safefile.Policy{Shared: true})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()

	if ok, err := filelock.TryLock(f); err != nil {
		return nil, err
	} else if !ok || !inPlace(f) {
		return nil, fmt.Errorf("another retrieve is at work in %s", dir)
	}

	if fresh {
		if err := f.Truncate(0); err != nil {
			return nil, err
		}
	}

	j = &journal{f: f}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	end, err := j.read(text, site)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}

	// What was being written when the process died is cut off.
	if err := f.Truncate(int64(end)); err != nil {
		return nil, err
	}
	if _, err := f.Seek(int64(end), io.SeekStart); err != nil {
		return nil, err
	}

	if end == 0 {
		return j, j.write(site)
	}
	return j, nil
}

// inPlace reports whether f still has its name: a run that ended between the
// opening and the locking has removed it.
func inPlace(f *os.File) bool {
	mine, err1 := f.Stat()
	there, err2 := os.Stat(f.Name())
	return err1 == nil && err2 == nil && os.SameFile(mine, there)
}

// read reads the lines of a journal and returns where the last whole one ends.
func (j *journal) read(text []byte, site string) (end int, err error) {
	for n := 1; ; n++ {
		i := bytes.IndexByte(text[end:], '\n')
		if i < 0 {
			return end, nil
		}

		line := text[end : end+i]
		if n == 1 {
			var was string
			if err := json.Unmarshal(line, &was); err != nil || was != site {
				return 0, fmt.Errorf("a run for %q was stopped here, not one for %q: finish that one, or begin anew with -fresh", was, site)
			}
		} else {
			var p page
			if err := json.Unmarshal(line, &p); err != nil {
				return 0, fmt.Errorf("line %d is damaged: begin anew with -fresh: %w", n, err)
			}
			j.pages = append(j.pages, p)
		}

		end += i + 1
	}
}

func (j *journal) append(p page) error {
	j.pages = append(j.pages, p)
	return j.write(p)
}

func (j *journal) write(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = j.f.Write(append(line, '\n'))
	return err
}

// remove removes the journal of a run that is done.
func (j *journal) remove() error {
	if err := os.Remove(j.f.Name()); err == nil {
		return nil
	}
	return j.f.Truncate(0) // Windows does not remove what is open
}

// Close lets go of the journal.
func (j *journal) Close() error { return j.f.Close() }
