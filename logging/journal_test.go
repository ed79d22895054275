package logging_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/logging"
)

// TestTouchedWhileAway has a stranger touch the files of a log while no process
// looks: what is left is delivered, and what is not is said, once.
func TestTouchedWhileAway(t *testing.T) {
	t.Parallel()
	const total = 3000
	for _, tt := range []struct {
		name   string
		do     func(segments []string) error
		target error
		lose   bool
	}{
		{"segment renamed", func(s []string) error { return os.Rename(s[0], s[0]+".1") }, logging.ErrMoved, true},
		{"segment renamed among others", func(s []string) error {
			data, err := os.ReadFile(s[1])
			return errors.Join(err, os.WriteFile(s[1]+".copy", data, 0o600), os.Rename(s[1], filepath.Join(filepath.Dir(s[1]), "app.log.2")))
		}, logging.ErrMoved, true},
		{"segment moved elsewhere", func(s []string) error { return os.Rename(s[0], filepath.Join(t.TempDir(), "x")) }, logging.ErrMoved, true},
		{"segment replaced", func(s []string) error { // the new file may get the inode of the old
			info, err := os.Stat(s[1])
			return errors.Join(err, os.Remove(s[1]), os.WriteFile(s[1]+".other", make([]byte, info.Size()), 0o600))
		}, logging.ErrMoved, true},
		{"segment removed", func(s []string) error { return os.Remove(s[1]) }, logging.ErrMoved, true},
		{"segment truncated", func(s []string) error { return os.Truncate(s[0], 1000) }, logging.ErrTruncated, true},
		{"journal removed", func(s []string) error { return os.Remove(filepath.Join(filepath.Dir(s[0]), ".app.log.queue")) }, nil, false},
		{"journal broken", func(s []string) error {
			return os.WriteFile(filepath.Join(filepath.Dir(s[0]), ".app.log.queue"), []byte("sealed x\nopen\n\x00 nonsense 5\nsealed 5 - ../x\nsealed -5 - x\nsealed 5\ngone"), 0o600)
		}, nil, false},
		{"folder moved and back", func(s []string) error {
			dir := filepath.Dir(s[0])
			if err := os.Rename(dir, dir+"x"); err != nil {
				return err
			}
			return os.Rename(dir+"x", dir)
		}, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t)
			dir := fill(t, total, nil)
			segments, err := filepath.Glob(filepath.Join(dir, "app-*.log"))
			if err != nil || len(segments) < 2 {
				t.Fatal(segments, err)
			}
			if err := tt.do(segments); err != nil {
				t.Fatal(err)
			}
			left := strings.Join(lines(t, dir), "")
			var told problems
			s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: r.sink(t), OnError: told.add}))
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, err := s.SendBulk(minute(t)); err != nil {
					t.Fatal(err)
				}
			}
			for i := range total {
				want := 0
				if !tt.lose || strings.Contains(left, fmt.Sprintf("{\"n\":%d,\"msg\":\"some words\"}\n", i)) {
					want = 1
				}
				if r.n[i] != want && i > 0 { // what a truncation tears counts as 0
					t.Fatalf("record %d arrived %d times, want %d", i, r.n[i], want)
				}
			}
			if tt.target != nil {
				told.wait(t, 1)
			}
			if tt.target != nil && (told.count(tt.target) != 1 || len(told.list()) != 1) || tt.target == nil && len(told.list()) > 0 {
				t.Errorf("told %v, want one %v", told.list(), tt.target)
			}
		})
	}
}

// TestActiveMovedWhileAway has a log rotator rename the file of a killed
// process.
func TestActiveMovedWhileAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	if err := os.WriteFile(filepath.Join(dir, ".app.log.queue"), []byte("open app.log\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var told problems
	for range 2 {
		f := open(t, path, &logging.FileOptions{OnError: told.add})
		put(t, f, "x")
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if told.wait(t, 1); told.count(logging.ErrMoved) != 1 || len(told.list()) != 1 {
		t.Errorf("told %v", told.list())
	}
}

func TestJournalStaysSmall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var told problems
	var size int64
	for range 40 {
		f := open(t, filepath.Join(dir, "app.log"), &logging.FileOptions{MaxSegmentBytes: 4096, MaxTotalBytes: 16384, OnError: told.add})
		for range 200 {
			put(t, f, strings.Repeat("x", 2000))
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, ".app.log.queue"))
		if err != nil {
			t.Fatal(err)
		}
		size = max(size, info.Size())
	}
	if size < 64<<10 || size > 128<<10 {
		t.Errorf("the journal grew to %d bytes", size)
	}
	if told.count(logging.ErrMoved) > 0 {
		t.Errorf("told %v", told.list())
	}
}
