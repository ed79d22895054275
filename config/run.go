package config

import (
	"context"
	"errors"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
)

const (
	// settleTime is how long files must rest before they are read, as editors
	// write in several steps.
	settleTime = 60 * time.Millisecond
	// settleMax bounds the wait for files that do not rest.
	settleMax = time.Second
	// missingTime is how long a file may be missing or empty before that counts.
	missingTime = 1500 * time.Millisecond

	pollWithEvents    = 30 * time.Second
	pollPartly        = 5 * time.Second // where the folders above are not watched
	pollWithoutEvents = 2 * time.Second

	// minRenew keeps a lease of next to nothing from making a busy loop.
	minRenew = time.Second

	// refreshTimeout bounds one round of lease renewal.
	refreshTimeout = 30 * time.Second
)

// Run follows the files of all layers and the leases of references, and
// reloads what changed, until ctx ends; then it returns nil. A reload that
// fails keeps the last good settings, and is logged once and shown by
// [Store.Status]. Run returns [ErrRunning] if it runs already, and [ErrClosed]
// after Close.
func (s *Store[T]) Run(ctx context.Context) error { return s.engine.run(ctx) }

func (e *engine) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	e.mu.Lock()
	switch {
	case e.closed:
		e.mu.Unlock()
		return ErrClosed
	case e.running:
		e.mu.Unlock()
		return ErrRunning
	}
	e.running, e.stop, e.done = true, cancel, done
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.running, e.stop, e.status.Watching = false, nil, ""
		e.mu.Unlock()
		close(done)
	}()
	f := &follower{engine: e, watch: newFileWatch(e.opt.noEvents)}
	defer f.watch.close()
	f.loop(ctx)
	return nil
}

// follower is the state of one Run.
type follower struct {
	*engine
	watch     *fileWatch
	seen      []input   // as of the last attempt to load
	last      []input   // as of the last look, while settling
	since     time.Time // when settling began; zero while all is at rest
	unsteady  time.Time // when a file was first found missing or empty
	nextPoll  time.Time
	recheckAt time.Time
}

func (f *follower) loop(ctx context.Context) {
	f.seen = f.snapshot().inputs
	f.look(ctx) // what changed between Load and Run
	for ctx.Err() == nil {
		timer := time.NewTimer(time.Until(f.due()))
		select {
		case <-ctx.Done():
		case <-f.wake:
			f.seen = f.snapshot().inputs
			f.look(ctx)
		case event := <-f.watch.events():
			if f.watch.concerns(event) {
				f.look(ctx)
			}
		case <-f.watch.errors(): // such as an overflow: something was missed
			f.look(ctx)
		case <-timer.C:
			f.tick(ctx)
		}
		timer.Stop()
	}
}

// due is when the loop has to do something by itself.
func (f *follower) due() time.Time {
	at := time.Now().Add(time.Hour)
	for _, t := range []time.Time{f.recheckAt, f.nextPoll, f.refs.due(f.snapshot().references)} {
		if !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	return at
}

func (f *follower) tick(ctx context.Context) {
	now := time.Now()
	if due := f.refs.due(f.snapshot().references); !due.IsZero() && !due.After(now) {
		limited, cancel := context.WithTimeout(ctx, refreshTimeout)
		err := f.refresh(limited, f.refs.dueBy(now, f.snapshot().references))
		cancel()
		if err != nil && ctx.Err() == nil {
			f.opt.logger.Warn("a reference cannot be renewed, its last value stays", "error", err)
		}
	}
	if !f.nextPoll.IsZero() && !f.nextPoll.After(now) {
		f.nextPoll = time.Time{}
		if f.hasSources() {
			_ = f.reload(ctx) // logged and kept in the status
		}
	}
	f.look(ctx)
}

func (f *follower) hasSources() bool {
	for _, s := range f.opt.sources {
		if s.kind == layerSource {
			return true
		}
	}
	return false
}

// look arms the watches, compares the files with what was read, and reloads
// once they rest.
func (f *follower) look(ctx context.Context) {
	f.arm()
	f.recheckAt = time.Time{}
	now := time.Now()
	found := current(f.seen)
	if consistent(f.seen, found) {
		f.since, f.unsteady, f.last = time.Time{}, time.Time{}, nil
		return
	}
	if f.since.IsZero() {
		f.since = now
	}
	rests := f.last != nil && consistent(f.last, found)
	f.last = found
	if f.anyUnsteady(found) {
		if f.unsteady.IsZero() {
			f.unsteady = now
		}
		rests = rests && now.Sub(f.unsteady) >= missingTime
	} else {
		f.unsteady = time.Time{}
		rests = rests || now.Sub(f.since) >= settleMax
	}
	if !rests {
		f.recheckAt = now.Add(settleTime)
		return
	}
	err := f.reloadIf(ctx, found)
	if errors.Is(err, errUnsettled) {
		f.last, f.recheckAt = nil, now.Add(settleTime)
		return
	}
	f.since, f.unsteady, f.last = time.Time{}, time.Time{}, nil
	if ctx.Err() == nil {
		f.seen = f.snapshot().inputs
		f.arm()
	}
}

// anyUnsteady reports an input that changed and is now missing or empty.
func (f *follower) anyUnsteady(found []input) bool {
	for i, in := range found {
		if in.sum != f.seen[i].sum && in.unsteady() {
			return true
		}
	}
	return false
}

// arm watches what the inputs depend on now, and sets the next poll.
func (f *follower) arm() {
	ok := f.watch.arm(f.seen)
	mode, every := "events", pollWithEvents
	if !watchesAncestors {
		every = pollPartly
	}
	if !ok {
		mode, every = "polling", pollWithoutEvents
	}
	if f.opt.poll != 0 {
		every = f.opt.poll
	}
	if every > 0 {
		if at := time.Now().Add(every); f.nextPoll.IsZero() || at.Before(f.nextPoll) {
			f.nextPoll = at
		}
	}
	f.mu.Lock()
	before := f.status.Watching
	f.status.Watching = mode
	f.mu.Unlock()
	if mode == "polling" && before != mode {
		f.opt.logger.Info("the system does not tell of file changes, polling", "every", every)
	}
}

// renewAt is when a leased value is asked for again: after two thirds of the
// lease, or after a growing wait when that failed.
func (r *resolved) renewAt() time.Time {
	switch {
	case r.lease <= 0:
		return time.Time{}
	case !r.retryAt.IsZero():
		return r.retryAt
	}
	return r.at.Add(max(r.lease*2/3, minRenew))
}

var retryPolicy = backoff.Policy{Base: 2 * time.Second, Max: time.Minute}

// due is when the next of the references in use has to be renewed.
func (c *references) due(used map[string][]string) (at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for text := range used {
		if r := c.known[text]; r != nil {
			if t := r.renewAt(); !t.IsZero() && (at.IsZero() || t.Before(at)) {
				at = t
			}
		}
	}
	return at
}

// dueBy lists the references to renew now: those that are due, and the other
// keys of the same secrets, as a name and its password change together.
func (c *references) dueBy(now time.Time, used map[string][]string) (texts []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	due := map[string]bool{}
	for text := range used {
		if r := c.known[text]; r != nil {
			if t := r.renewAt(); !t.IsZero() && !t.After(now) {
				due[secretOf(text)] = true
			}
		}
	}
	for _, text := range sortedKeys(used) {
		if due[secretOf(text)] {
			texts = append(texts, text)
		}
	}
	return texts
}
