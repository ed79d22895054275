package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/typed"
	"github.com/svcblocks/svcblocks/internal/health"
)

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

func newEngine(defaults reflect.Value, o *options) (*engine, error) {
	schema, errs := schemaOf(defaults.Type())
	if len(errs) == 0 {
		errs = checkIgnore(o, schema)
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

// update makes a change of the writable file when its turn has come.
func (e *engine) update(ctx context.Context, op string, change changeFunc) error {
	u := &updater{engine: e, op: op, change: change}
	return e.exclusive(ctx, op, func() error { return u.locked(ctx) })
}

func (e *engine) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	e.mu.Lock()
	switch {
	case e.closed:
		e.mu.Unlock()
		return ErrClosed
	case e.running:
		e.mu.Unlock()
		return ErrRunning
	}

	e.running, e.stop, e.done = true, cancel, done
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.running, e.stop, e.stats.Watching = false, nil, ""
		e.mu.Unlock()
		close(done)
	}()

	f := &follower{engine: e, watch: newFileWatch(e.opt.noEvents)}
	defer f.watch.close()
	f.loop(ctx)
	return nil
}

// close ends Run and what tells of failures.
func (e *engine) close() {
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
}

func (e *engine) check(ctx context.Context) error {
	e.health.Used()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case e.isClosed():
		return ErrClosed
	}
	return e.health.Check()
}

func (e *engine) status() Stats {
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

// leafValue finds the field of a leaf and makes the sections on the way.
func (e *engine) leafValue(rv reflect.Value, leaf *typed.Entry) reflect.Value {
	var find func(section *typed.Entry, rv reflect.Value) (reflect.Value, bool)
	find = func(section *typed.Entry, rv reflect.Value) (reflect.Value, bool) {
		for _, child := range section.Children {
			if child == leaf {
				return rv.Field(child.Index), true
			}
			if child.Section && child.ID <= leaf.ID && leaf.ID < child.End {
				fv := rv.Field(child.Index)
				for fv.Kind() == reflect.Pointer {
					if fv.IsNil() {
						fv.Set(reflect.New(fv.Type().Elem()))
					}
					fv = fv.Elem()
				}
				return find(child, fv)
			}
		}
		return reflect.Value{}, false
	}

	out, _ := find(e.schema.Root, rv)
	return out
}

// build makes a snapshot of all layers. With data for the writable file, that is
// taken in place of what the file holds.
func (e *engine) build(ctx context.Context, replaced []byte) (*snapshot, error) {
	return newBuilder(e, replaced).build(ctx)
}

// writableGone reports that the writable file does not exist.
func (e *engine) writableGone() bool {
	return slices.ContainsFunc(e.opt.sources, func(s sourceSpec) bool {
		_, err := os.Stat(s.path)
		return s.writable && errors.Is(err, fs.ErrNotExist)
	})
}

// filled lists the files that held something in the current snapshot.
func (e *engine) filled() map[string]bool {
	out := map[string]bool{}
	if snap := e.snapshot(); snap != nil {
		for _, l := range snap.layers {
			if len(l.data) > 0 {
				out[l.name] = true
			}
		}
	}
	return out
}
