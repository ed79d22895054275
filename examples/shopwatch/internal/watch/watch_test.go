package watch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/crawl"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/trace"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/watch"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/scrape"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("site down")

// site is a shop of one page behind the Fetcher interface, with a watcher on
// it. A run is asked for by run, which waits for its end.
type site struct {
	mu      sync.Mutex
	prices  map[int]int64
	err     error
	broken  []int
	block   chan struct{} // if not nil, a fetch waits for it or for ctx
	entered chan struct{}

	store *history.Store
	sent  *recorder
	log   *syncBuffer
	opts  watch.Options
	w     *watch.Watcher
	stop  func() // ends what start began
	runs  int
}

func newSite(t *testing.T) *site {
	t.Helper()
	store, err := history.Open(filepath.Join(t.TempDir(), "history.db"), history.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	s := &site{prices: map[int]int64{}, store: store, sent: &recorder{}, log: &syncBuffer{}, entered: make(chan struct{}, 100)}
	s.opts = watch.Options{
		Name: "shop", Crawl: crawl.Options{Start: "https://shop.example/"}, Store: store, Fetcher: s, Notifier: s.sent,
		Logger: slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Every:  24 * time.Hour, RetryEvery: time.Hour,
	}
	return s
}

// start runs a watcher until the test ends or stop is called.
func (s *site) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s.w = watch.New(s.opts)
	go func() { done <- s.w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(stop)
	s.stop = stop
	return stop
}

// run makes the watcher run once.
func (s *site) run(t *testing.T) {
	t.Helper()
	if s.w == nil {
		s.start(t) // which begins with a run
	} else if !s.w.Trigger(t.Context(), "request") {
		t.Fatal("a run is asked for already")
	}
	s.runs++
	s.await(t, s.runs)
}

// await waits until n runs have ended and nothing is owed.
func (s *site) await(t *testing.T, n int) {
	t.Helper()
	testenv.Eventually(t, func() error {
		runs, err := s.store.Runs(100)
		if err != nil {
			t.Fatal(err)
		}
		pending, err := s.store.Pending()
		if err != nil {
			t.Fatal(err)
		}
		if len(runs) >= n && runs[0].Status != history.Running && len(pending) == 0 {
			return nil
		}
		return fmt.Errorf("%d runs have not ended:\n%s", n, s.log)
	})
}

// begun waits until n runs have begun, where there is hardly a moment without one.
func (s *site) begun(t *testing.T, n int) {
	t.Helper()
	waitFor(t, func() bool {
		runs, err := s.store.Runs(n)
		return err == nil && len(runs) == n
	})
}

func (s *site) set(n int, cents int64) *site {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prices[n] = cents
	return s
}

func (s *site) remove(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.prices, n)
}

func (s *site) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *site) garbage(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = append(s.broken, n)
}

func (s *site) hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.block = make(chan struct{})
	return sync.OnceFunc(func() { close(s.block) })
}

func (s *site) Each(ctx context.Context, urls iter.Seq[string], _ int, fn func(string, *http.Response, error) error) error {
	for u := range urls {
		res, err := s.get(ctx, u)
		if err := fn(u, res, err); err != nil {
			return err
		}
	}
	return nil
}

func (s *site) get(ctx context.Context, u string) (*http.Response, error) {
	s.entered <- struct{}{}
	s.mu.Lock()
	block := s.block
	s.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "text/html")
	for n := range 100 {
		price, ok := s.prices[n]
		text := fmt.Sprintf("%d.%02d EUR", price/100, price%100)
		if slices.Contains(s.broken, n) {
			ok, text = true, "call us"
		}
		if ok {
			_, _ = fmt.Fprintf(w, `<li itemscope itemtype="https://schema.org/Product"><a href="/item/%d" itemprop=name>item %d</a> <b itemprop=price>%s</b></li>`, n, n, text)
		}
	}
	_, _ = io.WriteString(w, `<nav class=pages><a href="/">1</a></nav>`)
	res := w.Result()
	res.Request = httptest.NewRequest(http.MethodGet, u, nil)
	return res, nil
}

// recorder is a Notifier that keeps what it gets.
type recorder struct {
	mu       sync.Mutex
	messages []notify.Message
	err      error
}

func (r *recorder) Notify(_ context.Context, m notify.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	r.messages = append(r.messages, m)
	return nil
}

func (r *recorder) setErr(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *recorder) all() []notify.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestRunStoresAndLogsEachStep(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set(1, 1000)
	s.run(t)
	s.set(1, 1100)
	s.run(t)
	s.stop()
	for _, want := range []string{
		`"msg":"run started","run":1,"trigger":"start"`, `"msg":"page read","run":1,"url":"https://shop.example/"`,
		`"msg":"item seen","run":1,"item":"https://shop.example/item/1","name":"item 1","price":"10.00 EUR"`,
		`"msg":"run ended","run":1,"status":"ok","pages":1`, `"trigger":"request"`,
		`"kind":"price","item":"https://shop.example/item/1","name":"item 1","old":"10.00 EUR","new":"11.00 EUR"`,
		`"msg":"notice handed on"`,
	} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, s.log)
		}
	}
	if err := s.w.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNoticeStaysOwedUntilTaken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.opts.RetryEvery = 5 * time.Millisecond
	s.set(1, 1000)
	s.run(t)
	s.sent.setErr(errors.New("outbox full"))
	s.set(1, 900)
	s.w.Trigger(t.Context(), "request")
	waitFor(t, func() bool { return s.w.Check(t.Context()) != nil })
	if err := s.w.Check(t.Context()); !strings.Contains(err.Error(), "outbox full") {
		t.Errorf("Check = %v", err)
	}
	s.sent.setErr(nil)
	s.await(t, 2)
	waitFor(t, func() bool { return s.w.Check(t.Context()) == nil })
	if got := s.sent.all(); len(got) != 1 || got[0].Subject != "shop: 1 price changed" {
		t.Errorf("messages = %+v", got)
	}
	if n := strings.Count(s.log.String(), `"msg":"change found"`); n != 1 {
		t.Errorf("the change is logged %d times, want 1", n)
	}
}

func TestNoReceiverSettles(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.sent.setErr(fmt.Errorf("hub: %w", notify.ErrNoReceiver))
	s.fail(errDown)
	s.run(t)
	if err := s.w.Check(t.Context()); err == nil || strings.Contains(err.Error(), "notice") {
		t.Errorf("Check = %v, want that of the run alone", err)
	}
	if !strings.Contains(s.log.String(), "no receiver takes the notice") {
		t.Errorf("log:\n%s", s.log)
	}
}

// A process that dies after the store and before the hub owes the notice, and
// the next one hands it on before anything else.
func TestOwedNoticesOfAnEarlierProcess(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set(1, 1000)
	stop := s.start(t)
	s.await(t, 1)
	s.sent.setErr(errors.New("gone"))
	s.set(1, 900)
	s.w.Trigger(t.Context(), "request")
	waitFor(t, func() bool { p, err := s.store.Pending(); return err == nil && len(p) == 1 })
	stop()
	s.sent.setErr(nil)
	s.fail(errDown)
	s.start(t)
	s.await(t, 3)
	var subjects []string
	for _, m := range s.sent.all() {
		subjects = append(subjects, m.Subject)
	}
	if diff := cmp.Diff([]string{"shop: 1 price changed", "shop: run 3 failed"}, subjects); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

func TestStopLetsPagesFinish(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set(1, 1000)
	release := s.hold()
	stop := s.start(t)
	<-s.entered
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	waitFor(t, func() bool { return s.w.State().Run.ID == 1 })
	release()
	<-stopped
	items, err := s.store.Items(1)
	if err != nil || len(items) != 1 {
		t.Errorf("items = %+v, %v; want the page on its way", items, err)
	}
	runs, err := s.store.Runs(1)
	if err != nil || runs[0].Status == history.Running || runs[0].Failures != 0 {
		t.Errorf("run = %+v, %v", runs, err)
	}
}

func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.opts.StopTimeout = 10 * time.Millisecond
	defer s.hold()()
	stop := s.start(t)
	<-s.entered
	stop()
	runs, err := s.store.Runs(1)
	if err != nil || runs[0].Status != history.Stopped || runs[0].Failures != 0 || !strings.Contains(runs[0].Error, "took too long") {
		t.Errorf("run = %+v, %v", runs, err)
	}
	if got := s.sent.all(); len(got) != 0 {
		t.Errorf("a stop sent %+v", got)
	}
}

func TestRunTimeout(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.opts.RunTimeout = 10 * time.Millisecond
	defer s.hold()()
	s.run(t)
	runs, err := s.store.Runs(1)
	if err != nil || runs[0].Status != history.Failed || !strings.Contains(runs[0].Error, "site.run_timeout") {
		t.Errorf("run = %+v, %v", runs, err)
	}
}

func TestScheduleAndState(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set(1, 1000)
	s.start(t)
	s.await(t, 1)
	waitFor(t, func() bool { st := s.w.State(); return st.Run.ID == 0 && !st.Asked })
	release := s.hold()
	s.w.SetEvery(time.Millisecond)
	waitFor(t, func() bool { return s.w.State().Run.ID == 2 && s.w.State().Progress.Current != "" })
	if st := s.w.State(); st.Run.Trigger != "schedule" || st.Progress.Known != 1 || st.Progress.Done != 0 {
		t.Errorf("state = %+v", st)
	}
	s.w.SetEvery(time.Hour)
	s.w.SetEvery(-1)
	if !s.w.Trigger(t.Context(), "request") || s.w.Trigger(t.Context(), "request") || !s.w.State().Asked {
		t.Error("one request is held while a run is under way, and no second one")
	}
	release()
	s.await(t, 3)
	if err := s.w.Run(t.Context()); !errors.Is(err, watch.ErrRunning) {
		t.Errorf("second Run = %v, want ErrRunning", err)
	}
}

// tracing is a Fetcher that tells which trace a page was fetched in.
type tracing struct {
	crawl.Fetcher

	traces chan trace.Context
}

func (f tracing) Each(ctx context.Context, urls iter.Seq[string], workers int, fn func(string, *http.Response, error) error) error {
	select {
	case f.traces <- trace.From(ctx):
	default: // those that are looked at are there
	}
	return f.Fetcher.Each(ctx, urls, workers, fn)
}

// A negative schedule means that nothing runs unasked, not even at the start;
// a run that is asked for is in the trace of the one who asks, any other in one
// of its own.
func TestOnRequestOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set(1, 1000)
	traces := make(chan trace.Context, 10)
	s.opts.Fetcher, s.opts.Every = tracing{s, traces}, -1
	s.start(t)
	asker := trace.New()
	s.w.Trigger(trace.With(t.Context(), asker), "request")
	s.await(t, 1)
	s.w.Trigger(t.Context(), "request")
	s.await(t, 2)
	if runs, err := s.store.Runs(10); err != nil || len(runs) != 2 || runs[1].Trigger != "request" {
		t.Errorf("runs = %+v, %v, want two on request", runs, err)
	}
	if got := <-traces; got.TraceID() != asker.TraceID() || got == asker {
		t.Errorf("the run's trace is %q, want a child of %q", got, asker)
	}
	if got := <-traces; got.IsZero() || got.TraceID() == asker.TraceID() {
		t.Errorf("the second run's trace is %q", got)
	}
	s.w.SetEvery(0) // the default, not never
	s.w.SetEvery(time.Millisecond)
	s.begun(t, 3)
}

func TestHistoryTrouble(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set(1, 1000)
	s.run(t)
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	s.w.Trigger(t.Context(), "request")
	waitFor(t, func() bool { return s.w.Check(t.Context()) != nil })
	if !strings.Contains(s.log.String(), "the history cannot be used") {
		t.Errorf("log:\n%s", s.log)
	}
}

func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	testenv.Eventually(t, func() error {
		if !cond() {
			return errors.New("the condition does not hold")
		}
		return nil
	})
}

// A run without a way out fails with the reason, and another one begins when
// there is a way out again, long before the schedule would.
func TestNoWayOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set(1, 1000)
	s.opts.RetryEvery = time.Millisecond
	var back atomic.Bool
	s.opts.Ready = func(context.Context) error {
		if back.Load() {
			return nil
		}
		return errors.New("Tor is missing")
	}
	s.start(t)
	s.await(t, 1)
	runs, err := s.store.Runs(2)
	if err != nil || len(runs) != 1 || runs[0].Status != history.Failed || runs[0].Pages != 0 || !strings.Contains(runs[0].Error, "Tor is missing") {
		t.Errorf("runs = %+v, %v, want one that failed with the reason", runs, err)
	}
	if err := s.w.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "Tor is missing") {
		t.Errorf("Check = %v", err)
	}

	back.Store(true)
	waitFor(t, func() bool { return s.w.Check(t.Context()) == nil })
	s.await(t, 2)
	if runs, err = s.store.Runs(1); err != nil || runs[0].Trigger != "retry" || runs[0].Status != history.OK {
		t.Errorf("runs = %+v, %v, want one that was tried again", runs, err)
	}
}

// A way out that is lost in the middle of a run is waited for as well.
func TestWayOutLost(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set(1, 1000)
	s.opts.RetryEvery = time.Millisecond
	s.fail(fmt.Errorf("scrape: get: %w", scrape.ErrEgressUnavailable))
	s.start(t)
	s.begun(t, 3)
	s.fail(nil)
	waitFor(t, func() bool { return s.w.Check(t.Context()) == nil })
}
