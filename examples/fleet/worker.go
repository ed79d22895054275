package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/broker"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/crew"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/hostlimit"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/patient"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/scrape"
)

// openLog opens the log. Its console goes to stderr if the settings name no
// file.
func openLog(s Settings) (*logging.Logs, error) {
	opts := s.Log
	opts.Secrets = []secret.Secret{s.NATS.Token, s.Mail.Password, s.Slack.Webhook}
	return logging.New(&opts)
}

// dial connects to the queue's server, or waits until it is there.
func dial(ctx context.Context, s Settings, name string, asker *patient.Asker) (*nats.Conn, error) {
	return broker.Dial(ctx, broker.DialOptions{
		URL: s.NATS.address(), Name: "fleet " + name, Token: s.NATS.Token, Credentials: s.NATS.Credentials, CA: s.NATS.CA, Asker: asker,
	})
}

// worker works until ctx ends.
func worker(ctx context.Context, e env) (err error) {
	logs, err := openLog(e.settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	log := logs.Logger("worker")
	asker := patient.New(log)
	nc, err := dial(ctx, e.settings, "worker", asker)
	if err != nil {
		return stopped(ctx, err)
	}
	defer nc.Close()
	_, _ = fmt.Fprintf(e.stdout, "fleet: worker %s at %s\n", e.settings.workerName(), nc.ConnectedUrlRedacted())
	return stopped(ctx, work(ctx, e.settings, nc, asker))
}

// stopped turns an error that the end of ctx has brought into none.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func (s Settings) workerName() string {
	if s.Worker.Name != "" {
		return s.Worker.Name
	}
	return fmt.Sprintf("%s-%d", hostname(), os.Getpid())
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// work takes jobs by nc and fetches them, until ctx ends.
func work(ctx context.Context, s Settings, nc *nats.Conn, asker *patient.Asker) (err error) {
	log := asker.Logger()
	q, err := queue.Open(ctx, nc, asker)
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}

	agreed := q.Agreed() // by the hub: who joins changes nothing
	limiter, err := hostlimit.New(ctx, js, hostlimit.Options{PerSecond: agreed.PerSecond, Burst: agreed.Burst, Replicas: agreed.Replicas, Asker: asker})
	if err != nil {
		return err
	}
	members, err := crew.Open(ctx, js, agreed.Replicas, asker)
	if err != nil {
		return err
	}

	client, err := newClient(ctx, s, queue.MaxBodyBytes(nc), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()

	// With the turn of the host before each request, redirects included.
	fetching := &http.Client{Transport: limiter.Transport(client.Transport())}

	w, err := q.Worker(fetch(fetching, limiter), queue.WorkerOptions{
		Name: s.workerName(), Concurrency: s.Worker.Concurrency, DrainTimeout: s.Worker.DrainTimeout,
		Retry: backoff.Policy{Base: s.Worker.RetryBase}, Turn: turn(limiter), Now: limiter.Now,
	})
	if err != nil {
		return err
	}

	log.InfoContext(ctx, "worker started", "worker", s.workerName(), "concurrency", s.Worker.Concurrency)
	// It reports until it has put its last job away.
	reporting, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer end()
		return w.Run(ctx)
	})

	group.Go(func() error {
		return members.Run(reporting, crew.Report{Name: s.workerName(), Host: hostname()}, w.Counts)
	})
	err = group.Wait()
	c := w.Counts()
	log.InfoContext(ctx, "worker stopped", "worker", s.workerName(), "done", c.Done, "repeats", c.Repeats, "dead", c.Dead)
	return err
}

// newClient returns the scrape client of a worker. Hosts are spared by the
// whole fleet, so the client's own limits are off; and failed jobs go back into
// the queue, where another worker may have them.
func newClient(ctx context.Context, s Settings, most int64, log *slog.Logger) (*scrape.Client, error) {
	opts := s.Scrape
	if opts.Limits.MaxBodyBytes > most {
		return nil, fmt.Errorf("scrape.limits.max_body_bytes %d: the server takes pages up to %d (its max_payload)", opts.Limits.MaxBodyBytes, most)
	}
	if opts.Limits.MaxBodyBytes < 0 { // the default of the fleet
		opts.Limits.MaxBodyBytes = most
	}

	opts.HostLimit = scrape.HostLimit{PerSecond: -1, InFlight: -1}
	opts.Retry = scrape.Retry{Attempts: -1}
	opts.Logger = log
	opts.DisableStartCheck = true // jobs wait in the queue until Tor is there

	if s.Egress == direct {
		opts.Egress = scrape.Direct()
	} else {
		opts.Egress = scrape.SOCKS(s.Egress)
	}

	return scrape.New(ctx, &opts)
}

// turn takes the turn of a job's host.
func turn(limiter *hostlimit.Limiter) func(context.Context, queue.Job, time.Duration) (time.Duration, error) {
	return func(ctx context.Context, job queue.Job, patience time.Duration) (time.Duration, error) {
		return limiter.Take(ctx, hostOf(job), patience)
	}
}

func hostOf(job queue.Job) string {
	u, err := url.Parse(job.URL)
	if err != nil {
		return "" // not a job: the queue takes none
	}
	return hostlimit.Host(u)
}

// fetch gets a page. What is no page is an error: a status of 500 or more, 408,
// 425 or 429 may pass, others not.
func fetch(client *http.Client, limiter *hostlimit.Limiter) queue.Fetch {
	return func(ctx context.Context, job queue.Job) (queue.Page, error) {
		ctx = hostlimit.Taken(ctx, hostOf(job))
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, job.URL, nil)
		if err != nil {
			return queue.Page{}, &statusError{text: "the address cannot be asked for"}
		}
		res, err := client.Do(req)
		if err != nil {
			return queue.Page{}, unasked(err)
		}
		defer func() { _ = res.Body.Close() }()

		if res.StatusCode/100 != 2 {
			after := retryAfter(res)
			if after > 0 {
				limiter.Pause(ctx, hostlimit.Host(res.Request.URL), after)
			}
			return queue.Page{}, &statusError{
				text: fmt.Sprintf("the site answers %d %s", res.StatusCode, http.StatusText(res.StatusCode)), status: res.StatusCode, after: after,
			}
		}

		body, err := io.ReadAll(res.Body)
		if err != nil {
			return queue.Page{}, err
		}
		return queue.Page{FinalURL: res.Request.URL.Redacted(), Status: res.StatusCode, ContentType: res.Header.Get("Content-Type"), Body: body}, nil
	}
}

// egressRest is how long a job rests while there is no way out.
const egressRest = 15 * time.Second

// unasked makes of an error of a request that has not left a rest: there is no
// way out, or this worker's client spares the host.
func unasked(err error) error {
	said, ok := errors.AsType[*scrape.Error](err)
	switch {
	case errors.Is(err, scrape.ErrEgressUnavailable):
		return &queue.Rest{For: egressRest, Err: err}
	case ok && said.RetryAfter() > 0:
		return &queue.Rest{For: said.RetryAfter(), Err: err}
	}
	return err
}

func retryAfter(res *http.Response) time.Duration {
	wait, _ := backoff.RetryAfter(res.Header.Get("Retry-After"), time.Now())
	return wait
}

// statusError is an answer that is no page.
type statusError struct {
	text   string
	status int
	after  time.Duration
}

func (e *statusError) Error() string { return e.text }

// Temporary reports whether another try may help.
func (e *statusError) Temporary() bool {
	switch e.status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return e.status >= 500
}

// RetryAfter is how long the site asked to wait.
func (e *statusError) RetryAfter() time.Duration { return e.after }

// allowLoopback lets the demo's site be fetched.
func (s *Settings) allowLoopback() {
	s.Scrape.Allow = append(s.Scrape.Allow, netip.MustParsePrefix("127.0.0.0/8"))
	s.Egress = direct
}
