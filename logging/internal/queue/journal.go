package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Journal says which files a queue is made of, so that one which somebody else
// renamed, removed or shortened while no process looked is noticed and said. It
// is the file that marks the queue. Its lines:
//
//	open <name>            an active file was opened
//	sealed <size> - <name> a file became, or is, this segment
//	gone <name>            the file is no longer expected
//
// Lines are appended with one write each and without a lock, so that nobody
// waits for anybody. It is advice: without it, or with a part of it, nothing is
// lost but the notice.
type Journal struct{ q Queue }

// unnoted are the lines of what is gone that a full disk kept from the journal.
// They are noted with the next one, and count until then: what this process
// shipped is not missed by it.
type unnoted struct {
	mu    sync.Mutex
	lines string
}

// maxUnnoted bounds what is kept of them, in bytes.
const maxUnnoted = 1 << 20

// maxJournalBytes is the size beyond which a journal is rewritten.
const maxJournalBytes = 64 << 10

// Opened notes an active file.
func (j Journal) Opened(name string) { j.note("open " + name + "\n") }

// Sealed notes a segment.
func (j Journal) Sealed(name string, size int64) { j.note(sealedLine(name, size)) }

// Gone notes that a file is no longer expected. It comes before the file is
// renamed or removed.
func (j Journal) Gone(name string) {
	u := j.q.unnoted
	u.mu.Lock()
	defer u.mu.Unlock()
	if line := "gone " + name + "\n"; !j.note(u.lines+line) && len(u.lines) < maxUnnoted {
		u.lines += line
	} else {
		u.lines = ""
	}
}

// CatchUp notes what could not be noted before, once room was made.
func (j Journal) CatchUp() {
	u := j.q.unnoted
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lines != "" && j.note(u.lines) {
		u.lines = ""
	}
}

func sealedLine(name string, size int64) string { return fmt.Sprintf("sealed %d - %s\n", size, name) }

// note appends lines, and reports whether it did. Those that cannot be written,
// on a full disk, are left out: that must not keep a log from being sealed or
// shipped.
func (j Journal) note(lines string) bool {
	f, err := j.q.OpenFile(j.q.beside(markerSuffix), os.O_CREATE|os.O_RDWR|os.O_APPEND)
	if err != nil {
		return false
	}
	defer f.Close()

	// What a full disk took of a line before is ended, by what no name holds: it
	// must neither swallow this one nor pass for a shorter name.
	last := []byte{'\n'}
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		_, _ = f.ReadAt(last, info.Size()-1)
	}
	if last[0] != '\n' {
		lines = "/\n" + lines
	}
	_, err = f.WriteString(lines)
	return err == nil
}

// expected is what a journal says.
type expected struct {
	open   map[string]bool
	sealed map[string]int64 // sizes
}

func parseJournal(data string) expected {
	e := expected{open: map[string]bool{}, sealed: map[string]int64{}}
	for line := range strings.Lines(data) {
		line, whole := strings.CutSuffix(line, "\n")
		verb, rest, ok := strings.Cut(line, " ")
		if !whole || !ok || strings.ContainsAny(rest, `/\`) {
			continue
		}

		switch verb {
		case "open":
			e.open[rest] = true
		case "gone":
			e.gone(rest)
		case "sealed":
			size, rest, _ := strings.Cut(rest, " ")
			_, name, ok := strings.Cut(rest, " ")
			if n, err := strconv.ParseInt(size, 10, 64); err == nil && n >= 0 && ok {
				e.sealed[name] = n
			}
		}
	}

	return e
}

func (e expected) gone(name string) {
	delete(e.open, name)
	delete(e.sealed, name)
}

func (j Journal) read() (expected, int, error) {
	data, err := j.q.read(j.q.beside(markerSuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return expected{}, 0, err
	}
	u := j.q.unnoted
	u.mu.Lock()
	defer u.mu.Unlock()
	e := parseJournal(string(data))
	for line := range strings.Lines(u.lines) {
		e.gone(strings.TrimSuffix(strings.TrimPrefix(line, "gone "), "\n"))
	}
	return e, len(data), nil
}

// Amiss is a file that is not as it was left.
type Amiss struct {
	// Path is the file, and Err a text that says what is wrong with it.
	Path string
	Err  error
}

// Errors of Amiss.
var (
	ErrMoved     = errors.New("logging: moved or removed by somebody else")
	ErrTruncated = errors.New("logging: truncated by somebody else")
)

// Check compares the journal with the folder, returns what is amiss, once, and
// rewrites a journal that has grown. Call it with the turn, as a shipper that
// removes segments would else be missed by the rewriting.
func (j Journal) Check() ([]Amiss, error) {
	want, size, err := j.read()
	if err != nil {
		return nil, err
	}
	// One look at the folder, and not one for each file.
	there, err := j.q.files()
	if err != nil {
		return nil, err
	}

	missing := slices.DeleteFunc(slices.Sorted(maps.Keys(want.open)), func(name string) bool { _, ok := there[name]; return ok })
	changed := slices.DeleteFunc(slices.Sorted(maps.Keys(want.sealed)), func(name string) bool {
		has, ok := there[name]
		return ok && has >= want.sealed[name]
	})
	if len(missing)+len(changed) > 0 {
		// What was shipped or sealed between the two looks was noted as gone
		// before it went.
		if want, _, err = j.read(); err != nil {
			return nil, err
		}
	}

	var amiss []Amiss
	var notes strings.Builder
	for _, name := range missing {
		// It may be there again: while a log is sealed its name is free for a
		// moment.
		if _, err := os.Lstat(j.q.Path(name)); want.open[name] && errors.Is(err, fs.ErrNotExist) {
			amiss = append(amiss, Amiss{j.q.Path(name), fmt.Errorf("the active file of a process that was killed is not there: %w", ErrMoved)})
			notes.WriteString("gone " + name + "\n")
			delete(want.open, name)
		}
	}

	for _, name := range changed {
		was, ok := want.sealed[name]
		if !ok {
			continue
		}

		has, ok := there[name]
		if ok {
			amiss = append(amiss, Amiss{j.q.Path(name), fmt.Errorf("%d of %d bytes of a segment are gone: %w", was-has, was, ErrTruncated)})
			notes.WriteString(sealedLine(name, has))
			want.sealed[name] = has
			continue
		}

		amiss = append(amiss, Amiss{j.q.Path(name), fmt.Errorf("a segment of %d bytes that was not shipped is not there: %w", was, ErrMoved)})
		notes.WriteString("gone " + name + "\n")
		delete(want.sealed, name)
	}

	if notes.Len() > 0 {
		j.note(notes.String())
	}
	if size > maxJournalBytes {
		return amiss, j.shorten(want, size)
	}
	return amiss, nil
}

// shorten leaves what is still expected of a journal of so many bytes, if that
// is less than half: with many segments waiting it would else be written anew at
// each check.
func (j Journal) shorten(e expected, size int) error {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(e.open)) {
		text.WriteString("open " + name + "\n")
	}
	for _, name := range slices.Sorted(maps.Keys(e.sealed)) {
		text.WriteString(sealedLine(name, e.sealed[name]))
	}
	if text.Len() > size/2 {
		return nil
	}

	f, err := j.q.OpenFile(j.q.beside(markerSuffix), os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return err
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteString(text.String())
	}
	return errors.Join(err, f.Close())
}
