package notify

import (
	"log/slog"
	"maps"
	"slices"
	"time"
)

// Config is the part of [Options] that comes from a file: a section of a
// service's settings. What sends the messages, and functions, are added in code
// by [Config.Options].
type Config struct {
	// Receivers are by name.
	Receivers map[string]ReceiverConfig
	// Group, Outbox and CloseTimeout are those of Options.
	Group        Group
	Outbox       Outbox
	CloseTimeout time.Duration
}

// ReceiverConfig is the part of a [Receiver] that comes from a file. The fields
// are those of Receiver.
type ReceiverConfig struct {
	// MinLevel is the lowest level that the receiver gets, as "WARN".
	MinLevel slog.Level
	// Timeout bounds one try.
	Timeout time.Duration
	// Fallback names the receiver that takes over.
	Fallback string
	// Rate bounds how often the receiver is called.
	Rate Rate
	// Retry is the schedule for what failed for the moment.
	Retry Retry
	// Concurrency is the number of calls at the same time.
	Concurrency int `min:"0"`
}

// Options returns options with one receiver for each of notifiers, treated as c
// says for its name, sorted by name. A name in c that has no notifier becomes a
// receiver that [New] refuses, so that a mistake in a name is noticed.
func (c Config) Options(notifiers map[string]Notifier) *Options {
	o := &Options{Group: c.Group, Outbox: c.Outbox, CloseTimeout: c.CloseTimeout}
	names := slices.Collect(maps.Keys(notifiers))
	for name := range c.Receivers {
		if _, ok := notifiers[name]; !ok {
			names = append(names, name)
		}
	}

	slices.Sort(names)
	for _, name := range names {
		r := c.Receivers[name]
		o.Receivers = append(o.Receivers, Receiver{
			Name: name, Notifier: notifiers[name], MinLevel: r.MinLevel, Timeout: r.Timeout, Fallback: r.Fallback,
			Rate: r.Rate, Retry: r.Retry, Concurrency: r.Concurrency,
		})
	}

	return o
}
