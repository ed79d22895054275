// Package patient asks a JetStream server until it answers: one way for every
// request of the fleet, at the start and later. An error is final if it is known
// to be; all else passes, an election, a full disk or a server that is away,
// and is waited for. What keeps a process waiting is told once, not once per
// request, nor once for each thing that waits.
package patient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svcblocks/svcblocks/internal/backoff"
)

const (
	// answerWithin bounds the first request, and slowAnswer those after some that
	// were not answered: what a dying server took along, or a cluster without a
	// leader got, never is. Each gets twice the time of the one before.
	answerWithin = 2 * time.Second
	slowAnswer   = 8 * time.Second
	// tellAfter is how long something is waited for before it is told: an
	// election takes less, mostly.
	tellAfter = 2 * time.Second
)

// Asker asks. A process has one, so that it tells what keeps it waiting once,
// whatever waits for that. Make it with [New]. Safe for concurrent use.
type Asker struct {
	log *slog.Logger

	mu       sync.Mutex
	troubles map[string]*trouble // by kind
}

// trouble is the time in which some things cannot be done for one reason.
type trouble struct {
	since   time.Time
	waiting map[string]bool // what cannot be done
	tell    *time.Timer
	told    bool
}

// New returns an Asker that tells log what it waits for. Nil discards.
func New(log *slog.Logger) *Asker {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Asker{log: log, troubles: map[string]*trouble{}}
}

// Or returns a, or an Asker that tells nobody if a is nil.
func Or(a *Asker) *Asker {
	if a == nil {
		return New(nil)
	}
	return a
}

// Logger returns the log that is told.
func (a *Asker) Logger() *slog.Logger { return a.log }

// Ask calls f until it works, fails for good, or ctx ends. Each call gets a few
// seconds. What says in a few words what is asked for.
func (a *Asker) Ask(ctx context.Context, what string, f func(context.Context) error) error {
	within := answerWithin
	return a.Keep(ctx, what, func() error {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		err := f(ctx)
		if ctx.Err() != nil {
			within = min(2*within, slowAnswer)
		}
		return err
	})
}

// Keep is Ask for a call that has bounds of its own.
func (a *Asker) Keep(ctx context.Context, what string, f func() error) error {
	policy := backoff.Policy{Base: 50 * time.Millisecond, Max: time.Second}
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil {
			a.Worked(ctx, what)
			return nil
		}
		if ctx.Err() != nil {
			a.end(what)
			return errors.Join(context.Cause(ctx), err)
		}
		if Final(err) {
			a.Worked(ctx, what) // the server answers
			return err
		}

		a.Failed(ctx, what, err)
		select {
		case <-ctx.Done():
			a.end(what)
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(policy.Delay(attempt)):
		}
	}
}

// Failed notes that something could not be done now. What lasts is told after
// two seconds, once until all that failed for the same reason has worked.
func (a *Asker) Failed(ctx context.Context, what string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()

	k := kind(err)
	t := a.troubles[k]
	if t == nil {
		t = &trouble{since: time.Now(), waiting: map[string]bool{}}
		t.tell = time.AfterFunc(tellAfter, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.troubles[k] == t {
				t.told = true
				a.log.WarnContext(ctx, "waiting for the queue's server", "to", what, "error", reason(err))
			}
		})
		a.troubles[k] = t
	}
	t.waiting[what] = true
}

// Worked notes that it could be done.
func (a *Asker) Worked(ctx context.Context, what string) {
	if since, told := a.end(what); told {
		a.log.InfoContext(ctx, "the queue's server is there again", "to", what, "after", time.Since(since).Round(time.Millisecond))
	}
}

// end notes that something is not waited for any more, and reports whether that
// ends a trouble that was told.
func (a *Asker) end(what string) (since time.Time, told bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, t := range a.troubles {
		delete(t.waiting, what)
		if len(t.waiting) == 0 {
			t.tell.Stop()
			delete(a.troubles, k)
			since, told = t.since, told || t.told
		}
	}
	return since, told
}

// kind tells troubles apart. All that comes of a server that is away, or of an
// election, is one; what a server says of itself, such as a full disk, is
// another.
func kind(err error) string {
	if errors.Is(err, ErrFull) {
		return "full"
	}
	if api, ok := apiError(err); ok {
		switch api.ErrorCode {
		case 10008, 10158: // no leader; the first copy is under way
		default:
			return fmt.Sprint(api.ErrorCode)
		}
	}
	return "away"
}

// reason says of a request that nobody answered what that means.
func reason(err error) error {
	for _, silent := range []error{context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, jetstream.ErrNoStreamResponse} {
		if errors.Is(err, silent) {
			return fmt.Errorf("no leader: %w", err)
		}
	}
	return err
}

// Final reports whether asking again is no use.
func Final(err error) bool {
	if api, ok := apiError(err); ok {
		return finalCode(api.ErrorCode)
	}
	for _, target := range []error{
		nats.ErrMaxPayload, nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrConnectionClosed, nats.ErrBadSubject,
		nats.ErrInvalidMsg, nats.ErrHeadersNotSupported, jetstream.ErrInvalidOption, jetstream.ErrInvalidBucketName, ErrFinal,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// ErrFull says that as many jobs wait as may.
var ErrFull = errors.New("the queue is full")

// ErrFinal is what an error wraps that the asker's caller knows to be final.
var ErrFinal = errors.New("final")

func apiError(err error) (*jetstream.APIError, bool) {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api, true
	}
	if js, ok := errors.AsType[jetstream.JetStreamError](err); ok && js.APIError() != nil {
		return js.APIError(), true
	}
	return nil, false
}

// finalCode reports whether the server's code is for what cannot become right
// by waiting (errors.json in nats-server).
func finalCode(code jetstream.ErrorCode) bool {
	switch code {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant,
		10003,        // bad request
		10013,        // the consumer is there, and is another
		10025,        // no JSON
		10052,        // a stream that cannot be so
		10054, 10097, // message or headers too large
		10056, 10058, 10060, // the stream is another
		10061, 10074, // replicas that this server or stream cannot have
		10065,               // another stream has these subjects
		10188, 10189, 10190: // a schedule that cannot be so
		return true
	}
	return false
}

// Bucket opens a key-value bucket, or makes it if it is not there. One that is
// there stays as it is: who joins changes nothing.
func (a *Asker) Bucket(ctx context.Context, js jetstream.JetStream, cfg jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	var bucket jetstream.KeyValue
	err := a.Ask(ctx, "open "+cfg.Bucket, func(ctx context.Context) (err error) {
		bucket, err = js.KeyValue(ctx, cfg.Bucket)
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			bucket, err = js.CreateKeyValue(ctx, cfg)
		}
		return err
	})
	return bucket, err
}
