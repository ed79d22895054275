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
	"github.com/svcblocks/svcblocks/internal/safefile"
)

// journal is what a crawl knows, on disk: one line for each page that was found
// and for each that is done. It is only appended to, so that the end of the
// process at any moment costs half a line at most. Pages that wait and have no
// room in memory are read from it again.
type journal struct {
	file *os.File

	mu   sync.Mutex
	size int64
}

// journalLine is a line: the first of all, a page or sitemap that was found, the
// id of one that is done, or a host that came into scope.
type journalLine struct {
	Version int      `json:"version,omitempty"`
	ID      uint64   `json:"id,omitempty"`
	Request *Request `json:"found,omitempty"`
	Sitemap int      `json:"sitemap,omitempty"`
	Host    string   `json:"host,omitempty"`
}

// journalVersion is the form of the lines.
const journalVersion = 1

// openJournal opens the journal in dir, which it makes.
func openJournal(dir string, shared bool) (*journal, error) {
	folder, err := safefile.OpenDir(filepath.Clean(dir), safefile.Policy{Shared: shared, OptOut: "scrape.CrawlOptions.Shared"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = folder.Close() }() // the file stays open
	f, err := folder.OpenFile("crawl.jsonl", os.O_RDWR|os.O_CREATE|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}

	locked, err := filelock.TryLock(f)
	if err == nil && !locked {
		err = errors.New("another crawl uses it")
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		_ = f.Close() // only opened
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return &journal{file: f}, nil
}

// replay tells of each page in the journal, and whether it is done. Two readings
// cost less than remembering what the first one saw.
func (j *journal) replay(k *crawl) error {
	var done seen
	first := true
	err := j.read(func(l *journalLine, _ int64) error {
		switch {
		case first && l.Version != journalVersion:
			return fmt.Errorf("it is of version %d, not %d", l.Version, journalVersion)
		case l.Host != "":
			k.scope.hosts = append(k.scope.hosts, l.Host)
		case l.Request == nil && l.ID != 0:
			done.add(l.ID)
			k.seen.add(l.ID)
		}
		first = false
		return nil
	})
	if err != nil {
		return err
	}

	// What follows the last whole line was being written when the process ended.
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	if j.size == 0 {
		_, err := j.write(journalLine{Version: journalVersion})
		return err
	}

	return j.read(func(l *journalLine, at int64) error {
		if l.Request != nil {
			k.resume(&item{request: *l.Request, id: l.ID, sitemap: l.Sitemap, at: at}, done.has(l.ID))
		}
		return nil
	})
}

// read calls take with each whole line and where it begins, and sets size.
func (j *journal) read(take func(l *journalLine, at int64) error) error {
	r := bufio.NewReaderSize(io.NewSectionReader(j.file, 0, 1<<62), 64<<10)
	j.size = 0
	for number := 1; ; number++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}

		var l journalLine
		if err = json.Unmarshal(line, &l); err == nil {
			err = take(&l, j.size)
		}
		if err != nil {
			return fmt.Errorf("%s: line %d is damaged: %w; remove the folder to begin anew", j.file.Name(), number, err)
		}
		j.size += int64(len(line))
	}
}

// write appends lines at once, and returns where each begins.
func (j *journal) write(lines ...journalLine) ([]int64, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	at := make([]int64, 0, len(lines))
	for i := range lines {
		at = append(at, int64(out.Len()))
		if err := enc.Encode(&lines[i]); err != nil {
			return nil, err
		}
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range at {
		at[i] += j.size
	}
	n, err := j.file.Write(out.Bytes())
	j.size += int64(n)
	return at, errors.Join(err, j.moved())
}

// moved reports that somebody removed or replaced the file: the next start would
// not find what is written to the open one.
func (j *journal) moved() error {
	open, err := j.file.Stat()
	if err != nil {
		return err
	}
	there, err := os.Lstat(j.file.Name())
	if err != nil {
		return err
	}
	if !os.SameFile(open, there) {
		return fmt.Errorf("%s was replaced while the crawl went on: begin anew with the folder as it was, or another one", j.file.Name())
	}
	return nil
}

// note records what was found, then that pages are done.
func (j *journal) note(found []*item, done ...uint64) error {
	lines := make([]journalLine, 0, len(found)+len(done))
	for _, it := range found {
		lines = append(lines, journalLine{ID: it.id, Request: &it.request, Sitemap: it.sitemap})
	}
	for _, id := range done {
		lines = append(lines, journalLine{ID: id})
	}

	at, err := j.write(lines...)
	if err != nil {
		return err
	}
	for i, it := range found {
		it.at = at[i]
	}
	return nil
}

// load reads the page at a place that note has given it.
func (j *journal) load(at int64) (*item, error) {
	line, err := bufio.NewReaderSize(io.NewSectionReader(j.file, at, 1<<62-at), 512).ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	var l journalLine
	if err := json.Unmarshal(line, &l); err != nil {
		return nil, err
	}
	if l.Request == nil {
		return nil, fmt.Errorf("no page is at byte %d", at)
	}
	return &item{request: *l.Request, id: l.ID, sitemap: l.Sitemap, at: at}, nil
}

func (j *journal) close() { _ = j.file.Close() } // each line was written by itself
