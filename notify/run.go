package notify

import (
	"context"
	"fmt"
	"time"
)

// Run ties the work of the hub, which goes on since [New], to ctx: it blocks
// until ctx ends, then sends what is held and waits for deliveries, as Close
// does, and returns nil. What comes after that is Close's; both together spend
// CloseTimeout once. A second concurrent Run returns ErrRunning, and Run after
// Close ErrClosed.
func (h *Hub) Run(ctx context.Context) error {
	h.health.Used()
	h.mu.Lock()
	switch {
	case h.closed:
		h.mu.Unlock()
		return NewError("run", ErrClosed)
	case h.running:
		h.mu.Unlock()
		return NewError("run", ErrRunning)
	}
	h.running = true
	h.mu.Unlock()

	select {
	case <-ctx.Done():
	case <-h.alive.Done():
	}
	h.drain(context.Background(), false)
	h.mu.Lock()
	h.running = false
	h.mu.Unlock()
	return nil
}

// Flush sends what is held about repeats and by Rate, as far as that is not a
// flood: one word per key and Interval, one summary per receiver beyond its
// Rate's credit. It returns when nothing waits for delivery any more, or with an
// error when ctx ends first. Nothing is forgotten.
func (h *Hub) Flush(ctx context.Context) error {
	h.health.Used()
	if h.isClosed() {
		return NewError("flush", ErrClosed)
	}
	if err := h.flush(ctx); err != nil {
		h.mu.Lock()
		n := h.busy
		h.mu.Unlock()
		return NewError("flush", fmt.Errorf("%d deliveries wait: %w", n, context.Cause(ctx)))
	}
	return nil
}

// flush sends what is held and waits, until nothing is held that may go out.
func (h *Hub) flush(ctx context.Context) error {
	for {
		sent := h.sendHeld()
		if err := h.wait(ctx); err != nil || !sent {
			return err
		}
	}
}

// sendHeld sends what is held, and reports whether there was anything.
func (h *Hub) sendHeld() (sent bool) {
	t := &todo{}
	now := time.Now()
	h.mu.Lock()

	last := h.closed && h.out == nil // nobody remembers
	for _, w := range h.workers {
		for _, e := range w.ledger.entries {
			if e.untold() && (e.open || e.heard) && (last || !now.Before(e.base)) {
				h.tell(e, now, t)
				sent = true
			}
			sent = sent || e.pending != nil && e.pending.at == waiting || e.flight != nil
		}
		for _, d := range w.all {
			if d.at == waiting && d.attempts == 0 && d.due.After(now) { // held by Wait
				w.remove(d)
				d.due = now
				h.enqueue(d, now, t)
			}
		}
	}

	h.mu.Unlock()
	h.finish(t)
	for _, w := range h.workers {
		sent = h.releaseHeld(w, true) || sent
	}
	return sent
}

// wait returns when nothing waits for delivery.
func (h *Hub) wait(ctx context.Context) error {
	for {
		h.mu.Lock()
		if h.quiet() {
			h.mu.Unlock()
			return nil
		}
		if h.idle == nil {
			h.idle = make(chan struct{})
		}
		idle := h.idle
		h.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drain sends what is held and waits for deliveries, within what is left of
// CloseTimeout. A receiver that is known as away gets one try.
func (h *Hub) drain(ctx context.Context, last bool) {
	begin := time.Now()
	h.mu.Lock()
	h.drains++
	left := max(0, h.opts.CloseTimeout-h.spent)
	t := &todo{}
	for _, w := range h.workers {
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
	h.mu.Unlock()
	h.finish(t)

	bound, cancel := context.WithTimeout(ctx, left)
	_ = h.flush(bound)
	cancel()

	t = &todo{}
	h.mu.Lock()
	now := time.Now()
	h.spent += now.Sub(begin)
	h.drains--
	if h.drains == 0 && !last {
		for _, w := range h.workers {
			w.lastTry = false
			for _, d := range w.all {
				if d.at == resting {
					h.enqueue(d, now, t)
				}
			}
		}
	}
	h.mu.Unlock()
	h.finish(t)
}

// Close sends what is held and waits for deliveries, for at most CloseTimeout;
// a receiver that is known as away gets one try. Calls under way are cut off
// after that, and callers of Notify get an error. What did not go out waits in
// the outbox for the next start, or is lost without one; the error then is an
// [*Error] with Remaining that matches ErrRemaining. Close may be called more than
// once and gives the same error each time.
func (h *Hub) Close() error { return h.Shutdown(context.Background()) }

// Shutdown is Close, bounded by ctx as well.
func (h *Hub) Shutdown(ctx context.Context) error {
	h.closeOnce.Do(func() { h.closeErr = h.close(ctx) })
	return h.closeErr
}

func (h *Hub) close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.drain(ctx, true)
	h.kill(ErrClosed)

	// Calls that honour their context end now; the others are abandoned.
	t := &todo{}
	lost := 0
	h.mu.Lock()
	now := time.Now()
	for _, w := range h.workers {
		for _, d := range w.all {
			if d.at == calling {
				continue
			}
			if !d.stored && len(d.waiters) == 0 {
				lost++
			}
			h.cutOff(d, now, t)
		}
	}
	h.mu.Unlock()
	h.finish(t)
	grace, cancel := context.WithTimeout(context.Background(), 4*abandonAfter)
	_ = h.wait(grace)
	cancel()

	h.mu.Lock()
	h.tasks.end()
	left := 0
	for _, w := range h.workers {
		for _, d := range w.all {
			if d.stored {
				left++
			} else if len(d.waiters) == 0 {
				lost++
			}
		}
		if !h.durable() {
			lost += w.limit.more
		}
	}
	h.mu.Unlock()
	var err error
	closing, done := context.WithTimeout(context.Background(), time.Second)
	defer done()
	defer h.health.Close(closing)
	if h.out != nil {
		h.writesDone()
		err = h.out.close(left == 0 && !h.remembers())
	}
	return h.remaining(left, lost, err)
}

// cutOff ends a delivery that waits while the hub closes.
func (h *Hub) cutOff(d *delivery, now time.Time, t *todo) {
	if d.stored {
		if d.at == waiting {
			d.w.remove(d)
		}
		h.rest(d, t)
		return
	}
	e := NewError("send", ErrClosed)
	e.Class = ClassCanceled
	e.Reason = "gave up waiting: " + e.Reason
	d.w.sign(e, d)
	h.failed(d, append(d.final, e), now, t)
}
