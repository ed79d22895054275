package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/broker"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// start starts a server with a queue.
func start(t *testing.T, opts queue.Options) (*queue.Queue, *nats.Conn) {
	t.Helper()
	s, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: "127.0.0.1:0", Dir: t.TempDir(), DisableSync: true})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := s.Connect(t.Context(), t.Name(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); _ = s.Close() })
	q, err := queue.Create(t.Context(), nc, opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	return q, nc
}

func job(n int) queue.Job {
	return queue.Job{ID: fmt.Sprintf("job-%d", n), URL: fmt.Sprintf("http://site.example/%d", n)}
}

func jobs(from, to int) iter.Seq2[queue.Job, error] {
	return func(yield func(queue.Job, error) bool) {
		for n := from; n < to; n++ {
			if !yield(job(n), nil) {
				return
			}
		}
	}
}

func publish(t *testing.T, q *queue.Queue, from, to int) queue.Published {
	t.Helper()
	done, err := q.Publish(t.Context(), jobs(from, to))
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// run starts a worker, and returns how to end it.
func run(t *testing.T, q *queue.Queue, fetch queue.Fetch, opts queue.WorkerOptions) (*queue.Worker, func()) {
	t.Helper()
	if opts.Name == "" {
		opts.Name = "w"
	}
	if opts.Retry == (backoff.Policy{}) {
		opts.Retry = backoff.Policy{Base: time.Millisecond, Max: 10 * time.Millisecond}
	}
	w, err := q.Worker(fetch, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return w, stop
}

// await waits until the queue has these numbers.
func await(t *testing.T, q *queue.Queue, want queue.Stats) {
	t.Helper()
	testenv.Eventually(t, func() error {
		got, err := q.Stats(t.Context())
		if err == nil && got != want {
			err = fmt.Errorf("stats %+v, want %+v", got, want)
		}
		return err
	})
}

func page(_ context.Context, j queue.Job) (queue.Page, error) {
	return queue.Page{FinalURL: j.URL + "/end", Status: 200, ContentType: "text/plain", Body: []byte("page of " + j.ID)}, nil
}

func TestResults(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{})
	if got := publish(t, q, 0, 450); got != (queue.Published{Stored: 450}) {
		t.Errorf("published %+v", got)
	}
	await(t, q, queue.Stats{Waiting: 450})
	w, _ := run(t, q, page, queue.WorkerOptions{Name: "one"})
	await(t, q, queue.Stats{Results: 450})
	seen := map[string]bool{}
	for r, err := range q.Results(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		seen[r.ID] = true
		if r.ID == "job-7" {
			want := queue.Result{
				Page: queue.Page{FinalURL: "http://site.example/7/end", Status: 200, ContentType: "text/plain", Body: []byte("page of job-7")},
				ID:   "job-7", URL: "http://site.example/7", Worker: "one",
			}
			if diff := cmp.Diff(want, r, cmpopts.IgnoreFields(queue.Result{}, "Time")); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		}
	}
	if len(seen) != 450 {
		t.Errorf("%d results, want 450", len(seen))
	}
	testenv.Eventually(t, func() error {
		if c := w.Counts(); c != (queue.Counts{Done: 450}) {
			return fmt.Errorf("counts %+v", c)
		}
		return nil
	})
}

func TestResultsOfNone(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{})
	for r, err := range q.Results(t.Context()) {
		t.Errorf("%+v, %v", r, err)
	}
}

// A job of the same ID is a repeat: within the server's memory it is not
// stored, and after that its result is found.
func TestRepeats(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{Duplicates: 200 * time.Millisecond})
	publish(t, q, 0, 10)
	if got := publish(t, q, 5, 15); got != (queue.Published{Stored: 10, Repeats: 5}) {
		t.Errorf("published %+v, want 5 repeats", got)
	}
	var fetched atomic.Int64
	w, _ := run(t, q, func(ctx context.Context, j queue.Job) (queue.Page, error) { fetched.Add(1); return page(ctx, j) }, queue.WorkerOptions{})
	await(t, q, queue.Stats{Results: 15})
	testenv.Eventually(t, func() error {
		if got := publish(t, q, 0, 1); got.Repeats != 0 {
			return errors.New("the server still remembers the ID")
		}
		return nil
	})
	testenv.Eventually(t, func() error {
		if c := w.Counts(); c.Known == 0 {
			return fmt.Errorf("counts %+v, want one known", c)
		}
		return nil
	})
	await(t, q, queue.Stats{Results: 15})
	if n := fetched.Load(); n != 15 {
		t.Errorf("%d pages were fetched, want 15", n)
	}
}

// Of two that work at the same job, the second result is refused and counted.
func TestSecondResult(t *testing.T) {
	t.Parallel()
	q, nc := start(t, queue.Options{AckWait: 300 * time.Millisecond})
	publish(t, q, 0, 1)
	// The first worker holds the job and cannot tell the server that it does,
	// as one that was suspended.
	stolen := make(chan struct{})
	w, _ := run(t, q, func(ctx context.Context, j queue.Job) (queue.Page, error) {
		js, err := jetstream.New(nc)
		if err != nil {
			return queue.Page{}, err
		}
		// What the other one stores meanwhile.
		_, err = js.Publish(ctx, "fleet.results."+j.ID, []byte("first"))
		close(stolen)
		if err != nil {
			return queue.Page{}, err
		}
		return page(ctx, j)
	}, queue.WorkerOptions{})
	<-stolen
	await(t, q, queue.Stats{Results: 1})
	testenv.Eventually(t, func() error {
		if c := w.Counts(); c.Repeats != 1 || c.Done != 0 {
			return fmt.Errorf("counts %+v, want 1 repeat", c)
		}
		return nil
	})
	for r, err := range q.Results(t.Context()) {
		if err != nil || string(r.Body) != "first" {
			t.Errorf("result %q, %v: the first one must stay", r.Body, err)
		}
	}
}

// A publisher waits while the queue is full, and stores all in the end.
func TestPublisherWaits(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{MaxJobs: 50})
	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	done, err := q.Publish(short, jobs(0, 120))
	if !errors.Is(err, context.DeadlineExceeded) || done.Stored != 50 {
		t.Fatalf("%+v, %v: want 50 stored and the end of ctx", done, err)
	}
	await(t, q, queue.Stats{Waiting: 50})
	var most atomic.Int64
	run(t, q, func(ctx context.Context, j queue.Job) (queue.Page, error) {
		if st, err := q.Stats(ctx); err == nil {
			most.Store(max(most.Load(), st.Waiting+st.Working))
		}
		return page(ctx, j)
	}, queue.WorkerOptions{Concurrency: 4})
	publish(t, q, 0, 120)
	await(t, q, queue.Stats{Results: 120})
	if most.Load() > 50 {
		t.Errorf("%d jobs were in the queue, want at most 50", most.Load())
	}
}

// No more jobs are out than MaxAckPending, however many workers ask.
func TestJobsOut(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{MaxAckPending: 3})
	publish(t, q, 0, 20)
	var now, most atomic.Int64
	var mu sync.Mutex
	fetch := func(ctx context.Context, j queue.Job) (queue.Page, error) {
		mu.Lock()
		most.Store(max(most.Load(), now.Add(1)))
		mu.Unlock()
		defer now.Add(-1)
		time.Sleep(5 * time.Millisecond) // work
		return page(ctx, j)
	}
	run(t, q, fetch, queue.WorkerOptions{Name: "a", Concurrency: 8})
	run(t, q, fetch, queue.WorkerOptions{Name: "b", Concurrency: 8})
	await(t, q, queue.Stats{Results: 20})
	if most.Load() > 3 {
		t.Errorf("%d jobs were out, want at most 3", most.Load())
	}
}

// A job may take longer than AckWait, as its worker says that it is at it.
func TestSlowJob(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{AckWait: 300 * time.Millisecond})
	publish(t, q, 0, 1)
	var fetched atomic.Int64
	run(t, q, func(ctx context.Context, j queue.Job) (queue.Page, error) {
		fetched.Add(1)
		time.Sleep(1500 * time.Millisecond) // work
		return page(ctx, j)
	}, queue.WorkerOptions{Concurrency: 4})
	await(t, q, queue.Stats{Results: 1})
	if n := fetched.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

// A worker that is to stop finishes what it has begun; after DrainTimeout it
// gives it back at once.
func TestStop(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{})
	publish(t, q, 0, 2)
	begun, release := make(chan struct{}, 2), make(chan struct{})
	w, stop := run(t, q, func(ctx context.Context, j queue.Job) (queue.Page, error) {
		begun <- struct{}{}
		select {
		case <-release:
			return page(ctx, j)
		case <-ctx.Done():
			return queue.Page{}, context.Cause(ctx)
		}
	}, queue.WorkerOptions{Concurrency: 1, DrainTimeout: 200 * time.Millisecond})
	<-begun
	stop() // the fetch does not end by itself
	if c := w.Counts(); c.Retried != 1 || c.Done != 0 {
		t.Errorf("counts %+v, want one given back", c)
	}
	close(release)
	_, stop = run(t, q, func(ctx context.Context, j queue.Job) (queue.Page, error) {
		begun <- struct{}{}
		return page(ctx, j)
	}, queue.WorkerOptions{})
	await(t, q, queue.Stats{Results: 2})
	stop()
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{})
	publish(t, q, 0, 1)
	begun := make(chan struct{})
	w, _ := run(t, q, func(ctx context.Context, j queue.Job) (queue.Page, error) {
		close(begun)
		return page(ctx, j)
	}, queue.WorkerOptions{})
	<-begun
	if err := w.Run(t.Context()); !errors.Is(err, queue.ErrRunning) {
		t.Errorf("error %v, want ErrRunning", err)
	}
}

// A page that no message can hold is a dead letter, and not lost.
func TestPageTooLarge(t *testing.T) {
	t.Parallel()
	q, nc := start(t, queue.Options{MaxDeliver: 1})
	publish(t, q, 0, 2)
	run(t, q, func(_ context.Context, j queue.Job) (queue.Page, error) {
		size := queue.MaxBodyBytes(nc)
		if j.ID == "job-1" {
			size = nc.MaxPayload() + 1
		}
		return queue.Page{Status: 200, Body: bytes.Repeat([]byte("x"), int(size))}, nil
	}, queue.WorkerOptions{})
	await(t, q, queue.Stats{Results: 1, Dead: 1})
}

// The site's wish when to come again is kept.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{})
	publish(t, q, 0, 1)
	var mu sync.Mutex
	var at []time.Time
	run(t, q, func(ctx context.Context, j queue.Job) (queue.Page, error) {
		mu.Lock()
		defer mu.Unlock()
		if at = append(at, time.Now()); len(at) == 1 {
			return queue.Page{}, failure{temporary: true, after: 600 * time.Millisecond}
		}
		return page(ctx, j)
	}, queue.WorkerOptions{})
	await(t, q, queue.Stats{Results: 1})
	mu.Lock()
	defer mu.Unlock()
	if len(at) != 2 || at[1].Sub(at[0]) < 500*time.Millisecond {
		t.Errorf("tried at %v, want 600ms between", at)
	}
}

func TestJobErrors(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{})
	for _, bad := range []queue.Job{
		{},
		{URL: "site.example"},
		{URL: "ftp://site.example/"},
		{URL: "http:///x"},
		{URL: "http://a/\x7f"},
		{ID: "a.b", URL: "http://a/"},
		{ID: "a b", URL: "http://a/"},
		{ID: strings.Repeat("x", 65), URL: "http://a/"},
		{URL: "http://user:hunter2@a/"},
		{URL: "http://user:hunter2@a/\x7f"},
		{URL: "http://a/" + strings.Repeat("x", 2040)},
	} {
		one := func(yield func(queue.Job, error) bool) { _ = yield(job(0), nil) && yield(bad, nil) }
		done, err := q.Publish(t.Context(), one)
		if !errors.Is(err, queue.ErrJob) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: error %v, want ErrJob", bad, err)
		}
		if done.Stored != 1 {
			t.Errorf("%+v: %d stored: what came before must be", bad, done.Stored)
		}
	}
	reason := io.ErrUnexpectedEOF
	broken := func(yield func(queue.Job, error) bool) { _ = yield(job(1), nil) && yield(queue.Job{}, reason) }
	if done, err := q.Publish(t.Context(), broken); !errors.Is(err, reason) || done.Stored != 1 {
		t.Errorf("%+v, %v", done, err)
	}
}

// One page has one job, however its address is written.
func TestOneFormOfAnAddress(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{})
	forms := []string{"http://c.example/", "http://C.Example/", "HTTP://c.example:80", "http://c.example/#a", "http://c.example"}
	others := []string{"https://c.example/", "http://c.example:8080/", "http://c.example/A", "http://c.example/a", "http://c.example/?a"}
	done, err := q.Publish(t.Context(), func(yield func(queue.Job, error) bool) {
		for _, u := range append(forms, others...) {
			if !yield(queue.Job{URL: u}, nil) {
				return
			}
		}
	})
	if err != nil || done.Stored-done.Repeats != 1+len(others) {
		t.Errorf("%+v, %v: want %d jobs", done, err, 1+len(others))
	}
}

// What is fetched again replaces its result, each time it is asked for.
func TestAgain(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{})
	var fetched atomic.Int64
	run(t, q, func(context.Context, queue.Job) (queue.Page, error) {
		return queue.Page{Status: 200, Body: fmt.Append(nil, fetched.Add(1))}, nil
	}, queue.WorkerOptions{})
	for n := range 3 {
		j := job(0)
		j.Again = n > 0
		if done, err := q.Publish(t.Context(), func(yield func(queue.Job, error) bool) { yield(j, nil) }); err != nil || done.Repeats != 0 {
			t.Fatalf("%+v, %v", done, err)
		}
		testenv.Eventually(t, func() error {
			var got []string
			for r, err := range q.Results(t.Context()) {
				if err != nil {
					return err
				}
				got = append(got, string(r.Body))
			}
			if want := []string{fmt.Sprint(n + 1)}; !slices.Equal(got, want) {
				return fmt.Errorf("results %q, want %q", got, want)
			}
			return nil
		})
	}
}

// Results are kept as long as the queue says.
func TestResultsAge(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{ResultsMaxAge: time.Second})
	publish(t, q, 0, 3)
	w, _ := run(t, q, page, queue.WorkerOptions{})
	testenv.Eventually(t, func() error {
		if c := w.Counts(); c.Done != 3 {
			return fmt.Errorf("counts %+v", c)
		}
		return nil
	})
	await(t, q, queue.Stats{})
}

func TestOptionsErrors(t *testing.T) {
	t.Parallel()
	q, nc := start(t, queue.Options{})
	_, err := queue.Create(t.Context(), nc, queue.Options{AckWait: 1, MaxDeliver: -1, MaxAckPending: -1, Duplicates: 1, Replicas: 6}, nil)
	for _, want := range []string{"AckWait", "MaxDeliver", "MaxAckPending", "Duplicates", "Replicas"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %s", err, want)
		}
	}
	if _, err := q.Worker(page, queue.WorkerOptions{Concurrency: -1}); err == nil || !strings.Contains(err.Error(), "Name") || !strings.Contains(err.Error(), "concurrency -1") {
		t.Errorf("error %v", err)
	}
}

// Open waits for the hub, and says what it waits for.
func TestOpenWaits(t *testing.T) {
	t.Parallel()
	s, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: "127.0.0.1:0", Dir: t.TempDir(), DisableSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	nc, err := s.Connect(t.Context(), t.Name(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := queue.Open(short, nc, nil); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "is the hub running") {
		t.Errorf("error %v", err)
	}
	opened := make(chan error, 1)
	go func() {
		_, err := queue.Open(context.Background(), nc, nil)
		opened <- err
	}()
	if _, err := queue.Create(t.Context(), nc, queue.Options{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}
