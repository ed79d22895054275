package logging

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// File appends records to the active file of a queue, seals it into segments,
// and keeps the queue within its quota. It is an io.WriteCloser for slog,
// zerolog, zap and any writer that makes one Write per record. A File holds a
// lock on its active file, so that no lock is taken per record. Its methods
// are safe for concurrent use.
type File struct {
	opts    FileOptions
	queue   queue.Queue
	reports *reports
	own     bool   // the reports are the file's own
	ships   bool   // what is left at Close is to be shipped: it is sealed
	sealed  func() // told when a full file was sealed; nil: nobody is

	mu       sync.Mutex
	active   active
	out      *queue.Writer
	quota    quota
	syncer   syncer
	pending  []byte // records to be written together
	records  int64  // in pending
	scratch  []byte
	failing  int       // writes to come until the disk counts as well again; 0: well
	unsealed time.Time // after a seal that failed: when to try again
	closed   bool
	stats    Stats // but for what is active

	flushing, syncing, looking alarm
	working                    sync.WaitGroup // alarms
}

// OpenFile opens the active file for appending and makes its folder if need be.
// A file that is there, as another run left it, is continued. Where another
// process holds it, a file of its own beside it is used: see [File.Path]. All
// bad options are reported at once.
func OpenFile(opts *FileOptions) (*File, error) { return openFile(opts, fileParts{}) }

// fileParts is what the file of a [Logs] gets from it.
type fileParts struct {
	reports *reports // nil: the file makes its own
	ships   bool
	sealed  func()
}

func openFile(opts *FileOptions, parts fileParts) (*File, error) {
	o, every, wrong := opts.withDefaults()
	if err := wrong.Err("logging: open file"); err != nil {
		return nil, err
	}

	f := &File{
		opts: o, queue: queue.New(o.Path, queue.Access{Perm: o.Perm, Shared: o.Shared}),
		reports: parts.reports, own: parts.reports == nil, ships: parts.ships, sealed: parts.sealed,
	}

	if f.own {
		f.reports = newReports(reportOptions{logger: o.Logger, onError: o.OnError, after: o.StuckAfter})
	}

	f.active.path = o.Path
	f.out = queue.NewWriter(f.queue)
	f.syncer = syncer{every: every, reports: f.reports}
	f.quota = quota{
		queue: f.queue, reports: f.reports, bytes: o.MaxTotalBytes, reserve: max(0, o.MaxSegmentBytes),
		files: o.MaxFiles, age: o.MaxAge, tells: f.own || f.ships, // else it is how old lines go
	}

	f.flushing = alarm{working: &f.working, do: f.flushNow}
	f.syncing = alarm{working: &f.working, do: f.syncNow}
	f.looking = alarm{working: &f.working, do: f.look}

	if err := f.queue.MakeDir(f.ships); err != nil {
		return nil, &Error{Op: "open", Path: o.Path, Err: err}
	}
	f.inspect()
	if err := f.open(); err != nil {
		return nil, &Error{Op: "open", Path: o.Path, Err: err}
	}

	if o.MaxAge > 0 || o.MaxFiles > 0 {
		f.keepQuota(0)
	}
	if f.own {
		f.reports.Start()
	}
	return f, nil
}

// inspect looks for files that are not as they were left, and makes those that
// shipping needs while there is room: on a full disk it is shipping that makes
// room.
func (f *File) inspect() {
	turn, _, err := queue.TryTurn(f.queue)
	if err != nil {
		f.reports.Fail("turn", &Error{Op: "open", Path: f.queue.Dir, Err: err})
	}
	if turn == nil {
		return // who has the turn looks
	}
	defer func() { _ = turn.End() }() // nothing was written
	f.reports.amiss(f.queue)
}

// open takes the first active file that no other process holds.
func (f *File) open() error {
	file, size, torn, err := f.out.Open()
	if err != nil {
		return err
	}
	f.use(file, file.Name())
	f.active.size, f.active.torn = size, torn
	f.active.events, _ = queue.CountLines(file, 0, size) // for Stats alone
	return nil
}

// use makes file, which has the name path, the active one.
func (f *File) use(file *os.File, path string) {
	f.active.use(file, path)
	if f.syncer.every != 0 { // the names too, of this file and of the segment before it
		_ = f.syncer.note(path, atomicfile.SyncDir(f.queue.Dir)) // told
	}
}

func (f *File) keepQuota(size int64) { f.stats.DroppedForQuota += f.quota.keep(size) }

// Stats returns the counters of the file; Ship and Suppressed are zero.
func (f *File) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := f.stats
	st.ActiveBytes, st.ActiveEvents = f.active.size+int64(len(f.pending)), f.active.events+f.records
	return st
}

// Path returns the path of the active file, which differs from the one given
// to OpenFile where another process holds that.
func (f *File) Path() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.active.path
}

// Write appends p, one or several whole lines, with one write(2); a missing
// newline at its end is added. A record that the disk takes only in part is
// cut back, counted as dropped and reported: the file never holds part of a
// record. Write seals the file before a record that would make it longer than
// MaxSegmentBytes.
func (f *File) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	f.reports.Used()
	f.mu.Lock()
	err := f.append(p)
	f.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *File) append(p []byte) error {
	if f.closed {
		return &Error{Op: "write", Path: f.active.path, Err: ErrClosed}
	}
	records := countRecords(p)
	if used, limit := f.active.size+int64(len(f.pending)), f.opts.MaxSegmentBytes; limit > 0 && used > 0 && used+int64(len(p)) > limit {
		f.sealForSize()
	}

	if f.active.file == nil {
		if err := f.open(); err != nil {
			return f.drop(err, records)
		}
	}

	if p[len(p)-1] != '\n' {
		f.scratch = append(append(f.scratch[:0], p...), '\n')
		p = f.scratch
	}
	if f.opts.FlushEvery > 0 {
		f.collect(p, records)
		return nil
	}
	return f.write(p, records)
}

// countRecords returns how many lines p has, an unfinished last one included.
func countRecords(p []byte) int64 {
	if i := bytes.IndexByte(p, '\n'); i < 0 || i == len(p)-1 {
		return 1 // nearly always
	}
	n := bytes.Count(p, []byte{'\n'})
	if p[len(p)-1] != '\n' {
		n++
	}
	return int64(n)
}

// sealRetry is how long after a seal that failed the file grows on.
const sealRetry = time.Second

// sealForSize seals the file, which is full. Where that fails it tries again
// later: the record still fits the file at hand.
func (f *File) sealForSize() {
	if !f.unsealed.IsZero() && time.Until(f.unsealed) > 0 {
		return
	}
	err := f.seal()
	if err == nil {
		f.unsealed = time.Time{}
		f.reports.OK("seal")
		if f.sealed != nil {
			f.sealed()
		}
		return
	}
	f.reports.Fail("seal", &Error{Op: "seal", Path: f.active.path, Err: err})
	f.unsealed = time.Now().Add(sealRetry)
}

// write appends p, which holds so many records, to the file.
func (f *File) write(p []byte, records int64) error {
	n, err := f.active.write(p, records)
	// A limit on the size of files holds for this one, not for the next.
	if errors.Is(err, syscall.EFBIG) && f.active.size > 0 && f.seal() == nil && f.active.file != nil {
		return f.write(p, records)
	}
	if err != nil {
		return f.drop(err, records)
	}

	f.stats.Written += records
	f.stats.WrittenBytes += int64(n)
	if f.failing > 0 {
		f.recover()
	}

	f.looking.set(lookEvery)
	switch {
	case f.syncer.every < 0:
		if err := f.syncer.sync(f.active.file, f.active.path); err != nil {
			return &Error{Op: "sync", Path: f.active.path, Err: err}
		}
	case f.syncer.every > 0:
		f.syncing.set(f.syncer.every)
	}
	return nil
}

// flushBytes is how much is collected at most.
const flushBytes = 64 << 10

// collect keeps p, so many records, for a write to come.
func (f *File) collect(p []byte, records int64) {
	f.pending = append(f.pending, p...)
	f.records += records
	if len(f.pending) >= flushBytes {
		_ = f.flush() // counted and told
		return
	}
	f.flushing.set(f.opts.FlushEvery)
}

// flush writes what was collected.
func (f *File) flush() error {
	if f.records == 0 {
		return nil
	}
	p, n := f.pending, f.records
	f.pending, f.records = f.pending[:0], 0
	return f.write(p, n)
}

func (f *File) flushNow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushing.rung()
	if f.active.file != nil {
		_ = f.flush() // counted and told
	}
}

func (f *File) syncNow() {
	f.mu.Lock()
	file, path := f.active.file, f.active.path
	f.syncing.rung()
	f.mu.Unlock()
	if file == nil {
		return
	}
	// Outside the lock: a sync takes long, and writers need not wait for it.
	// The file may be sealed meanwhile, which syncs by itself.
	err := queue.Closed(file.Sync())
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.syncer.note(path, err) // told
}

// Sync writes what was collected and forces all records to the disk.
func (f *File) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return &Error{Op: "sync", Path: f.active.path, Err: ErrClosed}
	}
	if f.active.file == nil {
		return nil
	}
	if err := errors.Join(f.flush(), f.active.file.Sync()); err != nil {
		return &Error{Op: "sync", Path: f.active.path, Err: err}
	}
	return nil
}

// drop counts records that were not written.
func (f *File) drop(cause error, records int64) error {
	f.stats.Dropped += records
	err := &Error{Op: "write", Path: f.active.path, Err: cause}
	f.reports.Lost("file", int(records), err)
	f.reports.Broken("file", err)
	f.failing = recovery
	f.stats.WriteError = err.Error()
	return err
}

// recovery is the number of records in a row after which a disk that failed
// counts as well again: on one that is nearly full small records still fit.
const recovery = 16

func (f *File) recover() {
	f.stats.WriteError = ""
	if f.failing--; f.failing == 0 {
		f.reports.OK("file")
	}
}

// Seal makes the active file a segment, ready to be shipped, and begins a new
// one. Without records it does nothing.
func (f *File) Seal() error {
	f.mu.Lock()
	var err error
	if f.closed {
		err = ErrClosed
	} else {
		err = f.seal()
	}
	path := f.active.path
	f.mu.Unlock()
	if err != nil {
		return &Error{Op: "seal", Path: path, Err: err}
	}
	return nil
}

// sealForShipping is Seal for the shipper, which also works, as nothing to do,
// on a closed file.
func (f *File) sealForShipping() error {
	if err := f.Seal(); err != nil && !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

// seal makes the active file a segment and begins the next one.
func (f *File) seal() error {
	if f.active.file != nil {
		_ = f.flush() // counted and told
	}
	if f.active.file == nil || f.active.size == 0 {
		return nil
	}

	if f.syncer.every != 0 {
		_ = f.syncer.sync(f.active.file, f.active.path) // told
	}

	if size, events := f.active.missing(); size > 0 {
		f.reports.Lost("truncated", int(events), &Error{Op: "seal", Path: f.active.path, Err: fmt.Errorf("%w: %d of %d bytes are gone", ErrTruncated, size, f.active.size)})
	}
	if !f.active.here() {
		return f.rescue()
	}

	old := f.active
	next, err := f.out.Seal(old.file, old.path)
	if err != nil {
		return err
	}

	f.active.none()
	if next != nil {
		f.use(next, old.path)
	} else {
		err = f.open() // failing that, tried again at the next record
	}

	f.keepQuota(old.size)
	return errors.Join(err, queue.Closed(old.file.Close()))
}

// rescue copies an active file that somebody renamed or removed into a segment,
// and begins the next one.
func (f *File) rescue() error {
	old := f.active
	f.reports.event("moved", &Error{Op: "check", Path: old.path, Err: fmt.Errorf("the active file was %w, and is made again", ErrMoved)})
	if err := f.queue.MakeDir(f.ships); err != nil {
		return err
	}
	if old.size > 0 {
		if err := f.out.Rescue(old.file, old.path); err != nil {
			return err
		}
	}

	err := queue.Closed(old.file.Close())
	f.active.none()
	err = errors.Join(err, f.open())
	f.keepQuota(old.size)
	return err
}

// lookEvery is how soon after a write the path is compared with the open file.
const lookEvery = time.Second

// look finds out whether somebody renamed or removed the file or its folder,
// and makes it again.
func (f *File) look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looking.rung()
	if f.active.file != nil && !f.active.here() {
		_ = f.flush() // counted and told
		if err := f.rescue(); err != nil {
			f.reports.Fail("rescue", &Error{Op: "check", Path: f.active.path, Err: err})
		} else {
			f.reports.OK("rescue")
		}
	}
}

// Close writes what was collected and lets go of the file, which stays in place
// for the next run to continue. Further calls do nothing.
func (f *File) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	f.closed = true

	for _, a := range []*alarm{&f.syncing, &f.flushing, &f.looking} {
		a.stop()
	}

	var err error
	if f.active.file != nil {
		err = errors.Join(f.flush(), f.leave(), queue.Closed(f.active.file.Close()))
		f.active.file = nil
	}
	path := f.active.path
	f.mu.Unlock()

	f.working.Wait()
	if f.own {
		f.reports.end()
	}
	if err != nil {
		return &Error{Op: "close", Path: path, Err: err}
	}
	return nil
}

// leave puts the active file, which is complete, where it is to be found.
func (f *File) leave() error {
	a := &f.active
	switch {
	case a.size > 0 && !a.here():
		f.reports.event("moved", &Error{Op: "check", Path: a.path, Err: ErrMoved})
		return f.out.Rescue(a.file, a.path)
	case f.ships && a.size > 0:
		return f.out.Finish(a.file, a.path)
	case f.ships:
		return f.out.Discard(a.file, a.path)
	}
	f.queue.Journal().Gone(filepath.Base(a.path)) // whoever takes it away is right
	return nil
}
