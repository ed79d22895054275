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
func newService(ctx context.Context, store *config.Store[settings.Settings], profile string, stderr io.Writer) (*service, error) {
	a := &assembly{
		service: &service{settings: store}, cfg: *store.Get(), demoSite: store.Get().Site.URL == settings.Demo,
		stderr: stderr, notifier: silent{}, sources: &status.Sources{Name: "Shop watch", Version: version(), Profile: cmp.Or(profile, "none"), Started: time.Now()},
	}
	// What comes later writes to what comes first, and ends before it.
	for _, open := range []func(context.Context) error{
		a.openDemo, a.openLogs, a.openHistory, a.openHub, a.openScrape, a.openWatcher, a.openServer, a.openProfiling,
	} {
		if err := open(ctx); err != nil {
			return nil, errors.Join(err, a.close())
		}
	}

	a.log.InfoContext(ctx, "service started", "address", a.sources.Address, "version", a.sources.Version, "profile", profile,
		"site", a.cfg.Site.URL, "tor", a.sources.Tor.String(), "receivers", len(a.sources.Receivers), "ship", a.lines.sink, "issuer", a.cfg.Auth.Issuer)
	return a.service, nil
}

// assembly is a service in the making, with what the steps hand on.
type assembly struct {
	*service

	cfg      settings.Settings // of the start; what may change later is followed
	demoSite bool
	stderr   io.Writer
	lines    *serviceLogs
	notifier watch.Notifier
	sources  *status.Sources
}

// openDemo starts what the service brings along, where it is asked for.
func (a *assembly) openDemo(ctx context.Context) (err error) {
	if !a.cfg.UsesDemo() {
		return nil
	}
	if a.demo, err = playground.Start(ctx, nil); err != nil {
		return err
	}
	a.onClose(a.demo.Close)
	addresses, err := a.demo.Addresses()
	if err != nil {
		return err
	}
	a.cfg, a.sources.Demo = a.cfg.WithDemo(addresses), a.demo
	return nil
}

func (a *assembly) openLogs(context.Context) (err error) {
	if a.lines, err = openLogs(a.cfg, a.stderr); err != nil {
		return err
	}
	a.logs, a.log = a.lines.Logs, a.lines.Logger("service")
	a.onClose(a.logs.Close)
	a.sources.Logs, a.sources.LogPath, a.sources.LogSink = a.logs, a.lines.path, a.lines.sink
	return nil
}

// openHistory opens the file of prices. What the demo shop sold is no history of
// a real one.
func (a *assembly) openHistory(context.Context) (err error) {
	name := "history.db"
	if a.demoSite {
		name = "demo.db"
	}
	if a.history, err = history.Open(filepath.Join(a.cfg.DataDir, name), history.Options{GoneAfter: a.cfg.Site.GoneAfter, Shared: a.cfg.DataShared}); err != nil {
		return err
	}
	a.onClose(a.history.Close)
	a.sources.History, a.sources.DataDir = a.history, a.cfg.DataDir
	return nil
}

// openHub makes the receivers and what feeds them. From here on errors in the log
// reach the operator, too.
func (a *assembly) openHub(context.Context) (err error) {
	plain := slog.New(a.lines.Handler())
	if a.receivers, err = openReceivers(a.cfg, plain); err != nil {
		return err
	}
	hub, shown, end, err := openHub(a.cfg, a.receivers, plain)
	if err != nil {
		return err
	}

	if a.hub = hub; hub != nil {
		a.onClose(end)
		a.notifier, a.sources.Hub, a.sources.Receivers = hub, hub, shown
	}
	a.lines.reportTo(a.logger("logging"))
	a.sources.Logger = a.logger("status")
	return nil
}

// logger is for a part of the service.
func (a *assembly) logger(name string) *slog.Logger { return a.told(a.lines.Logger(name)) }

// told has what is an error on l told to the operator.
func (a *assembly) told(l *slog.Logger) *slog.Logger {
	if a.hub == nil {
		return l
	}
	return slog.New(notify.NewHandler(a.hub, l.Handler(), nil))
}

func (a *assembly) openScrape(ctx context.Context) (err error) {
	plain := a.told(slog.New(a.lines.Handler())) // the blocks name their component themselves
	if a.egress, err = openEgress(ctx, a.cfg, a.demoSite, plain); err != nil {
		return err
	}
	a.onClose(a.egress.close)

	used := new(status.Used)
	options := a.cfg.Scrape
	options.Egress, options.Hooks.OnPage, options.Logger = a.egress.Egress, used.OnPage, plain
	if a.demoSite {
		options.Allow = append(options.Allow, netip.MustParsePrefix("127.0.0.1/32"))
	}

	if a.scrape, err = scrape.New(ctx, &options); err != nil {
		return err
	}
	a.onClose(a.scrape.Close)
	a.sources.Scrape, a.sources.Used = a.scrape, used
	a.sources.Tor = status.Tor{Local: a.demoSite, Required: options.Fallback == scrape.Never, RotateEvery: a.cfg.RotateEvery(), Direct: a.egress.direct}
	return nil
}

func (a *assembly) openWatcher(context.Context) error {
	site := a.cfg.Site
	var fetcher crawl.Fetcher = a.scrape
	if site.Trace {
		fetcher = trace.NewFetcher(&http.Client{Transport: a.scrape.Transport()})
	}
	a.watcher = watch.New(watch.Options{
		Name:  a.cfg.SiteName(),
		Crawl: crawl.Options{Start: site.URL, Workers: site.Workers, MaxPages: site.MaxPages, Selectors: site.Selectors},
		Store: a.history, Fetcher: fetcher, Notifier: a.notifier, Logger: a.logger("watch"),
		Ready: a.egress.ready, Every: site.Every, RunTimeout: site.RunTimeout, StopTimeout: part(a.cfg.ShutdownTimeout, pagesPart),
	})
	a.onClose(a.follow(a.lines))
	a.sources.Watcher = a.watcher
	return nil
}

// openServer takes the address, and makes what is served there.
func (a *assembly) openServer(ctx context.Context) error {
	listener, err := server.Listen(ctx, a.cfg.Listen)
	if err != nil {
		return err
	}
	a.onClose(func() error { _ = listener.Close(); return nil }) // the server has closed it by then, if there was one
	a.sources.Address, a.sources.Explain, a.sources.Settings = server.BaseURL(listener.Addr().String()), a.settings.Explain, a.settings.Stats

	page := web.NewHandler(a.sources.Page, a.logger("web"))
	if a.auth, err = openAuth(a.cfg, a.sources, page, a.history.Logouts(), a.logger("auth")); err != nil {
		return err
	}

	a.health = health.New(a.checks(a.lines), health.Options{Logger: a.logger("health")})
	a.sources.Auth, a.sources.Health = a.auth, a.health
	hosts, err := a.cfg.Hosts()
	if err != nil {
		return err
	}

	a.server = server.New(listener, server.Options{
		Page: page, Hosts: hosts, Auth: a.auth, Trigger: a.watcher.Trigger, Status: a.sources.Report, Health: a.health, History: a.history,
		Metrics: a.sources.WriteMetrics, Logger: a.logger("server"), Access: a.logger("access"),
	})
	return nil
}

func (a *assembly) openProfiling(ctx context.Context) (err error) {
	if a.cfg.Profiling.Listen == "" {
		return nil
	}
	if a.profiling, err = profiling.Listen(ctx, a.cfg.Profiling.Listen); err != nil {
		return err
	}
	a.onClose(a.profiling.Close)
	a.log.InfoContext(ctx, "profiles are served", "address", a.profiling.Addr())
	return nil
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
