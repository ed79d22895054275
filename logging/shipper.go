package logging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// ShipperOptions says what [NewShipper] ships, and how. Dir and Sink are
// required.
type ShipperOptions struct {
	// Dir is the folder of the log.
	Dir string `koanf:"-"`
	// Name restricts the shipper to the segments of one log, such as
	// "app.log". Empty: of all in the folder.
	Name string `koanf:"-"`
	// Sink is where the log is shipped.
	Sink Sink `koanf:"-"`
	// MaxBatchBytes is the size of a batch, in bytes of log lines. It is lowered
	// to what the sink's Limits allow. A crash between the receiver's answer
	// and the checkpoint repeats at most one batch. Defaults to 1 MB.
	MaxBatchBytes int `koanf:"max_batch_bytes" default:"1000000" zero:"default" doc:"size of a batch"`
	// MaxQuarantineBytes bounds the file of refused events. When it is full,
	// they stay in the queue, and an error says so; with 10,000 of them in a
	// log its shipping stops. Defaults to 64 MiB; negative: no bound.
	MaxQuarantineBytes int64 `koanf:"max_quarantine_bytes" default:"67108864" zero:"default" doc:"size of the file of refused events; negative: no bound"`
	// CompressWaiting compresses segments that wait while the receiver is away or
	// refuses, so that the same quota holds an outage about eight times as long.
	// zcat reads them. The events and their IDs stay as they are.
	CompressWaiting bool `koanf:"compress_waiting" doc:"compress segments while the receiver is away"`
	// Interval is how often Run looks for something to ship. Defaults to 1s.
	Interval time.Duration `koanf:"interval" default:"1s" zero:"default" doc:"how often the log is shipped"`
	// Retry is how often a receiver that is away is tried again.
	Retry Retry `koanf:"retry"`
	// CloseTimeout bounds how long Run goes on after its ctx ended. Defaults
	// to 5s; negative: Run returns at once.
	CloseTimeout time.Duration `koanf:"-"`
	// Perm is the permission of the files that the shipper makes, before umask.
	// Defaults to 0o640.
	Perm os.FileMode `koanf:"-"`
	// Shared takes files that another user owns, or that everybody may write: see
	// [FileOptions].
	Shared bool `koanf:"-"`
	// StuckAfter is how long a state that loses nothing may last before it is
	// told: a receiver that is away, or refuses what comes. Defaults to 1m;
	// negative: at once.
	StuckAfter time.Duration `koanf:"-"`
	// OnError is told of such a state, of events that were set aside, and of
	// files that are not as they were left; once, and once when it is over. It
	// may log; it must not ship.
	OnError func(error) `koanf:"-"`
	// Logger is told the same. It must not write to the log that is shipped.
	// Nil: lines on the standard error; slog.New(slog.DiscardHandler) turns it
	// off.
	Logger *slog.Logger `koanf:"-"`
}

// Retry says how failures that may pass are tried again.
type Retry struct {
	// Attempts bounds how often SendBulk tries a receiver that takes nothing. Run
	// goes on for ever. Defaults to 0: as often as MaxElapsed allows; negative:
	// once.
	Attempts int `koanf:"attempts" doc:"how often SendBulk tries; 0: as often as max_elapsed allows, negative: once"`
	// Base bounds the wait after the first failure. Waits are drawn evenly
	// between 0 and a bound that doubles with each failure. Defaults to 500ms.
	Base time.Duration `koanf:"base" default:"500ms" zero:"default" doc:"wait after the first failure, at most"`
	// Max bounds every wait; a receiver's Retry-After may exceed it up to an
	// hour. Defaults to 1m.
	Max time.Duration `koanf:"max" default:"1m" zero:"default" doc:"wait after any failure, at most"`
	// MaxElapsed bounds how long SendBulk tries while nothing is taken. Run goes
	// on for ever. Defaults to 30s; negative: one try.
	MaxElapsed time.Duration `koanf:"max_elapsed" default:"30s" zero:"default" doc:"how long SendBulk tries while nothing is taken; negative: once"`
}

const (
	defaultBatchBytes = 1_000_000
	defaultQuarantine = 64 << 20
	minBatchBytes     = 1 << 10
	maxBatchBytes     = 64 << 20
	maxRetryAfter     = time.Hour
)

func (o *ShipperOptions) withDefaults() (ShipperOptions, options.Mistakes) {
	var out ShipperOptions
	if o != nil {
		out = *o
	}

	var wrong options.Mistakes
	switch {
	case out.MaxBatchBytes == 0:
		out.MaxBatchBytes = defaultBatchBytes
	case out.MaxBatchBytes < minBatchBytes || out.MaxBatchBytes > maxBatchBytes:
		wrong.Add("MaxBatchBytes", "%d is not between %d and %d: give a size in that range, or leave it out", out.MaxBatchBytes, minBatchBytes, maxBatchBytes)
	}

	duration := func(field string, value *time.Duration, def, least time.Duration) {
		if *value == 0 {
			*value = def
		}
		if *value < least {
			wrong.Add(field, "%v is below %v: give at least %v, or leave it out for %v", *value, least, least, def)
		}
	}

	duration("Interval", &out.Interval, time.Second, time.Millisecond)
	duration("Retry.Base", &out.Retry.Base, 500*time.Millisecond, time.Millisecond)
	duration("Retry.Max", &out.Retry.Max, max(time.Minute, out.Retry.Base), time.Millisecond)
	if out.Retry.Base > out.Retry.Max {
		wrong.Add("Retry.Base", "%v is above Max, %v: give at most that, or a larger Max", out.Retry.Base, out.Retry.Max)
	}
	duration("Retry.MaxElapsed", &out.Retry.MaxElapsed, 30*time.Second, math.MinInt64)
	if out.MaxQuarantineBytes == 0 {
		out.MaxQuarantineBytes = defaultQuarantine
	}

	if out.CloseTimeout == 0 {
		out.CloseTimeout = 5 * time.Second
	}
	if out.Name != "" && filepath.Base(out.Name) != out.Name {
		wrong.Add("Name", "%q is not the base name of a log, such as app.log", out.Name)
	}
	return out, wrong
}

// Result is the receipt of a SendBulk: what the receiver confirmed to it. What
// Run, or another SendBulk, shipped at the same time is in Stats alone.
type Result struct {
	// Segments is the number of segments that were received whole and removed.
	Segments int
	// Events is the number of events received.
	Events int64
	// Bytes is the size of their lines.
	Bytes int64
	// Retries is the number of requests that failed and were made again.
	Retries int
	// Quarantined is the number of events that were set aside.
	Quarantined int64
	// Remaining is the number of events in sealed segments that are still to
	// be sent; 0 when SendBulk returned nil.
	Remaining int64

	reason error // of the first that was set aside
}

// Shipper sends the sealed segments in a folder to a sink, and removes each
// when the receiver has all of it. Its methods are safe for concurrent use, and
// any number of shippers, in any number of processes, may work on one folder:
// they take turns at each log.
type Shipper struct {
	opts ShipperOptions
	sink Sink
	raw  RawSink // nil where it cannot be used

	reports *reports
	wake    chan struct{} // a segment was sealed
	seal    func() error  // makes more to ship; nil for a shipper of its own
	owner   *Logs         // nil for a shipper of its own
	running atomic.Bool

	mu         sync.Mutex
	deliveries map[string]*delivery // by name of log
	stats      ShipStats
	backlog    backlog
	looked     time.Time // for other logs; by the loop alone
}

// shipperParts is what the shipper of a [Logs] gets from it.
type shipperParts struct {
	reports *reports // nil: the shipper makes its own
	owner   *Logs
	wake    chan struct{} // tells that a segment was sealed
	seal    func() error
}

// NewShipper returns a Shipper for the segments in a folder, whoever left them.
// It touches no disk and no network. All bad options are reported at once.
func NewShipper(opts *ShipperOptions) (*Shipper, error) {
	s, err := newShipper(opts, shipperParts{})
	if err == nil {
		s.reports.Start()
	}
	return s, err
}

func newShipper(opts *ShipperOptions, parts shipperParts) (*Shipper, error) {
	o, wrong := opts.withDefaults()
	if o.Dir == "" {
		wrong.Add("Dir", "is missing: name the folder of the log")
	}
	if o.Sink == nil {
		wrong.Add("Sink", "is missing: say where to ship")
	} else if l := o.Sink.Limits(); l.event() < 1 {
		wrong.Add("Sink", "has Limits that leave no room for an event: %+v", l)
	}

	var conditions []error
	if o.Logger != nil && leadsTo(o.Logger, o.Dir, o.Name) {
		conditions = append(conditions, ErrSelf)
	}
	if err := refused("new shipper", wrong, conditions...); err != nil {
		return nil, err
	}

	o.Dir = filepath.Clean(o.Dir)
	s := &Shipper{
		opts: o, sink: o.Sink, reports: parts.reports, wake: parts.wake, seal: parts.seal, owner: parts.owner,
		deliveries: map[string]*delivery{},
	}

	if s.reports == nil {
		s.reports = newReports(reportOptions{logger: o.Logger, onError: o.OnError, after: o.StuckAfter})
	}
	if raw, ok := o.Sink.(RawSink); ok && raw.Raw() {
		s.raw = raw
	}
	return s, nil
}

func (s *Shipper) access() queue.Access {
	return queue.Access{Perm: s.opts.Perm, Shared: s.opts.Shared}
}

// all returns the deliveries of the logs that are there.
func (s *Shipper) all() ([]*delivery, error) {
	found := []queue.Queue{queue.New(filepath.Join(s.opts.Dir, s.opts.Name), s.access())}
	if s.opts.Name == "" {
		var err error
		if found, err = queue.All(s.opts.Dir, s.access()); err != nil {
			return nil, &Error{Op: "ship", Path: s.opts.Dir, Err: err}
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()

	var out []*delivery
	for _, q := range found {
		d := s.deliveries[q.Name]
		if d == nil {
			d = newDelivery(s, q)
			s.deliveries[q.Name] = d
		}
		out = append(out, d)
	}
	return out, nil
}

// SendBulk seals nothing by itself: it ships every segment that is sealed when
// it is called, once, and returns nil only if the receiver took every event in
// them. Files left by killed processes are sealed first. Failures that may pass
// are tried again for as long as ctx allows, and until nothing was taken for
// Retry.MaxElapsed.
//
// Events that the receiver refused, and that were set aside by this call, are an
// error that matches [ErrRefused]; the next call does not repeat it. What waits
// is an error that matches [ErrRemaining], with the reason. The Result counts
// what was received in each case.
func (s *Shipper) SendBulk(ctx context.Context) (Result, error) {
	s.reports.Used()
	return s.sendBulk(ctx, effort{patience: s.opts.Retry.MaxElapsed, attempts: s.opts.Retry.Attempts})
}

// effort is how much a bulk does for what may pass.
type effort struct {
	// patience is how long it tries, at least once.
	patience time.Duration
	// attempts is how often it tries while nothing is taken. 0: no bound;
	// negative: once.
	attempts int
	// last says that the log is closed next: a receiver that is known as away,
	// or refusing, gets one try.
	last bool
}

func (s *Shipper) sendBulk(ctx context.Context, o effort) (Result, error) {
	var res Result
	err := s.bulk(ctx, o, &res)
	res.Remaining = s.remaining()
	if err == nil && res.Remaining > 0 && ctx.Err() != nil {
		err = context.Cause(ctx)
	}

	var problems []error
	if res.Quarantined > 0 {
		problems = append(problems, &Error{Op: "send bulk", Path: s.opts.Dir, Err: fmt.Errorf("%w: %d, set aside in the file *.quarantine: the first: %w", ErrRefused, res.Quarantined, res.reason)})
	}
	if err != nil {
		if res.Remaining > 0 {
			err = fmt.Errorf("%d events wait: %w", res.Remaining, err)
		}
		problems = append(problems, &Error{Op: "send bulk", Path: s.opts.Dir, Remaining: int(res.Remaining), Err: err})
	} else {
		res.Remaining = 0 // what was written since
	}

	if len(problems) == 1 {
		return res, problems[0]
	}
	return res, errors.Join(problems...)
}

func (s *Shipper) bulk(ctx context.Context, o effort, res *Result) error {
	var problems []error
	if s.seal != nil {
		if err := s.seal(); err != nil {
			problems = append(problems, err)
		}
	}

	todo, err := s.all()
	if err != nil {
		return err
	}

	for _, d := range todo {
		if err := d.bulk(ctx, o, res); err != nil {
			problems = append(problems, err)
		}
	}

	if len(problems) == 1 {
		return problems[0]
	}
	return errors.Join(problems...)
}

// Run ships segments as they are sealed until ctx ends, then what is left for
// at most CloseTimeout. It returns nil after that, also if something remained
// on disk, and ErrRunning if another Run is under way.
func (s *Shipper) Run(ctx context.Context) error {
	s.reports.Used()
	if !s.running.CompareAndSwap(false, true) {
		return fmt.Errorf("logging: run shipper of %s: %w", s.opts.Dir, ErrRunning)
	}
	defer s.running.Store(false)

	// A request under way when ctx ends may finish: cut short, it would be
	// repeated.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	drained := make(chan struct{})
	defer close(drained)
	defer context.AfterFunc(ctx, func() {
		timer := time.NewTimer(max(0, s.opts.CloseTimeout))
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-drained:
		}
	})()

	s.loop(work, ctx.Done())
	if s.opts.CloseTimeout > 0 {
		_, err := s.drain(work)
		s.undelivered(err)
	}
	return nil
}

// undelivered reports what a drain left.
func (s *Shipper) undelivered(err error) {
	if err != nil {
		s.reports.Fail("end", err)
	}
}

// drain ships what is there until ctx ends.
func (s *Shipper) drain(ctx context.Context) (Result, error) {
	return s.sendBulk(ctx, effort{patience: math.MaxInt64, last: true})
}

// loop ships until stop is closed. When ctx ends, requests under way do too.
func (s *Shipper) loop(ctx context.Context, stop <-chan struct{}) {
	timer := time.NewTimer(s.opts.Interval)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return
		case <-timer.C:
		case <-s.wake:
		}
		timer.Reset(s.round(ctx, stop))
	}
}

// round ships what is due and returns when to look again.
func (s *Shipper) round(ctx context.Context, stop <-chan struct{}) time.Duration {
	wait := s.opts.Interval
	todo, err := s.all()
	s.problem("the folder", err)
	s.orphans()

	for _, d := range todo {
		select {
		case <-stop:
			return 0

		default:
		}
		// A segment that is sealed does not cut a backoff short.
		left := d.due()
		if left <= 0 {
			err := d.round(ctx, stop)
			if _, failed := errors.AsType[*failure](err); !failed && ctx.Err() == nil {
				s.problem(d.queue.Name, err)
			}
			left = d.due()
		}

		if left > 0 {
			wait = min(wait, left)
		}
	}

	return wait
}

const (
	// orphanAfter is how long nobody had the turn of a log that nobody ships.
	orphanAfter = time.Minute
	// orphanEvery is how often it is looked for one.
	orphanEvery = 10 * time.Second
)

// orphans reports segments in the folder of another log that no process writes
// or ships: one whose path was changed in the settings.
func (s *Shipper) orphans() {
	if s.opts.Name == "" || time.Since(s.looked) < orphanEvery {
		return
	}

	s.looked = time.Now()
	others, err := queue.All(s.opts.Dir, s.access())
	if err != nil {
		return // the pass says so
	}

	for _, q := range others {
		if q.Name == s.opts.Name {
			continue
		}
		segments, err := q.Segments()
		if err != nil || len(segments) == 0 || time.Since(queue.LastTurn(q).At) < orphanAfter || q.Written() {
			s.reports.OK("log " + q.Name)
			continue
		}
		s.reports.Fail("log "+q.Name, &Error{Op: "check", Path: q.Path(q.Name), Err: fmt.Errorf(
			"%d segments of this log wait, and no process writes or ships it: was its path changed? Set it back, ship them by hand (logship -dir %s -name %s), or remove them",
			len(segments), s.opts.Dir, q.Name)})
	}
}

// named returns err as an *Error, unless it is one.
func (s *Shipper) named(op, path string, err error) error {
	if _, says := errors.AsType[*Error](err); says {
		return err
	}
	return &Error{Op: op, Path: path, Err: err}
}

// count changes the counters.
func (s *Shipper) count(change func(st *ShipStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.stats)
}

// delivers reports the state of a delivery.
func (s *Shipper) delivers(log string, now queue.State, cause error) {
	if now.Condition == queue.Healthy {
		s.reports.OK("ship " + log)
		return
	}
	s.reports.Fail("ship "+log, &Error{Op: "ship", Path: filepath.Join(s.opts.Dir, log), Err: cause})
}

// problem reports what is wrong with the files of a log; nil: nothing.
func (s *Shipper) problem(log string, err error) {
	if err == nil {
		s.reports.OK("files of " + log)
		return
	}
	s.reports.Fail("files of "+log, err)
}

// Stats returns the counters. What waits is read from the folder; each segment
// is counted once and remembered.
func (s *Shipper) Stats() ShipStats {
	w := s.waiting()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.WaitingSegments, st.WaitingBytes, st.WaitingEvents = w.segments, w.bytes, w.events
	return st
}

// remaining returns the number of events that are sealed and not received.
func (s *Shipper) remaining() int64 { return s.waiting().events }

// waiting counts what is sealed and not received. A folder that cannot be read
// counts as empty: the pass reports that.
func (s *Shipper) waiting() waiting {
	todo, err := s.all()
	if err != nil {
		return waiting{}
	}
	var queues []queue.Queue
	for _, d := range todo {
		queues = append(queues, d.queue)
	}
	return s.backlog.count(queues)
}
