// Package health asks the parts of the service how they fare, in the
// background, so that a probe or a page never waits for a mail server.
package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrRunning says that Run is under way already.
var ErrRunning = errors.New("health: already running")

// Check is one part that can be asked.
type Check struct {
	// Name is the part's name, such as "notify".
	Name string
	// Required says that the service is not ready while the part fails. The
	// others degrade it.
	Required bool
	// Every is the time between two questions, for a part that they cost
	// something. Defaults to Options.Every.
	Every time.Duration
	// Func returns nil if the part works. It is given a few seconds.
	Func func(ctx context.Context) error
	// Advice says what to do about an error. Optional.
	Advice func(err error) string
}

// Result is what a check found last.
type Result struct {
	Name     string
	Required bool
	Err      error     // nil: works
	Advice   string    // what to do about Err
	At       time.Time // when it was asked; zero: not yet
}

// Options are a monitor's settings.
type Options struct {
	// Every is the time between checks. Defaults to 10s.
	Every time.Duration
	// Timeout bounds one check. Defaults to 5s.
	Timeout time.Duration
	// Logger gets a line when a part fails or works again. Nil discards.
	Logger *slog.Logger
}

// Monitor keeps the results. It is safe for concurrent use.
type Monitor struct {
	checks  []Check
	opts    Options
	running atomic.Bool
	asked   chan struct{} // closed once every check was asked

	mu      sync.Mutex
	results []Result
	first   sync.Once
}

// New returns a monitor of checks.
func New(checks []Check, opts Options) *Monitor {
	if opts.Every <= 0 {
		opts.Every = 10 * time.Second
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 5 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Monitor{checks: slices.Clone(checks), opts: opts, asked: make(chan struct{})}
	for _, c := range checks {
		m.results = append(m.results, Result{Name: c.Name, Required: c.Required})
	}
	return m
}

// Run asks every part at once and then regularly, until ctx ends. A second
// concurrent call returns [ErrRunning].
func (m *Monitor) Run(ctx context.Context) error {
	if !m.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer m.running.Store(false)
	tick := time.NewTicker(m.opts.Every)
	defer tick.Stop()
	for {
		m.ask(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Asked is closed once every part was asked.
func (m *Monitor) Asked() <-chan struct{} { return m.asked }

func (m *Monitor) ask(ctx context.Context) {
	var wg sync.WaitGroup
	results := m.Results()
	for i, c := range m.checks {
		// The ticks come a little early or late.
		if at := results[i].At; !at.IsZero() && time.Since(at) < c.Every-m.opts.Every/2 {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeoutCause(ctx, m.opts.Timeout, fmt.Errorf("no answer within %v", m.opts.Timeout))
			defer cancel()
			err := c.Func(ctx)
			if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
				return // the service stops; that says nothing of the part
			}
			m.note(i, err)
		})
	}

	wg.Wait()
	if ctx.Err() == nil {
		m.first.Do(func() { close(m.asked) })
	}
}

func (m *Monitor) note(i int, err error) {
	c := m.checks[i]
	r := Result{Name: c.Name, Required: c.Required, Err: err, At: time.Now()}
	if err != nil && c.Advice != nil {
		r.Advice = c.Advice(err)
	}
	m.mu.Lock()
	old := m.results[i]

	m.results[i] = r
	m.mu.Unlock()

	switch {
	case err != nil && old.Err == nil:
		m.opts.Logger.Warn("part does not work", "part", c.Name, "required", c.Required, "error", err, "advice", r.Advice)
	case err == nil && old.Err != nil:
		m.opts.Logger.Info("part works again", "part", c.Name)
	}
}

// Results returns what every check found last, in the order of the checks.
func (m *Monitor) Results() []Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.results)
}

// Ready returns nil if every required part was asked and works.
func (m *Monitor) Ready() error {
	var errs []error
	for _, r := range m.Results() {
		switch {
		case !r.Required:
		case r.At.IsZero():
			errs = append(errs, fmt.Errorf("%s: not asked yet", r.Name))
		case r.Err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", r.Name, r.Err))
		}
	}
	return errors.Join(errs...)
}
