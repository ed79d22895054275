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

// TestZerosOfAPowerCut has the end of a file be zeros, as it is on some file
// systems where a power cut came before the data reached the disk: they are no
// records.
func TestZerosOfAPowerCut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, records, want string }{
		{"nothing", "", ""},
		{"whole records", "{}\n{}\n", "{}\n{}\n"},
		{"a torn record", "{}\n{\"a", "{}\n{\"a\n"},
	} {
		for _, zeros := range []int{0, 1, 4095, 4096, 9000} {
			q := queue.New(filepath.Join(t.TempDir(), "app.log"), queue.Access{})
			if err := os.WriteFile(q.Active(0), append([]byte(tt.records), make([]byte, zeros)...), 0o640); err != nil {
				t.Fatal(err)
			}
			f, size, torn, err := queue.NewWriter(q).Open()
			if err != nil || torn {
				t.Fatalf("%s: torn %v, %v", tt.name, torn, err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(q.Active(0))
			if err != nil || string(got) != tt.want || size != int64(len(tt.want)) {
				t.Errorf("%s and %d zeros: %d bytes %q, %v", tt.name, zeros, size, got[:min(len(got), 50)], err)
			}
		}
	}
}
