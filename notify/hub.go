package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/notify/internal/redact"
)

// Hub routes messages to receivers. Make one with [New]. It is a [Notifier]
// itself. All methods are safe for concurrent use.
type Hub struct {
	opts    Options
	log     logger
	red     *redact.Redactor
	dry     *dryRun
	workers []*worker
	byName  map[string]*worker
	groups  *groups
	mute    silences
	out     *outbox
	busy    tracker // deliveries that are queued or under way

	life context.Context // of what nobody waits for
	kill context.CancelCauseFunc

	mu      sync.Mutex
	closed  bool
	running bool

	deliverMu  sync.Mutex
	delivering int             // Run and Flush, while they let the outbox deliver
	deliver    context.Context // of what the outbox delivers
	stopSend   context.CancelFunc

	closeOnce sync.Once
	closeErr  error
}

// New returns a Hub. It reports every mistake in opts at once. With an outbox
// it makes the folder and takes over what a crashed process left there; it
// fails if the folder cannot be used. Close the hub when done.
func New(opts *Options) (*Hub, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	var known []string
	for _, s := range o.Secrets {
		known = append(known, s.Reveal())
	}
	for _, r := range o.Receivers {
		if holder, ok := r.Notifier.(SecretHolder); ok {
			for _, s := range holder.Secrets() {
				known = append(known, s.Reveal())
			}
		}
	}
	h := &Hub{
		opts: o, red: redact.New(known...), groups: newGroups(o.Group),
		byName: map[string]*worker{},
	}
	h.log = logger{out: o.Logger, red: h.red}
	h.life, h.kill = context.WithCancelCause(context.Background())
	if o.DryRun != nil {
		h.dry = &dryRun{out: o.DryRun, red: h.red}
	}
	for _, r := range o.Receivers {
		w := newWorker(h, r)
		h.workers = append(h.workers, w)
		h.byName[r.Name] = w
	}
	if o.Outbox.Dir != "" && h.dry == nil {
		if h.out, err = openOutbox(h, o.Outbox); err != nil {
			h.kill(ErrClosed)
			return nil, err
		}
		h.groups.keep = h.out.hold
	}
	return h, nil
}

// Send delivers a message of level [slog.LevelError]. See [Hub.Notify].
func (h *Hub) Send(ctx context.Context, subject, message string) error {
	return h.Notify(ctx, Message{Level: slog.LevelError, Subject: subject, Text: message})
}

// Notify delivers m to every receiver that takes it. Without an outbox it
// returns when each of them is done or gave up, or ctx ended; the error then
// holds one [*Error] for each receiver or recipient that did not get it, see
// [Errors]. With an outbox it returns when the message is stored, even if ctx has
// ended: word of a failure often comes with the context that failed. [Hub.Run]
// delivers.
//
// A repeat within a group returns nil at once: it is counted and told of later,
// see [Group]. A silenced message returns nil, too. A message that no receiver
// takes is ErrNoReceiver. A delivery that a Fallback took over is no failure.
func (h *Hub) Notify(ctx context.Context, m Message) error {
	return h.submit(ctx, m, true)
}

// submit takes a message; wait is false for callers that must not block.
func (h *Hub) submit(ctx context.Context, m Message, wait bool) error {
	now := time.Now()
	if m.Time.IsZero() {
		m.Time = now
	}
	if h.isClosed() {
		return fmt.Errorf("notify: send: %w", ErrClosed)
	}
	var key groupKey
	if !h.groups.off() {
		key = h.groups.key(&m)
	}
	if h.mute.active() && h.mute.hides(m, now) {
		return nil
	}
	if b, held := h.groups.repeat(key, &m, now); held {
		return h.keep(b, wait)
	}
	if m.ID == "" {
		m.ID = newID(now)
	}
	if err := m.check(); err != nil {
		return err
	}
	if len(h.route(&m)) == 0 {
		return fmt.Errorf("notify: send %s at level %v: %w", m.ID, m.Level, ErrNoReceiver)
	}
	m.resolve()
	m, b, goes := h.groups.admit(key, m, now)
	if !goes {
		return h.keep(b, wait)
	}
	return h.dispatch(ctx, m, wait)
}

// keep stores that a message is held.
func (h *Hub) keep(b *batch, wait bool) error {
	if b == nil {
		return nil
	}
	return h.out.keep(b, wait)
}

// check refuses what cannot be a message.
func (m *Message) check() error {
	if !validID(m.ID) {
		return &Error{Op: "send", Class: ClassInvalid, Reason: fmt.Sprintf("message ID %.80q: use letters, digits, '.', '-' and '_', at most %d", m.ID, maxIDLen)}
	}
	if m.Subject == "" && m.Text == "" && m.HTML == "" {
		return &Error{Op: "send", MessageID: m.ID, Class: ClassInvalid, Reason: "message has neither Subject nor Text"}
	}
	return nil
}

// route returns the workers of the receivers that take m.
func (h *Hub) route(m *Message) []*worker {
	var takers []*worker
	for _, w := range h.workers {
		if m.Level >= w.r.MinLevel && w.matches(m) {
			takers = append(takers, w)
		}
	}
	return takers
}

// matches asks Match. One that panics takes everything: better a message too
// many than one that nobody gets.
func (w *worker) matches(m *Message) (takes bool) {
	if w.r.Match == nil {
		return true
	}
	defer func() {
		if p := recover(); p != nil {
			w.hub.log.Error("Match panicked and counts as yes", "receiver", w.r.Name, "message_id", m.ID, "error", fmt.Errorf("%v (%s)", p, panicSite()))
			takes = true
		}
	}()
	return w.r.Match(*m)
}

// dispatch gives a message that is to go out to its receivers.
func (h *Hub) dispatch(ctx context.Context, m Message, wait bool) error {
	m = h.clean(m)
	takers := h.route(&m)
	if len(takers) == 0 { // a summary, and its receivers looked at the text
		if h.out != nil {
			h.out.unhold(&m)
		}
		return nil
	}
	d := &delivery{hub: h, msg: &m, left: len(takers), over: make(chan struct{})}
	for _, w := range takers {
		d.names = append(d.names, w.r.Name)
	}
	if h.out != nil {
		err := h.out.put(d, wait)
		if err == nil {
			return nil
		}
		if NewError("", err).Class != ClassStorage {
			return err
		}
		h.log.Error("outbox cannot store; message is held in memory only", "message_id", m.ID, "error", err)
		h.start(h.life, d, takers, false)
		return err
	}
	if !wait {
		h.start(h.life, d, takers, false)
		return nil
	}
	h.start(ctx, d, takers, true)
	<-d.over
	return d.err()
}

// clean removes known secrets from what is shown.
func (h *Hub) clean(m Message) Message {
	m.Subject = h.red.String(m.Subject)
	m.Text = h.red.String(m.Text)
	m.HTML = h.red.String(m.HTML)
	m.Key = h.red.String(m.Key)
	if len(m.Attrs) > 0 {
		attrs := make([]slog.Attr, 0, len(m.Attrs))
		for _, f := range m.Fields() {
			attrs = append(attrs, slog.String(h.red.String(f.Name), h.red.String(f.Value)))
		}
		m.Attrs = attrs
	}
	if len(m.Attachments) > 0 {
		m.Attachments = slices.Clone(m.Attachments)
		for i := range m.Attachments {
			a := &m.Attachments[i]
			a.Name, a.ContentType = h.red.String(a.Name), h.red.String(a.ContentType)
		}
	}
	return m
}

// start queues d at its receivers.
func (h *Hub) start(ctx context.Context, d *delivery, takers []*worker, waited bool) {
	h.busy.add(len(takers))
	since := time.Now()
	for _, w := range takers {
		w.add(&job{msg: d.msg, ctx: ctx, since: since, due: since, waited: waited, done: d.finish})
	}
}

// delivery is one message on its way to all its receivers.
type delivery struct {
	hub   *Hub
	msg   *Message
	names []string

	mu   sync.Mutex
	left int
	errs []*Error
	over chan struct{}
}

// finish takes the end of one receiver's part: done, failed over, or failed.
func (d *delivery) finish(w *worker, j *job, errs []*Error) {
	h := d.hub
	if next := d.fallback(w, j, errs); next != nil {
		h.log.Warn("receiver failed; another one takes over", "receiver", w.r.Name, "fallback", next.r.Name, "message_id", d.msg.ID, "error", errs[0])
		d.mu.Lock()
		d.names = append(d.names, next.r.Name)
		d.mu.Unlock()
		if j.stored {
			h.out.move(d.msg.ID, w.r.Name, next.r.Name)
		}
		next.add(&job{
			msg: d.msg, ctx: j.ctx, since: j.since, due: time.Now(), stored: j.stored, waited: j.waited,
			order: j.order, via: append(slices.Clone(j.via), w.r.Name), before: append(slices.Clone(j.before), errs...), done: d.finish,
		})
		return
	}
	if len(errs) > 0 {
		errs = append(slices.Clone(j.before), errs...)
	}
	if j.stored {
		h.out.settle(d.msg.ID, w.r.Name, errs)
	}
	if len(errs) > 0 && !j.waited {
		h.log.Error("message was not delivered", "receiver", w.r.Name, "message_id", d.msg.ID, "error", errs[0], "failures", len(errs))
	}
	d.mu.Lock()
	d.errs = append(d.errs, errs...)
	d.left--
	if d.left == 0 {
		close(d.over)
	}
	d.mu.Unlock()
	h.busy.add(-1)
}

// fallback returns who takes over, if anybody is to.
func (d *delivery) fallback(w *worker, j *job, errs []*Error) *worker {
	if w.r.Fallback == "" || len(errs) == 0 || j.ctx.Err() != nil {
		return nil
	}
	for _, e := range errs {
		if e.Partial {
			return nil
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.Contains(d.names, w.r.Fallback) || slices.Contains(j.via, w.r.Fallback) {
		return nil
	}
	return d.hub.byName[w.r.Fallback]
}

func (d *delivery) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return join(d.errs)
}

func (h *Hub) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// Check asks every receiver that is a [Checker] whether it would take a
// message, all at the same time, and returns one [*Error] for each that would
// not. Nothing is sent. A receiver without a Check counts as well.
func (h *Hub) Check(ctx context.Context) error {
	if h.isClosed() {
		return fmt.Errorf("notify: check: %w", ErrClosed)
	}
	type result struct {
		i    int
		errs []*Error
	}
	var all [][]*Error = make([][]*Error, len(h.workers))
	results := make(chan result, len(h.workers))
	left := 0
	for i, w := range h.workers {
		checker, ok := w.r.Notifier.(Checker)
		if !ok || h.dry != nil {
			continue
		}
		left++
		go func() {
			results <- result{i, w.check(ctx, checker)}
		}()
	}
	for ; left > 0; left-- {
		r := <-results
		all[r.i] = r.errs
	}
	errs := slices.Concat(all...)
	if h.out != nil {
		if e := h.out.check(); e != nil {
			errs = append(errs, e)
		}
	}
	return join(errs)
}

// check runs one receiver's Check, which may hang or panic.
func (w *worker) check(ctx context.Context, c Checker) []*Error {
	ctx, cancel := context.WithTimeout(marked(ctx), w.r.Timeout)
	defer cancel()
	done := make(chan []*Error, 1)
	go func() {
		errs := []*Error{goexit("check")}
		defer func() {
			if p := recover(); p != nil {
				errs = []*Error{panicError("check", p)}
			}
			done <- errs
		}()
		errs = toErrors("check", c.Check(ctx))
	}()
	var errs []*Error
	select {
	case errs = <-done:
	case <-ctx.Done():
		grace := time.NewTimer(abandonAfter)
		defer grace.Stop()
		select {
		case errs = <-done:
		case <-grace.C:
			errs = toErrors("check", fmt.Errorf("check ignores the end of its context: %w", errors.Join(ErrUnresponsive, ctx.Err())))
		}
	}
	for _, e := range errs {
		e.Receiver = w.r.Name
		e.Reason, e.Enhanced = w.hub.red.String(e.Reason), w.hub.red.String(e.Enhanced)
	}
	return errs
}
