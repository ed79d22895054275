package logging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/internal/filelock"
)

// ShipperOptions tunes [NewShipper]. The zero ShipperOptions is ready to use.
type ShipperOptions struct {
	// BatchBytes is the size of a batch, in bytes of log lines. It is lowered
	// to what the sink's Limits allow. A crash between the receiver's answer
	// and the checkpoint repeats at most one batch. Defaults to 1 MB.
	BatchBytes int
	// DrainTimeout bounds how long Run goes on after its ctx ended. Defaults
	// to 5s; negative: Run returns at once.
	DrainTimeout time.Duration
	// Interval is how often Run looks for something to ship. Defaults to 1s.
	Interval time.Duration
	// Logger gets the shipper's own reports. It must not write to the log that
	// is shipped. Nil: discard.
	Logger *slog.Logger
	// MaxBackoff bounds the wait after a failure; a receiver's Retry-After may
	// exceed it up to an hour. Defaults to 1m.
	MaxBackoff time.Duration
	// MinBackoff bounds the wait after the first failure. Waits are drawn
	// evenly between 0 and a bound which doubles with each failure. Defaults
	// to 500ms.
	MinBackoff time.Duration
	// MaxRejected is how many events in a row may be quarantined, because the
	// receiver refused them, without one being received in between. Beyond it the receiver takes nothing at all,
	// which is a mistake in the configuration: shipping stops with an error
	// that says so, and everything is kept. Defaults to 64; negative: no bound.
	MaxRejected int
	// Name restricts the shipper to the segments of one log, such as
	// "app.log". Empty: of all in the folder.
	Name string
	// QuarantineBytes bounds the file of quarantined events. When it is full,
	// shipping stops with an error that says so, and nothing is lost. Defaults
	// to 64 MiB; negative: no bound.
	QuarantineBytes int64
	// OnError is told when the receiver refuses the configuration, when events
	// are quarantined, and when files are not as they were left. Outages are
	// no errors: see [Shipper.Stats]. What goes on is told again each minute.
	// It may log; it must not ship. Nil: only Stats and Logger tell.
	OnError func(error)
}

const (
	defaultBatchBytes  = 1_000_000
	defaultQuarantine  = 64 << 20
	minBatchBytes      = 1 << 10
	maxBatchBytes      = 64 << 20
	maxRetryAfter      = time.Hour
	defaultMaxRejected = 64
)

func (o *ShipperOptions) withDefaults() (ShipperOptions, error) {
	var out ShipperOptions
	if o != nil {
		out = *o
	}
	var bad []error
	switch {
	case out.BatchBytes == 0:
		out.BatchBytes = defaultBatchBytes
	case out.BatchBytes < minBatchBytes || out.BatchBytes > maxBatchBytes:
		bad = append(bad, fmt.Errorf("BatchBytes: %d is not between %d and %d", out.BatchBytes, minBatchBytes, maxBatchBytes))
	}
	duration := func(name string, value *time.Duration, def, least time.Duration) {
		if *value == 0 {
			*value = def
		}
		if *value < least {
			bad = append(bad, fmt.Errorf("%s: %v is less than %v", name, *value, least))
		}
	}
	duration("Interval", &out.Interval, time.Second, time.Millisecond)
	duration("MinBackoff", &out.MinBackoff, 500*time.Millisecond, time.Millisecond)
	duration("MaxBackoff", &out.MaxBackoff, max(time.Minute, out.MinBackoff), max(time.Millisecond, out.MinBackoff))
	if out.QuarantineBytes == 0 {
		out.QuarantineBytes = defaultQuarantine
	}
	switch {
	case out.MaxRejected == 0:
		out.MaxRejected = defaultMaxRejected
	case out.MaxRejected < 0:
		out.MaxRejected = math.MaxInt
	}
	if out.DrainTimeout == 0 {
		out.DrainTimeout = 5 * time.Second
	}
	if out.Name != "" && filepath.Base(out.Name) != out.Name {
		bad = append(bad, fmt.Errorf("option Name: %q is not the base name of a log, such as app.log", out.Name))
	}
	if out.Logger == nil {
		out.Logger = slog.New(slog.DiscardHandler)
	}
	out.Logger = out.Logger.With(componentKey, "logging")
	return out, errors.Join(bad...)
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
	// Quarantined is the number of events that were put aside.
	Quarantined int64
	// Remaining is the number of events in sealed segments that are still to
	// be sent; 0 when SendBulk returned nil.
	Remaining int64
}

// Shipper sends the sealed segments in a folder to a sink, and removes each
// when the receiver has all of it. Its methods are safe for concurrent use, and
// any number of shippers, in any number of processes, may work on one folder:
// they take turns.
type Shipper struct {
	opts ShipperOptions
	dir  string
	sink Sink
	raw  RawSink // nil where it cannot be used

	turn    chan struct{} // holds a token while nobody ships
	wake    chan struct{} // a segment was sealed
	seal    func() error  // makes more to ship; nil for a shipper of its own
	owner   *Logs         // nil for a shipper of its own
	running atomic.Bool

	// Below: only with the token.
	seqs     sequence
	size     int // of the next batch: lowered by 413
	buf      []byte
	batch    batch
	progress map[string]*progress // by path of segment
	patience time.Duration        // left in this pass, for segments that others hold
	failures int
	rejected int // events in a row that were quarantined
	aside    aside

	mu    sync.Mutex
	stats ShipStats
	lines map[string]lineCount // by sequence of segment
	told  map[string]time.Time // when a trouble was told last
}

// NewShipper returns a Shipper for the segments in dir, whoever left them. It
// touches no disk and no network. nil opts are the defaults. All bad options
// are reported at once.
func NewShipper(dir string, sink Sink, opts *ShipperOptions) (*Shipper, error) {
	o, err := opts.withDefaults()
	if dir == "" {
		err = errors.Join(err, errors.New("dir is empty: name the folder of the log"))
	}
	if sink == nil {
		err = errors.Join(err, errors.New("sink is nil"))
	} else if l := sink.Limits(); l.event() < 1 {
		err = errors.Join(err, fmt.Errorf("the sink's Limits leave no room for an event: %+v", l))
	}
	if err == nil && leadsTo(o.Logger, dir, o.Name) {
		err = ErrSelf
	}
	if err != nil {
		return nil, fmt.Errorf("logging: new shipper of %q: %w", dir, err)
	}
	s := &Shipper{
		opts: o, dir: filepath.Clean(dir), sink: sink, size: o.BatchBytes,
		turn: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		progress: map[string]*progress{}, told: map[string]time.Time{},
	}
	if raw, ok := sink.(RawSink); ok && raw.Raw() {
		s.raw = raw
	}
	s.turn <- struct{}{}
	return s, nil
}

// SendBulk ships every sealed segment and returns when the receiver has them
// all, when ctx ends, or when the receiver refuses the sink's configuration.
// Between failures it waits as the options say. The Result counts what was
// received in each case. Files left by killed processes are sealed first. A
// segment that cannot be read, or that somebody else holds ([ErrLocked]), is
// left and named by the error, after the others were shipped.
func (s *Shipper) SendBulk(ctx context.Context) (Result, error) {
	var res Result
	err := s.sendBulk(ctx, &res)
	if err != nil {
		res.Remaining = s.waiting().events
	}
	return res, err
}

func (s *Shipper) sendBulk(ctx context.Context, res *Result) error {
	if s.seal != nil {
		if err := s.seal(); err != nil {
			return err
		}
	}
	for {
		err := s.pass(ctx, res, true)
		if err == nil {
			return nil
		}
		f, ok := errors.AsType[*failure](err)
		if !ok {
			if _, ok := errors.AsType[*Error](err); ok {
				return err // says where by itself
			}
			return &Error{Op: "ship", Path: s.dir, Err: err}
		}
		if f.err.Kind == KindConfig {
			return &Error{Op: "ship", Path: s.dir, Err: f.err}
		}
		select {
		case <-ctx.Done():
			return &Error{Op: "ship", Path: s.dir, Err: fmt.Errorf("%w; last failure: %w", context.Cause(ctx), f.err)}
		case <-time.After(f.wait):
			res.Retries++
		}
	}
}

// Run ships segments as they are sealed until ctx ends, then what is left for
// at most DrainTimeout. It returns nil after that, also if something remained
// on disk, and ErrRunning if another Run is under way.
func (s *Shipper) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return fmt.Errorf("logging: run shipper of %s: %w", s.dir, ErrRunning)
	}
	defer s.running.Store(false)
	// A request under way when ctx ends may finish: cut short, it would be
	// repeated.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	drained := make(chan struct{})
	defer close(drained)
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(max(0, s.opts.DrainTimeout)):
			cancel()
		case <-drained:
		}
	})()
	for ctx.Err() == nil {
		wait, wake := s.opts.Interval, s.wake
		if err := s.round(work, ctx.Done()); err != nil {
			if f, ok := errors.AsType[*failure](err); ok {
				wait, wake = f.wait, nil // a sealed segment does not cut a backoff short
			} else if work.Err() == nil {
				s.trouble(err)
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-wake:
		}
		timer.Stop()
	}
	if s.opts.DrainTimeout > 0 {
		var res Result
		if err := s.sendBulk(work, &res); err != nil {
			s.opts.Logger.WarnContext(s.reporting(), "log not shipped before the end", "error", err, "remaining", s.waiting().events)
		}
	}
	return nil
}

// notify wakes Run.
func (s *Shipper) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// round ships what is sealed; when that is gone, it seals the active file and
// ships it too. During an outage the active file thus grows to its full size,
// instead of leaving a small segment each second.
func (s *Shipper) round(ctx context.Context, stop <-chan struct{}) error {
	var res Result
	err := s.pass(ctx, &res, false)
	if _, failed := errors.AsType[*failure](err); failed || s.seal == nil {
		return err
	}
	select {
	case <-stop:
		return err // the drain seals
	default:
	}
	// What is wrong with one segment does not keep new ones from being shipped.
	if err := s.seal(); err != nil {
		return err
	}
	return s.pass(ctx, &res, false)
}

// openLock opens the file whose lock makes the shippers of dir take turns.
func openLock(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, ".ship.lock"), os.O_CREATE|os.O_RDWR, 0o640)
}

// pass ships all sealed segments once. With patience it waits for its turn
// among processes, else it leaves the work to the one that is at it.
func (s *Shipper) pass(ctx context.Context, res *Result, patience bool) (err error) {
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	lock, err := openLock(s.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if patience {
		if err := filelock.Lock(ctx, lock); err != nil {
			return err
		}
	} else if held, err := filelock.TryLock(lock); err != nil || !held {
		return err
	}
	todo, err := s.queues()
	if err != nil {
		return err
	}
	// What is wrong with one file is no reason to leave the others.
	var problems []error
	there := map[string]bool{}
	s.patience = heldPatience
	defer func() { s.tellAside(patience) }()
	for _, q := range todo {
		for _, err := range q.check(defaultPerm) {
			s.trouble(err)
		}
		if _, _, err := q.checkpointed(); err != nil {
			s.trouble(&Error{Op: "checkpoint", Path: q.checkpoint(), Err: errors.Join(err, os.Remove(q.checkpoint()))})
		}
		if _, err := q.adopt(&s.seqs); err != nil {
			problems = append(problems, &Error{Op: "adopt", Path: q.dir, Err: err})
		}
		segments, err := q.segments()
		if err != nil {
			problems = append(problems, &Error{Op: "ship", Path: q.dir, Err: err})
		}
		for _, seg := range segments {
			there[seg.path] = true
			err := s.shipSegment(ctx, seg, res)
			if _, failed := errors.AsType[*failure](err); failed || err != nil && ctx.Err() != nil {
				return err
			}
			if _, says := errors.AsType[*Error](err); err != nil && !says {
				err = &Error{Op: "ship", Path: seg.path, Err: err}
			}
			if err != nil {
				problems = append(problems, err)
			}
		}
	}
	maps.DeleteFunc(s.progress, func(path string, _ *progress) bool { return !there[path] })
	if len(problems) == 1 {
		return problems[0]
	}
	return errors.Join(problems...)
}

func (s *Shipper) queues() ([]queue, error) {
	if s.opts.Name != "" {
		return []queue{newQueue(filepath.Join(s.dir, s.opts.Name))}, nil
	}
	return queues(s.dir)
}

// failure is a Send that failed, and how long to wait before the next.
type failure struct {
	err  *SinkError
	wait time.Duration
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// failed notes a failed Send and says how long to wait.
func (s *Shipper) failed(err *SinkError) *failure {
	s.failures++
	policy := backoff.Policy{Base: s.opts.MinBackoff, Max: s.opts.MaxBackoff}
	wait := max(policy.Delay(s.failures), min(err.RetryAfter, maxRetryAfter))
	s.mu.Lock()
	first := s.stats.Failures == 0
	refused := err.Kind == KindConfig
	news := refused && !s.stats.Refused
	s.stats.Failures = s.failures
	s.stats.Retries++
	s.stats.Refused = refused
	s.stats.LastError = err.Error()
	s.mu.Unlock()
	if first && !refused {
		s.opts.Logger.WarnContext(s.reporting(), "receiver does not take the log", "error", err, "wait", wait)
	}
	if news {
		s.trouble(&Error{Op: "ship", Path: s.dir, Err: err})
	}
	return &failure{err: err, wait: wait}
}

// succeeded notes a Send that was received.
func (s *Shipper) succeeded(events, bytes int64) {
	after := s.failures
	s.failures, s.rejected = 0, 0
	s.size = min(s.opts.BatchBytes, s.size+s.size/64+1)
	s.mu.Lock()
	s.stats.Events += events
	s.stats.Bytes += bytes
	s.stats.Batches++
	s.stats.Failures = 0
	s.stats.Refused = false
	s.stats.LastError = ""
	s.stats.LastSent = time.Now()
	s.mu.Unlock()
	if after > 0 {
		s.opts.Logger.InfoContext(s.reporting(), "receiver takes the log again", "failures", after)
	}
}

// reporting marks the shipper's reports, so that the log which it ships leaves
// them out also where the logger leads there in a roundabout way.
func (s *Shipper) reporting() context.Context {
	if s.owner == nil {
		return context.Background()
	}
	return context.WithValue(context.Background(), shipping{}, s.owner)
}

const (
	// quietAfter is how long a trouble that goes on is not told again.
	quietAfter = time.Minute
	// maxTold bounds how many different troubles are remembered for that.
	maxTold = 100
)

// trouble tells what needs somebody's attention.
func (s *Shipper) trouble(err error) {
	now := time.Now()
	s.mu.Lock()
	maps.DeleteFunc(s.told, func(_ string, at time.Time) bool { return now.Sub(at) >= quietAfter })
	_, again := s.told[err.Error()]
	if !again {
		if len(s.told) == maxTold {
			clear(s.told)
		}
		s.told[err.Error()] = now
	}
	s.mu.Unlock()
	if again {
		return
	}
	s.opts.Logger.ErrorContext(s.reporting(), "shipping the log", "error", err)
	if s.opts.OnError != nil {
		s.opts.OnError(err)
	}
}
