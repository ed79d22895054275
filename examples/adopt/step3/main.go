// Command step3 tells the operator by Slack what it logs as an error: the first
// one at once, a storm of them in one message.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/slack"
)

type settings struct {
	Listen   string        `required:"true" doc:"address to serve at"`
	Timeout  time.Duration `min:"100ms" max:"1m" doc:"for one page"`
	MaxBytes int64         `min:"1024" doc:"of a page that are looked at"`
	Log      logging.Options
	Slack    config.Secret `doc:"incoming webhook for errors; empty: none"`
}

var defaults = settings{Listen: "127.0.0.1:8090", Timeout: 10 * time.Second, MaxBytes: 1 << 20}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	layers := []config.Option{config.File("title.yaml", config.Optional()), config.Env("TITLE")}
	if len(os.Args) > 1 && os.Args[1] == "config" {
		os.Exit(config.Main(ctx, defaults, os.Args[2:], layers...))
	}
	if err := run(ctx, layers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, layers []config.Option) (err error) {
	store, err := config.Load(ctx, defaults, layers...)
	if err != nil {
		return err
	}
	cfg := store.Get()
	logs, err := logging.New(&cfg.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	log := logs.Logger("title")
	if !cfg.Slack.IsZero() {
		handler, stop, err := alerts(cfg.Slack, log)
		if err != nil {
			return err
		}
		defer stop()
		log = slog.New(handler)
	}

	client := &http.Client{Timeout: cfg.Timeout}
	return serve(ctx, cfg.Listen, routes(client, cfg.MaxBytes, log), logs.Logger("http"))
}

// alerts returns a handler that writes to log, and tells Slack of what is an
// error. What it has begun to tell when stop is called is finished.
func alerts(webhook config.Secret, log *slog.Logger) (handler slog.Handler, stop func(), err error) {
	hook, err := slack.NewWebhook(webhook, &slack.Options{Logger: log})
	if err != nil {
		return nil, nil, err
	}
	hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "slack", Notifier: hook}}, Logger: log})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- hub.Run(ctx) }()
	return notify.NewHandler(hub, log.Handler(), nil), func() {
		cancel()
		if err := errors.Join(<-ended, hub.Close()); err != nil {
			log.Warn("messages may be lost", "err", err)
		}
	}, nil
}

func routes(client *http.Client, maxBytes int64, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /title", func(w http.ResponseWriter, r *http.Request) {
		ctx := logging.WithTraceparent(r.Context(), r.Header.Get("Traceparent"))
		address := r.URL.Query().Get("url")
		if address == "" {
			http.Error(w, "which page? /title?url=…", http.StatusBadRequest)
			return
		}
		text, err := title(ctx, client, address, maxBytes)
		if err != nil {
			log.ErrorContext(ctx, "page cannot be read", "url", address, "err", err)
			http.Error(w, "the page cannot be read", http.StatusBadGateway)
			return
		}
		log.InfoContext(ctx, "title told", "url", address, "title", text)
		fmt.Fprintln(w, text)
	})
	return mux
}

// serve serves h until ctx ends, and then until the last answer is given.
func serve(ctx context.Context, listen string, h http.Handler, log *slog.Logger) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	log.Info("listening", "address", "http://"+l.Addr().String()+"/title?url=")
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	err = srv.Shutdown(bound)
	<-ended
	log.Info("stopped")
	return err
}
