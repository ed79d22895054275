package notify_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/bench"
	"github.com/svcblocks/svcblocks/notify"
)

// counted is a receiver that takes everything at once.
type counted struct{ n atomic.Int64 }

func (c *counted) Send(context.Context, string, string) error {
	c.n.Add(1)
	return nil
}

// BenchmarkRepeat is the cost of a message that the hub only counts, beside
// that of a digest and a map, which tell repeats apart and do nothing else.
func BenchmarkRepeat(b *testing.B) {
	message := notify.Message{
		Level: slog.LevelError, Subject: "order failed", Text: "The payment provider does not answer.", Key: "payment",
	}
	bench.Compare(
		b,
		bench.Impl{Name: "ours", Run: func(b *testing.B) {
			var receiver counted
			hub, err := notify.New(&notify.Options{
				Receivers: []notify.Receiver{{Name: "counted", Notifier: &receiver}},
				Group:     notify.Group{Interval: time.Hour},
			})
			if err != nil {
				b.Fatal(err)
			}
			send := func() {
				if err := hub.Notify(b.Context(), message); err != nil {
					b.Fatal(err)
				}
			}
			send()
			b.ReportAllocs()
			bench.LoopCPU(b, send)
			if n, s := receiver.n.Load(), hub.Stats(); n != 1 || s.Suppressed == 0 {
				b.Errorf("%d messages were sent, %d suppressed; want 1 and the rest", n, s.Suppressed)
			}
			if err := hub.Close(); err != nil {
				b.Error(err)
			}
		}},
		bench.Impl{Name: "digest-map", Run: func(b *testing.B) {
			var mu sync.Mutex
			seen := map[[sha256.Size]byte]int{}
			b.ReportAllocs()
			bench.LoopCPU(b, func() {
				key := sha256.Sum256([]byte(message.Subject + "\x00" + message.Text))
				mu.Lock()
				seen[key]++
				mu.Unlock()
			})
			if len(seen) != 1 {
				b.Errorf("%d keys", len(seen))
			}
		}},
	)
}

// BenchmarkDurableSend is the rate at which messages are stored, so that a
// power cut does not lose them, with 1 and with 16 callers. The raw way is one
// file that each message is appended to and that is then forced to the disk.
func BenchmarkDurableSend(b *testing.B) {
	payload := strings.Repeat("x", 1000)
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			// each calls store for n messages from all writers.
			each := func(b *testing.B, store func(id int64) error) {
				const n = 400
				var id atomic.Int64
				ops := 0
				for b.Loop() {
					if err := share(n, writers, func(n int) error {
						return times(n, func() error { return store(id.Add(1)) })
					}); err != nil {
						b.Fatal(err)
					}
					ops++
				}
				b.ReportMetric(float64(n*ops)/b.Elapsed().Seconds(), "messages/s")
				b.ReportMetric(0, "ns/op")
			}
			ours := func(deliver bool) func(*testing.B) {
				return func(b *testing.B) {
					var receiver counted
					hub, err := notify.New(&notify.Options{
						Receivers: []notify.Receiver{{Name: "counted", Notifier: &receiver}},
						Group:     notify.Group{Interval: -1},
						Outbox:    notify.Outbox{Dir: b.TempDir()},
					})
					if err != nil {
						b.Fatal(err)
					}
					ctx, cancel := context.WithCancel(context.Background())
					done := make(chan error, 1)
					if deliver {
						go func() { done <- hub.Run(ctx) }()
					} else {
						done <- nil
					}
					each(b, func(id int64) error {
						return hub.Send(b.Context(), fmt.Sprintf("message %d", id), payload)
					})
					if s := hub.Stats(); s.NotDurable > 0 {
						b.Errorf("%d messages were not stored", s.NotDurable)
					}
					cancel()
					if err := <-done; err != nil {
						b.Error(err)
					}
					if err := hub.Close(); err != nil {
						b.Error(err)
					}
				}
			}
			bench.Compare(
				b,
				bench.Impl{Name: "ours", Run: ours(false)},
				bench.Impl{Name: "ours-delivering", Run: ours(true)},
				bench.Impl{Name: "append-fsync", Run: func(b *testing.B) {
					f, err := os.OpenFile(filepath.Join(b.TempDir(), "journal"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
					if err != nil {
						b.Fatal(err)
					}
					defer f.Close()
					var mu sync.Mutex
					each(b, func(id int64) error {
						mu.Lock()
						defer mu.Unlock()
						if _, err := fmt.Fprintf(f, "{\"subject\":\"message %d\",\"text\":%q}\n", id, payload); err != nil {
							return err
						}
						return f.Sync()
					})
				}},
			)
		})
	}
}
