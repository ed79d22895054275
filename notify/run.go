package notify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// adoptEvery is how often Run looks for what a crashed process left behind.
const adoptEvery = time.Minute

// Run does the work in the background: it delivers what the outbox holds and
// sends the messages about repeats when they are due. It blocks until ctx ends,
// then lets calls that are under way end, for at most CloseTimeout, and returns
// nil; what the outbox still holds stays there for the next Run. A second
// concurrent Run returns ErrRunning, and Run after Close ErrClosed.
func (h *Hub) Run(ctx context.Context) error {
	h.mu.Lock()
	switch {
	case h.closed:
		h.mu.Unlock()
		return fmt.Errorf("notify: run: %w", ErrClosed)
	case h.running:
		h.mu.Unlock()
		return fmt.Errorf("notify: run: %w", ErrRunning)
	}
	h.running = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.running = false
		h.mu.Unlock()
	}()
	h.startDelivery()
	defer h.stopDelivery()

	timer := time.NewTimer(0)
	defer timer.Stop()
	adopted := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.life.Done():
			return nil
		case <-h.groups.wake:
		case <-timer.C:
		}
		now := time.Now()
		next := h.tellGroups(now)
		if h.out != nil {
			if now.Sub(adopted) >= adoptEvery {
				adopted = now
				h.out.adopt()
			}
			if at := adopted.Add(adoptEvery); next.IsZero() || at.Before(next) {
				next = at
			}
		}
		if !next.IsZero() {
			timer.Reset(max(time.Millisecond, time.Until(next)))
		}
	}
}

// tellGroups sends what is due about repeats, everything if now is zero.
func (h *Hub) tellGroups(now time.Time) (next time.Time) {
	if h.groups.off() {
		return time.Time{}
	}
	summaries, next := h.groups.collect(now)
	for _, m := range summaries {
		// The failure of a delivery that nobody waits for is logged there.
		if err := h.dispatch(h.life, m, false); err != nil {
			h.log.Error("message about repeats is at risk", "message_id", m.ID, "error", err)
		}
	}
	return next
}

// startDelivery lets the outbox deliver until as many stopDelivery.
func (h *Hub) startDelivery() {
	if h.out == nil {
		return
	}
	h.deliverMu.Lock()
	defer h.deliverMu.Unlock()
	h.delivering++
	if h.delivering == 1 {
		h.deliver, h.stopSend = context.WithCancel(h.life)
	}
	h.out.start(h.deliver)
}

// stopDelivery stops new tries and waits for those under way.
func (h *Hub) stopDelivery() {
	if h.out == nil {
		return
	}
	h.deliverMu.Lock()
	h.delivering--
	if h.delivering > 0 {
		h.deliverMu.Unlock()
		return
	}
	cancel := h.stopSend
	h.holdDelivery()
	h.deliverMu.Unlock()
	defer cancel()
	grace, release := context.WithTimeout(h.life, h.opts.CloseTimeout)
	defer release()
	for _, w := range h.workers {
		w.waitStored(grace)
	}
}

// holdDelivery takes back what was handed out and not begun.
func (h *Hub) holdDelivery() {
	h.out.stop()
	for _, w := range h.workers {
		w.drop()
	}
}

// Flush sends what is held about repeats and returns when nothing waits for
// delivery any more, or with an error when ctx ends first. It works with and
// without a Run.
func (h *Hub) Flush(ctx context.Context) error {
	if h.isClosed() {
		return fmt.Errorf("notify: flush: %w", ErrClosed)
	}
	h.startDelivery()
	defer h.stopDelivery()
	h.tellGroups(time.Time{})
	if err := h.busy.wait(ctx); err != nil {
		return fmt.Errorf("notify: flush: %d deliveries wait: %w", h.busy.count(), context.Cause(ctx))
	}
	return nil
}

// Close sends what is held about repeats and waits for deliveries, for at most
// CloseTimeout; with an outbox what is left then stays on disk, without one the
// error says how much was lost. Calls under way are cut off after that, and
// callers of Notify get an error. Close
// may be called more than once and gives the same error each time.
func (h *Hub) Close() error {
	h.closeOnce.Do(func() { h.closeErr = h.close() })
	return h.closeErr
}

func (h *Hub) close() error {
	h.tellGroups(time.Time{})
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	if h.out != nil {
		h.deliverMu.Lock()
		h.holdDelivery()
		h.deliverMu.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), h.opts.CloseTimeout)
	defer cancel()
	var lost error
	if h.busy.wait(ctx) != nil {
		if n := h.unheard(); n > 0 {
			lost = fmt.Errorf("notify: close: %d deliveries not done within %v are lost", n, h.opts.CloseTimeout)
		}
	}
	h.kill(ErrClosed)
	for _, w := range h.workers {
		w.stopTimer()
	}
	// Calls that honour their context end now; the others are abandoned.
	last, done := context.WithTimeout(context.Background(), 4*abandonAfter)
	defer done()
	_ = h.busy.wait(last)
	if h.out != nil {
		return errors.Join(lost, h.out.close())
	}
	return lost
}

// unheard counts deliveries that neither a caller nor an outbox knows of.
func (h *Hub) unheard() int {
	n := 0
	for _, w := range h.workers {
		n += w.unheard()
	}
	return n
}

// tracker counts what is under way and tells when nothing is.
type tracker struct {
	mu   sync.Mutex
	n    int
	zero chan struct{} // closed when n falls to 0; nil if nobody waits
}

func (t *tracker) add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n += n
	if t.n == 0 && t.zero != nil {
		close(t.zero)
		t.zero = nil
	}
}

func (t *tracker) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

func (t *tracker) wait(ctx context.Context) error {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return nil
	}
	if t.zero == nil {
		t.zero = make(chan struct{})
	}
	zero := t.zero
	t.mu.Unlock()
	select {
	case <-zero:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
