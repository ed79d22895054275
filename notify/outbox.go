package notify

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
	"github.com/svcblocks/svcblocks/internal/filelock"
	"github.com/svcblocks/svcblocks/internal/health"
	"github.com/svcblocks/svcblocks/internal/safefile"
)

const (
	lockName = "lock"
	// adoptEvery is how often the hub looks for what others left behind, and notes
	// that it is at work.
	adoptEvery = time.Minute
	// idleAfter is how many notes a process that holds a journal may leave out.
	idleAfter = 3
)

// lookEvery is how often a hub looks at what others left: in time for what is told
// after stuckAfter.
func lookEvery(stuckAfter time.Duration) time.Duration {
	if stuckAfter <= 0 { // at once, which is no pause
		return adoptEvery
	}
	return min(adoptEvery, max(stuckAfter, time.Second))
}

// outbox is a folder of journals: that of this hub, which lies in a folder of
// its own under a lock that ends with the process, and those of others.
type outbox struct {
	conf  Outbox
	log   *logger
	state *health.Monitor
	every time.Duration // between two looks at what others left
	dead  deadLetters
	bytes atomic.Int64 // of what waits

	mu         sync.Mutex
	home       string // folder of this hub
	lock       *os.File
	j          *journal // nil while the folder cannot be used
	broken     error    // why
	unfit      error    // why no other file can be made beside it
	full       bool     // it can be made, and not written
	refused    error    // why the latest message found no place
	room       int64    // what must wait at most until there is place again
	size       int64    // of the journal that was closed
	closed     bool
	notDurable uint64
	strangers  map[stranger]int // messages too old that no hub of theirs took
	unreadable map[string]error // journals of others, by folder
	busy       map[string]sight // journals that processes hold, by folder
}

// sight is the holder of a journal, and since when it has looked the same.
type sight struct {
	holder filelock.Holder
	since  time.Time
}

// stranger is a receiver that this hub does not have.
type stranger struct{ service, receiver string }

func openOutbox(conf Outbox, every time.Duration, log *logger, state *health.Monitor) (*outbox, error) {
	o := &outbox{conf: conf, every: every, dead: deadLetters{conf: conf}, log: log, state: state, unreadable: map[string]error{}, busy: map[string]sight{}}
	err := o.open()
	if err == nil {
		return o, nil
	}
	if passing(err) {
		o.storageError("", err)
		return o, nil
	}
	return nil, fmt.Errorf("notify: new: Outbox.Dir: %w", err)
}

// passing reports whether err may go away: the disk is full, read-only, or not
// ours for the moment.
func passing(err error) bool {
	if _, ok := errors.AsType[*safefile.Error](err); ok {
		return false
	}
	return health.StorageFault(err) || errors.Is(err, fs.ErrPermission)
}

// open makes the journal of this hub. A hub that starts at the same time may
// take a folder without a journal for litter, so it tries again.
func (o *outbox) open() error {
	var err error
	for range 3 {
		if err = o.tryOpen(); err == nil || !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.broken = err
	return err
}

func (o *outbox) tryOpen() error {
	if err := safefile.MakeDir(o.conf.Dir, o.conf.policy()); err != nil {
		return err
	}
	home := filepath.Join(o.conf.Dir, newID(time.Now()))
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}

	lock, err := atomicfile.OpenFile(filepath.Join(home, lockName), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return errors.Join(err, os.RemoveAll(home))
	}
	ok, err := filelock.TryLock(lock)
	if err == nil && !ok {
		err = fs.ErrNotExist // taken for litter
	}

	var j *journal
	if err == nil {
		filelock.Beat(lock, o.every)
		// The last thing to appear: a folder without it is left alone.
		j, err = createJournal(filepath.Join(home, journalName), o.conf.policy())
	}
	if err == nil {
		err = errors.Join(atomicfile.SyncDir(home), atomicfile.SyncDir(o.conf.Dir))
	}

	if err != nil {
		if j != nil {
			err = errors.Join(err, j.close())
		}
		return errors.Join(err, lock.Close(), os.RemoveAll(home))
	}

	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return errors.Join(ErrClosed, j.close(), unlock(lock), os.RemoveAll(home))
	}
	o.home, o.lock, o.j = home, lock, j
	return nil
}

// journal returns the journal, or nil while there is none.
func (o *outbox) journal() *journal {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.j
}

// holds reports whether a journal is there, or was left for the next start.
func (o *outbox) holds() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.j != nil || o.size > 0
}

// beat notes that this process is at work.
func (o *outbox) beat() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.j != nil {
		filelock.Beat(o.lock, o.every)
	}
}

// note adds a record; write writes it. Without durable it need not survive a
// loss of power: what it tells would then happen again.
func (o *outbox) note(r *record, durable bool) *batch {
	j := o.journal()
	if j == nil {
		return nil
	}
	if r.Op != "done" && r.Op != "retry" {
		r.Service = o.conf.Service
	}
	frame, err := appendFrame(nil, r)
	if err != nil {
		return nil // cannot happen but for a message, whose frame put makes
	}
	return j.add(frame, durable)
}

// put adds a message for targets, and returns its size. What is taken over from
// another journal has its place on the disk already and is not refused.
func (o *outbox) put(r *record, takenOver bool) (*batch, int64, error) {
	o.mu.Lock()
	j, broken := o.j, o.broken
	o.mu.Unlock()
	if j == nil {
		return nil, 0, broken
	}
	r.Op, r.Service = "put", o.conf.Service

	frame, err := appendFrame(nil, r)
	if err != nil {
		return nil, 0, err
	}
	size := int64(len(frame))
	if !takenOver {
		if err := o.admit(size); err != nil {
			return nil, 0, err
		}
	}
	return j.add(frame, true), size, nil
}

// admit refuses a message of size if MaxBytes leaves no place for it.
func (o *outbox) admit(size int64) error {
	waits, limit := o.bytes.Load(), o.conf.MaxBytes
	if waits+size <= limit {
		return nil
	}
	err := &Error{
		Op: "store", Class: ClassStorage, Reason: fmt.Sprintf("outbox is full: %d of %d bytes wait, and the message takes %d", waits, limit, size),
		advice: "see which receivers take nothing and mend them, or raise Outbox.MaxBytes",
	}

	if size > limit {
		err.Reason = fmt.Sprintf("message takes %d bytes and the outbox %d", size, limit)
		err.advice = "send less at once, or raise Outbox.MaxBytes"
		return err // which says nothing about the next one
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refused, o.room = err, limit-size
	return err
}

func (o *outbox) write(b *batch) error {
	j := o.journal()
	if j == nil {
		return fs.ErrClosed
	}
	err := j.write(b)
	if err == nil {
		err = j.moved()
		if err != nil {
			o.lose(j, err)
		}
	}
	if err == nil && o.fit() {
		o.state.OK("outbox")
	}
	return err
}

// fit reports whether files could be made when it was last tried, and what was
// refused would find a place.
func (o *outbox) fit() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refused != nil && o.bytes.Load() <= o.room {
		o.refused = nil
	}
	return o.unfit == nil && o.refused == nil
}

// whyNot says why messages are not stored now, or nil.
func (o *outbox) whyNot() error {
	fit := o.fit()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.j == nil && !o.closed:
		return o.broken
	case fit:
		return nil
	case o.unfit != nil && o.full:
		return o.unfit
	default:
		return o.refused
	}
}

// try finds out whether files can be made in the folder: the open journal takes
// messages without, until it is to be written anew, or the next start needs one.
func (o *outbox) try() error {
	o.mu.Lock()
	home, gone := o.home, o.j == nil
	o.mu.Unlock()
	if gone {
		return nil // broken says why
	}
	full, err := probe(home)
	o.made(full, err)
	return err
}

// made notes whether a file could be made. Where there is no space, messages are
// lost from now on; without inodes they have the journal still.
func (o *outbox) made(full bool, err error) {
	o.mu.Lock()
	was := o.unfit
	o.unfit, o.full = err, full
	o.mu.Unlock()

	e := NewError("store", err)
	if e != nil {
		e.Class = ClassStorage
	}
	switch {
	case full:
		o.state.Broken("outbox", e)
	case err != nil:
		o.state.Fail("outbox", e)
	case was != nil && o.fit():
		o.state.OK("outbox")
	}
}

// shrunk notes whether j could be written anew. One that was closed midway makes
// way for another.
func (o *outbox) shrunk(j *journal, err error) {
	switch {
	case err == nil:
	case j.given():
		o.lose(j, err)
		_ = o.storageError("", err) // told by it
	default:
		o.made(false, err)
	}
}

// lose gives up a journal that somebody removed or replaced: what it holds would
// not be found after a crash. Another one is made within adoptEvery.
func (o *outbox) lose(j *journal, err error) {
	o.mu.Lock()
	lost := o.j == j
	if lost {
		o.j, o.broken = nil, err
	}
	o.mu.Unlock()
	if lost {
		_ = errors.Join(j.close(), unlock(o.lock)) // err says what is wrong
	}
}

// storageError says that a message is in memory alone.
func (o *outbox) storageError(id string, err error) *Error {
	if id != "" {
		o.mu.Lock()
		o.notDurable++
		o.mu.Unlock()
	}
	e := NewError("store", err)
	e.Class, e.MessageID = ClassStorage, id
	e.Reason = o.log.red.String(e.Reason) + "; the message is held in memory only"
	e.causes = append(e.causes, ErrNotDurable)
	told := *e
	o.state.Broken("outbox", &told)
	return e
}

// check proves that the folder can be written, and names what nobody takes.
func (o *outbox) check() []*Error {
	unfit := o.try()
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []*Error

	bad := func(sentinel, err error) {
		e := NewError("check outbox", err)
		e.Class = ClassStorage
		e.causes = append(e.causes, sentinel)
		errs = append(errs, e)
	}

	if o.j == nil {
		bad(ErrLost, fmt.Errorf("messages are held in memory only: %w", o.broken))
	} else if unfit != nil && o.full {
		bad(ErrLost, unfit)
	} else if unfit != nil {
		bad(ErrStuck, unfit)
	}

	if err := o.othersLocked(o.strangers); err != nil {
		bad(ErrStuck, err)
	}
	return errs
}

// others says what waits in journals that this hub cannot deliver.
func (o *outbox) others(strangers map[stranger]int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.othersLocked(strangers)
}

func (o *outbox) othersLocked(strangers map[stranger]int) error {
	var errs []error
	for _, name := range sortedKeys(o.unreadable) {
		errs = append(errs, fmt.Errorf("journal %s: %w", name, o.unreadable[name]))
	}
	for s, n := range strangers {
		errs = append(errs, fmt.Errorf("%d messages of service %q for receiver %q wait longer than %v: no hub of that service takes them", n, s.service, s.receiver, o.conf.MaxAge))
	}
	return errors.Join(errs...)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// probe makes a file and writes it; full says that it was made and not written.
func probe(dir string) (full bool, err error) {
	f, err := os.CreateTemp(dir, ".check")
	if err != nil {
		return false, err
	}
	_, err = f.Write(make([]byte, 4096))
	return err != nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
}

func (o *outbox) stats(s *Stats) {
	o.mu.Lock()
	s.Dead, s.NotDurable = o.dead.count.Load(), o.notDurable
	s.StoredBytes = o.size
	j := o.j
	o.mu.Unlock()

	if j != nil {
		s.StoredBytes = j.length()
	}
	if err := o.whyNot(); err != nil {
		s.StoreError = o.log.red.String(NewError("store", err).Error())
	}
}

// unlock gives up a lock. Closing alone would leave it to a child process that
// is between fork and exec.
func unlock(f *os.File) error { return errors.Join(filelock.Unlock(f), f.Close()) }

// close ends the journal. One that holds nothing goes away; another one waits
// for the next hub.
func (o *outbox) close(empty bool) error {
	o.mu.Lock()
	j := o.j
	o.closed, o.j, o.broken = true, nil, fs.ErrClosed
	o.mu.Unlock()
	if j == nil {
		return nil
	}

	err := j.close()
	empty = empty && err == nil
	if empty {
		err = os.Remove(j.path)
	} else {
		o.mu.Lock()
		o.size = j.size
		o.mu.Unlock()
	}

	err = errors.Join(err, unlock(o.lock))
	if empty { // Windows removes no open file
		err = errors.Join(err, os.Remove(filepath.Join(o.home, lockName)), os.Remove(o.home))
	}

	if err != nil {
		return fmt.Errorf("outbox %s: %w", o.conf.Dir, err)
	}
	return nil
}

// adopt offers what processes left that are gone to take, which stores it. What
// mine does not take stays where it is.
func (o *outbox) adopt(mine func(service, receiver string) bool, take func(*replay) error) {
	list, err := os.ReadDir(o.conf.Dir)
	if err != nil {
		o.state.Fail("outbox folder", NewError("adopt", err))
		return
	}

	strangers := map[stranger]int{}
	there := map[string]bool{}
	for _, d := range list {
		name := d.Name()
		if !d.IsDir() || strings.HasPrefix(name, ".") || name == filepath.Base(o.home) {
			continue
		}
		there[name] = true

		err := o.adoptFrom(filepath.Join(o.conf.Dir, name), mine, take, strangers)
		o.mu.Lock()
		known := o.unreadable[name]
		if delete(o.unreadable, name); err != nil {
			o.unreadable[name] = err
		}
		o.mu.Unlock()

		if err != nil && (known == nil || known.Error() != err.Error()) {
			o.log.Warn("journal of another process cannot be taken over", "journal", name, "error", err)
		}
	}

	o.mu.Lock()
	o.strangers = strangers
	maps.DeleteFunc(o.unreadable, func(name string, _ error) bool { return !there[name] })
	maps.DeleteFunc(o.busy, func(name string, _ sight) bool { return !there[name] })
	o.mu.Unlock()
	o.state.Fail("outbox folder", o.others(strangers))
}

// rewrite puts a journal of rest in the place of the one at path.
func (o *outbox) rewrite(path string, rest *replay) (err error) {
	var frames []byte
	for _, r := range rest.list() {
		if frames, err = appendFrame(frames, r); err != nil {
			return err
		}
	}

	if err := writeJournal(path+".new", frames, o.conf.policy()); err != nil {
		return err
	}
	return errors.Join(atomicfile.Rename(path+".new", path), atomicfile.SyncDir(filepath.Dir(path)))
}

// adoptFrom takes over what the folder of a process that is gone holds for
// receivers of this one, and counts in strangers what waits there for others
// longer than MaxAge.
func (o *outbox) adoptFrom(dir string, mine func(service, receiver string) bool, take func(*replay) error, strangers map[stranger]int) error {
	path := filepath.Join(dir, journalName)
	lock, err := safefile.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0, o.conf.policy())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it is gone
	} else if err != nil {
		return err
	}

	held := true
	defer func() {
		if held {
			_ = unlock(lock)
		}
	}()

	if ok, err := filelock.TryLock(lock); !ok || err != nil {
		held = false
		if err == nil {
			err = o.held(dir, filelock.HolderOf(lock))
		}
		return errors.Join(err, lock.Close())
	}

	_, err = os.Stat(path)
	there := err == nil
	data, err := readWhole(path, o.conf.policy())
	if err != nil {
		return err
	}

	all := newReplay()
	skipped := readJournal(data, all.take)
	if all.records == 0 && foreignJournal(data) {
		return errors.New("it is of another version of this package, which can deliver what it holds; it is left as it is")
	}
	taken, rest := all.split(mine)
	if there && skipped > 0 {
		o.log.Warn("journal was damaged or cut; what could be read was taken over", "bytes_skipped", skipped, "messages", len(all.parcels))
	}

	taken.notAfter(time.Now())
	if !taken.empty() {
		if err := take(taken); err != nil {
			return err
		}
	}

	if len(rest.parcels) > 0 {
		for _, p := range rest.parcels {
			if time.Since(p.since) > o.conf.MaxAge {
				strangers[stranger{p.service, p.Receiver}]++
			}
		}

		if taken.empty() {
			return nil
		}
		return o.rewrite(path, rest)
	}

	// Windows removes no open file; without its journal the folder is nobody's.
	_ = os.Remove(path + ".new")
	if there {
		err = os.Remove(path)
	}
	held = false
	err = errors.Join(err, unlock(lock), os.Remove(filepath.Join(dir, lockName)))

	_ = os.Remove(dir) // it may hold something that is not ours
	return err
}

// held returns an error if the process that holds a journal does nothing, and
// messages wait in it.
func (o *outbox) held(dir string, holder filelock.Holder) error {
	name := filepath.Base(dir)
	o.mu.Lock()
	last, known := o.busy[name]
	if !known || last.holder != holder {
		last = sight{holder, time.Now()}
		o.busy[name] = last
	}
	o.mu.Unlock()
	if holder.PID == 0 || time.Since(last.since) < idleAfter*max(holder.Every, o.every) {
		return nil
	}

	data, err := readWhole(filepath.Join(dir, journalName), o.conf.policy())
	if err != nil {
		return err
	}

	all := newReplay()
	readJournal(data, all.take)
	waiting := len(all.waiting())
	if waiting == 0 {
		return nil
	}
	return fmt.Errorf("process %d holds %d messages that wait and does nothing since %s: let it go on (kill -CONT %d), or end it",
		holder.PID, waiting, holder.At.UTC().Format(time.RFC3339), holder.PID)
}

// foreignJournal reports whether data is a journal of another version of its
// format.
func foreignJournal(data []byte) bool {
	n := len(journalMagic) - 1
	return len(data) > n && bytes.Equal(data[:n], []byte(journalMagic[:n])) && data[n] != journalMagic[n] && data[n] >= '0' && data[n] <= '9'
}
