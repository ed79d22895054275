package logging_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
)

// modelReceiver takes what its rule says, and remembers in which order.
type modelReceiver struct {
	refuse func(n int) bool // by number of event
	listed bool             // whether an answer names what was refused
	away   func() bool
	limits logging.Limits
	fail   func(format string, args ...any)

	mu      sync.Mutex
	clock   int         // answers so far
	took    map[int]int // deliveries by number
	refused map[int]int // when an event was first refused, by itself
	lastOK  int         // when something was taken last
	oks     []int       // when something was taken
}

func (m *modelReceiver) Limits() logging.Limits { return m.limits }

func (m *modelReceiver) Send(_ context.Context, b *logging.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock++
	if most := m.limits.MaxBatchEvents; most > 0 && len(b.Events) > most {
		m.fail("a request of %d events, and the receiver takes %d", len(b.Events), most)
	}
	if m.away() {
		return errors.New("away")
	}
	var numbers []int
	var rejections []logging.Rejection
	for i, e := range b.Events {
		var line struct{ N int }
		if err := json.Unmarshal(e.Line, &line); err != nil {
			return &logging.SinkError{Kind: logging.KindConfig, Err: err}
		}
		numbers = append(numbers, line.N)
		if m.refuse(line.N) {
			rejections = append(rejections, logging.Rejection{Index: i, Reason: fmt.Sprint("refused ", line.N)})
		}
	}

	if rejections == nil {
		m.took1(numbers, nil)
		return nil
	}
	if m.listed {
		m.took1(numbers, rejections)
		return &logging.SinkError{Kind: logging.KindRejected, Rejected: rejections, Err: errors.New("some refused")}
	}
	if len(numbers) == 1 {
		m.note(numbers[0])
		return &logging.SinkError{Kind: logging.KindRejected, Err: errors.New(rejections[0].Reason)}
	}
	return &logging.SinkError{Kind: logging.KindRejected, Err: errors.New("400")}
}

func (m *modelReceiver) note(n int) {
	if _, ok := m.refused[n]; !ok {
		m.refused[n] = m.clock
	}
}

// took1 takes the events in order, but for those rejected.
func (m *modelReceiver) took1(numbers []int, rejections []logging.Rejection) {
	next := 0
	for i, n := range numbers {
		m.clock++
		if next < len(rejections) && rejections[next].Index == i {
			next++
			m.note(n)
			continue
		}
		m.took[n]++
		m.oks = append(m.oks, m.clock)
		m.lastOK = m.clock
	}
}

// model is one run: what is logged, what the receiver does, and when the process
// starts again.
type model struct {
	t      *testing.T
	r      *rand.Rand
	dir    string
	sink   *modelReceiver
	logs   *logging.Logs
	logged int
	size   int
}

func (m *model) start() {
	logs, err := logging.New(&logging.Options{
		File: logging.FileOptions{Path: filepath.Join(m.dir, "app.log"), MaxSegmentBytes: 4 << 10},
		Sink: m.sink, Ship: logging.ShipperOptions{MaxBatchBytes: m.size, Interval: 10 * time.Second, Retry: logging.Retry{MaxElapsed: 5 * time.Second}},
		CloseTimeout: time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.logs = logs
}

func (m *model) log(n int) {
	log := m.logs.Logger("a")
	for range n {
		log.Info("some words", "n", m.logged)
		m.logged++
	}
}

// quarantine returns the reasons by number of event.
func (m *model) quarantine() map[int]string {
	found := map[int]string{}
	f, err := os.Open(filepath.Join(m.dir, "app.log.quarantine"))
	if errors.Is(err, os.ErrNotExist) {
		return found
	}
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var entry struct{ Reason, Line string }
		var line struct{ N int }
		if err := errors.Join(json.Unmarshal(s.Bytes(), &entry), json.Unmarshal([]byte(entry.Line), &line)); err != nil {
			m.t.Fatal(err)
		}
		found[line.N] = entry.Reason
	}
	return found
}

// waiting returns the numbers of the events that are still on the disk.
func (m *model) waiting() map[int]bool {
	found := map[int]bool{}
	names, err := filepath.Glob(filepath.Join(m.dir, "app*.log"))
	if err != nil {
		m.t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			m.t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			var l struct{ N int }
			if err := json.Unmarshal(line, &l); err != nil {
				m.t.Fatalf("%s: %q: %v", name, line, err)
			}
			found[l.N] = true
		}
	}
	return found
}

// check asserts that each event was delivered, set aside for its own reason and
// only after something later was taken, or waits and that is told.
func (m *model) check() {
	st := m.logs.Stats()
	err := m.logs.Close()
	aside, waits := m.quarantine(), m.waiting()
	stays := 0
	for n := range m.logged {
		reason, set := aside[n]
		switch {
		case set:
			if want := fmt.Sprint("refused ", n); reason != want {
				m.t.Errorf("event %d was set aside for %q, want %q", n, reason, want)
			}
			first, ok := m.sink.refused[n]
			if !ok || first > m.sink.lastOK {
				m.t.Errorf("event %d was set aside, refused at %d, and nothing was taken after it: the last at %d", n, first, m.sink.lastOK)
			}
		case m.sink.took[n] > 0:
		case waits[n]:
			stays++
		default:
			m.t.Errorf("event %d is lost", n)
		}
	}
	if len(aside) > 0 && m.sink.lastOK == 0 {
		m.t.Errorf("%d events set aside at a receiver that takes nothing", len(aside))
	}
	e, ok := errors.AsType[*logging.Error](err)
	if stays > 0 && (!ok || !errors.Is(err, logging.ErrRemaining) || e.Remaining < stays) {
		m.t.Errorf("%d events wait, Close = %v", stays, err)
	}
	if st.Ship.WaitingEvents > 0 && st.Ship.Delivery.Condition == "healthy" {
		m.t.Errorf("%d events wait, and the log is said to be healthy: %+v", st.Ship.WaitingEvents, st.Ship)
	}
}

// TestModel has receivers refuse by all kinds of rules, change their mind, go
// away and come back, with restarts at any point.
func TestModel(t *testing.T) {
	t.Parallel()
	const shards = 8
	runs := uint64(testenv.Reps(10_000))
	for shard := range uint64(shards) {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			t.Parallel()
			for seed := shard; seed < runs && !t.Failed(); seed += shards {
				synctest.Test(t, func(t *testing.T) { runModel(t, seed) })
				if t.Failed() {
					t.Logf("the run with seed %d", seed)
				}
			}
		})
	}
}

func runModel(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	total := []int{5, 30, 150}[r.IntN(3)]
	few := []int{0, 1, 64, 65, 1000}[r.IntN(5)]
	rules := []func(n int) bool{
		func(n int) bool { return n >= total/3 && n < total/3+few },
		func(n int) bool { return n < total/2 },
		func(n int) bool { return n >= total/2 },
		func(n int) bool { return n%2 == 0 },
		func(int) bool { return true },
		func(int) bool { return false },
	}
	rule := rules[r.IntN(len(rules))]
	sink := &modelReceiver{
		refuse: func(n int) bool { return rule(n) }, listed: r.IntN(2) == 0, away: func() bool { return false },
		took: map[int]int{}, refused: map[int]int{}, fail: t.Errorf,
	}
	if r.IntN(3) == 0 {
		sink.limits.MaxBatchEvents = 1 + r.IntN(10)
	}
	if flaky := r.IntN(4); flaky == 0 {
		own := rand.New(rand.NewPCG(seed, 2)) // under the sink's lock
		sink.away = func() bool { return own.IntN(3) == 0 }
	}
	m := &model{t: t, r: r, dir: t.TempDir(), sink: sink, size: []int{1024, 4096, 1 << 20}[r.IntN(3)]}
	m.start()
	for m.logged < total {
		m.log(1 + r.IntN(total))
		switch r.IntN(6) {
		case 0:
			time.Sleep(time.Duration(r.IntN(10_000)) * time.Millisecond)
		case 1:
			_, _ = m.logs.SendBulk(t.Context())
		case 2: // a restart
			_ = m.logs.Close()
			m.start()
		case 3: // it changes its mind
			sink.mu.Lock()
			rule = rules[r.IntN(len(rules))]
			sink.mu.Unlock()
		}
	}
	time.Sleep(time.Duration(60+r.IntN(240)) * time.Second)
	m.check()
}
