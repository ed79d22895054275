package notify

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/internal/health"
	"github.com/svcblocks/svcblocks/internal/redact"
)

const (
	// abandonAfter is how long a receiver may take to return once its context
	// ended.
	abandonAfter = 50 * time.Millisecond
	// maxAbandoned is how many calls that ignore their context a receiver may
	// have before no more are made.
	maxAbandoned = 8
	// authPause is how long a receiver rests that refused the credentials or
	// the certificate.
	authPause = 5 * time.Minute
	// maxPause bounds what a receiver may ask for: a slip in a header must not
	// silence it for ever.
	maxPause = 24 * time.Hour
	// maxQueued bounds what waits in memory for one receiver without a caller
	// waiting for it.
	maxQueued = 1000
	// maxUnknown bounds the tries of a failure that nobody explained.
	maxUnknown = 3
	// otherProbe says which probe of a receiver that is away is made with the
	// message that was tried least, in place of the most serious one: one
	// message that brings its receiver down must not keep all others.
	otherProbe = 4
)

// desk decides what becomes of a delivery. Its methods are called under the
// hub's mutex, but finish.
type desk interface {
	park(d *delivery, t *todo)
	taken(d *delivery, now time.Time, t *todo)
	retry(d *delivery, now time.Time, t *todo)
	failed(d *delivery, errs []*Error, now time.Time, t *todo)
	handover(d *delivery, errs []*Error, now time.Time, t *todo) bool
	rest(d *delivery, t *todo)
	drop(d *delivery, now time.Time, t *todo)
	checkIdle()
	finish(t *todo)
}

// site is what a worker finds around it. Its methods are called under the hub's
// mutex, but hides and print, which run foreign code.
type site interface {
	hides(m Message) bool
	print(r Receiver, m Message) (dry bool, err error)
	plan(task *task, at time.Time)
	lifetime() context.Context
	draining() bool
	report() *logger
	state() *health.Monitor
	cleanText(text string) string
	cleanError(e *Error)
}

// worker calls one receiver. It has no goroutine of its own: whatever changes
// its queue asks the hub to pump it, which starts what may start and plans the
// rest. The hub's mutex guards it.
type worker struct {
	mu     *sync.Mutex // the hub's
	desk   desk
	site   site
	r      Receiver
	pauses backoff.Policy
	ledger ledger
	limit  limiter

	wake  task
	all   map[string]*delivery // by ID of the message
	ready queue
	later []*delivery // due later, by due
	void  []*delivery // given up before their turn

	active    int
	abandoned int
	paused    time.Time // the receiver asked for a pause
	away      time.Time // it does not take anything; one message asks again then
	stopped   time.Time // credentials or certificate were refused
	streak    int       // failures of the receiver as a whole, in a row
	probes    int
	lastTry   bool // one try at an end, as it is away
	stats     ReceiverStats
}

func newWorker(mu *sync.Mutex, at site, d desk, r Receiver, g Group) *worker {
	w := &worker{
		mu: mu, desk: d, site: at, r: r, pauses: backoff.Policy{Base: r.Retry.Base, Max: r.Retry.Max},
		ledger: ledger{conf: g, entries: map[groupKey]*entry{}},
		limit:  limiter{rate: r.Rate, tokens: float64(r.Rate.Burst), top: minLevel},
		all:    map[string]*delivery{}, stats: ReceiverStats{Name: r.Name},
	}
	w.wake.fire = func(_ time.Time, t *todo) { t.pump = append(t.pump, w) }
	return w
}

// enqueue puts d in line. The hub pumps afterwards.
func (w *worker) enqueue(d *delivery, now time.Time) {
	d.at = waiting
	switch {
	case w.refuses(d, now) != nil:
		w.void = append(w.void, d)
	case d.due.After(now):
		i, _ := slices.BinarySearchFunc(w.later, d.due, func(o *delivery, due time.Time) int { return o.due.Compare(due) })
		w.later = slices.Insert(w.later, i, d)
	default:
		heap.Push(&w.ready, d)
	}
}

// remove takes d out of line.
func (w *worker) remove(d *delivery) {
	if d.queue > 0 {
		heap.Remove(&w.ready, d.queue-1)
		return
	}
	same := func(o *delivery) bool { return o == d }
	w.later = slices.DeleteFunc(w.later, same)
	w.void = slices.DeleteFunc(w.void, same)
}

// sweep takes out what cannot wait for the receiver any longer.
func (w *worker) sweep(now time.Time) {
	for _, d := range slices.Concat(w.ready, w.later) {
		if w.refuses(d, now) != nil {
			w.remove(d)
			w.void = append(w.void, d)
		}
	}
}

// until returns when the receiver is called again.
func (w *worker) until() time.Time { return latest(w.away, latest(w.paused, w.stopped)) }

// refuses says why d is not tried at all: it is late, or will be.
func (w *worker) refuses(d *delivery, now time.Time) *Error {
	if w.lastTry {
		return nil
	}

	if w.abandoned >= maxAbandoned && len(d.waiters) > 0 {
		e := NewError("send", ErrUnresponsive)
		e.Reason = fmt.Sprintf("%d calls have not returned", w.abandoned)
		return e
	}

	at := w.until()
	if !at.After(now) {
		return nil
	}
	if !w.tooLate(d, at) && !(w.fallsBack(d) && at.Sub(d.since) > w.r.FallbackAfter) {
		return nil
	}

	if w.stopped.After(now) {
		e := NewError("send", ErrStopped)
		e.Reason = fmt.Sprintf("stopped until %s, as it was refused", w.stopped.UTC().Format("15:04:05 UTC"))
		return e
	}

	return &Error{
		Op: "send", Class: ClassThrottled, Wait: at.Sub(now),
		Reason: "receiver pauses until " + at.UTC().Format("2006-01-02 15:04:05 UTC") + ", which is too late for this message",
	}
}

// fallsBack reports whether another receiver can still take d over.
func (w *worker) fallsBack(d *delivery) bool {
	return w.r.Fallback != "" && d.twin == nil && !d.shared && !d.end && !d.partial && !slices.Contains(d.via, w.r.Fallback)
}

// tooLate reports whether d is given up before at.
func (w *worker) tooLate(d *delivery, at time.Time) bool {
	deadline, bounded := d.deadline()
	return bounded && len(d.waiters) > 0 && at.After(deadline) || at.Sub(d.since) >= w.r.Retry.MaxElapsed
}

// pump starts what may start now. The hub's mutex is not held.
func (w *worker) pump() {
	for {
		t := &todo{}
		w.mu.Lock()
		one := w.next(time.Now(), t)
		w.mu.Unlock()
		w.desk.finish(t)
		if one == nil {
			return
		}
		w.begin(one)
	}
}

// try is one call of the receiver, apart from the delivery, which the hub's
// mutex guards.
type try struct {
	d     *delivery
	msg   Message
	only  []string
	ctx   context.Context
	place string // of the thread, before the call and after it
}

// next takes out a delivery that may start, or none and plans when to look
// again.
func (w *worker) next(now time.Time, t *todo) *try {
	for _, d := range w.takeVoid(now) {
		e := w.refuses(d, now)
		if e == nil {
			w.enqueue(d, now)
			continue
		}
		w.sign(e, d)
		if w.tooLate(d, w.until()) || w.abandoned >= maxAbandoned && len(d.waiters) > 0 || !w.until().After(now) {
			w.desk.failed(d, append(d.final, e), now, t)
		} else if w.desk.handover(d, []*Error{e}, now, t) {
			w.enqueue(d, now)
		} else {
			heap.Push(&w.ready, d)
		}
	}

	for len(w.later) > 0 && !w.later[0].due.After(now) {
		heap.Push(&w.ready, w.later[0])
		w.later = slices.Delete(w.later, 0, 1)
	}

	if w.active >= w.r.Concurrency || w.abandoned >= maxAbandoned || w.streak > 0 && w.active > 0 {
		return nil // finish pumps again
	}

	at := w.until()
	if w.lastTry {
		at = time.Time{}
	}
	if at.After(now) {
		if len(w.ready)+len(w.later) > 0 {
			w.site.plan(&w.wake, at)
		}
		return nil
	}

	one := w.choose(now, t)
	if one == nil {
		if len(w.later) > 0 {
			w.site.plan(&w.wake, latest(at, w.later[0].due))
		}
		return nil
	}

	w.active++
	return one
}

func (w *worker) takeVoid(now time.Time) []*delivery {
	void := w.void
	w.void = nil
	return void
}

// choose takes the next delivery out of line and words it.
func (w *worker) choose(now time.Time, t *todo) *try {
	var blocked []*delivery
	defer func() {
		for _, d := range blocked {
			heap.Push(&w.ready, d)
		}
	}()

	for len(w.ready) > 0 {
		d := w.ready[0]
		if w.streak > 0 {
			w.probes++
			if w.probes%otherProbe == 0 {
				d = slices.MinFunc(w.ready, func(a, b *delivery) int { return a.attempts - b.attempts })
			}
		}

		heap.Remove(&w.ready, d.queue-1)
		if d.blocked() {
			blocked = append(blocked, d)
			continue
		}

		if e := w.refuses(d, now); e != nil && w.streak == 0 {
			w.sign(e, d)
			w.desk.failed(d, append(d.final, e), now, t)
			continue
		}

		if !d.compose(now) {
			w.desk.drop(d, now, t)
			continue
		}
		d.at = calling
		one := &try{d: d, msg: *d.msg, only: d.only, ctx: d.ctx}
		if d.entry != nil {
			one.place = d.entry.place
		}
		return one
	}

	return nil
}

// begin makes one try in a goroutine of its own. The call counts as over when
// it returns, or when it ignores the end of its context.
func (w *worker) begin(one *try) {
	d := one.d
	if w.site.hides(one.msg) {
		t := &todo{pump: []*worker{w}}
		w.mu.Lock()
		w.active--
		w.desk.park(d, t)
		w.desk.checkIdle()
		w.mu.Unlock()
		w.desk.finish(t)
		return
	}

	ctx, cancel := context.WithTimeout(marked(one.ctx), w.r.Timeout)
	closed := context.AfterFunc(w.site.lifetime(), cancel)
	call := &call{}
	var grace *time.Timer
	var graceMu sync.Mutex

	watch := context.AfterFunc(ctx, func() {
		graceMu.Lock()
		defer graceMu.Unlock()
		grace = time.AfterFunc(abandonAfter, func() {
			if !call.end() {
				return
			}
			e := NewError("send", ErrUnresponsive)
			e.Reason = "call ignores the end of its context and was abandoned"
			w.mu.Lock()
			w.abandoned++
			w.stats.Abandoned++
			w.sweep(time.Now())
			w.mu.Unlock()
			w.finish(d, "", []*Error{e})
		})
	})

	go func() {
		errs := []*Error{goexit("send")}
		defer func() {
			watch()
			graceMu.Lock()
			if grace != nil {
				grace.Stop()
			}
			graceMu.Unlock()
			ended := call.end()

			closed()
			cancel()
			if ended {
				w.finish(d, one.place, errs)
				return
			}

			// The result of an abandoned call comes too late to be used.
			w.mu.Lock()
			w.abandoned--
			w.mu.Unlock()
			w.pump()
		}()

		errs = w.call(ctx, one)
	}()
}

// call tells which of two ends of a call came first.
type call struct {
	mu   sync.Mutex
	over bool
}

func (c *call) end() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.over
	c.over = true
	return first
}

// call hands the message to the receiver and turns a panic into an error. To
// read the receiver's error may panic, too.
func (w *worker) call(ctx context.Context, one *try) (errs []*Error) {
	defer func() {
		if p := recover(); p != nil {
			errs = []*Error{panicError("send", p)}
		}
	}()
	return w.toErrors("send", w.send(ctx, one))
}

// toErrors turns what the receiver returned into one Error per recipient, of
// the class that Classify gives.
func (w *worker) toErrors(op string, err error) []*Error {
	errs := toErrors(op, err)
	if w.r.Classify == nil || err == nil {
		return errs
	}
	if class := w.r.Classify(err); class != "" {
		for _, e := range errs {
			e.Class = class
		}
	}
	return errs
}

// goexit is the error of a call that did not return and did not panic.
func goexit(op string) *Error {
	return &Error{Op: op, Class: ClassPanic, Reason: "receiver ended the goroutine that called it (runtime.Goexit, as t.Fatal does)"}
}

// panicError makes an error of what a receiver panicked with.
func panicError(op string, p any) *Error {
	return &Error{Op: op, Class: ClassPanic, Reason: redact.Reason(fmt.Sprintf("receiver panicked: %v (%s)", p, panicSite()))}
}

func (w *worker) send(ctx context.Context, one *try) (err error) {
	m := w.format(one.msg)
	if dry, err := w.site.print(w.r, m); dry {
		return err
	}

	if n, ok := w.r.Notifier.(RecipientNotifier); ok && one.only != nil {
		return n.NotifyRecipients(ctx, m, one.only)
	}
	switch n := w.r.Notifier.(type) {
	case ThreadNotifier:
		one.place, err = n.NotifyThread(ctx, m, one.place)
		return err
	case MessageNotifier:
		return n.Notify(ctx, m)
	default:
		return n.Send(ctx, m.Title(), m.Body())
	}
}

// format words m for the receiver. An alert is not lost over its wording.
func (w *worker) format(m Message) (worded Message) {
	if w.r.Format == nil {
		return m
	}

	log := w.site.report()
	defer func() {
		if p := recover(); p != nil {
			log.Error("message goes out as it is: Format panicked", "receiver", w.r.Name, "message_id", m.ID, "error", fmt.Errorf("%v (%s)", p, panicSite()))
			worded = m
		}
	}()

	worded, err := w.r.Format(m)
	if err != nil {
		log.Error("message goes out as it is: Format failed", "receiver", w.r.Name, "message_id", m.ID, "error", err)
		return m
	}

	worded.ID, worded.Thread = m.ID, m.Thread
	return worded
}

// panicSite returns the place that panicked, for a deferred function.
func panicSite() string {
	pc := make([]uintptr, 32)
	frames := runtime.CallersFrames(pc[:runtime.Callers(2, pc)])
	for panicked := false; ; {
		f, more := frames.Next()
		if panicked && !strings.HasPrefix(f.Function, "runtime.") || !more {
			file := f.File[strings.LastIndex(f.File, "/")+1:]
			return fmt.Sprintf("%s:%d", file, f.Line)
		}
		panicked = panicked || f.Function == "runtime.gopanic"
	}
}

// finish decides what becomes of a delivery after a try: it was taken, is tried
// again, or is given up.
func (w *worker) finish(d *delivery, place string, errs []*Error) {
	t := &todo{wait: true}
	w.mu.Lock()
	now := time.Now()

	d.attempts++
	if d.entry != nil && place != "" && len(place) <= maxPlace {
		d.entry.place = place
	}
	for _, e := range errs {
		w.sign(e, d)
	}

	if len(errs) == 0 {
		w.site.state().OK(healthKey(w.r.Name))
		w.streak, w.away, w.stats.LastSent = 0, time.Time{}, now
		if w.lastTry {
			w.lastTry = false
			w.paused, w.stopped = time.Time{}, time.Time{}
		}
		w.end(d, d.final, now, t)
	} else {
		w.judge(d, errs, now, t)
	}
	w.mu.Unlock()

	// First the outbox notes the end, then another call may begin: a crash
	// repeats at most one message per receiver.
	w.desk.finish(t)
	w.mu.Lock()
	w.active--
	w.desk.checkIdle()
	w.mu.Unlock()
	w.pump()
}

// end ends a delivery that some recipient took, or that all have given up.
func (w *worker) end(d *delivery, errs []*Error, now time.Time, t *todo) {
	if len(errs) == 0 {
		w.desk.taken(d, now, t)
		return
	}
	w.desk.failed(d, errs, now, t)
}

// sign completes an error.
func (w *worker) sign(e *Error, d *delivery) {
	e.Receiver, e.MessageID, e.Attempts = w.r.Name, d.base.ID, d.attempts
	e.Wait = min(e.Wait, maxPause)
	w.site.cleanError(e)
}

// judge sorts failures: those of the receiver pause it, those of single
// recipients are tried again alone, and some are final.
func (w *worker) judge(d *delivery, errs []*Error, now time.Time, t *todo) {
	ended := w.site.lifetime().Err() != nil
	if ended && d.stored {
		w.desk.rest(d, t)
		return
	}
	canceled := ended || len(d.waiters) > 0 && d.ctx.Err() != nil
	level := slog.LevelWarn
	if d.attempts > 1 {
		level = slog.LevelDebug // it was said; what lasts is told by Check, OnError and Logger
	}

	w.stats.LastError = errs[0].Error()

	if !canceled {
		e := *errs[0]
		w.site.state().Fail(healthKey(w.r.Name), &e)
	}

	var again []*Error
	whole := false // the receiver as a whole is away
	for _, e := range errs {
		d.partial = d.partial || e.Partial
		switch {
		case canceled:
		case (e.Class == ClassAuth || e.Class == ClassTLS) && !errors.Is(e, ErrStopped):
			w.stopped = latest(w.stopped, now.Add(authPause))
			whole = true
			w.site.report().later(t, level, "receiver refuses the credentials or its certificate is not trusted; it is stopped", "receiver", w.r.Name, "error", e, "until", now.Add(authPause))
		case e.Wait > 0:
			w.paused = latest(w.paused, now.Add(e.Wait))
		case e.Temporary() && e.Recipient == "":
			whole = true
		}

		switch {
		case e.Temporary() && !(len(d.waiters) > 0 && errors.Is(e, ErrUnresponsive)):
			again = append(again, e)
		case e.Class == ClassAuth || e.Class == ClassTLS:
			again = append(again, e)
		case e.Class == ClassOther && d.attempts < maxUnknown:
			again = append(again, e)
		default:
			d.final = append(d.final, e)
		}
	}

	if len(again) == 0 {
		w.end(d, d.final, now, t)
		return
	}

	at := now.Add(w.wait(d, whole, now))
	for _, e := range again {
		at = latest(at, now.Add(e.Wait))
	}
	at = latest(at, w.stopped)

	// A caller who will not be there for the next try is told now, and a
	// fallback is still in time.
	if canceled || d.attempts >= w.r.Retry.Attempts || w.tooLate(d, at) {
		w.desk.failed(d, slices.Concat(d.final, again), now, t)
		w.sweep(now)
		return
	}

	d.only = nil
	for _, e := range again {
		if e.Recipient == "" {
			d.only = nil
			break
		}
		d.only = append(d.only, e.Recipient)
	}

	d.due = at
	w.stats.Retried++
	w.site.report().later(t, level, "delivery failed and is tried again", "receiver", w.r.Name, "error", again[0], "wait", at.Sub(now))
	w.desk.retry(d, now, t)

	if w.fallsBack(d) && (at.Sub(d.since) > w.r.FallbackAfter || w.lastTry || w.site.draining()) {
		w.desk.handover(d, again, now, t)
	}
	if w.lastTry && whole {
		w.rest(t)
	}
	w.sweep(now)
}

// wait returns how long d rests after a failure, and pauses the receiver if it
// failed as a whole.
func (w *worker) wait(d *delivery, whole bool, now time.Time) time.Duration {
	if !whole {
		return w.pauses.Delay(d.attempts)
	}
	if !w.away.After(now) { // else a call that began before has told already
		w.streak++
		w.away = now.Add(max(time.Millisecond, w.pauses.Delay(w.streak)))
	}
	wait := w.away.Sub(now)
	if d.attempts > w.streak {
		wait = max(wait, w.pauses.Delay(d.attempts))
	}
	return wait
}

// rest leaves all that waits alone, as the receiver is away and the hub ends.
func (w *worker) rest(t *todo) {
	for _, d := range slices.Concat(w.ready, w.later, w.void) {
		w.remove(d)
		w.desk.rest(d, t)
	}
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
		errs = w.toErrors("check", c.Check(ctx))
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
		w.site.cleanError(e)
	}
	return errs
}

// snapshot returns what the receiver did so far.
func (w *worker) snapshot(now time.Time) ReceiverStats {
	s := w.stats
	if until := w.until(); until.After(now) {
		s.PausedUntil = until
	}
	s.Held = len(w.limit.held) + w.limit.more
	return s
}
