package logging

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
)

// Options describes a log. The zero Options writes text from level info to the
// standard error. The fields with a key are those that an operator chooses, and
// package config fills them; the others are set in code.
type Options struct {
	// Level is the level of components without one of their own: "debug",
	// "info", "warn", "error", or one of these and an offset, "info+2".
	// Defaults to "info".
	Level string `koanf:"level" default:"info" zero:"default" doc:"debug, info, warn or error"`
	// Levels holds the level of components by name, "orders.http", or by
	// family, "orders.*", which is orders and everything below it. The most
	// specific pattern holds.
	Levels map[string]string `koanf:"levels" doc:"level by component or family, such as orders.*"`
	// Attrs are put on every record: service, version, host.
	Attrs map[string]string `koanf:"attrs" doc:"attributes on every record, such as service and version"`
	// Keys says how the time, level, message, source and trace of a record are
	// called: "slog", "google" for Google Cloud, with "severity" and "message",
	// or "ecs" for Elastic's Common Schema. Defaults to "slog".
	Keys string `koanf:"keys" default:"slog" zero:"default" oneof:"slog|google|ecs" doc:"names of a record's fields: slog, google or ecs"`
	// File is the log file. Without a Path nothing is written to disk.
	File FileOptions `koanf:"file"`
	// Console is what is shown.
	Console ConsoleOptions `koanf:"console"`
	// Redact lists keys whose values are never written, whatever their case,
	// also within groups, maps and structs.
	Redact []string `koanf:"redact" doc:"keys whose values are never written"`
	// Sample bounds storms of equal records. Off by default.
	Sample SampleOptions `koanf:"sample"`
	// Source adds the file and line of the log call.
	Source bool `koanf:"source" doc:"add file and line of the call"`
	// Ship tunes the shipping. Its Dir, Name, Sink, CloseTimeout, Logger and
	// OnError are set from here and stay empty.
	Ship ShipperOptions `koanf:"ship"`
	// CloseTimeout bounds what Close waits for the receiver, together with what
	// Run does after its ctx ended. Defaults to 5s; negative: no wait.
	CloseTimeout time.Duration `koanf:"close_timeout" default:"5s" zero:"default" doc:"wait for the receiver at the end; negative: none"`
	// StuckAfter is how long a state that loses nothing may last before Check,
	// OnError and Logger tell it: a receiver that is away, or refuses what
	// comes. Defaults to 1m.
	StuckAfter time.Duration `koanf:"stuck_after" default:"1m" zero:"default" doc:"how long shipping may stand still before it is told"`

	// Handlers get every record that passes its component's level, redacted.
	// Each may ask for less by its Enabled. To route by other rules give them
	// as handlers of slog-multi.
	Handlers []slog.Handler `koanf:"-"`
	// Logger is told what is lost, and what is stuck for longer than StuckAfter,
	// once when it begins and once when it is over: a full disk, a receiver that
	// is away or refuses what comes, events set aside, segments dropped for the
	// quota. It must not lead back to this log. Nil: lines on the standard error;
	// slog.New(slog.DiscardHandler) turns it off.
	Logger *slog.Logger `koanf:"-"`
	// OnError is told the same. It may log; it must not ship. It is not called
	// before New has returned, and never twice at a time.
	OnError func(error) `koanf:"-"`
	// Secrets are values whose text is taken out of everything written,
	// wherever it stands: in messages, error texts, panics. Those shorter than
	// 4 bytes are not searched for. Values of type secret.Secret never show,
	// whether or not they are listed.
	Secrets []secret.Secret `koanf:"-"`
	// Sink is where the log is shipped, from New until Close. Nil: nowhere, and
	// the file is kept within its bounds.
	Sink Sink `koanf:"-"`
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
	Trace func(ctx context.Context) (traceID, spanID string) `koanf:"-"`
}

const componentKey = "component"

// Logs is a service's log: loggers per component, the file they write to, and
// the shipper of that file. Its methods are safe for concurrent use.
type Logs struct {
	opts    Options
	levels  *levels
	base    slog.Handler            // outputs, without a component
	sampler atomic.Pointer[sampler] // nil: off

	fileLevel, consoleLevel slog.LevelVar
	suppressed              atomic.Int64 // by samplers before
	configuring             sync.Mutex
	file                    *File    // nil: none
	shipper                 *Shipper // nil: none
	running                 atomic.Bool
	closed                  atomic.Bool

	reports  *reports
	stop     chan struct{} // closed when Close begins
	cancel   context.CancelFunc
	shipping chan struct{} // closed when the shipper's loop ended

	draining sync.Mutex
	left     time.Duration // of CloseTimeout
	closing  sync.Once
	err      error // of Close
}

// New opens the log that opts describe. With a Sink it ships from then on; Close
// ends that, and a Logs that is not closed leaks. All mistakes are reported at
// once, and then nothing was touched.
func New(opts *Options) (*Logs, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	base, patterns, wrong := o.parse()
	conditions := o.code(&wrong)
	if err := refused("new", wrong, conditions...); err != nil {
		return nil, err
	}

	l := &Logs{
		opts: o, levels: newLevels(base, patterns), left: o.CloseTimeout,
		stop: make(chan struct{}), shipping: make(chan struct{}),
	}
	l.reports = newReports(reportOptions{logger: o.Logger, onError: o.OnError, after: o.StuckAfter, json: o.Console.Format == "json", owner: l})
	if l.left == 0 {
		l.left = defaultCloseTimeout
	}

	if err := l.openFile(); err != nil {
		return nil, err
	}

	l.setOutputLevels(&o)
	l.base = l.handlers()
	l.sampler.Store(l.newSampler(o.Sample))

	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	if l.shipper == nil {
		close(l.shipping)
	} else {
		go func() {
			defer close(l.shipping)
			l.shipper.loop(ctx, l.stop)
		}()
	}

	l.reports.Start()
	return l, nil
}

const defaultCloseTimeout = 5 * time.Second

// openFile opens the file and makes its shipper.
func (l *Logs) openFile() (err error) {
	o := &l.opts
	if o.File.Path == "" {
		return nil
	}

	parts := fileParts{reports: l.reports, ships: o.Sink != nil}
	wake := make(chan struct{}, 1)
	if parts.ships {
		parts.sealed = func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}

	if l.file, err = openFile(&o.File, parts); err != nil || o.Sink == nil {
		return err
	}

	ship := o.Ship
	ship.Dir, ship.Name, ship.Sink = l.file.queue.Dir, l.file.queue.Name, o.Sink
	ship.Perm, ship.Shared = o.File.Perm, o.File.Shared
	l.shipper, err = newShipper(&ship, shipperParts{reports: l.reports, owner: l, wake: wake, seal: l.file.sealForShipping})
	if err != nil {
		return errors.Join(err, l.file.Close())
	}
	return nil
}

// handlers returns the outputs as one handler.
func (l *Logs) handlers() slog.Handler {
	o := &l.opts

	redact := newRedactor(o.Redact, o.Secrets)
	var outputs []slog.Handler
	if l.file != nil {
		outputs = append(outputs, newJSON(l.file, o, redact, &l.fileLevel))
	}
	if h := o.consoleHandler(redact, &l.consoleLevel); h != nil {
		outputs = append(outputs, h)
	}

	own := len(outputs)
	for i, h := range o.Handlers {
		h = &guarded{next: h, reports: l.reports, key: fmt.Sprintf("handler %d", i)}
		if redact != nil {
			h = &redacting{redact: redact, next: h}
		}
		outputs = append(outputs, h)
	}

	// An output of our own takes all that passes a component's level; others are
	// asked.
	out := slog.Handler(slog.NewMultiHandler(outputs...))
	if own == 1 && len(outputs) == 1 {
		out = outputs[0]
	}

	var attrs []slog.Attr
	for _, key := range slices.Sorted(maps.Keys(o.Attrs)) {
		attrs = append(attrs, slog.String(key, o.Attrs[key]))
	}
	if attrs != nil {
		out = out.WithAttrs(attrs)
	}
	return out
}

// parse checks what settings can hold and returns the levels.
func (o *Options) parse() (base slog.Level, patterns map[string]slog.Level, wrong options.Mistakes) {
	base, patterns, wrong = o.parseLevels()

	file := o.File
	if file.Path == "" {
		file.Path = "none" // is no mistake
	}
	_, _, bad := file.withDefaults()
	wrong.Within("File", bad)
	_, bad = o.Ship.withDefaults()
	wrong.Within("Ship", bad)

	// The tags say the same to who loads the settings. Their reader links net/url,
	// which a program that only logs does not pay for.
	oneOf := func(field, value string, allowed ...string) {
		if value != "" && !slices.Contains(allowed, value) {
			wrong.Add(field, "%q is none of %s: give one of these", value, strings.Join(allowed, ", "))
		}
	}

	oneOf("Keys", o.Keys, "slog", "google", "ecs")
	oneOf("Console.Format", o.Console.Format, "text", "json", "off")
	oneOf("Console.Color", o.Console.Color, "auto", "always", "never")

	for i, k := range o.Redact {
		if k == "" {
			wrong.Add(fmt.Sprintf("Redact[%d]", i), "is empty: name a key, or leave it out")
		}
	}
	o.Sample.check(&wrong)
	return base, patterns, wrong
}

// code adds to wrong what is set in code and is a mistake, and returns those
// mistakes that callers may branch on.
func (o *Options) code(wrong *options.Mistakes) (conditions []error) {
	for _, f := range []struct {
		name string
		set  bool
		use  string
	}{
		{"File.OnError", o.File.OnError != nil, "OnError"},
		{"File.Logger", o.File.Logger != nil, "Logger"},
		{"Ship.OnError", o.Ship.OnError != nil, "OnError"},
		{"Ship.Logger", o.Ship.Logger != nil, "Logger"},
		{"Ship.Dir", o.Ship.Dir != "", "File.Path"},
		{"Ship.Name", o.Ship.Name != "", "File.Path"},
		{"Ship.Sink", o.Ship.Sink != nil, "Sink"},
		{"Ship.CloseTimeout", o.Ship.CloseTimeout != 0, "CloseTimeout"},
		{"Ship.Perm", o.Ship.Perm != 0, "File.Perm"},
		{"Ship.Shared", o.Ship.Shared, "File.Shared"},
		{"File.StuckAfter", o.File.StuckAfter != 0, "StuckAfter"},
		{"Ship.StuckAfter", o.Ship.StuckAfter != 0, "StuckAfter"},
	} {
		if f.set {
			wrong.Add(f.name, "is set: use Options.%s", f.use)
		}
	}

	for i, h := range o.Handlers {
		if h == nil {
			wrong.Add(fmt.Sprintf("Handlers[%d]", i), "is nil: give a handler, or leave it out")
		}
	}

	if o.Sink != nil && o.File.Path == "" {
		conditions = append(conditions, ErrNoFile)
	}
	if o.Logger != nil && o.File.Path != "" && leadsTo(o.Logger, filepath.Dir(o.File.Path), filepath.Base(o.File.Path)) {
		conditions = append(conditions, ErrSelf)
	}
	return conditions
}

func (o *Options) parseLevels() (base slog.Level, patterns map[string]slog.Level, wrong options.Mistakes) {
	parse := func(field, text string) slog.Level {
		level, err := parseLevel(text)
		if err != nil {
			wrong.Add(field, "%v", err)
		}
		return level
	}

	base = parse("Level", o.Level)
	parse("File.Level", o.File.Level)
	parse("Console.Level", o.Console.Level)

	patterns = map[string]slog.Level{}
	for _, p := range slices.Sorted(maps.Keys(o.Levels)) {
		if err := checkPattern(p); err != nil {
			wrong.Add(fmt.Sprintf("Levels[%q]", p), "%v", err)
		}
		patterns[p] = parse(fmt.Sprintf("Levels[%q]", p), o.Levels[p])
	}

	return base, patterns, wrong
}

// Validate reports every mistake in what settings can hold, by its field; New
// does the same for what is set in code.
func (o Options) Validate() error {
	_, _, wrong := o.parse()
	return wrong.Err("logging: new")
}

// refused returns why a constructor or Reconfigure did nothing: one line for each mistake, and for
// each condition that callers may branch on.
func refused(op string, wrong options.Mistakes, conditions ...error) error {
	all := []error{wrong.Err("logging: " + op)}
	for _, err := range conditions {
		all = append(all, &Error{Op: op, Err: err})
	}
	return errors.Join(all...)
}

// consoleHandler returns nil where nothing is shown.
func (o *Options) consoleHandler(redact *redactor, least *slog.LevelVar) slog.Handler {
	w := o.Console.Writer
	format := o.Console.Format
	if format == "" && o.File.Path == "" {
		format = "text"
	}

	switch format {
	case "text":
		if w == nil {
			w = os.Stderr
		}
		var h slog.Handler = &console{mu: new(sync.Mutex), w: w, color: o.Console.colored(w), redact: redact, source: o.Source, trace: o.Trace, least: least}
		if redact != nil {
			h = &redacting{redact: redact, next: h}
		}
		return h
	case "json":
		if w == nil {
			w = os.Stdout
		}
		return newJSON(w, o, redact, least)
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
	l.reports.Used()
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
	l.reports.Used()
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

// Reconfigure takes over from opts what may change while the log is in use:
// Level, Levels, the levels of File and Console, and Sample. A pattern that opts
// do not have is unset, also one that [Logs.SetLevel] set for good; what it set
// for a time goes on. Where another field that settings can hold differs, nothing
// is changed, and the error names it: it asks for a restart.
func (l *Logs) Reconfigure(opts *Options) error {
	l.reports.Used()
	var o Options
	if opts != nil {
		o = *opts
	}
	base, patterns, wrong := o.parse()
	conditions := o.code(&wrong)

	fixed(&wrong, reflect.ValueOf(l.opts), reflect.ValueOf(o), "")
	if l.closed.Load() {
		conditions = append(conditions, ErrClosed)
	}
	if err := refused("reconfigure", wrong, conditions...); err != nil {
		return err
	}

	l.configuring.Lock()
	defer l.configuring.Unlock()
	l.levels.replace(base, patterns)
	l.setOutputLevels(&o)

	if l.opts.Sample != o.Sample {
		old := l.sampler.Swap(l.newSampler(o.Sample))
		if old != nil {
			old.close()
			l.suppressed.Add(old.suppressed.Load())
		}
	}

	l.opts.Level, l.opts.Levels, l.opts.Sample = o.Level, o.Levels, o.Sample
	l.opts.File.Level, l.opts.Console.Level = o.File.Level, o.Console.Level
	return nil
}

// variable are the fields that Reconfigure takes over.
var variable = []string{"Level", "Levels", "File.Level", "Console.Level", "Sample"}

// fixed adds each field that differs and may not to wrong.
func fixed(wrong *options.Mistakes, is, want reflect.Value, path string) {
	for i := range is.NumField() {
		sf := is.Type().Field(i)
		name := path + sf.Name
		if sf.Tag.Get("koanf") == "-" || slices.Contains(variable, name) {
			continue
		}
		if sf.Type.Kind() == reflect.Struct {
			fixed(wrong, is.Field(i), want.Field(i), name+".")
		} else if !reflect.DeepEqual(is.Field(i).Interface(), want.Field(i).Interface()) {
			wrong.Add(name, "changed: restart to take it over")
		}
	}
}

// everything is the level of an output without one of its own.
const everything = slog.Level(math.MinInt32)

// setOutputLevels sets the levels of file and console, which were checked.
func (l *Logs) setOutputLevels(o *Options) {
	set := func(v *slog.LevelVar, text string) {
		level, _ := parseLevel(text)
		if text == "" {
			level = everything
		}
		v.Set(level)
	}
	set(&l.fileLevel, o.File.Level)
	set(&l.consoleLevel, o.Console.Level)
}

// newSampler returns nil where nothing is sampled.
func (l *Logs) newSampler(o SampleOptions) *sampler {
	if o.First == 0 {
		return nil
	}
	per := o.Per
	if per == 0 {
		per = time.Second
	}
	return &sampler{first: o.First, per: per, root: l.outputs}
}

// SendBulk seals the active file and ships all there is, once: see
// [Shipper.SendBulk]. What is written during the call does not count.
func (l *Logs) SendBulk(ctx context.Context) (Result, error) {
	l.reports.Used()
	switch {
	case l.closed.Load():
		return Result{}, &Error{Op: "send bulk", Err: ErrClosed}
	case l.shipper == nil:
		return Result{}, &Error{Op: "send bulk", Err: ErrNoSink}
	}
	return l.shipper.SendBulk(ctx)
}

// Run ties the shipping to ctx, for an errgroup: when ctx ends, it drains the
// log as Close does, and returns nil. What is written after that is Close's,
// and both together take CloseTimeout once. Without Run the log is shipped all
// the same. A second Run at the same time returns ErrRunning, one after Close
// ErrClosed.
func (l *Logs) Run(ctx context.Context) error {
	l.reports.Used()
	if l.closed.Load() {
		return &Error{Op: "run", Err: ErrClosed}
	}
	if !l.running.CompareAndSwap(false, true) {
		return &Error{Op: "run", Err: ErrRunning}
	}
	defer l.running.Store(false)

	select {
	case <-ctx.Done():
	case <-l.stop:
		return nil // Close drains
	}

	if l.shipper != nil {
		l.shipper.undelivered(l.drain(context.WithoutCancel(ctx), true))
	}
	return nil
}

// drain ships what was written until ctx ends, and if it is bounded within what
// is left of CloseTimeout.
func (l *Logs) drain(ctx context.Context, bounded bool) error {
	l.draining.Lock()
	defer l.draining.Unlock()

	if bounded {
		if l.left <= 0 {
			return nil
		}
		bound, cancel := context.WithTimeout(ctx, l.left)
		defer cancel()
		begin := time.Now()
		defer func() { l.left -= time.Since(begin) }()
		ctx = bound
	}

	if l.closed.Load() {
		// The loop gives the turn back; a request under way may finish.
		select {
		case <-l.shipping:
		case <-ctx.Done():
			l.cancel()
			<-l.shipping
		}
	}
	_, err := l.shipper.drain(ctx)
	return err
}

// Stats returns the counters. It reads the folder of the log if there is a
// Sink.
func (l *Logs) Stats() Stats {
	var st Stats
	if l.file != nil {
		st = l.file.Stats()
	}
	st.Suppressed = l.suppressed.Load()
	if s := l.sampler.Load(); s != nil {
		st.Suppressed += s.suppressed.Load()
	}
	if l.shipper != nil {
		st.Ship = l.shipper.Stats()
	}
	return st
}

// Check returns nil, or what is wrong for as long as it is: an error that
// matches [ErrLost] where records are lost, or cannot be stored, or one that
// matches [ErrStuck] where they wait for longer than StuckAfter.
func (l *Logs) Check(context.Context) error {
	l.reports.Used()
	if l.closed.Load() {
		return &Error{Op: "check", Err: ErrClosed}
	}
	return l.reports.Check()
}

// Close ends the log: it writes the summaries of the sampling, ships what is
// left within CloseTimeout, and closes the file. A receiver that is known as
// away, or refusing, gets one try. If events stayed, it returns an *[Error] that
// matches [ErrRemaining] and counts them; they wait for the next start. Records
// logged after Close are lost, and reported to the caller of Handle. Further
// calls return the same.
func (l *Logs) Close() error { return l.end(context.Background(), true) }

// Shutdown is Close within ctx in place of CloseTimeout.
func (l *Logs) Shutdown(ctx context.Context) error { return l.end(ctx, false) }

func (l *Logs) end(ctx context.Context, bounded bool) error {
	l.reports.Used()
	l.closing.Do(func() {
		l.levels.close()
		if s := l.sampler.Load(); s != nil {
			s.close()
		}

		l.closed.Store(true)
		close(l.stop)
		if l.file == nil {
			l.cancel()
			l.reports.end()
			return
		}

		var undelivered error
		if l.shipper != nil {
			undelivered = l.drain(ctx, bounded)
		}

		l.cancel()
		<-l.shipping
		if err := l.file.Close(); err != nil {
			l.err = err
		}
		l.err = errors.Join(l.err, l.stayed(undelivered))
		l.reports.end()
	})
	return l.err
}

// stayed returns an error if events wait in the queue.
func (l *Logs) stayed(cause error) error {
	if l.shipper == nil {
		return nil
	}
	n := l.shipper.remaining()
	if n == 0 {
		return nil
	}
	err := fmt.Errorf("%d events wait in %s for the next start", n, l.file.queue.Dir)
	if reason := l.shipper.Stats().LastError; cause != nil && reason != "" {
		err = fmt.Errorf("%w: %s", err, reason)
	}
	return &Error{Op: "close", Path: l.opts.File.Path, Remaining: int(n), Err: err}
}

func hashString(s string) uint64 { return maphash.String(hashSeed, s) }

var hashSeed = maphash.MakeSeed()
