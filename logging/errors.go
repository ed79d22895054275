package logging

import "errors"

// The conditions that a caller may branch on, read with [errors.Is].
var (
	// ErrClosed is returned by every method but Close after Close.
	ErrClosed = errors.New("closed")
	// ErrRunning is returned by Run while another Run is under way.
	ErrRunning = errors.New("already running")
	// ErrNoSink is returned by [Logs.SendBulk] where New got no Sink.
	ErrNoSink = errors.New("no sink to ship to: set Options.Sink")
	// ErrNoFile is returned by [New] where a Sink but no file is configured:
	// the file is the queue.
	ErrNoFile = errors.New("a sink ships the log file, and none is configured: set Config.File.Path")
	// ErrQuota is reported when the oldest segments were dropped to keep the
	// disk quota. It is reported once until the queue is within its quota for
	// a whole segment.
	ErrQuota = errors.New("disk quota reached")
	// ErrLocked is returned where somebody else holds a segment, which is then
	// left as it is.
	ErrLocked = errors.New("locked by another process")
	// ErrMoved is reported when somebody else renamed or removed a file of the
	// queue.
	ErrMoved = errors.New("moved or removed by somebody else")
	// ErrTruncated is reported when somebody else shortened a file of the
	// queue.
	ErrTruncated = errors.New("truncated by somebody else")
	// ErrQuarantined is reported when events were put aside because the
	// receiver refused them or because they are too big for it.
	ErrQuarantined = errors.New("events quarantined")
	// ErrSelf is returned where a shipper is given a logger which writes to
	// the queue that it ships.
	ErrSelf = errors.New("the shipper's own logger leads back to the log that it ships")
)

// Error says which operation failed on which file or folder of a queue.
type Error struct {
	// Op is what was under way: "write", "seal", "ship", "quota" ...
	Op string
	// Path is the file or the folder.
	Path string
	// Err is the cause.
	Err error
}

// Error returns "logging: op path: cause".
func (e *Error) Error() string { return "logging: " + e.Op + " " + e.Path + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
