package logging_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/lifetest"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
)

func TestLife(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lifetest.Stress(t, lifetest.Subject{
		New: func() (any, error) {
			logs, err := logging.New(&logging.Options{
				File:   logging.FileOptions{Path: filepath.Join(dir, "app.log"), FlushEvery: time.Millisecond, Sync: "1ms"},
				Sample: logging.SampleOptions{First: 1}, Sink: nowhere{}, Ship: quickly(logging.ShipperOptions{}),
			})
			if err != nil {
				return nil, err
			}
			for range 3 {
				logs.Logger("a").Info("equal")
			}
			return logs, logs.SetLevel("a", 0, time.Hour)
		},
		ErrRunning: logging.ErrRunning,
		ErrClosed:  logging.ErrClosed,
	})
}

// childTerm logs and ships until SIGTERM, then ends as a service does.
func childTerm() error {
	sink, err := httpjson.New(&httpjson.Options{URL: os.Getenv("LOGGING_URL"), IDField: "event_id"})
	if err != nil {
		return err
	}
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: os.Getenv("LOGGING_PATH"), MaxSegmentBytes: 64 << 10}, Sink: sink, Ship: logging.ShipperOptions{MaxBatchBytes: 16 << 10}})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := logs.Logger("child")
	if os.Getenv("LOGGING_FORM") == "defers" {
		return termDefers(ctx, logs, log)
	}
	done := make(chan error, 1)
	go func() { done <- logs.Run(ctx) }()
	n := 0
	for ; ctx.Err() == nil; n++ {
		log.Info("line", "n", n)
		if n == 1000 {
			fmt.Println("ready")
		}
	}
	if err := <-done; err != nil {
		return err
	}
	log.Info("line", "n", n) // after Run
	if err := logs.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"logged": n + 1, "stats": logs.Stats().Ship.Events})
}

// termDefers ends as a program does whose only call is a deferred Close.
func termDefers(ctx context.Context, logs *logging.Logs, log *slog.Logger) (err error) {
	n := 0
	defer func() {
		err = errors.Join(err, logs.Close())
		err = errors.Join(err, json.NewEncoder(os.Stdout).Encode(map[string]any{"logged": n, "stats": logs.Stats().Ship.Events}))
	}()
	for ; ctx.Err() == nil; n++ {
		log.Info("line", "n", n)
		if n == 1000 {
			fmt.Println("ready")
		}
	}
	log.Info("the last words", "n", n)
	n++
	return nil
}

// TestTerminate ends a process by SIGTERM, wired in both usual forms: all it
// logged is at the receiver, once, and nothing is left.
func TestTerminate(t *testing.T) {
	t.Parallel()
	testenv.Signals(t)
	for _, form := range []string{"defers", "errgroup"} {
		for i := range testenv.Reps(20) {
			t.Run(fmt.Sprint(form, i), func(t *testing.T) { terminate(t, form) })
		}
	}
}

func terminate(t *testing.T, form string) {
	r := newReceiver(t)
	dir := t.TempDir()
	cmd := child(t, "term", "LOGGING_FORM="+form, "LOGGING_URL="+r.URL, "LOGGING_PATH="+filepath.Join(dir, "app.log"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(out)
	if !s.Scan() || s.Text() != "ready" {
		t.Fatalf("the child says %q; %v", s.Text(), cmd.Wait())
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}

	var said struct{ Logged, Stats int }
	if !s.Scan() {
		t.Fatal("the child does not report")
	}
	if err := json.Unmarshal(s.Bytes(), &said); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	lost, repeated := r.lost(said.Logged)
	if len(lost) > 0 || repeated > 0 || len(r.n) != said.Logged || said.Stats != said.Logged {
		t.Errorf("%d lost, %d repeated of %d; the child counts %d", len(lost), repeated, said.Logged, said.Stats)
	}
	left, err := filepath.Glob(filepath.Join(dir, "app*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
