package config_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

type shared struct {
	Keys map[string]int
	N    int
	Text string
}

// child is what this test binary does when a test starts it as another
// process: it changes settings of the file.
func child(mode, path string) int {
	ctx := context.Background()
	s, err := config.Load(ctx, shared{}, config.File(path, config.Writable()))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if id, ok := strings.CutPrefix(mode, "keys"); ok {
		for i := range testenv.Reps(40) {
			err := s.Update(ctx, func(v *shared) error {
				if v.Keys == nil {
					v.Keys = map[string]int{}
				}
				v.Keys[fmt.Sprintf("p%s_%d", id, i)] = i
				v.N++
				return nil
			})
			if err != nil {
				fmt.Println(err)
				return 1
			}
		}
		return 0
	}
	for i := s.Get().N + 1; ; i++ { // until killed
		if err := s.Update(ctx, func(v *shared) error { v.N = i; v.Text = strings.Repeat(strconv.Itoa(i), 500); return nil }); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("done", i)
	}
}

func start(t *testing.T, mode, path string) *exec.Cmd {
	t.Helper()
	cmd := testenv.Self()
	cmd.Env = append(os.Environ(), "CONFIG_TEST_CHILD="+mode, "CONFIG_TEST_FILE="+path)
	return cmd
}

// TestProcessesLoseNothing changes different keys of one file from 8
// processes, 40 times each.
func TestProcessesLoseNothing(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"s.yaml", "s.toml", "s.json"} {
		path := write(t, t.TempDir(), name, map[string]string{"s.yaml": "# shared\nn: 0\n", "s.toml": "# shared\nn = 0\n", "s.json": "{\n  \"n\": 0\n}\n"}[name])
		var wg sync.WaitGroup
		for id := range 8 {
			wg.Go(func() {
				if out, err := start(t, fmt.Sprintf("keys%d", id), path).CombinedOutput(); err != nil {
					t.Errorf("process %d: %v\n%s", id, err, out)
				}
			})
		}
		wg.Wait()
		got := load(t, shared{}, config.File(path)).Get()
		if want := 8 * testenv.Reps(40); len(got.Keys) != want || got.N != want {
			t.Errorf("%s: %d of %d keys kept, counter %d", name, len(got.Keys), want, got.N)
		}
		if name != "s.json" && !strings.HasPrefix(readAll(t, path), "# shared\n") {
			t.Errorf("%s lost its comment", name)
		}
		if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 && os.PathSeparator == '/' {
			t.Errorf("%s: %d files in the folder, want 1", name, len(files))
		}
	}
}

// TestKilledWriter kills a writing process at random moments.
func TestKilledWriter(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir(), "s.yaml", "n: 0   # counter\ntext: \"\"\n")
	for range testenv.Reps(300) {
		cmd := start(t, "forever", path)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatal("the writer wrote nothing")
		}
		acknowledged := lines.Text()
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			time.Sleep(rand.N(25 * time.Millisecond)) // the moment is the test's subject
			_ = cmd.Process.Kill()
		}()
		for lines.Scan() {
			acknowledged = lines.Text()
		}
		<-killed
		_ = cmd.Wait()
		last, err := strconv.Atoi(strings.TrimPrefix(acknowledged, "done "))
		if err != nil {
			t.Fatalf("the writer says %q", acknowledged)
		}
		got := load(t, shared{}, config.File(path)).Get()
		if got.N != last && got.N != last+1 {
			t.Fatalf("the file holds %d; %d was written", got.N, last)
		}
		if got.Text != strings.Repeat(strconv.Itoa(got.N), 500) {
			t.Fatalf("the file holds half a change: n %d with text %.20s…", got.N, got.Text)
		}
		// Where a folder cannot be locked, a file beside the settings is.
		files, _ := os.ReadDir(filepath.Dir(path))
		files = slices.DeleteFunc(files, func(f os.DirEntry) bool { return strings.HasSuffix(f.Name(), ".lock") })
		if len(files) > 2 {
			t.Fatalf("%d files lie there, want at most 2", len(files))
		}
	}
}
