package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/patient"
	"github.com/svcblocks/svcblocks/internal/backoff"
)

// Fetch gets the page of a job. An error is final if it says so by Temporary()
// bool and says by RetryAfter() time.Duration when to come again; every other
// error is tried again.
type Fetch func(ctx context.Context, job Job) (Page, error)

// Rest is an error of a Fetch that asked the site for nothing: the job rests, and
// that is no try.
type Rest struct {
	// For is how long.
	For time.Duration
	// Err says why.
	Err error
}

func (e *Rest) Error() string { return fmt.Sprintf("not asked for: %v", e.Err) }

// Unwrap returns Err.
func (e *Rest) Unwrap() error { return e.Err }

// outcome is an error that knows whether another try can help. It must have both
// methods: those of net and net/http have a Temporary of their own, which is
// false for whatever they wrap, a page that was too slow for instance.
type outcome interface {
	error
	Temporary() bool
	RetryAfter() time.Duration
}

// Worker takes jobs from a queue. Make it with [Queue.Worker], and let it work
// by [Worker.Run].
type Worker struct {
	queue *Queue
	fetch Fetch
	opts  WorkerOptions

	running                                          atomic.Bool
	done, repeats, known, retried, dead, lost, inNow atomic.Int64
	inTurn                                           atomic.Int64 // hands that wait for a turn
}

// WorkerOptions are the settings of a [Worker]. Name is required.
type WorkerOptions struct {
	// Name tells the workers apart.
	Name string
	// Concurrency is how many jobs are worked at at a time. Defaults to 16.
	Concurrency int
	// Turn waits for a job's turn, for as long as patience says. If it returns a
	// rest above zero, the turn is further away, and the job rests for so long:
	// that is no try. Nil: it always is its turn.
	Turn func(ctx context.Context, job Job, patience time.Duration) (rest time.Duration, err error)
	// Now tells the server's time, by which jobs rest. Nil: this machine's.
	Now func(context.Context) (time.Time, error)
	// JobTimeout bounds one try, from its turn on. Defaults to the queue's.
	JobTimeout time.Duration
	// DrainTimeout bounds how long jobs may go on once Run is to end; then
	// they are given back. Defaults to 20s.
	DrainTimeout time.Duration
	// Retry is how long a failed job rests: it doubles with each try. Its zero
	// value waits up to 1s after the first and up to 5m later on.
	Retry backoff.Policy
}

// Counts are what a worker has done so far.
type Counts struct {
	// Done are jobs whose result this worker was the first to store.
	Done int64 `json:"done"`
	// Repeats are jobs that were fetched although another was first.
	Repeats int64 `json:"repeats"`
	// Known are jobs that had a result before they were begun.
	Known int64 `json:"known"`
	// Retried are tries that failed and were put back.
	Retried int64 `json:"retried"`
	// Dead are jobs that were given up.
	Dead int64 `json:"dead"`
	// Unsettled are tries of which the server could not be told; it gives the
	// job out again.
	Unsettled int64 `json:"unsettled"`
	// InFlight are jobs that are worked at now.
	InFlight int64 `json:"in_flight"`
}

// Worker returns a worker that gets pages by fetch.
func (q *Queue) Worker(fetch Fetch, opts WorkerOptions) (*Worker, error) {
	if opts.Concurrency == 0 {
		opts.Concurrency = 16
	}
	if opts.JobTimeout == 0 {
		opts.JobTimeout = q.agreed.JobTimeout
	}
	if opts.Turn == nil {
		opts.Turn = func(context.Context, Job, time.Duration) (time.Duration, error) { return 0, nil }
	}

	if opts.Now == nil {
		opts.Now = func(context.Context) (time.Time, error) { return time.Now(), nil }
	}
	if opts.DrainTimeout == 0 {
		opts.DrainTimeout = 20 * time.Second
	}
	var errs []error

	if opts.Name == "" {
		errs = append(errs, errors.New("no Name: name the worker"))
	}
	if opts.Concurrency < 1 || opts.JobTimeout < 0 || opts.DrainTimeout < 0 {
		errs = append(errs, fmt.Errorf("concurrency %d, timeouts %v and %v: want at least 1 and none below 0", opts.Concurrency, opts.JobTimeout, opts.DrainTimeout))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("queue: worker: %w", errors.Join(errs...))
	}
	return &Worker{queue: q, fetch: fetch, opts: opts}, nil
}

// Counts returns what the worker has done so far.
func (w *Worker) Counts() Counts {
	return Counts{
		Done: w.done.Load(), Repeats: w.repeats.Load(), Known: w.known.Load(), Retried: w.retried.Load(),
		Dead: w.dead.Load(), Unsettled: w.lost.Load(), InFlight: w.inNow.Load(),
	}
}

// ErrRunning says that Run is running already.
var ErrRunning = errors.New("the worker is running already")

// pullWait bounds one request for a job. Run returns after at most this long:
// a request that was taken back could lose the job that is on its way.
const pullWait = time.Second

// Run works until ctx ends, and then finishes the jobs that it has begun. It
// returns nil after a clean end.
func (w *Worker) Run(ctx context.Context) error {
	if !w.running.CompareAndSwap(false, true) {
		return fmt.Errorf("queue: worker %s: %w", w.opts.Name, ErrRunning)
	}
	defer w.running.Store(false)

	// Jobs outlive ctx by the time to drain.
	jobs, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	ended := context.AfterFunc(ctx, func() {
		time.AfterFunc(w.opts.DrainTimeout, func() { stop(errors.New("the worker stops")) })
	})
	defer ended()

	var wg sync.WaitGroup
	for range w.opts.Concurrency {
		wg.Go(func() { w.loop(ctx, jobs) })
	}
	wg.Wait()
	return nil
}

// loop takes one job at a time: what waits here would be kept from workers
// that are free.
func (w *Worker) loop(ctx, jobs context.Context) {
	policy := backoff.Policy{Base: 100 * time.Millisecond, Max: 5 * time.Second}
	failures := 0
	for ctx.Err() == nil {
		msg, err := w.queue.consumer.Next(jetstream.FetchMaxWait(pullWait))
		if err == nil {
			failures = 0
			w.queue.asker.Worked(ctx, "ask for jobs")
			w.inNow.Add(1)
			w.handle(jobs, msg)
			w.inNow.Add(-1)
			continue
		}

		if errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
			continue // nothing to do
		}

		failures++
		w.queue.asker.Failed(ctx, "ask for jobs", err)
		select {
		case <-ctx.Done():
		case <-time.After(policy.Delay(failures)):
		}
	}
}

// handle settles one message: a result, a dead letter, or back into the queue.
// If the server cannot be told, it gives the message out again by itself.
func (w *Worker) handle(ctx context.Context, msg jetstream.Msg) {
	md, err := msg.Metadata()
	if err != nil {
		w.unsettled(ctx, "", err)
		return
	}

	job, err := decodeJob(msg.Data())
	if err != nil {
		w.giveUp(ctx, msg, md, Job{ID: "unknown"}, err.Error(), 0)
		return
	}

	// What it was tried before it rested, and how often it was given out since
	// and never heard of again: that counts, as the job may kill its workers.
	tries, _ := strconv.Atoi(msg.Headers().Get(triesHeader)) // of our own making
	tries += int(md.NumDelivered) - 1
	if tries >= w.queue.agreed.MaxDeliver {
		reason := fmt.Sprintf("given out %d times and not settled: the workers that had it were killed, or could not reach the server", tries)
		w.giveUp(ctx, msg, md, job, reason, tries)
		return
	}

	stop := w.keep(msg)
	defer stop()

	if job.replaces() {
		// The result that is there is to be replaced.
	} else if known, err := w.queue.settled(ctx, job.ID); err != nil {
		w.unsettled(ctx, job.ID, err)
		return
	} else if known {
		if w.acknowledge(ctx, msg, job.ID) {
			w.known.Add(1)
		}
		return
	}

	rest, err := w.turn(ctx, job)
	switch {
	case err != nil && ctx.Err() != nil:
		w.giveBack(ctx, msg, job)
		return
	case err != nil:
		w.unsettled(ctx, job.ID, err)
		return
	case rest > 0:
		w.rest(ctx, msg, md, job, tries, rest)
		return
	}

	page, err := w.try(ctx, job)
	if late, ok := errors.AsType[*Rest](err); ok && ctx.Err() == nil {
		w.rest(ctx, msg, md, job, tries, late.For)
		return
	}

	tries++
	if err != nil {
		w.failed(ctx, msg, md, job, tries, err)
		return
	}

	first, err := w.queue.keepResult(ctx, job, md.Sequence.Stream, page, w.opts.Name)
	if err != nil {
		if patient.Final(err) && ctx.Err() == nil {
			w.failed(ctx, msg, md, job, tries, err) // such as a page that no message can hold
			return
		}
		w.unsettled(ctx, job.ID, err)
		return
	}

	if first {
		w.done.Add(1)
	} else {
		w.repeats.Add(1)
	}

	if w.scheduleNext(ctx, msg, md, job) {
		w.acknowledge(ctx, msg, job.ID)
	}
}

// scheduleNext lets the next fetch of a job that has a schedule rest, and reports
// whether that is settled. It is stored before this one leaves the queue: killed
// in between, a worker makes it anew.
func (w *Worker) scheduleNext(ctx context.Context, msg jetstream.Msg, md *jetstream.MsgMetadata, job Job) bool {
	if job.Every == 0 {
		return true
	}
	now, err := w.opts.Now(ctx)
	if err == nil {
		err = w.queue.schedule(ctx, msg, job.ID, md.Sequence.Stream, now.Add(job.Every))
	}
	if err != nil {
		w.unsettled(ctx, job.ID, err)
		return false
	}
	return true
}

// turn waits for a job's turn. Half of the hands may do so for a moment, which
// costs less than a rest; the others are for jobs whose turn it is.
func (w *Worker) turn(ctx context.Context, job Job) (rest time.Duration, err error) {
	defer w.inTurn.Add(-1)
	patience := time.Duration(0)
	if w.inTurn.Add(1) <= int64(w.opts.Concurrency+1)/2 {
		patience = handPatience
	}
	return w.opts.Turn(ctx, job, patience)
}

// handPatience is how long a hand waits for a turn: the server's scheduler takes
// up to half a second to wake a job.
const handPatience = time.Second

// try fetches once, within JobTimeout. A panic is a failure of that job alone.
func (w *Worker) try(ctx context.Context, job Job) (_ Page, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, w.opts.JobTimeout, tooSlow(w.opts.JobTimeout))
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			w.queue.log.ErrorContext(ctx, "fetch panicked", "id", job.ID, "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return w.fetch(ctx, job)
}

// tooSlow is the cause of a try that ran into JobTimeout.
type tooSlow time.Duration

func (t tooSlow) Error() string { return fmt.Sprintf("not done within %v", time.Duration(t)) }

// Is makes it known as what it is to whoever wraps it.
func (t tooSlow) Is(target error) bool { return target == context.DeadlineExceeded }

// keep tells the server that the message is being worked on, until stop is
// called.
func (w *Worker) keep(msg jetstream.Msg) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(w.queue.agreed.AckWait / 3)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				_ = msg.InProgress() // the next one, or a repeat, makes up for it
			}
		}
	}()

	return func() { close(done); <-ended }
}

// failed puts a job to rest, or gives it up where trying again is no use.
func (w *Worker) failed(ctx context.Context, msg jetstream.Msg, md *jetstream.MsgMetadata, job Job, tries int, cause error) {
	if ctx.Err() != nil {
		w.giveBack(ctx, msg, job)
		return
	}
	said, known := errors.AsType[outcome](cause)
	if known && !said.Temporary() || tries >= w.queue.agreed.MaxDeliver {
		w.giveUp(ctx, msg, md, job, cause.Error(), tries)
		return
	}

	delay := w.opts.Retry.Delay(tries)
	if known {
		delay = min(max(delay, said.RetryAfter()), time.Hour)
	}
	if w.rest(ctx, msg, md, job, tries, delay) {
		w.retried.Add(1)
		w.queue.log.DebugContext(ctx, "job put back", "id", job.ID, "try", tries, "delay", delay, "error", cause)
	}
}

// giveBack puts a job back at once: this worker stops.
func (w *Worker) giveBack(ctx context.Context, msg jetstream.Msg, job Job) {
	if err := msg.Nak(); err != nil {
		w.unsettled(ctx, job.ID, err)
		return
	}
	w.retried.Add(1)
}

// rest lets a job rest, and reports whether it does. It is stored as one that
// rests before it leaves the queue: killed in between, a worker makes a repeat.
func (w *Worker) rest(ctx context.Context, msg jetstream.Msg, md *jetstream.MsgMetadata, job Job, tries int, d time.Duration) bool {
	now, err := w.opts.Now(ctx)
	if err == nil {
		err = w.queue.rest(ctx, msg, job.ID, md.Sequence.Stream, tries, now.Add(d))
	}
	if err != nil {
		w.unsettled(ctx, job.ID, err)
		return false
	}
	return w.acknowledge(ctx, msg, job.ID)
}

// giveUp stores the dead letter, and then lets the server forget the job.
func (w *Worker) giveUp(ctx context.Context, msg jetstream.Msg, md *jetstream.MsgMetadata, job Job, reason string, tries int) {
	if err := w.queue.keepDead(ctx, job.ID, job.URL, msg.Data(), reason, tries, md.Sequence.Stream, w.opts.Name); err != nil {
		w.unsettled(ctx, job.ID, err)
		return
	}
	w.queue.log.WarnContext(ctx, "job given up", "id", job.ID, "url", job.URL, "tries", tries, "reason", reason)
	if w.scheduleNext(ctx, msg, md, job) && w.acknowledge(ctx, msg, job.ID) {
		w.dead.Add(1)
	}
}

// acknowledge waits for the server to confirm, and asks again. If it does not,
// it gives the job out once more; whoever gets it finds the result and acknowledges again.
func (w *Worker) acknowledge(ctx context.Context, msg jetstream.Msg, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, w.queue.agreed.AckWait)
	defer cancel()
	if err := w.queue.asker.Ask(ctx, "acknowledge jobs", msg.DoubleAck); err != nil {
		w.unsettled(ctx, id, err)
		return false
	}
	return true
}

func (w *Worker) unsettled(ctx context.Context, id string, err error) {
	w.lost.Add(1)
	w.queue.log.InfoContext(ctx, "the server could not be told about a job, and will give it out again", "id", id, "error", err)
}
