package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/chat"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/live"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/settings"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/status"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/slack"
)

// receivers are what the hub feeds. Their clients are made anew when their
// settings change, such as a password in a vault.
type receivers struct {
	mail, slack *live.Receiver // nil where there is none
	logger      *slog.Logger
}

func openReceivers(cfg settings.Settings, logger *slog.Logger) (*receivers, error) {
	r := &receivers{logger: logger}
	var errs []error
	if cfg.Mail.Host != "" {
		client, err := newMail(cfg, logger)
		errs = append(errs, wrap("mail", err))
		r.mail = live.New(client)
	}
	if !cfg.Slack.Webhook.IsZero() {
		webhook, err := newSlack(cfg, logger)
		errs = append(errs, wrap("slack", err))
		r.slack = live.New(webhook)
	}
	return r, errors.Join(errs...)
}

func newMail(cfg settings.Settings, logger *slog.Logger) (*email.Client, error) {
	options := cfg.Mail
	options.Logger = logger
	return email.New(&options)
}

func newSlack(cfg settings.Settings, logger *slog.Logger) (*slack.Webhook, error) {
	options := cfg.Slack.Options
	options.Logger = logger
	return slack.NewWebhook(cfg.Slack.Webhook, &options)
}

// renewMail and renewSlack take new settings; with bad ones the client stays
// as it is.
func (r *receivers) renewMail(cfg settings.Settings) error {
	client, err := newMail(cfg, r.logger)
	if err != nil {
		return wrap("mail", err)
	}
	r.mail.Replace(client)
	return nil
}

func (r *receivers) renewSlack(cfg settings.Settings) error {
	webhook, err := newSlack(cfg, r.logger)
	if err != nil {
		return wrap("slack", err)
	}
	r.slack.Replace(webhook)
	return nil
}

// openHub makes the hub that feeds the receivers, and what ends both; the hub
// is nil if there are none.
func openHub(cfg settings.Settings, r *receivers, logger *slog.Logger) (hub *notify.Hub, shown []status.Receiver, end func() error, err error) {
	notifiers := map[string]notify.Notifier{}
	if r.mail != nil {
		notifiers["mail"] = r.mail
		shown = append(shown, status.Receiver{
			Name: "mail", Kind: "email", Target: strings.Join(slices.Concat(cfg.Mail.To, cfg.Mail.Bcc), ", ") + " by " + cfg.Mail.Host,
		})
	}

	if r.slack != nil {
		notifiers["slack"] = r.slack
		shown = append(shown, status.Receiver{Name: "slack", Kind: "slack", Target: "webhook at " + host(cfg.Slack.Webhook.Reveal())})
	}
	var errs []error

	add := func(name, target string, bot *chat.Receiver, err error) {
		errs = append(errs, wrap(name, err))
		notifiers[name] = bot
		shown = append(shown, status.Receiver{Name: name, Kind: name, Target: target})
	}

	if !cfg.Telegram.Token.IsZero() {
		bot, err := cfg.Telegram.New(nil)
		add("telegram", fmt.Sprintf("chat %d", cfg.Telegram.Chat), bot, err)
	}
	if !cfg.Discord.Webhook.IsZero() {
		bot, err := cfg.Discord.New(nil)
		add("discord", "webhook at "+host(cfg.Discord.Webhook.Reveal()), bot, err)
	}

	if !cfg.Teams.Webhook.IsZero() {
		bot, err := cfg.Teams.New(nil)
		add("teams", "webhook at "+host(cfg.Teams.Webhook.Reveal()), bot, err)
	}
	if err := errors.Join(errs...); err != nil || len(notifiers) == 0 {
		return nil, nil, nil, err
	}

	options := cfg.Notify
	options.Bind(notifiers)
	options.Logger = logger
	options.CloseTimeout = part(cfg.ShutdownTimeout, deliverPart)
	options.Secrets = cfg.Secrets()
	options.Outbox.Dir = cmp.Or(options.Outbox.Dir, filepath.Join(cfg.DataDir, "outbox"))
	options.Outbox.Shared = options.Outbox.Shared || cfg.DataShared
	if hub, err = notify.New(&options); err != nil {
		return nil, nil, nil, fmt.Errorf("%w (the receivers are those that have settings; the outbox is in data_dir)", err)
	}

	return hub, shown, func() error {
		errs := []error{hub.Close()}
		for _, n := range notifiers {
			if c, ok := n.(io.Closer); ok {
				errs = append(errs, c.Close())
			}
		}
		return errors.Join(errs...)
	}, nil
}

// followReceivers gives the receivers new settings of mail and Slack.
func (s *service) followReceivers() (stop func()) {
	var stops []func()
	follow := func(name string, renew func(settings.Settings) error) {
		cfg := *s.settings.Get()
		if s.demo != nil {
			addresses, err := s.demo.Addresses()
			if err != nil {
				s.log.Error("settings not applied", "receiver", name, "error", err)
				return
			}
			cfg = cfg.WithDemo(addresses)
		}
		if err := renew(cfg); err != nil {
			s.log.Error("settings not applied: the last good ones hold", "receiver", name, "error", err)
			return
		}
		s.log.Info("receiver has new settings", "receiver", name)
	}

	if s.receivers.mail != nil {
		stops = append(stops, config.OnChange(s.settings, func(c *settings.Settings) email.Options { return c.Mail },
			func(_, _ email.Options) { follow("mail", s.receivers.renewMail) }))
	}
	if s.receivers.slack != nil {
		stops = append(stops, config.OnChange(s.settings, func(c *settings.Settings) settings.Slack { return c.Slack },
			func(_, _ settings.Slack) { follow("slack", s.receivers.renewSlack) }))
	}

	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// refreshSecrets resolves references anew, as not every vault says how long a
// secret holds. One that cannot be resolved keeps its last value.
func (s *service) refreshSecrets(ctx context.Context) error {
	for {
		every := s.settings.Get().SecretsEvery
		if every <= 0 {
			every = time.Minute // to see whether that has changed
		}

		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
		if s.settings.Get().SecretsEvery <= 0 {
			continue
		}

		// What went wrong is the part "config" of the checks, which log it.
		_ = s.settings.Refresh(ctx)
	}
}
