package notify

import (
	"context"

	"github.com/svcblocks/svcblocks/config/secret"
)

// Notifier sends one message to one receiver. Any type with this method is a
// receiver; the services of nikoksr/notify have it, and so has a [Hub].
//
// What an implementation promises:
//
//  1. Send returns nil only when the receiver took responsibility for the
//     message: not when it was put on a queue in memory.
//  2. Send returns soon after ctx ends, with an error that matches ctx.Err().
//     A call that does not is abandoned by the [Hub].
//  3. Send is safe for concurrent use.
//  4. An error says by Temporary() bool whether another try can help and by
//     RetryAfter() time.Duration when; [*Error] carries both. Without them a
//     timeout or network error is taken as temporary, anything else as final.
//  5. No error text holds a secret. (The Hub removes addresses' paths and the
//     secrets it knows all the same.)
//
// An implementation may have more methods, which the Hub finds by assertion:
// [MessageNotifier], [RecipientNotifier], [ThreadNotifier], [Checker],
// [Previewer] and [SecretHolder].
type Notifier interface {
	Send(ctx context.Context, subject, message string) error
}

// MessageNotifier is a [Notifier] that wants the whole message: HTML, level,
// attributes, attachments, count. The Hub calls Notify in place of Send.
// A message that comes again after a failure or a crash has the same ID.
type MessageNotifier interface {
	Notifier
	Notify(ctx context.Context, m Message) error
}

// RecipientNotifier is a [MessageNotifier] with several recipients of its own,
// each of which may fail alone. Notify then returns one [*Error] with Recipient
// set for each that failed, and the Hub tries those which failed for the moment
// again by NotifyRecipients, which must leave all others out.
type RecipientNotifier interface {
	MessageNotifier
	NotifyRecipients(ctx context.Context, m Message, recipients []string) error
}

// ThreadNotifier is a [MessageNotifier] whose service must be told where the first
// message about some trouble is to edit it or to answer below it, as Slack by its
// channel and ts. The Hub calls NotifyThread in place of Notify.
//
// place is what the last call about the same trouble returned, and empty for the
// first one. The Hub keeps it with what else it knows of the trouble, in the outbox
// too, so that a thread goes on after a restart. It holds no secret and at most 8
// KiB: a longer one is not kept.
type ThreadNotifier interface {
	MessageNotifier
	NotifyThread(ctx context.Context, m Message, place string) (kept string, err error)
}

// Checker proves that a receiver would take a message, without sending one.
type Checker interface {
	Check(ctx context.Context) error
}

// Previewer renders what would go out for m, for a dry run. It does not
// contact the receiver.
type Previewer interface {
	Preview(m Message) ([]byte, error)
}

// SecretHolder names the secrets that a receiver works with, so that the Hub
// keeps them out of messages, errors, logs and journals.
type SecretHolder interface {
	Secrets() []secret.Secret
}
