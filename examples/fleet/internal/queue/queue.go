package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svcblocks/svcblocks/internal/backoff"
)

const (
	jobsStream    = "FLEET_JOBS"
	resultsStream = "FLEET_RESULTS"
	deadStream    = "FLEET_DEAD"
	consumerName  = "workers"

	jobsPrefix    = "fleet.jobs."
	resultsPrefix = "fleet.results."
	deadPrefix    = "fleet.dead."
)

// Options are the settings of a queue that [Create] makes. Workers read them
// from the server, so that all agree. The zero Options are the defaults.
type Options struct {
	// AckWait is how long a worker may be silent about a job before another
	// gets it. Workers report three times as often. Defaults to 30s.
	AckWait time.Duration
	// MaxDeliver is how often a job is tried. Defaults to 5.
	MaxDeliver int
	// MaxAckPending is how many jobs are out at workers at a time: at least
	// the sum of what they do at a time. Defaults to 1000.
	MaxAckPending int
	// MaxJobs is how many jobs may wait; publishers wait beyond it. Defaults
	// to 1,000,000; negative: no bound.
	MaxJobs int64
	// Duplicates is how long the ID of a published job is remembered by the
	// server. A repeat after that is found when it is worked at. Defaults to
	// 10m.
	Duplicates time.Duration
	// Replicas is how many servers of a cluster keep each stream. Defaults to 1.
	Replicas int
}

func (o Options) withDefaults() (Options, error) {
	if o.AckWait == 0 {
		o.AckWait = 30 * time.Second
	}
	if o.MaxDeliver == 0 {
		o.MaxDeliver = 5
	}
	if o.MaxAckPending == 0 {
		o.MaxAckPending = 1000
	}
	if o.MaxJobs == 0 {
		o.MaxJobs = 1_000_000
	}
	if o.MaxJobs < 0 {
		o.MaxJobs = -1
	}
	if o.Duplicates == 0 {
		o.Duplicates = 10 * time.Minute
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	var errs []error
	for _, check := range []struct {
		bad  bool
		want string
	}{
		{o.AckWait < 100*time.Millisecond, "AckWait: at least 100ms"},
		{o.MaxDeliver < 1, "MaxDeliver: at least 1"},
		{o.MaxAckPending < 1, "MaxAckPending: at least 1"},
		{o.Duplicates < 100*time.Millisecond, "Duplicates: at least 100ms"},
		{o.Replicas < 1 || o.Replicas > 5, "Replicas: 1 to 5"},
	} {
		if check.bad {
			errs = append(errs, errors.New(check.want))
		}
	}
	if len(errs) > 0 {
		return o, fmt.Errorf("queue: options: %w", errors.Join(errs...))
	}
	return o, nil
}

// Queue is the streams and their consumer. Make it with [Create] or [Open].
// Safe for concurrent use.
type Queue struct {
	js         jetstream.JetStream
	jobs       jetstream.Stream
	results    jetstream.Stream
	dead       jetstream.Stream
	consumer   jetstream.Consumer
	ackWait    time.Duration
	maxDeliver int
	log        *slog.Logger
}

// asyncTimeout bounds the wait for the acknowledgement of one message.
const asyncTimeout = 5 * time.Second

// Create makes the streams, or changes them to these options. One process of
// the fleet does it. Nil logger discards.
func Create(ctx context.Context, nc *nats.Conn, opts Options, logger *slog.Logger) (*Queue, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(asyncTimeout))
	if err != nil {
		return nil, fmt.Errorf("queue: create: %w", err)
	}
	streams := []jetstream.StreamConfig{
		{
			Name: jobsStream, Subjects: []string{jobsPrefix + ">"}, Retention: jetstream.WorkQueuePolicy,
			// Full means that publishers wait, not that jobs fall out at the
			// other end.
			Discard: jetstream.DiscardNew, MaxMsgs: opts.MaxJobs,
			Duplicates: opts.Duplicates, Storage: jetstream.FileStorage, Replicas: opts.Replicas,
		},
		{
			Name: resultsStream, Subjects: []string{resultsPrefix + ">"}, Retention: jetstream.LimitsPolicy,
			Duplicates: opts.Duplicates, Storage: jetstream.FileStorage, Replicas: opts.Replicas, AllowDirect: true,
		},
		{
			Name: deadStream, Subjects: []string{deadPrefix + ">"}, Retention: jetstream.LimitsPolicy,
			Duplicates: opts.Duplicates, Storage: jetstream.FileStorage, Replicas: opts.Replicas, AllowDirect: true,
		},
	}
	for _, cfg := range streams {
		if err := soon(ctx, func(ctx context.Context) error {
			_, err := js.CreateOrUpdateStream(ctx, cfg)
			return err
		}); err != nil {
			return nil, fmt.Errorf("queue: create %s: %w", cfg.Name, err)
		}
	}
	consumer := jetstream.ConsumerConfig{
		Durable: consumerName, AckPolicy: jetstream.AckExplicitPolicy, AckWait: opts.AckWait, MaxAckPending: opts.MaxAckPending,
		// Without a bound here: a message that reached it would stay in the
		// stream, and only a notice that is not kept would tell. Workers
		// count instead, see Work.
		MaxDeliver: -1,
		Metadata:   map[string]string{maxDeliverKey: strconv.Itoa(opts.MaxDeliver)},
	}
	if err := soon(ctx, func(ctx context.Context) error {
		_, err := js.CreateOrUpdateConsumer(ctx, jobsStream, consumer)
		return err
	}); err != nil {
		return nil, fmt.Errorf("queue: create consumer %s: %w", consumerName, err)
	}
	return Open(ctx, nc, logger)
}

const maxDeliverKey = "max_deliver"

// Open opens the queue that another process creates, and waits until it is
// there or ctx ends. Nil logger discards.
func Open(ctx context.Context, nc *nats.Conn, logger *slog.Logger) (*Queue, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(asyncTimeout))
	if err != nil {
		return nil, fmt.Errorf("queue: open: %w", err)
	}
	q := &Queue{js: js, log: logger}
	err = soon(ctx, q.find)
	if err != nil {
		return nil, fmt.Errorf("queue: open: %w (is the hub running, and does it use the same server?)", err)
	}
	return q, nil
}

// find looks for the parts of the queue.
func (q *Queue) find(ctx context.Context) (err error) {
	for _, part := range []struct {
		name string
		into *jetstream.Stream
	}{{jobsStream, &q.jobs}, {resultsStream, &q.results}, {deadStream, &q.dead}} {
		if *part.into, err = q.js.Stream(ctx, part.name); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if q.consumer, err = q.jobs.Consumer(ctx, consumerName); err != nil {
		return fmt.Errorf("consumer %s: %w", consumerName, err)
	}
	cfg := q.consumer.CachedInfo().Config
	q.ackWait = cfg.AckWait
	q.maxDeliver, err = strconv.Atoi(cfg.Metadata[maxDeliverKey])
	if err != nil {
		return fmt.Errorf("consumer %s has no %s: it was made by another program", consumerName, maxDeliverKey)
	}
	return nil
}

// soon is patiently for a request that a cluster without a leader leaves
// unanswered: each gets a few seconds.
func soon(ctx context.Context, f func(context.Context) error) error {
	return patiently(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, asyncTimeout)
		defer cancel()
		return f(ctx)
	})
}

// patiently calls f until it works, fails for good, or ctx ends.
func patiently(ctx context.Context, f func() error) error {
	policy := backoff.Policy{Base: 50 * time.Millisecond, Max: 2 * time.Second}
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil || !passing(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(policy.Delay(attempt)):
		}
	}
}

// passing reports whether an error of the server or the connection may pass:
// it is away or starting, the stream is full, or its leader is being elected.
func passing(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch api.ErrorCode {
		case storeFailed, inProcess, jetstream.JSErrCodeStreamNotFound, jetstream.JSErrCodeConsumerNotFound, jetstream.JSErrCodeConsumerDoesNotExist:
			return true
		}
		return api.Code >= 500
	}
	if js, ok := errors.AsType[jetstream.JetStreamError](err); ok && js.APIError() != nil {
		code := js.APIError().ErrorCode
		return code == jetstream.JSErrCodeStreamNotFound || code == jetstream.JSErrCodeConsumerNotFound || js.APIError().Code >= 500
	}
	for _, target := range []error{
		nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded, nats.ErrNoServers,
		jetstream.ErrNoStreamResponse, jetstream.ErrAsyncPublishTimeout, jetstream.ErrTooManyStalledMsgs, context.DeadlineExceeded,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// storeFailed is the server's code for a stream that takes no more
// (errors.json in nats-server, JSStreamStoreFailedF).
const storeFailed jetstream.ErrorCode = 10077

// inProcess is the server's code for a message whose first copy it has not
// stored yet, as while a leader is elected (JSStreamDuplicateMessageConflict).
const inProcess jetstream.ErrorCode = 10158
