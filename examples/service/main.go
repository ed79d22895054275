// Command service watches one page through Tor, logs to a file that is shipped
// in bulk, and tells the operator by mail and Slack what changed.
//
//	go run . -site.url https://example.com/    with a Tor at 127.0.0.1:9050
//	go run . config check                      every mistake in the settings at once
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/slack"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if err := run(ctx, os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run makes each part once, hands it to whoever needs it, and serves until ctx
// ends. The deferred calls end the parts in the opposite order: the log, which
// all others write to, is the last.
func run(ctx context.Context, args []string, stderr io.Writer) error {
	command, ask, layers, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if len(command) > 0 {
		os.Exit(config.Main(ctx, settings{}, command[1:], layers...))
	}
	store, err := config.Load(ctx, settings{}, layers...)
	if err != nil {
		return err
	}
	defer closing(store.Close, stderr)
	cfg := *store.Get() // a copy, as what cannot be in a file is added
	if *ask {
		return healthcheck(cfg.DataDir)
	}

	if cfg.Ship.URL != "" {
		if cfg.Log.Sink, err = httpjson.New(&cfg.Ship); err != nil {
			return fmt.Errorf("ship: %w", err)
		}
	}
	cfg.Log.Secrets = cfg.secrets()
	logs, err := logging.New(&cfg.Log)
	if err != nil {
		return err
	}
	defer closing(logs.Close, stderr)
	defer config.OnChange(store, func(c *settings) logging.Options { return c.Log }, func(_, next logging.Options) {
		logs.Logger("service").Info("the log has new settings", "level", next.Level, "error", logs.Reconfigure(&next))
	})()

	hub, err := newHub(&cfg, logs.Logger("notify"))
	if err != nil {
		return err
	}
	defer closing(hub.Close, stderr)

	exit, err := tor.Dial(ctx, &cfg.Tor)
	if err != nil {
		return err
	}
	defer closing(exit.Close, stderr)
	cfg.Scrape.Egress, cfg.Scrape.Logger = exit, logs.Logger("scrape")
	client, err := scrape.New(ctx, &cfg.Scrape)
	if err != nil {
		return err
	}
	defer closing(client.Close, stderr)

	w := &watcher{store: store, client: client, hub: hub, log: logs.Logger("watch")}
	server := &http.Server{Handler: newHandler(w, logs), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(logs.Logger("http").Handler(), slog.LevelWarn)}
	return serve(ctx, &cfg, server, logs.Logger("service"), w.run, store.Run, func(ctx context.Context) error { return reload(ctx, store, logs.Logger("service")) })
}

// closing ends a part, and prints what waits for the next start.
func closing(end func() error, stderr io.Writer) {
	if err := end(); err != nil {
		fmt.Fprintln(stderr, err)
	}
}

// newHub tells the operator by mail and Slack, whichever is set.
func newHub(cfg *settings, log *slog.Logger) (*notify.Hub, error) {
	o := &notify.Options{Outbox: cfg.Outbox, Logger: log, Secrets: cfg.secrets()}
	if cfg.Mail.Host != "" {
		mail, err := email.New(&cfg.Mail)
		if err != nil {
			return nil, fmt.Errorf("mail: %w", err)
		}
		o.Receivers = append(o.Receivers, notify.Receiver{Name: "mail", Notifier: mail})
	}

	if !cfg.Slack.Webhook.IsZero() {
		hook, err := slack.NewWebhook(cfg.Slack.Webhook, &cfg.Slack.Options)
		if err != nil {
			return nil, fmt.Errorf("slack: %w", err)
		}
		o.Receivers = append(o.Receivers, notify.Receiver{Name: "slack", Notifier: hook})
	}

	if len(o.Receivers) == 0 {
		return nil, errors.New("service: nobody would be told: set mail.host or slack.webhook")
	}
	return notify.New(o)
}
