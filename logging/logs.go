package logging

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	slogmulti "github.com/samber/slog-multi"

	"github.com/svcblocks/svcblocks/config/secret"
)

// Config is the part of the settings that an operator chooses. The zero Config
// writes text from level info to the standard error. Its fields carry the keys
// that package config reads.
type Config struct {
	// Level is the level of components without one of their own: "debug",
	// "info", "warn", "error", or one of these and an offset, "info+2".
	// Defaults to "info".
	Level string `koanf:"level" doc:"debug, info, warn or error"`
	// Levels holds the level of components by name, "orders.http", or by
	// family, "orders.*", which is orders and everything below it. The most
	// specific pattern holds.
	Levels map[string]string `koanf:"levels" doc:"level by component or family, such as orders.*"`
	// File is the log file. Without a Path nothing is written to disk.
	File FileConfig `koanf:"file"`
	// Console is what is shown.
	Console ConsoleConfig `koanf:"console"`
	// Redact lists keys whose values are never written, whatever their case,
	// also within groups, maps and structs.
	Redact []string `koanf:"redact" doc:"keys whose values are never written"`
	// Sample bounds storms of equal records. Off by default.
	Sample SampleConfig `koanf:"sample"`
	// Source adds the file and line of the log call.
	Source bool `koanf:"source" doc:"add file and line of the call"`
}

// FileConfig says where the log file is and how it is kept. The fields are
// those of [FileOptions].
type FileConfig struct {
	// Path is the active file, such as "var/log/app.log". Empty: no file.
	Path string `koanf:"path" doc:"log file; empty: none"`
	// SegmentBytes is the size at which the file is sealed. Defaults to 8 MiB;
	// negative: never for its size.
	SegmentBytes int64 `koanf:"segment_bytes" doc:"size at which the file is sealed"`
	// QuotaBytes bounds the disk space of what waits to be shipped. Defaults
	// to 1 GiB; negative: no bound.
	QuotaBytes int64 `koanf:"quota_bytes" doc:"disk space for what waits"`
	// FlushEvery writes records together at this interval; a killed process
	// loses what it collected. Defaults to 0: each record at once.
	FlushEvery time.Duration `koanf:"flush_every" doc:"collect records for this long; 0: write each"`
	// Sync is "never", "record" or an interval such as "1s". Defaults to
	// "never".
	Sync string `koanf:"sync" doc:"never, record or an interval"`
}

// Options is the part of the settings that the program chooses. The zero
// Options is ready to use.
type Options struct {
	// Console is where the console writes. Defaults to the standard error for
	// text and to the standard output for JSON.
	Console io.Writer
	// Handlers get every record that passes its component's level, redacted.
	// Each may ask for less by its Enabled. To route by other rules give them
	// as handlers of slog-multi.
	Handlers []slog.Handler
	// Logger gets the reports of the package on itself: outages, refusals. It
	// must not lead back to this log. Nil: discard.
	Logger *slog.Logger
	// OnError is told what needs attention, once per episode: a full disk, a
	// receiver that refuses the token, quarantined events, segments dropped
	// for the quota. It may log; it must not ship. Several goroutines may call
	// it at once, and New itself may: for files that are not as they were left.
	OnError func(error)
	// Secrets are values whose text is taken out of everything written,
	// wherever it stands: in messages, error texts, panics. Those shorter than
	// 4 bytes are not searched for. Values of type secret.Secret never show,
	// whether or not they are listed.
	Secrets []secret.Secret
	// Ship tunes the shipping; its Name, Logger and OnError are set from here.
	Ship *ShipperOptions
	// Sink is where the log is shipped. Nil: nowhere, and the file is kept
	// within its quota.
	Sink Sink
	// Trace returns the trace and span IDs of a context in hex, "" if it has
	// none, for the fields trace_id and span_id. With OpenTelemetry:
	//
	//	func(ctx context.Context) (string, string) {
	//		if c := trace.SpanContextFromContext(ctx); c.IsValid() {
	//			return c.TraceID().String(), c.SpanID().String()
	//		}
	//		return "", ""
	//	}
	//
	// Defaults to what [WithTraceparent] set.
	Trace func(ctx context.Context) (traceID, spanID string)
}

const componentKey = "component"

// Logs is a service's log: loggers per component, the file they write to, and
// the shipper of that file. Its methods are safe for concurrent use.
type Logs struct {
	levels  *levels
	base    slog.Handler // outputs, without a component
	sampler *sampler     // nil: off
	file    *File        // nil: none
	shipper *Shipper     // nil: none
	closing sync.Once
	closed  atomic.Bool
	running atomic.Bool
	err     error
}

// New opens the log described by cfg. nil opts are the defaults. All mistakes
// are reported at once, and then nothing was touched.
func New(cfg Config, opts *Options) (*Logs, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	base, patterns, problems := cfg.parse()
	if o.Sink != nil && cfg.File.Path == "" {
		problems = append(problems, ErrNoFile)
	}
	for i, h := range o.Handlers {
		if h == nil {
			problems = append(problems, fmt.Errorf("option Handlers[%d] is nil", i))
		}
	}
	var ship ShipperOptions
	if o.Ship != nil {
		ship = *o.Ship
	}
	ship.Name, ship.OnError, ship.Logger = filepath.Base(cfg.File.Path), o.OnError, o.Logger
	if _, err := ship.withDefaults(); err != nil {
		problems = append(problems, under("Options.Ship.", err)...)
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("logging: new: %w", errors.Join(problems...))
	}
	l := &Logs{levels: newLevels(base, patterns)}
	redact := newRedactor(cfg.Redact, o.Secrets)
	var outputs []slog.Handler
	if cfg.File.Path != "" {
		file, err := OpenFile(cfg.File.Path, cfg.File.options(&o))
		if err != nil {
			return nil, err
		}
		l.file = file
		outputs = append(outputs, newJSON(file, cfg.Source, redact, o.Trace))
	}
	if o.Sink != nil {
		var err error
		if l.shipper, err = NewShipper(l.file.queue.dir, o.Sink, &ship); err != nil {
			return nil, errors.Join(err, l.file.Close())
		}
		l.shipper.seal, l.shipper.owner = l.file.sealForShipping, l
		l.file.sealed = l.shipper.notify
	}
	if h := cfg.consoleHandler(&o, redact); h != nil {
		outputs = append(outputs, h)
	}
	for _, h := range o.Handlers {
		if redact != nil {
			h = &redacting{redact: redact, next: h}
		}
		outputs = append(outputs, h)
	}
	l.base = slogmulti.Fanout(outputs...)
	if cfg.Sample.First > 0 {
		per := cfg.Sample.Per
		if per == 0 {
			per = time.Second
		}
		l.sampler = &sampler{first: cfg.Sample.First, per: per, root: l.outputs}
	}
	return l, nil
}

// parse checks cfg and returns its levels.
func (c Config) parse() (base slog.Level, patterns map[string]slog.Level, problems []error) {
	parse := func(field, text string) slog.Level {
		if text == "" {
			return slog.LevelInfo
		}
		var level slog.Level
		if err := level.UnmarshalText([]byte(text)); err != nil {
			problems = append(problems, fmt.Errorf("%s: %q is no level: use debug, info, warn or error", field, text))
		}
		return level
	}
	base = parse("Level", c.Level)
	patterns = map[string]slog.Level{}
	for _, p := range slices.Sorted(maps.Keys(c.Levels)) {
		if err := checkPattern(p); err != nil {
			problems = append(problems, fmt.Errorf("in Levels: %w", err))
		}
		patterns[p] = parse(fmt.Sprintf("Levels[%q]", p), c.Levels[p])
	}
	if c.File.Path != "" {
		if err := checkPath(c.File.Path); err != nil {
			problems = append(problems, fmt.Errorf("File.Path: %w", err))
		}
	}
	if _, _, err := c.File.options(&Options{}).withDefaults(); err != nil {
		problems = append(problems, under("File.", err)...)
	}
	oneOf := func(field, value string, allowed ...string) {
		if slices.Contains(allowed, value) {
			return
		}
		problems = append(problems, fmt.Errorf("%s: %q is none of %q", field, value, allowed[1:]))
	}
	oneOf("Console.Format", c.Console.Format, "", "text", "json", "off")
	oneOf("Console.Color", c.Console.Color, "", "auto", "always", "never")
	for i, k := range c.Redact {
		if k == "" {
			problems = append(problems, fmt.Errorf("key %d of Redact is empty", i))
		}
	}
	return base, patterns, append(problems, c.Sample.check()...)
}

// under returns the errors joined in err, each with prefix before it.
func under(prefix string, err error) []error {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for i, err := range all {
		all[i] = fmt.Errorf("%s%w", prefix, err)
	}
	return all
}

func (c FileConfig) options(o *Options) *FileOptions {
	return &FileOptions{
		SegmentBytes: c.SegmentBytes, QuotaBytes: c.QuotaBytes, Sync: c.Sync, FlushEvery: c.FlushEvery,
		OnError: o.OnError, Logger: o.Logger,
	}
}

// consoleHandler returns nil where nothing is shown.
func (c Config) consoleHandler(o *Options, redact *redactor) slog.Handler {
	w := o.Console
	format := c.Console.Format
	if format == "" && c.File.Path == "" {
		format = "text"
	}
	switch format {
	case "text":
		if w == nil {
			w = os.Stderr
		}
		var h slog.Handler = &console{mu: new(sync.Mutex), w: w, color: c.Console.colored(w), redact: redact}
		if redact != nil {
			h = &redacting{redact: redact, next: h}
		}
		return h
	case "json":
		if w == nil {
			w = os.Stdout
		}
		return newJSON(w, c.Source, redact, o.Trace)
	}
	return nil
}

// Logger returns the logger of the component called name, at the level that
// the configuration or SetLevel gives it. Its records carry the name as
// "component", once. An attribute of that key given to With, outside of any
// group, names the component from there on, in place of the one before, and the
// level is that of the new one: that is how a library which got a logger tells
// its own part. Within a group, and in a single record, it is an attribute like
// others. The name is kept for good: use names of parts of the program, not of
// requests.
func (l *Logs) Logger(name string) *slog.Logger {
	return slog.New(&handler{logs: l, component: name, level: l.levels.component(name), next: l.outputs(name)})
}

// outputs returns the outputs for a component.
func (l *Logs) outputs(name string) slog.Handler {
	if name == "" {
		return l.base
	}
	return l.base.WithAttrs([]slog.Attr{slog.String(componentKey, name)})
}

// Handler returns the handler without a component, at the level of the pattern
// "*", for slog.New, slog-multi and bridges from other loggers. With("component",
// name) makes it that of a component, see [Logs.Logger].
func (l *Logs) Handler() slog.Handler {
	return &handler{logs: l, level: l.levels.component(""), next: l.base}
}

// SetLevel changes the level of the components that pattern matches: a name,
// "orders.http", a family, "orders.*", or all, "*". A more specific pattern,
// of the configuration or an earlier call, still holds for its components. The
// change is in effect when SetLevel returns; after d the level goes back to
// what it would be without it, and with d 0 it stays. Each call replaces the
// one before it for the same pattern.
func (l *Logs) SetLevel(pattern string, level slog.Level, d time.Duration) error {
	if err := l.levels.set(pattern, level, d); err != nil {
		return fmt.Errorf("logging: set level: %w", err)
	}
	return nil
}

// SendBulk seals the active file and ships all there is: see
// [Shipper.SendBulk].
func (l *Logs) SendBulk(ctx context.Context) (Result, error) {
	switch {
	case l.closed.Load():
		return Result{}, fmt.Errorf("logging: send bulk: %w", ErrClosed)
	case l.shipper == nil:
		return Result{}, fmt.Errorf("logging: send bulk: %w", ErrNoSink)
	}
	return l.shipper.SendBulk(ctx)
}

// Run ships the log in the background until ctx ends; then it seals the active
// file, ships what is left within Ship.DrainTimeout, and returns nil. What
// remains stays on disk for the next start. Without a Sink it only waits for
// ctx. Records may be logged during and after Run. A second Run at the same
// time returns ErrRunning, one after Close ErrClosed.
func (l *Logs) Run(ctx context.Context) error {
	if l.closed.Load() {
		return fmt.Errorf("logging: run: %w", ErrClosed)
	}
	if !l.running.CompareAndSwap(false, true) {
		return fmt.Errorf("logging: run: %w", ErrRunning)
	}
	defer l.running.Store(false)
	if l.shipper == nil {
		<-ctx.Done()
		return nil
	}
	return l.shipper.Run(ctx)
}

// Stats returns the counters. It reads the folder of the log if there is a
// Sink.
func (l *Logs) Stats() Stats {
	var st Stats
	if l.file != nil {
		st = l.file.Stats()
	}
	if l.sampler != nil {
		st.Suppressed = l.sampler.suppressed.Load()
	}
	if l.shipper != nil {
		st.Ship = l.shipper.Stats()
	}
	return st
}

// Check returns an error where records are lost or will be without somebody's
// help: the last record could not be written, segments are dropped for the
// quota, or the receiver refuses the configuration. An outage of the receiver
// alone is none.
func (l *Logs) Check(context.Context) error {
	if l.closed.Load() {
		return fmt.Errorf("logging: check: %w", ErrClosed)
	}
	var problems []error
	if l.file != nil {
		l.file.mu.Lock()
		failed, overfull := l.file.stats.WriteError, l.file.overfull
		l.file.mu.Unlock()
		if failed != "" {
			problems = append(problems, errors.New(failed))
		}
		if overfull {
			problems = append(problems, &Error{Op: "quota", Path: l.file.queue.dir, Err: ErrQuota})
		}
	}
	if l.shipper != nil {
		l.shipper.mu.Lock()
		if st := l.shipper.stats; st.Refused {
			problems = append(problems, fmt.Errorf("logging: ship %s: receiver refuses: %s", l.shipper.dir, st.LastError))
		}
		l.shipper.mu.Unlock()
	}
	return errors.Join(problems...)
}

// Close writes the summaries of the sampling and seals the file. It does not
// ship: end Run first, or call SendBulk. Records logged after it are lost and
// reported to the caller of Handle. Further calls return the same.
func (l *Logs) Close() error {
	l.closing.Do(func() {
		l.levels.close()
		if l.sampler != nil {
			l.sampler.close()
		}
		l.closed.Store(true)
		if l.file != nil {
			l.err = l.file.Close()
		}
	})
	return l.err
}

func hashString(s string) uint64 { return maphash.String(hashSeed, s) }

var hashSeed = maphash.MakeSeed()
