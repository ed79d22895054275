package queue

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/patient"
)

// window is how many jobs are under way to the server at a time. With a server
// that syncs each message to its disk, publishing without a bound stalls; one
// at a time is 20 times slower.
const window = 200

// Published counts what [Queue.Publish] did.
type Published struct {
	// Stored are jobs that the server has acknowledged, Repeats those of them
	// that it had already.
	Stored, Repeats int
}

// Publish queues jobs. It waits while the queue is full or the server is away,
// until ctx ends. Each job that it counts is stored; a job after the count may
// be, too, if ctx ended before the server could say so. An error of jobs ends
// it, and what came before stays queued.
func (q *Queue) Publish(ctx context.Context, jobs iter.Seq2[Job, error]) (Published, error) {
	var total Published
	batch := make([]*nats.Msg, 0, window)
	for job, err := range jobs {
		if err == nil {
			job, err = job.withID()
		}
		if err != nil {
			return total, errors.Join(q.publishAll(ctx, batch, &total), err)
		}

		data, err := json.Marshal(job)
		if err != nil {
			return total, fmt.Errorf("queue: publish %s: %w", job.ID, err)
		}

		msg := nats.NewMsg(jobsPrefix + job.ID)
		msg.Data = data
		msg.Header.Set(nats.MsgIdHdr, job.ID)
		if job.replaces() { // no repeat of the time before
			msg.Header.Set(nats.MsgIdHdr, job.ID+".again-"+rand.Text())
		}

		if batch = append(batch, msg); len(batch) == window {
			if err := q.publishAll(ctx, batch, &total); err != nil {
				return total, err
			}
			batch = batch[:0]
		}
	}

	err := q.publishAll(ctx, batch, &total)
	return total, err
}

// ErrFull says that as many jobs wait as may.
var ErrFull = patient.ErrFull

// room returns how many of n jobs may be published now. Several publishers may
// exceed the bound by what they send at a time.
func (q *Queue) room(ctx context.Context, n int) (int, error) {
	if q.agreed.MaxJobs < 0 || n == 0 {
		return n, nil
	}
	ctx, cancel := context.WithTimeout(ctx, asyncTimeout)
	defer cancel()
	info, err := q.jobs.Info(ctx)
	if err != nil {
		return 0, err
	}
	room := q.agreed.MaxJobs - int64(info.State.Msgs)
	if room <= 0 {
		return 0, ErrFull
	}
	return min(n, int(room)), nil
}

// publishAll publishes one window, and of it again what did not arrive, until
// all is stored. The server knows by the ID what it has got before.
func (q *Queue) publishAll(ctx context.Context, batch []*nats.Msg, total *Published) error {
	return q.asker.Keep(ctx, "queue jobs", func() error {
		if err := context.Cause(ctx); err != nil {
			return err
		}

		room, err := q.room(ctx, len(batch))
		if err != nil {
			return err
		}

		futures := make([]jetstream.PubAckFuture, len(batch))
		errs := make([]error, len(batch))
		for i, msg := range batch[:room] {
			// A copy: the client puts its reply subject into what it sends.
			again := &nats.Msg{Subject: msg.Subject, Header: msg.Header, Data: msg.Data}
			if futures[i], errs[i] = q.js.PublishMsgAsync(again, jetstream.WithExpectStream(jobsStream)); errs[i] != nil {
				break // the connection is away
			}
		}

		var missing []*nats.Msg
		var passed, failed error
		for i, msg := range batch {
			if futures[i] == nil {
				missing = append(missing, msg)
				passed = errors.Join(passed, errs[i])
				continue
			}
			select {
			case ack := <-futures[i].Ok():
				total.Stored++
				if ack.Duplicate {
					total.Repeats++
				}
				continue
			case err := <-futures[i].Err():
				missing = append(missing, msg)
				if !patient.Final(err) {
					passed = err
				} else if failed == nil {
					failed = fmt.Errorf("queue: publish %s: %w", msg.Header.Get(nats.MsgIdHdr), err)
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}

		batch = missing
		if failed != nil {
			return failed
		}
		if passed == nil && room < len(futures) {
			passed = ErrFull
		}
		return passed
	})
}
