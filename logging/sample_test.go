package logging_test

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
)

// summary is the part of a summary's line that tests look at.
type summary struct {
	Level, Msg, Component, Message string
	LeftOut                        int `json:"left_out"`
	Written                        int
}

func summaries(t testing.TB, all []string) (found []summary, others int) {
	t.Helper()
	for _, l := range all {
		var s summary
		if err := json.Unmarshal([]byte(l), &s); err != nil {
			t.Fatalf("line %q: %v", l, err)
		}
		if s.LeftOut > 0 {
			found = append(found, s)
		} else {
			others++
		}
	}
	return found, others
}

// TestStorm logs a million equal lines from several goroutines.
func TestStorm(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	logs := newLogs(t, &logging.Options{
		File:   logging.FileOptions{Path: filepath.Join(dir, "app.log")},
		Sample: logging.SampleOptions{First: 100, Per: 50 * time.Millisecond},
	})
	total := testenv.Reps(1_000_000)
	const loggers = 4
	var wg sync.WaitGroup
	begin := time.Now()
	for range loggers {
		log := logs.Logger("storm")
		wg.Go(func() {
			for i := range total / loggers {
				log.Warn("connection refused", "attempt", i)
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	if err := logs.Close(); err != nil {
		t.Fatal(err)
	}
	sums, written := summaries(t, lines(t, dir))
	left := 0
	for _, s := range sums {
		left += s.LeftOut
		if s.Message != "connection refused" || s.Component != "storm" || s.Level != "WARN" || s.Written != 100 {
			t.Errorf("summary %+v", s)
		}
	}
	t.Logf("%d written, %d left out in %d summaries", written, left, len(sums))
	if written+left != total || int64(left) != logs.Stats().Suppressed {
		t.Errorf("%d written and %d left out are not %d; Stats says %d", written, left, total, logs.Stats().Suppressed)
	}
	if most := 100 * int(took/(50*time.Millisecond)+2); written > most {
		t.Errorf("%d lines written, want at most %d", written, most)
	}
}

func TestSamplingKeepsDifferentRecords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &buffer{}
		logs := newLogs(t, &logging.Options{
			Level: "debug", Console: logging.ConsoleOptions{Format: "json", Writer: out},
			Sample: logging.SampleOptions{First: 2},
		})
		a, b := logs.Logger("a"), logs.Logger("b")
		for range 5 {
			a.Info("same")
			a.Warn("same")
			b.Info("same")
		}
		for i := range 10 {
			a.Handler().Handle(t.Context(), record(fmt.Sprint("different ", i)))
		}
		all := strings.SplitAfter(strings.TrimSpace(out.String()), "\n")
		if sums, n := summaries(t, all); n != 16 || len(sums) != 0 {
			t.Errorf("%d written, %d summaries", n, len(sums))
		}
		// The interval ends without a further record.
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		all = strings.SplitAfter(strings.TrimSpace(out.String()), "\n")
		sums, n := summaries(t, all)
		if n != 16 || len(sums) != 3 {
			t.Fatalf("%d written, summaries %+v", n, sums)
		}
		for _, s := range sums {
			if s.LeftOut != 3 {
				t.Errorf("%+v", s)
			}
		}
		a.Info("same") // a new interval
		if _, n := summaries(t, strings.SplitAfter(strings.TrimSpace(out.String()), "\n")); n != 17 {
			t.Errorf("%d written in the next interval", n)
		}
	})
}

func TestSamplingBoundsItsMemory(t *testing.T) {
	t.Parallel()
	logs := newLogs(t, &logging.Options{Sample: logging.SampleOptions{First: 1, Per: time.Hour}, Console: logging.ConsoleOptions{Writer: io.Discard}})
	log := logs.Logger("a")
	for i := range 80_000 {
		log.Handler().Handle(t.Context(), record(fmt.Sprint("different ", i)))
	}
	if n := logs.Stats().Suppressed; n != 0 {
		t.Errorf("%d different records were left out", n)
	}
}

// TestSamplingIsExactAtClose closes the log while a storm goes on: each call
// that was answered with nil is a line or counted by a summary.
func TestSamplingIsExactAtClose(t *testing.T) {
	t.Parallel()
	for range testenv.Reps(200) {
		dir := t.TempDir()
		logs, err := logging.New(&logging.Options{
			File:   logging.FileOptions{Path: filepath.Join(dir, "app.log")},
			Sample: logging.SampleOptions{First: 5, Per: time.Millisecond},
		})
		if err != nil {
			t.Fatal(err)
		}
		var taken atomic.Int64
		var wg sync.WaitGroup
		started := make(chan struct{}, 4)
		for range cap(started) {
			h := logs.Logger("storm").Handler()
			wg.Go(func() {
				for i := 0; h.Handle(t.Context(), record("equal", "i", i)) == nil; i++ {
					taken.Add(1)
					if i == 50 {
						started <- struct{}{}
					}
				}
			})
		}
		<-started
		if err := logs.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		sums, written := summaries(t, lines(t, dir))
		left := 0
		for _, s := range sums {
			left += s.LeftOut
		}
		if int64(written+left) != taken.Load() || int64(left) != logs.Stats().Suppressed {
			t.Fatalf("%d written and %d left out of %d; Stats says %d", written, left, taken.Load(), logs.Stats().Suppressed)
		}
	}
}
