package logging_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
)

// slow is a sink that takes its time and everything, also from a caller that
// gave up, and counts deliveries by number.
type slow struct {
	mu   sync.Mutex
	took map[int]int
	busy atomic.Int32
}

func (*slow) Limits() logging.Limits { return logging.Limits{MaxBatchEvents: 50} }

func (s *slow) Send(_ context.Context, b *logging.Batch) error {
	if s.busy.Add(1) > 1 {
		return errors.New("two batches at once")
	}
	defer s.busy.Add(-1)
	time.Sleep(rand.N(500 * time.Microsecond)) // stands for a receiver's work
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range b.Events {
		var e struct{ N int }
		if err := json.Unmarshal(b.Events[l].Line, &e); err != nil {
			return fmt.Errorf("line %q: %w", b.Events[l].Line, err)
		}
		s.took[e.N]++
	}
	return nil
}

// TestEverythingAtOnce has two logs in one process on the same path, with
// loggers, Run and SendBulk at work on each, some cut short, and Close while
// all that goes on: each record arrives once, and nothing is said to be amiss.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	for range testenv.Reps(20) {
		dir := t.TempDir()
		sink := &slow{took: map[int]int{}}
		var told problems
		var n, acked atomic.Int64
		var wg sync.WaitGroup
		for range 2 {
			logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log"), MaxSegmentBytes: 4 << 10}, Sink: sink, OnError: told.add, Ship: quickly(logging.ShipperOptions{})})
			if err != nil {
				t.Fatal(err)
			}
			var loggers sync.WaitGroup
			for range 3 {
				h := logs.Logger("a").Handler()
				loggers.Go(func() {
					for range 400 {
						i := int(n.Add(1))
						if err := h.Handle(t.Context(), record("line", "n", i)); err == nil {
							acked.Add(1)
						} else if !errors.Is(err, logging.ErrClosed) {
							t.Error(err)
						}
					}
				})
			}
			for range 3 { // one Run at a time; a second says so
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), rand.N(30*time.Millisecond))
					defer cancel()
					if err := logs.Run(ctx); err != nil && !errors.Is(err, logging.ErrRunning) && !errors.Is(err, logging.ErrClosed) {
						t.Error(err)
					}
				})
			}
			for range 5 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), rand.N(20*time.Millisecond))
					defer cancel()
					_, err := logs.SendBulk(ctx)
					if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, logging.ErrClosed) {
						t.Error(err)
					}
				})
			}
			wg.Go(func() {
				loggers.Wait()
				for range 2 {
					// A receiver that was away twice in a row gets one try.
					if err := logs.Close(); err != nil && !errors.Is(err, logging.ErrRemaining) {
						t.Error(err)
					}
				}
				if err := logs.Run(t.Context()); !errors.Is(err, logging.ErrClosed) {
					t.Errorf("Run after Close = %v", err)
				}
			})
		}
		wg.Wait()
		s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink, OnError: told.add}))
		if err != nil {
			t.Fatal(err)
		}
		if res, err := s.SendBulk(minute(t)); err != nil || res.Remaining != 0 {
			t.Fatalf("SendBulk = %+v, %v", res, err)
		}
		for i, times := range sink.took {
			if times != 1 {
				t.Errorf("record %d arrived %d times", i, times)
			}
		}
		if int64(len(sink.took)) != acked.Load() || len(told.list()) > 0 {
			t.Fatalf("%d of %d records arrived; told %v", len(sink.took), acked.Load(), told.list())
		}
	}
}
