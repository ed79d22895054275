package queue_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// one is a sequence of j alone.
func one(j queue.Job) iter.Seq2[queue.Job, error] {
	return func(yield func(queue.Job, error) bool) { yield(j, nil) }
}

// A job with a schedule is fetched again and again, whether there is a page or
// not, and has one schedule however often it is submitted. The end of its schedule
// ends it.
func TestEvery(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{"page": nil, "given up": errors.New("no page")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q, _ := start(t, queue.Options{MaxDeliver: 1})
			var fetched atomic.Int64
			run(t, q, func(context.Context, queue.Job) (queue.Page, error) {
				fetched.Add(1)
				return queue.Page{Status: 200, Body: []byte("page")}, failure
			}, queue.WorkerOptions{})
			j := job(0)
			j.Every = queue.MinEvery
			for range 3 {
				if _, err := q.Publish(t.Context(), one(j)); err != nil {
					t.Fatal(err)
				}
			}

			testenv.Eventually(t, func() error {
				if n := fetched.Load(); n < 5 {
					return fmt.Errorf("fetched %d times", n)
				}
				s, err := q.Stats(t.Context())
				if err != nil || s.Resting != 1 {
					return fmt.Errorf("%+v, %v: want one schedule", s, err)
				}
				return nil
			})
			if n, err := q.Unschedule(t.Context(), one(job(0))); n != 1 || err != nil {
				t.Fatalf("Unschedule = %d, %v", n, err)
			}
			testenv.Eventually(t, func() error {
				s, err := q.Stats(t.Context())
				if err != nil || s.Waiting+s.Working+s.Resting != 0 {
					return fmt.Errorf("%+v, %v: want nothing to do", s, err)
				}
				return nil
			})
			if n, err := q.Unschedule(t.Context(), one(job(0))); n != 0 || err != nil {
				t.Errorf("a second Unschedule = %d, %v", n, err)
			}
		})
	}
}

// What was asked for once is no schedule, and no schedule is shorter than a
// second.
func TestEveryOrOnce(t *testing.T) {
	t.Parallel()
	q, _ := start(t, queue.Options{})
	publish(t, q, 0, 1)
	if n, err := q.Unschedule(t.Context(), one(job(0))); n != 0 || err != nil {
		t.Errorf("Unschedule = %d, %v", n, err)
	}
	await(t, q, queue.Stats{Waiting: 1})

	// The end of a schedule leaves what another asked for once.
	scheduled, again := job(1), job(1)
	scheduled.Every, again.Again = time.Hour, true
	for _, j := range []queue.Job{scheduled, again} {
		if _, err := q.Publish(t.Context(), one(j)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := q.Unschedule(t.Context(), one(job(1))); n != 1 || err != nil {
		t.Errorf("Unschedule = %d, %v, want 1", n, err)
	}
	await(t, q, queue.Stats{Waiting: 2})

	for _, every := range []time.Duration{time.Millisecond, -time.Hour} {
		j := job(1)
		j.Every = every
		if _, err := q.Publish(t.Context(), one(j)); !errors.Is(err, queue.ErrJob) {
			t.Errorf("every %v: %v, want queue.ErrJob", every, err)
		}
	}
}
