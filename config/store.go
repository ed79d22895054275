package config

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/typed"
	"github.com/svcblocks/svcblocks/internal/health"
)

// Errors that a caller may branch on.
var (
	// ErrClosed is returned by the methods of a Store after Close.
	ErrClosed = errors.New("config: store is closed")
	// ErrRunning is returned by Run while another Run of the store is on.
	ErrRunning = errors.New("config: run: the store is running already")
	// ErrStuck is matched by errors of [Store.Check] and [OnError] while the last
	// good settings stand in for newer ones.
	ErrStuck = errors.New("config: settings wait to be renewed")
	// ErrLost is matched by errors of [Store.Check] and [OnError] while a value
	// in use is no longer valid, as its lease has ended.
	ErrLost = errors.New("config: a value in use is no longer valid")
)

// Store holds settings of type T: a current snapshot, and what is needed to
// renew and to change it. Make one with [Load]. Safe for concurrent use.
type Store[T any] struct {
	current atomic.Pointer[T]
	engine  *engine
}

// engine is the part of a Store that does not depend on the type.
type engine struct {
	opt      *options
	schema   *typed.Schema
	defaults reflect.Value
	refs     references
	publish  func(rv reflect.Value)
	health   *health.Monitor // of what Check tells

	building chan struct{} // holds one token while a build, write or swap is on
	mu       sync.Mutex    // guards what follows
	snap     *snapshot
	stats    Stats
	reported string // the failure that was last logged
	closed   bool
	running  bool
	stop     context.CancelCauseFunc
	done     chan struct{}
	wake     chan struct{} // tells Run of a new snapshot or failure
	changes  changes
}

// Load reads all layers, as they are, into a Store. defaults, a struct, is the value of keys
// that no layer sets. Every mistake is found at once: the error is a [*Report]
// where the settings are wrong, and another error where opts are. Load makes
// no goroutine that outlives it; [Store.Run] follows changes.
func Load[T any](ctx context.Context, defaults T, opts ...Option) (*Store[T], error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	s := new(Store[T])
	e, err := newEngine(reflect.ValueOf(&defaults).Elem(), o)
	if err != nil {
		return nil, err
	}

	e.publish = func(rv reflect.Value) { s.current.Store(rv.Interface().(*T)) }
	s.engine = e
	snap, err := e.build(ctx, nil)
	if err != nil {
		return nil, err
	}
	e.logWarnings(snap)

	e.install(snap)
	e.health.Start()
	return s, nil
}

func newEngine(defaults reflect.Value, o *options) (*engine, error) {
	schema, errs := typed.NewSchema(defaults.Type(), specials())
	if len(errs) == 0 {
		errs = o.checkIgnore(schema)
	}

	if len(errs) > 0 {
		joined := make([]error, len(errs))
		for i, text := range errs {
			joined[i] = errors.New("config: load: " + text)
		}
		return nil, errors.Join(joined...)
	}

	filled := reflect.New(schema.Type).Elem()
	filled.Set(typed.Copy(defaults, schema.Root.Shape))
	typed.Fill(filled, schema.Root.Shape)
	monitor := newHealth(o)

	return &engine{
		opt: o, schema: schema, defaults: filled,
		health: monitor,
		refs:   references{known: map[string]*resolved{}, every: o.refresh, health: monitor}, wake: make(chan struct{}, 1), building: make(chan struct{}, 1),
	}, nil
}

// install makes snap the current one and queues what OnChange has to know.
func (e *engine) install(snap *snapshot) {
	e.mu.Lock()
	old := e.snap
	e.snap = snap
	e.stats.Generation++
	e.stats.LoadedAt = snap.at
	e.stats.Err, e.stats.FailedAt = nil, time.Time{}
	e.reported = ""

	e.publish(snap.rv)
	if old != nil {
		e.changes.push(old.rv, snap.rv)
	}
	e.mu.Unlock()
	e.refs.prune(snap.references)
	e.health.OK(reloadKey)

	e.signal()
}

func (e *engine) signal() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Get returns the current snapshot. It is shared and must not be changed; take
// one per piece of work, so that all of it sees the same settings. It costs one
// atomic load.
func (s *Store[T]) Get() *T { return s.current.Load() }

// Reload reads all layers again. If they are right, the new snapshot becomes
// current and OnChange functions run; if not, the last good one stays and the
// error, a [*Report], says why. It waits for files that were written within the
// last 60 ms, at most 5 s, as they may be half written. References that are
// resolved already are not resolved again; see [Store.Refresh].
func (s *Store[T]) Reload(ctx context.Context) error { return s.engine.reload(ctx) }

// exclusive waits for its turn to build, write or swap, does the work and tells
// of the changes. A panic in the work, such as of a function of the caller,
// gives the turn back.
func (e *engine) exclusive(ctx context.Context, op string, work func() error) error {
	e.health.Used()
	select {
	case e.building <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("config: %s: %w", op, context.Cause(ctx))
	}

	err := func() error {
		defer func() { <-e.building }()
		if e.isClosed() {
			return ErrClosed
		}
		return work()
	}()

	e.changes.deliver()
	return err
}

func (e *engine) reload(ctx context.Context) error { return e.reloadIf(ctx, nil) }

// reloadIf reloads. With inputs expected, it gives an [*unsettledError] where
// those that it reads are others.
func (e *engine) reloadIf(ctx context.Context, expected []input) error {
	return e.exclusive(ctx, "reload", func() error { return e.reloadLocked(ctx, expected) })
}

// unsettledError says that files changed while they were read, or that some
// were read which nobody has seen at rest.
type unsettledError struct{ joined []input }

func (e *unsettledError) Error() string { return "config: reload: files are changing" }

func (e *engine) reloadLocked(ctx context.Context, expected []input) error {
	snap, err := e.buildAtRest(ctx, expected)
	var u *unsettledError
	if errors.As(err, &u) {
		return err
	}
	if err != nil {
		e.failed(ctx, snap, err)
		return err
	}

	e.logWarnings(snap)
	if old := e.snapshot(); old != nil && typed.Equal(old.rv.Elem(), snap.rv.Elem(), e.schema.Root.Shape) {
		snap.rv = old.rv // the same values: keep the pointer that readers hold
	}
	recovered := e.lastErr() != nil
	e.install(snap)
	if recovered {
		e.opt.logger.Info("settings are right again")
	}
	return nil
}

// buildAtRest builds a snapshot from files that are not being written. Run says
// which files it has seen at rest. Other callers wait here, for what was
// written in the last settleTime.
func (e *engine) buildAtRest(ctx context.Context, expected []input) (*snapshot, error) {
	if expected != nil {
		snap, err := e.build(ctx, nil)
		if snap == nil {
			return nil, err
		}
		joined := without(snap.inputs, expected)
		if len(joined) > 0 || !consistent(expected, snap.inputs) {
			return nil, &unsettledError{joined}
		}
		return snap, err
	}

	for begun := time.Now(); ; {
		at := time.Now()
		snap, err := e.build(ctx, nil)
		if snap == nil {
			return nil, err
		}
		wait, path := restless(at, e.snapshot().inputs, snap.inputs)
		if wait <= 0 {
			return snap, err
		}
		if err := awaitRest(ctx, begun, wait, path); err != nil {
			return nil, err
		}
	}
}

// awaitRest sleeps until the file at path may have come to rest.
func awaitRest(ctx context.Context, begun time.Time, wait time.Duration, path string) error {
	if time.Since(begun) > settleMax {
		return fmt.Errorf("config: %s has been changing for %s; try again when it is written", path, settleMax)
	}

	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("config: %s is being written: %w", path, context.Cause(ctx))
	}
}

// failed notes a reload that kept the last good snapshot, and logs it once.
func (e *engine) failed(ctx context.Context, snap *snapshot, err error) {
	e.mu.Lock()
	e.stats.Err, e.stats.FailedAt = err, time.Now()
	e.stats.Failures++

	if snap != nil && e.snap != nil {
		kept := *e.snap // what to watch is what was read last
		kept.inputs = mergeInputs(snap.inputs, kept.inputs)
		e.snap = &kept
	}

	again := e.reported == err.Error()
	e.reported = err.Error()
	e.mu.Unlock()
	if !gaveUp(ctx) {
		e.health.Fail(reloadKey, within(err))
	}
	if !again {
		e.opt.logger.Warn("reload failed, the last good settings stay", "error", err)
	}

	e.signal()
}

func (e *engine) logWarnings(snap *snapshot) {
	before := map[string]bool{}
	if old := e.snapshot(); old != nil {
		for _, w := range old.warnings {
			before[w.Error()] = true
		}
	}
	for _, w := range snap.warnings {
		if !before[w.Error()] {
			e.opt.logger.Warn("settings", "warning", w.Error())
		}
	}
}

func (e *engine) snapshot() *snapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.snap
}

func (e *engine) lastErr() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stats.Err
}

func (e *engine) isClosed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

// Refresh resolves all references again and reads all layers. A reference that
// cannot be resolved keeps its last good value; the error names it, and
// [Stats] shows it until it works again.
func (s *Store[T]) Refresh(ctx context.Context) error {
	return errors.Join(s.engine.refreshIf(ctx, nil, nil))
}

// refreshIf resolves the given references again, or all for nil, and reloads as
// reloadIf does.
func (e *engine) refreshIf(ctx context.Context, texts []string, expected []input) (resolving, reloading error) {
	reloading = e.exclusive(ctx, "refresh", func() error {
		if texts == nil {
			texts = typed.SortedKeys(e.snapshot().references)
		}
		var errs []error
		for i, r := range resolveMany(ctx, e.opt.resolvers, texts) {
			if err := e.refs.renewed(ctx, texts[i], r); err != nil {
				errs = append(errs, fmt.Errorf("config: refresh %s: %w", showReference(texts[i]), err))
			}
		}
		resolving = errors.Join(errs...)
		return e.reloadLocked(ctx, expected)
	})
	return resolving, reloading
}

// Close ends a running [Store.Run] and waits for it. Get keeps working; what
// would read or write returns [ErrClosed]. Closing again does nothing.
func (s *Store[T]) Close() error {
	e := s.engine
	e.health.Used()
	e.mu.Lock()
	e.closed = true
	stop, done := e.stop, e.done
	e.mu.Unlock()
	if stop != nil {
		stop(ErrClosed)
		<-done
	}

	// A callback that does not return must not keep the process.
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	e.health.Close(ctx)
	return nil
}

// Check returns nil while the settings are current. Its error matches
// [ErrStuck] when reloads or references have failed for [StuckAfter] and the last
// good values stand in, or [ErrLost] when the lease of a value in use has ended;
// it says since when, why, and what to do, and holds no secret. It returns
// [ErrClosed] after Close. Only [Store.Run] follows files and leases: without it
// Check tells of the reloads that the program makes itself.
func (s *Store[T]) Check(ctx context.Context) error {
	e := s.engine
	e.health.Used()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case e.isClosed():
		return ErrClosed
	}
	return e.health.Check()
}

// Stats returns how current the settings are. It holds no secret.
func (s *Store[T]) Stats() Stats {
	e := s.engine
	e.health.Used()
	e.mu.Lock()
	out, snap := e.stats, e.snap
	e.mu.Unlock()
	out.Warnings = slices.Clone(snap.warnings)
	for _, text := range typed.SortedKeys(snap.references) {
		out.References = append(out.References, e.refs.status(text, snap.references[text]))
	}
	return out
}
