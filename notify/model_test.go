package notify_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
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

const (
	modelReceivers = 8
	modelKeys      = 50
	modelInterval  = 5 * time.Minute
)

// world is what a model says happened: it knows no hub.
type world struct {
	sync.Mutex
	rng   *rand.Rand
	trace []string
	open  [modelKeys]bool
	due   [modelReceivers][modelKeys]bool // a start of this episode was for the receiver, and nobody hid it
	knows [modelReceivers][modelKeys]bool // the receiver heard of trouble, and of no end
	heard [modelReceivers][modelKeys]bool // the receiver heard of the episode that goes on
	mute  [modelKeys]bool
	owes  [modelReceivers][modelKeys]bool // the receiver is to hear the end
	at    [modelReceivers][modelKeys][]time.Time
	seen  map[string]bool
	crash int
}

func (w *world) fail(format string, args ...any) {
	w.trace = append(w.trace, "FAULT "+fmt.Sprintf(format, args...))
}

// listener is one receiver of one process. It goes deaf when that crashes.
type listener struct {
	w    *world
	n    int
	gen  int
	down func() bool
}

func (l listener) Send(context.Context, string, string) error { panic("Notify is there") }

func (l listener) Notify(_ context.Context, m notify.Message) error {
	l.w.Lock()
	defer l.w.Unlock()
	if l.gen != l.w.crash || l.down() {
		return &notify.Error{Class: notify.ClassTransport, Reason: "away"}
	}
	var key int
	_, _ = fmt.Sscanf(m.Key, "k%d", &key)
	start := strings.Contains(m.Text, "down")
	id := fmt.Sprint(l.n, " ", m.ID)
	again := l.w.seen[id]
	l.w.seen[id] = true
	l.w.trace = append(l.w.trace, fmt.Sprintf("%v   %d hears k%d %q resolved=%v level=%v count=%d new=%d again=%v", time.Now().Format("15:04:05"), l.n, key, m.Text, m.Resolved, m.Level, m.Count, m.New, again))
	if again { // a crash repeats what was under way
		if !m.Resolved && l.w.knows[l.n][key] { // it is down as before, whatever came between
			l.w.heard[l.n][key], l.w.due[l.n][key] = true, false
		}
		return nil
	}
	if m.Resolved && !start && !l.w.knows[l.n][key] {
		l.w.fail("receiver %d hears the end of k%d without a start", l.n, key)
	}
	l.w.knows[l.n][key] = !m.Resolved
	// What was on its way when a silence hid the end is of an episode that is over.
	l.w.heard[l.n][key] = !m.Resolved && (l.w.open[key] || !l.w.mute[key])
	l.w.due[l.n][key] = false
	if m.Resolved {
		l.w.owes[l.n][key] = false
	}
	l.w.at[l.n][key] = append(l.w.at[l.n][key], time.Now())
	return nil
}

var modelLevels = []slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError}

func modelLevel(receiver int) slog.Level { return modelLevels[receiver%3] }

func modelMatch(receiver int, m notify.Message) bool {
	return receiver < 6 || strings.HasSuffix(m.Key, "1")
}

// Whatever happens, whoever must hear, hears; nobody hears an end without a
// start; nobody is flooded; and a crash loses nothing that was accepted.
func TestModel(t *testing.T) {
	t.Parallel()
	runs, steps := testenv.Reps(1000), 2000
	if !testenv.Soak() {
		runs, steps = runs/10, 200
	}
	var next atomic.Int64
	for worker := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprint(worker), func(t *testing.T) {
			t.Parallel()
			for seed := next.Add(1) - 1; int(seed) < runs; seed = next.Add(1) - 1 {
				if failed := modelRun(t, uint64(seed), steps); failed {
					t.Fatalf("seed %d", seed)
				}
				if seed%50 == 49 {
					t.Logf("%d runs", seed+1)
				}
			}
		})
	}
}

func modelRun(t *testing.T, seed uint64, steps int) (failed bool) {
	root := testenv.MemDir(t)
	defer func() { _ = os.RemoveAll(root) }() // each run leaves some
	synctest.Test(t, func(t *testing.T) {
		w := &world{rng: rand.New(rand.NewPCG(seed, 7)), seen: map[string]bool{}}
		var away [modelReceivers]bool
		var closers []func()
		var unmute [modelKeys]func()
		silence := func(hub *notify.Hub, key int) {
			unmute[key] = hub.Silence(func(m notify.Message) bool { return m.Key == fmt.Sprint("k", key) }, 1000*time.Hour)
		}
		open := func() *notify.Hub {
			var rs []notify.Receiver
			for n := range modelReceivers {
				rs = append(rs, notify.Receiver{
					Name: fmt.Sprint("r", n), Notifier: listener{w, n, w.crash, func() bool { return away[n] }}, MinLevel: modelLevel(n),
					Match: func(m notify.Message) bool { return modelMatch(n, m) }, Rate: notify.Rate{Per: -1}, Retry: notify.Retry{Max: 10 * time.Second},
				})
			}
			hub, err := notify.New(&notify.Options{
				Receivers: rs, Outbox: notify.Outbox{Dir: filepath.Join(root, fmt.Sprint(w.crash))}, CloseTimeout: -1, Source: "-",
				Group: notify.Group{Interval: modelInterval}, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			for key, muted := range w.mute {
				if muted { // an operator who silences does so again
					silence(hub, key)
				}
			}
			closers = append(closers, func() { _ = hub.Close() })
			return hub
		}
		hub := open()
		for range steps {
			key, p := w.rng.IntN(modelKeys), w.rng.IntN(100)
			switch {
			case p < 60: // a start, a repeat or an escalation
				level := modelLevels[w.rng.IntN(3)]
				m := notify.Message{Key: fmt.Sprint("k", key), Level: level, Subject: fmt.Sprint("k", key), Text: fmt.Sprint("down ", key)}
				w.Lock()
				w.trace = append(w.trace, fmt.Sprintf("%v down k%d %v mute=%v", time.Now().Format("15:04:05"), key, level, w.mute[key]))
				w.open[key] = true
				for n := range modelReceivers {
					if level >= modelLevel(n) && modelMatch(n, m) {
						w.due[n][key] = w.due[n][key] || !w.heard[n][key]
						w.owes[n][key] = false
					}
				}
				w.Unlock()
				if err := hub.Notify(t.Context(), m); err != nil && !strings.Contains(err.Error(), "no receiver") {
					t.Fatal(err)
				}
			case p < 85: // the end
				w.Lock()
				w.trace = append(w.trace, fmt.Sprintf("%v up k%d mute=%v", time.Now().Format("15:04:05"), key, w.mute[key]))
				for n := range modelReceivers {
					if w.open[key] { // who heard the start hears the end, and who was due it hears both
						w.owes[n][key] = w.heard[n][key] || w.due[n][key]
						w.heard[n][key] = false
					}
					w.owes[n][key] = w.owes[n][key] && !w.mute[key]
					w.due[n][key] = false
				}
				w.open[key] = false
				w.Unlock()
				if err := hub.Notify(t.Context(), notify.Message{Key: fmt.Sprint("k", key), Subject: fmt.Sprint("k", key), Text: fmt.Sprint("up ", key), Resolved: true}); err != nil {
					t.Fatal(err)
				}
			case p < 90:
				w.Lock()
				w.mute[key] = !w.mute[key]
				muted := w.mute[key]
				w.trace = append(w.trace, fmt.Sprintf("%v mute k%d = %v", time.Now().Format("15:04:05"), key, muted))
				for n := range modelReceivers { // an end that is not there yet is hidden
					w.owes[n][key] = w.owes[n][key] && !muted
				}
				w.Unlock()
				if muted {
					silence(hub, key)
				} else {
					unmute[key]()
					time.Sleep(2 * time.Second) // it goes out a second later
				}
			case p < 93:
				w.Lock()
				n := w.rng.IntN(modelReceivers)
				away[n] = !away[n]
				w.Unlock()
			case p < 95:
				path, size, synced := notify.Journal(hub)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				w.Lock()
				w.crash++
				cut := synced + w.rng.Int64N(max(1, size-synced+1))
				w.trace = append(w.trace, fmt.Sprintf("crash %d, cut at %d of %d", w.crash, cut, size))
				dir := filepath.Join(root, fmt.Sprint(w.crash), "gone")
				w.Unlock()
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "journal"), data[:cut], 0o600); err != nil {
					t.Fatal(err)
				}
				closers[len(closers)-1]()
				hub = open()
			default:
				time.Sleep(time.Duration(w.rng.Int64N(int64(4 * time.Minute))))
			}
		}
		w.Lock()
		muted := w.mute
		w.mute, away = [modelKeys]bool{}, [modelReceivers]bool{}
		w.Unlock()
		for key := range modelKeys {
			if muted[key] {
				unmute[key]()
			}
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		w.Lock()
		w.check()
		for _, line := range w.trace {
			failed = failed || strings.HasPrefix(line, "FAULT")
		}
		if failed {
			report(t, w)
		}
		w.Unlock()
		for _, c := range closers {
			c()
		}
	})
	return failed
}

// check says what is untold at the end, and who was flooded.
func (w *world) check() {
	for n := range modelReceivers {
		for key := range modelKeys {
			if w.open[key] && w.due[n][key] {
				w.fail("receiver %d never heard that k%d is down", n, key)
			}
			if w.owes[n][key] {
				w.fail("receiver %d never heard the end of k%d", n, key)
			}
			at := w.at[n][key]
			// Within an interval: a start, two escalations, an end, a start after
			// a hidden end with its own, and one word more.
			for i := 9; i < len(at); i++ {
				if at[i].Sub(at[i-9]) < modelInterval {
					w.fail("receiver %d hears 10 messages about k%d within an interval", n, key)
				}
			}
		}
	}
}

// report shows the story of the first fault.
func report(t *testing.T, w *world) {
	t.Helper()
	for _, line := range w.trace {
		if !strings.HasPrefix(line, "FAULT") {
			continue
		}
		t.Error(line)
		at := strings.Index(line, " k")
		key := strings.Fields(line[at:])[0]
		for _, l := range w.trace {
			if strings.Contains(l+" ", " "+key+" ") || strings.HasPrefix(l, "crash") {
				t.Log(l)
			}
		}
		return
	}
}
