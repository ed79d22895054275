package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/health"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/settings"
	causes "github.com/svcblocks/svcblocks/internal/health"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
	"github.com/svcblocks/svcblocks/notify/email"
)

// serviceLogs is the log and how it came about.
type serviceLogs struct {
	*logging.Logs

	opts       logging.Options
	path, sink string // for the page
	degraded   error  // why lines go to the console alone; nil if they don't
	reports    *atomic.Pointer[slog.Logger]
}

// reportTo says where the log's own trouble is reported, from now on.
func (l *serviceLogs) reportTo(logger *slog.Logger) {
	l.reports.Store(logger)
	if l.degraded != nil {
		logger.Error("the log file cannot be written", "error", l.degraded, "advice", logAdvice)
	}
}

// openLogs opens the log. Where its file cannot be written, the lines go to
// the console as JSON, and degraded says why.
func openLogs(cfg settings.Settings, stderr io.Writer) (*serviceLogs, error) {
	// What the log has to say about itself cannot go into the log.
	own := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	reports := new(atomic.Pointer[slog.Logger])
	opts := cfg.Log
	opts.Logger, opts.Secrets = own, cfg.Secrets()
	opts.CloseTimeout = part(cfg.ShutdownTimeout, shipPart)

	opts.OnError = func(err error) {
		if l := reports.Load(); l != nil {
			l.Error("the log needs attention", "error", err)
		}
	}

	out := &serviceLogs{path: cfg.Log.File.Path, reports: reports}
	if cfg.Log.Console.Format == "off" {
		opts.Handlers = append(opts.Handlers, own.Handler())
	}

	if cfg.Ship.URL != "" {
		receiver, err := httpjson.New(&httpjson.Options{
			URL: cfg.Ship.URL, Token: cfg.Ship.Token, IDField: cfg.Ship.IDField, HTTP: sink.HTTP{AllowPlainHTTP: cfg.Ship.AllowPlainHTTP},
		})
		if err != nil {
			return nil, fmt.Errorf("ship.url: %w", err)
		}
		opts.Sink, out.sink = receiver, host(cfg.Ship.URL)
	}

	logs, err := logging.New(&opts)
	if _, unwritable := errors.AsType[*logging.Error](err); unwritable {
		out.degraded = fmt.Errorf("log lines go to the console alone and are not shipped: %w", err)
		out.path, out.sink = "", ""
		opts.File = logging.FileOptions{}
		opts.Console.Format = "json"
		opts.Sink, opts.Handlers = nil, nil
		logs, err = logging.New(&opts)
	}

	if err != nil {
		return nil, err
	}
	out.Logs, out.opts = logs, opts
	return out, nil
}

// reconfigure applies what of the settings may change in use. The error names
// what else differs.
func (l *serviceLogs) reconfigure(next logging.Options) error {
	now := l.opts
	now.Level, now.Levels, now.Sample = next.Level, next.Levels, next.Sample
	if l.degraded == nil {
		now.Attrs, now.Keys, now.File, now.Console, now.Redact, now.Source, now.Ship = next.Attrs, next.Keys, next.File, next.Console, next.Redact, next.Source, next.Ship
	}
	return l.Reconfigure(&now)
}

const logAdvice = "set log.file.path to a file in a folder that the service may write, and restart"

// check says whether lines are kept.
func (l *serviceLogs) check(ctx context.Context) error {
	if l.degraded != nil {
		return l.degraded
	}
	if err := l.Check(ctx); errors.Is(err, logging.ErrLost) {
		return err
	}
	return nil
}

// checkShipping says whether lines arrive; until they do, they are kept.
func (l *serviceLogs) checkShipping(ctx context.Context) error {
	// What is lost is told as the log's.
	if err := l.Check(ctx); err != nil && !errors.Is(err, logging.ErrLost) {
		return err
	}
	if st := l.Stats().Ship; st.Failures > 0 {
		return fmt.Errorf("%d lines wait: %s", st.WaitingEvents, st.LastError)
	}
	return nil
}

// host is what of an address may be shown.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// checks are the parts that /readyz and the page ask. Only the history and the
// log are needed to serve: the others' trouble is the operator's, and taking
// the page away would not help.
func (s *service) checks(logs *serviceLogs) []health.Check {
	// What is known of the cause comes before the settings that have to do with it.
	advice := func(text string) func(error) string {
		return func(err error) string {
			if cause := causes.Advice(err); cause != "" {
				return cause + "; " + text
			}
			return text
		}
	}

	checks := []health.Check{
		{Name: "history", Required: true, Func: s.history.Check, Advice: advice("the history is in data_dir; where its file was removed or replaced, end the service, put the file back from a backup if there is one, and start it again")},
		{Name: "log", Required: true, Func: logs.check, Advice: advice(logAdvice)},
		{Name: "runs", Func: s.watcher.Check, Advice: advice("the log says what happened; notices wait until they can be handed on")},
		{Name: "egress", Func: s.checkEgress, Advice: s.egress.advice},
		{Name: "config", Func: func(context.Context) error { return s.settings.Stats().Err }, Advice: advice("correct the settings; until then the last good ones hold")},
	}

	if logs.sink != "" {
		checks = append(checks, health.Check{Name: "ship", Func: logs.checkShipping, Advice: advice("lines are kept on disk and sent once the receiver takes them; see ship.url and ship.token")})
	}
	if s.auth != nil {
		checks = append(checks, health.Check{Name: "login", Func: s.auth.Check, Advice: advice("see that the provider at auth.issuer is up and reached from here; sessions and tokens whose keys are known go on working")})
	}
	if s.hub != nil {
		checks = append(checks, health.Check{Name: "notify", Every: 30 * time.Second, Func: s.checkNotify, Advice: advice("messages wait in the outbox, in data_dir, and go out once the receiver is back; see the settings mail, slack, telegram, discord and teams")})
	}
	return checks
}

// checkNotify asks the receivers, and tells of one that left messages waiting
// when it was last tried, sooner than the hub calls it stuck.
func (s *service) checkNotify(ctx context.Context) error {
	errs := []error{s.hub.Check(ctx)}
	for _, r := range s.hub.Stats().Receivers {
		if r.Waiting > 0 && !r.PausedUntil.IsZero() {
			errs = append(errs, fmt.Errorf("%s: %d messages wait: %s", r.Name, r.Waiting, r.LastError))
		}
	}
	return errors.Join(errs...)
}

// checkEgress asks the client, and then the egress itself: a client that may
// fall back works without it, but the operator is to know.
func (s *service) checkEgress(ctx context.Context) error {
	if err := s.scrape.Check(ctx); err != nil {
		return err
	}
	return s.egress.Check(ctx)
}

// follow applies what may change while the service runs, and returns how to
// end that.
func (s *service) follow(logs *serviceLogs) func() error {
	stopEvery := config.OnChange(s.settings, func(c *settings.Settings) time.Duration { return c.Site.Every }, func(old, d time.Duration) {
		s.watcher.SetEvery(d)
		s.log.Info("schedule changed", "from", old, "to", d)
	})

	stopLog := config.OnChange(s.settings, func(c *settings.Settings) logging.Options { return c.Log }, func(_, next logging.Options) {
		if err := logs.reconfigure(next); err != nil {
			s.log.Warn("settings of the log not applied", "error", err)
			return
		}
		s.log.Info("the log has new settings", "level", next.Level)
	})

	stopReceivers := s.followReceivers()
	rest := func(c *settings.Settings) settings.Settings {
		r := *c
		r.Site.Every, r.Log, r.SecretsEvery = 0, logging.Options{}, 0
		if s.receivers.mail != nil {
			r.Mail = email.Options{}
		}
		if s.receivers.slack != nil {
			r.Slack = settings.Slack{}
		}
		return r
	}

	stopRest := config.OnChange(s.settings, rest, func(_, _ settings.Settings) {
		s.log.Warn("settings changed that take effect at the next start; those that do at once are site.every, secrets_every, mail, slack and the levels of log")
	})
	return func() error { stopEvery(); stopLog(); stopReceivers(); stopRest(); return nil }
}

// shutdownServer lets requests finish for at most d.
func (s *service) shutdownServer(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d)
	defer cancel()
	return s.server.Shutdown(ctx)
}
