package notify

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/notify/internal/redact"
)

const (
	// abandonAfter is how long a receiver may take to return once its context
	// ended.
	abandonAfter = 50 * time.Millisecond
	// maxAbandoned is how many calls that ignore their context a receiver may
	// have before no more are made.
	maxAbandoned = 8
	// authPause is how long a receiver rests that refused the credentials.
	authPause = 5 * time.Minute
	// maxPause bounds what a receiver may ask for: a slip in a header must not
	// silence it for ever.
	maxPause = 24 * time.Hour
	// maxQueued bounds what waits in memory for one receiver without a caller
	// waiting for it.
	maxQueued = 1000
)

// job is one message on its way to one receiver.
type job struct {
	msg      *Message
	ctx      context.Context
	only     []string // recipients that are left; nil means all
	attempts int
	since    time.Time // when the message was accepted
	due      time.Time
	order    uint64   // smaller goes first
	final    []*Error // recipients that are given up
	via      []string // receivers that failed before this one took over
	before   []*Error // what they said
	stored   bool     // the outbox holds it
	waited   bool     // a caller waits for done
	stop     func()   // detaches from the contexts
	done     func(*worker, *job, []*Error)
}

// worker calls one receiver. It has no goroutine of its own: whatever changes
// its state calls pump, which starts what may start and sets a timer for the
// rest.
type worker struct {
	hub  *Hub
	r    Receiver
	rest backoff.Policy

	mu           sync.Mutex
	jobs         []*job // in the order in which they came
	active       int
	storedActive int // those of active that the outbox holds
	abandoned    int
	background   int // deliveries that neither a caller nor the outbox knows of
	bucket       bucket
	paused       time.Time // asked for by the receiver
	stopped      time.Time // credentials were refused
	timer        *time.Timer
	stats        ReceiverStats
	idle         *sync.Cond // active fell
}

func newWorker(h *Hub, r Receiver) *worker {
	w := &worker{
		hub: h, r: r, bucket: newBucket(r.Rate),
		rest:  backoff.Policy{Base: r.Retry.Base, Max: r.Retry.Max},
		stats: ReceiverStats{Name: r.Name},
	}
	w.idle = sync.NewCond(&w.mu)
	return w
}

// add queues j; done is called exactly once, never with the lock held.
func (w *worker) add(j *job) {
	w.mu.Lock()
	full := !j.waited && !j.stored && len(w.jobs) >= maxQueued
	w.stats.Waiting++
	if !j.waited && !j.stored {
		w.background++
	}
	w.mu.Unlock()
	if full {
		e := NewError("queue", ErrQueueFull)
		e.Class = ClassStorage
		e.Receiver, e.MessageID = w.r.Name, j.msg.ID
		w.end(j, []*Error{e})
		return
	}
	w.queue(j)
	w.pump()
}

// queue puts j in line by its order, to be taken out when its context ends.
func (w *worker) queue(j *job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := len(w.jobs)
	for i > 0 && w.jobs[i-1].order > j.order {
		i--
	}
	w.jobs = slices.Insert(w.jobs, i, j)
	caller := context.AfterFunc(j.ctx, func() { w.cancel(j) })
	hub := context.AfterFunc(w.hub.life, func() { w.cancel(j) })
	j.stop = func() {
		caller()
		hub()
	}
}

// cancel ends a job that waits. One that is under way ends by its context.
func (w *worker) cancel(j *job) {
	if !w.take(j) {
		return
	}
	j.stop()
	if j.stored {
		w.giveBack(j)
		return
	}
	cause := context.Cause(j.ctx)
	if cause == nil {
		cause = context.Cause(w.hub.life)
	}
	e := NewError("send", cause)
	if e.Class == ClassOther {
		e.Class = ClassCanceled
	}
	e.Reason = "gave up waiting: " + e.Reason
	e.Receiver, e.MessageID, e.Attempts = w.r.Name, j.msg.ID, j.attempts
	w.end(j, append(j.final, e))
}

// giveBack leaves a job to the outbox, which still holds it.
func (w *worker) giveBack(j *job) {
	w.mu.Lock()
	w.stats.Waiting--
	w.mu.Unlock()
	w.hub.out.release(j.msg.ID, w.r.Name)
	w.hub.busy.add(-1)
}

// take removes j from the queue and reports whether it was there.
func (w *worker) take(j *job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.jobs, j)
	if i < 0 {
		return false
	}
	w.jobs = slices.Delete(w.jobs, i, i+1)
	return true
}

// drop forgets what waits and is stored: the outbox gives it again.
func (w *worker) drop() {
	w.mu.Lock()
	var dropped []*job
	w.jobs = slices.DeleteFunc(w.jobs, func(j *job) bool {
		if j.stored {
			dropped = append(dropped, j)
		}
		return j.stored
	})
	w.mu.Unlock()
	for _, j := range dropped {
		j.stop()
		w.giveBack(j)
	}
}

// waitStored waits until no call for the outbox is under way, and cuts off what
// is when ctx ends.
func (w *worker) waitStored(ctx context.Context) {
	wake := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.idle.Broadcast()
	})
	defer wake()
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.storedActive > 0 && ctx.Err() == nil {
		w.idle.Wait()
	}
}

// unheard counts the deliveries that neither a caller nor an outbox knows of.
func (w *worker) unheard() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.background
}

func (w *worker) stopTimer() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
}

// pump starts the jobs that may start now.
func (w *worker) pump() {
	for {
		w.mu.Lock()
		j, refused := w.next(time.Now())
		w.mu.Unlock()
		if j == nil {
			return
		}
		if refused != nil {
			j.stop()
			w.settle(j, []*Error{refused})
			continue
		}
		w.start(j)
	}
}

// next picks a job that may start, or one that is refused without a try, or
// none and sets the timer.
func (w *worker) next(now time.Time) (*job, *Error) {
	if len(w.jobs) == 0 {
		return nil, nil
	}
	best := -1
	for i, j := range w.jobs {
		if best < 0 || j.due.Before(w.jobs[best].due) {
			best = i
		}
		if !j.due.After(now) {
			best = i
			break
		}
	}
	j := w.jobs[best]
	if w.stopped.After(now) && (!j.stored || w.r.Fallback != "") {
		w.jobs = slices.Delete(w.jobs, best, best+1)
		e := NewError("send", ErrStopped)
		e.Class = ClassAuth
		e.Reason = fmt.Sprintf("stopped until %s, as the credentials were refused", w.stopped.UTC().Format("15:04:05 UTC"))
		return j, e
	}
	if w.abandoned >= maxAbandoned && !j.stored {
		w.jobs = slices.Delete(w.jobs, best, best+1)
		e := NewError("send", ErrUnresponsive)
		e.Class = ClassTimeout
		e.Reason = fmt.Sprintf("%d calls have not returned", w.abandoned)
		return j, e
	}
	if wait := w.paused.Sub(now); wait > 0 && w.tooLate(j, w.paused) {
		w.jobs = slices.Delete(w.jobs, best, best+1)
		return j, &Error{
			Op: "send", Class: ClassThrottled, RetryAfter: wait,
			Reason: "receiver asked for a pause until " + w.paused.UTC().Format("2006-01-02 15:04:05 UTC") + ", which is too late for this message",
		}
	}
	if w.active >= w.r.Concurrency || w.abandoned >= maxAbandoned {
		return nil, nil // finish pumps again
	}
	at := j.due
	for _, t := range []time.Time{w.paused, w.stopped} {
		if t.After(at) {
			at = t
		}
	}
	wait := at.Sub(now)
	if wait <= 0 {
		wait = w.bucket.take(now)
	}
	if wait > 0 {
		if w.timer == nil {
			w.timer = time.AfterFunc(wait, w.pump)
		} else {
			w.timer.Reset(wait)
		}
		return nil, nil
	}
	w.jobs = slices.Delete(w.jobs, best, best+1)
	w.active++
	if j.stored {
		w.storedActive++
	}
	return j, nil
}

// tooLate reports whether j is given up before at.
func (w *worker) tooLate(j *job, at time.Time) bool {
	deadline, bounded := j.ctx.Deadline()
	return bounded && at.After(deadline) || at.Sub(j.since) > w.r.Retry.MaxElapsed
}

// start makes one try in a goroutine of its own. The call counts as over when
// it returns, or when it ignores the end of its context.
func (w *worker) start(j *job) {
	j.stop()
	ctx, cancel := context.WithTimeout(marked(j.ctx), w.r.Timeout)
	closed := context.AfterFunc(w.hub.life, cancel)
	j.attempts++
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
			e.Class = ClassTimeout
			e.Reason = "call ignores the end of its context and was abandoned"
			w.mu.Lock()
			w.abandoned++
			w.stats.Abandoned++
			w.mu.Unlock()
			w.finish(j, []*Error{e})
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
				w.finish(j, errs)
				return
			}
			// The result of an abandoned call comes too late to be used.
			w.mu.Lock()
			w.abandoned--
			w.mu.Unlock()
			w.pump()
		}()
		errs = w.call(ctx, j)
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
func (w *worker) call(ctx context.Context, j *job) (errs []*Error) {
	defer func() {
		if p := recover(); p != nil {
			errs = []*Error{panicError("send", p)}
		}
	}()
	return toErrors("send", w.send(ctx, j))
}

// goexit is the error of a call that did not return and did not panic.
func goexit(op string) *Error {
	return &Error{Op: op, Class: ClassPanic, Reason: "receiver ended the goroutine that called it (runtime.Goexit, as t.Fatal does)"}
}

// panicError makes an error of what a receiver panicked with.
func panicError(op string, p any) *Error {
	return &Error{Op: op, Class: ClassPanic, Reason: redact.Reason(fmt.Sprintf("receiver panicked: %v (%s)", p, panicSite()))}
}

func (w *worker) send(ctx context.Context, j *job) error {
	m := w.format(*j.msg)
	if w.hub.dry != nil {
		return w.hub.dry.print(w.r, m)
	}
	switch n := w.r.Notifier.(type) {
	case RecipientNotifier:
		if j.only != nil {
			return n.NotifyRecipients(ctx, m, j.only)
		}
		return n.Notify(ctx, m)
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
	defer func() {
		if p := recover(); p != nil {
			w.hub.log.Error("message goes out as it is: Format panicked", "receiver", w.r.Name, "message_id", m.ID, "error", fmt.Errorf("%v (%s)", p, panicSite()))
			worded = m
		}
	}()
	worded, err := w.r.Format(m)
	if err != nil {
		w.hub.log.Error("message goes out as it is: Format failed", "receiver", w.r.Name, "message_id", m.ID, "error", err)
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
			_, file, _ := cutLast(f.File, "/")
			return fmt.Sprintf("%s:%d", file, f.Line)
		}
		panicked = panicked || f.Function == "runtime.gopanic"
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

// finish frees the place of a call that is over and settles its job.
func (w *worker) finish(j *job, errs []*Error) {
	w.settle(j, errs) // first: the outbox notes the end before another call begins
	w.mu.Lock()
	w.active--
	if j.stored {
		w.storedActive--
	}
	w.idle.Broadcast()
	w.mu.Unlock()
	w.pump()
}

// settle decides what becomes of a job after a try: done, again, or given up.
func (w *worker) settle(j *job, errs []*Error) {
	now := time.Now()
	for _, e := range errs {
		e.Receiver, e.MessageID, e.Attempts = w.r.Name, j.msg.ID, j.attempts
		e.RetryAfter = min(e.RetryAfter, maxPause)
		e.Reason, e.Enhanced = w.hub.red.String(e.Reason), w.hub.red.String(e.Enhanced)
	}
	if len(errs) == 0 {
		w.mu.Lock()
		w.stats.LastSent = now
		w.mu.Unlock()
		w.end(j, j.final)
		return
	}
	canceled := j.ctx.Err() != nil || w.hub.life.Err() != nil
	if canceled && j.stored {
		w.giveBack(j)
		return
	}
	var again []*Error
	for _, e := range errs {
		switch {
		case e.Class == ClassAuth && !isStopped(e):
			w.pause(&w.stopped, now.Add(authPause))
			w.hub.log.Warn("receiver refuses the credentials and is stopped", "receiver", w.r.Name, "error", e, "until", now.Add(authPause))
		case e.RetryAfter > 0:
			w.pause(&w.paused, now.Add(e.RetryAfter))
		}
		switch {
		case e.Temporary() && !unresponsive(e, j):
			again = append(again, e)
		case e.Class == ClassAuth && j.stored && w.r.Fallback == "":
			again = append(again, e)
		default:
			j.final = append(j.final, e)
		}
	}
	w.mu.Lock()
	w.stats.LastError = errs[0].Error()
	w.mu.Unlock()
	if len(again) == 0 {
		w.end(j, j.final)
		return
	}
	wait := w.rest.Delay(j.attempts)
	for _, e := range again {
		wait = max(wait, e.RetryAfter)
	}
	// A caller who will not be there for the next try is told now, and a
	// fallback is still in time.
	if canceled || j.attempts >= w.r.Retry.Attempts || w.tooLate(j, now.Add(wait)) {
		w.end(j, append(j.final, again...))
		return
	}
	j.only = nil
	for _, e := range again {
		if e.Recipient == "" {
			j.only = nil
			break
		}
		j.only = append(j.only, e.Recipient)
	}
	j.due = now.Add(wait)
	w.mu.Lock()
	w.stats.Retried++
	w.mu.Unlock()
	w.hub.log.Info("delivery failed and is tried again", "receiver", w.r.Name, "error", again[0], "wait", wait)
	if j.stored {
		w.hub.out.retry(j, w.r.Name)
	}
	w.queue(j)
}

// unresponsive reports whether e is an abandoned call that somebody waits for:
// another try would most likely hang, too, and hold the caller.
func unresponsive(e *Error, j *job) bool {
	return j.waited && errors.Is(e, ErrUnresponsive)
}

func isStopped(e *Error) bool { return errors.Is(e, ErrStopped) }

func (w *worker) pause(until *time.Time, t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.After(*until) {
		*until = t
	}
}

// end counts a job that is over and reports it.
func (w *worker) end(j *job, errs []*Error) {
	w.mu.Lock()
	w.stats.Waiting--
	if !j.waited && !j.stored {
		w.background--
	}
	if len(errs) == 0 {
		w.stats.Sent++
	} else {
		w.stats.Failed++
	}
	w.mu.Unlock()
	j.done(w, j, errs)
}
