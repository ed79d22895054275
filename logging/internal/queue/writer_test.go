package queue_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/svcblocks/svcblocks/internal/filelock"
	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// TestRescueBesideAShipper has a shipper that removes each empty segment which
// nobody holds, also one that is about to be filled.
func TestRescueBesideAShipper(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := queue.New(filepath.Join(dir, "log", "app.log"), queue.Access{})
	if err := os.Mkdir(q.Dir, 0o750); err != nil {
		t.Fatal(err)
	}
	active, err := os.Create(filepath.Join(dir, "moved.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer active.Close()
	if _, err := active.WriteString("record\n"); err != nil {
		t.Fatal(err)
	}

	stop := make(chan struct{})
	var shipper sync.WaitGroup
	for range 2 {
		shipper.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					sweep(q)
				}
			}
		})
	}

	const rescues = 500
	w := queue.NewWriter(q)
	for range rescues {
		if err := w.Rescue(active, filepath.Join(q.Dir, "app.log")); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	shipper.Wait()

	found := 0
	entries, err := os.ReadDir(q.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "app-") {
			found++
		}
	}
	if found != rescues {
		t.Errorf("%d of %d segments are there", found, rescues)
	}
}

// sweep removes the empty segments that it can lock.
func sweep(q queue.Queue) {
	entries, _ := os.ReadDir(q.Dir)
	for _, e := range entries[max(0, len(entries)-2):] {
		path := q.Path(e.Name())
		if !strings.HasPrefix(e.Name(), "app-") {
			continue
		}
		f, err := q.OpenFile(path, os.O_RDWR)
		if err != nil {
			continue
		}
		if held, _ := filelock.TryLock(f); held {
			if info, err := f.Stat(); err == nil && info.Size() == 0 {
				_ = os.Remove(path)
			}
		}
		_ = f.Close()
	}
}
