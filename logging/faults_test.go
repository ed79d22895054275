package logging_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
)

// fill writes total numbered records to a log in a new folder, seals them into
// segments, and returns the folder.
func fill(t testing.TB, total int, more func(i int) string) string {
	t.Helper()
	dir := t.TempDir()
	f, err := logging.OpenFile(&logging.FileOptions{Path: filepath.Join(dir, "app.log"), MaxSegmentBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for i := range total {
		extra := ""
		if more != nil {
			extra = more(i)
		}
		if _, err := fmt.Fprintf(f, "{\"n\":%d,\"msg\":\"some words%s\"}\n", i, extra); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Seal(), f.Close(), os.Remove(filepath.Join(dir, "app.log"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// quick are options for tests in which requests fail.
func quick(o logging.ShipperOptions) *logging.ShipperOptions {
	o = quickly(o)
	if o.CloseTimeout == 0 {
		o.CloseTimeout = time.Minute // of a busy machine
	}
	if o.StuckAfter = -1; o.OnError == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &o
}

// quickly is quick for the Options of New.
func quickly(o logging.ShipperOptions) logging.ShipperOptions {
	o.Interval, o.Retry.Base, o.Retry.Max = time.Millisecond, time.Millisecond, 5*time.Millisecond
	return o
}

// refusedAt names events as refused, each with a reason of its own.
func refusedAt(indices ...int) (all []logging.Rejection) {
	for _, i := range indices {
		all = append(all, logging.Rejection{Index: i, Reason: fmt.Sprint("400 of event ", i)})
	}
	return all
}

// refuses reports whether the receiver is known to refuse what comes.
func refuses(st logging.ShipStats) bool { return st.Delivery.Condition == "refuses" }

// onlyRefused reports whether err says that events were set aside, and nothing
// else.
func onlyRefused(err error) bool {
	return errors.Is(err, logging.ErrRefused) && !errors.Is(err, logging.ErrRemaining)
}

// minute bounds what would else hang.
func minute(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// problems collects what OnError is told.
type problems struct {
	mu   sync.Mutex
	errs []error
}

func (p *problems) add(err error) {
	if !errors.Is(err, logging.ErrLost) && !errors.Is(err, logging.ErrStuck) {
		return // it is over
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errs = append(p.errs, err)
}

// list returns what was told so far.
func (p *problems) list() []error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.errs)
}

// wait returns when n beginnings were told.
func (p *problems) wait(t testing.TB, n int) {
	t.Helper()
	testenv.Eventually(t, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.errs) < n {
			return fmt.Errorf("told %d times, want %d: %v", len(p.errs), n, p.errs)
		}
		return nil
	})
}

func (p *problems) count(target error) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, err := range p.errs {
		if errors.Is(err, target) {
			n++
		}
	}
	return n
}

func TestFaultyReceiver(t *testing.T) {
	t.Parallel()
	const total = 20_000
	outage := testenv.Within(25*time.Second, time.Second)
	for _, tt := range []struct {
		name string
		set  func(r *receiver)
		// repeats says whether answers are lost, so that batches repeat.
		repeats bool
		timeout time.Duration
	}{
		{"30 % 503", func(r *receiver) {
			r.answer = func(int, []byte) int {
				if rand.IntN(10) < 3 {
					return 503
				}
				return 200
			}
		}, false, 0},
		{"outage", func(r *receiver) {
			var end time.Time
			r.answer = func(int, []byte) int {
				if end.IsZero() { // from the first request on, however long the file took
					end = time.Now().Add(outage)
				}
				if time.Now().Before(end) {
					return 503
				}
				return 200
			}
		}, false, 0},
		{"accepts and cuts 20 %", func(r *receiver) {
			r.after = func(int) bool { return rand.IntN(5) == 0 }
		}, true, 0},
		{"stalls", func(r *receiver) {
			r.stall = func(n int) bool { return n%7 == 3 }
		}, true, 200 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t)
			tt.set(r)
			dir := fill(t, total, nil)
			client := r.Client()
			client.Timeout = tt.timeout
			sink, err := httpjson.New(&httpjson.Options{URL: r.URL, IDField: "event_id", HTTP: sink.HTTP{Client: client}})
			if err != nil {
				t.Fatal(err)
			}
			s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink, MaxBatchBytes: 16 << 10}))
			if err != nil {
				t.Fatal(err)
			}
			res, err := s.SendBulk(minute(t))
			if err != nil {
				t.Fatalf("SendBulk = %+v, %v", res, err)
			}
			lost, repeated := r.lost(total)
			if len(lost) > 0 || res.Events != total || res.Retries == 0 || res.Remaining != 0 {
				t.Errorf("%d lost, %+v", len(lost), res)
			}
			if repeated > 0 != tt.repeats || len(r.ids) != total {
				t.Errorf("%d repeated, %d IDs", repeated, len(r.ids))
			}
		})
	}
}

func TestTooLargeIsHalved(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.answer = func(_ int, body []byte) int {
		if len(body) > 3000 {
			return 413
		}
		return 200
	}
	dir := fill(t, 3000, func(i int) string { return strings.Repeat("x", 4000*(1-min(1, max(i-2990, 2990-i)))) })
	var told problems
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: r.sink(t), OnError: told.add}))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.SendBulk(minute(t))
	if !onlyRefused(err) || res.Events != 2999 || res.Quarantined != 1 || res.Retries != 0 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	lost, repeated := r.lost(3000)
	if len(lost) != 1 || lost[0] != 2990 || repeated != 0 {
		t.Errorf("lost %v, %d repeated", lost, repeated)
	}
	if r.count > 600 {
		t.Errorf("%d requests: the batch size does not learn from 413", r.count)
	}
	if told.wait(t, 1); told.count(logging.ErrRefused) != 1 {
		t.Errorf("told %v", told.list())
	}
}

func TestPoisonIsQuarantined(t *testing.T) {
	t.Parallel()
	const total, poison = 10_000, 4321
	r := newReceiver(t)
	r.answer = func(_ int, body []byte) int {
		if bytes.Contains(body, []byte(`"n":4321,`)) {
			return 400
		}
		return 200
	}
	dir := fill(t, total, nil)
	var told problems
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: r.sink(t), OnError: told.add}))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.SendBulk(minute(t))
	if !onlyRefused(err) || res.Events != total-1 || res.Quarantined != 1 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	lost, repeated := r.lost(total)
	if len(lost) != 1 || lost[0] != poison || repeated != 0 {
		t.Errorf("lost %v, %d repeated", lost, repeated)
	}
	data, err := os.ReadFile(filepath.Join(dir, "app.log.quarantine"))
	if err != nil {
		t.Fatal(err)
	}
	var entry struct{ ID, Reason, Line string }
	if err := json.Unmarshal(data, &entry); err != nil {
		t.Fatal(err)
	}
	if want := `{"n":4321,"msg":"some words"}`; entry.Line != want || entry.ID == "" || !strings.Contains(entry.Reason, "400") {
		t.Errorf("quarantine holds %+v", entry)
	}
	if told.wait(t, 1); told.count(logging.ErrRefused) != 1 || s.Stats().Quarantined != 1 {
		t.Errorf("told %v, %+v", told.list(), s.Stats())
	}
}

// TestRejectsAll has a receiver that takes nothing: everything is kept, also
// when events come one by one.
func TestRejectsAll(t *testing.T) {
	t.Parallel()
	for _, batch := range []int{1, 10, 1000} {
		t.Run(fmt.Sprint(batch), func(t *testing.T) {
			t.Parallel()
			var refuse atomic.Bool
			refuse.Store(true)
			took, requests := 0, 0
			sink := limited{logging.Limits{MaxBatchEvents: batch}, func(_ context.Context, b *logging.Batch) error {
				requests++
				if refuse.Load() {
					return &logging.SinkError{Kind: logging.KindRejected, Err: errors.New("400")}
				}
				took += len(b.Events)
				return nil
			}}
			dir := fill(t, 1000, nil)
			var told problems
			s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink, OnError: told.add}))
			if err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				res, err := s.SendBulk(minute(t))
				if !errors.Is(err, logging.ErrRemaining) || res.Quarantined > 0 || res.Remaining != 1000 {
					t.Fatalf("SendBulk = %+v, %v", res, err)
				}
				// The batch and some single events, then one event a try.
				if most := 5 + i; requests > most {
					t.Fatalf("%d requests in %d passes", requests, i+1)
				}
			}
			if told.wait(t, 1); !refuses(s.Stats()) || told.count(logging.ErrRefused) > 0 || len(told.list()) != 1 {
				t.Errorf("%+v, told %v", s.Stats(), told.list())
			}
			refuse.Store(false)
			if res, err := s.SendBulk(minute(t)); err != nil || res.Events != 1000 || took != 1000 {
				t.Fatalf("SendBulk = %+v, %v", res, err)
			}
		})
	}
}

// limited is a sink with limits.
type limited struct {
	limits logging.Limits
	send   func(context.Context, *logging.Batch) error
}

func (l limited) Limits() logging.Limits                           { return l.limits }
func (l limited) Send(ctx context.Context, b *logging.Batch) error { return l.send(ctx, b) }

// TestMuchPoison has more poison in a row than a receiver that takes nothing
// would be believed to refuse; as it takes what follows, the poison is put
// aside.
func TestMuchPoison(t *testing.T) {
	t.Parallel()
	for _, listed := range []bool{false, true} {
		t.Run(fmt.Sprint("listed=", listed), func(t *testing.T) {
			t.Parallel()
			took := map[string]int{}
			sink := limited{logging.Limits{}, func(_ context.Context, b *logging.Batch) error {
				var rejected []int
				for i, e := range b.Events {
					if bytes.Contains(e.Line, []byte("poison")) {
						rejected = append(rejected, i)
					}
				}
				if rejected != nil && !listed {
					return &logging.SinkError{Kind: logging.KindRejected, Err: errors.New("400")}
				}
				next := 0
				for i, e := range b.Events {
					if next < len(rejected) && rejected[next] == i {
						next++
						continue
					}
					took[e.ID]++
				}
				if rejected != nil {
					return &logging.SinkError{Kind: logging.KindRejected, Rejected: refusedAt(rejected...), Err: errors.New("400")}
				}
				return nil
			}}
			dir := fill(t, 600, func(i int) string { return map[bool]string{true: "poison"}[i < 300] })
			s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink}))
			if err != nil {
				t.Fatal(err)
			}
			res, err := s.SendBulk(minute(t))
			if !errors.Is(err, logging.ErrRefused) || res.Events != 300 || res.Quarantined != 300 {
				t.Fatalf("SendBulk = %+v, %v", res, err)
			}
			for id, n := range took {
				if n != 1 {
					t.Errorf("%s taken %d times", id, n)
				}
			}
		})
	}
}

func TestRefusedTokenKeepsData(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.answer = func(int, []byte) int { return 401 }
	var told problems
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(t.TempDir(), "app.log")}, Sink: r.sink(t), OnError: told.add, StuckAfter: -1, Ship: byHand})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	logs.Logger("a").Info("one", "n", 0)
	for range 3 {
		res, err := logs.SendBulk(minute(t))
		se, ok := errors.AsType[*logging.SinkError](err)
		if !ok || se.Kind != logging.KindConfig || res.Remaining != 1 {
			t.Fatalf("SendBulk = %+v, %v", res, err)
		}
	}
	if told.wait(t, 1); len(told.list()) != 1 {
		t.Errorf("told %d times: %v", len(told.list()), told.list())
	}
	if !refuses(logs.Stats().Ship) {
		t.Errorf("%+v", logs.Stats().Ship)
	}
	r.mu.Lock()
	r.answer = nil
	r.mu.Unlock()
	if res, err := logs.SendBulk(minute(t)); err != nil || res.Events != 1 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	if err := logs.Check(t.Context()); err != nil {
		t.Errorf("Check after recovery = %v", err)
	}
}

// partialSink takes all events but those in refuse, and says which.
type partialSink struct {
	refuse func(attempt int, line []byte) bool
	kind   logging.Kind
	sent   []int // events per request
	took   map[string]int
}

func (p *partialSink) Limits() logging.Limits { return logging.Limits{MaxBatchEvents: 100} }

func (p *partialSink) Send(_ context.Context, b *logging.Batch) error {
	p.sent = append(p.sent, len(b.Events))
	var rejected []int
	for i, e := range b.Events {
		if p.refuse(len(p.sent), e.Line) {
			rejected = append(rejected, i)
		} else {
			p.took[e.ID+" "+string(e.Line)]++
		}
	}
	if rejected == nil {
		return nil
	}
	return &logging.SinkError{Kind: p.kind, Rejected: refusedAt(rejected...), Err: errors.New("some were not taken")}
}

// TestPartialRetry has a receiver that takes all but three events at first:
// exactly those are sent again.
func TestPartialRetry(t *testing.T) {
	t.Parallel()
	dir := fill(t, 100, nil)
	sink := &partialSink{took: map[string]int{}, kind: logging.KindRetry, refuse: func(attempt int, line []byte) bool {
		return attempt == 1 && bytes.Contains(line, []byte(`5,`)) && bytes.Contains(line, []byte(`"n":5`)) ||
			attempt <= 2 && bytes.Contains(line, []byte(`"n":77,`)) || attempt == 1 && bytes.Contains(line, []byte(`"n":99,`))
	}}
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink}))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.SendBulk(minute(t))
	if err != nil || res.Events != 100 || res.Retries != 2 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	if got := fmt.Sprint(sink.sent); got != "[100 4 1]" { // 5, 55, 77, 99; then 77
		t.Errorf("requests carried %s events", got)
	}
	if len(sink.took) != 100 {
		t.Errorf("%d events taken", len(sink.took))
	}
	for e, n := range sink.took {
		if n != 1 {
			t.Errorf("%s taken %d times", e, n)
		}
	}
}

func TestPartialRejection(t *testing.T) {
	t.Parallel()
	dir := fill(t, 250, nil)
	sink := &partialSink{took: map[string]int{}, kind: logging.KindRejected, refuse: func(_ int, line []byte) bool {
		return bytes.Contains(line, []byte(`3,`))
	}}
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink}))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.SendBulk(minute(t))
	if !onlyRefused(err) || res.Events != 225 || res.Quarantined != 25 || len(sink.sent) != 3 {
		t.Fatalf("SendBulk = %+v, %v; %v", res, err, sink.sent)
	}
}

func TestRunReturnsWhenReceiverIsAway(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.answer = func(int, []byte) int { return 503 }
	dir := fill(t, 10, nil)
	s, err := logging.NewShipper(&logging.ShipperOptions{Dir: dir, Sink: r.sink(t), CloseTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	testenv.Eventually(t, func() error {
		if s.Stats().Failures == 0 {
			return errors.New("no try has failed")
		}
		return nil
	})
	if err := s.Run(ctx); !errors.Is(err, logging.ErrRunning) {
		t.Errorf("second Run = %v, want ErrRunning", err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run = %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run does not return")
	}
	if st := s.Stats(); st.WaitingEvents != 10 || st.Events != 0 {
		t.Errorf("%+v", st)
	}
}

func TestRetryAfterIsKept(t *testing.T) {
	t.Parallel()
	var at []time.Time
	sink := sinkFunc(func(context.Context, *logging.Batch) error {
		if at = append(at, time.Now()); len(at) == 1 {
			return &logging.SinkError{RetryAfter: 150 * time.Millisecond, Err: errors.New("later")}
		}
		return nil
	})
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: fill(t, 1, nil), Sink: sink}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.SendBulk(minute(t)); err != nil {
		t.Fatal(err)
	}
	if wait := at[1].Sub(at[0]); wait < 150*time.Millisecond {
		t.Errorf("waited %v", wait)
	}
}

type sinkFunc func(context.Context, *logging.Batch) error

func (f sinkFunc) Limits() logging.Limits                           { return logging.Limits{MaxEventBytes: 1 << 20} }
func (f sinkFunc) Send(ctx context.Context, b *logging.Batch) error { return f(ctx, b) }

// TestLongLines ships lines longer than a batch, and one longer than the
// receiver takes.
func TestLongLines(t *testing.T) {
	t.Parallel()
	sizes := map[int]int{}
	sink := sinkFunc(func(_ context.Context, b *logging.Batch) error {
		for _, e := range b.Events {
			sizes[len(e.Line)/1000]++
		}
		return nil
	})
	dir := fill(t, 5, func(i int) string { return strings.Repeat("y", []int{0, 90_000, 1_500_000, 10, 300_000}[i]) })
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink, MaxBatchBytes: 4096}))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.SendBulk(minute(t))
	if !onlyRefused(err) || res.Events != 4 || res.Quarantined != 1 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	if sizes[0] != 2 || sizes[90] != 1 || sizes[300] != 1 {
		t.Errorf("sizes in kB: %v", sizes)
	}
}

// TestQuarantineIsBounded fills the quarantine: what was refused stays in the
// queue, and is set aside when there is room.
func TestQuarantineIsBounded(t *testing.T) {
	t.Parallel()
	dir := fill(t, 100, nil)
	sink := &partialSink{took: map[string]int{}, kind: logging.KindRejected, refuse: func(_ int, line []byte) bool {
		return bytes.Contains(line, []byte(`3,`))
	}}
	path := filepath.Join(dir, "app.log.quarantine")
	if err := os.WriteFile(path, make([]byte, 4000), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink, MaxQuarantineBytes: 5000}))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.SendBulk(minute(t))
	if err == nil || !strings.Contains(err.Error(), "full with 4000 bytes") || !refuses(s.Stats()) {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	again, err := s.SendBulk(minute(t))
	if !onlyRefused(err) || res.Events+again.Events != 90 || again.Quarantined != 10 {
		t.Fatalf("SendBulk = %+v, then %+v, %v", res, again, err)
	}
	for e, n := range sink.took {
		if n != 1 {
			t.Errorf("%s taken %d times", e, n)
		}
	}
}

// TestTroubleIsToldOnce has a folder that cannot be read go on being so.
func TestTroubleIsToldOnce(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	var told problems
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: filepath.Join(t.TempDir(), "none"), Sink: r.sink(t), OnError: told.add, CloseTimeout: -1}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if told.count(os.ErrNotExist) != 1 {
		t.Errorf("told %d times: %v", len(told.list()), told.list())
	}
}

// byHand are options for tests that ship by SendBulk alone.
var byHand = logging.ShipperOptions{Interval: time.Hour}

// with returns o for a folder and a sink.
func with(o *logging.ShipperOptions, dir string, sink logging.Sink) *logging.ShipperOptions {
	c := *o
	c.Dir, c.Sink = dir, sink
	return &c
}

// TestLongRowOfPoison has a receiver refuse 10,000 events in a row, as those too
// old after an outage, and take the 100 behind them: all are told apart in one
// call.
func TestLongRowOfPoison(t *testing.T) {
	t.Parallel()
	const old, fresh = 10_000, 100
	dir := fill(t, old+fresh, func(i int) string { return map[bool]string{true: " too old"}[i < old] })
	requests := 0
	sink := sinkFunc(func(_ context.Context, b *logging.Batch) error {
		requests++
		for _, e := range b.Events {
			if bytes.Contains(e.Line, []byte("too old")) {
				return &logging.SinkError{Kind: logging.KindRejected, Err: errors.New("400")}
			}
		}
		return nil
	})
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink}))
	if err != nil {
		t.Fatal(err)
	}
	if res, err := s.SendBulk(minute(t)); !onlyRefused(err) || res.Events != fresh || res.Quarantined != old {
		t.Errorf("SendBulk = %+v, %v", res, err)
	}
	if requests > old*5/4 {
		t.Errorf("%d requests, want about one for each of the %d", requests, old)
	}
}

// TestRefusedEventsAreBounded has a receiver refuse every second event, while
// none can be set aside: shipping stops before all of them are kept in memory,
// says so, and goes on when there is room.
func TestRefusedEventsAreBounded(t *testing.T) {
	t.Parallel()
	const total, most = 30_000, 10_000
	dir := fill(t, total, nil)
	sink := &collector{took: map[string]int{}}
	sink.before = func(b *logging.Batch) error {
		var refused []int
		for i := range b.Events {
			if i%2 == 0 && len(b.Events) > 1 {
				refused = append(refused, i)
			}
		}
		if refused == nil {
			return nil
		}
		return &logging.SinkError{Kind: logging.KindRejected, Rejected: refusedAt(refused...), Err: errors.New("400")}
	}
	quarantine := filepath.Join(dir, "app.log.quarantine")
	if err := os.Mkdir(quarantine, 0o700); err != nil {
		t.Fatal(err)
	}

	o := quick(logging.ShipperOptions{Dir: dir, Sink: sink, MaxBatchBytes: 64 << 10})
	s, err := logging.NewShipper(o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.SendBulk(minute(t))
	if n := s.Stats().Delivery.Refused; n < most || n > most+2000 {
		t.Errorf("%d refused events are kept, want %d and those of one batch", n, most)
	}
	if !refuses(s.Stats()) || err == nil || !strings.Contains(err.Error(), "cannot be set aside: shipping stops") {
		t.Errorf("SendBulk = %v, state %+v", err, s.Stats().Delivery)
	}

	if err := os.Remove(quarantine); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SendBulk(minute(t)); !onlyRefused(err) {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Events+st.Quarantined != total || st.WaitingEvents != 0 {
		t.Errorf("Stats = %+v, want %d taken or set aside", st, total)
	}
}

// TestSlowReceiverIsNoReasonToEnd has a receiver take events, slowly and not at
// each try: MaxElapsed bounds how long nothing is taken, not the whole call.
func TestSlowReceiverIsNoReasonToEnd(t *testing.T) {
	t.Parallel()
	dir := fill(t, 1000, nil)
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		sink := &collector{took: map[string]int{}}
		sink.before = func(*logging.Batch) error {
			time.Sleep(time.Second)
			if requests++; requests%3 == 0 {
				return &logging.SinkError{Err: errors.New("503")}
			}
			return nil
		}
		o := quick(logging.ShipperOptions{Dir: dir, Sink: sink, MaxBatchBytes: 1024})
		o.Retry.MaxElapsed = 5 * time.Second
		s, err := logging.NewShipper(o)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := s.SendBulk(t.Context()); err != nil || res.Events != 1000 {
			t.Errorf("SendBulk = %+v, %v", res, err)
		}
	})
}

// TestAttempts has a receiver that is away: SendBulk tries as often as it is
// allowed to.
func TestAttempts(t *testing.T) {
	t.Parallel()
	for attempts, want := range map[int]int{-1: 1, 1: 1, 3: 3} {
		dir := fill(t, 10, nil)
		tries := 0
		sink := &collector{before: func(*logging.Batch) error {
			tries++
			return &logging.SinkError{Err: errors.New("away")}
		}}
		o := quick(logging.ShipperOptions{Dir: dir, Sink: sink})
		o.Retry.Attempts, o.Retry.MaxElapsed = attempts, time.Hour
		s, err := logging.NewShipper(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.SendBulk(minute(t)); !errors.Is(err, logging.ErrRemaining) || tries != want {
			t.Errorf("Attempts %d: %d tries, %v; want %d", attempts, tries, err, want)
		}
	}
}

// TestRefusedAreCountedWhileTheyWait has much poison between good events: when all
// of it was set aside, none is told as waiting.
func TestRefusedAreCountedWhileTheyWait(t *testing.T) {
	t.Parallel()
	dir := fill(t, 2000, nil)
	sink := &collector{took: map[string]int{}}
	sink.before = func(b *logging.Batch) error {
		var refused []int
		for i, e := range b.Events {
			if bytes.Contains(e.Line, []byte("1,")) {
				refused = append(refused, i)
			}
		}
		if refused == nil {
			return nil
		}
		return &logging.SinkError{Kind: logging.KindRejected, Rejected: refusedAt(refused...), Err: errors.New("400")}
	}
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.SendBulk(minute(t)); !onlyRefused(err) {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Quarantined != 200 || st.WaitingEvents != 0 || st.Delivery.Refused != 0 {
		t.Errorf("Stats = %+v, want 200 set aside and none that waits", st)
	}
}
