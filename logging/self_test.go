package logging_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
)

// later is a handler that leads to one set later, as a logger made before the
// log it ends in.
type later struct{ h slog.Handler }

func (l *later) Enabled(context.Context, slog.Level) bool        { return l.h != nil }
func (l *later) Handle(ctx context.Context, r slog.Record) error { return l.h.Handle(ctx, r) }
func (l *later) WithAttrs([]slog.Attr) slog.Handler              { return l }
func (l *later) WithGroup(string) slog.Handler                   { return l }

// TestShipperDoesNotLogIntoItself has the reports of a shipper lead back to the
// log that it ships.
func TestShipperDoesNotLogIntoItself(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.answer = func(n int, _ []byte) int {
		if n <= 3 {
			return 503
		}
		return 200
	}
	dir := t.TempDir()
	back := &later{}
	logs := newLogs(t, &logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log")}, Sink: r.sink(t), Logger: slog.New(back), Ship: quickly(logging.ShipperOptions{})})
	back.h = logs.Handler()
	logs.Logger("a").Info("one", "n", 0)
	if _, err := logs.SendBulk(minute(t)); err != nil {
		t.Fatal(err)
	}
	if left := lines(t, dir); len(left) > 0 {
		t.Errorf("the shipper logged %s", left)
	}
	if got := r.raw.String(); strings.Count(got, "\n") != 1 {
		t.Errorf("shipped %s", got)
	}
	for _, name := range []string{"", "app.log"} {
		if _, err := logging.NewShipper(&logging.ShipperOptions{Dir: dir, Sink: r.sink(t), Logger: logs.Logger("x"), Name: name}); !errors.Is(err, logging.ErrSelf) {
			t.Errorf("NewShipper with the logger of its log = %v", err)
		}
	}
	if _, err := logging.NewShipper(&logging.ShipperOptions{Dir: t.TempDir(), Sink: r.sink(t), Logger: logs.Logger("x")}); err != nil {
		t.Errorf("NewShipper with the logger of another log = %v", err)
	}
}

func TestNewShipperReportsAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := logging.NewShipper(&logging.ShipperOptions{Dir: "", Sink: nil, MaxBatchBytes: 1, Name: "a/b"})
	for _, want := range []string{"Dir: is missing", "Sink: is missing", "MaxBatchBytes: 1", `Name: "a/b"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not contain %q", err, want)
		}
	}
}

// TestOnErrorMayLog has OnError log to the log that it is about.
func TestOnErrorMayLog(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.answer = func(int, []byte) int { return 403 }
	var logs *logging.Logs
	var once sync.Once
	ready := make(chan struct{})
	logs = newLogs(t, &logging.Options{File: logging.FileOptions{Path: filepath.Join(t.TempDir(), "app.log")}, Sink: r.sink(t), Ship: byHand, StuckAfter: -1, OnError: func(err error) {
		<-ready
		once.Do(func() { logs.Logger("log").Error("shipping", "error", err) })
	}})
	close(ready)
	logs.Logger("a").Info("one", "n", 0)
	if _, err := logs.SendBulk(minute(t)); err == nil {
		t.Fatal("no error")
	}
	testenv.Eventually(t, func() error {
		if st := logs.Stats(); st.Written != 2 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}

func TestWithoutSink(t *testing.T) {
	t.Parallel()
	logs := newLogs(t, &logging.Options{File: logging.FileOptions{Path: filepath.Join(t.TempDir(), "app.log")}})
	if _, err := logs.SendBulk(t.Context()); !errors.Is(err, logging.ErrNoSink) {
		t.Errorf("SendBulk = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := logs.Run(ctx); err != nil {
		t.Errorf("Run = %v", err)
	}
	if err := errors.Join(logs.Close(), logs.Close()); err != nil {
		t.Errorf("Close = %v", err)
	}
	if _, err := logs.SendBulk(t.Context()); !errors.Is(err, logging.ErrClosed) {
		t.Errorf("SendBulk after Close = %v", err)
	}
	if err := logs.Check(t.Context()); !errors.Is(err, logging.ErrClosed) {
		t.Errorf("Check after Close = %v", err)
	}
	if err := logs.Logger("a").Handler().Handle(t.Context(), record("late")); !errors.Is(err, logging.ErrClosed) {
		t.Errorf("Handle after Close = %v", err)
	}
}
