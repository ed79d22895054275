package health

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// MaxKeys bounds the keys that are followed at one time. What is reported under
// further keys is followed together, under [Others].
const MaxKeys = 1000

// Others is the key that stands for all beyond MaxKeys. Its end cannot be
// reported, so it is over when nothing was reported for Options.After.
const Others = "others"

// grace is how long after Start a monitor that nobody uses keeps silent. It
// lets the constructor return first.
const grace = time.Second

// Options says whom to tell, and what.
type Options struct {
	// Component is the block: "notify". It begins the text of errors and is the
	// attribute "component" of records. Required.
	Component string

	// Logger is told of beginnings and ends, both at Error. Nil writes one slog
	// line each to Stderr; slog.New(slog.DiscardHandler) turns it off.
	Logger *slog.Logger

	// JSON makes the lines of Stderr JSON instead of text.
	JSON bool

	// Stderr takes the lines where Logger is nil. Defaults to os.Stderr.
	Stderr io.Writer

	// OnError is told the same, as a [*Notice]. Optional.
	OnError func(error)

	// After is how long a state that loses nothing may last before it is told,
	// and how long all must be well before an episode is over. Defaults to 1m;
	// negative is at once.
	After time.Duration

	// Lost and Stuck are the block's sentinels. Errors of Check, and notices of
	// a beginning, match one of them.
	Lost, Stuck error

	// Invalid says what Broken means for the block. Defaults to "cannot store".
	Invalid string

	// Advise says what to do about err where the block knows better than
	// [Advice]; an empty answer falls back to it. Optional.
	Advise func(key string, err error) string
}

// A Monitor follows the conditions of one block. Its methods are safe for
// concurrent use, and none waits for Logger or OnError except Close.
type Monitor struct {
	opts   Options
	logger *slog.Logger

	open    atomic.Int32 // len(conds), so that OK costs nothing while all is well
	gate    atomic.Int32 // shut, started, used
	pending atomic.Bool  // notices wait for Used

	mu      sync.Mutex
	conds   map[string]*condition
	started time.Time // when Start was called
	notices []*Notice // in the order to be told
	dropped int       // notices that found no room
	telling bool      // a goroutine or Close tells
	idle    chan struct{}
	late    *time.Timer // lets notices out when nobody uses the block
	closed  bool
}

// The states of Monitor.gate.
const (
	shut    = iota // the constructor works
	started        // it has called Start, and may not have returned
	used           // it has returned
)

// condition is an open episode of a key.
type condition struct {
	key  string
	err  error
	bad  bool // as long as OK did not follow
	lost bool // what was reported was a loss

	count     int64 // how many are lost
	since     time.Time
	wellSince time.Time // the end of what was last reported; holds while !bad

	toldStuck, toldLost bool
	timer               *time.Timer // the next time to look: told or over
}

func (c *condition) told() bool { return c.toldStuck || c.toldLost }

// New returns a monitor that keeps silent until Start.
func New(opts Options) *Monitor {
	switch {
	case opts.After == 0:
		opts.After = time.Minute
	case opts.After < 0:
		opts.After = 0
	}
	if opts.Stderr == nil {
		opts.Stderr = os.Stderr
	}
	if opts.Invalid == "" {
		opts.Invalid = "cannot store"
	}

	m := &Monitor{opts: opts, logger: opts.Logger, conds: map[string]*condition{}}
	if m.logger == nil {
		var h slog.Handler = slog.NewTextHandler(opts.Stderr, nil)
		if opts.JSON {
			h = slog.NewJSONHandler(opts.Stderr, nil)
		}
		m.logger = slog.New(h)
	}
	m.logger = m.logger.With("component", opts.Component)
	return m
}

// Start is the constructor's last step: from now on notices go out, at the
// first Used or a second later.
func (m *Monitor) Start() {
	m.mu.Lock()
	defer m.mu.Unlock()

	if m.gate.CompareAndSwap(shut, started) {
		m.started = time.Now()
	}
	m.release()
}

// Used says that the user holds the block, so that its constructor has
// returned. It is cheap: each exported method of a block may call it. Before
// Start it does nothing, so that a constructor may call such methods.
func (m *Monitor) Used() {
	if m.gate.Load() == started {
		m.gate.Store(used)
	}
	if !m.pending.Load() {
		return
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	m.release()
}

// Fail reports that what key stands for does not work, while nothing is lost.
// It lasts until OK, and is told when it has lasted for Options.After. A nil
// err is OK.
func (m *Monitor) Fail(key string, err error) {
	if err == nil {
		m.OK(key)
		return
	}
	m.report(key, err, true, false, 0)
}

// Broken reports that what comes now for key cannot be stored, and would be
// lost. It is told at once and lasts until OK. A nil err is OK.
func (m *Monitor) Broken(key string, err error) {
	if err == nil {
		m.OK(key)
		return
	}
	m.report(key, err, true, true, 0)
}

// Lost reports that n records or messages are gone for good, and why. It is
// told at once and shows in Check until nothing was reported for
// Options.After, so that a probe sees it; a Fail or Broken of the same key
// makes it last longer.
func (m *Monitor) Lost(key string, n int, err error) {
	if n <= 0 {
		return
	}
	if err == nil {
		err = fmt.Errorf("%d lost", n)
	}
	m.report(key, err, false, true, int64(n))
}

// OK reports that all is well with key. It costs one atomic load while nothing
// is open, so that it may be called for each record.
func (m *Monitor) OK(key string) {
	if m.open.Load() == 0 {
		return
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.conds[key]
	if c == nil || !c.bad {
		return
	}

	c.bad, c.wellSince = false, time.Now()
	if !c.told() {
		m.drop(c) // it has passed before anybody heard of it
		return
	}
	m.lookAgain(c, m.opts.After)
}

// Forget drops key without a word, because what it stands for is no more: a
// receiver that was removed from the settings.
func (m *Monitor) Forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.conds[key]; c != nil {
		m.drop(c)
	}
}

// Check returns nil, or an error as long as a state lasts that was told: which
// parts are lost or stuck, since when, and what to do. It matches Options.Lost
// or Options.Stuck, and what was reported.
func (m *Monitor) Check() error {
	if m.open.Load() == 0 {
		return nil
	}

	var bad trouble
	for _, s := range m.States() {
		if s.Told && (s.Lost || s.Failing) {
			bad = append(bad, &Notice{State: s, component: m.opts.Component, invalid: m.opts.Invalid, sentinel: m.sentinel(s.Lost)})
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return bad
}

// States returns what is open, sorted by key, also what was not told yet.
func (m *Monitor) States() []State {
	m.mu.Lock()
	all := make([]State, 0, len(m.conds))
	for _, c := range m.conds {
		all = append(all, m.state(c))
	}
	m.mu.Unlock()

	// Advice may ask the file system, so it is sought under no lock.
	for i := range all {
		all[i].Advice = m.advice(all[i].Key, all[i].Err)
	}
	slices.SortFunc(all, func(a, b State) int { return strings.Compare(a.Key, b.Key) })
	return all
}

// Close tells what is queued, in the calling goroutine or by waiting for the
// one that tells, until ctx ends. States that were not told yet are dropped:
// what waits at the end is the block's own Close to say. A Close called by
// OnError or Logger does not wait for itself; what is queued is told when it
// returns. Later reports are not told, and Check goes on to answer.
func (m *Monitor) Close(ctx context.Context) {
	m.mu.Lock()
	m.closed = true
	if m.gate.Load() == shut {
		m.notices = nil // the constructor failed, and its error says why
	}
	for _, c := range m.conds {
		if c.timer != nil {
			c.timer.Stop()
		}
	}
	if m.late != nil {
		m.late.Stop()
	}

	if !m.telling {
		m.telling, m.idle = true, make(chan struct{})
		m.mu.Unlock()
		m.tell()
		return
	}
	idle := m.idle
	m.mu.Unlock()

	if withinTell() {
		return
	}
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// report opens or renews the condition of key.
func (m *Monitor) report(key string, err error, bad, lost bool, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()

	now := time.Now()
	c := m.conds[key]
	if c == nil && len(m.conds) >= MaxKeys {
		key, bad = Others, false // nobody will say OK to it
		c = m.conds[key]
	}
	if c == nil {
		c = &condition{key: key, since: now}
		m.conds[key] = c
		m.open.Store(int32(len(m.conds))) //nolint:gosec // at most MaxKeys + 1
	}

	c.err, c.count = err, c.count+n
	c.bad = c.bad || bad
	c.lost = c.lost || lost
	c.wellSince = now

	switch {
	case m.closed:
	case c.lost && !c.toldLost, !c.told() && now.Sub(c.since) >= m.opts.After:
		m.begin(c)
		m.lookAgain(c, m.opts.After)
	case !c.bad:
		m.lookAgain(c, m.opts.After) // an event: over when no other follows
	case c.told():
		m.lookAgain(c, -1) // it goes on, and was told
	case c.timer == nil:
		m.lookAgain(c, m.opts.After)
	}
}

// begin queues the notice of a beginning.
func (m *Monitor) begin(c *condition) {
	c.toldStuck, c.toldLost = true, c.lost
	m.queue(&Notice{State: m.state(c), component: m.opts.Component, invalid: m.opts.Invalid, sentinel: m.sentinel(c.lost)})
}

// lookAgain calls look for c after d, in place of an earlier time. Below zero
// it is not called.
func (m *Monitor) lookAgain(c *condition, d time.Duration) {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if d >= 0 && !m.closed {
		c.timer = time.AfterFunc(d, func() { m.look(c) })
	}
}

// look is called when c may have lasted long enough to be told, or been well
// long enough to be over. The timer may be late and c another than it was, so
// everything is looked at anew.
func (m *Monitor) look(c *condition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.conds[c.key] != c {
		return
	}

	now := time.Now()
	switch {
	case c.bad:
		if !c.told() && now.Sub(c.since) >= m.opts.After {
			m.begin(c)
		}
	case now.Sub(c.wellSince) >= m.opts.After:
		if c.told() {
			m.queue(&Notice{State: m.state(c), Over: true, component: m.opts.Component})
		}
		m.drop(c)
	}
}

// drop ends the episode of c.
func (m *Monitor) drop(c *condition) {
	if c.timer != nil {
		c.timer.Stop()
	}
	delete(m.conds, c.key)
	m.open.Store(int32(len(m.conds))) //nolint:gosec // at most MaxKeys + 1
}

func (m *Monitor) state(c *condition) State {
	return State{Key: c.key, Err: c.err, Lost: c.lost, Count: c.count, Since: c.since, Failing: c.bad, Told: c.told()}
}

func (m *Monitor) sentinel(lost bool) error {
	if lost {
		return m.opts.Lost
	}
	return m.opts.Stuck
}

func (m *Monitor) advice(key string, err error) string {
	if m.opts.Advise != nil {
		if text := m.opts.Advise(key, err); text != "" {
			return text
		}
	}
	return Advice(err)
}

// queue hands n to the goroutine that tells. A callback that never returns must
// not fill the memory, so the queue is bounded, and what finds no room is
// counted.
func (m *Monitor) queue(n *Notice) {
	n.At = time.Now()
	if len(m.notices) >= 4*MaxKeys {
		m.dropped++
		return
	}
	n.Untold, m.dropped = m.dropped, 0
	m.notices = append(m.notices, n)
	m.release()
}

// release starts telling if there is something to tell and it may go out.
func (m *Monitor) release() {
	m.pending.Store(len(m.notices) > 0 && !m.telling)
	if len(m.notices) == 0 || m.telling || m.gate.Load() == shut || m.closed {
		return
	}

	// The constructor may still be on its way back, as far as this can know.
	if wait := grace - time.Since(m.started); m.gate.Load() == started && wait > 0 {
		if m.late == nil {
			m.late = time.AfterFunc(wait, m.Used)
		}
		return
	}

	m.pending.Store(false)
	m.telling, m.idle = true, make(chan struct{})
	go m.tell()
}

// tell calls Logger and OnError for what is queued, one at a time. It runs in
// one goroutine at a time, whoever set m.telling.
func (m *Monitor) tell() {
	for {
		m.mu.Lock()
		if len(m.notices) == 0 {
			m.telling = false
			close(m.idle)
			m.mu.Unlock()
			return
		}
		n := m.notices[0]
		m.notices = slices.Delete(m.notices, 0, 1)
		m.mu.Unlock()

		n.Advice = m.advice(n.Key, n.Err)
		n.log(m.logger)
		if m.opts.OnError != nil {
			m.opts.OnError(n)
		}
	}
}

// withinTell reports whether the caller runs below tell, in a callback.
func withinTell() bool {
	var pcs [64]uintptr
	for skip := 2; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		frames := runtime.CallersFrames(pcs[:n])
		for more := n > 0; more; {
			var f runtime.Frame
			f, more = frames.Next()
			if strings.HasSuffix(f.Function, "internal/health.(*Monitor).tell") {
				return true
			}
		}
		if n < len(pcs) {
			return false
		}
	}
}
