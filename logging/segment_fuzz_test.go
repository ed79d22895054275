package logging_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/logging"
)

// fussy is a sink that fails and refuses at random, and remembers what it took.
type fussy struct {
	t      *testing.T
	r      *rand.Rand
	limits logging.Limits
	took   map[string]string
}

func (f *fussy) Limits() logging.Limits { return f.limits }

func (f *fussy) Send(_ context.Context, b *logging.Batch) error {
	size := 0
	for _, e := range b.Events {
		size += len(e.Line) + 1 + f.limits.Overhead
		if len(e.Line) == 0 || bytes.IndexByte(e.Line, '\n') >= 0 || f.limits.MaxEventBytes > 0 && len(e.Line) > f.limits.MaxEventBytes {
			f.t.Errorf("event %s: %q", e.ID, e.Line)
		}
	}
	if b.ID != b.Events[0].ID || f.limits.MaxBatchEvents > 0 && len(b.Events) > f.limits.MaxBatchEvents ||
		f.limits.MaxBatchBytes > 0 && size > f.limits.MaxBatchBytes {
		f.t.Errorf("a batch of %d events and %d bytes with ID %s", len(b.Events), size, b.ID)
	}
	var rejected []int
	switch f.r.IntN(8) {
	case 0:
		return errors.New("no answer")
	case 1:
		return &logging.SinkError{Kind: logging.KindTooLarge, Err: errors.New("413")}
	case 2:
		for i := range b.Events {
			if f.r.IntN(2) == 0 {
				rejected = append(rejected, i)
			}
		}
	}
	next := 0
	for i, e := range b.Events {
		if next < len(rejected) && rejected[next] == i {
			next++
			continue
		}
		if was, ok := f.took[e.ID]; ok {
			f.t.Errorf("event %s came as %q and as %q", e.ID, was, e.Line)
		}
		f.took[e.ID] = string(e.Line)
	}
	if rejected != nil {
		return &logging.SinkError{Kind: logging.KindRetry, Rejected: refusedAt(rejected...), Err: errors.New("some")}
	}
	return nil
}

// FuzzSegment ships any bytes as a segment: each line arrives once, or is in
// the quarantine.
func FuzzSegment(f *testing.F) {
	f.Add([]byte("{\"a\":1}\n\n{\"b\":2}\ntorn"), uint64(1), uint16(0), uint8(0))
	f.Add(bytes.Repeat([]byte("line\n"), 500), uint64(2), uint16(300), uint8(7))
	f.Add(append(bytes.Repeat([]byte("x"), 5000), "\nshort\n"...), uint64(3), uint16(1000), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64, maxBytes uint16, maxEvents uint8) {
		dir := t.TempDir()
		const seq = "20260102150405000000-000007"
		if err := os.WriteFile(filepath.Join(dir, "app-"+seq+".log"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		limits := logging.Limits{
			MaxBatchBytes: int(maxBytes), MaxBatchEvents: int(maxEvents), MaxEventBytes: int(maxBytes) / 2, Overhead: int(seed % 50),
		}
		if maxBytes > 0 && limits.MaxBatchBytes < limits.Overhead+2 {
			return // no room for any event
		}
		sink := &fussy{t: t, r: rand.New(rand.NewPCG(seed, 0)), took: map[string]string{}, limits: limits}
		s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink, MaxBatchBytes: 1024}))
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.SendBulk(minute(t))
		if err != nil && !errors.Is(err, logging.ErrRefused) && !errors.Is(err, logging.ErrRemaining) {
			t.Fatal(err)
		}
		at, lines := 0, 0
		for l := range strings.Lines(string(data)) {
			text := strings.TrimSuffix(l, "\n")
			if text != "" {
				lines++
			}
			if got, ok := sink.took[fmt.Sprint(seq, "-", at)]; ok && got != text {
				t.Errorf("event at %d came as %q, want %q", at, got, text)
			}
			at += len(l)
		}
		if int(res.Events+res.Quarantined+res.Remaining) != lines || int(res.Events) != len(sink.took) {
			t.Errorf("%+v, %d taken of %d lines", res, len(sink.took), lines)
		}
	})
}

// FuzzCheckpoint reads any bytes as the checkpoint of a segment: what it skips
// was said to be sent by a checkpoint that is whole.
func FuzzCheckpoint(f *testing.F) {
	const seq = "20260102150405000000-000007"
	f.Add([]byte(seq + " 00000000000000000005\n"))
	f.Add([]byte(seq + " 00000000000000000005 00000000\n"))
	f.Add([]byte(seq + " -0000000000000000005 ffffffff\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if text := string(data); len(text) == 58 && strings.HasPrefix(text, seq) &&
			strings.HasSuffix(text, fmt.Sprintf(" %08x\n", crc32.ChecksumIEEE(data[:48]))) {
			return // whole
		}
		dir := t.TempDir()
		for name, content := range map[string]string{"app-" + seq + ".log": "one\ntwo\nthree\n", ".app.log.sent": string(data)} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := logging.NewShipper(&logging.ShipperOptions{Dir: dir, Sink: sinkFunc(func(context.Context, *logging.Batch) error { return nil })})
		if err != nil {
			t.Fatal(err)
		}
		if res, err := s.SendBulk(minute(t)); err != nil || res.Events != 3 {
			t.Errorf("SendBulk = %+v, %v", res, err)
		}
	})
}

// FuzzJournal reads any bytes as the journal of a queue.
func FuzzJournal(f *testing.F) {
	f.Add([]byte("open app.log\nsealed 5 - app-20260102150405000000-000007.log\nsealed 5 1.2 x\ngone app.log\n"))
	f.Add([]byte("sealed 5 - ../../etc/passwd\nsealed -1  \nopen\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ".app.log.queue"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := logging.OpenFile(&logging.FileOptions{Path: filepath.Join(dir, "app.log"), OnError: func(err error) {
			if !errors.Is(err, logging.ErrMoved) && !errors.Is(err, logging.ErrTruncated) {
				t.Error(err)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		put(t, file, "x")
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		if got := lines(t, dir); len(got) != 1 {
			t.Errorf("%q", got)
		}
	})
}
