package logging_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/filelock"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
)

// collector is a sink that takes everything and counts it.
type collector struct {
	limits logging.Limits
	took   map[string]int // deliveries by ID
	most   int            // bytes in a batch
	before func(b *logging.Batch) error
}

func (c *collector) Limits() logging.Limits { return c.limits }

func (c *collector) Send(_ context.Context, b *logging.Batch) error {
	if c.before != nil {
		if err := c.before(b); err != nil {
			return err
		}
	}
	size := 0
	for _, e := range b.Events {
		c.took[e.ID]++
		size += len(e.Line) + 1 + c.limits.Overhead
	}
	c.most = max(c.most, size)
	return nil
}

func segmentsIn(t testing.TB, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "app-*.log"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestLockedSegment has a process at work on another folder hold the lock of a
// segment, which is linked there too: the others are shipped, and it is said
// what was left and why.
func TestLockedSegment(t *testing.T) {
	t.Parallel()
	const total = 6000
	dir := fill(t, total, nil)
	held := segmentsIn(t, dir)[0]
	elsewhere := filepath.Join(t.TempDir(), filepath.Base(held))
	if err := os.Link(held, elsewhere); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(held)
	if err != nil {
		t.Fatal(err)
	}
	left := bytes.Count(data, []byte("\n"))
	other, err := os.OpenFile(elsewhere, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if ok, err := filelock.TryLock(other); !ok || err != nil {
		t.Fatal(ok, err)
	}
	sink := &collector{took: map[string]int{}}
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink}))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.SendBulk(minute(t))
	if !errors.Is(err, logging.ErrLocked) || !errors.Is(err, logging.ErrRemaining) || !strings.Contains(err.Error(), held) {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	if res.Remaining != int64(left) || res.Events != int64(total-left) {
		t.Errorf("%+v with %d events locked", res, left)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if res, err := s.SendBulk(minute(t)); err != nil || res.Events != int64(left) || res.Remaining != 0 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	if len(sink.took) != total {
		t.Errorf("%d events arrived", len(sink.took))
	}
}

// TestCheckpointCannotBeWritten ships segments of many batches from a folder in
// which no checkpoint can be made, as on a full disk.
func TestCheckpointCannotBeWritten(t *testing.T) {
	t.Parallel()
	const total = 6000
	dir := fill(t, total, nil)
	if err := os.MkdirAll(filepath.Join(dir, ".app.log.sent", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	fails := 0
	sink := &collector{took: map[string]int{}, before: func(*logging.Batch) error {
		if fails++; fails%5 == 0 {
			return errors.New("away")
		}
		return nil
	}}
	var told problems
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink, MaxBatchBytes: 4096, OnError: told.add}))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.SendBulk(minute(t))
	if err != nil || res.Events != total {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	for id, n := range sink.took {
		if n != 1 {
			t.Fatalf("%s arrived %d times", id, n)
		}
	}
	told.wait(t, 1)
}

// TestDamagedCheckpoint has a checkpoint say all kinds of things: nothing is
// lost by that.
func TestDamagedCheckpoint(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(was string) string{
		"empty":        func(string) string { return "" },
		"garbage":      func(string) string { return "\x00\xff garbage" },
		"cut short":    func(was string) string { return was[:len(was)/2] },
		"further":      func(was string) string { return strings.Replace(was, " 0000000", " 0000009", 1) },
		"a bit on":     func(was string) string { return strings.Replace(was, " 000000000000000", " 000000000000001", 1) },
		"negative":     func(was string) string { return strings.Replace(was, " 0", " -", 1) },
		"another":      func(string) string { return "20010203040506000000-000000 00000000000000000099\n" },
		"two":          func(was string) string { return was + was },
		"written over": func(was string) string { return strings.Repeat("9", len(was)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const total = 1000
			dir := fill(t, total, nil)
			sends := 0
			sink := &collector{took: map[string]int{}, before: func(*logging.Batch) error {
				if sends++; sends == 4 {
					return &logging.SinkError{Kind: logging.KindConfig, Err: errors.New("stop here")}
				}
				return nil
			}}
			o := quick(logging.ShipperOptions{MaxBatchBytes: 4096})
			s, err := logging.NewShipper(with(o, dir, sink))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.SendBulk(minute(t)); err == nil {
				t.Fatal("no error")
			}
			path := filepath.Join(dir, ".app.log.sent")
			was, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(damage(string(was))), 0o600); err != nil {
				t.Fatal(err)
			}
			if s, err = logging.NewShipper(with(o, dir, sink)); err != nil { // after a restart
				t.Fatal(err)
			}
			if res, err := s.SendBulk(minute(t)); err != nil {
				t.Fatalf("SendBulk = %+v, %v", res, err)
			}
			if len(sink.took) != total {
				t.Errorf("%d of %d events arrived", len(sink.took), total)
			}
		})
	}
}

// TestOneBadFileDoesNotStopTheRest has the quarantine of one log unusable: what
// needs none of it is shipped.
func TestOneBadFileDoesNotStopTheRest(t *testing.T) {
	t.Parallel()
	const total, poison = 6000, 7
	dir := fill(t, total, nil)
	path := filepath.Join(dir, "app.log.quarantine")
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	sink := &collector{took: map[string]int{}, before: func(b *logging.Batch) error {
		for _, e := range b.Events {
			if bytes.Contains(e.Line, []byte(`"n":7,`)) {
				return &logging.SinkError{Kind: logging.KindRejected, Err: errors.New("400")}
			}
		}
		return nil
	}}
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink}))
	if err != nil {
		t.Fatal(err)
	}
	n := len(segmentsIn(t, dir))
	res, err := s.SendBulk(minute(t))
	if err == nil || !strings.Contains(err.Error(), "quarantine") || res.Segments != n-1 {
		t.Fatalf("SendBulk = %+v, %v; %d segments", res, err, n)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if again, err := s.SendBulk(minute(t)); !onlyRefused(err) || res.Events+again.Events != total-1 || again.Quarantined != 1 {
		t.Fatalf("SendBulk = %+v, then %+v, %v", res, again, err)
	}
	for id, n := range sink.took {
		if n != 1 {
			t.Fatalf("%s arrived %d times", id, n)
		}
	}
}

// TestRunGoesOnBesideOneBadFile has Run ship what is logged later, too.
func TestRunGoesOnBesideOneBadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "app.log.quarantine"), 0o700); err != nil {
		t.Fatal(err)
	}
	sink := sinkFunc(func(_ context.Context, b *logging.Batch) error {
		for i, e := range b.Events {
			if bytes.Contains(e.Line, []byte("poison")) {
				return &logging.SinkError{Kind: logging.KindRejected, Rejected: refusedAt(i), Err: errors.New("400")}
			}
		}
		return nil
	})
	var told problems
	logs := newLogs(t, &logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log")}, Sink: sink, OnError: told.add, StuckAfter: -1, Ship: quickly(logging.ShipperOptions{})})
	logs.Logger("a").Info("poison")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- logs.Run(ctx) }()
	for i := range 5 {
		testenv.Eventually(t, func() error {
			if n := logs.Stats().Ship.Events; n != int64(i) {
				return fmt.Errorf("%d events shipped, want %d", n, i)
			}
			return nil
		})
		logs.Logger("a").Info("fine")
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	told.wait(t, 1)
}

// TestBatchLimitHoldsForOneEvent has an event which alone exceeds what the
// receiver takes in a batch.
func TestBatchLimitHoldsForOneEvent(t *testing.T) {
	t.Parallel()
	dir := fill(t, 100, func(i int) string { return strings.Repeat("x", i/99*5000) })
	sink := &collector{took: map[string]int{}, limits: logging.Limits{MaxBatchBytes: 3000, Overhead: 20}}
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink}))
	if err != nil {
		t.Fatal(err)
	}
	if res, err := s.SendBulk(minute(t)); !onlyRefused(err) || res.Events != 99 || res.Quarantined != 1 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	if sink.most > 3000 {
		t.Errorf("a batch of %d bytes", sink.most)
	}
	_, err = logging.NewShipper(&logging.ShipperOptions{Dir: dir, Sink: &collector{limits: logging.Limits{MaxBatchBytes: 10, Overhead: 20}}})
	if err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("limits below the overhead: %v", err)
	}
}

// TestTooLargeForEverything has a receiver, such as a proxy with a low limit,
// answer 413 to whatever comes: the log is kept.
func TestTooLargeForEverything(t *testing.T) {
	t.Parallel()
	dir := fill(t, 1000, nil)
	sink := &collector{took: map[string]int{}, before: func(*logging.Batch) error {
		return &logging.SinkError{Kind: logging.KindTooLarge, Err: errors.New("413")}
	}}
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink}))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.SendBulk(minute(t))
	if !errors.Is(err, logging.ErrRemaining) || res.Quarantined != 0 || res.Remaining != 1000 || !refuses(s.Stats()) {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
}

// TestRejectedTwice has a sink name the same event twice, and events that are
// none of its.
func TestRejectedTwice(t *testing.T) {
	t.Parallel()
	dir := fill(t, 10, nil)
	sink := &collector{took: map[string]int{}, before: func(*logging.Batch) error {
		return &logging.SinkError{Kind: logging.KindRejected, Rejected: refusedAt(9, 3, 3, -1, 10, 9), Err: errors.New("400")}
	}}
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink}))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.SendBulk(minute(t))
	if !errors.Is(err, logging.ErrRemaining) || res.Events != 8 || res.Quarantined != 1 || res.Remaining != 1 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "app.log.quarantine"))
	if err != nil || bytes.Count(data, []byte("\n")) != 1 {
		t.Errorf("quarantine: %s, %v", data, err)
	}
}

// TestForeignFiles has files in the folder that are none of the log's.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	dir := fill(t, 100, nil)
	foreign := []string{
		"app.log.1", "app.log.gz", "app-1.log", "other.log", "app-20260102150405000000-000007.txt", "messages",
		"app~0.log", "app~01.log", "app~1000.log", "app~1.txt", ".app.log.swp",
	}
	for _, name := range foreign {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("theirs\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The name of a segment, and none of it.
	if err := os.Mkdir(filepath.Join(dir, "app-20260102150405000000-000008.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	// Empty, as a crash of the machine may leave one.
	if err := os.WriteFile(filepath.Join(dir, "app-20260102150405000000-000010.log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sink := &collector{took: map[string]int{}}
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink, Name: "app.log"}))
	if err != nil {
		t.Fatal(err)
	}
	if res, err := s.SendBulk(minute(t)); err != nil || res.Events != 100 || res.Remaining != 0 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	for _, name := range foreign {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	for id := range sink.took {
		if strings.HasPrefix(id, "20260102150405000000-00000") {
			t.Errorf("%s was shipped", id)
		}
	}
}

// TestForeignLink has a link to somebody else's file under the name of a segment.
func TestForeignLink(t *testing.T) {
	t.Parallel()
	testenv.Symlinks(t)
	dir := fill(t, 100, nil)
	theirs := filepath.Join(dir, "messages")
	if err := os.WriteFile(theirs, []byte("theirs\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	testenv.Symlink(t, theirs, filepath.Join(dir, "app-20260102150405000000-000009.log"))

	sink := &collector{took: map[string]int{}}
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink, Name: "app.log"}))
	if err != nil {
		t.Fatal(err)
	}
	if res, err := s.SendBulk(minute(t)); err != nil || res.Events != 100 || res.Remaining != 0 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	if text, err := os.ReadFile(theirs); err != nil || string(text) != "theirs\n" {
		t.Errorf("their file holds %q, %v", text, err)
	}
}

// TestMuchPoisonIsToldInSum has a poison event every now and then.
func TestMuchPoisonIsToldInSum(t *testing.T) {
	t.Parallel()
	dir := fill(t, 10_000, nil)
	sink := &partialSink{took: map[string]int{}, kind: logging.KindRejected, refuse: func(_ int, line []byte) bool {
		return bytes.Contains(line, []byte(`7,`))
	}}
	var told problems
	s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink, OnError: told.add}))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.SendBulk(minute(t))
	if !onlyRefused(err) || res.Quarantined != 1000 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	if told.wait(t, 1); len(told.list()) != 1 || told.count(logging.ErrRefused) != 1 {
		t.Errorf("told %d times: %v", len(told.list()), told.list())
	}
}
