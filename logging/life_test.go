package logging_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/lifetest"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
)

func TestLife(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lifetest.Stress(t, lifetest.Subject{
		New: func() (any, error) {
			logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log"), FlushEvery: time.Millisecond, Sync: "1ms"},
				Sample: logging.SampleOptions{First: 1}, Sink: nowhere{}, Ship: quickly(logging.ShipperOptions{})})
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
	done := make(chan error, 1)
	go func() { done <- logs.Run(ctx) }()
	log := logs.Logger("child")
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
	bound, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	res, err := logs.SendBulk(bound)
	if err != nil {
		return err
	}
	if err := logs.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"logged": n + 1, "stats": logs.Stats().Ship.Events, "result": res})
}

// TestTerminate ends a process by SIGTERM: all it logged is at the receiver,
// and its counts are exact.
func TestTerminate(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	dir := t.TempDir()
	cmd := child(t, "term", "LOGGING_URL="+r.URL, "LOGGING_PATH="+filepath.Join(dir, "app.log"))
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
	var said struct {
		Logged, Stats int
		Result        logging.Result
	}
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
	if len(lost) > 0 || repeated > 0 || len(r.n) != said.Logged {
		t.Errorf("%d lost, %d repeated of %d", len(lost), repeated, said.Logged)
	}
	if said.Stats != said.Logged || said.Result.Remaining != 0 {
		t.Errorf("the child counts %+v", said)
	}
	left, err := filepath.Glob(filepath.Join(dir, "app*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	t.Log(strconv.Itoa(said.Logged), "records")
}
