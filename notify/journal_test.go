package notify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

// journalOf returns what a hub writes.
func journalOf(t testing.TB, messages int) []byte {
	t.Helper()
	dir := t.TempDir()
	hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: &fake{}}, {Name: "g", Notifier: &fake{}}}, Outbox: notify.Outbox{Dir: dir}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hub.Close() }()
	for i := range messages {
		for range 3 { // with repeats
			if err := hub.Send(t.Context(), fmt.Sprint("s", i), "text"); err != nil {
				t.Fatal(err)
			}
		}
	}
	list, err := filepath.Glob(filepath.Join(dir, "*", "journal"))
	if err != nil || len(list) != 1 {
		t.Fatalf("journals %v, %v", list, err)
	}
	data, err := os.ReadFile(list[0])
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func FuzzJournal(f *testing.F) {
	whole := bytes.TrimRight(journalOf(f, 3), "\x00")
	f.Add(whole)
	f.Add(append(whole, make([]byte, 20)...))
	f.Add(whole[:len(whole)-5])
	f.Add([]byte("notifyj1"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		records, skipped := notify.ReadJournal(data)
		if skipped > len(data) {
			t.Errorf("skipped %d of %d bytes", skipped, len(data))
		}
		notify.Replay(data)
		again := []byte("notifyj1")
		for _, r := range records {
			again = notify.AppendRecord(again, r)
		}
		back, skipped := notify.ReadJournal(again)
		if skipped != 0 || !slices.Equal(back, records) {
			t.Errorf("records %q came back as %q, %d bytes skipped", records, back, skipped)
		}
	})
}

// The room that a journal keeps for more is no damage.
func TestJournalKeepsRoom(t *testing.T) {
	t.Parallel()
	whole := journalOf(t, 3)
	if whole[len(whole)-1] != 0 {
		t.Error("journal keeps no room for more")
	}
	for _, more := range []int{0, 1, 7, 8, 100} {
		records, skipped := notify.ReadJournal(append(whole, make([]byte, more)...))
		if len(records) < 3 || skipped != 0 {
			t.Errorf("%d zeros more: %d records, %d bytes skipped", more, len(records), skipped)
		}
	}
}

// A journal stays small while messages come and go.
func TestJournalIsKeptSmall(t *testing.T) {
	t.Parallel()
	hub := newHub(t, &notify.Options{
		Receivers: []notify.Receiver{{Name: "f", Notifier: &fake{}, Rate: notify.Rate{Per: -1}}}, Outbox: notify.Outbox{Dir: t.TempDir()}, Group: notify.Group{Interval: -1},
	})
	go func() { _ = hub.Run(t.Context()) }()
	text := strings.Repeat("x", 60_000)
	for range 50 {
		if err := hub.Send(t.Context(), "s", text); err != nil {
			t.Fatal(err)
		}
		if err := hub.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := hub.Stats().StoredBytes; n > 400_000 {
		t.Errorf("journal has %d bytes and nothing waits", n)
	}
	// What waits keeps it from being cut, but not from being rewritten.
	blocked := newHub(t, &notify.Options{
		Receivers: []notify.Receiver{
			{Name: "f", Notifier: &fake{}, Rate: notify.Rate{Per: -1}},
			{Name: "held", Notifier: sendFunc(nil), MinLevel: 90, Rate: notify.Rate{Per: 1 << 62, Burst: 1}},
		},
		Outbox: notify.Outbox{Dir: t.TempDir()}, Group: notify.Group{Interval: -1},
	})
	if err := blocked.Notify(t.Context(), notify.Message{ID: "waits", Level: 100, Subject: "waits"}); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("y", 500_000)
	for range 40 {
		if err := errors.Join(blocked.Send(t.Context(), "s", big), blocked.Flush(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if n := blocked.Stats().StoredBytes; n > 9<<20 {
		t.Errorf("journal has %d bytes", n)
	}
}

// An outbox that is full says so and delivers all the same.
func TestOutboxIsBounded(t *testing.T) {
	t.Parallel()
	f, release := &fake{}, make(chan struct{})
	f.send = func(context.Context, notify.Message) error { <-release; return nil }
	hub := newHub(t, &notify.Options{
		Receivers: []notify.Receiver{{Name: "f", Notifier: f}}, Outbox: notify.Outbox{Dir: t.TempDir(), MaxBytes: 10_000},
	})
	full := 0
	for i := range 20 {
		if err := hub.Send(t.Context(), fmt.Sprint("s", i), strings.Repeat("x", 1000)); err != nil {
			if !strings.Contains(err.Error(), "outbox is full") {
				t.Fatal(err)
			}
			full++
		}
	}
	close(release)
	if err := hub.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if full < 10 || full > 18 || len(f.messages()) != 20 {
		t.Errorf("%d refused, %d delivered", full, len(f.messages()))
	}
}

// Several hubs share a folder without touching each other's messages.
func TestHubsShareAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var wg sync.WaitGroup
	var mu sync.Mutex
	times := map[string]int{}
	for h := range 4 {
		wg.Go(func() {
			f := &fake{}
			hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: f, Rate: notify.Rate{Per: -1}}}, Outbox: notify.Outbox{Dir: dir}})
			if err != nil {
				t.Error(err)
				return
			}
			for i := range 20 {
				if err := hub.Send(t.Context(), fmt.Sprint("h", h, "s", i), ""); err != nil {
					t.Error(err)
				}
			}
			if err := hub.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			if err := hub.Close(); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, m := range f.messages() {
				times[m.Subject]++
			}
		})
	}
	wg.Wait()
	if len(times) != 80 {
		t.Errorf("%d messages, want 80", len(times))
	}
	for s, n := range times {
		if n != 1 {
			t.Errorf("%s came %d times", s, n)
		}
	}
}

// The same text written and synced to a file, one after another, is the bound.
func BenchmarkDurableSend(b *testing.B) {
	text := strings.Repeat("x", 1000)
	b.Run("impl=file", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "f"))
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		line := []byte(text + strings.Repeat("y", 200))
		for b.Loop() {
			if _, err := f.Write(line); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	})
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("impl=outbox/writers=%d", writers), func(b *testing.B) {
			hub, err := notify.New(&notify.Options{
				Receivers: []notify.Receiver{{Name: "f", Notifier: &fake{}}}, Group: notify.Group{Interval: -1},
				Outbox: notify.Outbox{Dir: b.TempDir(), MaxBytes: 1 << 40},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = hub.Close() }()
			var wg sync.WaitGroup
			b.ResetTimer()
			for w := range writers {
				wg.Go(func() {
					for i := w; i < b.N; i += writers {
						if err := hub.Send(b.Context(), "subject", text); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// A start with what another process told: 100 receivers that know of many keys. In
// full that are 10,000 keys, a million entries.
func BenchmarkStart(b *testing.B) {
	keys := testenv.Reps(10_000) / 10
	if testenv.Soak() {
		keys = 10_000
	}
	for _, away := range []bool{false, true} {
		b.Run(fmt.Sprintf("away=%v", away), func(b *testing.B) {
			dir := testenv.MemDir(b)
			open := func() *notify.Hub {
				var rs []notify.Receiver
				for n := range 100 {
					rs = append(rs, notify.Receiver{Name: fmt.Sprint("r", n), Rate: notify.Rate{Per: -1}, Notifier: sendFunc(func(context.Context, string, string) error {
						if away {
							return &notify.Error{Class: notify.ClassTransport, Reason: "away"}
						}
						return nil
					})})
				}
				hub, err := notify.New(&notify.Options{
					Receivers: rs, Outbox: notify.Outbox{Dir: dir, MaxBytes: 1 << 40}, Group: notify.Group{MaxGroups: 2 * keys},
					CloseTimeout: -1, Logger: slog.New(slog.DiscardHandler),
				})
				if err != nil {
					b.Fatal(err)
				}
				return hub
			}
			hub := open()
			for k := range keys {
				send(b, hub, down(fmt.Sprint("k", k)))
			}
			if !away {
				if err := hub.Flush(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			_ = hub.Close() // some of it waits

			for b.Loop() {
				hub = open()
				b.StopTimer()
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(m.HeapAlloc)/float64(100*keys), "heapB/entry")
				_ = hub.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100*keys), "ns/entry")
		})
	}
}

// crashed returns a folder with a journal that nobody owns.
func crashed(t *testing.T, data []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "gone"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "gone", "journal"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A journal that only another version can read is left to that one.
func TestForeignJournal(t *testing.T) {
	t.Parallel()
	data := []byte("notifyj2 and something that is not known yet")
	dir := crashed(t, data)
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: &fake{}}}, Outbox: notify.Outbox{Dir: dir}})
	if err := hub.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadFile(filepath.Join(dir, "gone", "journal")); err != nil || !bytes.Equal(left, data) {
		t.Errorf("journal is now %q (%v)", left, err)
	}
}

// What a clock wrote that was years ahead is delivered now.
func TestJournalFromTheFuture(t *testing.T) {
	t.Parallel()
	data := notify.AppendRecord([]byte("notifyj1"), `{"op":"put","id":"m1","since":"2999-01-01T00:00:00Z","targets":[{"receiver":"f","attempts":3,"due":"2999-01-01T00:00:00Z"}],"message":{"level":"ERROR","subject":"s","time":"2999-01-01T00:00:00Z","count":1,"first":"2999-01-01T00:00:00Z","last":"2999-01-01T00:00:00Z"}}`)
	f := &fake{}
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: f}}, Outbox: notify.Outbox{Dir: crashed(t, data)}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := hub.Flush(ctx); err != nil || len(f.messages()) != 1 {
		t.Errorf("%v, got %+v", err, f.messages())
	}
}

// A full outbox is told once, with what to do, as long as it lasts: other records
// that find room in the journal do not end it.
func TestFullOutboxIsTold(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var told []error
	var away atomic.Bool
	away.Store(true)
	ops := notifytest.Recorder{Fail: func(context.Context, notify.Message) error {
		if away.Load() {
			return &notify.Error{Class: notify.ClassTransport, Reason: "nobody is there"}
		}
		return nil
	}}
	bubble(t, &notify.Options{
		Receivers: []notify.Receiver{{Name: "ops", Notifier: &ops, Rate: notify.Rate{Per: -1}}}, Outbox: notify.Outbox{Dir: t.TempDir(), MaxBytes: 10_000},
		StuckAfter: 5 * time.Minute, // so that the receiver says nothing first
		OnError: func(err error) {
			if strings.Contains(err.Error(), "outbox") {
				mu.Lock()
				told = append(told, err)
				mu.Unlock()
			}
		},
	}, func(t *testing.T, hub *notify.Hub) {
		tells := func() []error {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return told
		}
		refused := 0
		for i := range 20 {
			if err := hub.Send(t.Context(), fmt.Sprint("s", i), strings.Repeat("x", 1000)); errors.Is(err, notify.ErrNotDurable) {
				refused++
			}
			time.Sleep(10 * time.Second)
		}
		for range 10 { // the tries are noted all the while
			time.Sleep(10 * time.Minute)
			if err := hub.Check(t.Context()); !errors.Is(err, notify.ErrLost) || !strings.Contains(err.Error(), "outbox is full") {
				t.Fatalf("Check = %v, want ErrLost", err)
			}
		}
		list := tells()
		if len(list) != 1 || !errors.Is(list[0], notify.ErrLost) || !strings.Contains(list[0].Error(), "raise Outbox.MaxBytes") {
			t.Fatalf("told %v, want a full outbox once, with what to do", list)
		}
		if s := hub.Stats(); s.NotDurable != uint64(refused) || !strings.Contains(s.StoreError, "outbox is full") || s.Stored != 20-refused {
			t.Errorf("%+v with %d refused", s, refused)
		}

		away.Store(false)
		time.Sleep(20 * time.Minute)
		if n := len(ops.Messages()); n != 20 {
			t.Errorf("%d of 20 delivered", n)
		}
		if list := tells(); len(list) != 2 || errors.Is(list[1], notify.ErrLost) || hub.Check(t.Context()) != nil {
			t.Errorf("told %v, Check %v, want the end", list, hub.Check(t.Context()))
		}
		if s := hub.Stats(); s.StoreError != "" || s.Stored != 0 {
			t.Errorf("%+v", s)
		}

		// A message that never fits says nothing of the next ones.
		err := hub.Send(t.Context(), "large", strings.Repeat("x", 20_000))
		if !errors.Is(err, notify.ErrNotDurable) || !strings.Contains(err.Error(), "and the outbox 10000") {
			t.Errorf("err %v", err)
		}
		if s := hub.Stats(); s.StoreError != "" {
			t.Errorf("%+v", s)
		}
		time.Sleep(20 * time.Minute)
		if list := tells(); len(list) != 4 || hub.Check(t.Context()) != nil {
			t.Errorf("told %v, Check %v", list, hub.Check(t.Context()))
		}
	})
}

// What a process left that used up MaxBytes is taken over, however many receivers
// share a message, and Stats tells of it after Close as well.
func TestFullOutboxIsTakenOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var a, b, c notifytest.Recorder
	var away atomic.Bool
	away.Store(true)
	for _, r := range []*notifytest.Recorder{&a, &b, &c} {
		r.Fail = func(context.Context, notify.Message) error {
			if away.Load() {
				return &notify.Error{Class: notify.ClassTransport, Reason: "nobody is there"}
			}
			return nil
		}
	}
	open := func() *notify.Options {
		o := &notify.Options{Outbox: notify.Outbox{Dir: dir, MaxBytes: 20_000}, Logger: slog.New(slog.DiscardHandler)}
		for name, r := range map[string]*notifytest.Recorder{"a": &a, "b": &b, "c": &c} {
			o.Receivers = append(o.Receivers, notify.Receiver{Name: name, Notifier: r, Rate: notify.Rate{Per: -1}})
		}
		return o
	}

	stored := 0
	synctest.Test(t, func(t *testing.T) {
		hub := newHub(t, open())
		for ; hub.Send(t.Context(), fmt.Sprint("s", stored), strings.Repeat("x", 1000)) == nil; stored++ {
		}
		if err := hub.Close(); !errors.Is(err, notify.ErrRemaining) {
			t.Errorf("Close = %v", err)
		}
		if s := hub.Stats(); s.Stored != stored || s.StoredBytes < 10_000 {
			t.Errorf("%d were stored; after Close %+v", stored, s)
		}
	})
	away.Store(false)
	bubble(t, open(), func(t *testing.T, hub *notify.Hub) {
		time.Sleep(10 * time.Minute)
		if len(a.Messages()) < stored || len(b.Messages()) < stored || len(c.Messages()) < stored {
			t.Errorf("%d, %d and %d of %d delivered; %v", len(a.Messages()), len(b.Messages()), len(c.Messages()), stored, hub.Check(t.Context()))
		}
		if s := hub.Stats(); s.NotDurable != 0 || s.Stored != 0 {
			t.Errorf("%+v", s)
		}
	})
}
