package queue_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// TestTornNote has a full disk take a part of a note: the next one is whole, and
// the part names no file.
func TestTornNote(t *testing.T) {
	t.Parallel()
	const shipped, waits = "app-20261130195934113611-396694.log", "app-20261130195934113611-396695.log"
	for _, torn := range []string{"sealed 9 - app-20261130195934113611-39", "sealed 9 - " + waits, "open app", "gone", "seal"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ".app.log.queue"), []byte("sealed 9 - "+shipped+"\n"+torn), 0o640); err != nil {
			t.Fatal(err)
		}
		j := queue.New(filepath.Join(dir, "app.log"), queue.Access{}).Journal()
		j.Gone(shipped)
		if amiss, err := j.Check(); len(amiss) > 0 || err != nil {
			t.Errorf("after %q: %v, %v", torn, amiss, err)
		}
	}
}
