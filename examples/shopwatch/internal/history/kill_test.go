package history_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// writeUntilKilled is the other process of TestKill: it changes the price of
// one item in each run, and says so on standard output after Put returned.
func writeUntilKilled(path string) {
	s, err := history.Open(path, history.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	items, err := s.Items(1)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	price := int64(1000)
	if len(items) > 0 {
		price = items[0].Price.Cents
	}
	for {
		r, err := s.Begin("start")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		price++
		if _, _, err := s.Put(r.ID, history.Page{URL: site, Items: []extract.Item{item(1, price)}}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(price)
		if _, _, err := s.Finish(r.ID, history.OK, nil); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// Every price that was stored before the kill is in the history, and a notice
// is owed for each change.
func TestKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.db")
	stored := map[int64]bool{}
	for range testenv.Reps(100) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "HISTORY_TEST_WRITE="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatal("the writer ended by itself")
		}
		timer := time.AfterFunc(time.Duration(rand.IntN(30))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for ok := true; ok; ok = lines.Scan() {
			n, err := strconv.ParseInt(strings.TrimSpace(lines.Text()), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			stored[n] = true
		}
		_ = cmd.Wait() // killed, as intended
		timer.Stop()
	}

	s := open(t, path, history.Options{})
	items, err := s.Items(-1)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[int64]bool{}
	for _, p := range items[0].Points {
		kept[p.Price.Cents] = true
	}
	owed := map[int64]bool{items[0].Points[0].Price.Cents: true} // the first price is no change
	for _, n := range pending(t, s) {
		for _, c := range n.Changes {
			owed[c.New.Cents] = true
		}
	}
	for n := range stored {
		if len(kept) < 1000 && !kept[n] {
			t.Errorf("price %d was stored and is not in the history", n)
		}
		if !owed[n] {
			t.Errorf("price %d was stored and no notice is owed", n)
		}
	}
	runs, err := s.Runs(10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		if r.Status == history.Running {
			t.Errorf("run %d is still marked as running", r.ID)
		}
	}
	t.Logf("%d changes in %d runs", len(stored), len(runs))
}
