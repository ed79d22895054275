package notify

import (
	"time"
)

// Stats is what a hub did so far, see [Hub.Stats].
type Stats struct {
	// Receivers are in the order of [Options].Receivers.
	Receivers []ReceiverStats
	// Groups is the number of troubles that are kept apart now.
	Groups int
	// Suppressed counts repeats that were not sent one by one.
	Suppressed uint64
	// Silenced counts messages that [Hub.Silence] hid.
	Silenced uint64
	// Stored is the number of messages in the outbox that some receiver has
	// not got.
	Stored int
	// StoredBytes is the size of the outbox's journal, after Close of the one that
	// is left for the next start.
	StoredBytes int64
	// StoreError is why the outbox stores nothing now, redacted, as "outbox is
	// full"; empty if it does.
	StoreError string
	// Dead counts deliveries given up and written to dead.jsonl.
	Dead uint64
	// NotDurable counts messages that the outbox could not store.
	NotDurable uint64
}

// ReceiverStats is what one receiver did so far.
type ReceiverStats struct {
	// Name is the receiver's name.
	Name string
	// Sent counts messages that the receiver took.
	Sent uint64
	// Failed counts messages that were given up or went to the fallback.
	Failed uint64
	// Retried counts tries after a first one.
	Retried uint64
	// Abandoned counts calls that ignored the end of their context.
	Abandoned uint64
	// Waiting is the number of messages not delivered yet, including those
	// under way, held by Rate, or hidden by a silence.
	Waiting int
	// Held is the number of messages that Rate holds for a summary.
	Held int
	// PausedUntil is when the receiver is tried again after it asked for a
	// pause, refused the credentials, or did not answer; zero if it is in use.
	PausedUntil time.Time
	// LastSent is when it took the latest message.
	LastSent time.Time
	// LastError is the latest failure, redacted.
	LastError string
}
