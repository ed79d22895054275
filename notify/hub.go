package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Hub routes messages to receivers. Make one with [New]. It is a [Notifier]
// itself. All methods are safe for concurrent use.
type Hub struct {
	*env
	router   router
	recovery recovery
	life     life
}

// New returns a Hub that works from now on. It reports every mistake in opts at
// once. With an outbox it makes the folder and takes over what a crashed process
// left there. A folder that cannot be used for the moment, as on a full disk, gives
// a hub that works from memory: [Hub.Check] says so. Close the hub when done.
func New(opts *Options) (*Hub, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}

	v := newEnv(o)
	h := &Hub{env: v, router: router{v}, recovery: recovery{env: v}, life: life{env: v}}
	if o.Outbox.Dir != "" && v.dry == nil {
		if v.keeper.out, err = openOutbox(o.Outbox, lookEvery(o.StuckAfter), v.log, v.health); err != nil {
			v.kill(ErrClosed)
			return nil, err
		}
		h.recovery.begin()
	}

	v.health.Start()
	return h, nil
}

// To returns a Hub with the defaults and one receiver for each of notifiers, which
// is called after its package, as "slack", and from the second of a kind on
// "slack-2". It tells of a notifier that is nil, so that the errors of all
// constructors may be looked at together.
func To(notifiers ...Notifier) (*Hub, error) {
	var o Options
	count := map[string]int{}
	for _, n := range notifiers {
		name, _, _ := strings.Cut(strings.TrimLeft(fmt.Sprintf("%T", n), "*"), ".")
		count[name]++
		if count[name] > 1 {
			name = fmt.Sprintf("%s-%d", name, count[name])
		}
		o.Receivers = append(o.Receivers, Receiver{Name: name, Notifier: n})
	}
	return New(&o)
}

// Send delivers a message of level [slog.LevelError]. See [Hub.Notify].
func (h *Hub) Send(ctx context.Context, subject, message string) error {
	return h.Notify(ctx, Message{Level: slog.LevelError, Subject: subject, Text: message})
}

// Notify delivers m to every receiver that takes it. Without an outbox it
// returns when each of them is done or gave up, or ctx ended; the error then
// holds one [*Error] for each receiver or recipient that did not get it, see
// [Errors]. With an outbox it returns when the message is stored, even if ctx has
// ended: word of a failure often comes with the context that failed.
//
// A repeat returns nil at once: it is counted and told of later, see [Group],
// and so is what Rate holds. A silenced message returns nil, too, and so does the
// end of a trouble that nobody heard of. A message that no receiver takes is
// ErrNoReceiver. A delivery that a Fallback took over is no failure.
func (h *Hub) Notify(ctx context.Context, m Message) error {
	key, grouped := h.router.key(&m)
	return h.submit(ctx, m, key, grouped, true)
}

// submit takes a message; wait is false for callers that must not block.
func (h *Hub) submit(ctx context.Context, m Message, key groupKey, grouped, wait bool) error {
	h.health.Used()
	now := time.Now()
	if m.Time.IsZero() {
		m.Time = now
	}

	if foreign(m.Attrs) {
		m.resolve()
	}

	var room [8]*worker
	takers := h.router.route(&m, room[:0])
	hidden := h.mute.active() && h.hides(m)
	if hidden && (m.Key == "" || len(takers) == 0 && !m.Resolved) {
		return nil
	}

	if grouped && !m.Resolved {
		if b, done, err := h.teller.repeat(takers, key, &m, now); done {
			return h.keeper.keep(b, wait, err)
		}
	}

	if m.ID == "" {
		m.ID = newID(now)
	}
	if err := m.check(); err != nil {
		return err
	}
	m.resolve()
	m = h.clean(m)
	return h.accept(ctx, m, key, grouped, hidden, takers, wait)
}

// accept takes a message that is no plain repeat.
func (h *Hub) accept(ctx context.Context, m Message, key groupKey, grouped, hidden bool, takers []*worker, wait bool) error {
	t := &todo{}
	now := time.Now()
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return NewError("send", ErrClosed)
	}

	known := false
	var sent []*delivery
	for _, w := range h.workers {
		takes := slices.Contains(takers, w)
		if takes && w.all[m.ID] != nil {
			known = true // a repeat of what waits already
			continue
		}
		if !grouped {
			if takes {
				sent = append(sent, h.courier.deliver(w, &m, nil, now))
			}
			continue
		}

		e, d, heard := h.teller.admit(w, key, &m, takes, now, t)
		known = known || heard
		if e != nil {
			e.shared = w.r.Fallback != "" && slices.Contains(takers, h.byName[w.r.Fallback])
		}
		if d != nil {
			d.shared = e.shared
			sent = append(sent, d)
		} else if e != nil {
			h.keeper.noteEntry(e, t, true)
		}
	}

	if len(sent) == 0 && !known {
		h.mu.Unlock()
		if h.keeper.out != nil && m.Resolved {
			return nil // told to nobody, as nobody heard the start
		}
		e := NewError("send", fmt.Errorf("%w of level %v", ErrNoReceiver, m.Level))
		e.MessageID = m.ID
		return e
	}

	err := h.keeper.store(sent, now, t)
	var w *waiter
	if wait && h.keeper.out == nil {
		w = h.courier.attach(ctx, sent)
	}

	for _, d := range sent {
		h.courier.dispatch(d, hidden, now, t)
		if d.at == held || d.due.After(now) {
			h.courier.tellWaiters(d, nil, t) // nobody waits for what is held
			d.ctx = h.alive
		}
	}
	h.mu.Unlock()

	if h.keeper.out != nil && wait {
		err = errors.Join(err, h.keeper.written(t, m.ID, sent))
	}
	h.courier.finish(t)
	if w == nil {
		return err
	}

	stop := context.AfterFunc(ctx, func() { h.courier.abandon(w) })
	defer stop()
	<-w.over
	return join(w.errs)
}

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
	case h.life.running:
		h.mu.Unlock()
		return NewError("run", ErrRunning)
	}
	h.life.running = true
	h.mu.Unlock()

	select {
	case <-ctx.Done():
	case <-h.alive.Done():
	}

	h.life.drain(context.Background(), false)
	h.mu.Lock()
	h.life.running = false
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
	if err := h.life.flush(ctx); err != nil {
		h.mu.Lock()
		n := h.courier.busy
		h.mu.Unlock()
		return NewError("flush", fmt.Errorf("%d deliveries wait: %w", n, context.Cause(ctx)))
	}
	return nil
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
	h.life.closeOnce.Do(func() { h.life.closeErr = h.life.close(ctx) })
	return h.life.closeErr
}

// Check asks every receiver that is a [Checker] whether it would take a
// message, all at the same time, and returns one [*Error] for each that would
// not. Nothing is sent. A receiver without a Check counts as well. What is lost or
// stuck is told, too: the error then matches ErrLost or ErrStuck.
func (h *Hub) Check(ctx context.Context) error {
	h.health.Used()
	if h.isClosed() {
		return NewError("check", ErrClosed)
	}

	all := make([][]*Error, len(h.workers))
	done := make(chan struct{}, len(h.workers))
	left := 0
	for i, w := range h.workers {
		checker, ok := w.r.Notifier.(Checker)
		if !ok || h.dry != nil {
			continue
		}
		left++
		go func() {
			all[i] = w.check(ctx, checker)
			done <- struct{}{}
		}()
	}

	for ; left > 0; left-- {
		<-done
	}

	var errs []*Error
	for _, list := range all {
		errs = append(errs, list...)
	}

	if h.keeper.out != nil {
		errs = append(errs, h.keeper.out.check()...)
	}
	return errors.Join(join(errs), h.health.Check())
}

// Stats returns the counts so far. It works after Close, too.
func (h *Hub) Stats() Stats {
	var s Stats
	durable := h.keeper.durable()

	h.mu.Lock()
	now := time.Now()
	keys := map[groupKey]struct{}{}
	stored := map[string]struct{}{}
	for _, w := range h.workers {
		s.Receivers = append(s.Receivers, w.snapshot(now))
		for k := range w.ledger.entries {
			keys[k] = struct{}{}
		}
		for id, d := range w.all {
			if d.stored && durable {
				stored[id] = struct{}{}
			}
		}
	}

	s.Groups, s.Stored, s.Suppressed = len(keys), len(stored), h.teller.suppressed
	h.mu.Unlock()
	s.Silenced = h.mute.count.Load()
	if h.keeper.out != nil {
		h.keeper.out.stats(&s)
	}
	return s
}

// Silence hides the messages that match takes, all for nil, for the duration d,
// or until the function that it returns is called. match must be fast and not
// block; one that panics hides nothing. It is asked when a message goes out, so
// that repeats, summaries and what waits already are hidden, too.
//
// Hidden messages are counted in [Stats]. If the trouble that a Key names is
// still open when the silence is over, one message about it goes out then, a
// second later; what began and ended within the silence goes to nobody, and so
// does what has no Key.
func (h *Hub) Silence(match func(Message) bool, d time.Duration) (end func()) {
	return h.mute.add(match, d)
}

// Redrive gives what is in dead.jsonl and is for a receiver of this hub another
// try, and returns how many messages that are. They are stored before they leave
// the file; the others stay in it.
func (h *Hub) Redrive(ctx context.Context) (n int, err error) {
	h.health.Used()
	if h.isClosed() {
		return 0, NewError("redrive", ErrClosed)
	}
	if !h.keeper.durable() {
		return 0, NewError("redrive", errors.New("there is no outbox that can be used"))
	}
	return h.keeper.out.dead.redrive(ctx, func(receiver string) bool { return h.byName[receiver] != nil }, h.recovery.load)
}
