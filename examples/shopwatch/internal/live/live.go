// Package live holds a receiver of messages that is exchanged while it is in
// use, so that a new password takes effect without a restart.
//
// A receiver whose credentials were refused is left alone for some minutes, as
// a further try could lock the account; but a new one is tried at once.
package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
)

// Receiver hands everything on to the receiver that it holds now. All methods
// are safe for concurrent use.
type Receiver struct {
	current atomic.Pointer[holder]
	closing sync.WaitGroup
}

// holder is one receiver with those who use it.
type holder struct {
	notifier notify.MessageNotifier

	users  sync.RWMutex // held for reading by each user
	closed bool

	refused atomic.Pointer[refusal] // of the credentials; nil while they are good
}

type refusal struct {
	until time.Time
	why   string
}

const (
	// refusedPause is how long refused credentials are not tried again.
	refusedPause = 5 * time.Minute
	// retryAfter is how soon it shows that there are new ones.
	retryAfter = 5 * time.Second
)

var (
	_ notify.RecipientNotifier = (*Receiver)(nil)
	_ notify.Checker           = (*Receiver)(nil)
	_ notify.Previewer         = (*Receiver)(nil)
	_ notify.SecretHolder      = (*Receiver)(nil)
)

// New returns a Receiver that holds n. Close it when done.
func New(n notify.MessageNotifier) *Receiver {
	r := &Receiver{}
	r.current.Store(&holder{notifier: n})
	return r
}

// Replace makes n the receiver of every message from now on. The one before is
// closed, where it can be, once those who use it are done; Replace does not
// wait for that.
func (r *Receiver) Replace(n notify.MessageNotifier) {
	old := r.current.Swap(&holder{notifier: n})
	r.closing.Go(func() { _ = old.close() }) // what it had to say, its users know
}

// Close closes the receiver that is held now and waits for those before it.
// Use after Close goes to a closed receiver, which says so.
func (r *Receiver) Close() error {
	r.closing.Wait()
	closer, ok := r.current.Load().notifier.(io.Closer)
	if !ok {
		return nil
	}
	return closer.Close()
}

func (h *holder) close() error {
	h.users.Lock()
	defer h.users.Unlock()
	h.closed = true
	if closer, ok := h.notifier.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// use calls f with the receiver that is held now, which stays open meanwhile.
func (r *Receiver) use(f func(*holder) error) error {
	for {
		h := r.current.Load()
		h.users.RLock()
		if h.closed { // replaced since
			h.users.RUnlock()
			continue
		}
		defer h.users.RUnlock()
		return f(h)
	}
}

// deliver is use for a message. Refused credentials are the operator's to
// change, so the message waits.
func (r *Receiver) deliver(f func(notify.MessageNotifier) error) error {
	return r.use(func(h *holder) error {
		if no := h.refused.Load(); no != nil && time.Now().Before(no.until) {
			return no.error()
		}
		err := f(h.notifier)
		if e, ok := errors.AsType[*notify.Error](err); ok && e.Class == notify.ClassAuth {
			no := &refusal{time.Now().Add(refusedPause), e.Error()}
			h.refused.Store(no)
			return no.error()
		}
		return err
	})
}

// error makes the hub ask again soon, and not stop the receiver as it would
// for refused credentials.
func (no *refusal) error() error {
	return &notify.Error{
		Op: "send", Class: notify.ClassThrottled, Wait: retryAfter,
		Reason: fmt.Sprintf("not tried until %s or until there are new settings: %s", no.until.UTC().Format("15:04:05 UTC"), no.why),
	}
}

// Send implements [notify.Notifier].
func (r *Receiver) Send(ctx context.Context, subject, message string) error {
	return r.deliver(func(n notify.MessageNotifier) error { return n.Send(ctx, subject, message) })
}

// Notify implements [notify.MessageNotifier].
func (r *Receiver) Notify(ctx context.Context, m notify.Message) error {
	return r.deliver(func(n notify.MessageNotifier) error { return n.Notify(ctx, m) })
}

// NotifyRecipients implements [notify.RecipientNotifier]. A receiver without
// recipients of its own gets the message as it is.
func (r *Receiver) NotifyRecipients(ctx context.Context, m notify.Message, recipients []string) error {
	return r.deliver(func(n notify.MessageNotifier) error {
		if some, ok := n.(notify.RecipientNotifier); ok {
			return some.NotifyRecipients(ctx, m, recipients)
		}
		return n.Notify(ctx, m)
	})
}

// Check implements [notify.Checker]; a receiver that cannot be asked works.
func (r *Receiver) Check(ctx context.Context) error {
	return r.use(func(h *holder) error {
		if checker, ok := h.notifier.(notify.Checker); ok {
			return checker.Check(ctx)
		}
		return nil
	})
}

// Preview implements [notify.Previewer].
func (r *Receiver) Preview(m notify.Message) (preview []byte, err error) {
	err = r.use(func(h *holder) error {
		if previewer, ok := h.notifier.(notify.Previewer); ok {
			preview, err = previewer.Preview(m)
			return err
		}
		preview = []byte(m.Subject + "\n\n" + m.Text + "\n")
		return nil
	})
	return preview, err
}

// Secrets implements [notify.SecretHolder], for the receiver held now.
func (r *Receiver) Secrets() []secret.Secret {
	if holder, ok := r.current.Load().notifier.(notify.SecretHolder); ok {
		return holder.Secrets()
	}
	return nil
}
