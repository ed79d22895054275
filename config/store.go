package config

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"

	"github.com/svcblocks/svcblocks/config/internal/doc"
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

// Get returns the current snapshot. It is shared and must not be changed; take
// one per piece of work, so that all of it sees the same settings. It costs one
// atomic load.
func (s *Store[T]) Get() *T { return s.current.Load() }

// Reload reads all layers again. If they are right, the new snapshot becomes
// current and OnChange functions run; if not, the last good one stays and the
// error, a [*Report], says why. It waits for files that were written within the
// last 60 ms, or the last 2 s where they are still open for writing, as they may be
// half written; at most 5 s. References that are resolved already are not
// resolved again; see [Store.Refresh].
func (s *Store[T]) Reload(ctx context.Context) error { return s.engine.reload(ctx) }

// Refresh resolves all references again and reads all layers. A reference that
// cannot be resolved keeps its last good value; the error names it, and
// [Stats] shows it until it works again.
func (s *Store[T]) Refresh(ctx context.Context) error {
	return errors.Join(s.engine.refreshIf(ctx, nil, nil))
}

// Run follows the files of all layers and the leases of references, and
// reloads what changed, until ctx ends; then it returns nil. A reload that
// fails keeps the last good settings, is logged once and shown by
// [Store.Stats], and by [Store.Check] when it lasts. Run returns [ErrRunning]
// if it runs already, and [ErrClosed] after Close.
func (s *Store[T]) Run(ctx context.Context) error {
	s.engine.health.Used()
	return s.engine.run(ctx)
}

// Set changes one key, by name, to what the text means for the key's type: a
// list is separated by commas or JSON, a map is JSON and replaces the map's
// entries that it names. The names are those that reports print: map.entry is a
// map's entry, items[0] an item of a list, items[0].port a key in one; the index
// after the last adds an item. A list that another layer gives is written to the
// file as a whole. The rest is as for [Store.Update].
func (s *Store[T]) Set(ctx context.Context, key, value string) error {
	e := s.engine
	return e.update(ctx, "set "+key, func(base *snapshot, rv reflect.Value) ([]doc.Change, error) {
		x, err := findNamed(e, "set", key, base, rv.Elem())
		if err != nil {
			return nil, err
		}
		return x.set(value)
	})
}

// Unset takes one key out of the [Writable] file, so that the layer below gives
// its value again, in the end the default. Names are as for [Store.Set]; an item
// of a list goes with its comments. A key that the file does not set stays as it
// is. The rest is as for [Store.Update].
func (s *Store[T]) Unset(ctx context.Context, key string) error {
	e := s.engine
	return e.update(ctx, "unset "+key, func(base *snapshot, rv reflect.Value) ([]doc.Change, error) {
		x, err := findNamed(e, "unset", key, base, rv.Elem())
		if err != nil {
			return nil, err
		}
		return x.unset()
	})
}

// Update changes several keys at once. It reads all layers, runs change on a
// copy of the settings, checks the whole, and writes the keys that differ to
// the [Writable] file, whose other lines stay as they are; then the new
// snapshot becomes current. It holds an advisory lock meanwhile, so that
// concurrent writers of all processes lose nothing. All or nothing: on an error
// the file and the settings are as before.
//
// The errors are what change returns, a [*Report] if the result is not valid,
// an [*OverriddenError], a [*WriteError], [ErrNotWritable], or one that wraps
// [ErrSecret].
func (s *Store[T]) Update(ctx context.Context, change func(*T) error) error {
	return s.engine.update(ctx, "update", func(_ *snapshot, rv reflect.Value) ([]doc.Change, error) {
		return nil, changeError(change(rv.Interface().(*T)))
	})
}

// Explain lists the value of every key of the current snapshot, where it comes
// from and what it overrode. Secrets are redacted.
func (s *Store[T]) Explain() Explanation {
	e := s.engine
	return explain(e.schema, e.snapshot(), e.defaults)
}

// Audit lists what others could use, each a [Problem] of [KindInsecure]: who else
// may write a file of the settings, a secret, a file that a reference names, or a
// folder on the way there, a group too; which secret stands in the environment or
// on the command line, also one that another layer won over; which address takes
// a token in clear; and who can reach an address that is listened at.
//
// An address in clear is an http or ws URL off this machine in a field of a URL
// type, in one beside a [Secret], with a password in it, or whose tag is
// audit:"token". Listened at is a host:port without a host or with the
// unspecified address, one whose key has listen or bind in its last part, or
// whose tag is audit:"listen". The tag audit:"-" excuses an address that is meant
// so. Audit shows no secret, and says nothing of what it has no key for.
func (s *Store[T]) Audit() []Problem { return audit(s.engine.schema, s.engine.snapshot()) }

// Close ends a running [Store.Run] and waits for it. Get keeps working; what
// would read or write returns [ErrClosed]. Closing again does nothing.
func (s *Store[T]) Close() error {
	s.engine.close()
	return nil
}

// Check returns nil while the settings are current. Its error matches
// [ErrStuck] when reloads or references have failed for [StuckAfter] and the last
// good values stand in, or [ErrLost] when the lease of a value in use has ended;
// it says since when, why, and what to do, and holds no secret. It returns
// [ErrClosed] after Close. Only [Store.Run] follows files and leases: without it
// Check tells of the reloads that the program makes itself.
func (s *Store[T]) Check(ctx context.Context) error {
	return s.engine.check(ctx)
}

// Stats returns how current the settings are. It holds no secret.
func (s *Store[T]) Stats() Stats {
	return s.engine.status()
}
