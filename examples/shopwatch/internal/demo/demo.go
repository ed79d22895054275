package demo

import (
	"context"
	"errors"
	"log/slog"
)

// Options holds the settings of all parts. The zero value is ready to use.
type Options struct {
	Shop  ShopOptions
	Logs  LogOptions
	Mail  MailOptions
	Slack SlackOptions

	// Logger gets what the parts do, where they have none of their own.
	// Nil means no log.
	Logger *slog.Logger
}

// World is all parts, running.
type World struct {
	Shop  *Shop
	Logs  *LogReceiver
	Mail  *MailCatcher
	Slack *SlackReceiver
}

// Start starts all parts. ctx bounds the start only; [World.Close] ends them.
// Nil opts means all defaults. Where one part cannot be started, the others
// are closed again.
func Start(ctx context.Context, opts *Options) (*World, error) {
	var o Options
	if opts != nil {
		o = *opts
	}

	for _, l := range []**slog.Logger{&o.Shop.Logger, &o.Logs.Logger, &o.Mail.Logger, &o.Slack.Logger} {
		if *l == nil {
			*l = o.Logger
		}
	}

	w := &World{}
	var errs [4]error
	w.Shop, errs[0] = StartShop(ctx, &o.Shop)
	w.Logs, errs[1] = StartLogReceiver(ctx, &o.Logs)
	w.Mail, errs[2] = StartMailCatcher(ctx, &o.Mail)
	w.Slack, errs[3] = StartSlackReceiver(ctx, &o.Slack)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Close ends all parts and waits for them. It may be called more than once,
// and on a World whose start failed.
func (w *World) Close() error {
	var errs []error
	if w.Shop != nil {
		errs = append(errs, w.Shop.Close())
	}
	if w.Logs != nil {
		errs = append(errs, w.Logs.Close())
	}
	if w.Mail != nil {
		errs = append(errs, w.Mail.Close())
	}
	if w.Slack != nil {
		errs = append(errs, w.Slack.Close())
	}
	return errors.Join(errs...)
}
