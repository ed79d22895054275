package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/site"
)

// demo runs a hub with workers on a site of its own until all is fetched.
func demo(ctx context.Context, e env) (err error) {
	pages, err := site.Start(ctx, 20*time.Millisecond)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pages.Close()) }()

	s := &e.settings
	if s.DataDir == defaults().DataDir {
		if s.DataDir, err = os.MkdirTemp("", "fleet-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(s.DataDir)) }()
	}

	if s.Workers == 0 {
		s.Workers = 3
	}
	if s.Host == defaults().Host {
		s.Host = Host{PerSecond: 200, Burst: 10}
	}
	if s.NATS.Listen == defaults().NATS.Listen {
		s.NATS.Listen = "127.0.0.1:0"
	}

	s.Worker.Name = "demo"
	s.Log.Level = "error" // pages that are missing are part of it
	s.allowLoopback()

	return withHub(ctx, e, func(ctx context.Context, h running) error {
		started := time.Now()
		done, err := h.queue.Publish(ctx, pagesOf(pages, s.Jobs))
		if err != nil {
			return stopped(ctx, err)
		}
		_, _ = fmt.Fprintf(e.stdout, "fleet: %d jobs queued\n", done.Stored)

		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()

		for {
			st, err := h.queue.Stats(ctx)
			if err == nil && st.Waiting+st.Working == 0 {
				took := time.Since(started)
				_, _ = fmt.Fprintf(e.stdout, "fleet: %d results and %d given up in %.1fs, %.0f pages a second\n",
					st.Results, st.Dead, took.Seconds(), float64(st.Results+st.Dead)/took.Seconds())
				return nil
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

func pagesOf(pages *site.Site, n int) iter.Seq2[queue.Job, error] {
	return func(yield func(queue.Job, error) bool) {
		for i := range n {
			if !yield(queue.Job{ID: fmt.Sprintf("page-%d", i), URL: pages.URL(i)}, nil) {
				return
			}
		}
	}
}
