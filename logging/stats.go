package logging

import "time"

// ShipStats counts what a [Shipper] did since it was made, and what waits.
type ShipStats struct {
	// Events, Bytes, Batches and Segments were confirmed by the receiver.
	Events, Bytes, Batches, Segments int64
	// Retries is the number of requests that failed and were, or will be, made
	// again.
	Retries int64
	// Quarantined is the number of events put aside.
	Quarantined int64
	// Failures is the number of requests that failed since the last one that
	// did not.
	Failures int
	// Delivery is the state of the delivery. Of several logs in one folder, it
	// is that of the one that changed last.
	Delivery Delivery
	// LastError is the error of the last request; "" if it was received.
	LastError string
	// LastSent is when a batch was last received. Zero: not yet.
	LastSent time.Time
	// WaitingSegments, WaitingBytes and WaitingEvents are sealed and not yet
	// received.
	WaitingSegments int
	WaitingBytes    int64
	WaitingEvents   int64
}

// Delivery is the state of a log's delivery.
type Delivery struct {
	// Condition is "healthy"; "away": the receiver does not answer, or not now;
	// "refuses": it answers and takes nothing, or nothing of what waits;
	// "blocked": another process has the turn to ship, and does nothing. ""
	// before the first try.
	Condition string
	// Since is when the condition began, also in an earlier run. Zero when
	// healthy.
	Since time.Time
	// Reason is why, without secrets.
	Reason string
	// PID is the process that blocks.
	PID int
	// Refused is how many events wait as the receiver refused them, and took
	// nothing after them so far.
	Refused int
}

// Stats is what a [Logs] counts.
type Stats struct {
	// Written is the number of records in the log file since New.
	Written int64
	// WrittenBytes is their size.
	WrittenBytes int64
	// Dropped is the number of records that the disk did not take.
	Dropped int64
	// DroppedForQuota is the number of events dropped with the oldest
	// segments to keep the disk quota.
	DroppedForQuota int64
	// Suppressed is the number of records that sampling left out.
	Suppressed int64
	// WriteError is the error of the last record; "" if it was written.
	WriteError string
	// ActiveBytes and ActiveEvents are in the active file, not sealed yet.
	ActiveBytes, ActiveEvents int64
	// Ship is the shipper's part; zero without a Sink.
	Ship ShipStats
}
