package logging

import (
	"errors"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// The conditions that a caller may branch on, read with [errors.Is].
var (
	// ErrClosed is returned by every method but Close after Close.
	ErrClosed = errors.New("logging: closed")
	// ErrRunning is returned by Run while another Run is under way.
	ErrRunning = errors.New("logging: already running")
	// ErrRemaining is returned by [Logs.SendBulk], [Logs.Close] and
	// [Logs.Shutdown] where events wait in the queue for the next start.
	ErrRemaining = errors.New("logging: events wait in the queue")
	// ErrRefused is returned by [Logs.SendBulk], and reported, where events were
	// set aside, as the receiver refused them and took others after them, or as
	// they are too large for it.
	ErrRefused = errors.New("logging: events refused")
	// ErrLost is matched by what [Logs.Check] returns where records are lost, or
	// cannot be stored.
	ErrLost = errors.New("logging: records are lost")
	// ErrStuck is matched by what [Logs.Check] returns where events wait, and
	// nothing is lost.
	ErrStuck = errors.New("logging: shipping is stuck")
	// ErrNoSink is returned by [Logs.SendBulk] where New got no Sink.
	ErrNoSink = errors.New("logging: no sink to ship to: set Options.Sink")
	// ErrNoFile is returned by [New] where a Sink but no file is given:
	// the file is the queue.
	ErrNoFile = errors.New("logging: a sink ships the log file, and none is configured: set Options.File.Path")
	// ErrQuota is reported when the oldest segments were dropped to keep the
	// disk quota. It is reported once until the queue is within its quota for
	// a whole segment.
	ErrQuota = errors.New("logging: disk quota reached")
	// ErrLocked is returned where somebody else holds a segment, which is then
	// left as it is.
	ErrLocked = errors.New("logging: locked by another process")
	// ErrMoved is reported when somebody else renamed or removed a file of the
	// queue.
	ErrMoved = queue.ErrMoved
	// ErrTruncated is reported when somebody else shortened a file of the
	// queue.
	ErrTruncated = queue.ErrTruncated
	// ErrSelf is returned where a shipper is given a logger which writes to
	// the queue that it ships.
	ErrSelf = errors.New("logging: the shipper's own logger leads back to the log that it ships")
)

// Error says which operation failed, on which file or folder of a queue.
type Error struct {
	// Op is what was under way: "write", "seal", "ship", "close" ...
	Op string
	// Path is the file or the folder; "" for the log as a whole.
	Path string
	// Remaining is how many events wait in the queue: above 0 the error matches
	// [ErrRemaining].
	Remaining int
	// Err is the cause.
	Err error
}

// Error returns "logging: op path: cause". The package is named once.
func (e *Error) Error() string {
	text := "logging: " + e.Op
	if e.Path != "" {
		text += " " + e.Path
	}
	return text + ": " + strings.ReplaceAll(e.Err.Error(), "logging: ", "")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether the error is that of events which wait: [ErrRemaining].
func (e *Error) Is(target error) bool { return target == ErrRemaining && e.Remaining > 0 }

// Temporary reports whether the same can succeed later without a change: where
// events wait for a receiver that is away.
func (e *Error) Temporary() bool {
	se, ok := errors.AsType[*SinkError](e.Err)
	return ok && se.Temporary()
}

// RetryAfter returns how long the receiver asked to wait; 0 if it did not say.
func (e *Error) RetryAfter() time.Duration {
	if se, ok := errors.AsType[*SinkError](e.Err); ok {
		return se.RetryAfter
	}
	return 0
}
