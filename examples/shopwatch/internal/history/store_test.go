package history_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("HISTORY_TEST_WRITE"); path != "" {
		writeUntilKilled(path)
		return
	}
	if path := os.Getenv("HISTORY_TEST_READ"); path != "" {
		readDamaged(path)
		return
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, path string, opts history.Options) *history.Store {
	t.Helper()
	s, err := history.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var site = &url.URL{Scheme: "https", Host: "shop.example", Path: "/"}

func item(n int, cents int64) extract.Item {
	return extract.Item{
		Name: fmt.Sprintf("item %d", n), URL: fmt.Sprintf("https://shop.example/%d", n),
		Price: extract.Price{Cents: cents, Currency: "EUR"}, Availability: extract.InStock,
	}
}

// run records a run with one page and returns what changed.
func run(t *testing.T, s *history.Store, status history.Status, items ...extract.Item) (history.Run, []history.Change) {
	t.Helper()
	r, err := s.Begin("schedule")
	if err != nil {
		t.Fatal(err)
	}
	page := history.Page{URL: site, Items: items, Bytes: 100}
	var reason error
	if status != history.OK {
		reason = errors.New("site down")
		page.Err = reason
	}
	_, changed, err := s.Put(r.ID, page)
	if err != nil {
		t.Fatal(err)
	}
	r, gone, err := s.Finish(r.ID, status, reason)
	if err != nil {
		t.Fatal(err)
	}
	return r, append(changed, gone...)
}

func pending(t *testing.T, s *history.Store) []history.Notice {
	t.Helper()
	out, err := s.Pending()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func settle(t *testing.T, s *history.Store) (kinds []history.NoticeKind) {
	t.Helper()
	for _, n := range pending(t, s) {
		kinds = append(kinds, n.Kind)
		if err := s.Settle(n); err != nil {
			t.Fatal(err)
		}
	}
	return kinds
}

var ignoreTimes = cmpopts.IgnoreTypes(time.Time{})

func TestRunsAndChanges(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "a", "history.db"), history.Options{})

	r, changed := run(t, s, history.OK, item(1, 100), item(2, 200))
	want := history.Run{ID: 1, Trigger: "schedule", Status: history.OK, Pages: 1, Items: 2, New: 2, Bytes: 100}
	if diff := cmp.Diff(want, r, ignoreTimes); diff != "" || len(changed) != 0 {
		t.Errorf("first run (-want +got):\n%s; changes %v", diff, changed)
	}
	if kinds := settle(t, s); kinds != nil {
		t.Errorf("first run owes %v", kinds)
	}

	r, changed = run(t, s, history.OK, item(1, 90))
	wantChanges := []history.Change{
		{Kind: history.PriceChanged, Run: 2, Name: "item 1", URL: "https://shop.example/1", Old: item(1, 100).Price, New: item(1, 90).Price},
		{Kind: history.ItemGone, Run: 2, Name: "item 2", URL: "https://shop.example/2", Old: item(2, 200).Price},
	}
	if diff := cmp.Diff(wantChanges, changed, ignoreTimes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if r.Changed != 1 || r.Gone != 1 || r.New != 0 {
		t.Errorf("counts = %+v", r)
	}
	owed := pending(t, s)
	if len(owed) != 1 || owed[0].Kind != history.ChangesFound || owed[0].Run.ID != 2 {
		t.Fatalf("owed = %+v", owed)
	}
	if diff := cmp.Diff(wantChanges, owed[0].Changes, ignoreTimes); diff != "" {
		t.Errorf("owed changes (-want +got):\n%s", diff)
	}
	if again := pending(t, s); again[0].ID != owed[0].ID {
		t.Errorf("the same notice has ids %s and %s", owed[0].ID, again[0].ID)
	}
	settle(t, s)
	if left := pending(t, s); len(left) != 0 {
		t.Errorf("settled, yet owed: %v", left)
	}

	_, changed = run(t, s, history.OK, item(1, 90), item(2, 210))
	wantChanges = []history.Change{{
		Kind: history.ItemBack, Run: 3, Name: "item 2", URL: "https://shop.example/2", Old: item(2, 200).Price, New: item(2, 210).Price,
	}}
	if diff := cmp.Diff(wantChanges, changed, ignoreTimes); diff != "" {
		t.Errorf("changes when it is back (-want +got):\n%s", diff)
	}

	items, err := s.Items(-1)
	if err != nil {
		t.Fatal(err)
	}
	var prices [][]int64
	for _, it := range items {
		var cents []int64
		for _, p := range it.Points {
			cents = append(cents, p.Price.Cents)
		}
		prices = append(prices, cents)
	}
	if diff := cmp.Diff([][]int64{{100, 90}, {200, 210}}, prices); diff != "" {
		t.Errorf("prices (-want +got):\n%s", diff)
	}
	runs, err := s.Runs(2)
	if err != nil || len(runs) != 2 || runs[0].ID != 3 {
		t.Errorf("runs = %+v, %v", runs, err)
	}
}

func TestNoticesOfFailures(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "history.db"), history.Options{})
	for _, step := range []struct {
		status history.Status
		owes   []history.NoticeKind
	}{
		{history.OK, nil},
		{history.Failed, []history.NoticeKind{history.RunFailed}},
		{history.Stopped, nil},
		{history.OK, []history.NoticeKind{history.RunRecovered}},
		{history.OK, nil},
		{history.Partial, []history.NoticeKind{history.RunPartial}},
		{history.Failed, []history.NoticeKind{history.RunFailed}},
		{history.OK, []history.NoticeKind{history.RunRecovered}},
	} {
		r, gone := run(t, s, step.status, item(1, 100))
		if got := settle(t, s); !cmp.Equal(got, step.owes) {
			t.Errorf("run %d, %s: owes %v, want %v", r.ID, step.status, got, step.owes)
		}
		if len(gone) > 0 {
			t.Errorf("run %d, %s: changes %v", r.ID, step.status, gone)
		}
		if step.status != history.OK && r.Error != "site down" {
			t.Errorf("run %d: error %q", r.ID, r.Error)
		}
	}
}

func TestOnlyCompleteRunsMissItems(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "history.db"), history.Options{GoneAfter: 2})
	run(t, s, history.OK, item(1, 100), item(2, 100))
	for _, status := range []history.Status{history.Partial, history.Failed, history.Stopped, history.OK} {
		if _, gone := run(t, s, status, item(1, 100)); len(gone) > 0 {
			t.Errorf("after a run that is %s: %v", status, gone)
		}
	}
	if _, gone := run(t, s, history.OK, item(1, 100)); len(gone) != 1 || gone[0].Name != "item 2" {
		t.Errorf("after the second complete run: %v, want item 2 gone", gone)
	}
}

func TestDeadRunsEndAtOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.db")
	s := open(t, path, history.Options{})
	run(t, s, history.OK, item(1, 100), item(2, 100))
	r, err := s.Begin("request")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Put(r.ID, history.Page{URL: site, Items: []extract.Item{item(1, 50)}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, path, history.Options{})
	runs, err := s.Runs(1)
	if err != nil || runs[0].ID != r.ID || runs[0].Status != history.Interrupted || runs[0].Finished.IsZero() {
		t.Errorf("runs = %+v, %v", runs, err)
	}
	owed := pending(t, s)
	var kinds []history.NoticeKind
	for _, n := range owed {
		kinds = append(kinds, n.Kind)
	}
	if diff := cmp.Diff([]history.NoticeKind{history.ChangesFound, history.RunInterrupted}, kinds); diff != "" {
		t.Errorf("owed (-want +got):\n%s", diff)
	}
	if _, _, err := s.Put(r.ID, history.Page{}); err == nil || !strings.Contains(err.Error(), "run is interrupted") {
		t.Errorf("put after the end: %v", err)
	}
	if _, _, err := s.Finish(99, history.OK, nil); err == nil || !strings.Contains(err.Error(), "no such run") {
		t.Errorf("finish of an unknown run: %v", err)
	}
	if len(owed[0].Changes) != 1 || owed[0].Changes[0].New.Cents != 50 {
		t.Errorf("changes = %+v", owed[0].Changes)
	}
}

// A run that could not be ended, as the disk was full, is ended by the next.
func TestBeginEndsTheRunBefore(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "history.db"), history.Options{})
	for range 2 {
		if _, err := s.Begin("schedule"); err != nil {
			t.Fatal(err)
		}
	}
	runs, err := s.Runs(2)
	if err != nil || runs[0].Status != history.Running || runs[1].Status != history.Interrupted {
		t.Errorf("runs = %+v, %v", runs, err)
	}
	if owed := pending(t, s); len(owed) != 1 || owed[0].Kind != history.RunInterrupted {
		t.Errorf("owed = %+v", owed)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "history.db"), history.Options{MaxRuns: 5, MaxPoints: 3, KeepGone: time.Nanosecond})
	long := item(3, 1)
	long.URL += strings.Repeat("x", 10_000)
	for i := range 12 {
		run(t, s, history.OK, item(1, int64(i)), item(11, 7), long)
		if i < 10 {
			settle(t, s)
		}
	}
	runs, err := s.Runs(100)
	if err != nil || len(runs) != 5 || runs[4].ID != 8 {
		t.Errorf("%d runs are kept, want 5: %v", len(runs), err)
	}
	items, err := s.Items(-1)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(items[0].Points); n != 3 || items[0].Points[2].Price.Cents != 11 {
		t.Errorf("points = %+v, want the last 3", items[0].Points)
	}
	if n := len(items[1].Points); n != 1 {
		t.Errorf("the neighbour with a longer URL has %d points, want 1", n)
	}
	if items, err = s.Items(1); err != nil || len(items[0].Points) != 1 {
		t.Errorf("Items(1) = %+v, %v", items[0].Points, err)
	}
	if c, err := s.Changes(2); err != nil || len(c) != 0 {
		t.Errorf("changes of a dropped run = %v, %v", c, err)
	}
	// Runs 11 and 12 owe a notice each, and keep it whatever the bound.
	for range 10 {
		run(t, s, history.OK, item(1, 11), item(11, 7))
	}
	if owed := pending(t, s); len(owed) != 3 { // and the run in which the long one left
		t.Errorf("owed = %d notices, want 3", len(owed))
	}
	if items, err = s.Items(-1); err != nil || len(items) != 2 {
		t.Errorf("%d items are kept, want 2: %v", len(items), err)
	}
}

// A shop that moves to another host, or a demo on another port, is the same
// shop.
func TestItemsKeepTheirIdentityAcrossHosts(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "history.db"), history.Options{})
	run(t, s, history.OK, item(1, 100))
	r, err := s.Begin("start")
	if err != nil {
		t.Fatal(err)
	}
	moved := item(1, 90)
	moved.URL = "http://127.0.0.1:8080/1"
	page := history.Page{URL: &url.URL{Scheme: "http", Host: "127.0.0.1:8080"}, Items: []extract.Item{moved}}
	if _, changed, err := s.Put(r.ID, page); err != nil || len(changed) != 1 || changed[0].Kind != history.PriceChanged {
		t.Errorf("changes = %+v, %v", changed, err)
	}
	if _, gone, err := s.Finish(r.ID, history.OK, nil); err != nil || len(gone) != 0 {
		t.Errorf("gone = %+v, %v", gone, err)
	}
}

func TestConcurrentPages(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "history.db"), history.Options{})
	r, err := s.Begin("start")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for p := range 8 {
		wg.Go(func() {
			if _, _, err := s.Put(r.ID, history.Page{URL: site, Items: []extract.Item{item(p*2, 1), item(p*2+1, 1)}, Bytes: 10}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r, _, err = s.Finish(r.ID, history.OK, nil)
	if err != nil || r.Pages != 8 || r.Items != 16 || r.New != 16 || r.Bytes != 80 {
		t.Errorf("run = %+v, %v", r, err)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	t.Run("locked", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(dir, "locked.db")
		open(t, path, history.Options{})
		_, err := history.Open(path, history.Options{LockTimeout: time.Millisecond})
		if !errors.Is(err, history.ErrLocked) || !strings.Contains(err.Error(), "data_dir") {
			t.Errorf("error = %v, want ErrLocked with advice", err)
		}
	})
	t.Run("not a database", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(dir, "text.db")
		if err := os.WriteFile(path, []byte(strings.Repeat("not a database\n", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := history.Open(path, history.Options{})
		if err == nil || !strings.Contains(err.Error(), "move the file away") {
			t.Errorf("error = %v, want advice", err)
		}
	})
	t.Run("planted link", func(t *testing.T) {
		t.Parallel()
		victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "link.db")
		testenv.Symlink(t, victim, path)
		_, err := history.Open(path, history.Options{})
		if err == nil || !strings.Contains(err.Error(), "remove the link") {
			t.Errorf("error = %v, want advice", err)
		}
		if _, err := os.Lstat(victim); err == nil {
			t.Error("a file was made where the link leads")
		}
	})
	t.Run("folder is a file", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := history.Open(filepath.Join(path, "history.db"), history.Options{})
		if err == nil || !strings.Contains(err.Error(), "data_dir") {
			t.Errorf("error = %v, want advice", err)
		}
	})
}

// What is written to a file that nobody finds again is lost.
func TestCheckOfTheFile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		harm func(path string) error
		want error
	}{
		{"removed", os.Remove, fs.ErrNotExist},
		{"folder removed", func(path string) error { return os.RemoveAll(filepath.Dir(path)) }, fs.ErrNotExist},
		{"replaced", func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, nil, 0o600))
		}, history.ErrReplaced},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "var", "history.db")
			s := open(t, path, history.Options{})
			if err := s.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := tt.harm(path); err != nil {
				t.Fatal(err)
			}
			if err := s.Check(t.Context()); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("Check = %v, want %v with the path", err, tt.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "history.db"), history.Options{})
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Check(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err == nil {
		t.Error("a closed store passes its check")
	}
}
