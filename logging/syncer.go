package logging

import (
	"os"
	"time"

	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// syncer forces the records of a log to the disk, and reports how that went.
type syncer struct {
	every   time.Duration // 0 never, negative each record
	reports *reports
	failed  bool // the last sync
}

// sync forces what is in file, which has the name path, to the disk.
func (s *syncer) sync(file *os.File, path string) error {
	return s.note(path, queue.Closed(file.Sync()))
}

// note reports how a sync went and returns err.
func (s *syncer) note(path string, err error) error {
	switch {
	case err != nil:
		s.reports.Broken("sync", &Error{Op: "sync", Path: path, Err: err})
	case s.failed:
		s.reports.OK("sync")
	}
	s.failed = err != nil
	return err
}
