package queue

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Stats are the queue's numbers.
type Stats struct {
	// Waiting are jobs that no worker has, and Resting those of them whose time
	// has not come. Working are at workers.
	Waiting, Resting, Working int64
	// Results and Dead are stored.
	Results, Dead int64
}

// Total returns how many jobs there are and were.
func (s Stats) Total() int64 { return s.Waiting + s.Working + s.Results + s.Dead }

// Ready reports what keeps the queue from taking jobs.
func (q *Queue) Ready(ctx context.Context) error {
	st, err := q.Stats(ctx)
	if err == nil && q.agreed.MaxJobs >= 0 && st.Waiting+st.Working >= q.agreed.MaxJobs {
		err = fmt.Errorf("%w: %d jobs wait", ErrFull, st.Waiting)
	}
	return err
}

// Stats asks the server for the queue's numbers.
func (q *Queue) Stats(ctx context.Context) (Stats, error) {
	var s Stats
	for _, part := range []struct {
		stream jetstream.Stream
		into   *int64
	}{{q.jobs, &s.Waiting}, {q.results, &s.Results}, {q.dead, &s.Dead}} {
		info, err := part.stream.Info(ctx)
		if err != nil {
			return Stats{}, fmt.Errorf("queue: stats: %w", err)
		}
		*part.into = int64(info.State.Msgs)
	}

	info, err := q.consumer.Info(ctx)
	if err != nil {
		return Stats{}, fmt.Errorf("queue: stats: %w", err)
	}
	s.Working = int64(info.NumAckPending)
	s.Waiting = max(0, s.Waiting-s.Working) // the two were not asked at one moment
	s.Resting = max(0, s.Waiting-int64(info.NumPending))
	return s, nil
}
