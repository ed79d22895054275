package logging_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
)

var _ = func() bool { children["full"] = childFull; return true }()

// childFull logs to a disk of 64 KB, full and freed again, and prints what
// happened.
func childFull() error {
	dir := os.Getenv("LOGGING_DIR")
	// Else the mount would show outside too.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 24<<10), 0o600); err != nil {
		return err
	}
	var told problems
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log")}, OnError: told.add, StuckAfter: -1})
	if err != nil {
		return err
	}
	defer logs.Close()
	var res fullResult
	h := logs.Logger("full").Handler()
	write := func(n int) {
		for range n {
			if err := h.Handle(context.Background(), record("line", "n", res.Logged, "text", strings.Repeat("x", 40+res.Logged%150))); err != nil {
				if !errors.Is(err, syscall.ENOSPC) {
					fmt.Fprintln(os.Stderr, err)
				}
				res.Refused++
			}
			res.Logged++
		}
	}
	await := func(n int) int { // what is told comes from another goroutine
		for range 1000 {
			if told.count(syscall.ENOSPC) >= n {
				break
			}
			time.Sleep(time.Millisecond)
		}
		return told.count(syscall.ENOSPC)
	}
	write(500)
	res.Told = await(1)
	res.Check = logs.Check(context.Background()) != nil
	refused := res.Refused
	if err := os.Remove(filler); err != nil {
		return err
	}
	write(50)
	res.After = res.Refused - refused
	for range 1000 {
		if res.Healed = logs.Check(context.Background()) == nil; res.Healed {
			break
		}
		time.Sleep(time.Millisecond)
	}
	write(500) // full again
	res.Again = await(res.Told + 1)
	st := logs.Stats()
	res.Dropped, res.Written = int(st.Dropped), int(st.Written)
	data, err := os.ReadFile(filepath.Join(dir, "app.log"))
	if err != nil {
		return err
	}
	for l := range strings.Lines(string(data)) {
		if json.Valid([]byte(l)) && strings.HasSuffix(l, "\n") {
			res.Lines++
		} else {
			res.Torn++
		}
	}
	return json.NewEncoder(os.Stdout).Encode(res)
}

type fullResult struct {
	Logged, Refused, After, Told, Again, Dropped, Written, Lines, Torn int
	Check, Healed                                                      bool
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	testenv.Require(t, "netns")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := testenv.NamespaceCommand(self)
	cmd.Env = append(cmd.Environ(), "LOGGING_CHILD=full", "LOGGING_DIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var res fullResult
	if err := json.Unmarshal(out, &res); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", res)
	switch {
	case res.Refused == 0 || res.Lines == 0:
		t.Errorf("the disk did not get full: %+v", res)
	case res.Torn > 0:
		t.Errorf("%d torn lines", res.Torn)
	case res.Dropped != res.Logged-res.Lines || res.Dropped != res.Refused || res.Written != res.Lines:
		t.Errorf("counted %d dropped and %d written, %d of %d lines are there", res.Dropped, res.Written, res.Lines, res.Logged)
	case res.Told == 0 || res.Again <= res.Told:
		t.Errorf("told %d times, then %d; want more when it is full again", res.Told, res.Again)
	case res.After > 0 || !res.Healed || !res.Check:
		t.Errorf("not as before after space was freed: %+v", res)
	}
}
