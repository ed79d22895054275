package notify_test

import (
	"context"
	"crypto/sha256"
	"errors"
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
// caller and one file, which each message is appended to and which is then
// forced to the disk.
func BenchmarkDurableSend(b *testing.B) {
	payload := strings.Repeat("x", 1000)
	ours := func(size, callers int, deliver bool) func(b *testing.B) func() error {
		return func(b *testing.B) func() error {
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
			b.Cleanup(func() {
				if s := hub.Stats(); s.NotDurable > 0 {
					b.Errorf("%d messages were not stored", s.NotDurable)
				}
				cancel()
				if err := errors.Join(<-done, hub.Close()); err != nil {
					b.Error(err)
				}
			})
			var id atomic.Int64
			return func() error {
				return share(size, callers, func(n int) error {
					return times(n, func() error {
						return hub.Send(ctx, fmt.Sprintf("message %d", id.Add(1)), payload)
					})
				})
			}
		}
	}
	raw := func(b *testing.B, size int) func() error {
		f, err := os.OpenFile(filepath.Join(b.TempDir(), "journal"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := f.Close(); err != nil {
				b.Error(err)
			}
		})
		id := 0
		return func() error {
			return times(size, func() error {
				id++
				if _, err := fmt.Fprintf(f, "{\"subject\":\"message %d\",\"text\":%q}\n", id, payload); err != nil {
					return err
				}
				return f.Sync()
			})
		}
	}
	for _, tc := range []struct{ callers, size, pieces int }{{1, 32, 20}, {16, 256, 6}} {
		b.Run(fmt.Sprintf("writers=%d", tc.callers), func(b *testing.B) {
			bench.Alternate(
				b, tc.pieces, float64(tc.size), "messages/s",
				bench.Stepper{Name: "ours", Start: ours(tc.size, tc.callers, false)},
				bench.Stepper{Name: "ours-delivering", Start: ours(tc.size, tc.callers, true)},
				bench.Stepper{Name: "append-fsync", Start: func(b *testing.B) func() error { return raw(b, tc.size) }},
			)
		})
	}
}
