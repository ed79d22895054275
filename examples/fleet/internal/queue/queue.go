package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/patient"
)

const (
	jobsStream    = "FLEET_JOBS"
	resultsStream = "FLEET_RESULTS"
	deadStream    = "FLEET_DEAD"
	consumerName  = "workers"

	jobsPrefix    = "fleet.jobs."
	restPrefix    = "fleet.rest."
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
	// PerSecond is how many requests a second one host gets from all workers
	// together, and Burst how many may come at once after a pause. Default to 5
	// and 1.
	PerSecond float64
	Burst     int
	// JobTimeout bounds one try, from the host's turn on. Defaults to 5m.
	JobTimeout time.Duration
	// ResultsMaxAge is how long a result is kept, and ResultsMaxBytes how much
	// all take; beyond it the oldest go. 0: no bound. A job of a page whose
	// result has gone is fetched anew.
	ResultsMaxAge   time.Duration
	ResultsMaxBytes int64
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
	if o.PerSecond == 0 {
		o.PerSecond = 5
	}
	if o.Burst == 0 {
		o.Burst = 1
	}
	if o.JobTimeout == 0 {
		o.JobTimeout = 5 * time.Minute
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
		{!(o.PerSecond >= 0.001 && o.PerSecond <= 1e6), "PerSecond: 0.001 to 1,000,000"},
		{o.Burst < 1, "Burst: at least 1"},
		{o.ResultsMaxAge < 0 || o.ResultsMaxAge > 0 && o.ResultsMaxAge < time.Second, "ResultsMaxAge: 0 for no bound, or at least 1s"},
		{o.ResultsMaxBytes < 0, "ResultsMaxBytes: 0 for no bound"},
		{o.JobTimeout < time.Millisecond, "JobTimeout: at least 1ms"},
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
	js       jetstream.JetStream
	jobs     jetstream.Stream
	results  jetstream.Stream
	dead     jetstream.Stream
	consumer jetstream.Consumer
	agreed   Options // as the server keeps them
	asker    *patient.Asker
	log      *slog.Logger
}

// Agreed returns the options that the server keeps for all workers.
func (q *Queue) Agreed() Options { return q.agreed }

// asyncTimeout bounds the wait for the acknowledgement of one message.
const asyncTimeout = 5 * time.Second

// Create makes the streams, or changes them to these options. One process of
// the fleet does it. What is waited for is told by asker; nil tells nobody.
func Create(ctx context.Context, nc *nats.Conn, opts Options, asker *patient.Asker) (*Queue, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}

	asker = patient.Or(asker)
	if err := checkServer(ctx, nc, asker.Logger()); err != nil {
		return nil, err
	}

	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(asyncTimeout))
	if err != nil {
		return nil, fmt.Errorf("queue: create: %w", err)
	}

	for _, cfg := range opts.streams() {
		if err := asker.Ask(ctx, "create "+cfg.Name, func(ctx context.Context) error {
			_, err := js.CreateOrUpdateStream(ctx, cfg)
			return err
		}); err != nil {
			return nil, fmt.Errorf("queue: create %s: %w", cfg.Name, err)
		}
	}

	consumer := jetstream.ConsumerConfig{
		Durable: consumerName, AckPolicy: jetstream.AckExplicitPolicy, AckWait: opts.AckWait, MaxAckPending: opts.MaxAckPending,
		// Jobs that rest stand in the stream, too, and are nobody's yet.
		FilterSubject: jobsPrefix + ">",
		// Without a bound here: a message that reached it would stay in the
		// stream, and only a notice that is not kept would tell. Workers
		// count instead, see Work.
		MaxDeliver: -1,
		Metadata:   opts.metadata(),
	}
	if err := asker.Ask(ctx, "create the consumer", func(ctx context.Context) error {
		_, err := js.CreateOrUpdateConsumer(ctx, jobsStream, consumer)
		return err
	}); err != nil {
		return nil, fmt.Errorf("queue: create consumer %s: %w", consumerName, err)
	}
	return Open(ctx, nc, asker)
}

// streams returns what the queue is made of.
func (o Options) streams() []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			// A stream with scheduled messages may not refuse new ones, so
			// publishers look at how many there are.
			Name: jobsStream, Subjects: []string{jobsPrefix + ">", restPrefix + ">"}, Retention: jetstream.WorkQueuePolicy,
			MaxMsgs: -1, AllowMsgSchedules: true, AllowRollup: true,
			Duplicates: o.Duplicates, Storage: jetstream.FileStorage, Replicas: o.Replicas,
		},
		{
			Name: resultsStream, Subjects: []string{resultsPrefix + ">"}, Retention: jetstream.LimitsPolicy,
			MaxAge: o.ResultsMaxAge, MaxBytes: cmp.Or(o.ResultsMaxBytes, -1), MaxMsgsPerSubject: 1, // one that is fetched again replaces the other
			Duplicates: duplicates(o), Storage: jetstream.FileStorage, Replicas: o.Replicas, AllowDirect: true,
		},
		{
			Name: deadStream, Subjects: []string{deadPrefix + ">"}, Retention: jetstream.LimitsPolicy,
			Duplicates: o.Duplicates, Storage: jetstream.FileStorage, Replicas: o.Replicas, AllowDirect: true,
		},
	}
}

// duplicates is how long results are remembered by ID: no longer than they are
// kept, as the server asks for.
func duplicates(o Options) time.Duration {
	if o.ResultsMaxAge > 0 {
		return min(o.Duplicates, o.ResultsMaxAge)
	}
	return o.Duplicates
}

// needServer is the first version of nats-server with scheduled messages.
var needServer = [2]int{2, 12}

// checkServer refuses a server that is too old, and says that one has no
// JetStream: others of its cluster may. One that is away cannot tell.
func checkServer(ctx context.Context, nc *nats.Conn, log *slog.Logger) error {
	version := nc.ConnectedServerVersion()
	if has, _ := nc.ConnectedServerJetStream(); !has && version != "" {
		log.WarnContext(ctx, "the server has JetStream off: the queue is there only if another server of its cluster has it", "server", nc.ConnectedUrlRedacted())
	}
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d.", &major, &minor); version == "" || err != nil {
		return nil
	}
	if major > needServer[0] || major == needServer[0] && minor >= needServer[1] {
		return nil
	}
	return fmt.Errorf("queue: the server is nats-server %s, and %d.%d or newer is needed: jobs that rest are scheduled messages", version, needServer[0], needServer[1])
}

// The keys under which the consumer holds what all workers agree on.
const (
	maxDeliverKey = "max_deliver"
	maxJobsKey    = "max_jobs"
	replicasKey   = "replicas"
	perSecondKey  = "per_second"
	burstKey      = "burst"
	jobTimeoutKey = "job_timeout"
)

func (o Options) metadata() map[string]string {
	return map[string]string{
		maxDeliverKey: strconv.Itoa(o.MaxDeliver), maxJobsKey: strconv.FormatInt(o.MaxJobs, 10), replicasKey: strconv.Itoa(o.Replicas),
		perSecondKey: strconv.FormatFloat(o.PerSecond, 'g', -1, 64), burstKey: strconv.Itoa(o.Burst), jobTimeoutKey: o.JobTimeout.String(),
	}
}

// optionsOf reads what all workers agree on.
func optionsOf(cfg jetstream.ConsumerConfig) (Options, error) {
	o := Options{AckWait: cfg.AckWait, MaxAckPending: cfg.MaxAckPending}
	var errs [6]error
	o.MaxDeliver, errs[0] = strconv.Atoi(cfg.Metadata[maxDeliverKey])
	o.MaxJobs, errs[1] = strconv.ParseInt(cfg.Metadata[maxJobsKey], 10, 64)
	o.Replicas, errs[2] = strconv.Atoi(cfg.Metadata[replicasKey])
	o.PerSecond, errs[3] = strconv.ParseFloat(cfg.Metadata[perSecondKey], 64)
	o.Burst, errs[4] = strconv.Atoi(cfg.Metadata[burstKey])
	o.JobTimeout, errs[5] = time.ParseDuration(cfg.Metadata[jobTimeoutKey])
	if errors.Join(errs[:]...) != nil {
		return o, fmt.Errorf("consumer %s lacks what workers agree on: it was made by another program, or an older hub", consumerName)
	}
	return o, nil
}

// Open opens the queue that another process creates, and waits until it is
// there or ctx ends. A nil asker tells nobody.
func Open(ctx context.Context, nc *nats.Conn, asker *patient.Asker) (*Queue, error) {
	asker = patient.Or(asker)
	if err := checkServer(ctx, nc, asker.Logger()); err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(asyncTimeout))
	if err != nil {
		return nil, fmt.Errorf("queue: open: %w", err)
	}

	q := &Queue{js: js, asker: asker, log: asker.Logger()}
	if err := q.asker.Ask(ctx, "open the queue", q.find); err != nil {
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
	q.agreed, err = optionsOf(q.consumer.CachedInfo().Config)
	return err
}
