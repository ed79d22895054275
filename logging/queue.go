package logging

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/internal/filelock"
)

// queue names the files which belong to one log path, "var/log/app.log":
//
//	app.log            the active file of a process, which holds a lock on it
//	app~1.log          the active file of a second process
//	app-<seq>.log      a sealed segment
//	.app.log.queue     marks the folder as holding this queue; see journal
//	.app.log.sent      how much of the first segment was received
//	app.log.quarantine events that the receiver refused
type queue struct {
	dir, name, stem, ext string
}

func newQueue(path string) queue {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	ext := filepath.Ext(name)
	if ext == name { // ".log" is a name, not an extension
		ext = ""
	}
	return queue{dir: filepath.Clean(dir), name: name, stem: strings.TrimSuffix(name, ext), ext: ext}
}

// checkPath reports a path that cannot name a queue.
func checkPath(path string) error {
	q := newQueue(path)
	switch {
	case path == "":
		return errors.New("the path is empty: name a file such as var/log/app.log")
	case q.name == "" || q.name == "." || q.name == "..":
		return fmt.Errorf("the path %q names a folder: name a file in it", path)
	case segmentName.MatchString(q.name):
		return fmt.Errorf("the path %q looks like a sealed segment: name the active file, such as app.log", path)
	case otherActive.MatchString(q.stem):
		return fmt.Errorf("the path %q looks like the file of a second process: choose another name", path)
	case strings.HasPrefix(q.name, ".") && strings.HasSuffix(q.name, markerSuffix):
		return fmt.Errorf("the path %q looks like a queue's mark: choose another name", path)
	}
	return nil
}

const (
	// defaultPerm is the permission of files of the queue, and dirPerm that of
	// folders made for it.
	defaultPerm os.FileMode = 0o640
	dirPerm     os.FileMode = 0o750
)

// maxActive bounds the number of processes which write to one queue.
const maxActive = 1000

const markerSuffix = ".queue"

// segmentName matches stem, sequence and extension of a segment. The sequence
// is the time of sealing in microseconds, UTC, and six random digits: it sorts
// by age, and it stays unique when a folder is emptied, copied or merged with
// that of another machine, as the events' IDs must.
var segmentName = regexp.MustCompile(`^(.+)-([0-9]{20}-[0-9]{6})(\.[^.]+)?$`)

// otherActive matches the stem of a second process's active file.
var otherActive = regexp.MustCompile(`~[1-9][0-9]{0,2}$`)

func (q queue) path(name string) string { return filepath.Join(q.dir, name) }

func (q queue) active(n int) string {
	if n == 0 {
		return q.path(q.name)
	}
	return q.path(q.stem + "~" + strconv.Itoa(n) + q.ext)
}

func (q queue) marker() string     { return q.path("." + q.name + markerSuffix) }
func (q queue) checkpoint() string { return q.path("." + q.name + ".sent") }
func (q queue) quarantine() string { return q.path(q.name + ".quarantine") }

// isActive reports whether name is that of an active file.
func (q queue) isActive(name string) bool {
	if name == q.name {
		return true
	}
	rest, ok := strings.CutPrefix(name, q.stem+"~")
	if !ok {
		return false
	}
	rest, ok = strings.CutSuffix(rest, q.ext)
	if !ok {
		return false
	}
	n, err := strconv.Atoi(rest)
	return err == nil && n > 0 && n < maxActive && strconv.Itoa(n) == rest
}

// segmentOf returns the sequence of the segment called name, if it is one of
// this queue.
func (q queue) segmentOf(name string) (seq string, ok bool) {
	m := segmentName.FindStringSubmatch(name)
	if m == nil || m[1] != q.stem || m[3] != q.ext {
		return "", false
	}
	return m[2], true
}

// sequence makes sequences that grow.
type sequence struct{ last time.Time }

func (s *sequence) next() string {
	now := time.Now().UTC().Truncate(time.Microsecond)
	if !now.After(s.last) {
		now = s.last.Add(time.Microsecond)
	}
	s.last = now
	stamp := strings.Replace(now.Format(stampLayout), ".", "", 1)
	return fmt.Sprintf("%s-%06d", stamp, rand.IntN(1_000_000))
}

const stampLayout = "20060102150405.000000"

// after makes all further sequences greater than seq.
func (s *sequence) after(seq string) {
	if len(seq) < 20 {
		return
	}
	t, err := time.Parse(stampLayout, seq[:14]+"."+seq[14:20])
	if err != nil || t.Year() > lastYear {
		return // not by any clock
	}
	if t.After(s.last) {
		s.last = t
	}
}

// lastYear leaves room for sequences of the same length behind one that a wrong
// clock made.
const lastYear = 9000

// nextSegment returns the path of a segment to come. It is younger than those
// that are there, also where the clock was set back: then, and at first, it
// looks. Call it with the journal locked.
func (q queue) nextSegment(seqs *sequence) (string, error) {
	if time.Now().Before(seqs.last) || seqs.last.IsZero() {
		entries, err := os.ReadDir(q.dir)
		if err != nil {
			return "", err
		}
		newest := ""
		for _, e := range entries {
			if seq, ok := q.segmentOf(e.Name()); ok {
				newest = max(newest, seq)
			}
		}
		seqs.after(newest)
	}
	for {
		path := q.path(q.stem + "-" + seqs.next() + q.ext)
		if _, err := os.Lstat(path); err != nil {
			return path, nil // os.Rename would replace one that is there
		}
	}
}

// segment is a sealed file.
type segment struct {
	queue queue
	path  string
	seq   string
	size  int64
}

// segments returns the sealed segments of q, oldest first.
func (q queue) segments() ([]segment, error) {
	entries, err := os.ReadDir(q.dir)
	if err != nil {
		return nil, err
	}
	var found []segment
	for _, e := range entries {
		seq, ok := q.segmentOf(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, segment{queue: q, path: q.path(e.Name()), seq: seq, size: info.Size()})
	}
	slices.SortFunc(found, func(a, b segment) int { return strings.Compare(a.seq, b.seq) })
	return found, nil
}

// queues returns the queues in dir.
func queues(dir string) ([]queue, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		if m := segmentName.FindStringSubmatch(name); m != nil {
			names[m[1]+m[3]] = true
		} else if rest, ok := strings.CutSuffix(name, markerSuffix); ok && len(rest) > 1 && rest[0] == '.' {
			names[rest[1:]] = true
		}
	}
	var found []queue
	for name := range names {
		found = append(found, newQueue(filepath.Join(dir, name)))
	}
	slices.SortFunc(found, func(a, b queue) int { return strings.Compare(a.name, b.name) })
	return found, nil
}

// adopt seals the active files of q which no process holds, left by one that
// was killed, and returns how many it sealed.
func (q queue) adopt(seqs *sequence) (int, error) {
	entries, err := os.ReadDir(q.dir)
	if err != nil {
		return 0, err
	}
	sealed := 0
	var problems []error
	for _, e := range entries {
		if !q.isActive(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		ok, err := q.adoptFile(q.path(e.Name()), seqs)
		if err != nil {
			problems = append(problems, err)
		}
		if ok {
			sealed++
		}
	}
	return sealed, errors.Join(problems...)
}

func (q queue) adoptFile(path string, seqs *sequence) (sealed bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, closed(f.Close())) }()
	held, err := filelock.TryLock(f)
	if err != nil || !held || !samePath(f, path) {
		return false, err
	}
	size, err := terminate(f)
	if err != nil && size == 0 {
		return false, &Error{Op: "adopt", Path: path, Err: err}
	}
	// A line that could not be terminated, on a full disk, ends where the
	// segment ends.
	if size == 0 {
		return false, q.journaled(defaultPerm, func(j *journal) error {
			j.noteGone(filepath.Base(path))
			return release(f, func() error { return os.Remove(path) })
		})
	}
	return true, q.journaled(defaultPerm, func(j *journal) error {
		j.noteGone(filepath.Base(path))
		return q.rename(j, f, path, seqs)
	})
}

// rename gives the active file at path, open and locked as f, the name of a
// segment.
func (q queue) rename(j *journal, f *os.File, path string, seqs *sequence) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	target, err := q.nextSegment(seqs)
	if err != nil {
		return err
	}
	if err := release(f, func() error { return os.Rename(path, target) }); err != nil {
		return err
	}
	j.noteSealed(filepath.Base(target), info)
	return nil
}

// samePath reports whether path still names f: its owner may have sealed or
// removed it between our open and our lock.
func samePath(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// terminate ends an unfinished last line, which a write cut short by a crash
// leaves, so that the next record does not run into it. It returns the size;
// with an error and a size the line could not be terminated.
func terminate(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size()
	if size == 0 {
		return 0, nil
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], size-1); err != nil {
		return size, err
	}
	if last[0] == '\n' {
		return size, nil
	}
	if _, err := f.Write([]byte{'\n'}); err != nil {
		return size, err
	}
	return size + 1, nil
}

func closed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
