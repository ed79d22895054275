package config

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
)

const (
	// settleTime is how long a file must not have changed before it is taken, as
	// editors write in several steps.
	settleTime = 60 * time.Millisecond
	// writerTime is the same for a file that a process has open for writing, where
	// the system tells: its writer may have been held up, by a network or a busy
	// machine.
	writerTime = 2 * time.Second
	// settleMax bounds how long Reload and Update wait for that. Run waits as
	// long as it takes: a file that keeps changing is never taken half.
	settleMax = 5 * time.Second
	// missingTime is how long a file may be missing or empty before that counts.
	missingTime = 1500 * time.Millisecond

	// defaultRefresh is how often what has no lease is asked for again.
	defaultRefresh = 5 * time.Minute

	pollWithEvents    = 30 * time.Second
	pollPartly        = 5 * time.Second // where the folders above are not watched
	pollWithoutEvents = 2 * time.Second

	// minRenew keeps a lease of next to nothing from making a busy loop.
	minRenew = time.Second

	// refreshTimeout bounds one round of lease renewal.
	refreshTimeout = 30 * time.Second
)

// follower is the state of one Run.
type follower struct {
	*engine
	watch     *fileWatch
	seen      []input   // as of the last attempt to load
	joined    []input   // files that a reload would read for the first time
	last      []input   // as of the last look; nil while nothing has changed
	changedAt time.Time // when last was found to differ from the look before
	unsteady  time.Time // when a file was first found missing or empty
	outdated  bool      // a reload is due although no file differs from seen
	nextPoll  time.Time
	recheckAt time.Time
}

func (f *follower) loop(ctx context.Context) {
	f.begin()
	f.look(ctx) // what changed between Load and Run

	for ctx.Err() == nil {
		timer := time.NewTimer(time.Until(f.due()))
		select {
		case <-ctx.Done():
		case <-f.wake:
			f.begin()
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
		err, reloading := f.refreshIf(limited, f.refs.dueBy(now, f.snapshot().references), f.seen)
		cancel()
		f.postponed(reloading) // another failure is logged and kept in the stats
		if err != nil && ctx.Err() == nil {
			f.opt.logger.Warn("a reference cannot be renewed, its last value stays", "error", err)
		}
	}

	if !f.nextPoll.IsZero() && !f.nextPoll.After(now) {
		f.nextPoll = time.Time{}
		if f.hasSources() {
			f.postponed(f.reloadIf(ctx, f.seen)) // a failure is logged and kept in the stats
		}
	}

	f.look(ctx)
}

// postponed reports a reload that was not made because files are changing. A
// lease that ends meanwhile is no reason to take half a file: look makes up
// for it once they rest.
func (f *follower) postponed(err error) bool {
	var u *unsettledError
	if !errors.As(err, &u) {
		return false
	}
	f.outdated = true
	f.joined = mergeInputs(u.joined, f.joined)
	return true
}

func (f *follower) hasSources() bool {
	for _, s := range f.opt.sources {
		if s.kind == layerSource {
			return true
		}
	}
	return false
}

// begin starts to follow from what the current snapshot was read from.
func (f *follower) begin() {
	f.seen, f.joined, f.last, f.outdated = f.snapshot().inputs, nil, nil, false
	f.unsteady = time.Time{}
}

// look arms the watches, compares the files with what was read, and reloads
// once none of them has changed for settleTime, or for writerTime where it is
// still open for writing. The time counts from the last change; other events make
// it look again, but never sooner ready.
func (f *follower) look(ctx context.Context) {
	f.arm()
	f.recheckAt = time.Time{}

	now := time.Now()
	found := current(mergeInputs(f.seen, f.joined))
	if !f.outdated && consistent(f.seen, found) {
		f.begin()
		return
	}

	// Time stamps count too: a file may be caught twice at the same half. The
	// change was at the latest when it had been read, the look began before.
	if f.last == nil || !untouched(f.last, found) {
		f.changedAt = time.Now()
	}
	f.last = found

	wait := settleTime - now.Sub(f.changedAt)
	if f.anyUnsteady(found) {
		if f.unsteady.IsZero() {
			f.unsteady = now
		}
		wait = max(wait, min(settleTime, missingTime-now.Sub(f.unsteady)))
	} else {
		f.unsteady = time.Time{}
	}
	if wait <= 0 && now.Sub(f.changedAt) < writerTime && f.anyWriter(found) {
		wait = settleTime // no event tells when it closes the file
	}

	if wait > 0 {
		f.recheckAt = now.Add(wait)
		return
	}

	if f.postponed(f.reloadIf(ctx, found)) {
		f.recheckAt = now.Add(settleTime)
		return
	}
	if ctx.Err() == nil {
		f.begin()
		f.arm()
	}
}

// anyUnsteady reports an input that changed and is now missing or empty.
func (f *follower) anyUnsteady(found []input) bool {
	for _, in := range found {
		if in.unsteady() && !consistent(f.seen, []input{in}) {
			return true
		}
	}
	return false
}

// anyWriter reports an input that changed and is still open for writing.
func (f *follower) anyWriter(found []input) bool {
	return slices.ContainsFunc(found, func(in input) bool { return in.differs(f.seen) && in.hasWriter() })
}

// arm watches what the inputs depend on now, and sets the next poll.
func (f *follower) arm() {
	ok := f.watch.arm(mergeInputs(f.seen, f.joined))
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
	before := f.stats.Watching
	f.stats.Watching = mode
	f.mu.Unlock()
	if mode == "polling" && before != mode {
		f.opt.logger.Info("the system does not tell of file changes, polling", "every", every)
	}
}

var retryPolicy = backoff.Policy{Base: 2 * time.Second, Max: time.Minute}
