package logging_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

var errAway = &logging.SinkError{Err: errors.New("away")}

// eventIDs returns the ID of each line in the segments of dir, once.
func eventIDs(t *testing.T, dir string) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, path := range segmentsIn(t, dir) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		seq := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "app-"), ".log")
		at := 0
		for line := range strings.Lines(string(data)) {
			all[fmt.Sprintf("%s-%d", seq, at)] = 1
			at += len(line)
		}
	}
	return all
}

func packedIn(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "app-*.log.*.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// shipped ships what is in dir and returns how often each event came.
func shipped(t *testing.T, dir string) map[string]int {
	t.Helper()
	sink := &collector{took: map[string]int{}}
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink, MaxBatchBytes: 10_000}))
	if err != nil {
		t.Fatal(err)
	}
	if res, err := s.SendBulk(minute(t)); err != nil {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	return sink.took
}

// packing is a shipper whose receiver is away, and which compresses meanwhile.
func packing(dir string) *logging.ShipperOptions {
	return &logging.ShipperOptions{
		Dir: dir, Sink: &collector{before: func(*logging.Batch) error { return errAway }}, CompressWaiting: true, CloseTimeout: -1,
		Interval: time.Millisecond, Retry: logging.Retry{Base: time.Millisecond, Max: time.Millisecond}, Logger: slog.New(slog.DiscardHandler),
	}
}

// TestCompressWaiting has a receiver that is away: what waits is compressed,
// takes less of the quota, and arrives as it was.
func TestCompressWaiting(t *testing.T) {
	t.Parallel()
	dir := fill(t, 20_000, nil)
	want := eventIDs(t, dir)
	plain := segmentsIn(t, dir)
	text, err := os.ReadFile(plain[0])
	if err != nil {
		t.Fatal(err)
	}

	s, err := logging.NewShipper(packing(dir))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	testenv.Eventually(t, func() error {
		if n := len(packedIn(t, dir)); n != len(plain) || len(segmentsIn(t, dir)) > 0 {
			return fmt.Errorf("%d of %d segments are compressed", n, len(plain))
		}
		return nil
	})
	st := s.Stats()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	if st.WaitingEvents != int64(len(want)) || st.WaitingSegments != len(plain) {
		t.Errorf("%d events in %d segments wait, want %d in %d", st.WaitingEvents, st.WaitingSegments, len(want), len(plain))
	}
	if got := gunzip(t, packedIn(t, dir)[0]); got != string(text) {
		t.Error("zcat shows other lines")
	}

	// A quota that the plain lines would not keep holds the compressed ones.
	f := open(t, filepath.Join(dir, "app.log"), &logging.FileOptions{MaxSegmentBytes: 64 << 10, MaxTotalBytes: 256 << 10})
	put(t, f, `{"n":-1}`)
	if err := errors.Join(f.Seal(), f.Close()); err != nil || f.Stats().DroppedForQuota > 0 {
		t.Errorf("%v; %d events were dropped for the quota", err, f.Stats().DroppedForQuota)
	}
	for id := range eventIDs(t, dir) {
		want[id] = 1
	}
	if diff := cmp.Diff(want, shipped(t, dir)); diff != "" {
		t.Errorf("delivered (-want +got):\n%.2000s", diff)
	}
}

func gunzip(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestKillWhilePacking leaves the files as a process that was killed at each step
// of compressing does.
func TestKillWhilePacking(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(plain, packed, unfinished string, gz []byte) error{
		"begun":   func(_, _, unfinished string, gz []byte) error { return os.WriteFile(unfinished, gz[:len(gz)/2], 0o640) },
		"written": func(_, _, unfinished string, gz []byte) error { return os.WriteFile(unfinished, gz, 0o640) },
		"renamed": func(_, packed, _ string, gz []byte) error { return os.WriteFile(packed, gz, 0o640) },
		"removed": func(plain, packed, _ string, gz []byte) error {
			return errors.Join(os.WriteFile(packed, gz, 0o640), os.Remove(plain))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := fill(t, 5000, nil)
			want := eventIDs(t, dir)
			q := queue.New(filepath.Join(dir, "app.log"), queue.Access{})
			all, err := q.Segments()
			if err != nil {
				t.Fatal(err)
			}
			f, err := all[0].Open()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			text, err := os.ReadFile(all[0].Path)
			if err == nil {
				err = all[0].Pack(f)
			}
			if err != nil {
				t.Fatal(err)
			}
			packed := packedIn(t, dir)[0]
			gz, err := os.ReadFile(packed)
			if err := errors.Join(err, os.Remove(packed), os.WriteFile(all[0].Path, text, 0o640)); err != nil {
				t.Fatal(err)
			}

			if err := leave(all[0].Path, packed, filepath.Join(dir, ".app.log.pack"), gz); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, shipped(t, dir)); diff != "" {
				t.Errorf("delivered (-want +got):\n%.2000s", diff)
			}
			left, err := filepath.Glob(filepath.Join(dir, "*app*log*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range left {
				if base := filepath.Base(path); strings.HasPrefix(base, "app-") || strings.HasSuffix(base, ".pack") {
					t.Errorf("%s is left", base)
				}
			}
		})
	}
}

// childPack compresses what waits in LOGGING_PATH until it is killed.
func childPack() error {
	s, err := logging.NewShipper(packing(os.Getenv("LOGGING_PATH")))
	if err != nil {
		return err
	}
	fmt.Println("begun")
	return s.Run(context.Background())
}

// TestKilledWhilePacking kills a process that compresses, again and again: each
// event arrives once, under its own ID.
func TestKilledWhilePacking(t *testing.T) {
	t.Parallel()
	dir := fill(t, 60_000, nil)
	want := eventIDs(t, dir)
	for range testenv.Reps(100) {
		if len(segmentsIn(t, dir)) == 0 {
			break
		}
		cmd := child(t, "pack", "LOGGING_PATH="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		bufio.NewScanner(out).Scan()
		<-time.After(time.Duration(rand.IntN(150)) * time.Millisecond) // any time is right
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}
	t.Logf("%d of %d segments are compressed", len(packedIn(t, dir)), len(segmentsIn(t, dir))+len(packedIn(t, dir)))
	if diff := cmp.Diff(want, shipped(t, dir)); diff != "" {
		t.Errorf("delivered (-want +got):\n%.2000s", diff)
	}
}
