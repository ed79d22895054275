package logging

import (
	"errors"
	"time"

	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

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
	if f.flushing == nil {
		f.working.Add(1)
		f.flushing = time.AfterFunc(f.opts.FlushEvery, f.flushNow)
	}
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
	defer f.working.Done()
	f.mu.Lock()
	f.flushing = nil
	if f.file != nil {
		_ = f.flush() // counted and told
	}
	f.mu.Unlock()
}

// afterWrite forces the record to the disk, or arranges for it.
func (f *File) afterWrite() error {
	if f.looking == nil {
		f.working.Add(1)
		f.looking = time.AfterFunc(lookEvery, f.look)
	}
	switch {
	case f.syncEvery < 0:
		if err := f.synced(f.file.Sync()); err != nil {
			return &Error{Op: "sync", Path: f.path, Err: err}
		}
	case f.syncEvery > 0 && f.syncing == nil:
		f.working.Add(1)
		f.syncing = time.AfterFunc(f.syncEvery, f.syncNow)
	}
	return nil
}

func (f *File) syncNow() {
	defer f.working.Done()
	f.mu.Lock()
	file := f.file
	f.syncing = nil
	f.mu.Unlock()
	if file == nil {
		return
	}
	// Outside the lock: a sync takes long, and writers need not wait for it.
	// The file may be sealed meanwhile, which syncs by itself.
	err := queue.Closed(file.Sync())
	f.mu.Lock()
	_ = f.synced(err) // told
	f.mu.Unlock()
}

// synced notes how a sync went and returns err.
func (f *File) synced(err error) error {
	switch {
	case err != nil:
		f.reports.Broken("sync", &Error{Op: "sync", Path: f.path, Err: err})
	case f.unsynced:
		f.reports.OK("sync")
	}
	f.unsynced = err != nil
	return err
}

// Sync writes what was collected and forces all records to the disk.
func (f *File) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return &Error{Op: "sync", Path: f.path, Err: ErrClosed}
	}
	if f.file == nil {
		return nil
	}
	if err := errors.Join(f.flush(), f.file.Sync()); err != nil {
		return &Error{Op: "sync", Path: f.path, Err: err}
	}
	return nil
}
