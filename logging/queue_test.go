package logging_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
)

// TestSegmentsAreInOrder has segments in the folder which a clock that was
// wrong for a while named: what is sealed later comes behind them.
func TestSegmentsAreInOrder(t *testing.T) {
	t.Parallel()
	for name, there := range map[string]string{
		"ahead":         "app-20991231235959999999-999999.log",
		"at the end":    "app-89991231235959999999-999999.log",
		"past all time": "app-99991231235959999999-999999.log",
		"no time":       "app-99999999999999999999-999999.log",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, there), []byte("{\"n\":0}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			a := open(t, filepath.Join(dir, "app.log"), nil)
			b := open(t, filepath.Join(dir, "app.log"), nil) // as a second process
			for _, f := range []*logging.File{a, b, b, a} {
				put(t, f, `{"n":1}`)
				if err := f.Seal(); err != nil {
					t.Fatal(err)
				}
			}
			segments := segmentsIn(t, dir)
			if len(segments) != 5 {
				t.Fatal(segments)
			}
			for _, s := range segments {
				if len(filepath.Base(s)) != len(there) {
					t.Errorf("%s has another form", s)
				}
			}
			if i := slices.Index(segments, filepath.Join(dir, there)); i != 0 && !strings.HasPrefix(there, "app-9999") {
				t.Errorf("%s is number %d of %v", there, i, segments)
			}
		})
	}
}

// TestPathThatIsNoFile has the log's place taken by what cannot be one.
func TestPathThatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(dir, "sub.log")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := logging.OpenFile(&logging.FileOptions{Path: folder})
	if e, ok := errors.AsType[*logging.Error](err); !ok || !strings.Contains(err.Error(), "is a folder") || e.Path != folder {
		t.Errorf("OpenFile(%s) = %v", folder, err)
	}
	if _, err := logging.OpenFile(&logging.FileOptions{Path: filepath.Join(dir, "other~7.log")}); err == nil {
		t.Error("the name of a second process's file is taken")
	}
	if _, err := logging.OpenFile(&logging.FileOptions{Path: "/dev/stdout"}); err == nil || !strings.Contains(err.Error(), "Console.Format") {
		t.Errorf("OpenFile of a device = %v, want what to use in its place", err)
	}
}

// TestPathThatIsALink has the log's place taken by a symbolic link, which is
// refused; a folder behind one is fine.
func TestPathThatIsALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, target := filepath.Join(dir, "app.log"), filepath.Join(dir, "target")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	testenv.Symlink(t, target, path)
	_, err := logging.OpenFile(&logging.FileOptions{Path: path})
	if e, ok := errors.AsType[*logging.Error](err); !ok || !strings.Contains(err.Error(), "symbolic link") || e.Path != path {
		t.Errorf("OpenFile(%s) = %v", path, err)
	}

	link := filepath.Join(dir, "link")
	testenv.Symlink(t, t.TempDir(), link)
	f := open(t, filepath.Join(link, "app.log"), nil)
	put(t, f, "x")
	if err := errors.Join(f.Seal(), f.Close()); err != nil || len(segmentsIn(t, link)) != 1 {
		t.Error(err, segmentsIn(t, link))
	}
}

// TestCopiedFolder has the folder of a process that ended, with a segment and a
// file that was not sealed, shipped twice: an event has one ID in both.
func TestCopiedFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, filepath.Join(dir, "app.log"), nil)
	put(t, f, "sealed")
	if err := f.Seal(); err != nil {
		t.Fatal(err)
	}
	put(t, f, "not sealed")
	put(t, f, "nor this")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	other := t.TempDir()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		from, to := filepath.Join(dir, e.Name()), filepath.Join(other, e.Name())
		data, err := os.ReadFile(from)
		info, ierr := e.Info()
		if err := errors.Join(err, ierr, os.WriteFile(to, data, 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(to, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
	}

	took := map[string]int{}
	for _, dir := range []string{dir, other} {
		s, err := logging.NewShipper(with(&byHand, dir, &collector{took: took}))
		if err != nil {
			t.Fatal(err)
		}
		if res, err := s.SendBulk(minute(t)); err != nil || res.Events != 3 {
			t.Errorf("SendBulk = %+v, %v", res, err)
		}
	}
	if len(took) != 3 {
		t.Errorf("3 events have %d IDs: %v", len(took), took)
	}
}

// TestPathWithoutFolder is not parallel: it changes the working directory.
func TestPathWithoutFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	sink := &collector{took: map[string]int{}}
	logs := newLogs(t, &logging.Options{File: logging.FileOptions{Path: "app.log"}, Sink: sink})
	logs.Logger("a").Info("x")
	if res, err := logs.SendBulk(minute(t)); err != nil || res.Events != 1 {
		t.Errorf("SendBulk = %+v, %v", res, err)
	}
}
