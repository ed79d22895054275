package logging_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
)

// manySize is the length of line i: 90 % 300 B, 9 % 4 KB, 0.9 % 64 KB, 0.1 %
// 1 MB.
func manySize(i int) int {
	switch {
	case i%1000 == 999:
		return 1 << 20
	case i%100 == 99: // 0.9 % beside the 0.1 %
		return 64 << 10
	case i%100 >= 90:
		return 4 << 10
	}
	return 300
}

func childMany() error {
	lines, err := strconv.Atoi(os.Getenv("LOGGING_LINES"))
	if err != nil {
		return err
	}
	f, err := logging.OpenFile(&logging.FileOptions{Path: os.Getenv("LOGGING_PATH"), MaxSegmentBytes: 2 << 20, MaxTotalBytes: -1})
	if err != nil {
		return err
	}
	for i := range lines {
		head := fmt.Sprintf(`{"p":%d,"i":%d,"x":"`, os.Getpid(), i)
		if _, err := f.Write([]byte(head + strings.Repeat("x", max(0, manySize(i)-len(head)-2)) + `"}`)); err != nil {
			return err
		}
	}
	return f.Close()
}

// TestManyProcesses has 8 processes log into one folder at once.
func TestManyProcesses(t *testing.T) {
	t.Parallel()
	const processes = 8
	lines := testenv.Reps(20_000)
	path := filepath.Join(t.TempDir(), "app.log")
	var wg sync.WaitGroup
	for range processes {
		cmd := child(t, "many", "LOGGING_PATH="+path, fmt.Sprint("LOGGING_LINES=", lines))
		wg.Go(func() {
			if err := cmd.Run(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "app*.log"))
	if err != nil {
		t.Fatal(err)
	}
	type key struct{ P, I int }
	seen := map[key]int{}
	torn := 0
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for l := range bytes.Lines(data) {
			var e struct {
				P, I int
				X    string
			}
			if err := json.Unmarshal(l, &e); err != nil || len(l) != manySize(e.I)+1 {
				torn++
				continue
			}
			seen[key{e.P, e.I}]++
		}
	}
	t.Logf("%d segments, %d lines, %d torn", len(files), len(seen), torn)
	if torn > 0 || len(seen) != processes*lines {
		t.Errorf("%d lines in %d files, want %d; %d torn", len(seen), len(files), processes*lines, torn)
	}
	if seals := len(files); testenv.Soak() && seals < 50 {
		t.Errorf("%d seals, want over 50", seals)
	}
}
