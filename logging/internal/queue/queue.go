// Package queue is a log's queue on disk: the names of its files, the locks
// that processes share them by, sealed segments, how much of them was received,
// and the state of their delivery. It writes no record and sends none.
package queue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Queue names the files which belong to one log path, "var/log/app.log":
//
//	app.log            the active file of a process, which holds a lock on it
//	app~1.log          the active file of a second process
//	app-<seq>.log      a sealed segment
//	.app.log.next      the active file to come, while one is sealed
//	.app.log.queue     marks the folder as holding this queue; see Journal
//	.app.log.sent      how much of which segment was received
//	.app.log.state     the state of the delivery
//	.app.log.turn      whose lock makes shippers take turns
//	app.log.quarantine events that the receiver refused
type Queue struct {
	// Dir is the folder, and Name the name of the log in it.
	Dir, Name string
	// Perm is the permission of new files, before umask.
	Perm os.FileMode

	stem, ext string
}

// DefaultPerm is the permission of a queue's files, and DirPerm that of folders
// made for it.
const (
	DefaultPerm os.FileMode = 0o640
	DirPerm     os.FileMode = 0o750
)

// New returns the queue of the log at path. A zero perm is DefaultPerm.
func New(path string, perm os.FileMode) Queue {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if perm == 0 {
		perm = DefaultPerm
	}
	ext := filepath.Ext(name)
	if ext == name { // ".log" is a name, not an extension
		ext = ""
	}
	return Queue{Dir: filepath.Clean(dir), Name: name, Perm: perm, stem: strings.TrimSuffix(name, ext), ext: ext}
}

const (
	// maxNameBytes is what is left of the 255 bytes that file systems allow
	// for the name of the log: a segment's is 28 bytes longer, and so is a
	// file's beside it.
	maxNameBytes = 255 - 28
	// maxActive bounds the number of processes which write to one queue.
	maxActive = 1000
)

// CheckPath reports a path that cannot name a queue.
func CheckPath(path string) error {
	q := New(path, 0)
	switch {
	case path == "":
		return errors.New("the path is empty: name a file such as var/log/app.log")
	case q.Name == "" || q.Name == "." || q.Name == "..":
		return fmt.Errorf("%q names a folder: name a file in it", path)
	case strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%q holds a control character: use letters, digits, dots and dashes", path)
	case strings.HasSuffix(q.Name, ".") || strings.HasSuffix(q.Name, " "):
		return fmt.Errorf("%q ends in a dot or a space: name a file such as app.log", path)
	case len(q.Name) > maxNameBytes:
		return fmt.Errorf("the name %.20q… has %d bytes: use at most %d, as a sealed segment's name is longer", q.Name, len(q.Name), maxNameBytes)
	case segmentName.MatchString(q.Name):
		return fmt.Errorf("%q looks like a sealed segment: name the active file, such as app.log", path)
	case otherActive.MatchString(q.stem):
		return fmt.Errorf("%q looks like the file of a second process: choose another name", path)
	case strings.HasPrefix(q.Name, ".") && strings.HasSuffix(q.Name, markerSuffix):
		return fmt.Errorf("%q looks like a queue's mark: choose another name", path)
	}

	return nil
}

const markerSuffix = ".queue"

// segmentName matches stem, sequence and extension of a segment. The sequence
// is the time of sealing in microseconds, UTC, and six random digits: it sorts
// by age, and it stays unique when a folder is emptied, copied or merged with
// that of another machine, as the events' IDs must.
var segmentName = regexp.MustCompile(`^(.+)-([0-9]{20}-[0-9]{6})(\.[^.]+)?$`)

// otherActive matches the stem of a second process's active file.
var otherActive = regexp.MustCompile(`~[1-9][0-9]{0,2}$`)

// Path returns the path of the file called name in the folder.
func (q Queue) Path(name string) string { return filepath.Join(q.Dir, name) }

// Active returns the path of the n-th active file.
func (q Queue) Active(n int) string {
	if n == 0 {
		return q.Path(q.Name)
	}
	return q.Path(q.stem + "~" + strconv.Itoa(n) + q.ext)
}

// Quarantine returns the path of the events that were set aside.
func (q Queue) Quarantine() string { return q.Path(q.Name + ".quarantine") }

func (q Queue) beside(suffix string) string { return q.Path("." + q.Name + suffix) }

// isActive reports whether name is that of an active file.
func (q Queue) isActive(name string) bool {
	if name == q.Name {
		return true
	}
	rest, ok := strings.CutPrefix(name, q.stem+"~")
	if !ok {
		return false
	}
	if rest, ok = strings.CutSuffix(rest, q.ext); !ok {
		return false
	}
	n, err := strconv.Atoi(rest)
	return err == nil && n > 0 && n < maxActive && strconv.Itoa(n) == rest
}

// segmentOf returns the sequence of the segment called name, if it is one of
// this queue.
func (q Queue) segmentOf(name string) (seq string, ok bool) {
	m := segmentName.FindStringSubmatch(name)
	if m == nil || m[1] != q.stem || m[3] != q.ext {
		return "", false
	}
	return m[2], true
}

// Sequence makes sequences that grow. The zero Sequence is ready to use.
type Sequence struct{ last time.Time }

const stampLayout = "20060102150405.000000"

func (s *Sequence) next() string {
	now := time.Now().UTC().Truncate(time.Microsecond)
	if !now.After(s.last) {
		now = s.last.Add(time.Microsecond)
	}
	s.last = now

	stamp := strings.Replace(now.Format(stampLayout), ".", "", 1)
	return fmt.Sprintf("%s-%06d", stamp, rand.IntN(1_000_000))
}

// lastYear leaves room for sequences of the same length behind one that a wrong
// clock made.
const lastYear = 9000

// after makes all further sequences greater than seq.
func (s *Sequence) after(seq string) {
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

// NextSegment returns the path of a segment to come. It is younger than those
// that are there, also where the clock was set back: then, and at first, it
// looks.
func (q Queue) NextSegment(seqs *Sequence) (string, error) {
	if time.Now().Before(seqs.last) || seqs.last.IsZero() {
		entries, err := os.ReadDir(q.Dir)
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
		path := q.Path(q.stem + "-" + seqs.next() + q.ext)
		if _, err := os.Lstat(path); err != nil {
			return path, nil // os.Rename would replace one that is there
		}
	}
}
