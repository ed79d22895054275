package logging

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/health"
	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// reports is what a log has to say of itself. It may be reported to under any
// lock.
type reports struct {
	*health.Monitor
	after time.Duration

	mu     sync.Mutex
	events map[string]*time.Timer
	closed bool
}

// reportOptions says whom to tell.
type reportOptions struct {
	logger  *slog.Logger
	onError func(error)
	after   time.Duration
	json    bool
	owner   *Logs // whose reports stay out of its own log; nil: none
}

func newReports(o reportOptions) *reports {
	logger := o.logger
	if logger != nil && o.owner != nil {
		logger = slog.New(&marked{logger.Handler(), o.owner})
	}
	after := o.after
	if after == 0 {
		after = time.Minute
	}
	return &reports{
		Monitor: health.New(health.Options{
			Component: "logging", Logger: logger, JSON: o.json, OnError: o.onError, After: o.after, Lost: ErrLost, Stuck: ErrStuck,
		}),
		after: max(0, after), events: map[string]*time.Timer{},
	}
}

// event reports something that happened and lost nothing, such as an event that
// was set aside. It is over when it did not happen again for a while.
func (r *reports) event(key string, err error) {
	r.Fail(key, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	if t := r.events[key]; t != nil {
		t.Stop()
	}
	r.events[key] = time.AfterFunc(r.after+time.Second, func() { r.OK(key) })
}

// amiss reports files of a queue that are not as they were left. The caller has
// the turn.
func (r *reports) amiss(q queue.Queue) {
	amiss, err := q.Journal().Check()
	for _, a := range amiss {
		r.Lost("files", 1, &Error{Op: "check", Path: a.Path, Err: a.Err})
	}
	if err != nil {
		r.Fail("journal", &Error{Op: "check", Path: q.Dir, Err: err})
	} else {
		r.OK("journal")
	}
}

// end tells what is queued.
func (r *reports) end() {
	r.mu.Lock()
	r.closed = true
	for _, t := range r.events {
		t.Stop()
	}
	r.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	r.Close(ctx)
}

// marked marks the reports of a log, so that it leaves them out of itself also
// where the logger leads there in a roundabout way.
type marked struct {
	slog.Handler
	owner *Logs
}

func (m *marked) Handle(ctx context.Context, r slog.Record) error {
	return m.Handler.Handle(context.WithValue(ctx, shipping{}, m.owner), r)
}

func (m *marked) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &marked{m.Handler.WithAttrs(attrs), m.owner}
}

func (m *marked) WithGroup(name string) slog.Handler {
	return &marked{m.Handler.WithGroup(name), m.owner}
}
