package queue_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// TestPackedSegment reads a packed segment from any offset, and refuses a
// damaged one.
func TestPackedSegment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var text bytes.Buffer
	for i := range 40_000 {
		fmt.Fprintf(&text, "{\"n\":%d,\"msg\":\"some words %x\"}\n", i, rand.Uint64())
	}
	plain := filepath.Join(dir, "app-20260102030405000000-000001.log")
	if err := os.WriteFile(plain, text.Bytes(), 0o640); err != nil {
		t.Fatal(err)
	}
	q := queue.New(filepath.Join(dir, "app.log"), queue.Access{})
	f, seg := openOnly(t, q)
	if err := seg.Pack(f); err != nil {
		t.Fatal(err)
	}

	f, packed := openOnly(t, q)
	if !packed.Packed || packed.Seq != seg.Seq || packed.Size != seg.Size || packed.DiskBytes >= seg.Size || f.Plain() != nil {
		t.Fatalf("packed as %+v", packed)
	}
	for range 50 {
		at := rand.IntN(text.Len())
		buf := make([]byte, rand.IntN(600_000))
		n, err := f.ReadAt(buf, int64(at))
		if want := min(len(buf), text.Len()-at); n != want || n < len(buf) && !errors.Is(err, io.EOF) || !bytes.Equal(buf[:n], text.Bytes()[at:at+n]) {
			t.Fatalf("ReadAt(%d bytes, %d) = %d, %v", len(buf), at, n, err)
		}
	}

	whole, err := os.ReadFile(packed.Path)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"cut":     whole[:len(whole)-100],
		"empty":   nil,
		"foreign": []byte("no gzip at all, but long enough for a header"),
		"flipped": flipped(whole, len(whole)/2),
		"size":    flipped(whole, 20),
	} {
		if err := os.WriteFile(packed.Path, data, 0o640); err != nil {
			t.Fatal(err)
		}
		f, err := packed.Open()
		if err == nil {
			_, err = io.ReadAll(io.NewSectionReader(f, 0, packed.Size))
			_ = f.Close()
		}
		if err == nil {
			t.Errorf("%s: read without an error", name)
		}
	}
}

func flipped(data []byte, at int) []byte {
	out := bytes.Clone(data)
	out[at] ^= 0x55
	return out
}

func openOnly(t *testing.T, q queue.Queue) (*queue.Reader, queue.Segment) {
	t.Helper()
	all, err := q.Segments()
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	f, err := all[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, all[0]
}
