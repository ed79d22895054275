package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/crawl"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/health"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/playground"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/profiling"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/server"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/settings"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/status"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/trace"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/watch"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/scrape"
)

// shipped are the settings that come in the binary.
//
//go:embed config/*.yaml
var shipped embed.FS

// service is the building blocks, each made once and handed on.
type service struct {
	settings  *config.Store[settings.Settings]
	demo      *playground.Playground // nil where nothing of it is asked for
	logs      *logging.Logs
	log       *slog.Logger
	receivers *receivers
	hub       *notify.Hub // nil where nobody is to be told
	egress    *egress
	scrape    *scrape.Client
	history   *history.Store
	watcher   *watch.Watcher
	health    *health.Monitor
	server    *server.Server
	auth      *auth.Auth     // nil where nobody has to log in
	closers   []func() error // in the order of making
	hangup    <-chan os.Signal

	profiling *profiling.Server // nil where nobody asked for it
}

// newService makes every block. What the service can do without does not stop
// it: it is logged and shown as a failing part. The error says what to do.
func newService(ctx context.Context, store *config.Store[settings.Settings], profile string, stderr io.Writer) (_ *service, err error) {
	s := &service{settings: store}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	cfg := *store.Get() // of the start; what may change later is followed below
	started := time.Now()

	if cfg.UsesDemo() {
		if s.demo, err = playground.Start(ctx, nil); err != nil {
			return nil, err
		}
		s.onClose(s.demo.Close)
		addresses, err := s.demo.Addresses()
		if err != nil {
			return nil, err
		}
		cfg = cfg.WithDemo(addresses)
	}
	demoSite := store.Get().Site.URL == settings.Demo

	logs, err := openLogs(cfg, stderr)
	if err != nil {
		return nil, err
	}
	s.logs, s.log = logs.Logs, logs.Logger("service")
	s.onClose(s.logs.Close)

	// What the demo shop sold is no history of a real one.
	past := filepath.Join(cfg.DataDir, "history.db")
	if demoSite {
		past = filepath.Join(cfg.DataDir, "demo.db")
	}
	if s.history, err = history.Open(past, history.Options{GoneAfter: cfg.Site.GoneAfter}); err != nil {
		return nil, err
	}
	s.onClose(s.history.Close)

	// The blocks name their component themselves.
	plain := slog.New(logs.Handler())
	if s.receivers, err = openReceivers(cfg, plain); err != nil {
		return nil, err
	}
	hub, receivers, endHub, err := openHub(cfg, s.receivers, plain)
	if err != nil {
		return nil, err
	}
	s.hub = hub
	notifier := watch.Notifier(silent{})
	// Errors in the log reach the operator, too.
	logger := logs.Logger
	if hub != nil {
		plain = slog.New(notify.NewHandler(hub, plain.Handler(), nil))
		s.onClose(endHub)
		notifier = hub
		logger = func(name string) *slog.Logger {
			return slog.New(notify.NewHandler(hub, logs.Logger(name).Handler(), nil))
		}
	}

	logs.reportTo(logger("logging"))

	used := new(status.Used)
	egress, err := openEgress(ctx, cfg, demoSite, plain)
	if err != nil {
		return nil, err
	}
	s.egress = egress
	s.onClose(egress.close)
	options := cfg.Scrape
	options.Egress = egress.Egress
	options.Hooks.OnPage = used.OnPage
	options.Logger = plain
	if demoSite {
		options.Allow = append(options.Allow, netip.MustParsePrefix("127.0.0.1/32"))
	}
	if s.scrape, err = scrape.New(ctx, &options); err != nil {
		return nil, err
	}
	s.onClose(s.scrape.Close)

	var fetcher crawl.Fetcher = s.scrape
	if cfg.Site.Trace {
		fetcher = trace.NewFetcher(&http.Client{Transport: s.scrape.Transport()})
	}
	s.watcher = watch.New(watch.Options{
		Name:  cfg.SiteName(),
		Crawl: crawl.Options{Start: cfg.Site.URL, Workers: cfg.Site.Workers, MaxPages: cfg.Site.MaxPages, Selectors: cfg.Site.Selectors},
		Store: s.history, Fetcher: fetcher, Notifier: notifier, Logger: logger("watch"),
		Ready: egress.ready, Every: cfg.Site.Every, RunTimeout: cfg.Site.RunTimeout, StopTimeout: part(cfg.ShutdownTimeout, pagesPart),
	})
	s.onClose(s.follow(logs))

	listener, err := server.Listen(ctx, cfg.Listen)
	if err != nil {
		return nil, err
	}
	s.onClose(func() error { _ = listener.Close(); return nil }) // the server has closed it by then, if there was one
	sources := &status.Sources{
		Name: "Shop watch", Version: version(), Profile: cmp.Or(profile, "none"), Started: started,
		Address: server.BaseURL(listener.Addr().String()),
		Explain: store.Explain, Settings: store.Stats, History: s.history, Watcher: s.watcher, Scrape: s.scrape, Used: used,
		Tor:  status.Tor{Local: demoSite, Required: options.Fallback == scrape.Never, RotateEvery: cfg.RotateEvery(), Direct: egress.direct},
		Logs: s.logs, LogPath: logs.path, LogSink: logs.sink, Hub: hub, Receivers: receivers, Demo: s.demo, DataDir: cfg.DataDir,
		Logger: logger("status"),
	}
	page := web.NewHandler(sources.Page, logger("web"))
	if s.auth, err = openAuth(cfg, sources, page, s.history.Logouts(), logger("auth")); err != nil {
		return nil, err
	}
	sources.Auth = s.auth
	s.health = health.New(s.checks(logs), health.Options{Logger: logger("health")})
	sources.Health = s.health
	hosts, err := cfg.Hosts()
	if err != nil {
		return nil, err
	}
	s.server = server.New(listener, server.Options{
		Page: page, Hosts: hosts, Auth: s.auth, Trigger: s.watcher.Trigger, Status: sources.Report, Health: s.health, History: s.history,
		Metrics: sources.WriteMetrics, Logger: logger("server"), Access: logger("access"),
	})
	if cfg.Profiling.Listen != "" {
		if s.profiling, err = profiling.Listen(ctx, cfg.Profiling.Listen); err != nil {
			return nil, err
		}
		s.onClose(s.profiling.Close)
		s.log.InfoContext(ctx, "profiles are served", "address", s.profiling.Addr())
	}
	s.log.InfoContext(ctx, "service started", "address", sources.Address, "version", sources.Version, "profile", profile,
		"site", cfg.Site.URL, "tor", sources.Tor.String(), "receivers", len(receivers), "ship", logs.sink, "issuer", cfg.Auth.Issuer)
	return s, nil
}

func (s *service) onClose(f func() error) { s.closers = append(s.closers, f) }

// close ends the blocks, the last one made first.
func (s *service) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// silent takes the place of the hub where no receiver is configured.
type silent struct{}

func (silent) Notify(context.Context, notify.Message) error { return notify.ErrNoReceiver }

// How the time to stop is shared out. The hub may take its part twice: for the
// end of its run, and to close.
const (
	pagesPart   = 0.5
	serverPart  = 0.1
	deliverPart = 0.1
	shipPart    = 0.15
)

func part(d time.Duration, share float64) time.Duration { return time.Duration(float64(d) * share) }
