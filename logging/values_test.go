package logging_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/svcblocks/svcblocks/logging"
)

// locked is a value whose fields are read under its own lock, by its own
// methods.
type locked struct {
	mu     sync.Mutex
	m      map[int]string
	hidden string
}

func (l *locked) MarshalJSON() ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return json.Marshal(map[string]int{"entries": len(l.m)})
}

// TestValuesAreReadByTheirMethods has a value in use elsewhere: nothing reads
// past its lock, on the console and in further handlers too. The race detector
// and the map itself would say so.
func TestValuesAreReadByTheirMethods(t *testing.T) {
	t.Parallel()
	var console, further buffer
	logs := newLogs(t, &logging.Options{
		Redact: []string{"password"}, Console: logging.ConsoleOptions{Format: "text", Writer: &console},
		Handlers: []slog.Handler{slog.NewTextHandler(&further, nil)},
	})
	v := &locked{m: map[int]string{}, hidden: "canary"}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			v.mu.Lock()
			v.m[i%100] = "x"
			delete(v.m, (i+50)%100)
			v.mu.Unlock()
		}
	})
	for range 2000 {
		logs.Logger("a").Info("state", "cache", v)
	}
	close(stop)
	wg.Wait()
	for _, text := range []string{console.String(), further.String()} {
		if strings.Count(text, "entries") != 2000 || strings.Contains(text, "canary") {
			t.Errorf("%d lines show the value: %.300s", strings.Count(text, "entries"), text)
		}
	}
}

// broken is a handler that fails, or panics.
type broken struct {
	slog.Handler
	panics bool
}

func (b broken) Handle(context.Context, slog.Record) error {
	if b.panics {
		panic("at home")
	}
	return errors.New("no room")
}

func (b broken) WithAttrs([]slog.Attr) slog.Handler { return b }

// TestHandlerThatFailsIsTold has further handlers fail and panic: the others get
// the record, and it is told once.
func TestHandlerThatFailsIsTold(t *testing.T) {
	t.Parallel()
	for _, panics := range []bool{false, true} {
		var out bytes.Buffer
		var told problems
		logs := newLogs(t, &logging.Options{
			Console: logging.ConsoleOptions{Format: "json", Writer: &out}, OnError: told.add, Logger: slog.New(slog.DiscardHandler),
			Handlers: []slog.Handler{broken{slog.NewJSONHandler(&bytes.Buffer{}, nil), panics}},
		})
		for range 3 {
			logs.Logger("a").Info("one")
		}
		told.wait(t, 1)
		if strings.Count(out.String(), "\"msg\":\"one\"") != 3 || len(told.list()) != 1 || told.count(logging.ErrLost) != 1 {
			t.Errorf("told %v; %s", told.list(), out.String())
		}
		if err := logs.Check(t.Context()); !errors.Is(err, logging.ErrLost) {
			t.Errorf("Check = %v", err)
		}
	}
}

// TestConsoleShowsOrigin has the text console show what is asked for.
func TestConsoleShowsOrigin(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logs := newLogs(t, &logging.Options{Source: true, Console: logging.ConsoleOptions{Writer: &out}, Attrs: map[string]string{"service": "shop"}})
	ctx := logging.WithTraceparent(t.Context(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	logs.Logger("a").InfoContext(ctx, "m", "n", 1)
	for _, want := range []string{"service=shop", "n=1", "trace_id=4bf92f3577b34da6a3ce929d0e0e4736", "span_id=00f067aa0ba902b7", "source=values_test.go:"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out.String())
		}
	}
}

// TestRestartContinues has a log without a sink closed and opened again: one
// file, in place, with all lines.
func TestRestartContinues(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 50 {
		logs := newLogs(t, &logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log")}})
		logs.Logger("a").Info("one")
		if err := logs.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(lines(t, dir)); got != 50 || len(segmentsIn(t, dir)) != 0 {
		t.Errorf("%d lines, segments %v", got, segmentsIn(t, dir))
	}
}
