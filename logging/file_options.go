package logging

import (
	"fmt"
	"log/slog"
	"os"
	"time"

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
	MaxSegmentBytes int64 `koanf:"max_segment_bytes" default:"8388608" zero:"default" doc:"size at which the file is sealed; negative: never"`
	// MaxTotalBytes bounds the disk space of the active file and the segments.
	// Beyond it the oldest segments are dropped; where they were to be shipped
	// that is counted and reported. Defaults to 1 GiB; negative: no bound. At
	// least 2 × MaxSegmentBytes.
	MaxTotalBytes int64 `koanf:"max_total_bytes" default:"1073741824" zero:"default" doc:"disk space of the log; negative: no bound"`
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
	Sync string `koanf:"sync" default:"never" zero:"default" doc:"never, record or an interval such as 1s"`
	// Perm is the permission of each file of the log, before umask. One that lets
	// a group or others write, 0o660, shares the log with them, as Shared does.
	// Defaults to 0o640.
	Perm os.FileMode `koanf:"-"`
	// Shared takes a folder and files that belong to another user, or that
	// everybody may write, as all do on some mounts of Docker Desktop and WSL.
	// Without it such files are an error, since somebody may have planted them:
	// events that are shipped as ours, or a checkpoint that skips some. Links in
	// place of a file are followed in no case.
	Shared bool `koanf:"shared" doc:"take files that another user owns or may write"`
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
