package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/patient"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
)

// withQueue does something with the queue of a hub.
func withQueue(ctx context.Context, e env, do func(*queue.Queue) error) error {
	log := slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	starting, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("not within %v", startWithin))
	defer cancel()
	asker := patient.New(log)
	nc, err := dial(starting, e.settings, "client", asker)
	if err != nil {
		return err
	}
	defer nc.Close()
	q, err := queue.Open(starting, nc, asker)
	if err != nil {
		return err
	}
	return do(q)
}

// submit queues the addresses in a file, or of the standard input.
func submit(ctx context.Context, e env) error {
	if len(e.args) != 1 {
		return errors.New("submit takes one file of addresses, one a line, or - for the standard input; flags come before it")
	}
	if e.settings.End && (e.settings.Every > 0 || e.settings.Again) {
		return errors.New("submit -end ends schedules: it goes with neither -every nor -again")
	}

	var in io.Reader = e.stdin
	if e.args[0] != "-" {
		f, err := os.Open(e.args[0])
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // it was read only
		in = f
	}

	return withQueue(ctx, e, func(q *queue.Queue) error {
		jobs := readJobs(in, queue.Job{Again: e.settings.Again, Every: e.settings.Every})
		if e.settings.End {
			n, err := q.Unschedule(ctx, jobs)
			_, _ = fmt.Fprintf(e.stdout, "fleet: %d schedules ended\n", n)
			return err
		}
		done, err := q.Publish(ctx, jobs)
		_, _ = fmt.Fprintf(e.stdout, "fleet: %d jobs stored, %d of them were there already\n", done.Stored, done.Repeats)
		return err
	})
}

// readJobs reads addresses, one a line. Empty lines and those that begin with
// # are skipped. The jobs are like one but for their address. An error names its
// line.
func readJobs(in io.Reader, like queue.Job) iter.Seq2[queue.Job, error] {
	return func(yield func(queue.Job, error) bool) {
		lines := bufio.NewReader(in)
		for number := 1; ; number++ {
			line, end := lines.ReadString('\n')
			if end != nil && !errors.Is(end, io.EOF) {
				yield(queue.Job{}, fmt.Errorf("line %d: %w", number, end))
				return
			}

			if number == 1 {
				line = strings.TrimPrefix(line, "\ufeff") // as editors of Windows write it
			}

			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				if end != nil {
					return
				}
				continue
			}

			job := like
			job.URL = line
			if err := queue.Check(job); err != nil {
				yield(queue.Job{}, fmt.Errorf("line %d: %w", number, err))
				return
			}
			if !yield(job, nil) || end != nil {
				return
			}
		}
	}
}

// results prints what was fetched.
func results(ctx context.Context, e env) error {
	return withQueue(ctx, e, func(q *queue.Queue) error {
		out := json.NewEncoder(e.stdout)
		for r, err := range q.Results(ctx) {
			if err != nil {
				return err
			}

			line := struct {
				ID          string    `json:"id"`
				URL         string    `json:"url"`
				FinalURL    string    `json:"final_url,omitempty"`
				Status      int       `json:"status"`
				ContentType string    `json:"content_type,omitempty"`
				Bytes       int       `json:"bytes"`
				Worker      string    `json:"worker"`
				Time        time.Time `json:"time"`
				Body        []byte    `json:"body,omitempty"` // in base64: a page need not be text
			}{r.ID, r.URL, r.FinalURL, r.Status, r.ContentType, len(r.Body), r.Worker, r.Time, nil}

			if line.FinalURL == line.URL {
				line.FinalURL = ""
			}
			if e.settings.Bodies {
				line.Body = r.Body
			}
			if err := out.Encode(line); err != nil {
				return err
			}
		}

		return nil
	})
}

// dead prints what was given up, and with -requeue tries it again.
func dead(ctx context.Context, e env) error {
	return withQueue(ctx, e, func(q *queue.Queue) error {
		if e.settings.Requeue {
			n, err := q.Requeue(ctx)
			_, _ = fmt.Fprintf(e.stdout, "fleet: %d jobs put back\n", n)
			return err
		}

		out := json.NewEncoder(e.stdout)
		for d, err := range q.DeadLetters(ctx) {
			if err != nil {
				return err
			}
			if err := out.Encode(struct {
				ID     string    `json:"id"`
				URL    string    `json:"url"`
				Reason string    `json:"reason"`
				Tries  int       `json:"tries"`
				Worker string    `json:"worker"`
				Time   time.Time `json:"time"`
			}{d.ID, d.URL, d.Reason, d.Tries, d.Worker, d.Time}); err != nil {
				return err
			}
		}

		return nil
	})
}
