package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// life ends the work of a hub: for a while by Run, for good by Close.
type life struct {
	*env
	running   bool
	spent     time.Duration // of CloseTimeout
	closeOnce sync.Once
	closeErr  error
}

// flush sends what is held and waits, until nothing is held that may go out.
func (li *life) flush(ctx context.Context) error {
	for {
		sent := li.sendHeld()
		if err := li.courier.wait(ctx); err != nil || !sent {
			return err
		}
	}
}

// sendHeld sends what is held, and reports whether there was anything.
func (li *life) sendHeld() (sent bool) {
	t := &todo{}
	now := time.Now()
	li.mu.Lock()
	last := li.closed && li.keeper.out == nil // nobody remembers
	for _, w := range li.workers {
		for _, e := range w.ledger.entries {
			if e.untold() && (e.open || e.heard) && (last || !now.Before(e.base)) {
				li.teller.tell(e, now, t)
				sent = true
			}
			sent = sent || e.pending != nil && e.pending.at == waiting || e.flight != nil
		}
		for _, d := range w.all {
			if d.at == waiting && d.attempts == 0 && d.due.After(now) { // held by Wait
				w.remove(d)
				d.due = now
				li.courier.enqueue(d, now, t)
			}
		}
	}

	li.mu.Unlock()
	li.courier.finish(t)
	for _, w := range li.workers {
		sent = li.holds.releaseHeld(w, true) || sent
	}
	return sent
}

// drain sends what is held and waits for deliveries, within what is left of
// CloseTimeout. A receiver that is known as away gets one try.
func (li *life) drain(ctx context.Context, last bool) {
	begin := time.Now()
	li.mu.Lock()
	li.drains++
	left := max(0, li.opts.CloseTimeout-li.spent)
	t := &todo{}

	for _, w := range li.workers {
		if w.until().After(begin) || w.streak > 0 || w.abandoned >= maxAbandoned {
			w.lastTry = true
			for len(w.later) > 0 {
				d := w.later[0]
				w.remove(d)
				d.due = begin
				w.enqueue(d, begin)
			}
		}
		t.pump = append(t.pump, w)
	}
	li.mu.Unlock()
	li.courier.finish(t)

	bound, cancel := context.WithTimeout(ctx, left)
	_ = li.flush(bound)
	cancel()

	t = &todo{}
	li.mu.Lock()
	now := time.Now()
	li.spent += now.Sub(begin)
	li.drains--

	if li.drains == 0 && !last {
		for _, w := range li.workers {
			w.lastTry = false
			for _, d := range w.all {
				if d.at == resting {
					li.courier.enqueue(d, now, t)
				}
			}
		}
	}
	li.mu.Unlock()
	li.courier.finish(t)
}

func (li *life) close(ctx context.Context) error {
	li.mu.Lock()
	li.closed = true
	li.mu.Unlock()
	li.drain(ctx, true)
	li.kill(ErrClosed)

	// Calls that honour their context end now; the others are abandoned.
	t := &todo{}
	lost := 0
	li.mu.Lock()
	now := time.Now()
	for _, w := range li.workers {
		for _, d := range w.all {
			if d.at == calling {
				continue
			}
			if !d.stored && len(d.waiters) == 0 {
				lost++
			}
			li.courier.cutOff(d, now, t)
		}
	}
	li.mu.Unlock()
	li.courier.finish(t)

	grace, cancel := context.WithTimeout(context.Background(), 4*abandonAfter)
	_ = li.courier.wait(grace)
	cancel()

	li.mu.Lock()
	li.tasks.end()
	left := 0
	durable := li.keeper.durable()
	for _, w := range li.workers {
		for _, d := range w.all {
			if d.stored && durable {
				left++
			} else if len(d.waiters) == 0 {
				lost++
			}
		}
		if !durable {
			lost += w.limit.more
		}
	}
	li.mu.Unlock()

	var err error
	closing, done := context.WithTimeout(context.Background(), time.Second)
	defer done()
	defer li.health.Close(closing)
	if li.keeper.out != nil {
		li.keeper.writesDone()
		err = li.keeper.out.close(left == 0 && !li.remembers())
	}
	return li.remaining(left, lost, err)
}

// remaining says what did not go out.
func (li *life) remaining(left, lost int, closing error) error {
	if left+lost == 0 {
		if closing != nil {
			return NewError("close", closing)
		}
		return nil
	}

	e := &Error{Op: "close", Class: ClassOther, Remaining: left + lost, causes: []error{ErrRemaining}}
	if left > 0 {
		e.Reason = fmt.Sprintf("%d messages wait in %s for the next start", left, li.opts.Outbox.Dir)
	}

	if lost > 0 {
		if e.Reason != "" {
			e.Reason += "; "
		}
		e.Reason += fmt.Sprintf("%d messages did not go out within %v and are lost", lost, li.opts.CloseTimeout)
		e.causes = append(e.causes, ErrLost)
	}

	return errors.Join(e, closing)
}

// remembers reports whether the ledgers hold what the next start needs.
func (li *life) remembers() bool {
	li.mu.Lock()
	defer li.mu.Unlock()
	return slices.ContainsFunc(li.workers, func(w *worker) bool { return len(w.ledger.entries)+w.limit.more > 0 })
}
