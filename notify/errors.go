package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/internal/health"
	"github.com/svcblocks/svcblocks/internal/redact"
)

// Errors that callers may branch on with [errors.Is].
var (
	// ErrNoReceiver means that no receiver takes a message of this level and
	// content: it went nowhere.
	ErrNoReceiver = errors.New("notify: no receiver takes the message")
	// ErrClosed is returned by every method but Stats after Close.
	ErrClosed = errors.New("notify: hub is closed")
	// ErrRunning is returned by a second concurrent Run.
	ErrRunning = errors.New("notify: hub is running already")
	// ErrNotDurable means that the outbox could not store the message, for
	// instance on a full disk. The Hub keeps it in memory and delivers it from
	// there: it is lost if the process ends first.
	ErrNotDurable = errors.New("notify: message is held in memory only")
	// ErrUnresponsive means that a receiver ignored the end of its context.
	// Its call goes on in a goroutine that nobody waits for.
	ErrUnresponsive = errors.New("notify: receiver does not respond")
	// ErrStopped means that the receiver is out of use for some minutes after
	// it refused the credentials.
	ErrStopped = errors.New("notify: receiver is stopped")
	// ErrRemaining means that messages did not go out before the hub closed.
	ErrRemaining = errors.New("notify: messages remain")
	// ErrLost means that messages are lost, or cannot be stored.
	ErrLost = errors.New("notify: messages are lost")
	// ErrStuck means that messages wait and none is lost.
	ErrStuck = errors.New("notify: messages wait")
	// ErrQueueFull means that too many messages wait for one receiver already.
	ErrQueueFull = errors.New("notify: queue is full")
)

// Class says what kind of failure an [*Error] is.
type Class string

// The classes. Those marked "temporary" are tried again.
const (
	// ClassOther is a failure that nobody explained. It is tried a few times.
	ClassOther Class = "other"
	// ClassTransport is a failure of the network or a connection that broke:
	// temporary.
	ClassTransport Class = "transport"
	// ClassTimeout is a receiver that was too slow: temporary.
	ClassTimeout Class = "timeout"
	// ClassThrottled is a receiver that wants fewer messages: temporary, and
	// the receiver pauses for RetryAfter.
	ClassThrottled Class = "throttled"
	// ClassServer is a receiver's own passing trouble, as SMTP 4xx or HTTP 5xx:
	// temporary.
	ClassServer Class = "server"
	// ClassStorage is an outbox that cannot be written: temporary.
	ClassStorage Class = "storage"
	// ClassRejected is a receiver that refuses this message or recipient.
	ClassRejected Class = "rejected"
	// ClassAuth is a receiver that refuses the credentials. It is stopped for
	// some minutes, as a try again could lock the account.
	ClassAuth Class = "auth"
	// ClassTLS is a connection that is not as private as demanded, as with a
	// certificate that is not trusted. The receiver is stopped for some minutes.
	ClassTLS Class = "tls"
	// ClassInvalid is a message that cannot be sent as it is.
	ClassInvalid Class = "invalid"
	// ClassPanic is a receiver that panicked.
	ClassPanic Class = "panic"
	// ClassCanceled is a caller who gave up.
	ClassCanceled Class = "canceled"
)

// Error is the failure of one receiver, or of one recipient of a receiver. Its
// text holds no secret, and it leads to no other error that might: Unwrap gives
// sentinels alone.
type Error struct {
	// Receiver is the name of the receiver.
	Receiver string
	// Op is what failed: "send", "check", "store", "close", or the step of a
	// protocol, as "STARTTLS".
	Op string
	// Recipient is the recipient within the receiver, if one failed alone.
	Recipient string
	// MessageID is the ID of the message.
	MessageID string
	// Class is the kind of failure.
	Class Class
	// Code is the SMTP or HTTP status, or 0.
	Code int
	// Enhanced is the enhanced SMTP status (RFC 3463), as "5.1.1", or Slack's
	// error code, as "channel_not_found".
	Enhanced string
	// Wait is how long the receiver asked to be left alone, or 0.
	Wait time.Duration
	// Attempts is the number of tries so far.
	Attempts int
	// Remaining is the number of messages that did not go out before the hub
	// closed.
	Remaining int
	// Partial says that other recipients of the receiver got the message.
	Partial bool
	// Reason is what the receiver or the system said, redacted, at most 256
	// bytes.
	Reason string

	causes []error
	advice string
}

// NewError makes an [*Error] of an error that a protocol step gave. It keeps
// the text, redacted, and the sentinels that callers ask for; it holds no
// reference to err, which may carry an address with a token in it. An *Error
// is copied, with Op set if it had none. NewError(op, nil) is nil.
func NewError(op string, err error) *Error {
	if err == nil {
		return nil
	}

	if known, ok := errors.AsType[*Error](err); ok {
		if known == nil {
			return &Error{Op: op, Class: ClassOther, Reason: "receiver returned a nil *notify.Error as an error"}
		}
		e := *known
		if e.Op == "" {
			e.Op = op
		}
		return &e
	}

	e := &Error{Op: op, Class: classOf(err), Reason: redact.Reason(strings.ReplaceAll(err.Error(), "notify: ", "")), advice: health.Advice(err)}
	for _, s := range []error{
		context.DeadlineExceeded, context.Canceled, os.ErrDeadlineExceeded, net.ErrClosed,
		io.EOF, io.ErrUnexpectedEOF, fs.ErrPermission, fs.ErrNotExist, http.ErrHandlerTimeout,
		ErrUnresponsive, ErrClosed, ErrRunning, ErrNoReceiver, ErrNotDurable, ErrQueueFull, ErrStopped,
	} {
		if errors.Is(err, s) {
			e.causes = append(e.causes, s)
		}
	}

	if e.Class == ClassTimeout && !errors.Is(e, context.DeadlineExceeded) {
		e.causes = append(e.causes, os.ErrDeadlineExceeded)
	}

	if after, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		e.Wait = max(0, after.RetryAfter())
	}

	return e
}

// classOf reads what a foreign error says about itself by methods.
func classOf(err error) Class {
	for _, known := range []struct {
		err   error
		class Class
	}{
		{context.Canceled, ClassCanceled},
		{ErrStopped, ClassAuth},
		{ErrQueueFull, ClassStorage},
		{ErrNotDurable, ClassStorage},
		{ErrNoReceiver, ClassInvalid},
		{ErrUnresponsive, ClassTimeout},
		{context.DeadlineExceeded, ClassTimeout},
		{os.ErrDeadlineExceeded, ClassTimeout},
	} {
		if errors.Is(err, known.err) {
			return known.class
		}
	}

	if t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err); ok && t.Temporary() {
		return ClassServer
	}

	if isTLS(err) {
		return ClassTLS
	}

	if n, ok := errors.AsType[net.Error](err); ok {
		if n.Timeout() {
			return ClassTimeout
		}
		return ClassTransport
	}

	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return ClassTransport
	}
	return ClassOther
}

// isTLS reports whether err says that the connection is not private: a wrong
// certificate, or an answer that is not TLS.
func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	_, ok := errors.AsType[tls.AlertError](err)
	return ok
}

// Error returns "notify: <op> <receiver> <recipient>: <reason>".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("notify: ")

	if e.Op == "" {
		b.WriteString("send")
	} else {
		b.WriteString(e.Op)
	}

	if e.Receiver != "" {
		b.WriteString(" " + e.Receiver)
	}
	if e.Recipient != "" {
		b.WriteString(" <" + e.Recipient + ">")
	}
	b.WriteString(": ")

	if e.Code != 0 {
		fmt.Fprintf(&b, "%d ", e.Code)
	}
	if e.Enhanced != "" && !strings.HasPrefix(e.Reason, e.Enhanced) {
		b.WriteString(e.Enhanced + " ")
	}
	b.WriteString(e.Reason)

	if e.Attempts > 1 {
		fmt.Fprintf(&b, " (%d attempts)", e.Attempts)
	}
	return b.String()
}

// Unwrap returns the sentinels among the causes, as [context.DeadlineExceeded].
func (e *Error) Unwrap() []error { return e.causes }

// Temporary reports whether another try can help.
func (e *Error) Temporary() bool {
	switch e.Class {
	case ClassTransport, ClassTimeout, ClassThrottled, ClassServer, ClassStorage:
		return true
	default:
		return false
	}
}

// RetryAfter returns Wait: how long the receiver asked to be left alone, or 0.
func (e *Error) RetryAfter() time.Duration { return e.Wait }

// Advice says what to do about it, or "" where nothing better than the text is
// known.
func (e *Error) Advice() string { return e.advice }

// Timeout reports whether the receiver was too slow.
func (e *Error) Timeout() bool { return e.Class == ClassTimeout }

// LogValue returns the fields that are set, for log/slog.
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("reason", e.Reason), slog.String("class", string(e.Class))}
	for _, f := range []struct{ key, value string }{
		{"op", e.Op}, {"receiver", e.Receiver}, {"recipient", e.Recipient}, {"message_id", e.MessageID}, {"enhanced", e.Enhanced},
	} {
		if f.value != "" {
			attrs = append(attrs, slog.String(f.key, f.value))
		}
	}

	if e.Code != 0 {
		attrs = append(attrs, slog.Int("code", e.Code))
	}
	if e.Attempts != 0 {
		attrs = append(attrs, slog.Int("attempts", e.Attempts))
	}
	return slog.GroupValue(attrs...)
}

// Errors returns every [*Error] within err, which [Hub.Notify] and the
// receivers' methods return joined: one per receiver or recipient that failed.
// One of the hub itself, as ErrClosed, names no receiver. It is empty for nil.
func Errors(err error) []*Error {
	var found []*Error
	collect(err, &found)
	return found
}

func collect(err error, found *[]*Error) {
	switch e := any(err).(type) {
	case nil:
	case *Error:
		*found = append(*found, e)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			collect(inner, found)
		}
	case interface{ Unwrap() error }:
		collect(e.Unwrap(), found)
	}
}

// toErrors turns what a receiver returned into one Error per recipient.
func toErrors(op string, err error) []*Error {
	if err == nil {
		return nil
	}
	var list []*Error
	for _, e := range Errors(err) {
		list = append(list, NewError(op, e))
	}
	if len(list) == 0 {
		list = append(list, NewError(op, err))
	}
	return list
}

func join(list []*Error) error {
	errs := make([]error, len(list))
	for i, e := range list {
		errs[i] = e
	}
	return errors.Join(errs...)
}
