package logging_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
)

// buffer is a writer for tests that log from several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newLogs(t testing.TB, o *logging.Options) *logging.Logs {
	t.Helper()
	logs, err := logging.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = logs.Close() })
	return logs
}

func TestLevelsByPattern(t *testing.T) {
	t.Parallel()
	logs := newLogs(t, &logging.Options{
		Level: "warn",
		Levels: map[string]string{
			"orders.*": "debug", "orders.http": "error", "orders.db.*": "INFO", "mail": "info+2",
		}, Console: logging.ConsoleOptions{Writer: io.Discard},
	})
	for name, want := range map[string]slog.Level{
		"": slog.LevelWarn, "other": slog.LevelWarn, "ordersx": slog.LevelWarn,
		"orders": slog.LevelDebug, "orders.queue": slog.LevelDebug, "orders.http.in": slog.LevelDebug,
		"orders.http": slog.LevelError, "orders.db": slog.LevelInfo, "orders.db.pool": slog.LevelInfo,
		"mail": slog.LevelInfo + 2, "mail.smtp": slog.LevelWarn,
	} {
		log := logs.Logger(name)
		if !log.Enabled(t.Context(), want) || log.Enabled(t.Context(), want-1) {
			t.Errorf("component %q is not at %v", name, want)
		}
	}
	if h := logs.Handler(); !h.Enabled(t.Context(), slog.LevelWarn) || h.Enabled(t.Context(), slog.LevelInfo) {
		t.Error("the handler without a component is not at the level of all")
	}
}

func TestSetLevelTakesEffectAndExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := newLogs(t, &logging.Options{Levels: map[string]string{"b": "error"}, Console: logging.ConsoleOptions{Writer: io.Discard}})
		a, b, c := logs.Logger("a.x").With("k", 1), logs.Logger("b"), logs.Logger("c")
		check := func(when string, la, lb, lc slog.Level) {
			t.Helper()
			for _, l := range []struct {
				name  string
				log   *slog.Logger
				level slog.Level
			}{{"a.x", a, la}, {"b", b, lb}, {"c", c, lc}} {
				if !l.log.Enabled(t.Context(), l.level) || l.log.Enabled(t.Context(), l.level-1) {
					t.Errorf("%s: %s is not at %v", when, l.name, l.level)
				}
			}
		}
		set := func(pattern string, level slog.Level, d time.Duration) {
			t.Helper()
			if err := logs.SetLevel(pattern, level, d); err != nil {
				t.Fatal(err)
			}
		}
		check("at first", slog.LevelInfo, slog.LevelError, slog.LevelInfo)
		set("a.*", slog.LevelDebug, 10*time.Minute)
		check("after SetLevel", slog.LevelDebug, slog.LevelError, slog.LevelInfo)
		time.Sleep(9 * time.Minute)
		set("a.*", slog.LevelWarn, 10*time.Minute) // replaces, and starts anew
		time.Sleep(9 * time.Minute)
		check("after the first would have expired", slog.LevelWarn, slog.LevelError, slog.LevelInfo)
		time.Sleep(time.Minute + time.Millisecond)
		check("after it expired", slog.LevelInfo, slog.LevelError, slog.LevelInfo)
		set("*", slog.LevelDebug, time.Second)
		check("all", slog.LevelDebug, slog.LevelError, slog.LevelDebug)
		set("b", slog.LevelInfo, 0)
		time.Sleep(time.Hour)
		check("for good", slog.LevelInfo, slog.LevelInfo, slog.LevelInfo)
		set("c", slog.LevelError, time.Hour)
		set("c", slog.LevelWarn, 0) // ends the passing one
		check("for good at once", slog.LevelInfo, slog.LevelInfo, slog.LevelWarn)
	})
}

// TestSetLevelWhileLogging changes one of three components under load: its
// records stop or begin, those of the others go on.
func TestSetLevelWhileLogging(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	logs := newLogs(t, &logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log")}})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, name := range []string{"one", "two", "three"} {
		log := logs.Logger(name)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					log.Debug("detail")
					time.Sleep(10 * time.Microsecond) // else the file fills the disk
				}
			}
		})
	}
	seen := func(name string) bool {
		return strings.Contains(strings.Join(lines(t, dir), ""), fmt.Sprintf(`"component":%q`, name))
	}
	log := logs.Logger("two")
	begin := time.Now()
	if err := logs.SetLevel("two", slog.LevelDebug, time.Hour); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); !log.Enabled(t.Context(), slog.LevelDebug) || took > testenv.Within(10*time.Millisecond, 10*time.Second) {
		t.Fatalf("in effect: %v, after %v", log.Enabled(t.Context(), slog.LevelDebug), took)
	}
	for !seen("two") {
		if time.Since(begin) > 30*time.Second {
			t.Fatal("no effect")
		}
		time.Sleep(time.Millisecond) // leaves the processor to the loggers
	}
	if err := logs.SetLevel("two", slog.LevelDebug, 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for log.Enabled(t.Context(), slog.LevelDebug) {
		if time.Since(begin) > time.Minute {
			t.Fatal("does not expire")
		}
		time.Sleep(time.Millisecond) // leaves the processor to the loggers
	}
	close(stop)
	wg.Wait()
	if seen("one") || seen("three") {
		t.Error("other components changed too")
	}
}

func TestSetLevelReportsMistakes(t *testing.T) {
	t.Parallel()
	logs := newLogs(t, &logging.Options{Console: logging.ConsoleOptions{Writer: io.Discard}})
	for _, p := range []string{"", ".", "a.", ".a", "a..b", "a.*.b", "*.a", "a*", "**", "a b"} {
		if err := logs.SetLevel(p, slog.LevelDebug, 0); err == nil || !strings.Contains(err.Error(), "pattern") {
			t.Errorf("pattern %q: %v", p, err)
		}
	}
	if err := logs.SetLevel("a", slog.LevelDebug, -1); err == nil {
		t.Error("a negative duration is taken")
	}
	if err := logs.Close(); err != nil {
		t.Fatal(err)
	}
	if err := logs.SetLevel("a", slog.LevelDebug, 0); !errors.Is(err, logging.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := logging.New(&logging.Options{
		Level:   "loud",
		Levels:  map[string]string{"a..b": "debug", "c": "quiet"},
		File:    logging.FileOptions{Path: dir + "/", MaxSegmentBytes: 1, MaxTotalBytes: 2, Sync: "3"},
		Console: logging.ConsoleOptions{Format: "xml", Color: "pink"},
		Redact:  []string{"password", ""},
		Sample:  logging.SampleOptions{First: -1, Per: -2}, Handlers: []slog.Handler{nil}, Ship: logging.ShipperOptions{MaxBatchBytes: -4, Interval: -5, Retry: logging.Retry{Base: -6, Max: -7}},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`Level: "loud"`, `"a..b"`, `Levels["c"]: "quiet"`, "File.Path", "MaxSegmentBytes: 1 ", "MaxTotalBytes: 2 ", `Sync: "3"`,
		`Console.Format: "xml"`, `Console.Color: "pink"`, "Redact[1]", "Sample.First: -1", "Sample.Per: -2ns",
		"Handlers[0]", "MaxBatchBytes: -4", "Interval: -5ns", "Ship.Retry.Base: -6ns", "Ship.Retry.Max: -7ns",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not contain %q:\n%v", want, err)
		}
	}
	if _, err := logging.New(&logging.Options{Sink: sinkFunc(nil)}); !errors.Is(err, logging.ErrNoFile) {
		t.Errorf("a sink without a file: %v", err)
	}
}

// TestComponentByAttribute gives a library the plain logger, or one of another
// component, and lets it name its own part.
func TestComponentByAttribute(t *testing.T) {
	t.Parallel()
	var out buffer
	logs := newLogs(t, &logging.Options{
		Level: "info", Levels: map[string]string{"tor": "debug", "shop": "error"},
		Console: logging.ConsoleOptions{Format: "json", Writer: &out},
	})
	plain, shop := slog.New(logs.Handler()), logs.Logger("shop")

	plain.With("a", 1).With("component", "tor", "b", 2).Debug("one", "c", 3)
	shop.With("component", "tor").With("component", "tor").Debug("two")
	plain.With("component", "shop").Warn("kept back")
	shop.WithGroup("g").With("component", "tor").Error("three")
	// In every form a value can have, and always once.
	shop.With("component", 5).Error("four")
	shop.With("component", valuer{slog.StringValue("tor")}, "a", 1).Debug("five")
	shop.With(slog.Group("", "component", "tor", "a", 1)).Debug("six")
	shop.With("component", "x", "component", "tor").Debug("seven")
	shop.With("a", 1).WithGroup("g").WithGroup("h").With("component", "tor", "b", 2).Error("eight")
	shop.With("component", "").Info("nine")
	shop.With(slog.Group("component", "a", 1)).Error("ten")
	if err := logs.SetLevel("tor", slog.LevelError, 0); err != nil {
		t.Fatal(err)
	}
	plain.With("component", "tor").Warn("kept back")

	var got []string
	for line := range strings.Lines(out.String()) {
		_, rest, _ := strings.Cut(line, `"msg":`)
		got = append(got, strings.TrimSpace(rest))
	}
	want := []string{
		`"one","component":"tor","a":1,"b":2,"c":3}`,
		`"two","component":"tor"}`,
		`"three","component":"shop","g":{"component":"tor"}}`,
		`"four","component":"5"}`,
		`"five","component":"tor","a":1}`,
		`"six","component":"tor","a":1}`,
		`"seven","component":"tor"}`,
		`"eight","component":"shop","a":1,"g":{"h":{"component":"tor","b":2}}}`,
		`"nine"}`,
		`"ten","component":{"a":1}}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
