package logging

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// FileOptions says where the log file is and how it is kept. Path is required.
type FileOptions struct {
	// Path is the active file, such as "var/log/app.log". In the Options of
	// [New] an empty one means that there is no file.
	Path string `koanf:"path" doc:"log file; empty: none"`
	// Level is the level of the file in the Options of [New]: below it nothing is
	// written there, whatever the component's level. Empty: all.
	Level string `koanf:"level" doc:"least level of the file; empty: all"`
	// MaxSegmentBytes is the size at which the active file is sealed. Defaults
	// to 8 MiB; negative: never for its size.
	MaxSegmentBytes int64 `koanf:"max_segment_bytes" default:"8388608" doc:"size at which the file is sealed; negative: never"`
	// MaxTotalBytes bounds the disk space of the active file and the segments.
	// Beyond it the oldest segments are dropped; where they were to be shipped
	// that is counted and reported. Defaults to 1 GiB; negative: no bound. At
	// least 2 × MaxSegmentBytes.
	MaxTotalBytes int64 `koanf:"max_total_bytes" default:"1073741824" doc:"disk space of the log; negative: no bound"`
	// MaxFiles bounds the number of segments beside the active file, and MaxAge
	// their age: what is beyond is dropped when the file is sealed or opened, and
	// counted as for MaxTotalBytes. 0: no bound.
	MaxFiles int           `koanf:"max_files" doc:"segments that are kept; 0: no bound"`
	MaxAge   time.Duration `koanf:"max_age" doc:"how long segments are kept; 0: no bound"`
	// FlushEvery collects records in memory and writes them together, at this
	// interval or when 64 KiB are there. It takes about 0.6 × the time, and a
	// killed process loses what it collected. Write errors then show in Stats
	// and OnError alone. Defaults to 0: each record is written before Write
	// returns.
	FlushEvery time.Duration `koanf:"flush_every" doc:"collect records for this long; 0: write each at once"`
	// Sync says when records are forced to the disk with fsync: "never" leaves
	// it to the system, which survives a killed process but not a power cut;
	// "record" does it before Write returns; a duration such as "1s" at that
	// interval. Defaults to "never".
	Sync string `koanf:"sync" default:"never" doc:"never, record or an interval such as 1s"`
	// Perm is the permission of each file of the log, before umask. Defaults to
	// 0o640.
	Perm os.FileMode `koanf:"-"`
	// StuckAfter is how long a state that loses nothing may last before it is
	// told. Defaults to 1m; negative: at once. In the Options of [New] this and
	// the two below stay empty: those of Options hold.
	StuckAfter time.Duration `koanf:"-"`
	// OnError is told of what went wrong with the file, once per episode and
	// not for each record, and when it is over. It may log.
	OnError func(error) `koanf:"-"`
	// Logger is told the same. It must not write to this file. Nil: lines on the
	// standard error; slog.New(slog.DiscardHandler) turns it off.
	Logger *slog.Logger `koanf:"-"`
}

const (
	defaultSegmentBytes = 8 << 20
	defaultTotalBytes   = 1 << 30
	minSegmentBytes     = 4 << 10
)

// withDefaults returns the options in force and the interval between syncs.
func (o *FileOptions) withDefaults() (FileOptions, time.Duration, options.Mistakes) {
	var out FileOptions
	if o != nil {
		out = *o
	}
	var wrong options.Mistakes
	if err := queue.CheckPath(out.Path); err != nil {
		wrong.Add("Path", "%v", err)
	}
	switch {
	case out.MaxSegmentBytes == 0:
		out.MaxSegmentBytes = defaultSegmentBytes
	case out.MaxSegmentBytes > 0 && out.MaxSegmentBytes < minSegmentBytes:
		wrong.Add("MaxSegmentBytes", "%d is below %d: use at least that, or -1 for no bound", out.MaxSegmentBytes, minSegmentBytes)
	}
	switch {
	case out.MaxTotalBytes == 0:
		out.MaxTotalBytes = max(defaultTotalBytes, 2*out.MaxSegmentBytes)
	case out.MaxTotalBytes > 0 && out.MaxTotalBytes < 2*max(out.MaxSegmentBytes, minSegmentBytes):
		wrong.Add("MaxTotalBytes", "%d holds less than two segments of %d: raise it or lower MaxSegmentBytes", out.MaxTotalBytes, out.MaxSegmentBytes)
	}

	if out.MaxFiles < 0 {
		wrong.Add("MaxFiles", "%d is below 0: use 0 for no bound", out.MaxFiles)
	}
	if out.MaxAge < 0 {
		wrong.Add("MaxAge", "%v is below 0: use 0 for no bound", out.MaxAge)
	}
	every, err := parseSync(out.Sync)
	if err != nil {
		wrong.Add("Sync", "%v", err)
	}
	if out.FlushEvery < 0 || out.FlushEvery > 0 && out.FlushEvery < time.Millisecond {
		wrong.Add("FlushEvery", "%v is below 1ms: use 0 to write each record at once", out.FlushEvery)
	}
	if out.Perm == 0 {
		out.Perm = queue.DefaultPerm
	}
	return out, every, wrong
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
		return 0, fmt.Errorf(`%q is none of "never", "record" and an interval of at least 1ms such as "1s"`, s)
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
	queue     queue.Queue
	syncEvery time.Duration // 0 never, negative each record

	mu       sync.Mutex
	file     *os.File // nil after Close or when no file could be opened
	fd       uintptr  // of file
	path     string   // of the active file
	size     int64
	events   int64 // in the active file
	seqs     queue.Sequence
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
	reports  *reports
	own      bool // the reports are the file's own
	syncing  *time.Timer
	scratch  []byte
	sealed   func() // told when a full file was sealed
	ships    bool   // what is left at Close is to be shipped: it is sealed
	looking  *time.Timer

	stats Stats // but for what is active

	working sync.WaitGroup // timers under way
}

// OpenFile opens the active file for appending and makes its folder if need be.
// A file that is there, as another run left it, is continued. Where another
// process holds it, a file of its own beside it is used: see [File.Path]. All
// bad options are reported at once.
func OpenFile(opts *FileOptions) (*File, error) { return openFile(opts, nil) }

// openFile is OpenFile with reports that others use too, or nil.
func openFile(opts *FileOptions, r *reports) (*File, error) {
	o, every, wrong := opts.withDefaults()
	if err := wrong.Err("logging: open file"); err != nil {
		return nil, err
	}
	f := &File{opts: o, queue: queue.New(o.Path, o.Perm), syncEvery: every, path: o.Path, reports: r, own: r == nil}
	if f.own {
		f.reports = newReports(reportOptions{logger: o.Logger, onError: o.OnError, after: o.StuckAfter})
	}

	if err := os.MkdirAll(f.queue.Dir, queue.DirPerm); err != nil {
		return nil, &Error{Op: "open", Path: o.Path, Err: err}
	}
	f.inspect()
	if err := f.open(); err != nil {
		return nil, &Error{Op: "open", Path: o.Path, Err: err}
	}

	if f.opts.MaxAge > 0 || f.opts.MaxFiles > 0 {
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
	turn, _, err := f.queue.TryTurn()
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
	file, size, torn, err := f.queue.Open()
	if err != nil {
		return err
	}
	f.use(file, file.Name())
	f.size, f.torn = size, torn
	f.events, _ = queue.CountLines(file, 0, size) // for Stats alone
	return nil
}

// use makes file, which has the name path, the active one.
func (f *File) use(file *os.File, path string) {
	f.file, f.fd, f.path, f.size, f.events, f.torn = file, file.Fd(), path, 0, 0, false
	if f.syncEvery != 0 { // the names too, of this file and of the segment before it
		_ = f.synced(atomicfile.SyncDir(f.queue.Dir)) // told
	}
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
		return &Error{Op: "write", Path: f.path, Err: ErrClosed}
	}
	records := countRecords(p)
	if used, limit := f.size+int64(len(f.pending)), f.opts.MaxSegmentBytes; limit > 0 && used > 0 && used+int64(len(p)) > limit {
		f.sealForSize()
	}

	if f.file == nil {
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
	f.reports.Fail("seal", &Error{Op: "seal", Path: f.path, Err: err})
	f.unsealed = time.Now().Add(sealRetry)
}

// write appends p, which holds so many records, to the file.
func (f *File) write(p []byte, records int64) error {
	if f.torn {
		p = append([]byte{'\n'}, p...)
	}

	n, err := writeFile(f.file, f.path, f.fd, p)
	if err != nil {
		f.cutBack(n)
		// A limit on the size of files holds for this one, not for the next.
		if errors.Is(err, syscall.EFBIG) && f.size > 0 && f.seal() == nil && f.file != nil {
			return f.write(p, records)
		}
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
	}
}

// drop counts records that were not written.
func (f *File) drop(cause error, records int64) error {
	f.stats.Dropped += records
	err := &Error{Op: "write", Path: f.path, Err: cause}
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
	path := f.path
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
	if f.file != nil {
		_ = f.flush() // counted and told
	}
	if f.file == nil || f.size == 0 {
		return nil
	}
	if f.syncEvery != 0 {
		_ = f.synced(f.file.Sync()) // told
	}
	if info, err := f.file.Stat(); err == nil && info.Size() < f.size {
		left, _ := queue.CountLines(f.file, 0, info.Size()) // failing that, all are lost
		f.reports.Lost("truncated", int(max(1, f.events-left)), &Error{Op: "seal", Path: f.path, Err: fmt.Errorf("%w: %d of %d bytes are gone", ErrTruncated, f.size-info.Size(), f.size)})
	}
	if !queue.SameFile(f.file, f.path) {
		return f.rescue()
	}

	old, size := f.file, f.size
	next, err := f.queue.Seal(f.file, f.path, &f.seqs)
	if err != nil {
		return err
	}
	f.file, f.size, f.events, f.torn = nil, 0, 0, false
	if next != nil {
		f.use(next, f.path)
	} else {
		err = f.open() // failing that, tried again at the next record
	}
	f.keepQuota(size)
	return errors.Join(err, queue.Closed(old.Close()))
}

// rescue copies an active file that somebody renamed or removed into a segment,
// and begins the next one.
func (f *File) rescue() error {
	f.reports.event("moved", &Error{Op: "check", Path: f.path, Err: fmt.Errorf("the active file was %w, and is made again", ErrMoved)})
	if err := os.MkdirAll(f.queue.Dir, queue.DirPerm); err != nil {
		return err
	}

	size := f.size
	if size > 0 {
		if err := f.queue.Rescue(f.file, f.path, &f.seqs); err != nil {
			return err
		}
	}

	err := queue.Closed(f.file.Close())
	f.file, f.size, f.events, f.torn = nil, 0, 0, false
	err = errors.Join(err, f.open())
	f.keepQuota(size)
	return err
}

// lookEvery is how soon after a write the path is compared with the open file.
const lookEvery = time.Second

// look finds out whether somebody renamed or removed the file or its folder,
// and makes it again.
func (f *File) look() {
	defer f.working.Done()
	f.mu.Lock()
	f.looking = nil
	if f.file != nil && !queue.SameFile(f.file, f.path) {
		_ = f.flush() // counted and told
		if err := f.rescue(); err != nil {
			f.reports.Fail("rescue", &Error{Op: "check", Path: f.path, Err: err})
		} else {
			f.reports.OK("rescue")
		}
	}
	f.mu.Unlock()
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

	for _, t := range []*time.Timer{f.syncing, f.flushing, f.looking} {
		if t != nil && t.Stop() {
			f.working.Done()
		}
	}

	var err error
	if f.file != nil {
		err = errors.Join(f.flush(), f.leave(), queue.Closed(f.file.Close()))
		f.file = nil
	}
	path := f.path
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
	switch {
	case f.size > 0 && !queue.SameFile(f.file, f.path):
		f.reports.event("moved", &Error{Op: "check", Path: f.path, Err: ErrMoved})
		return f.queue.Rescue(f.file, f.path, &f.seqs)
	case f.ships && f.size > 0:
		return f.queue.Finish(f.file, f.path, &f.seqs)
	case f.ships:
		return f.queue.Discard(f.file, f.path)
	}
	f.queue.Journal().Gone(filepath.Base(f.path)) // whoever takes it away is right
	return nil
}
