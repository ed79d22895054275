package logging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// Sink sends batches of events to one receiver. Obligations, by number as in
// the suite logging/sinktest:
//
//  1. Send returns nil only if the receiver answered that it took every event.
//  2. Every other outcome is an error; a *[SinkError] says what to do next. Any
//     other error counts as [KindRetry].
//  3. Send returns soon after ctx ends.
//  4. Send keeps neither the Batch nor its lines after it returned, and does
//     not change them.
//  5. Limits is constant and cheap.
//  6. No error text carries a token or a URL's userinfo.
//  7. Send is safe for concurrent use.
//
// A Sink may implement [RawSink] too.
type Sink interface {
	// Limits returns what the receiver takes in one request.
	Limits() Limits
	// Send delivers b.
	Send(ctx context.Context, b *Batch) error
}

// RawSink is implemented by a Sink that can send newline-terminated lines as
// they stand in the segment. The shipper then hands it a section of the file,
// which the kernel can copy to a plain TCP connection by itself, whenever each
// line in it is within the Limits.
type RawSink interface {
	Sink
	// Raw reports whether SendRaw may be used at all with this configuration.
	Raw() bool
	// SendRaw delivers the lines in body, a section of an *os.File whose
	// position SendRaw may move. id is the ID of the first line; the ID of the
	// line that begins n bytes further on is EventID of the same segment and
	// an offset greater by n. Its errors are those of Send; Rejected counts
	// lines.
	SendRaw(ctx context.Context, id string, body *io.SectionReader) error
}

// Limits is what a receiver takes in one request. Zero fields mean no limit.
type Limits struct {
	// MaxBatchBytes bounds the sum of the lines, each with its newline and
	// Overhead, in bytes.
	MaxBatchBytes int
	// MaxBatchEvents bounds the number of events.
	MaxBatchEvents int
	// MaxEventBytes bounds one line without its newline. Longer events, and
	// those which alone exceed MaxBatchBytes, are quarantined and not sent.
	MaxEventBytes int
	// Overhead is the number of bytes that the sink adds to each event.
	Overhead int
}

// event returns the most bytes that a line may have to be sent.
func (l Limits) event() int {
	most := math.MaxInt
	if l.MaxEventBytes > 0 {
		most = l.MaxEventBytes
	}
	if l.MaxBatchBytes > 0 {
		most = min(most, l.MaxBatchBytes-l.Overhead-1)
	}
	return most
}

// Batch is a run of events from one segment, in the order they were written.
type Batch struct {
	// ID is the ID of the first event.
	ID string
	// Events holds at least one event.
	Events []Event
}

// Event is one line of the log.
type Event struct {
	// ID names the event: the segment's number and the offset of the line in
	// it. It is the same whenever the event is sent again, also by another
	// process after a crash, and different for each event.
	ID string
	// Line is the line without its newline: usually, but not necessarily, a
	// JSON object.
	Line []byte
}

// Kind says what to do after a failed Send.
type Kind int

// The kinds of a [SinkError].
const (
	// KindRetry means that the receiver could not take the events now: they
	// are kept and sent again. With Rejected set, only those are.
	KindRetry Kind = iota
	// KindTooLarge means that the request was too big: the batch is halved.
	KindTooLarge
	// KindRejected means that the receiver will never take some of the events:
	// those in Rejected, or unknown ones. An event that it refused by itself is
	// set aside when the receiver took another one after it; until then the
	// receiver may be one that takes nothing.
	KindRejected
	// KindConfig means that the request will never be taken as the sink is
	// configured: a wrong token, address or tenant. The events are kept, and
	// sent again after a wait.
	KindConfig
)

// String returns the name of the kind in lower case.
func (k Kind) String() string {
	switch k {
	case KindRetry:
		return "retry"
	case KindTooLarge:
		return "too large"
	case KindRejected:
		return "rejected"
	case KindConfig:
		return "config"
	}
	return fmt.Sprintf("kind(%d)", int(k))
}

// SinkError is what a [Sink] returns when a batch was not taken as a whole.
type SinkError struct {
	// Kind says what to do. The zero Kind is KindRetry.
	Kind Kind
	// RetryAfter is how long the receiver asked to wait; 0 if it did not say.
	RetryAfter time.Duration
	// Rejected names the events that were not taken, if the receiver told; all
	// others were. Nil means that none was taken, or that it is unknown.
	Rejected []Rejection
	// Err is the cause, without secrets.
	Err error
}

// Rejection is an event that was not taken.
type Rejection struct {
	// Index is that of the event in the batch, or of the line in the section.
	Index int
	// Reason is what the receiver said of it, without secrets.
	Reason string
	// Unsent says that the sink did not send the event, as it is larger than
	// the receiver takes. Such an event is set aside at once.
	Unsent bool
}

// Error returns the cause and the kind.
func (e *SinkError) Error() string {
	if e.Err == nil {
		return e.Kind.String()
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *SinkError) Unwrap() error { return e.Err }

// Temporary reports whether sending the same again can succeed without a
// change to the events or the configuration.
func (e *SinkError) Temporary() bool { return e.Kind == KindRetry }

// asSinkError returns err as a *SinkError; what is none counts as KindRetry.
func asSinkError(err error) *SinkError {
	if se, ok := errors.AsType[*SinkError](err); ok {
		return se
	}
	return &SinkError{Kind: KindRetry, Err: err}
}
