package crew_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/broker"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/crew"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

func TestCrew(t *testing.T) {
	t.Parallel()
	s, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: "127.0.0.1:0", Dir: t.TempDir(), DisableSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	nc, err := s.Connect(t.Context(), t.Name(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := crew.Open(t.Context(), js, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Members(t.Context(), time.Now()); len(got) != 0 || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		// Names may hold what keys may not.
		done <- c.Run(ctx, crew.Report{Name: "w 1.*>", Host: "h"}, func() queue.Counts { return queue.Counts{Done: 7} })
	}()
	state := func(now time.Time, want string) {
		t.Helper()
		testenv.Eventually(t, func() error {
			got, err := c.Members(t.Context(), now)
			if err == nil && (len(got) != 1 || got[0].State != want || got[0].Name != "w 1.*>" || got[0].Counts.Done != 7) {
				err = fmt.Errorf("members %+v, want one that is %s", got, want)
			}
			return err
		})
	}
	state(time.Now(), "working")
	state(time.Now().Add(time.Minute), "silent")
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	state(time.Now(), "stopped")
}
