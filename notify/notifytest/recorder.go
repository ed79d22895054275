package notifytest

import (
	"context"
	"slices"
	"sync"

	"github.com/svcblocks/svcblocks/notify"
)

// Recorder is a receiver that keeps what it gets. The zero value is ready. All
// methods are safe for concurrent use.
type Recorder struct {
	// Fail, if not nil, decides what Notify returns for a message; what fails
	// is not kept. Set it before the first message.
	Fail func(ctx context.Context, m notify.Message) error

	mu   sync.Mutex
	got  []notify.Message
	more chan struct{}
}

// Send keeps a message of level [slog.LevelInfo].
func (r *Recorder) Send(ctx context.Context, subject, message string) error {
	return r.Notify(ctx, notify.Message{Subject: subject, Text: message})
}

// Notify keeps m.
func (r *Recorder) Notify(ctx context.Context, m notify.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}

	if r.Fail != nil {
		if err := r.Fail(ctx, m); err != nil {
			return err
		}
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, m)
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
	return nil
}

// Messages returns what came so far.
func (r *Recorder) Messages() []notify.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// Wait returns the messages when there are at least n, or when ctx ends, with
// its error.
func (r *Recorder) Wait(ctx context.Context, n int) ([]notify.Message, error) {
	for {
		r.mu.Lock()
		got := slices.Clone(r.got)
		if r.more == nil {
			r.more = make(chan struct{})
		}
		more := r.more
		r.mu.Unlock()

		if len(got) >= n {
			return got, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return got, context.Cause(ctx)
		}
	}
}
