package logging

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
	"github.com/svcblocks/svcblocks/internal/filelock"
)

// FileOptions tunes [OpenFile]. The zero FileOptions is ready to use.
type FileOptions struct {
	// SegmentBytes is the size at which the active file is sealed. Defaults to
	// 8 MiB; negative: never for its size.
	SegmentBytes int64
	// QuotaBytes bounds the disk space of the active file and the segments.
	// Beyond it the oldest segments are dropped, counted and reported.
	// Defaults to 1 GiB; negative: no bound. At least 2 × SegmentBytes.
	QuotaBytes int64
	// FlushEvery collects records in memory and writes them together, at this
	// interval or when 64 KiB are there. It takes about 0.6 × the time, and a
	// killed process loses what it collected. Write errors then show in Stats
	// and OnError alone. Defaults to 0: each record is written before Write
	// returns.
	FlushEvery time.Duration
	// Sync says when records are forced to the disk with fsync: "never" leaves
	// it to the system, which survives a killed process but not a power cut;
	// "record" does it before Write returns; a duration such as "1s" at that
	// interval. Defaults to "never".
	Sync string
	// Perm is the permission of new files, before umask. Defaults to 0o640.
	Perm os.FileMode
	// OnError is told of what went wrong with the file, once per episode and
	// not for each record. It may log. Several goroutines may call it at once,
	// and OpenFile itself may. Nil: only Stats and Logger tell.
	OnError func(error)
	// Logger gets the file's own reports. It must not write to this file. Nil:
	// discard.
	Logger *slog.Logger
}

const (
	defaultSegmentBytes = 8 << 20
	defaultQuotaBytes   = 1 << 30
	minSegmentBytes     = 4 << 10
)

func (o *FileOptions) withDefaults() (FileOptions, time.Duration, error) {
	var out FileOptions
	if o != nil {
		out = *o
	}
	var bad []error
	switch {
	case out.SegmentBytes == 0:
		out.SegmentBytes = defaultSegmentBytes
	case out.SegmentBytes > 0 && out.SegmentBytes < minSegmentBytes:
		bad = append(bad, fmt.Errorf("SegmentBytes: %d is too small: use at least %d, or -1 for no bound", out.SegmentBytes, minSegmentBytes))
	}
	switch {
	case out.QuotaBytes == 0:
		out.QuotaBytes = max(defaultQuotaBytes, 2*out.SegmentBytes)
	case out.QuotaBytes > 0 && out.QuotaBytes < 2*max(out.SegmentBytes, minSegmentBytes):
		bad = append(bad, fmt.Errorf("QuotaBytes: %d holds less than two segments of %d: raise it or lower SegmentBytes", out.QuotaBytes, out.SegmentBytes))
	}
	every, err := parseSync(out.Sync)
	if err != nil {
		bad = append(bad, err)
	}
	if out.FlushEvery < 0 || out.FlushEvery > 0 && out.FlushEvery < time.Millisecond {
		bad = append(bad, fmt.Errorf("FlushEvery: %v is less than 1ms: use 0 to write each record at once", out.FlushEvery))
	}
	if out.Perm == 0 {
		out.Perm = defaultPerm
	}
	if out.Logger == nil {
		out.Logger = slog.New(slog.DiscardHandler)
	}
	out.Logger = out.Logger.With(componentKey, "logging")
	return out, every, errors.Join(bad...)
}

// parseSync returns the interval between syncs: 0 never, negative each record.
func parseSync(s string) (time.Duration, error) {
	switch s {
	case "", "never":
		return 0, nil
	case "record":
		return -1, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Millisecond {
		return 0, fmt.Errorf(`Sync: %q is none of "never", "record" and an interval of at least 1ms such as "1s"`, s)
	}
	return d, nil
}

// File appends records to the active file of a queue, seals it into segments,
// and keeps the queue within its quota. It is an io.WriteCloser for slog,
// zerolog, zap and any writer that makes one Write per record. A File holds a
// lock on its active file, so that no lock is taken per record. Its methods
// are safe for concurrent use.
type File struct {
	opts      FileOptions
	queue     queue
	syncEvery time.Duration // 0 never, negative each record

	mu       sync.Mutex
	file     *os.File // nil after Close or when no file could be opened
	fd       uintptr  // of file
	path     string   // of the active file
	size     int64
	events   int64 // in the active file
	seqs     sequence
	torn     bool   // the last line is unfinished: begin with a newline
	pending  []byte // records to be written together
	records  int64  // in pending
	flushing *time.Timer
	failing  int       // writes to come until the disk counts as well again; 0: well
	unsealed time.Time // after a seal that failed: when to try again
	unsynced bool      // the last sync failed
	closed   bool
	overfull bool  // segments were dropped for the quota
	room     int64 // bytes to be sealed before the quota is looked at again
	notices  []error
	syncing  *time.Timer
	scratch  []byte
	sealed   func() // told after each seal

	stats Stats // but for what is active

	working sync.WaitGroup // timers under way
}

// OpenFile opens the active file at path for appending and makes its folder if
// need be. Where another process holds that file, a file of its own beside it
// is used: see [File.Path]. Files left by killed processes are sealed. nil
// opts are the defaults. All bad options are reported at once.
func OpenFile(path string, opts *FileOptions) (*File, error) {
	o, every, err := opts.withDefaults()
	if err := errors.Join(checkPath(path), err); err != nil {
		return nil, fmt.Errorf("logging: open file %q: %w", path, err)
	}
	f := &File{opts: o, queue: newQueue(path), syncEvery: every}
	if err := os.MkdirAll(f.queue.dir, dirPerm); err != nil {
		return nil, &Error{Op: "open", Path: path, Err: err}
	}
	// Made while there is room: on a full disk shipping is what makes room.
	if lock, err := openLock(f.queue.dir); err == nil {
		_ = lock.Close() // nothing was written
	}
	amiss := f.queue.check(o.Perm)
	if err := f.queue.journaled(o.Perm, f.open); err != nil {
		return nil, &Error{Op: "open", Path: path, Err: err}
	}
	if _, err := f.queue.adopt(&f.seqs); err != nil {
		return nil, errors.Join(&Error{Op: "open", Path: path, Err: err}, f.Close())
	}
	f.tell(amiss)
	return f, nil
}

// open takes the first active file that no other process holds.
func (f *File) open(j *journal) error {
	for n := 0; n < maxActive; {
		path := f.queue.active(n)
		if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file: name one that is none else's, without symbolic links in place of it", path)
		}
		file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, f.opts.Perm)
		if err != nil {
			return err
		}
		held, err := filelock.TryLock(file)
		if err != nil {
			return errors.Join(err, file.Close())
		}
		if !held {
			if err := file.Close(); err != nil {
				return err
			}
			n++
			continue
		}
		if !samePath(file, path) { // sealed between our open and our lock
			if err := file.Close(); err != nil {
				return err
			}
			continue
		}
		size, err := terminate(file)
		f.file, f.fd, f.path, f.size, f.torn = file, file.Fd(), path, size, err != nil
		f.events, _ = countLines(file, 0, size) // for Stats alone
		j.noteOpen(filepath.Base(path))
		if f.syncEvery != 0 { // the names too, of this file and of the segment before it
			if err := atomicfile.SyncDir(f.queue.dir); err != nil {
				f.fail("sync", err)
			}
		}
		return nil
	}
	return fmt.Errorf("%d processes write to it already", maxActive)
}

// Stats returns the counters of the file; Ship and Suppressed are zero.
func (f *File) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := f.stats
	st.ActiveBytes, st.ActiveEvents = f.size+int64(len(f.pending)), f.events+f.records
	return st
}

// Path returns the path of the active file, which differs from the one given
// to OpenFile where another process holds that.
func (f *File) Path() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.path
}

// Write appends p, one or several whole lines, with one write(2); a missing
// newline at its end is added. A record that the disk takes only in part is
// cut back, counted as dropped and reported: the file never holds part of a
// record. Write seals the file before a record that would make it longer than
// SegmentBytes.
func (f *File) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	f.mu.Lock()
	err := f.append(p)
	notices := f.takeNotices()
	f.mu.Unlock()
	f.tell(notices)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *File) append(p []byte) error {
	if f.closed {
		return &Error{Op: "write", Path: f.path, Err: ErrClosed}
	}
	records := countRecords(p)
	if used, limit := f.size+int64(len(f.pending)), f.opts.SegmentBytes; limit > 0 && used > 0 && used+int64(len(p)) > limit {
		f.sealForSize()
	}
	if f.file == nil {
		if err := f.queue.journaled(f.opts.Perm, f.open); err != nil {
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
		return
	}
	if f.unsealed.IsZero() {
		f.fail("seal", err)
	}
	f.unsealed = time.Now().Add(sealRetry)
}

// write appends p, which holds so many records, to the file.
func (f *File) write(p []byte, records int64) error {
	if f.torn {
		p = append([]byte{'\n'}, p...)
	}
	n, err := writeFile(f.file, f.fd, p)
	if err != nil {
		f.cutBack(n)
		return f.drop(err, records)
	}
	f.torn = false
	f.size += int64(n)
	f.events += records
	f.stats.Written += records
	f.stats.WrittenBytes += int64(n)
	if f.failing > 0 {
		f.recover()
	}
	return f.afterWrite()
}

// cutBack removes the n bytes of a record that was written in part.
func (f *File) cutBack(n int) {
	if n == 0 {
		return
	}
	// The size is asked for, as somebody else may have truncated the file:
	// cutting at a remembered size would fill a hole with zeros.
	info, err := f.file.Stat()
	if err == nil {
		err = f.file.Truncate(max(0, info.Size()-int64(n)))
	}
	if err != nil {
		f.torn = true
		f.size += int64(n)
		f.fail("cut back", err)
	}
}

// drop counts records that were not written.
func (f *File) drop(cause error, records int64) error {
	f.stats.Dropped += records
	err := &Error{Op: "write", Path: f.path, Err: cause}
	if f.failing == 0 {
		f.fail("write", cause)
	}
	f.failing = recovery
	f.stats.WriteError = err.Error()
	return err
}

// recovery is the number of records in a row after which a disk that failed
// counts as well again: on one that is nearly full small records still fit.
const recovery = 16

// errWritable is the one notice that is no trouble.
var errWritable = errors.New("writable again")

func (f *File) recover() {
	f.stats.WriteError = ""
	if f.failing--; f.failing == 0 {
		f.notices = append(f.notices, &Error{Op: "write", Path: f.path, Err: fmt.Errorf("%w after %d dropped records", errWritable, f.stats.Dropped)})
	}
}

// fail queues a notice, told after the lock is dropped, so that OnError may
// log.
func (f *File) fail(op string, cause error) {
	f.notices = append(f.notices, &Error{Op: op, Path: f.path, Err: cause})
}

func (f *File) takeNotices() []error {
	if len(f.notices) == 0 {
		return nil
	}
	n := f.notices
	f.notices = nil
	return n
}

func (f *File) tell(notices []error) {
	for _, err := range notices {
		if errors.Is(err, errWritable) {
			f.opts.Logger.Info("log file", "state", err)
			continue
		}
		f.opts.Logger.Error("log file", "error", err)
		if f.opts.OnError != nil {
			f.opts.OnError(err)
		}
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
	notices := f.takeNotices()
	path := f.path
	f.mu.Unlock()
	f.tell(notices)
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

// seal renames the active file and opens the next. Killed between the two, the
// process leaves a segment and no active file; killed before, an active file
// without a lock, which is adopted.
func (f *File) seal() error {
	if f.file != nil {
		_ = f.flush() // counted and told
	}
	if f.file == nil || f.size == 0 {
		return nil
	}
	settled, size := false, f.size
	work := func(j *journal) error {
		if err := f.settle(j); err != nil {
			return err
		}
		settled = true
		return f.open(j) // failing that, tried again at the next record
	}
	err := f.queue.journaled(f.opts.Perm, work)
	if errors.Is(err, fs.ErrNotExist) && !settled { // somebody removed the folder
		if err = os.MkdirAll(f.queue.dir, dirPerm); err == nil {
			err = f.queue.journaled(f.opts.Perm, work)
		}
	}
	if settled {
		f.keepQuota(size)
		if f.sealed != nil {
			f.sealed()
		}
	}
	return err
}

// settle makes the active file a segment and lets go of it.
func (f *File) settle(j *journal) error {
	if f.syncEvery != 0 {
		_ = f.synced(f.file.Sync()) // told
	}
	if info, err := f.file.Stat(); err == nil && info.Size() < f.size {
		f.fail("seal", fmt.Errorf("%w: %d of %d bytes are gone", ErrTruncated, f.size-info.Size(), f.size))
	}
	j.noteGone(filepath.Base(f.path))
	if samePath(f.file, f.path) {
		if err := f.queue.rename(j, f.file, f.path, &f.seqs); err != nil {
			return err
		}
	} else {
		f.fail("seal", ErrMoved)
		if err := f.rescue(j); err != nil {
			return err
		}
	}
	file := f.file
	f.file, f.size, f.events, f.torn = nil, 0, 0, false
	return closed(file.Close())
}

// finish is settle for a file that may be empty.
func (f *File) finish(j *journal) error {
	if f.size > 0 {
		return f.settle(j)
	}
	j.noteGone(filepath.Base(f.path))
	if !samePath(f.file, f.path) {
		return nil
	}
	return release(f.file, func() error { return os.Remove(f.path) })
}

// Close seals the active file, or removes it if it is empty, and lets go of
// it. Further calls do nothing.
func (f *File) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	f.closed = true
	for _, t := range []*time.Timer{f.syncing, f.flushing} {
		if t != nil && t.Stop() {
			f.working.Done()
		}
	}
	var err error
	if f.file != nil {
		err = f.flush()
		err = errors.Join(err, f.queue.journaled(f.opts.Perm, f.finish))
		if f.file != nil {
			err = errors.Join(err, closed(f.file.Close()))
			f.file = nil
		}
	}
	notices := f.takeNotices()
	path := f.path
	f.mu.Unlock()
	f.tell(notices)
	f.working.Wait()
	if err != nil {
		return &Error{Op: "close", Path: path, Err: err}
	}
	return nil
}
