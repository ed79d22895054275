package notify_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/notify"
)

// 10,000 equal errors and 100 distinct ones: few messages, every one counted,
// and callers who do not notice.
func TestStorm(t *testing.T) {
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("outbox=%v", durable), func(t *testing.T) {
			f := &fake{}
			opts := &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: f, Rate: notify.Rate{Per: -1}}, {Name: "g", Notifier: &fake{}}}}
			if durable {
				opts.Outbox.Dir = t.TempDir()
			}
			hub := newHub(t, opts)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- hub.Run(ctx) }()
			log := slog.New(notify.NewHandler(hub, nil, &notify.HandlerOptions{By: []string{"kind"}}))

			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			base := runtime.NumGoroutine()
			var most atomic.Int64
			watch, stop := context.WithCancel(t.Context())
			var watcher sync.WaitGroup
			watcher.Go(func() {
				tick := time.NewTicker(200 * time.Microsecond)
				defer tick.Stop()
				for watch.Err() == nil {
					most.Store(max(most.Load(), int64(runtime.NumGoroutine())))
					<-tick.C
				}
			})
			begin := time.Now()
			for i := range 10_000 {
				log.Error("no connection to the database", "attempt", i)
				if i%100 == 0 {
					log.Error("distinct", "kind", i/100)
				}
			}
			took := time.Since(begin)
			stop()
			watcher.Wait()
			runtime.GC()
			runtime.ReadMemStats(&after)

			flush, done2 := context.WithTimeout(t.Context(), 20*time.Second)
			defer done2()
			if err := hub.Flush(flush); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			messages, count, distinct := 0, 0, 0
			for _, m := range f.messages() {
				if strings.HasPrefix(m.Subject, "no connection") {
					messages++
					count += m.New
				} else {
					distinct += m.New
				}
			}
			if messages > 2 || count != 10_000 || distinct != 100 {
				t.Errorf("%d messages for the storm, %d counted, %d distinct; want at most 2, 10000, 100", messages, count, distinct)
			}
			if limit := testenv.Within(100*time.Millisecond, 5*time.Second); took > limit {
				t.Errorf("callers spent %v, want at most %v", took, limit)
			}
			if n := most.Load() - int64(base) - 1; n > 20 {
				t.Errorf("%d goroutines more, want at most 20", n)
			}
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 20<<20 {
				t.Errorf("heap grew by %d bytes, want at most 20 MB", grown)
			}
			t.Logf("10,100 records: %v for callers, %d goroutines more, %d kB of heap", took, most.Load()-int64(base)-1, (int64(after.HeapAlloc)-int64(before.HeapAlloc))>>10)
		})
	}
}

// A hub that logs through the logger whose errors it sends does not feed
// itself, even while its receiver is down.
func TestNoFeedback(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		var log *slog.Logger
		down := sendFunc(func(ctx context.Context, _, _ string) error {
			tries.Add(1)
			log.ErrorContext(ctx, "receiver cannot connect") // a receiver that logs with the context it got
			return &notify.Error{Class: notify.ClassTransport, Reason: "connection refused"}
		})
		late := &lateHandler{Handler: slog.DiscardHandler}
		hub, err := notify.New(&notify.Options{
			Receivers: []notify.Receiver{{Name: "slack", Notifier: down}}, Logger: slog.New(late),
		})
		if err != nil {
			t.Fatal(err)
		}
		handler := notify.NewHandler(hub, slog.DiscardHandler, nil)
		late.Handler = handler
		log = slog.New(handler)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- hub.Run(ctx) }()
		log.Error("the one alert")
		time.Sleep(time.Hour)
		stats := hub.Stats()
		if stats.Groups > 1 || stats.Suppressed != 0 || stats.Receivers[0].Failed != 1 {
			t.Errorf("the hub feeds itself: %+v", stats)
		}
		if n := tries.Load(); n < 2 || n > 30 {
			t.Errorf("%d tries, want 2 to 30", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
		if err := hub.Send(t.Context(), "s", "m"); !errors.Is(err, notify.ErrClosed) {
			t.Errorf("Send after Close: %v", err)
		}
	})
}

type lateHandler struct{ slog.Handler }

// The life of a group, by the clock.
func TestGroupLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		hub, err := notify.New(&notify.Options{
			Receivers: []notify.Receiver{{Name: "f", Notifier: f}},
			Group:     notify.Group{Interval: 5 * time.Minute, Repeat: time.Hour},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- hub.Run(ctx) }()
		start := time.Now()
		send := func(m notify.Message) {
			t.Helper()
			if m.Key == "" {
				m.Key = "disk"
			}
			m.Subject = "disk full"
			if err := hub.Notify(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		expect := func(what string, want ...int) []notify.Message {
			t.Helper()
			synctest.Wait()
			got := f.messages()
			var counts []int
			for _, m := range got {
				counts = append(counts, m.Count)
			}
			if fmt.Sprint(counts) != fmt.Sprint(want) {
				t.Fatalf("%s at %v: counts %v, want %v", what, time.Since(start), counts, want)
			}
			return got
		}
		send(notify.Message{})
		expect("first", 1)
		for range 10 {
			time.Sleep(20 * time.Second)
			send(notify.Message{})
		}
		expect("repeats are held", 1)
		time.Sleep(5*time.Minute - time.Since(start))
		got := expect("end of the first interval", 1, 11)
		if got[1].Thread != got[0].ID || !got[1].First.Equal(start) || got[1].Last.Sub(start) != 200*time.Second || got[1].ID == got[0].ID {
			t.Errorf("summary %+v of %+v", got[1], got[0])
		}
		time.Sleep(30 * time.Second) // not at the same instant as the timer
		for range 60 {               // it goes on: the next word after Repeat
			time.Sleep(time.Minute)
			send(notify.Message{})
		}
		time.Sleep(time.Second)
		got = expect("it goes on", 1, 11, 70)
		if got[2].New != 59 {
			t.Errorf("%d since the last word, want 59", got[2].New)
		}
		time.Sleep(2 * time.Hour)
		expect("the rest", 1, 11, 70, 71)
		send(notify.Message{})
		expect("after a long quiet with the total", 1, 11, 70, 71, 72)
		send(notify.Message{})
		send(notify.Message{Level: slog.LevelError})
		expect("a higher level goes out at once", 1, 11, 70, 71, 72, 74)
		send(notify.Message{})
		send(notify.Message{Resolved: true})
		got = expect("so does the end", 1, 11, 70, 71, 72, 74, 75)
		if last := got[len(got)-1]; !last.Resolved || last.Thread != got[0].ID {
			t.Errorf("end %+v", last)
		}
		time.Sleep(time.Hour)
		expect("nothing is left", 1, 11, 70, 71, 72, 74, 75)
		if n := hub.Stats().Groups; n != 0 {
			t.Errorf("%d groups after the end, want 0", n)
		}
		send(notify.Message{})
		expect("it is news again", 1, 11, 70, 71, 72, 74, 75, 1)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestGroupWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		hub, err := notify.New(&notify.Options{
			Receivers: []notify.Receiver{{Name: "f", Notifier: f}}, Group: notify.Group{Wait: 10 * time.Second},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- hub.Run(ctx) }()
		for range 500 {
			if err := hub.Send(t.Context(), "s", "m"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(11 * time.Second)
		if got := f.messages(); len(got) != 1 || got[0].Count != 500 || got[0].Thread != "" {
			t.Errorf("got %+v, want one message for 500", got)
		}
		time.Sleep(time.Hour)
		if n := hub.Stats().Groups; n != 0 {
			t.Errorf("%d groups are left", n)
		}
		cancel()
		<-done
		_ = hub.Close()
		if got := f.messages(); len(got) != 1 {
			t.Errorf("%d messages, want 1", len(got))
		}
	})
}

// loud is a value that logs while it is logged.
type loud struct{ log *slog.Logger }

func (l loud) LogValue() slog.Value {
	l.log.Error("no connection")
	return slog.StringValue("loud")
}

func TestValuesThatLog(t *testing.T) {
	t.Parallel()
	f := &fake{}
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: f}}, Outbox: notify.Outbox{Dir: t.TempDir()}})
	log := slog.New(notify.NewHandler(hub, nil, nil))
	for range 20 {
		m := notify.Message{Subject: "s", Key: "k", Attrs: []slog.Attr{slog.Any("v", loud{log})}}
		if err := hub.Notify(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := hub.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for _, m := range f.messages() {
		if m.Subject == "s" && (len(m.Attrs) != 1 || m.Attrs[0].Value.String() != "loud") {
			t.Errorf("attributes %v", m.Attrs)
		}
	}
}

// A ledger that is full makes room: what is quiet and low gives way, and no
// error is untold.
func TestGroupsAreBounded(t *testing.T) {
	t.Parallel()
	f := &fake{}
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: f}}, Group: notify.Group{MaxGroups: 10}})
	const kinds = 5000
	for i := range kinds {
		if err := hub.Notify(t.Context(), notify.Message{Subject: fmt.Sprint("kind ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := hub.Stats().Groups; n > 10+200 {
		t.Errorf("%d groups, want 10 and those that are held", n)
	}
	if err := hub.Send(t.Context(), "disk full", "db1"); err != nil {
		t.Fatal(err)
	}
	got := f.messages()
	if last := got[len(got)-1]; last.Subject != "disk full" || last.Text != "db1" {
		t.Errorf("an error behind many others: %+v", last)
	}
	if err := hub.Close(); err != nil {
		t.Fatal(err)
	}
	total := 0
	got = f.messages()
	for _, m := range got {
		total += m.New
	}
	if len(got) != 22 || total != kinds+1 {
		t.Errorf("%d messages for %d, want 22 for %d", len(got), total, kinds+1)
	}
	if last := got[len(got)-1]; !strings.Contains(last.Text, "kind 20") || !strings.Contains(last.Text, "and 4780 more") {
		t.Errorf("last message %+v", last)
	}
}

// What is kept of a message for its repeats is small, whatever it holds.
func TestGroupsStaySmall(t *testing.T) {
	t.Parallel()
	f := &fake{}
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: f}}})
	large := strings.Repeat("x", 1<<20)
	m := notify.Message{
		Key: "k", Level: slog.LevelError, Subject: large, Text: large, HTML: large,
		Attrs:       []slog.Attr{slog.String("host", "a"), slog.String("dump", large)},
		Attachments: []notify.Attachment{{Name: "a", Data: []byte(large)}},
	}
	for range 2 {
		if err := hub.Notify(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := hub.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := f.messages()
	if len(got) != 2 || len(got[0].Text) != 1<<20 || len(got[0].Attrs) != 2 {
		t.Fatalf("%d messages, the first is not whole", len(got))
	}
	size := len(got[1].Subject) + len(got[1].Text) + len(got[1].HTML) + len(got[1].Attachments)
	for _, field := range got[1].Fields() {
		size += len(field.Name) + len(field.Value)
	}
	if size > 12<<10 || len(got[1].Attrs) > 2 {
		t.Errorf("word of the repeats has %d bytes and %d attributes", size, len(got[1].Attrs))
	}
}

// A repeat costs next to nothing.
func TestRepeatAllocations(t *testing.T) {
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: &fake{}}}})
	ctx := t.Context()
	if got := testing.AllocsPerRun(1000, func() { _ = hub.Send(ctx, "subject", "a text of some length") }); got > 1 {
		t.Errorf("a repeat allocates %v times, want at most 1", got)
	}
	log := slog.New(notify.NewHandler(hub, nil, nil))
	if got := testing.AllocsPerRun(1000, func() { log.Error("no connection", "host", "db1") }); got > 2 {
		t.Errorf("a repeated record allocates %v times, want at most 2 (one is slog's)", got)
	}
}

func BenchmarkRepeat(b *testing.B) {
	hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: &fake{}}}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = hub.Close() }()
	b.Run("Notify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = hub.Send(b.Context(), "subject", "a text of some length")
		}
	})
	log := slog.New(notify.NewHandler(hub, nil, nil))
	b.Run("slog", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			log.Error("no connection", "host", "db1")
		}
	})
}
