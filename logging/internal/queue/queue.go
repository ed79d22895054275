// Package queue is a log's queue on disk: the names of its files, the locks
// that processes share them by, sealed segments, how much of them was received,
// and the state of their delivery. It writes no record and sends none.
package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/internal/filelock"
	"github.com/svcblocks/svcblocks/internal/safefile"
)

// Queue names the files which belong to one log path, "var/log/app.log":
//
//	app.log            the active file of a process, which holds a lock on it
//	app~1.log          the active file of a second process
//	app-<seq>.log      a sealed segment
//	app-<seq>.log.<size>.gz  one that is packed, of so many bytes of lines
//	.app.log.pack      a segment that is being packed
//	.app.log.next      the active file to come, while one is sealed
//	.app.log.queue     marks the folder as holding this queue; see Journal
//	.app.log.sent      how much of which segment was received
//	.app.log.state     the state of the delivery
//	.app.log.turn      whose lock makes shippers take turns
//	app.log.quarantine events that the receiver refused
type Queue struct {
	// Dir is the folder, and Name the name of the log in it.
	Dir, Name string

	access    Access
	stem, ext string
	unnoted   *unnoted // see Journal
}

// Access says who may write a queue's files.
type Access struct {
	// Perm is the permission of new files, before umask. 0: DefaultPerm.
	Perm os.FileMode
	// Shared takes files that another user made, or may write. A Perm that lets
	// others than the owner write says the same.
	Shared bool
}

// DefaultPerm is the permission of a queue's files, and that of folders made for
// it lets the group list them.
const (
	DefaultPerm os.FileMode = 0o640
	dirPerm     os.FileMode = 0o750
)

// policy returns what is asked of the folder and of each file. No link is
// followed in any case.
func (a Access) policy() safefile.Policy {
	return safefile.Policy{Perm: a.Perm, DirPerm: dirPerm, Shared: a.Shared || a.Perm&0o022 != 0, OptOut: "Shared in the log's FileOptions"}
}

// New returns the queue of the log at path.
func New(path string, access Access) Queue {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if access.Perm == 0 {
		access.Perm = DefaultPerm
	}
	ext := filepath.Ext(name)
	if ext == name { // ".log" is a name, not an extension
		ext = ""
	}
	return Queue{Dir: filepath.Clean(dir), Name: name, access: access, stem: strings.TrimSuffix(name, ext), ext: ext, unnoted: &unnoted{}}
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
	q := New(path, Access{})
	switch {
	case path == "":
		return errors.New("the path is empty: name a file such as var/log/app.log")
	case q.Name == "" || q.Name == "." || q.Name == "..":
		return fmt.Errorf("%q names a folder: name a file in it", path)
	case filepath.ToSlash(q.Dir) == "/dev" || filepath.ToSlash(q.Dir) == "/proc/self/fd":
		return fmt.Errorf("%q is a device, and a log is a file: to write to the standard output use Console.Format json", path)
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

// Journal returns the queue's journal.
func (q Queue) Journal() Journal { return Journal{q} }

// Checkpoint returns the queue's checkpoint.
func (q Queue) Checkpoint() Checkpoint { return Checkpoint{q} }

// MakeDir makes the folder if it is missing. One whose files are read again, to
// be shipped, is refused where others could plant files.
func (q Queue) MakeDir(readAgain bool) error {
	if readAgain {
		return safefile.MakeDir(q.Dir, q.access.policy())
	}
	return os.MkdirAll(q.Dir, dirPerm)
}

// RemoveUnfinished removes what a process that was killed left of a segment that
// it packed. The caller has the turn.
func (q Queue) RemoveUnfinished() { _ = os.Remove(q.unfinished()) }

func (q Queue) unfinished() string { return q.beside(".pack") }

// OpenFile opens a file of the queue, and no link in its place.
func (q Queue) OpenFile(path string, flag int) (*os.File, error) {
	return safefile.OpenFile(path, flag, 0, q.access.policy())
}

// read returns what is in a file of the queue.
func (q Queue) read(path string) ([]byte, error) { return safefile.ReadFile(path, q.access.policy()) }

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

const packedSuffix = ".gz"

// unpackedName returns the name that a packed segment had, and the size of its
// lines; for another one name itself.
func unpackedName(name string) (plain string, size int64, packed bool) {
	rest, ok := strings.CutSuffix(name, packedSuffix)
	if !ok {
		return name, 0, false
	}
	i := strings.LastIndexByte(rest, '.')
	if i < 0 {
		return name, 0, false
	}
	size, err := strconv.ParseInt(rest[i+1:], 10, 64)
	if err != nil || size < 1 || strconv.FormatInt(size, 10) != rest[i+1:] || !segmentName.MatchString(filepath.Base(rest[:i])) {
		return name, 0, false
	}
	return rest[:i], size, true
}

// segmentOf returns the sequence of the segment called name, packed or not, if it
// is one of this queue.
func (q Queue) segmentOf(name string) (seq string, ok bool) {
	name, _, _ = unpackedName(name)
	m := segmentName.FindStringSubmatch(name)
	if m == nil || m[1] != q.stem || m[3] != q.ext {
		return "", false
	}
	return m[2], true
}

// Segments returns the sealed segments, oldest first.
func (q Queue) Segments() ([]Segment, error) {
	entries, err := os.ReadDir(q.Dir)
	if err != nil {
		return nil, err
	}

	var found []Segment
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

		s := Segment{Queue: q, Path: q.Path(e.Name()), Seq: seq, Size: info.Size(), DiskBytes: info.Size()}
		if _, size, packed := unpackedName(e.Name()); packed {
			s.Size, s.Packed = size, true
		}
		found = append(found, s)
	}

	// A process that was killed while it packed one leaves both files; the packed
	// one, which sorts behind, is complete.
	slices.SortFunc(found, func(a, b Segment) int { return strings.Compare(a.Path, b.Path) })
	kept := found[:0]
	for i, s := range found {
		if i+1 < len(found) && found[i+1].Seq == s.Seq && found[i+1].Packed {
			found[i+1].DiskBytes += s.DiskBytes
			continue
		}
		kept = append(kept, s)
	}
	return kept, nil
}

// files returns the sizes of the files in the folder, by name.
func (q Queue) files() (map[string]int64, error) {
	entries, err := os.ReadDir(q.Dir)
	if err != nil {
		return nil, err
	}
	found := make(map[string]int64, len(entries))
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			found[e.Name()] = info.Size()
		}
	}
	return found, nil
}

// Written reports whether a process holds an active file of the log.
func (q Queue) Written() bool {
	entries, err := os.ReadDir(q.Dir)
	if err != nil {
		return false
	}

	for _, e := range entries {
		if !q.isActive(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		f, err := q.OpenFile(q.Path(e.Name()), os.O_RDWR)
		if err != nil {
			continue
		}
		held, err := filelock.TryLock(f)
		if cerr := f.Close(); err == nil && cerr == nil && !held {
			return true
		}
	}

	return false
}

// All returns the queues in dir.
func All(dir string, access Access) ([]Queue, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}

	names := map[string]bool{}
	for _, e := range entries {
		name, _, _ := unpackedName(e.Name())
		if m := segmentName.FindStringSubmatch(name); m != nil {
			names[m[1]+m[3]] = true
		} else if rest, ok := strings.CutSuffix(name, markerSuffix); ok && len(rest) > 1 && rest[0] == '.' {
			names[rest[1:]] = true
		}
	}

	var found []Queue
	for name := range names {
		found = append(found, New(filepath.Join(dir, name), access))
	}
	slices.SortFunc(found, func(a, b Queue) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}
