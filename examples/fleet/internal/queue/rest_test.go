package queue_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/patient"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// Jobs that rest are no worker's: however many there are, the others are given
// out. Resting is no try.
func TestRestingJobsHoldNobody(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{MaxAckPending: 3, MaxDeliver: 2})
	publish(t, q, 0, 40)
	turn := func(_ context.Context, j queue.Job, _ time.Duration) (time.Duration, error) {
		if strings.HasSuffix(j.ID, "9") {
			return 0, nil
		}
		return time.Hour, nil
	}
	w, _ := run(t, q, page, queue.WorkerOptions{Concurrency: 2, Turn: turn})
	await(t, q, queue.Stats{Waiting: 36, Resting: 36, Results: 4})
	if c := w.Counts(); c.Retried != 0 || c.Dead != 0 {
		t.Errorf("counts %+v: to rest is no failure", c)
	}
}

// A job that waits for its turn longer than it may be tried is tried once, and
// has all its time then.
func TestWaitingIsNoTry(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{MaxDeliver: 1})
	publish(t, q, 0, 1)
	var asked, tried atomic.Int64
	turn := func(context.Context, queue.Job, time.Duration) (time.Duration, error) {
		if asked.Add(1) <= 3 {
			return 300 * time.Millisecond, nil
		}
		return 0, nil
	}
	run(t, q, func(ctx context.Context, _ queue.Job) (queue.Page, error) {
		tried.Add(1)
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) < 200*time.Millisecond {
			t.Errorf("%v are left of 400ms", time.Until(deadline))
		}
		return queue.Page{}, errors.New("no page")
	}, queue.WorkerOptions{Turn: turn, JobTimeout: 400 * time.Millisecond})
	await(t, q, queue.Stats{Dead: 1})
	for d, err := range q.DeadLetters(t.Context()) {
		if err != nil || d.Tries != 1 || tried.Load() != 1 || asked.Load() != 4 {
			t.Errorf("%d tries told, %d made, %d turns asked for: %v", d.Tries, tried.Load(), asked.Load(), err)
		}
	}
}

// A fetch that could not ask is no try either.
func TestUnaskedIsNoTry(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{MaxDeliver: 1})
	publish(t, q, 0, 1)
	var calls atomic.Int64
	w, _ := run(t, q, func(ctx context.Context, j queue.Job) (queue.Page, error) {
		if calls.Add(1) <= 2 {
			return queue.Page{}, fmt.Errorf("get: %w", &queue.Rest{For: time.Millisecond, Err: errors.New("no way out")})
		}
		return page(ctx, j)
	}, queue.WorkerOptions{})
	await(t, q, queue.Stats{Results: 1})
	if c := w.Counts(); c.Retried != 0 || calls.Load() != 3 {
		t.Errorf("%d calls, counts %+v", calls.Load(), c)
	}
}

// Jobs rest by the server's clock, whatever the worker's says.
func TestRestByTheServersClock(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{})
	publish(t, q, 0, 1)
	first := make(chan time.Time, 1)
	var asked atomic.Int64
	turn := func(context.Context, queue.Job, time.Duration) (time.Duration, error) {
		if asked.Add(1) == 1 {
			first <- time.Now()
			return time.Hour, nil
		}
		return 0, nil
	}
	now := func(context.Context) (time.Time, error) { return time.Now().Add(500*time.Millisecond - time.Hour), nil }
	run(t, q, page, queue.WorkerOptions{Turn: turn, Now: now})
	await(t, q, queue.Stats{Results: 1})
	if rested := time.Since(<-first); rested < 450*time.Millisecond {
		t.Errorf("rested for %v, want 500ms", rested)
	}
}

// Who joins takes what the hub has set.
func TestAgreed(t *testing.T) {
	t.Parallel()
	want := queue.Options{
		AckWait: 7 * time.Second, MaxDeliver: 3, MaxAckPending: 70, MaxJobs: -1, Replicas: 1, PerSecond: 0.1, Burst: 4, JobTimeout: 90 * time.Second,
	}
	opts := want
	opts.Duplicates = time.Minute
	_, nc := start(t, opts)
	q, err := queue.Open(t.Context(), nc, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, q.Agreed()); diff != "" {
		t.Errorf("agreed (-want +got):\n%s", diff)
	}
}

// A server without scheduled messages is refused at once, with both versions.
func TestServerTooOld(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2.9.10", "2.11.4", "1.4.1"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go answer(l, version)
		nc, err := nats.Connect("nats://"+l.Addr().String(), nats.NoReconnect())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		_, created := queue.Create(t.Context(), nc, queue.Options{}, nil)
		_, opened := queue.Open(t.Context(), nc, nil)
		for _, err := range []error{created, opened} {
			if err == nil || !strings.Contains(err.Error(), version) || !strings.Contains(err.Error(), "2.12") {
				t.Errorf("server %s: %v", version, err)
			}
		}
	}
}

// A server without JetStream is told of at once, and waited for, as another of
// its cluster may have it.
func TestServerWithoutJetStream(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go answer(l, "2.15.0")
	nc, err := nats.Connect("nats://"+l.Addr().String(), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Second/10)
	defer cancel()
	if _, err := queue.Open(ctx, nc, patient.New(slog.New(slog.NewTextHandler(&out, nil)))); err == nil || !strings.Contains(out.String(), "JetStream off") {
		t.Errorf("%v, told %s", err, out.String())
	}
}

// answer is a server of some version that can no more than greet.
func answer(l net.Listener, version string) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, "INFO {\"server_id\":\"x\",\"version\":%q,\"max_payload\":1048576,\"headers\":true}\r\n", version)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "PING") {
			_, _ = conn.Write([]byte("PONG\r\n"))
		}
	}
}

// A full queue is told by Ready.
func TestFullIsNotReady(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{MaxJobs: 5})
	publish(t, q, 0, 4)
	if err := q.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	publish(t, q, 4, 5)
	testenv.Eventually(t, func() error {
		if err := q.Ready(t.Context()); !errors.Is(err, queue.ErrFull) {
			return fmt.Errorf("ready: %v, want that the queue is full", err)
		}
		return nil
	})
}
