package logging_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
)

// lines returns the lines of all files of the log in dir, oldest first, the
// active one last.
func lines(t testing.TB, dir string) (all []string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "app-*.log"))
	if err != nil {
		t.Fatal(err)
	}
	active, err := filepath.Glob(filepath.Join(dir, "app.log"))
	if err != nil {
		t.Fatal(err)
	}
	others, err := filepath.Glob(filepath.Join(dir, "app~*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Concat(segments, active, others) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(data)) {
			all = append(all, l)
		}
	}
	return all
}

func open(t testing.TB, path string, o *logging.FileOptions) *logging.File {
	t.Helper()
	var opts logging.FileOptions
	if o != nil {
		opts = *o
	}
	opts.Path, opts.StuckAfter, opts.Logger = path, -1, slog.New(slog.DiscardHandler)
	f, err := logging.OpenFile(&opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func put(t testing.TB, f *logging.File, text string) {
	t.Helper()
	if _, err := f.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestFileSealsIntoSegments(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "for", "it")
	f := open(t, filepath.Join(dir, "app.log"), &logging.FileOptions{MaxSegmentBytes: 4096})
	var want []string
	for i := range 300 {
		put(t, f, fmt.Sprintf(`{"n":%d,"x":"0123456789012345678901234567890"}`, i)) // a newline is added
		want = append(want, fmt.Sprintf(`{"n":%d,"x":"0123456789012345678901234567890"}`+"\n", i))
	}
	if diff := cmp.Diff(want, lines(t, dir)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "app-*.log"))
	if err != nil || len(segments) < 3 {
		t.Fatalf("segments %v, %v", segments, err)
	}
	name := regexp.MustCompile(`^app-[0-9]{20}-[0-9]{6}\.log$`)
	for _, s := range segments {
		if info, err := os.Stat(s); err != nil || info.Size() > 4096 || !name.MatchString(filepath.Base(s)) {
			t.Errorf("%s: %v bytes, %v", s, info.Size(), err)
		}
	}
	if err := f.Seal(); err != nil {
		t.Fatal(err)
	}
	if err := f.Seal(); err != nil { // nothing to seal
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	if _, err := f.Write([]byte("late\n")); !errors.Is(err, logging.ErrClosed) {
		t.Errorf("Write after Close = %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "app.log")); err != nil {
		t.Errorf("the log is not in place: %v", err)
	}
	if diff := cmp.Diff(want, lines(t, dir)); diff != "" {
		t.Errorf("lines after Close (-want +got):\n%s", diff)
	}
}

func TestFileContinuesAndTerminates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	if err := os.WriteFile(path, []byte("{\"n\":1}\n{\"n\":2,\"torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Left by a second process that was killed too.
	if err := os.WriteFile(filepath.Join(dir, "app~1.log"), []byte(`{"n":3,"torn`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, path, nil)
	put(t, f, `{"n":4}`)
	g := open(t, path, nil) // a second process continues the other file
	put(t, g, `{"n":5}`)
	want := []string{"{\"n\":1}\n", "{\"n\":2,\"torn\n", "{\"n\":4}\n", "{\"n\":3,\"torn\n", "{\"n\":5}\n"}
	if diff := cmp.Diff(want, lines(t, dir)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestSecondWriterGetsItsOwnFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.log")
	a, b := open(t, path, nil), open(t, path, nil)
	if a.Path() != path || b.Path() != strings.TrimSuffix(path, ".log")+"~1.log" {
		t.Errorf("paths %s and %s", a.Path(), b.Path())
	}
	put(t, a, "a")
	put(t, b, "b")
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a\n", "b\n"}, lines(t, filepath.Dir(path))); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestFileMovedByAStranger(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(path string) error
	}{
		{"renamed", func(path string) error { return os.Rename(path, path+".1") }},
		{"removed", os.Remove},
		{"replaced", func(path string) error {
			return errors.Join(os.Rename(path, path+".1"), os.WriteFile(path, []byte("theirs\n"), 0o600))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.name == "removed" {
				testenv.RemovesOpen(t)
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "app.log")
			var told problems
			f := open(t, path, &logging.FileOptions{OnError: told.add})
			put(t, f, "before")
			if err := tt.do(path); err != nil {
				t.Fatal(err)
			}
			put(t, f, "between")
			if err := f.Seal(); err != nil {
				t.Fatal(err)
			}
			put(t, f, "after")
			got := strings.Join(lines(t, dir), "")
			for _, want := range []string{"before\n", "between\n", "after\n"} {
				if strings.Count(got, want) != 1 {
					t.Errorf("%q is not there once:\n%s", want, got)
				}
			}
			if told.wait(t, 1); told.count(logging.ErrMoved) != 1 {
				t.Errorf("told %v", told.list())
			}
		})
	}
}

// TestFolderRemoved has somebody remove or move the folder of a log that is
// written and shipped.
func TestFolderRemoved(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"moved":   func(dir string) error { return os.Rename(dir, dir+".old") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "removed" {
				testenv.RemovesOpen(t)
			}
			dir := filepath.Join(t.TempDir(), "log")
			r := newReceiver(t)
			var told problems
			logs := newLogs(t, &logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log")}, Sink: r.sink(t), OnError: told.add, StuckAfter: -1, Ship: quickly(logging.ShipperOptions{})})
			log := logs.Logger("a")
			log.Info("before", "n", 0)
			if err := do(dir); err != nil {
				t.Fatal(err)
			}
			log.Info("between", "n", 1)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- logs.Run(ctx) }()
			testenv.Eventually(t, func() error {
				if lost, _ := r.lost(2); len(lost) > 0 {
					return fmt.Errorf("lost %v", lost)
				}
				return nil
			})
			log.Info("after", "n", 2)
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if lost, repeated := r.lost(3); len(lost) > 0 || repeated > 0 {
				t.Errorf("lost %v, %d repeated", lost, repeated)
			}
			if told.wait(t, 1); told.count(logging.ErrMoved) != 1 {
				t.Errorf("told %v", told.list())
			}
		})
	}
}

func TestFileTruncatedByAStranger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var told problems
	f := open(t, filepath.Join(dir, "app.log"), &logging.FileOptions{OnError: told.add})
	for range 100 {
		put(t, f, "before")
	}
	if err := os.Truncate(f.Path(), 0); err != nil { // as copytruncate does
		t.Fatal(err)
	}
	put(t, f, "after")
	if err := f.Seal(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"after\n"}, lines(t, dir)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if told.wait(t, 1); told.count(logging.ErrTruncated) != 1 {
		t.Errorf("told %v", told.list())
	}
}

func TestQuotaDropsOldest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var told problems
	f := open(t, filepath.Join(dir, "app.log"), &logging.FileOptions{MaxSegmentBytes: 4096, MaxTotalBytes: 20_000, OnError: told.add})
	const total = 5000
	for i := range total {
		put(t, f, fmt.Sprintf(`{"n":%06d}`, i))
	}
	got := lines(t, dir)
	if want := fmt.Sprintf("{\"n\":%06d}\n", total-1); got[len(got)-1] != want {
		t.Errorf("last line %q, want %q", got[len(got)-1], want)
	}
	if want := fmt.Sprintf("{\"n\":%06d}\n", total-len(got)); got[0] != want {
		t.Errorf("first line %q, want %q: not the oldest were dropped", got[0], want)
	}
	size := 0
	for _, l := range got {
		size += len(l)
	}
	if size > 20_000 || size < 10_000 {
		t.Errorf("%d bytes kept", size)
	}
	if told.wait(t, 1); told.count(logging.ErrQuota) == 0 {
		t.Errorf("told %d times: %v", len(told.list()), told.list())
	}
	st := f.Stats()
	if st.Written != total || st.DroppedForQuota != int64(total-len(got)) {
		t.Errorf("%+v, %d lines are left", st, len(got))
	}
}

// TestManySegments seals very many: each seal costs about the same.
func TestManySegments(t *testing.T) {
	t.Parallel()
	const total = 8000
	dir := t.TempDir()
	f := open(t, filepath.Join(dir, "app.log"), &logging.FileOptions{MaxSegmentBytes: 4096})
	line := strings.Repeat("x", 4000)
	begin := time.Now()
	for range total {
		put(t, f, line)
	}
	if took := time.Since(begin); took > testenv.Within(20*time.Second, 2*time.Minute) {
		t.Errorf("%d seals took %v", total, took)
	}
	if n := len(segmentsIn(t, dir)); n != total-1 {
		t.Errorf("%d segments", n)
	}
}

func TestFlushEvery(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, filepath.Join(dir, "app.log"), &logging.FileOptions{FlushEvery: time.Hour, MaxSegmentBytes: 128 << 10})
	line := strings.Repeat("x", 999)
	for range 50 {
		put(t, f, line)
	}
	if n := len(lines(t, dir)); n != 0 || f.Stats().ActiveEvents != 50 {
		t.Errorf("%d lines written, %+v", n, f.Stats())
	}
	for range 50 {
		put(t, f, line) // beyond 64 KiB
	}
	if n := len(lines(t, dir)); n != 66 {
		t.Errorf("%d lines written, want 66", n)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		put(t, f, line) // seals in between
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(lines(t, dir)); n != 200 || f.Stats().Written != 200 {
		t.Errorf("%d lines written, %+v", n, f.Stats())
	}
	short := open(t, filepath.Join(dir, "app.log"), &logging.FileOptions{FlushEvery: time.Millisecond})
	put(t, short, line)
	for begin := time.Now(); len(lines(t, dir)) != 201; {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("not written after the interval")
		}
	}
}

func TestFileSync(t *testing.T) {
	t.Parallel()
	for _, sync := range []string{"never", "record", "1ms"} {
		dir := t.TempDir()
		f := open(t, filepath.Join(dir, "app.log"), &logging.FileOptions{Sync: sync})
		for range 10 {
			put(t, f, "x")
			time.Sleep(time.Millisecond) // lets the interval pass; nothing depends on it
		}
		if err := f.Sync(); err != nil {
			t.Errorf("%s: %v", sync, err)
		}
		if err := f.Close(); err != nil {
			t.Errorf("%s: %v", sync, err)
		}
		if err := f.Sync(); !errors.Is(err, logging.ErrClosed) {
			t.Errorf("%s: Sync after Close = %v", sync, err)
		}
	}
}

func TestOpenFileReportsAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := logging.OpenFile(&logging.FileOptions{Path: "", MaxSegmentBytes: 5, MaxTotalBytes: 7, Sync: "often", FlushEvery: -1})
	for _, want := range []string{"FlushEvery: -1ns", "path is empty", "MaxSegmentBytes: 5", "MaxTotalBytes: 7", `Sync: "often"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not contain %q", err, want)
		}
	}
	for _, path := range []string{"var/", "..", "app-20260102150405000000-000000.log", ".app.log.queue"} {
		if _, err := logging.OpenFile(&logging.FileOptions{Path: path}); err == nil {
			t.Errorf("path %q is taken", path)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = logging.OpenFile(&logging.FileOptions{Path: filepath.Join(dir, "file", "app.log")})
	if e, ok := errors.AsType[*logging.Error](err); !ok || e.Op != "open" {
		t.Errorf("a folder that is a file gives %v", err)
	}
}

func TestSegmentTruncatedWhileAway(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	var stop func()
	r.answer = func(n int, _ []byte) int {
		if n == 3 {
			stop()
			return 503
		}
		return 200
	}
	dir := fill(t, 1000, nil)
	var told problems
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stop = cancel
	o := quick(logging.ShipperOptions{MaxBatchBytes: 2048, OnError: told.add})
	s, err := logging.NewShipper(with(o, dir, r.sink(t)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.SendBulk(ctx); err == nil {
		t.Fatal("no error")
	}
	segments, err := filepath.Glob(filepath.Join(dir, "app-*.log"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	if err := os.Truncate(segments[0], 100); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.answer = nil
	r.mu.Unlock()
	if _, err := s.SendBulk(minute(t)); err != nil {
		t.Fatal(err)
	}
	if told.wait(t, 1); told.count(logging.ErrTruncated) != 1 {
		t.Errorf("told %v", told.list())
	}
}

// TestPlainLines ships what another logger, or no logger at all, wrote.
func TestPlainLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, filepath.Join(dir, "app.log"), nil)
	put(t, f, "plain text\n\n{\"n\":7}\n")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	s, err := logging.NewShipper(&logging.ShipperOptions{Dir: dir, Sink: sinkFunc(func(_ context.Context, b *logging.Batch) error {
		for _, e := range b.Events {
			fmt.Fprintf(&got, "%s|%s\n", e.ID[len(e.ID)-3:], e.Line)
		}
		return nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := s.SendBulk(minute(t)); err != nil || res.Events != 2 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	if !strings.Contains(got.String(), "-0|plain text\n") {
		t.Errorf("got %q", got.String())
	}
	if !strings.HasSuffix(got.String(), "-12|{\"n\":7}\n") {
		t.Errorf("got %q", got.String())
	}
}

// TestSealFails has the folder refuse what sealing needs: records go on into
// the file at hand, and it is said once.
func TestSealFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var told problems
	f := open(t, filepath.Join(dir, "app.log"), &logging.FileOptions{MaxSegmentBytes: 4096, OnError: told.add})
	put(t, f, "first")
	marker := filepath.Join(dir, ".app.log.next")
	if err := os.MkdirAll(filepath.Join(marker, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		put(t, f, "0123456789012345678901234567890")
	}
	told.wait(t, 1)
	if n := len(told.list()); n != 1 || len(lines(t, dir)) != 1001 {
		t.Errorf("told %d times: %v; %d lines", n, told.list(), len(lines(t, dir)))
	}
	if err := f.Seal(); err == nil {
		t.Error("Seal returns no error")
	}
	if err := os.RemoveAll(marker); err != nil {
		t.Fatal(err)
	}
	if err := f.Seal(); err != nil {
		t.Error(err)
	}
	if n := len(segmentsIn(t, dir)); n != 1 {
		t.Errorf("%d segments", n)
	}
}

// TestLinesAreCounted writes several at once.
func TestLinesAreCounted(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{0, time.Hour} {
		dir := t.TempDir()
		f := open(t, filepath.Join(dir, "app.log"), &logging.FileOptions{FlushEvery: every})
		put(t, f, "a\nb\nc\n")
		put(t, f, "d")
		put(t, f, "e\nf")
		if n := f.Stats().ActiveEvents; n != 6 {
			t.Errorf("%d lines counted", n)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if n := len(lines(t, dir)); n != 6 || f.Stats().Written != 6 {
			t.Errorf("%d lines, %+v", n, f.Stats())
		}
	}
}
