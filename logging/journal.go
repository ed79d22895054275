package logging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/internal/filelock"
)

// The journal of a queue, in the file that marks it, says which files it is
// made of, so that one which somebody else renamed, removed or shortened while
// no process looked is noticed and said. Its lines:
//
//	open <name>               an active file was opened
//	sealed <size> <id> <name> a file became, or is, this segment
//	gone <name>               the file is no longer expected
//
// It is advice: without it, or with a part of it, nothing is lost but the
// notice.
type journal struct {
	q       queue
	f       *os.File
	size    int64
	open    map[string]bool
	sealed  map[string]sealed
	pending strings.Builder
}

// sealed is what a segment was when it was sealed.
type sealed struct {
	size int64
	id   string // fileID
}

const unknownID = "-"

const (
	// maxJournalBytes is the size beyond which a journal is rewritten.
	maxJournalBytes = 64 << 10
	// journalPatience bounds the wait for another process's turn.
	journalPatience = time.Second
)

// journaled runs work with the journal locked, and writes what it noted. The
// files of the queue are renamed under this lock alone, so that work sees each
// under one name.
func (q queue) journaled(perm os.FileMode, work func(j *journal) error) (err error) {
	f, err := os.OpenFile(q.marker(), os.O_CREATE|os.O_RDWR|os.O_APPEND, perm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), journalPatience)
	defer cancel()
	if err := filelock.Lock(ctx, f); err != nil && ctx.Err() == nil {
		return err
	}
	j := &journal{q: q, f: f}
	err = work(j)
	j.flush()
	return err
}

func (j *journal) noteOpen(name string) { fmt.Fprintf(&j.pending, "open %s\n", name) }
func (j *journal) noteSealed(name string, info fs.FileInfo) {
	j.note(name, sealed{info.Size(), fileID(info)})
}

func (j *journal) note(name string, s sealed) {
	fmt.Fprintf(&j.pending, "sealed %d %s %s\n", s.size, s.id, name)
}

// noteGone comes before the file is renamed or removed, and is written at once:
// killed in between, a process leaves a file that is not expected, and not one
// that is missed.
func (j *journal) noteGone(name string) {
	fmt.Fprintf(&j.pending, "gone %s\n", name)
	j.flush()
}

// flush writes the notes. On a full disk it keeps them for a later attempt: that
// must not keep a log from being sealed or shipped.
func (j *journal) flush() {
	text := j.pending.String()
	if text == "" {
		return
	}
	j.pending.Reset()
	if _, err := j.f.WriteString(text); err != nil {
		j.pending.WriteString("\n" + text) // after what was written in part
	}
}

// read fills open and sealed.
func (j *journal) read() error {
	data, err := io.ReadAll(io.NewSectionReader(j.f, 0, 1<<30))
	if err != nil {
		return err
	}
	j.size = int64(len(data))
	j.open, j.sealed = parseJournal(string(data))
	return nil
}

// parseJournal reads what it understands and skips the rest.
func parseJournal(data string) (open map[string]bool, segments map[string]sealed) {
	open, segments = map[string]bool{}, map[string]sealed{}
	for line := range strings.Lines(data) {
		line, whole := strings.CutSuffix(line, "\n")
		verb, rest, ok := strings.Cut(line, " ")
		if !whole || !ok || strings.ContainsAny(rest, `/\`) {
			continue
		}
		switch verb {
		case "open":
			open[rest] = true
		case "gone":
			delete(open, rest)
			delete(segments, rest)
		case "sealed":
			size, rest, _ := strings.Cut(rest, " ")
			id, name, ok := strings.Cut(rest, " ")
			if n, err := strconv.ParseInt(size, 10, 64); err == nil && n >= 0 && ok {
				segments[name] = sealed{n, id}
			}
		}
	}
	return open, segments
}

// check compares the journal with the folder, returns what is amiss, once, and
// rewrites a journal that has grown.
func (q queue) check(perm os.FileMode) (amiss []error) {
	err := q.journaled(perm, func(j *journal) error {
		if err := j.read(); err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(j.open)) {
			if _, err := os.Lstat(q.path(name)); errors.Is(err, fs.ErrNotExist) {
				amiss = append(amiss, &Error{Op: "check", Path: q.path(name), Err: fmt.Errorf("the active file of a process that was killed is not there: %w", ErrMoved)})
				j.noteGone(name)
				delete(j.open, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(j.sealed)) {
			info, err := os.Lstat(q.path(name))
			switch was := j.sealed[name]; {
			case errors.Is(err, fs.ErrNotExist):
				now, err := q.takeBack(name, was)
				if err != nil {
					amiss = append(amiss, &Error{Op: "check", Path: q.path(name), Err: fmt.Errorf("a segment is %s now: %w", now, err)})
					continue
				}
				if now != "" {
					amiss = append(amiss, &Error{Op: "check", Path: q.path(name), Err: fmt.Errorf("a segment was found as %s, and has its name again: %w", now, ErrMoved)})
					continue
				}
				amiss = append(amiss, &Error{Op: "check", Path: q.path(name), Err: fmt.Errorf("a segment of %d bytes that was not shipped is not there: %w", was.size, ErrMoved)})
				j.noteGone(name)
				delete(j.sealed, name)
			case err == nil && info.Size() < was.size:
				amiss = append(amiss, &Error{Op: "check", Path: q.path(name), Err: fmt.Errorf("%d of %d bytes of a segment are gone: %w", was.size-info.Size(), was.size, ErrTruncated)})
				j.noteSealed(name, info)
				j.sealed[name] = sealed{info.Size(), fileID(info)}
				if seq, ok := q.segmentOf(name); ok && q.sent(seq) > info.Size() {
					_ = q.setSent(seq, info.Size()) // failing that, it is said again
				}
			}
		}
		if j.size > maxJournalBytes {
			return j.rewrite()
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		amiss = append(amiss, &Error{Op: "check", Path: q.marker(), Err: err})
	}
	return amiss
}

// takeBack looks in the folder for the segment that had the given name, and
// gives it that name again. It returns the name that somebody else gave it, ""
// if it is not there.
func (q queue) takeBack(name string, was sealed) (found string, err error) {
	if was.id == unknownID {
		return "", nil
	}
	entries, err := os.ReadDir(q.dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() != was.size || fileID(info) != was.id {
			continue
		}
		path := q.path(e.Name())
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return e.Name(), err
		}
		held, err := filelock.TryLock(f)
		if err == nil && !held {
			err = ErrLocked
		}
		if err == nil {
			err = release(f, func() error { return os.Rename(path, q.path(name)) })
		}
		return e.Name(), errors.Join(err, closed(f.Close()))
	}
	return "", nil
}

// rewrite leaves what is still expected.
func (j *journal) rewrite() error {
	if err := j.f.Truncate(0); err != nil {
		return err
	}
	j.pending.Reset()
	for _, name := range slices.Sorted(maps.Keys(j.open)) {
		j.noteOpen(name)
	}
	for _, name := range slices.Sorted(maps.Keys(j.sealed)) {
		j.note(name, j.sealed[name])
	}
	return nil
}
