//go:build unix

package logging_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/filelock"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

var _ = func() bool { children["hold"] = childHold; return true }()

// childHold takes every lock of the log at LOGGING_PATH that a process can take:
// that of an active file, the turn, and each segment.
func childHold() error {
	path := os.Getenv("LOGGING_PATH")
	f, err := logging.OpenFile(&logging.FileOptions{Path: path})
	if err != nil {
		return err
	}
	defer f.Close()
	for range 10 {
		if _, err := f.Write([]byte("{}\n")); err != nil {
			return err
		}
		if err := f.Seal(); err != nil {
			return err
		}
	}

	q := queue.New(path, queue.Access{})
	turn, _, err := queue.TryTurn(q)
	if err != nil || turn == nil {
		return errors.Join(errors.New("no turn"), err)
	}
	segments, err := q.Segments()
	if err != nil {
		return err
	}
	for _, s := range segments {
		held, err := s.Open()
		if err != nil {
			return err
		}
		if ok, err := filelock.TryLock(held.File); !ok || err != nil {
			return errors.Join(errors.New("a segment is not ours"), err)
		}
	}
	fmt.Println("held")
	select {}
}

// BenchmarkStoppedHolder reports the slowest in 1,000 log calls, which seal and
// keep a quota, while a stopped process holds every lock of the log; and beside
// it what they take where nobody does.
func BenchmarkStoppedHolder(b *testing.B) {
	b.Run("holder=none", func(b *testing.B) { slowest(b, filepath.Join(b.TempDir(), "app.log")) })
	b.Run("holder=stopped", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "app.log")
		defer hold(b, path)()
		slowest(b, path)
	})
}

// hold starts a process that takes every lock of the log, and stops it. It
// returns what ends it.
func hold(b *testing.B, path string) (end func()) {
	b.Helper()
	cmd := testenv.Self()
	cmd.Env = append(os.Environ(), "LOGGING_CHILD=hold", "LOGGING_PATH="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	end = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}

	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "held" {
		end()
		b.Fatal("the process holds nothing")
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		end()
		b.Fatal(err)
	}
	return end
}

// slowest logs to path, and reports the slowest in 1,000 calls.
func slowest(b *testing.B, path string) {
	b.Helper()
	logs, err := logging.New(&logging.Options{
		File: logging.FileOptions{Path: path, MaxSegmentBytes: 64 << 10, MaxTotalBytes: 4 << 20}, Console: logging.ConsoleOptions{Writer: io.Discard},
		Sink: &collector{took: map[string]int{}}, Ship: logging.ShipperOptions{Interval: 10 * time.Millisecond}, CloseTimeout: -1,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	defer logs.Close()

	log := logs.Logger("orders")
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		log.Info("order placed", "n", len(took), "text", "some words")
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*999/1000].Microseconds()), "p99.9-µs")
}
