package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/broker"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/crew"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/page"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/patient"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
	"github.com/svcblocks/svcblocks/internal/safehttp"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/slack"
)

// startWithin bounds how long the hub waits for a server that is elsewhere.
const startWithin = time.Minute

// hub keeps the queue, embedded or elsewhere, shows it, and tells of what was
// given up.
func hub(ctx context.Context, e env) error { return withHub(ctx, e, nil) }

// running is a hub as the demo needs it.
type running struct {
	queue *queue.Queue
	page  string // the page's address
}

// withHub runs a hub until ctx ends, or until also returns, if it is not nil.
func withHub(ctx context.Context, e env, also func(context.Context, running) error) (err error) {
	s := e.settings
	logs, err := openLog(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	log := logs.Logger("hub")

	starting, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("not within %v", startWithin))
	defer cancel()

	asker := patient.New(log)
	nc, closeServer, err := connect(starting, s, asker)
	if err != nil {
		return stopped(ctx, err)
	}
	defer func() { nc.Close(); err = errors.Join(err, closeServer()) }()

	q, err := queue.Create(starting, nc, queue.Options{
		AckWait: s.Queue.AckWait, MaxDeliver: s.Queue.MaxDeliver, MaxAckPending: s.Queue.MaxAckPending, MaxJobs: s.Queue.MaxJobs, Replicas: s.NATS.Replicas,
		PerSecond: s.Host.PerSecond, Burst: s.Host.Burst, JobTimeout: s.Queue.JobTimeout,
		ResultsMaxAge: s.Queue.ResultsMaxAge, ResultsMaxBytes: s.Queue.ResultsMaxBytes,
	}, asker)
	if err != nil {
		return stopped(ctx, err)
	}

	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	members, err := crew.Open(starting, js, s.NATS.Replicas, asker)
	if err != nil {
		return stopped(ctx, err)
	}

	alerts, err := openAlerts(s, log)
	if err != nil {
		return err
	}

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("page: %w (choose another address with -listen; port 0 takes a free one)", err)
	}

	hosts, err := s.hosts()
	if err != nil {
		return err
	}

	server := &http.Server{
		Handler: hosts.Handler(page.NewHandler(page.Options{
			Status: statusOf(q, members), Logger: log,
			Ready: q.Ready,
		})),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}

	at := "http://" + shown(listener.Addr().String())
	_, _ = fmt.Fprintf(e.stdout, "fleet: page at %s, queue at %s (Ctrl-C ends it)\n", at, nc.ConnectedUrlRedacted())

	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	group, ctx := errgroup.WithContext(ctx)

	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})

	group.Go(func() error {
		<-ctx.Done()
		stop, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer done()
		return server.Shutdown(stop)
	})

	if alerts != nil {
		group.Go(func() error { return alerts.Run(ctx) })
		group.Go(func() error { return q.FollowDead(ctx, "notify", tell(alerts)) })
	}

	for i := range s.Workers {
		own := s
		own.Worker.Name = fmt.Sprintf("%s-%d", s.workerName(), i+1)
		group.Go(func() error { return work(ctx, own, nc, asker) })
	}

	if also != nil {
		group.Go(func() error {
			err := also(ctx, running{queue: q, page: at})
			end(nil)
			return err
		})
	}

	err = group.Wait()
	if alerts != nil {
		err = errors.Join(err, alerts.Close())
	}
	return stopped(ctx, err)
}

// connect starts the embedded server, or dials the one that is elsewhere.
func connect(ctx context.Context, s Settings, asker *patient.Asker) (*nats.Conn, func() error, error) {
	if s.NATS.URL != "" {
		nc, err := dial(ctx, s, "hub", asker)
		return nc, func() error { return nil }, err
	}

	embedded, err := broker.StartServer(ctx, broker.ServerOptions{
		Listen: s.NATS.Listen, Dir: filepath.Join(s.DataDir, "nats"), Token: s.NATS.Token, DisableSync: s.NATS.DisableSync, Shared: s.Shared, Logger: asker.Logger(),
	})
	if err != nil {
		return nil, nil, err
	}

	nc, err := embedded.Connect(ctx, "fleet hub", asker)
	if err != nil {
		return nil, nil, errors.Join(err, embedded.Close())
	}
	return nc, embedded.Close, nil
}

// shown is an address that a reader on this machine can open.
func shown(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// statusOf collects what the page shows.
func statusOf(q *queue.Queue, members *crew.Crew) func(context.Context) page.Status {
	return func(ctx context.Context) page.Status {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		s := page.Status{Now: time.Now()}
		var errs [3]error
		s.Stats, errs[0] = q.Stats(ctx)
		s.Members, errs[1] = members.Members(ctx, s.Now)
		s.Dead, errs[2] = q.LastDeadLetters(ctx, 10)
		if err := errors.Join(errs[:]...); err != nil {
			s.Problem = "The queue's server does not answer; what is shown may be old or missing. " + err.Error()
		}
		return s
	}
}

// openAlerts returns the hub that tells operators what was given up; nil if
// the settings name no receiver.
func openAlerts(s Settings, log *slog.Logger) (*notify.Hub, error) {
	var receivers []notify.Receiver
	if s.Mail.Host != "" {
		s.Mail.Logger = log
		client, err := email.New(&s.Mail)
		if err != nil {
			return nil, fmt.Errorf("mail: %w", err)
		}
		receivers = append(receivers, notify.Receiver{Name: "mail", Notifier: client})
	}

	if !s.Slack.Webhook.IsZero() {
		s.Slack.Logger = log
		webhook, err := slack.NewWebhook(s.Slack.Webhook, &s.Slack.Options)
		if err != nil {
			return nil, fmt.Errorf("slack: %w", err)
		}
		receivers = append(receivers, notify.Receiver{Name: "slack", Notifier: webhook})
	}

	if len(receivers) == 0 {
		return nil, nil
	}
	return notify.New(&notify.Options{Receivers: receivers, Outbox: notify.Outbox{Dir: filepath.Join(s.DataDir, "outbox"), Shared: s.Shared}, Logger: log})
}

// tell sends a dead letter. All of one reason are one trouble, so that a site
// that is gone does not send a thousand mails.
func tell(alerts *notify.Hub) func(context.Context, queue.DeadLetter) error {
	return func(ctx context.Context, d queue.DeadLetter) error {
		return alerts.Notify(ctx, notify.Message{
			ID: "dead-" + d.Sequence(), Level: slog.LevelWarn, Key: "dead: " + d.Reason, Time: d.Time,
			Subject: "A page was given up: " + d.Reason,
			Text:    fmt.Sprintf("%s was given up after %d tries: %s", d.URL, d.Tries, d.Reason),
			Attrs:   []slog.Attr{slog.String("id", d.ID), slog.String("worker", d.Worker)},
		})
	}
}

// healthcheck asks the page of a hub on this machine whether it is ready, for
// containers.
func healthcheck(ctx context.Context, e env) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+shown(e.settings.Listen)+"/readyz", nil)
	if err != nil {
		return err
	}

	res, err := safehttp.NewProbe(5 * time.Second).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", text)
	}
	return nil
}
