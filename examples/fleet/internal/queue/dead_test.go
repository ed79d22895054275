package queue_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// failure is an error as scrape and the fetcher have them.
type failure struct {
	temporary bool
	after     time.Duration
}

func (f failure) Error() string             { return fmt.Sprintf("temporary %v", f.temporary) }
func (f failure) Temporary() bool           { return f.temporary }
func (f failure) RetryAfter() time.Duration { return f.after }

// A job that fails for good is given up at once, one that may pass after
// MaxDeliver tries, and one that panics likewise; the reason stays.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{MaxDeliver: 3})
	publish(t, q, 0, 5)
	var mu sync.Mutex
	tries := map[string]int{}
	w, _ := run(t, q, func(ctx context.Context, j queue.Job) (queue.Page, error) {
		mu.Lock()
		tries[j.ID]++
		mu.Unlock()
		switch j.ID {
		case "job-0":
			return queue.Page{}, fmt.Errorf("final: %w", failure{temporary: false})
		case "job-1":
			return queue.Page{}, failure{temporary: true}
		case "job-2":
			panic("oops")
		case "job-3":
			return queue.Page{}, errors.New("without a word on it")
		}
		return page(ctx, j)
	}, queue.WorkerOptions{Name: "w1"})
	await(t, q, queue.Stats{Results: 1, Dead: 4})
	got := map[string]queue.DeadLetter{}
	for d, err := range q.DeadLetters(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got[d.ID] = d
	}
	want := map[string]queue.DeadLetter{
		"job-0": {ID: "job-0", URL: "http://site.example/0", Reason: "final: temporary false", Tries: 1, Worker: "w1"},
		"job-1": {ID: "job-1", URL: "http://site.example/1", Reason: "temporary true", Tries: 3, Worker: "w1"},
		"job-2": {ID: "job-2", URL: "http://site.example/2", Reason: "panic: oops", Tries: 3, Worker: "w1"},
		"job-3": {ID: "job-3", URL: "http://site.example/3", Reason: "without a word on it", Tries: 3, Worker: "w1"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(queue.DeadLetter{}), cmpopts.IgnoreFields(queue.DeadLetter{}, "Time")); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(map[string]int{"job-0": 1, "job-1": 3, "job-2": 3, "job-3": 3, "job-4": 1}, tries); diff != "" {
		t.Errorf("tries (-want +got):\n%s", diff)
	}
	testenv.Eventually(t, func() error {
		if c := w.Counts(); c.Dead != 4 || c.Retried != 6 || c.Done != 1 {
			return fmt.Errorf("counts %+v, want 4 dead, 6 retried, 1 done", c)
		}
		return nil
	})
	last, err := q.LastDeadLetters(t.Context(), 2)
	if err != nil || len(last) != 2 {
		t.Errorf("the last two are %d: %v", len(last), err)
	}
}

// What net/http says of itself is no word on the page: one that was too slow is
// tried again like one whose connection broke.
func TestSlowPageIsTriedAgain(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{MaxDeliver: 3})
	publish(t, q, 0, 4)
	run(t, q, func(ctx context.Context, j queue.Job) (queue.Page, error) {
		err := error(syscall.ECONNREFUSED)
		switch j.ID {
		case "job-0":
			<-ctx.Done() // the job's time is over
			err = context.Cause(ctx)
		case "job-1":
			err = context.DeadlineExceeded
		case "job-2":
			err = &net.OpError{Op: "dial", Net: "tcp", Err: err}
		}
		return queue.Page{}, &url.Error{Op: "Get", URL: j.URL, Err: err}
	}, queue.WorkerOptions{Name: "w1", JobTimeout: 50 * time.Millisecond})
	await(t, q, queue.Stats{Dead: 4})
	for d, err := range q.DeadLetters(t.Context()) {
		if err != nil || d.Tries != 3 {
			t.Errorf("%s: %d tries, want 3: %s, %v", d.ID, d.Tries, d.Reason, err)
		}
	}
}

// A job whose workers die is given up after as many of them, and is not worked
// at again: it may be the job that kills them.
func TestJobThatKillsItsWorkers(t *testing.T) {
	t.Parallel()
	q, nc := start(t, queue.Options{MaxDeliver: 2, AckWait: 150 * time.Millisecond})
	publish(t, q, 0, 1)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(t.Context(), "FLEET_JOBS", "workers")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // taken, and never heard of again
		if _, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	run(t, q, func(context.Context, queue.Job) (queue.Page, error) {
		t.Error("the job was worked at a third time")
		return queue.Page{}, nil
	}, queue.WorkerOptions{})
	await(t, q, queue.Stats{Dead: 1})
	for d, err := range q.DeadLetters(t.Context()) {
		if err != nil || d.Tries != 2 || !strings.Contains(d.Reason, "given out 2 times") {
			t.Errorf("%+v, %v", d, err)
		}
	}
}

// Also where it rests in between.
func TestJobThatRestsAndKills(t *testing.T) {
	t.Parallel()
	q, nc := start(t, queue.Options{MaxDeliver: 2, AckWait: 150 * time.Millisecond})
	publish(t, q, 0, 1)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(t.Context(), "FLEET_JOBS", "workers")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second)); err != nil { // taken, and never heard of again
			t.Fatal(err)
		}
		_, stop := run(t, q, func(context.Context, queue.Job) (queue.Page, error) {
			t.Error("the job was worked at")
			return queue.Page{}, nil
		}, queue.WorkerOptions{Concurrency: 1, Turn: func(context.Context, queue.Job, time.Duration) (time.Duration, error) {
			return time.Second, nil
		}})
		testenv.Eventually(t, func() error {
			st, err := q.Stats(t.Context())
			if err == nil && st.Resting == 0 && st.Dead == 0 {
				err = fmt.Errorf("stats %+v", st)
			}
			return err
		})
		stop()
	}
	run(t, q, page, queue.WorkerOptions{})
	await(t, q, queue.Stats{Dead: 1})
}

// What is no job does not stop the queue.
func TestMessageThatIsNoJob(t *testing.T) {
	t.Parallel()
	q, nc := start(t, queue.Options{})
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"", "{", `{"id":"x y","url":"http://a/"}`, `{"id":"x","url":"ftp://a/"}`} {
		if _, err := js.Publish(t.Context(), "fleet.jobs.foreign", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	run(t, q, page, queue.WorkerOptions{})
	await(t, q, queue.Stats{Dead: 4})
	if n, err := q.Requeue(t.Context()); n != 0 || err != nil {
		t.Errorf("Requeue: %d, %v: these are no jobs", n, err)
	}
	await(t, q, queue.Stats{Dead: 4})
}

func TestRequeue(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{MaxDeliver: 1})
	publish(t, q, 0, 3)
	var mended atomic.Bool
	run(t, q, func(ctx context.Context, j queue.Job) (queue.Page, error) {
		if !mended.Load() {
			return queue.Page{}, errors.New("not yet")
		}
		return page(ctx, j)
	}, queue.WorkerOptions{})
	for range 2 { // a job may die twice
		await(t, q, queue.Stats{Dead: 3})
		if n, err := q.Requeue(t.Context()); n != 3 || err != nil {
			t.Fatalf("Requeue: %d, %v", n, err)
		}
	}
	await(t, q, queue.Stats{Dead: 3})
	mended.Store(true)
	if n, err := q.Requeue(t.Context()); n != 3 || err != nil {
		t.Fatalf("Requeue: %d, %v", n, err)
	}
	await(t, q, queue.Stats{Results: 3})
}

// Two that put jobs back at once put each back once, and neither fails over what
// the other did first.
func TestTwoRequeues(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{MaxDeliver: 1})
	publish(t, q, 0, 50)
	stop := make(chan struct{})
	run(t, q, func(ctx context.Context, j queue.Job) (queue.Page, error) {
		select {
		case <-stop:
			return page(ctx, j)
		default:
			return queue.Page{}, errors.New("not yet")
		}
	}, queue.WorkerOptions{})
	await(t, q, queue.Stats{Dead: 50})
	close(stop)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := q.Requeue(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	await(t, q, queue.Stats{Results: 50})
}

// Dead letters are told in order, again if telling fails, and not again after
// a restart.
func TestFollowDead(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{MaxDeliver: 1})
	run(t, q, func(context.Context, queue.Job) (queue.Page, error) { return queue.Page{}, failure{} }, queue.WorkerOptions{})
	told := make(chan string, 10)
	follow := func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- q.FollowDead(ctx, "test", func(_ context.Context, d queue.DeadLetter) error { told <- d.ID; return nil })
		}()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	stop := follow()
	publish(t, q, 0, 1)
	if id := <-told; id != "job-0" {
		t.Errorf("told of %s", id)
	}
	stop()
	publish(t, q, 1, 2)
	stop = follow()
	defer stop()
	if id := <-told; id != "job-1" {
		t.Errorf("told of %s, want job-1 alone", id)
	}
}

// A job may die again while its first dead letter is still there, as it is for
// a moment while it is requeued: both are kept.
func TestDiesAgain(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{MaxDeliver: 1, Duplicates: 200 * time.Millisecond})
	run(t, q, func(context.Context, queue.Job) (queue.Page, error) { return queue.Page{}, failure{} }, queue.WorkerOptions{})
	publish(t, q, 0, 1)
	await(t, q, queue.Stats{Dead: 1})
	testenv.Eventually(t, func() error {
		if publish(t, q, 0, 1).Repeats != 0 {
			return errors.New("the server still remembers the ID")
		}
		return nil
	})
	await(t, q, queue.Stats{Dead: 2})
}
