package history_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
)

// readDamaged is the other process of TestDamagedFile: it says what opening
// and reading the file gives. A crash shows as another exit code.
func readDamaged(path string) {
	s, err := history.Open(path, history.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := s.Items(-1); err != nil {
		fmt.Println(err)
	}
	if _, err := s.Pending(); err != nil {
		fmt.Println(err)
	}
	if err := s.Close(); err != nil {
		fmt.Println(err)
	}
	fmt.Println("opened")
}

// A file that was cut short or overwritten gives an error that says what to
// do, and never ends the process.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "history.db")
	s, err := history.Open(path, history.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		var items []extract.Item
		for j := range 100 {
			items = append(items, item(j, int64(i+j)))
		}
		run(t, s, history.OK, items...)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, data []byte, mustFail bool) {
		t.Helper()
		damaged := filepath.Join(dir, name)
		if err := os.WriteFile(damaged, data, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "HISTORY_TEST_READ="+damaged, "GORACE=atexit_sleep_ms=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%.2000s", name, err, out)
		}
		if mustFail && !strings.Contains(string(out), "move the file away") {
			t.Errorf("%s: no advice in %q", name, out)
		}
	}
	for _, n := range []int{1, 100, 4096, 8192, 12288, 16384, 20000, len(whole) / 4, len(whole) / 3} {
		check(fmt.Sprintf("cut-%d", n), whole[:n], true)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 20 {
		data := append([]byte(nil), whole...)
		from := random.IntN(len(data) / 2)
		for j := range min(3000, len(data)-from) {
			data[from+j] ^= byte(random.IntN(256))
		}
		check(fmt.Sprintf("overwritten-%d", i), data, false)
	}
}

func TestCutFileIsErrDamaged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.db")
	s, err := history.Open(path, history.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var items []extract.Item
	for j := range 300 {
		items = append(items, item(j, 1))
	}
	run(t, s, history.OK, items...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()/4); err != nil {
		t.Fatal(err)
	}
	if _, err := history.Open(path, history.Options{}); !errors.Is(err, history.ErrDamaged) {
		t.Errorf("error = %v, want ErrDamaged", err)
	}
}
