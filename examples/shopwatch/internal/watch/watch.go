package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/crawl"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/trace"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/scrape"
)

// ErrRunning says that Run is under way already.
var ErrRunning = errors.New("watch: already running")

// Notifier takes messages into its keeping; *notify.Hub is one.
type Notifier interface {
	Notify(ctx context.Context, m notify.Message) error
}

const defaultEvery = 15 * time.Minute

// Options are a watcher's settings. Name, Store, Fetcher and Notifier are
// required.
type Options struct {
	Name     string // of the site, in messages
	Crawl    crawl.Options
	Store    *history.Store
	Fetcher  crawl.Fetcher
	Notifier Notifier
	Logger   *slog.Logger // nil discards

	// Ready says why no page can be had for now, as where Tor is missing: a
	// run then fails at once, and another one begins when Ready returns nil.
	// Nil: pages can always be asked for.
	Ready func(ctx context.Context) error

	// Every is the time from the start of one run to the start of the next.
	// Defaults to 15m; negative means that runs start on request only, and so
	// none with Run.
	Every time.Duration
	// StopTimeout bounds how long pages on their way may take to finish once
	// Run's ctx has ended. Defaults to 5s.
	StopTimeout time.Duration
	// RunTimeout bounds one run. Defaults to 30m; negative means no bound.
	RunTimeout time.Duration
	// RetryEvery is the time between tries to hand on notices that the
	// notifier did not take, and the shortest between runs that the way out
	// prevented; the latter doubles up to Every. Defaults to 10s.
	RetryEvery time.Duration
}

// Watcher watches one site. It is safe for concurrent use.
type Watcher struct {
	opts    Options
	log     *slog.Logger
	running atomic.Bool
	ask     chan request // holds one while a run is under way
	every   chan time.Duration

	mu      sync.Mutex
	current *crawl.Crawl
	run     history.Run // the run under way, or the zero Run
	stuck   error       // why notices cannot be handed on
	broken  error       // why the history cannot be written
	failed  error       // why the last run read nothing
	blocked bool        // the run under way met no way out

	again again           // of the goroutine in Run
	told  map[string]bool // notices owed whose log lines are written; of the goroutine in Run
}

// New returns a Watcher. It panics if a required option is nil.
func New(opts Options) *Watcher {
	if opts.Store == nil || opts.Fetcher == nil || opts.Notifier == nil {
		panic("watch: New: Store, Fetcher and Notifier are required")
	}
	opts.Every = cmp.Or(opts.Every, defaultEvery)
	opts.StopTimeout = cmp.Or(opts.StopTimeout, 5*time.Second)
	opts.RunTimeout = cmp.Or(opts.RunTimeout, 30*time.Minute)
	opts.RetryEvery = cmp.Or(opts.RetryEvery, 10*time.Second)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Watcher{opts: opts, log: opts.Logger, ask: make(chan request, 1), every: make(chan time.Duration, 1), told: map[string]bool{}}
}

// request is what a run is asked for with.
type request struct {
	cause string
	trace trace.Context
}

// Trigger asks for a run and returns at once; the run is part of the trace of
// ctx. It reports false if one is asked for already; a run that is under way
// does not count, as it may be past what the caller wants seen.
func (w *Watcher) Trigger(ctx context.Context, cause string) bool {
	select {
	case w.ask <- request{cause, trace.From(ctx)}:
		return true
	default:
		return false
	}
}

// SetEvery changes the schedule; the next run is counted from now. Zero is the
// default, and negative means that runs start on request only.
func (w *Watcher) SetEvery(d time.Duration) {
	d = cmp.Or(d, defaultEvery)
	select {
	case <-w.every: // a change that was not seen yet is out of date
	default:
	}
	select {
	case w.every <- d:
	default: // another caller was faster
	}
}

// State is what the watcher is doing.
type State struct {
	Run      history.Run    // the run under way; zero between runs
	Progress crawl.Progress // of that run
	Asked    bool           // a run is asked for and has not begun
}

// State may be called at any time.
func (w *Watcher) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := State{Run: w.run, Asked: len(w.ask) > 0}
	if w.current != nil {
		s.Progress = w.current.Progress()
	}
	return s
}

// Check says whether runs read something and are stored, and notices handed on.
func (w *Watcher) Check(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.broken, w.stuck, w.failed)
}

// Run hands on the notices that an earlier process owes, starts a run at once
// and then by the schedule and on request, until ctx ends. It then lets the
// pages on their way finish, stores and hands on what they gave, and returns
// nil. A second concurrent call returns [ErrRunning].
func (w *Watcher) Run(ctx context.Context) error {
	if !w.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer w.running.Store(false)

	w.handOn(ctx)
	retry := time.NewTicker(w.opts.RetryEvery)
	defer retry.Stop()

	every := w.opts.Every
	schedule := newSchedule(every)
	defer schedule.stop()
	if every > 0 {
		w.runOnce(ctx, request{cause: "start"})
	}

	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case asked := <-w.ask:
			schedule.reset(every)
			w.runOnce(ctx, asked)
		case <-schedule.c:
			schedule.reset(every)
			w.runOnce(ctx, request{cause: "schedule"})
		case every = <-w.every:
			schedule.reset(every)
		case <-retry.C:
			w.handOn(ctx)
			if w.again.due() && w.ready(ctx) == nil {
				schedule.reset(every)
				w.runOnce(ctx, request{cause: "retry"})
			}
		}
	}

	return nil
}

// runOnce makes one run and hands on its notices. All that it logs and asks
// for is one piece of work of a trace.
func (w *Watcher) runOnce(ctx context.Context, asked request) {
	if ctx.Err() != nil {
		return
	}
	ctx = trace.With(ctx, asked.trace.Child())
	run, err := w.opts.Store.Begin(asked.cause)
	if w.storeFailed(err) {
		return
	}

	w.log.InfoContext(ctx, "run started", "run", run.ID, "trigger", asked.cause, "site", w.opts.Name)
	c := crawl.New(w.opts.Crawl)
	w.setCurrent(c, run)

	if err = w.ready(ctx); err != nil {
		err = fmt.Errorf("no page was asked for: %w", err)
		w.block()
	} else {
		err = w.crawl(ctx, c, run.ID)
	}

	w.finish(ctx, run.ID, err)
	w.again.after(w.unblock(), w.opts.RetryEvery, w.opts.Every)
	w.setCurrent(nil, history.Run{})

	// A stop must not keep the outbox from taking the messages.
	hand, end := outlive(ctx, w.opts.StopTimeout)
	defer end(nil)
	w.handOn(hand)
}

// ready says why no page can be had.
func (w *Watcher) ready(ctx context.Context) error {
	if w.opts.Ready == nil {
		return nil
	}
	return w.opts.Ready(ctx)
}

// block notes that the run under way met no way out, and unblock ends that and
// reports whether it was so.
func (w *Watcher) block() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blocked = true
}

func (w *Watcher) unblock() (was bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	was, w.blocked = w.blocked, false
	return was
}

func (w *Watcher) setCurrent(c *crawl.Crawl, run history.Run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current, w.run = c, run
}

// crawl visits the listing's pages. The end of ctx is a wish to stop: what is
// under way gets StopTimeout.
func (w *Watcher) crawl(ctx context.Context, c *crawl.Crawl, id uint64) error {
	work, end := outlive(ctx, w.opts.StopTimeout)
	defer end(nil)
	defer context.AfterFunc(ctx, c.Stop)()
	if w.opts.RunTimeout > 0 {
		timer := time.AfterFunc(w.opts.RunTimeout, func() {
			end(fmt.Errorf("the run took longer than site.run_timeout (%v)", w.opts.RunTimeout))
		})
		defer timer.Stop()
	}
	err := c.Run(work, w.opts.Fetcher, func(p crawl.Page) error { return w.visit(work, id, p) })
	if cause := context.Cause(work); cause != nil && err != nil {
		return cause
	}
	return err
}

// outlive returns a context that ends d after ctx, or when end is called.
func outlive(ctx context.Context, d time.Duration) (out context.Context, end context.CancelCauseFunc) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-out.Done():
		case <-timer.C:
			cancel(errStopTimeout)
		}
	})
	return out, func(cause error) {
		stop()
		cancel(cause)
	}
}

// How a stop shows in the history.
var (
	errStopped     = errors.New("the service was asked to stop")
	errStopTimeout = errors.New("the service was asked to stop and pages took too long")
)

// visit stores one page. Pages that were cut off by a stop are nobody's
// failure.
func (w *Watcher) visit(ctx context.Context, id uint64, p crawl.Page) error {
	address := p.URL.Redacted()
	if p.Err != nil && ctx.Err() != nil {
		w.log.WarnContext(ctx, "page cut off", "run", id, "url", address, "error", p.Err, "cause", context.Cause(ctx))
		return context.Cause(ctx)
	}

	run, changes, err := w.opts.Store.Put(id, history.Page{
		URL: p.URL, Items: p.Items, Problems: len(p.Problems), Bytes: p.Bytes, Err: p.Err,
	})
	if w.storeFailed(err) {
		return err
	}

	w.mu.Lock()
	if run.Pages+run.Failures > w.run.Pages+w.run.Failures { // of pages in parallel, the last one stored wins
		w.run = run
	}
	w.mu.Unlock()
	if errors.Is(p.Err, scrape.ErrEgressUnavailable) {
		w.block()
	}

	if p.Err != nil {
		w.log.WarnContext(ctx, "page failed", "run", id, "url", address, "bytes", p.Bytes, "error", p.Err)
	} else {
		w.log.InfoContext(ctx, "page read", "run", id, "url", address, "bytes", p.Bytes, "items", len(p.Items),
			"problems", len(p.Problems), "changes", len(changes))
	}

	for _, problem := range p.Problems {
		w.log.WarnContext(ctx, "item not read", "run", id, "error", problem)
	}
	for _, item := range p.Items {
		w.log.DebugContext(ctx, "item seen", "run", id, "item", item.URL, "name", item.Name, "price", item.Price.String(), "availability", string(item.Availability))
	}
	return nil
}

// finish ends the run in the history: how is decided by what ended the crawl
// and by what the pages gave.
func (w *Watcher) finish(ctx context.Context, id uint64, err error) {
	w.mu.Lock()
	run := w.run
	w.mu.Unlock()

	status, reason := history.OK, err
	switch {
	case errors.Is(err, context.Canceled):
		status, reason = history.Stopped, errStopped
	case errors.Is(err, errStopTimeout):
		status = history.Stopped
	case run.Pages == 0:
		status = history.Failed
	case err != nil, run.Failures > 0, run.Problems > 0:
		status = history.Partial
		if err == nil && run.Error == "" {
			reason = fmt.Errorf("%d items could not be read; the log says where", run.Problems)
		}
	}

	run, gone, err := w.opts.Store.Finish(id, status, reason)
	if w.storeFailed(err) {
		return
	}
	w.note(run)
	level := slog.LevelInfo
	if status == history.Failed || status == history.Partial {
		level = slog.LevelWarn
	}

	w.log.Log(ctx, level, "run ended", "run", run.ID, "status", string(run.Status), "pages", run.Pages, "failures", run.Failures,
		"items", run.Items, "new", run.New, "changed", run.Changed, "gone", len(gone), "bytes", run.Bytes,
		"duration", run.Finished.Sub(run.Started), "error", run.Error)
}

// note keeps why the last run read nothing; a stop says nothing of the site.
func (w *Watcher) note(run history.Run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch run.Status {
	case history.Failed:
		w.failed = fmt.Errorf("run %d failed: %s", run.ID, run.Error)
	case history.OK, history.Partial:
		w.failed = nil
	}
}

// handOn gives every notice that is owed to the notifier.
func (w *Watcher) handOn(ctx context.Context) {
	notices, err := w.opts.Store.Pending()
	if w.storeFailed(err) {
		return
	}

	var stuck error
	for _, n := range notices {
		w.tell(ctx, n)
		m := w.message(n)
		switch err := w.opts.Notifier.Notify(ctx, m); {
		case errors.Is(err, notify.ErrNoReceiver):
			w.log.WarnContext(ctx, "no receiver takes the notice", "notice", n.ID, "subject", m.Subject)
		case err != nil:
			stuck = errors.Join(stuck, fmt.Errorf("watch: hand on notice %s: %w", n.ID, err))
			w.log.WarnContext(ctx, "notice not taken, it is tried again", "notice", n.ID, "error", err)
			continue
		}

		if w.storeFailed(w.opts.Store.Settle(n)) {
			break
		}
		delete(w.told, n.ID)
		w.log.InfoContext(ctx, "notice handed on", "notice", n.ID, "run", n.Run.ID, "subject", m.Subject)
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	w.stuck = stuck
}

// tell writes a notice to the log, before anybody else has it.
func (w *Watcher) tell(ctx context.Context, n history.Notice) {
	if w.told[n.ID] {
		return
	}
	w.told[n.ID] = true
	for _, c := range n.Changes {
		w.log.InfoContext(ctx, "change found", "notice", n.ID, "run", n.Run.ID, "kind", string(c.Kind), "item", c.URL,
			"name", c.Name, "old", c.Old.String(), "new", c.New.String())
	}
	w.log.InfoContext(ctx, "notice owed", "notice", n.ID, "run", n.Run.ID, "kind", string(n.Kind))
}

// storeFailed notes and logs what went wrong with the history, once per
// trouble.
func (w *Watcher) storeFailed(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.broken = nil
		return false
	}
	if w.broken == nil || w.broken.Error() != err.Error() {
		w.log.Error("the history cannot be used", "error", err)
	}
	w.broken = err
	return true
}

// again says when a run that the way out prevented is tried again.
type again struct {
	at   time.Time // zero: not at all
	wait time.Duration
}

// after takes how a run went. Each further one that was prevented waits twice
// as long, from least up to most.
func (a *again) after(prevented bool, least, most time.Duration) {
	if !prevented {
		*a = again{}
		return
	}
	if most <= 0 {
		most = defaultEvery
	}
	a.wait = min(max(least, 2*a.wait), max(least, most))
	a.at = time.Now().Add(a.wait)
}

// due reports whether it is time.
func (a *again) due() bool { return !a.at.IsZero() && !time.Now().Before(a.at) }

// schedule is a timer that can be off.
type schedule struct {
	timer *time.Timer
	c     <-chan time.Time
}

func newSchedule(d time.Duration) *schedule {
	s := &schedule{}
	s.reset(d)
	return s
}

func (s *schedule) reset(d time.Duration) {
	s.stop()
	s.timer, s.c = nil, nil
	if d > 0 {
		s.timer = time.NewTimer(d)
		s.c = s.timer.C
	}
}

func (s *schedule) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
}
