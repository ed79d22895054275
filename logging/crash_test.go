package logging_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
)

// record makes a record as a *slog.Logger does.
func record(msg string, args ...any) slog.Record {
	r := slog.NewRecord(time.Now(), slog.LevelInfo, msg, 0)
	r.Add(args...)
	return r
}

// TestKill kills a process that logs and ships, again and again. Every record
// whose log call returned arrives, and what arrives twice is at most a batch
// per kill and carries the same ID.
func TestKill(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	path := filepath.Join(t.TempDir(), "app.log")
	kills := testenv.Reps(300)
	const perChild = 1_000_000
	var acked []int
	for k := range kills {
		cmd := child(t, "ship", "LOGGING_URL="+r.URL, "LOGGING_PATH="+path, fmt.Sprint("LOGGING_FROM=", k*perChild))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var timer *time.Timer
		got := acknowledged(bufio.NewScanner(out), func() {
			timer = time.AfterFunc(rand.N(60*time.Millisecond), func() { _ = cmd.Process.Kill() })
		})
		if timer == nil {
			t.Fatalf("child %d ended without a record: %v", k, cmd.Wait())
		}
		_ = cmd.Wait() // killed
		acked = append(acked, got...)
	}
	// What the last one left.
	s, err := logging.NewShipper(&logging.ShipperOptions{Dir: filepath.Dir(path), Sink: r.sink(t), OnError: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if res, err := s.SendBulk(ctx); err != nil {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	if said, err := os.ReadFile(path + ".errors"); !os.IsNotExist(err) {
		t.Errorf("OnError was told, though nobody touched the files: %s, %v", said, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	lost := 0
	for _, n := range acked {
		if r.n[n] == 0 {
			lost++
		}
	}
	repeats := 0
	for id, ns := range r.ids {
		repeats += len(ns) - 1
		for _, n := range ns {
			if n != ns[0] {
				t.Fatalf("event %s came as %d and as %d", id, ns[0], n)
			}
		}
	}
	again := 0
	for _, times := range r.n {
		again += times - 1
	}
	if again != repeats {
		t.Errorf("%d repeats, of which %d under another ID", again, again-repeats)
	}
	const lineBytes = 130 // at least
	t.Logf("%d kills: %d records acknowledged, %d lost, %d repeated, %d lines cut short", kills, len(acked), lost, repeats, r.odd)
	if lost > 0 || len(acked) < kills {
		t.Errorf("%d of %d records lost", lost, len(acked))
	}
	if most := kills * childBatchBytes / lineBytes; repeats > most {
		t.Errorf("%d repeats exceed a batch per kill, %d", repeats, most)
	}
}

// pc returns the program counter of its caller's caller.
func pc() uintptr {
	var pcs [1]uintptr
	runtime.Callers(2, pcs[:])
	return pcs[0]
}
