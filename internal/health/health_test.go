package health_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errLost  = errors.New("block: lost")
	errStuck = errors.New("block: stuck")
	errDown  = errors.New("block: send: connection refused")
)

// listener keeps what OnError is told.
type listener struct {
	mu   sync.Mutex
	errs []error
}

func (l *listener) told(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

// list says each notice in two words.
func (l *listener) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, err := range l.errs {
		n, _ := errors.AsType[*health.Notice](err)
		what := "?"
		switch {
		case n.Over:
			what = "over"
		case errors.Is(err, errLost):
			what = "lost"
		case errors.Is(err, errStuck):
			what = "stuck"
		}
		all = append(all, what+" "+n.Key)
	}
	return all
}

func (l *listener) want(t *testing.T, want ...string) {
	t.Helper()
	if got := l.list(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("OnError was told %q, want %q", got, want)
	}
}

// started returns a monitor as a constructor hands it out and a user holds it,
// with what OnError hears.
func started(change ...func(*health.Options)) (*health.Monitor, *listener) {
	l := &listener{}
	o := health.Options{
		Component: "block", Logger: slog.New(slog.DiscardHandler), OnError: l.told,
		Lost: errLost, Stuck: errStuck,
	}
	for _, f := range change {
		f(&o)
	}
	m := health.New(o)
	m.Start()
	m.Used()
	return m, l
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestStateIsToldWhenItLasts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, l := started()
		began := time.Now()
		m.Fail("mail", errDown)
		pass(59 * time.Second)
		m.Fail("mail", errDown) // each try fails; the first one counts
		l.want(t)
		if err := m.Check(); err != nil {
			t.Errorf("Check before the bound = %v, want nil", err)
		}

		pass(time.Second)
		l.want(t, "stuck mail")
		err := m.Check()
		if !errors.Is(err, errStuck) || errors.Is(err, errLost) || !errors.Is(err, errDown) {
			t.Errorf("Check = %v, want stuck with its cause", err)
		}
		want := "block: mail: stuck since " + began.UTC().Format(time.RFC3339) + ": send: connection refused"
		if err == nil || err.Error() != want {
			t.Errorf("Check = %v, want %s", err, want)
		}

		m.OK("mail")
		if err := m.Check(); err != nil {
			t.Errorf("Check after OK = %v, want nil", err)
		}
		pass(59 * time.Second)
		l.want(t, "stuck mail")
		pass(time.Second)
		l.want(t, "stuck mail", "over mail")
		if s := m.States(); len(s) != 0 {
			t.Errorf("States after the end = %+v", s)
		}
		if text := l.errs[1].Error(); text != "block: mail: works again after 2m0s" {
			t.Errorf("the end says %q", text)
		}
	})
}

func TestStateThatPassesIsNotTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, l := started()
		for range 100 {
			m.Fail("mail", errDown)
			pass(59 * time.Second)
			m.OK("mail")
			pass(time.Second)
		}
		pass(time.Hour)
		l.want(t)
	})
}

func TestFlappingIsOneEpisode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, l := started()
		for range 100 {
			m.Fail("mail", errDown)
			pass(61 * time.Second)
			m.OK("mail")
			pass(5 * time.Second)
		}
		l.want(t, "stuck mail")
		pass(time.Hour)
		l.want(t, "stuck mail", "over mail")
	})
}

func TestLossIsToldAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, l := started()
		m.Lost("file", 3, errDown)
		synctest.Wait()
		l.want(t, "lost file")
		if err := m.Check(); !errors.Is(err, errLost) || !strings.Contains(err.Error(), "3 lost since") {
			t.Errorf("Check = %v, want 3 lost", err)
		}

		pass(59 * time.Second)
		m.Lost("file", 4, errDown)
		pass(59 * time.Second)
		m.OK("file") // a loss is an event: OK neither ends nor prolongs it
		if err := m.Check(); !errors.Is(err, errLost) || !strings.Contains(err.Error(), "7 lost since") {
			t.Errorf("Check = %v, want 7 lost", err)
		}
		pass(time.Second)
		l.want(t, "lost file", "over file")
		if err := m.Check(); err != nil {
			t.Errorf("Check after the end = %v, want nil", err)
		}
		if text := l.errs[1].Error(); text != "block: file: works again after 1m59s, 7 lost" {
			t.Errorf("the end says %q", text)
		}

		m.Lost("file", 0, errDown)
		synctest.Wait()
		l.want(t, "lost file", "over file")
	})
}

func TestBrokenLastsUntilOK(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, l := started()
		m.Broken("file", errDown)
		m.Lost("file", 1, errDown)
		pass(time.Hour)
		l.want(t, "lost file")
		if err := m.Check(); !errors.Is(err, errLost) {
			t.Errorf("Check after an hour = %v, want lost", err)
		}
		m.Broken("file", nil)
		pass(time.Minute)
		l.want(t, "lost file", "over file")
	})
}

func TestStuckThenLostIsToldOnceMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, l := started()
		m.Fail("ship", errDown)
		pass(time.Minute)
		m.Lost("ship", 1, errDown)
		pass(time.Minute)
		m.Lost("ship", 1, errDown)
		m.Fail("ship", errDown)
		pass(time.Minute)
		l.want(t, "stuck ship", "lost ship")
		m.OK("ship")
		pass(time.Minute)
		l.want(t, "stuck ship", "lost ship", "over ship")
	})
}

func TestNothingIsToldBeforeTheConstructorReturned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		m := health.New(health.Options{Component: "block", Logger: slog.New(slog.DiscardHandler), OnError: l.told, Lost: errLost})
		m.Used() // a constructor may call exported methods
		m.Lost("file", 1, errDown)
		pass(time.Hour)
		l.want(t)

		m.Start()
		pass(time.Second - 1)
		l.want(t)
		m.Used()
		synctest.Wait()
		if got := len(l.list()); got == 0 {
			t.Error("the first use let nothing out")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		m := health.New(health.Options{Component: "block", Logger: slog.New(slog.DiscardHandler), OnError: l.told, Lost: errLost})
		m.Lost("file", 1, errDown)
		m.Start()
		pass(time.Second)
		l.want(t, "lost file") // although nobody calls anything
	})
	synctest.Test(t, func(t *testing.T) {
		l := &listener{}
		m := health.New(health.Options{Component: "block", OnError: l.told, Lost: errLost})
		m.Lost("file", 1, errDown)
		m.Close(t.Context()) // the constructor fails, and says so itself
		l.want(t)
	})
}

func TestCallbacksMayUseTheBlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m *health.Monitor
		var running, calls int
		m, _ = started(func(o *health.Options) {
			o.OnError = func(err error) {
				if running++; running > 1 {
					t.Error("two callbacks at a time")
				}
				calls++
				n, _ := errors.AsType[*health.Notice](err)
				if calls < 5 {
					m.Lost(n.Key+"+", 1, errDown)
				}
				if m.Check() == nil {
					t.Error("Check in the callback knows of no loss")
				}
				m.Used()
				pause := time.After(time.Millisecond)
				<-pause
				if calls == 5 {
					m.Close(context.Background()) // must not wait for this callback
				}
				running--
			}
		})
		m.Lost("a", 1, errDown)
		m.Lost("b", 1, errDown)
		pass(time.Minute)
		if calls != 6 { // a, b and what four calls have added
			t.Errorf("%d calls, want 6", calls)
		}
	})
}

func TestCloseTellsWhatIsQueued(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		m, l := started()
		m2, l2 := started(func(o *health.Options) { // its first callback hangs for a while
			told := o.OnError
			o.OnError = func(err error) { <-gate; told(err) }
		})
		for _, m := range []*health.Monitor{m, m2} {
			m.Lost("a", 1, errDown)
			m.Lost("b", 1, errDown)
			m.Fail("c", errDown)
		}
		m.Close(t.Context())
		l.want(t, "lost a", "lost b")

		time.AfterFunc(time.Second, func() { close(gate) })
		synctest.Wait()
		m2.Close(t.Context())
		l2.want(t, "lost a", "lost b")

		m.Lost("a", 1, errDown)
		m.Close(t.Context())
		m.Close(t.Context())
		pass(time.Hour)
		l.want(t, "lost a", "lost b")
		if err := m.Check(); !errors.Is(err, errLost) || !strings.Contains(err.Error(), "a: 2 lost") {
			t.Errorf("Check after Close = %v, want what was lost", err)
		}
	})
}

func TestCloseWaitsNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		m, _ := started(func(o *health.Options) { o.OnError = func(error) { <-gate } })
		m.Lost("a", 1, errDown)
		synctest.Wait()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		m.Close(ctx)
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("Close waited %v for a callback that hangs, want 5s", d)
		}
		close(gate)
	})
}

func TestKeysAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, l := started()
		for i := range 5000 {
			m.Fail(fmt.Sprintf("host%04d", i), errDown)
		}
		pass(30 * time.Second)
		m.Fail("one more", errDown)
		pass(30 * time.Second)
		m.Lost("yet another", 2, errDown)
		synctest.Wait()
		list := l.list()
		if len(list) != health.MaxKeys+1 || list[len(list)-1] != "lost "+health.Others {
			t.Errorf("%d notices, the last %q; want one a key and one for the others", len(list), list[len(list)-1])
		}
		if n := len(m.States()); n != health.MaxKeys+1 {
			t.Errorf("%d states, want %d", n, health.MaxKeys+1)
		}
		if text := m.Check().Error(); len(text) > 4000 || !strings.HasSuffix(text, fmt.Sprintf("and %d more", health.MaxKeys+1-10)) {
			t.Errorf("Check says %d bytes: %s", len(text), text)
		}

		for i := range 5000 {
			m.OK(fmt.Sprintf("host%04d", i))
		}
		pass(time.Minute)
		if got := len(l.list()); got != 2*(health.MaxKeys+1) || len(m.States()) != 0 {
			t.Errorf("%d notices, %d states; want an end for each", got, len(m.States()))
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var most int
		m, _ := started(func(o *health.Options) {
			o.After = -1 // each report is told at once, and over at once
			o.OnError = func(err error) {
				<-gate
				n, _ := errors.AsType[*health.Notice](err)
				most = max(most, n.Untold)
			}
		})
		for range 20000 {
			m.Fail("mail", errDown)
			m.OK("mail")
			synctest.Wait()
		}
		close(gate)
		synctest.Wait()
		m.Fail("mail", errDown)
		synctest.Wait()
		if want := 40000 - 4*health.MaxKeys - 1; most != want {
			t.Errorf("%d notices were dropped without a word, want %d counted", most, want)
		}
	})
}

func TestForget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, l := started()
		m.Fail("mail", errDown)
		pass(time.Minute)
		m.Forget("mail")
		m.Forget("unknown")
		pass(time.Hour)
		l.want(t, "stuck mail")
		if err := m.Check(); err != nil {
			t.Errorf("Check = %v, want nil", err)
		}
	})
}

func TestLines(t *testing.T) {
	t.Parallel()
	for _, asJSON := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			m, l := started(func(o *health.Options) {
				o.Logger, o.Stderr, o.JSON = nil, &out, asJSON
				o.Advise = func(string, error) string { return "start it" }
			})
			m.Fail("mail", errDown)
			pass(time.Minute)
			m.OK("mail")
			pass(time.Minute)
			l.want(t, "stuck mail", "over mail")

			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if len(lines) != 2 {
				t.Fatalf("%d lines on stderr, want 2: %s", len(lines), out.String())
			}
			if !asJSON {
				for _, part := range []string{"level=ERROR", "msg=stuck", "component=block", "part=mail", `advice="start it"`} {
					if !strings.Contains(lines[0], part) {
						t.Errorf("line %s lacks %s", lines[0], part)
					}
				}
				if !strings.Contains(lines[1], `level=ERROR msg="works again"`) || !strings.Contains(lines[1], "lasted=2m0s") {
					t.Errorf("end: %s", lines[1])
				}
				return
			}
			var v map[string]any
			if err := json.Unmarshal([]byte(lines[0]), &v); err != nil || v["msg"] != "stuck" || v["part"] != "mail" {
				t.Errorf("JSON line %s: %v", lines[0], err)
			}
		})
	}
}

// TestStorm reports from many goroutines while the block is closed.
func TestStorm(t *testing.T) {
	t.Parallel()
	for range 20 {
		m := health.New(health.Options{
			Component: "block", Stderr: io.Discard, After: time.Microsecond,
			OnError: func(error) {}, Lost: errLost, Stuck: errStuck,
		})
		m.Start()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 300 {
					key := fmt.Sprint(j % 7)
					switch (i + j) % 4 {
					case 0:
						m.Fail(key, errDown)
					case 1:
						m.Lost(key, 1, errDown)
					case 2:
						m.OK(key)
					default:
						_ = m.Check()
						m.Used()
					}
				}
			})
		}
		m.Close(t.Context())
		wg.Wait()
		m.Close(t.Context())
	}
}

func BenchmarkOK(b *testing.B) {
	m, _ := started()
	b.ReportAllocs()
	for b.Loop() {
		m.Used()
		m.OK("file")
	}
}
