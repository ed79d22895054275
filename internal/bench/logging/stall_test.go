package logging_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/bench"
	"github.com/svcblocks/svcblocks/logging"
)

// stalled is a receiver that takes each batch, says nothing for a second, and
// then has an outage.
type stalled struct{}

func (stalled) Limits() logging.Limits { return logging.Limits{} }

func (stalled) Send(ctx context.Context, _ *logging.Batch) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
		return &logging.SinkError{Kind: logging.KindRetry, Err: context.DeadlineExceeded}
	}
}

// BenchmarkStalledReceiver reports the slowest in 1,000 log calls while the
// receiver stalls and segments pile up. slog, beside it, writes to its file
// and ships nothing.
func BenchmarkStalledReceiver(b *testing.B) {
	bench.Compare(
		b,
		bench.Impl{Name: "ours", Run: func(b *testing.B) {
			logs, err := logging.New(&logging.Options{
				File: logging.FileOptions{Path: filepath.Join(b.TempDir(), "app.log"), MaxSegmentBytes: 1 << 20}, Sink: stalled{},
				Ship: logging.ShipperOptions{Interval: 10 * time.Millisecond, Retry: logging.Retry{Base: time.Millisecond, Max: time.Millisecond}}, CloseTimeout: -1,
			})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- logs.Run(ctx) }()
			latencies(b, viaSlog(logs.Handler()))
			cancel()
			if err := <-done; err != nil {
				b.Error(err)
			}
			if err := logs.Close(); err != nil && !errors.Is(err, logging.ErrRemaining) {
				b.Error(err)
			}
		}},
		bench.Impl{Name: "slog", Run: func(b *testing.B) {
			d := dest{path: filepath.Join(b.TempDir(), "app.log")}
			latencies(b, viaSlog(slog.NewJSONHandler(d.writer(b), nil)))
		}},
	)
}

// latencies times 200,000 calls for each iteration.
func latencies(b *testing.B, record func()) {
	const calls = 200_000
	took := make([]time.Duration, 0, calls)
	for b.Loop() {
		took = took[:0]
		for range calls {
			start := time.Now()
			record()
			took = append(took, time.Since(start))
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[calls/2]), "p50-ns")
	b.ReportMetric(float64(took[calls*999/1000]), "p99.9-ns")
	b.ReportMetric(0, "ns/op")
}
